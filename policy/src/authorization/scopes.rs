//! Scopes (RFC 6749 section 3.3).

use std::{borrow::Borrow, collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

/// Scopes that a token must carry. Both parts must hold; an empty part asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScopeRule {
    /// Every one of these.
    pub all_of: BTreeSet<Scope>,
    /// At least one of these, unless empty.
    pub any_of: BTreeSet<Scope>,
}

/// A scope token (RFC 6749 section 3.3): printable ASCII without blank, quote and backslash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope(String);

/// A text that is no scope token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a scope: 1 to 256 printable ASCII characters without blank, quote and backslash")]
pub struct InvalidScope(String);

// === impl ScopeRule ===

impl ScopeRule {
    /// Whether a token with these scopes satisfies the rule.
    pub fn satisfied_by(&self, has: impl Fn(&str) -> bool) -> bool {
        let holds = |scope: &Scope| has(scope.as_str());
        self.all_of.iter().all(holds) && (self.any_of.is_empty() || self.any_of.iter().any(holds))
    }

    /// The scopes to name in a challenge (RFC 6750 section 3): every one that could help, in order.
    pub fn named(&self) -> impl Iterator<Item = &Scope> {
        self.all_of.union(&self.any_of)
    }
}

// === impl Scope ===

impl Scope {
    /// The token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Scope {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Scope {
    type Error = InvalidScope;

    fn try_from(text: String) -> Result<Self, InvalidScope> {
        let legal = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        let fits = (1..=256).contains(&text.len()) && text.bytes().all(legal);
        if fits { Ok(Self(text)) } else { Err(InvalidScope(text)) }
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(scopes: &[&str]) -> BTreeSet<Scope> {
        scopes.iter().map(|scope| Scope::try_from((*scope).to_owned()).unwrap()).collect()
    }

    #[test]
    fn all_of_and_any_of_must_both_hold() {
        let rule = ScopeRule { all_of: set(&["a"]), any_of: set(&["b", "c"]) };
        for (scopes, verdict) in
            [(&["a", "b"][..], true), (&["a", "c", "x"], true), (&["a"], false), (&["b", "c"], false), (&[], false)]
        {
            assert_eq!(rule.satisfied_by(|scope| scopes.contains(&scope)), verdict, "{scopes:?}");
        }
    }

    #[test]
    fn every_scope_of_all_of_is_needed_and_one_of_any_of() {
        let all = ScopeRule { all_of: set(&["a", "b"]), any_of: BTreeSet::new() };
        let any = ScopeRule { all_of: BTreeSet::new(), any_of: set(&["a", "b"]) };
        for (scopes, of_all, of_any) in
            [(&["a", "b"][..], true, true), (&["a"], false, true), (&["b"], false, true), (&["c"], false, false)]
        {
            let has = |scope: &str| scopes.contains(&scope);
            assert_eq!((all.satisfied_by(has), any.satisfied_by(has)), (of_all, of_any), "{scopes:?}");
        }
        let both = ScopeRule { all_of: set(&["b"]), any_of: set(&["a", "c"]) };
        assert_eq!(both.named().map(Scope::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn refuses_what_is_no_scope_token() {
        for text in ["", "a b", "a\"b", "a\\b", "é", "a\n", &"a".repeat(257)] {
            assert!(Scope::try_from(text.to_owned()).is_err(), "{text:?}");
        }
        for text in ["a", "orders:read", "https://a.example/x", &"a".repeat(256)] {
            let scope = Scope::try_from(text.to_owned()).unwrap();
            assert_eq!(
                (scope.to_string(), String::from(scope.clone()), scope.as_str()),
                (text.to_owned(), text.to_owned(), text)
            );
            let borrowed: &str = scope.borrow();
            assert_eq!(borrowed, text);
        }
    }
}
