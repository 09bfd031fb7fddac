//! What the server made of our metadata (RFC 7591 section 3.2.1: it may replace or drop any value).
//!
//! In: what is desired and what the server last reported. Out: each member that is not honoured. Order and notation
//! that mean the same are no drift, and neither is a default that the server leaves unsaid.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use crate::{Desired, Document, JournalEntry};

/// A member that the server does not hold as it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// Its name on the wire, e.g. `scope`.
    pub member: String,
    /// What the server did with it.
    pub kind: DriftKind,
}

/// What the server did with a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DriftKind {
    /// It holds this value instead.
    Changed(Value),
    /// It does not report the member at all.
    Dropped,
}

/// Each desired member that `reported` lacks or holds differently, in the order of their names. A marker that nobody
/// asked for is left out.
pub fn compare(desired: &Desired, entry: &JournalEntry, reported: &Document) -> Vec<Drift> {
    let mut drift: Vec<Drift> = desired
        .document_with(entry)
        .iter()
        .filter(|(member, _)| desired.is_asked(member))
        .filter_map(|(member, wanted)| {
            let kind = deviation(member, wanted, reported.get(member).filter(|value| !value.is_null()))?;
            Some(Drift { member: member.clone(), kind })
        })
        .collect();
    drift.sort_by(|a, b| a.member.cmp(&b.member));
    drift
}

fn deviation(member: &str, wanted: &Value, reported: Option<&Value>) -> Option<DriftKind> {
    let Some(reported) = reported else {
        let unsaid = is_empty(wanted) || default_of(member).is_some_and(|default| default == *wanted);
        return (!unsaid).then_some(DriftKind::Dropped);
    };
    (!same(member, wanted, reported)).then(|| DriftKind::Changed(reported.clone()))
}

/// What an absent member means (RFC 7591 section 2).
fn default_of(member: &str) -> Option<Value> {
    match member {
        "grant_types" => Some(json!(["authorization_code"])),
        "response_types" => Some(json!(["code"])),
        "token_endpoint_auth_method" => Some(json!("client_secret_basic")),
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Null => true,
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether two values of a member mean the same: scopes are a set of words, lists of the standard are sets, a home page
/// is a URL. Redirect URIs are compared letter by letter, as the server will do (RFC 9700 section 2.1).
fn same(member: &str, wanted: &Value, reported: &Value) -> bool {
    match (member, wanted, reported) {
        ("scope", Value::String(a), Value::String(b)) => words(a) == words(b),
        ("contacts" | "grant_types" | "redirect_uris" | "response_types", Value::Array(a), Value::Array(b)) => {
            set(a) == set(b) && a.len() == b.len()
        }
        ("jwks", wanted, reported) => same_keys(wanted, reported),
        ("client_uri", Value::String(a), Value::String(b)) => match (Url::parse(a), Url::parse(b)) {
            (Ok(a), Ok(b)) => a == b,
            (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
        },
        _ => wanted == reported,
    }
}

/// Whether two key sets hold the same keys. A server may leave out what says nothing of the key itself, such as `use`.
fn same_keys(wanted: &Value, reported: &Value) -> bool {
    const MATERIAL: [&str; 7] = ["kty", "kid", "crv", "x", "y", "n", "e"];
    let keys = |set: &Value| -> Option<BTreeSet<Vec<String>>> {
        let keys = set.get("keys")?.as_array()?;
        let part = |key: &Value, member: &str| key.get(member).map(Value::to_string).unwrap_or_default();
        Some(keys.iter().map(|key| MATERIAL.iter().map(|member| part(key, member)).collect()).collect())
    };
    let wanted = keys(wanted);
    wanted.is_some() && wanted == keys(reported)
}

fn words(scope: &str) -> BTreeSet<&str> {
    scope.split_ascii_whitespace().collect()
}

fn set(values: &[Value]) -> BTreeSet<Option<&str>> {
    values.iter().map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Drift, DriftKind, compare};
    use crate::{Document, JournalEntry, tests::desired_with};

    fn drift(change: impl FnOnce(&mut Document)) -> Vec<(String, Option<Value>)> {
        let desired = desired_with(|metadata| {
            metadata.scope = Some("a b".to_owned());
            metadata.client_uri = Some("https://shop.example.com".to_owned());
            metadata.contacts = vec!["x".to_owned(), "y".to_owned()];
            metadata.vendor.insert("org".to_owned(), json!("team-a"));
        });
        let mut reported = desired.document().clone();
        change(&mut reported);
        let named = |Drift { member, kind }| match kind {
            DriftKind::Changed(value) => (member, Some(value)),
            DriftKind::Dropped => (member, None),
        };
        compare(&desired, &JournalEntry::default(), &reported).into_iter().map(named).collect()
    }

    fn put(member: &str, value: Value) -> impl FnOnce(&mut Document) {
        move |reported| drop(reported.insert(member.to_owned(), value))
    }

    fn cut(member: &str) -> impl FnOnce(&mut Document) {
        move |reported| drop(reported.remove(member))
    }

    #[test]
    fn sees_no_drift_in_what_means_the_same() {
        assert_eq!(drift(|_| ()), []);
        assert_eq!(drift(put("scope", json!("b  a"))), []);
        assert_eq!(drift(put("contacts", json!(["y", "x"]))), []);
        assert_eq!(drift(put("client_uri", json!("https://shop.example.com/"))), []);
        assert_eq!(drift(put("application_type", json!("web"))), []);
        assert_eq!(drift(cut("token_endpoint_auth_method")), []);
        assert_eq!(drift(cut("redirect_uris")), []);
        assert_eq!(drift(cut("software_id")), [], "a marker that nobody asked for");
    }

    #[test]
    fn names_what_was_dropped_or_changed() {
        assert_eq!(drift(cut("org")), [("org".to_owned(), None)]);
        assert_eq!(drift(put("org", Value::Null)), [("org".to_owned(), None)]);
        assert_eq!(drift(cut("grant_types")), [("grant_types".to_owned(), None)]);
        for (member, value) in [
            ("scope", json!("a")),
            ("scope", json!(["a", "b"])),
            ("contacts", json!(["x"])),
            ("contacts", json!(["x", 7])),
            ("grant_types", json!(["authorization_code", "client_credentials"])),
            ("response_types", json!(["code"])),
            ("client_uri", json!("nowhere")),
            ("token_endpoint_auth_method", json!("none")),
        ] {
            assert_eq!(drift(put(member, value.clone())), [(member.to_owned(), Some(value))]);
        }
    }
}
