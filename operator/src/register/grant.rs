//! What is asked of the token service for a client that may be there already. Pure.
//!
//! INVARIANT: what others decide keeps a new client from being registered, or from getting more; a client that is there is
//! narrowed or ended only when its own object asks for something else than before, is deleted, or says so by annotation.

use portreeve_compiler::Access;
use portreeve_crds::v1alpha1::{ClientRegistration, Environment};
use portreeve_registration::{Deletion, JournalEntry, Step};

/// What is to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    /// Scopes, separated by blanks.
    pub(super) scope: String,
    pub(super) deletion: Deletion,
    /// Scopes that the client keeps though they are not granted any more.
    pub(super) kept: Vec<String>,
}

/// Settles what the present client keeps. `accepted`: the client_id whose owner wants it as it would be decided now.
pub(super) fn grant(access: &Access, asked: &str, entry: &JournalEntry, accepted: Option<&str>) -> Grant {
    let ended = entry.intent.as_ref().is_some_and(|intent| intent.step == Step::Delete);
    let live = entry.registration.as_ref().filter(|_| !ended);
    let edited = entry.asked.as_deref().is_some_and(|before| before != asked);
    let decided_anew = edited || live.is_some_and(|own| accepted == Some(own.client_id.as_str()));
    if live.is_none() || decided_anew {
        // Without scopes a client could get all of them, so one that may have none is not kept.
        let deletion = if access.withheld { Deletion::Delete } else { Deletion::Keep };
        return Grant { scope: access.scope.clone(), deletion, kept: Vec::new() };
    }
    let sent = entry.last_sent.as_ref().and_then(|sent| sent.get("scope")).and_then(serde_json::Value::as_str);
    let had: Vec<&str> = sent.unwrap_or_default().split_ascii_whitespace().collect();
    let granted: Vec<&str> = access.scope.split_ascii_whitespace().collect();
    let holds = |word: &&String| granted.contains(&word.as_str()) || had.contains(&word.as_str());
    let scope: Vec<&str> = access.asked.iter().filter(holds).map(String::as_str).collect();
    let kept = access.asked.iter().filter(|word| holds(word) && !granted.contains(&word.as_str()));
    Grant { kept: kept.cloned().collect(), scope: scope.join(" "), deletion: Deletion::Keep }
}

/// What the object asks for, as the journal remembers it.
pub(super) fn asked(registration: &ClientRegistration) -> String {
    let spec = &registration.spec;
    let mut words: Vec<String> = spec.metadata.scope.split_ascii_whitespace().map(str::to_owned).collect();
    for request in &spec.access {
        let namespace = request.api_ref.namespace.as_deref().unwrap_or_default();
        words.extend(request.scopes.iter().map(|scope| format!("{namespace}/{}:{scope}", request.api_ref.name)));
    }
    words.sort();
    words.dedup();
    if spec.environment == Environment::Sandbox {
        words.push("(sandbox)".to_owned());
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use portreeve_registration::{Registration, Secret};
    use serde_json::json;

    use super::*;

    fn entry(scope: &str, asked: Option<&str>) -> JournalEntry {
        let registration = Registration {
            client_id: "c1".to_owned(),
            client_id_issued_at: None,
            client_secret: Some(Secret::new("s".to_owned())),
            client_secret_expires_at: None,
            faults: Vec::new(),
            registration_access_token: None,
            registration_client_uri: None,
            reported: serde_json::Map::new(),
        };
        let sent = json!({"scope": scope}).as_object().cloned();
        JournalEntry {
            registration: Some(registration),
            last_sent: sent,
            asked: asked.map(str::to_owned),
            ..JournalEntry::default()
        }
    }

    fn access(asked: &str, scope: &str) -> Access {
        Access {
            asked: asked.split(' ').map(str::to_owned).collect(),
            scope: scope.to_owned(),
            withheld: scope.is_empty(),
            ..Access::default()
        }
    }

    #[test]
    fn c3_an_object_of_somebody_else_ends_and_narrows_no_client() {
        for (had, granted, scope, kept) in [
            ("a b", "a b", "a b", vec![]),
            ("a b", "a", "a b", vec!["b"]),
            ("a b", "", "a b", vec!["a", "b"]),
            ("a", "b", "a b", vec!["a"]),
            ("", "a", "a", vec![]),
        ] {
            for before in [Some("a b"), None] {
                let found = grant(&access("a b", granted), "a b", &entry(had, before), None);
                assert_eq!((found.scope.as_str(), found.kept), (scope, kept.iter().map(ToString::to_string).collect()));
                assert_eq!(found.deletion, Deletion::Keep, "{had} {granted}");
            }
        }
    }

    #[test]
    fn c3_its_own_edit_or_word_decides_anew() {
        let edited = grant(&access("a", "a"), "a", &entry("a b", Some("a b")), None);
        assert_eq!((edited.scope.as_str(), edited.deletion), ("a", Deletion::Keep));
        let edited = grant(&access("a", ""), "a", &entry("a b", Some("a b")), None);
        assert_eq!(edited.deletion, Deletion::Delete);
        for (accepted, deletion) in [(Some("c1"), Deletion::Delete), (Some("c0"), Deletion::Keep)] {
            assert_eq!(grant(&access("a", ""), "a", &entry("a", Some("a")), accepted).deletion, deletion);
        }
    }

    #[test]
    fn c3_nothing_new_is_registered_without_a_grant() {
        let found = grant(&access("a b", "b"), "a b", &JournalEntry::default(), None);
        assert_eq!((found.scope.as_str(), found.deletion), ("b", Deletion::Keep));
        let found = grant(&access("a", ""), "a", &JournalEntry::default(), None);
        assert_eq!(found.deletion, Deletion::Delete);
        let begun = portreeve_registration::Intent {
            step: Step::Delete,
            marker: portreeve_registration::Marker { software_id: "u".to_owned(), software_version: None },
            generation: 1,
            token_in_doubt: false,
        };
        let ended = JournalEntry { intent: Some(begun), ..entry("a", Some("a")) };
        assert_eq!(grant(&access("a", ""), "a", &ended, None).deletion, Deletion::Delete);
    }
}
