//! Chunked bodies (RFC 9112 section 7.1).

use super::head::is_token;

/// Longest chunk-size line with its extensions, in bytes.
const MAX_SIZE_LINE: usize = 256;

/// Longest trailer section, in bytes.
const MAX_TRAILERS: usize = 8 * 1024;

/// Fields that never stand in a trailer, for somebody might merge them into the head (RFC 9110 section 6.5.1, H6).
const NEVER_TRAILERS: [&[u8]; 6] =
    [b"authorization", b"content-length", b"transfer-encoding", b"host", b"cookie", b"forwarded"];

/// Progress within one chunked body.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    state: State,
    trailers: usize,
}

#[derive(Debug, Default)]
enum State {
    /// CR and LF behind the data of a chunk.
    AfterData,
    Data(u64),
    #[default]
    Size,
    Trailers,
}

impl Chunked {
    /// How many bytes may be handed on, and how the body ends if it does: with them, or before what breaks it. A line that
    /// is not whole is not handed on, for the parser would judge its beginning by itself; it is looked at again with what
    /// follows.
    pub(super) fn look(&mut self, bytes: &[u8]) -> (usize, Option<Result<(), &'static str>>) {
        let mut taken = 0;
        loop {
            let rest = bytes.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                return (taken, None);
            }
            if let State::Data(left) = &mut self.state {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                *left -= here as u64;
                taken += here;
                if *left == 0 {
                    self.state = State::AfterData;
                }
                continue;
            }
            let limit = if matches!(self.state, State::Trailers) { MAX_TRAILERS } else { MAX_SIZE_LINE };
            let end = rest.iter().take(limit.saturating_add(1)).position(|byte| *byte == b'\n');
            let Some(end) = end else {
                let too_long = rest.len() > limit;
                return (taken, too_long.then_some(Err("a chunk-size line or trailer section is too long")));
            };
            let line = rest.get(..end).and_then(|line| line.strip_suffix(b"\r"));
            let ended = line.ok_or("a line of the chunked body ends in a bare LF");
            match ended.and_then(|line| self.end_of_line(line)) {
                Ok(true) => return (taken + end + 1, Some(Ok(()))),
                Ok(false) => taken += end + 1,
                Err(reason) => return (taken, Some(Err(reason))),
            }
        }
    }

    fn end_of_line(&mut self, line: &[u8]) -> Result<bool, &'static str> {
        if line.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
            return Err("a control character in the framing of a chunked body");
        }
        match self.state {
            State::AfterData if line.is_empty() => self.state = State::Size,
            State::AfterData | State::Data(_) => return Err("chunk data is longer than its size"),
            State::Size => {
                let size = chunk_size(line)?;
                self.state = if size == 0 { State::Trailers } else { State::Data(size) };
            }
            State::Trailers if line.is_empty() => return Ok(true),
            State::Trailers => {
                self.trailers += line.len();
                let name = line.split(|b| *b == b':').next().unwrap_or_default();
                if self.trailers > MAX_TRAILERS || NEVER_TRAILERS.iter().any(|never| name.eq_ignore_ascii_case(never)) {
                    return Err("a trailer that is too long or must not be one");
                }
            }
        }
        Ok(false)
    }
}

/// Section 7.1.1: `;` and a name, then perhaps `=` and a token or a quoted string, as often as one likes; blanks around `;`
/// and `=` only. None of them goes on.
fn are_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(after) = rest.trim_ascii_start().strip_prefix(b";") else { return false };
        let Some(after) = token(after.trim_ascii_start()) else { return false };
        let value = after.trim_ascii_start().strip_prefix(b"=").map(<[u8]>::trim_ascii_start);
        rest = match value {
            None => after,
            Some(value) => match quoted(value).or_else(|| token(value)) {
                Some(after) => after,
                None => return false,
            },
        };
    }
    true
}

/// What stands behind a token.
fn token(text: &[u8]) -> Option<&[u8]> {
    let length = text.iter().take_while(|byte| is_token(**byte)).count();
    text.get(length..).filter(|_| length > 0)
}

/// What stands behind a quoted string.
fn quoted(text: &[u8]) -> Option<&[u8]> {
    let inner = text.strip_prefix(b"\"")?;
    let mut escaped = false;
    for (at, byte) in inner.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return inner.get(at.saturating_add(1)..),
            _ => {}
        }
    }
    None
}

/// Hex digits, then nothing or an extension behind a semicolon.
fn chunk_size(line: &[u8]) -> Result<u64, &'static str> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let (number, rest) = line.split_at(digits);
    if !(1..=15).contains(&digits) {
        return Err("a chunk size that is no hexadecimal number");
    }
    if !are_extensions(rest) {
        return Err("a chunk extension that is malformed (section 7.1.1)");
    }
    let text = str::from_utf8(number).unwrap_or_default();
    u64::from_str_radix(text, 16)
        .map_err(|_ignored: std::num::ParseIntError| "a chunk size that is no hexadecimal number")
}
