//! Linear gates in front of parsers that recurse or take more than linear time.
//!
//! In: a text that a tenant wrote. Out: nothing, or why no parser may see it. A gate reads each byte once, keeps a few
//! counters, and knows only what it needs of the grammar: quotes, comments, brackets, operators. What it lets through
//! can still be wrong; it is only small enough.
//!
//! INVARIANT: no Cedar text and no JSONPath reaches its parser before its gate (bug classes D4 and D7).

/// Deepest nesting of brackets in a Cedar text.
pub const CEDAR_BRACKETS: usize = 32;
/// Deepest expression in a Cedar text: brackets, chains of operators, member accesses, `!`, `if` and clauses, added up.
/// The parser recurses for each and overflows a stack of 2 MiB at 144 brackets.
pub const CEDAR_DEPTH: usize = 96;
/// Largest Cedar text, in bytes.
pub const CEDAR_BYTES: usize = 16 * 1024;
/// Deepest nesting of brackets in a JSONPath: the time of the parser doubles with each level.
pub const JSON_PATH_DEPTH: usize = 4;
/// Largest JSONPath, in bytes.
pub const JSON_PATH_BYTES: usize = 256;

/// Why a text goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooCostly {
    /// More bytes than this.
    #[error("longer than {0} bytes")]
    Bytes(usize),
    /// An expression deeper than this: brackets, or a chain of operators or members.
    #[error("nested, or chained, deeper than {0} levels; split it")]
    Depth(usize),
}

/// Where a gate closed, as an offset in bytes, and why.
pub type Refused = (usize, TooCostly);

/// The gate in front of the Cedar parser.
pub fn cedar(text: &str) -> Result<(), Refused> {
    if text.len() > CEDAR_BYTES {
        return Err((CEDAR_BYTES, TooCostly::Bytes(CEDAR_BYTES)));
    }
    let mut expression = Expression::default();
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes, b'"'),
            b'/' if bytes.peek().is_some_and(|(_, next)| *next == b'/') => {
                while bytes.next_if(|(_, next)| *next != b'\n').is_some() {}
            }
            b'(' | b'[' | b'{' => expression.open(),
            b')' | b']' | b'}' => expression.close(),
            b',' | b';' => expression.part(),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let end = word_end(&mut bytes, at);
                expression.word(text.get(at..end).unwrap_or_default());
            }
            b'!' | b'%' | b'&' | b'*' | b'+' | b'-' | b'/' | b'|' => {
                // `&&` and `||` are one operator each.
                let doubled = matches!(byte, b'&' | b'|') && bytes.peek().is_some_and(|(_, next)| *next == byte);
                if doubled {
                    bytes.next();
                }
                expression.chain();
            }
            b'.' | b'<' | b'=' | b'>' | b'@' => expression.deepen(),
            _ => {}
        }
        if expression.open.len() > CEDAR_BRACKETS {
            return Err((at, TooCostly::Depth(CEDAR_BRACKETS)));
        }
        if expression.depth() > CEDAR_DEPTH {
            return Err((at, TooCostly::Depth(CEDAR_DEPTH)));
        }
    }
    Ok(())
}

/// The gate in front of the JSONPath parser.
pub fn json_path(text: &str) -> Result<(), Refused> {
    if text.len() > JSON_PATH_BYTES {
        return Err((JSON_PATH_BYTES, TooCostly::Bytes(JSON_PATH_BYTES)));
    }
    let mut depth = 0_usize;
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' | b'\'' => skip_string(&mut bytes, byte),
            b'(' | b'[' => depth = depth.saturating_add(1),
            b')' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > JSON_PATH_DEPTH {
            return Err((at, TooCostly::Depth(JSON_PATH_DEPTH)));
        }
    }
    Ok(())
}

/// How deep the tree of an expression can be, whatever the precedence of its operators.
#[derive(Default)]
struct Expression {
    /// The brackets that are open.
    open: Vec<Level>,
    /// Inside of the innermost one.
    level: Level,
}

/// What stands between two brackets.
#[derive(Default)]
struct Level {
    /// Operators that nest to the left or right.
    chained: usize,
    /// Depth of the operand that is being read.
    operand: usize,
    /// The deepest operand before it.
    deepest: usize,
}

impl Level {
    fn depth(&self) -> usize {
        self.chained.saturating_add(self.deepest.max(self.operand))
    }
}

impl Expression {
    fn open(&mut self) {
        self.open.push(std::mem::take(&mut self.level));
    }

    fn close(&mut self) {
        let inner = self.level.depth();
        self.level = self.open.pop().unwrap_or_default();
        self.level.operand = self.level.operand.max(inner).saturating_add(1);
    }

    /// An element of a list, a statement: what comes next does not nest in what came before.
    fn part(&mut self) {
        let deepest = self.level.depth();
        // A statement of the text begins anew; an element leaves its depth to the list around it.
        self.level = Level { deepest: if self.open.is_empty() { 0 } else { deepest }, ..Level::default() };
    }

    fn chain(&mut self) {
        let Level { chained, operand, deepest } = &mut self.level;
        *deepest = (*deepest).max(*operand);
        *operand = 0;
        *chained = chained.saturating_add(1);
    }

    fn deepen(&mut self) {
        self.level.operand = self.level.operand.saturating_add(1);
    }

    fn word(&mut self, word: &str) {
        match word {
            "else" | "if" | "then" | "unless" | "when" => self.chain(),
            "has" | "in" | "is" | "like" => self.deepen(),
            _ => {}
        }
    }

    fn depth(&self) -> usize {
        let outer = self.open.iter().map(Level::depth).fold(0, usize::saturating_add);
        outer.saturating_add(self.open.len()).saturating_add(self.level.depth())
    }
}

type Bytes<'a> = std::iter::Peekable<std::iter::Enumerate<std::str::Bytes<'a>>>;

fn skip_string(bytes: &mut Bytes<'_>, quote: u8) {
    while let Some((_, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            byte if byte == quote => return,
            _ => {}
        }
    }
}

fn word_end(bytes: &mut Bytes<'_>, start: usize) -> usize {
    let mut end = start.saturating_add(1);
    while bytes.next_if(|(_, byte)| byte.is_ascii_alphanumeric() || *byte == b'_').is_some() {
        end = end.saturating_add(1);
    }
    end
}

#[cfg(test)]
mod tests;
