//! The one canonical form of a path. Compiler and proxy both parse with this file, so that what a rule says and what
//! is matched, decided and forwarded are the same bytes.
//!
//! | input | answer |
//! |---|---|
//! | unreserved or sub-delimiter characters, `:`, `@`, `/` | kept |
//! | `%41` (an unreserved character, needlessly encoded) | decoded to `A` |
//! | `%3a`, `%C3%a9` (other characters, UTF-8) | kept encoded, hex digits in upper case |
//! | `%2F`, `%5C`, `%3B`, `%00`..`%1F`, `%7F`, `%25` before what is, or decodes to, two hex digits (double encoding) | refused |
//! | broken encoding, octets that are no UTF-8 (overlong forms too) | refused |
//! | a segment `.` or `..`, also encoded; `;`; an empty segment before the last | refused |
//! | any other character, or no leading `/` | refused |
//!
//! Source: RFC 3986 sections 2.1, 2.3, 3.3, 6.2.2; the refusals are the bug classes P1 to P3 of path confusion.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A path in canonical form; starts with `/`, has neither query nor fragment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CanonicalPath(Box<str>);

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// Percent sign without two hex digits.
    #[error("percent sign without two hex digits")]
    BrokenEncoding,
    /// A segment `.` or `..`.
    #[error("dot segment")]
    DotSegment,
    /// Encoded twice.
    #[error("double percent-encoding")]
    DoubleEncoding,
    /// Two slashes in a row.
    #[error("empty segment")]
    EmptySegment,
    /// An encoded slash, backslash, semicolon or control character.
    #[error("encoded slash, backslash, semicolon or control character")]
    EncodedDelimiter,
    /// A character that no path may hold.
    #[error("character that a path may not hold")]
    IllegalCharacter,
    /// No `/` at the start.
    #[error("no leading slash")]
    NoLeadingSlash,
    /// Octets that are no UTF-8.
    #[error("encoded octets are not UTF-8")]
    NotUtf8,
    /// A template whose `{name}` is empty, repeated or not a whole segment.
    #[error("template parameters are whole segments {{name}} with distinct names of letters, digits and '_'")]
    TemplateParameter,
    /// More than 8,192 bytes.
    #[error("longer than 8192 bytes")]
    TooLong,
}

/// A path with parameters: `/orders/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathTemplate {
    segments: Vec<TemplateSegment>,
}

/// One segment of a template.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TemplateSegment {
    /// These bytes, in canonical form.
    Literal(Box<str>),
    /// One non-empty segment, to be known by this name.
    Parameter(Box<str>),
}

const MAX_BYTES: usize = 8192;

// === impl CanonicalPath ===

impl CanonicalPath {
    /// Parses a path as it came, without query. See the table above.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        if text.len() > MAX_BYTES {
            return Err(InvalidPath::TooLong);
        }
        let rest = text.strip_prefix('/').ok_or(InvalidPath::NoLeadingSlash)?;
        if !text.bytes().all(plain) {
            let canonical = decode(text)?;
            // Parts of a second encoding may come out of the first one: `%25%32%65` is `%252e`.
            if encodes_twice(&canonical) {
                return Err(InvalidPath::DoubleEncoding);
            }
            return Self::checked(&canonical);
        }
        check_segments(rest)?;
        Ok(Self(text.into()))
    }

    /// The longest part of a text, by whole segments from the start, that every path shares which the text could have been
    /// meant to be: up to the first segment that is a parameter or cannot be read. `/` when there is none. Of a text that
    /// is longer than any path nobody can say which part of it was meant, so that is `/` too.
    pub fn literal_prefix(text: &str) -> Self {
        let mut prefix = String::new();
        let text = if text.len() > MAX_BYTES { "/" } else { text };
        for segment in text.strip_prefix('/').unwrap_or_default().split('/') {
            let parsed = Self::parse(&format!("/{segment}"));
            match parsed {
                Ok(Self(canonical)) if !segment.is_empty() => prefix.push_str(&canonical),
                _ => break,
            }
        }
        if prefix.is_empty() { Self("/".into()) } else { Self(prefix.into()) }
    }

    fn checked(text: &str) -> Result<Self, InvalidPath> {
        check_segments(text.strip_prefix('/').ok_or(InvalidPath::NoLeadingSlash)?)?;
        Ok(Self(text.into()))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments; `/` has one empty segment, `/a/` has `a` and an empty one.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').skip(1)
    }
}

impl fmt::Display for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for CanonicalPath {
    type Error = InvalidPath;

    fn try_from(text: String) -> Result<Self, InvalidPath> {
        Self::parse(&text)
    }
}

