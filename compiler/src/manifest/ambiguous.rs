//! Texts that two readers take for two values. kubectl reads YAML 1.1, everybody else 1.2: where they differ, the text is a
//! fault, so that one text has one meaning. `testdata/yaml` has the differences that are known.

use super::node::{Content, Node, Position};

/// Largest text of a file, in bytes.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// What no text may hold, whatever it means.
pub(super) fn check_text(text: &str) -> Result<(), (Position, String)> {
    let at = |line: usize, column: usize| Position {
        line: u64::try_from(line).unwrap_or(u64::MAX).saturating_add(1),
        column: u64::try_from(column).unwrap_or(u64::MAX).saturating_add(1),
    };
    if text.len() > MAX_BYTES {
        return Err((at(0, 0), format!("larger than {MAX_BYTES} bytes; split the file")));
    }
    for (number, line) in text.split('\n').enumerate() {
        if line.starts_with("%YAML") || line.starts_with("%TAG") {
            return Err((at(number, 0), "directives are not read; remove the line".to_owned()));
        }
        if line.starts_with('\t') && !line.trim().is_empty() {
            return Err((at(number, 0), "a tab in front of a line; indent with spaces".to_owned()));
        }
        let odd = |c: char| {
            matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{7f}'..='\u{9f}')
                || (c.is_control() && !matches!(c, '\t' | '\r'))
        };
        if let Some((column, c)) = line.chars().enumerate().find(|(_, c)| odd(*c)) {
            let message = format!("character U+{:04X}; write it as an escape between double quotes", u32::from(c));
            return Err((at(number, column), message));
        }
    }
    Ok(())
}

/// The first scalar or key that kubectl reads otherwise.
pub(super) fn check_values(text: &str, documents: &[Node]) -> Result<(), (Position, String)> {
    let lines: Vec<&str> = text.split('\n').collect();
    documents.iter().try_for_each(|root| check(&lines, root))
}

/// The reader of YAML bounds how deep a document is.
fn check(lines: &[&str], node: &Node) -> Result<(), (Position, String)> {
    let raw = raw_text(lines, node.position);
    match &node.content {
        Content::Scalar(value) => {
            // A text that begins its line stands in a block, where every text is one to both readers.
            let in_block = value.is_string() && begins_line(lines, node.position);
            let plain = !in_block && !raw.starts_with(['"', '\'', '|', '>', '*', '&']);
            let same = value.as_str().is_none_or(|text| text == token(raw) && text.contains('_'));
            if let Some(message) = (plain && same).then(|| ambiguity(token(raw))).flatten() {
                return Err((node.position, message));
            }
            let truth = ["true", "false"]
                .iter()
                .any(|word| raw.get(..word.len()).is_some_and(|text| text.eq_ignore_ascii_case(word)));
            if value.is_boolean() && plain && truth && !regular_case(token(raw)) {
                return Err((
                    node.position,
                    format!(
                        "{:?} is true or false to some and a text to others; write it in lower case, or quote it",
                        token(raw)
                    ),
                ));
            }
            let nothing =
                ["", "~", "null", "Null", "NULL", "#", "-", "?"].contains(&token(raw)) || raw.starts_with('#');
            if value.is_null() && plain && !nothing {
                return Err((
                    node.position,
                    "a null that does not read so; write null, or leave the field out".to_owned(),
                ));
            }
        }
        Content::List(items) => items.iter().try_for_each(|item| check(lines, item))?,
        Content::Map(entries) => {
            for (key, position, value) in entries {
                let raw = raw_text(lines, *position);
                if !raw.starts_with(['"', '\'']) {
                    let words = ["yes", "no", "on", "off", "y", "n"];
                    let told = words
                        .iter()
                        .any(|word| key.eq_ignore_ascii_case(word))
                        .then(|| format!("{key:?} is a truth value to kubectl; quote it"));
                    if let Some(message) = told.or_else(|| ambiguity(key)) {
                        return Err((*position, message));
                    }
                }
                check(lines, value)?;
            }
        }
    }
    Ok(())
}

/// Whether nothing stands before a position on its line.
fn begins_line(lines: &[&str], position: Position) -> bool {
    let line = lines.get(usize::try_from(position.line.saturating_sub(1)).unwrap_or(usize::MAX)).copied();
    let before = usize::try_from(position.column.saturating_sub(1)).unwrap_or(usize::MAX);
    line.unwrap_or_default().chars().take(before).all(char::is_whitespace)
}

/// The rest of the line from a position on.
fn raw_text<'a>(lines: &[&'a str], position: Position) -> &'a str {
    let index = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
    let line = lines.get(index(position.line)).copied().unwrap_or_default();
    let start = line.char_indices().nth(index(position.column)).map_or(line.len(), |(offset, _)| offset);
    line.get(start..).unwrap_or_default()
}

/// The plain scalar at the start of a text; none of those that matter here holds a blank.
fn token(raw: &str) -> &str {
    raw.split([' ', '\t', '\r', ',', ']', '}', ':']).next().unwrap_or_default()
}

/// Why kubectl reads a plain scalar otherwise, with the cure.
fn ambiguity(token: &str) -> Option<String> {
    let digits = token.strip_prefix(['+', '-']).unwrap_or(token);
    let number =
        digits.starts_with(|c: char| c.is_ascii_digit()) && digits.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    if number && digits.contains('_') {
        Some(format!("{token:?} is a number to kubectl; quote it, or write it without '_'"))
    } else if number && digits.len() > 1 && digits.starts_with('0') {
        Some(format!("{token:?} is an octal number to kubectl; quote it, or write it without the zero"))
    } else {
        None
    }
}

fn regular_case(token: &str) -> bool {
    ["true", "True", "TRUE", "false", "False", "FALSE"].contains(&token)
}
