//! Parameters of a path, as the template that matched names them.

use std::borrow::Cow;

use portreeve_policy::{CanonicalPath, PathMatch, TemplateSegment};

/// The path of a request beside the match that took it.
#[derive(Debug, Clone, Copy)]
pub struct PathParameters<'a> {
    path: &'a CanonicalPath,
    matched: Option<&'a PathMatch>,
}

impl<'a> PathParameters<'a> {
    /// Of a path that this match took.
    pub fn new(path: &'a CanonicalPath, matched: Option<&'a PathMatch>) -> Self {
        Self { path, matched }
    }

    /// The value of a parameter, percent-decoded; `None` when the match has none of that name.
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All of them, in the order of the path.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
        let segments = match self.matched {
            Some(PathMatch::Template(template)) => template.segments(),
            Some(PathMatch::Exact(_) | PathMatch::Prefix(_)) | None => &[],
        };
        segments.iter().zip(self.path.segments()).filter_map(|(segment, value)| match segment {
            TemplateSegment::Parameter(name) => Some((name.as_ref(), decode(value))),
            TemplateSegment::Literal(_) => None,
        })
    }
}

/// Decodes once. A canonical segment holds whole escapes and UTF-8 only, and no slash in disguise.
fn decode(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit(rest.next()), digit(rest.next()));
        let octet = high.zip(low).and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
        bytes.push(octet.unwrap_or(b'%'));
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_once_and_only_templates_have_any() {
        let path = CanonicalPath::parse("/tenants/%C3%a4cme/orders/a%3Ab").unwrap();
        let template = PathMatch::Template("/tenants/{tenant}/orders/{id}".to_owned().try_into().unwrap());
        let found: Vec<_> = PathParameters::new(&path, Some(&template)).iter().collect();
        assert_eq!(found, [("tenant", "äcme".into()), ("id", "a:b".into())]);
        let prefix = PathMatch::Prefix(CanonicalPath::parse("/tenants").unwrap());
        assert_eq!(PathParameters::new(&path, Some(&prefix)).get("tenant"), None);
        let percent = CanonicalPath::parse("/tenants/5%25/orders/x").unwrap();
        assert_eq!(PathParameters::new(&percent, Some(&template)).get("tenant").as_deref(), Some("5%"));
    }
}