impl From<CanonicalPath> for String {
    fn from(path: CanonicalPath) -> Self {
        path.0.into()
    }
}

// === impl PathTemplate ===

impl PathTemplate {
    /// The segments in order.
    pub fn segments(&self) -> &[TemplateSegment] {
        &self.segments
    }
}

impl TryFrom<String> for PathTemplate {
    type Error = InvalidPath;

    fn try_from(text: String) -> Result<Self, InvalidPath> {
        let rest = text.strip_prefix('/').ok_or(InvalidPath::NoLeadingSlash)?;
        let mut segments = Vec::new();
        for segment in rest.split('/') {
            let parameter = segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
            segments.push(match parameter {
                Some(name) => TemplateSegment::Parameter(parameter_name(name)?.into()),
                None if segment.contains(['{', '}']) => return Err(InvalidPath::TemplateParameter),
                None => TemplateSegment::Literal(literal(segment)?),
            });
        }
        check_segments(rest)?;
        let mut names: Vec<_> = segments.iter().filter_map(TemplateSegment::parameter).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(InvalidPath::TemplateParameter);
        }
        Ok(Self { segments })
    }
}

impl From<PathTemplate> for String {
    fn from(template: PathTemplate) -> Self {
        template.to_string()
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segments.iter().try_for_each(|segment| match segment {
            TemplateSegment::Literal(text) => write!(f, "/{text}"),
            TemplateSegment::Parameter(name) => write!(f, "/{{{name}}}"),
        })
    }
}

// === impl TemplateSegment ===

impl TemplateSegment {
    fn parameter(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Parameter(name) => Some(name),
        }
    }
}

fn parameter_name(name: &str) -> Result<&str, InvalidPath> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if (1..=64).contains(&name.len()) && name.bytes().all(legal) {
        Ok(name)
    } else {
        Err(InvalidPath::TemplateParameter)
    }
}

fn literal(segment: &str) -> Result<Box<str>, InvalidPath> {
    let path = CanonicalPath::parse(&format!("/{segment}"))?;
    Ok(path.segments().next().unwrap_or_default().into())
}

/// pchar of RFC 3986 without `%` and `;`, and the slash.
fn plain(b: u8) -> bool {
    unreserved(b)
        || matches!(b, b'/' | b':' | b'@' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=')
}

fn unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

fn check_segments(rest: &str) -> Result<(), InvalidPath> {
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => return Err(InvalidPath::DotSegment),
            "" if segments.peek().is_some() => return Err(InvalidPath::EmptySegment),
            _ => {}
        }
    }
    Ok(())
}

/// Rewrites percent-encoding into canonical form; also checks that the decoded octets are UTF-8.
fn decode(text: &str) -> Result<String, InvalidPath> {
    let mut canonical = String::with_capacity(text.len());
    let mut octets = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if plain(byte) {
            canonical.push(char::from(byte));
            octets.push(byte);
            continue;
        }
        if byte != b'%' {
            return Err(InvalidPath::IllegalCharacter);
        }
        let (high, low) = hex_pair(&mut bytes).ok_or(InvalidPath::BrokenEncoding)?;
        let octet = high << 4 | low;
        match octet {
            b'/' | b'\\' | b';' | 0..=0x1f | 0x7f => return Err(InvalidPath::EncodedDelimiter),
            _ if unreserved(octet) => canonical.push(char::from(octet)),
            _ => push_encoded(&mut canonical, high, low),
        }
        octets.push(octet);
    }
    str::from_utf8(&octets).map_err(|_ignored: std::str::Utf8Error| InvalidPath::NotUtf8)?;
    Ok(canonical)
}

/// Whether an encoded percent sign stands before two hex digits.
fn encodes_twice(canonical: &str) -> bool {
    canonical.match_indices("%25").any(|(at, sign)| {
        let rest = canonical.get(at.saturating_add(sign.len())..).unwrap_or_default();
        hex_pair(&mut rest.bytes()).is_some()
    })
}

fn hex_pair(bytes: &mut std::str::Bytes<'_>) -> Option<(u8, u8)> {
    let mut digit = || char::from(bytes.next()?).to_digit(16).and_then(|value| u8::try_from(value).ok());
    Some((digit()?, digit()?))
}

fn push_encoded(canonical: &mut String, high: u8, low: u8) {
    canonical.push('%');
    for digit in [high, low] {
        canonical.push(char::from_digit(u32::from(digit), 16).map_or('0', |c| c.to_ascii_uppercase()));
    }
}

#[cfg(test)]
mod tests;
