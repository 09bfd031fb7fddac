//! The texts of one set of claims in one allocation.

use serde_json::{Map, Value};

use crate::heap_size::{HeapSize, allocation};

/// The whole object as JSON, then issuer, subject and client, then audiences, then scopes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ClaimTexts {
    texts: Box<str>,
    /// Where each text ends.
    ends: Box<[u32]>,
    present: [bool; 3],
    audiences: u16,
}

/// A claim that is one text or not there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Name {
    Issuer,
    Subject,
    Client,
}

/// Texts before the first audience.
const FIXED: usize = 4;

impl ClaimTexts {
    /// `names` in the order of [`Name`]. At most 2^16 audiences, and 4 GiB of text, which no token comes near.
    pub(super) fn new(
        members: &Map<String, Value>,
        names: [Option<&str>; 3],
        audiences: &[&str],
        scopes: &[&str],
    ) -> Self {
        let object = serde_json::to_string(members).unwrap_or_default();
        let fixed = names.iter().map(|name| name.unwrap_or_default());
        let all = [object.as_str()].into_iter().chain(fixed).chain(audiences.iter().chain(scopes).copied());
        let mut texts = String::with_capacity(all.clone().map(str::len).sum());
        let mut ends = Vec::with_capacity(all.clone().count());
        for text in all {
            texts.push_str(text);
            ends.push(u32::try_from(texts.len()).unwrap_or(u32::MAX));
        }
        Self {
            texts: texts.into(),
            ends: ends.into(),
            present: names.map(|name| name.is_some()),
            audiences: u16::try_from(audiences.len()).unwrap_or(u16::MAX),
        }
    }

    /// The whole object as JSON.
    pub(super) fn object(&self) -> &[u8] {
        self.text(0).as_bytes()
    }

    pub(super) fn name(&self, name: Name) -> Option<&str> {
        let [issuer, subject, client] = self.present;
        let (present, at) = match name {
            Name::Issuer => (issuer, 1),
            Name::Subject => (subject, 2),
            Name::Client => (client, 3),
        };
        present.then(|| self.text(at))
    }

    pub(super) fn audiences(&self) -> impl Iterator<Item = &str> {
        (FIXED..self.first_scope()).map(|at| self.text(at))
    }

    pub(super) fn scopes(&self) -> impl Iterator<Item = &str> {
        (self.first_scope()..self.ends.len()).map(|at| self.text(at))
    }

    fn first_scope(&self) -> usize {
        FIXED.saturating_add(usize::from(self.audiences))
    }

    /// Nothing where there is no such text.
    fn text(&self, at: usize) -> &str {
        let end = |at: usize| self.ends.get(at).and_then(|end| usize::try_from(*end).ok());
        let start = at.checked_sub(1).map_or(Some(0), end);
        let range = start.zip(end(at)).map(|(start, end)| start..end);
        range.and_then(|range| self.texts.get(range)).unwrap_or_default()
    }
}

impl HeapSize for ClaimTexts {
    fn heap_bytes(&self) -> usize {
        allocation(self.texts.len()).saturating_add(allocation(size_of_val(&*self.ends)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_text_comes_back_and_absent_is_not_empty() {
        let value = json!({"sub": "\u{e4}da", "a": "b"});
        let names = [None, Some("\u{e4}da"), Some("")];
        let texts = ClaimTexts::new(value.as_object().unwrap(), names, &["x", "", "z"], &["p", "q"]);
        assert_eq!(texts.object(), value.to_string().as_bytes());
        assert_eq!([Name::Issuer, Name::Subject, Name::Client].map(|name| texts.name(name)), names);
        assert_eq!(texts.audiences().collect::<Vec<_>>(), ["x", "", "z"]);
        assert_eq!(texts.scopes().collect::<Vec<_>>(), ["p", "q"]);
        let nothing = ClaimTexts::default();
        assert_eq!((nothing.scopes().count(), nothing.audiences().count(), nothing.name(Name::Issuer)), (0, 0, None));
    }
}
