//! Typed comparisons of claims that a JSONPath selects (RFC 9535).
//!
//! Types are never bent: `"3"` is not `3`, and a claim of another type than the rule speaks of is a fault, not a miss, so
//! that "must not be" rules refuse it too.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
use serde_json_path::JsonPath;

use super::Judgement;
use crate::gate::{self, TooCostly};

/// One test of the caller's claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimRule {
    /// Which claims.
    pub path: ClaimPath,
    /// What must be true of them.
    pub test: ClaimTest,
}

/// What must be true of the selected claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ClaimTest {
    /// The list holds every one of these.
    ContainsAllOf(Vec<Scalar>),
    /// The list holds one of these.
    ContainsAnyOf(Vec<Scalar>),
    /// The one selected value is this.
    Equals(Scalar),
    /// Something is selected, or nothing is.
    Exists(bool),
    /// The one selected value is one of these.
    In(Vec<Scalar>),
    /// The one selected value is a number of this range.
    Range(NumberRange),
}

/// Bounds, both included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum NumberRange {
    /// This or more.
    AtLeast(Number),
    /// This or less.
    AtMost(Number),
    /// From the first to the second.
    Between(Number, Number),
}

/// A JSON value that is neither list nor object nor null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A number; 3 and 3.0 are the same.
    Number(Number),
    /// A text.
    Text(String),
}

/// A JSONPath whose cost grows no faster than the claims: at most one `..`, or one filter that looks at the members of
/// its own node only.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClaimPath {
    text: String,
    path: JsonPath,
}

/// A text that is no JSONPath, or one that could cost too much.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClaimPath {
    /// More than one `..` or filter, or a filter that walks.
    #[error("{0:?} could cost too much: at most one `..`, or one filter without `*`, `..`, `$` and functions")]
    Costly(String),
    /// More than 256 bytes.
    #[error("a JSONPath here has at most 256 bytes")]
    TooLong,
    /// Not RFC 9535.
    #[error("{0:?} is not a JSONPath (RFC 9535): {1} at column {2}")]
    Syntax(String, String, usize),
}

impl ClaimRule {
    /// Judges an object of claims.
    pub fn judge(&self, claims: &Value) -> Judgement {
        let nodes = self.path.path.query(claims).all();
        match &self.test {
            ClaimTest::Exists(_) if nodes.iter().any(|node| node.is_null()) => Judgement::Fault,
            ClaimTest::Exists(wanted) => Judgement::of(nodes.is_empty() != *wanted),
            ClaimTest::Equals(wanted) => one_of(&nodes, std::slice::from_ref(wanted)),
            ClaimTest::In(list) => one_of(&nodes, list),
            ClaimTest::Range(range) => match nodes.as_slice() {
                [] => Judgement::Fails,
                [Value::Number(number)] => Judgement::of(range.holds(number)),
                _ => Judgement::Fault,
            },
            ClaimTest::ContainsAllOf(wanted) => contains(&nodes, |held| wanted.iter().all(|one| among(one, held))),
            ClaimTest::ContainsAnyOf(wanted) => contains(&nodes, |held| wanted.iter().any(|one| among(one, held))),
        }
    }
}

fn one_of(nodes: &[&Value], list: &[Scalar]) -> Judgement {
    match nodes {
        [] => Judgement::Fails,
        [node] if list.iter().any(|one| one.equals(node)) => Judgement::Holds,
        [node] if list.iter().any(|one| one.same_type(node)) => Judgement::Fails,
        _ => Judgement::Fault,
    }
}

/// A list that is selected as a whole, the several values that are selected, or the one value, as a list of one.
fn contains(nodes: &[&Value], holds: impl Fn(&[&Value]) -> bool) -> Judgement {
    let elements: Vec<&Value> = match nodes {
        [Value::Array(list)] => list.iter().collect(),
        several => several.to_vec(),
    };
    let scalar = |value: &&Value| value.is_boolean() || value.is_number() || value.is_string();
    if !elements.iter().all(scalar) {
        return Judgement::Fault;
    }
    Judgement::of(holds(&elements))
}

fn among(one: &Scalar, held: &[&Value]) -> bool {
    held.iter().any(|value| one.equals(value))
}

// === impl Scalar ===

impl Scalar {
    /// Whether a JSON value is this one, of the same type.
    pub fn equals(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Bool(wanted), Value::Bool(found)) => wanted == found,
            (Self::Number(wanted), Value::Number(found)) => order(wanted, found).is_some_and(std::cmp::Ordering::is_eq),
            (Self::Text(wanted), Value::String(found)) => wanted == found,
            _ => false,
        }
    }

    fn same_type(&self, value: &Value) -> bool {
        match self {
            Self::Bool(_) => value.is_boolean(),
            Self::Number(_) => value.is_number(),
            Self::Text(_) => value.is_string(),
        }
    }
}

impl TryFrom<Value> for Scalar {
    type Error = Value;

    fn try_from(value: Value) -> Result<Self, Value> {
        match value {
            Value::Bool(value) => Ok(Self::Bool(value)),
            Value::Number(value) => Ok(Self::Number(value)),
            Value::String(value) => Ok(Self::Text(value)),
            other @ (Value::Null | Value::Array(_) | Value::Object(_)) => Err(other),
        }
    }
}

// === impl NumberRange ===

impl NumberRange {
    fn holds(&self, number: &Number) -> bool {
        let at_least = |bound| order(number, bound).is_some_and(std::cmp::Ordering::is_ge);
        let at_most = |bound| order(number, bound).is_some_and(std::cmp::Ordering::is_le);
        match self {
            Self::AtLeast(bound) => at_least(bound),
            Self::AtMost(bound) => at_most(bound),
            Self::Between(low, high) => at_least(low) && at_most(high),
        }
    }
}

/// Whole numbers are compared as such, for beyond 2^53 a float tells neighbours no longer apart.
fn order(a: &Number, b: &Number) -> Option<std::cmp::Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

// === impl ClaimPath ===

impl ClaimPath {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Everything that it selects.
    pub fn select<'a>(&self, claims: &'a Value) -> Vec<&'a Value> {
        self.path.query(claims).all()
    }

    /// The one text that it selects, if it selects one and only one.
    pub fn text<'a>(&self, claims: &'a Value) -> Option<&'a str> {
        self.path.query(claims).exactly_one().ok()?.as_str()
    }
}

/// Looks at the text outside of quotes, where `..`, `?`, `*`, `$` and `(` can only be what they are.
fn is_costly(text: &str) -> bool {
    let mut bare = String::with_capacity(text.len());
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(_), '\\') => drop(characters.next()),
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, character) => bare.push(character),
        }
    }
    let descents = bare.matches("..").count();
    let filter = bare.split_once('?').map(|(_, filter)| filter);
    match filter {
        None => descents > 1,
        Some(filter) => descents > 0 || filter.contains(['?', '*', '$']) || has_call(filter),
    }
}

/// A bracket right behind a letter is a function's.
fn has_call(filter: &str) -> bool {
    filter.as_bytes().windows(2).any(|pair| matches!(pair, [before, b'('] if before.is_ascii_alphanumeric()))
}

impl TryFrom<String> for ClaimPath {
    type Error = InvalidClaimPath;

    fn try_from(text: String) -> Result<Self, InvalidClaimPath> {
        // Before the parser, whose time doubles with each level of nesting.
        match gate::json_path(&text) {
            Err((_, TooCostly::Bytes(_))) => return Err(InvalidClaimPath::TooLong),
            Err((_, TooCostly::Depth(_))) => return Err(InvalidClaimPath::Costly(text)),
            Ok(()) if is_costly(&text) => return Err(InvalidClaimPath::Costly(text)),
            Ok(()) => {}
        }
        let path = JsonPath::parse(&text).map_err(|error| {
            InvalidClaimPath::Syntax(text.clone(), error.message().to_owned(), error.position().saturating_add(1))
        })?;
        Ok(Self { text, path })
    }
}

impl From<ClaimPath> for String {
    fn from(path: ClaimPath) -> Self {
        path.text
    }
}

impl fmt::Debug for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for ClaimPath {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for ClaimPath {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Judgement::*, *};

    fn judge(path: &str, test: &Value, claims: &Value) -> Judgement {
        let rule = json!({"path": path, "test": test});
        serde_json::from_value::<ClaimRule>(rule).unwrap().judge(claims)
    }

    #[test]
    fn types_are_never_bent() {
        let claims = json!({
            "tenant": "acme", "level": 3, "score": 2.5, "big": 9_007_199_254_740_993_u64, "staff": true, "none": null,
            "roles": ["clerk", "auditor"], "mixed": ["a", {}], "realm": {"roles": ["x"]}, "one": "clerk",
            "groups": [{"name": "a"}, {"name": "b", "main": true}],
        });
        for (path, test, verdict) in [
            ("$.tenant", json!({"in": ["acme", "b"]}), Holds),
            ("$.tenant", json!({"in": ["b"]}), Fails),
            ("$.tenant", json!({"in": [3]}), Fault),
            ("$.absent", json!({"in": ["acme"]}), Fails),
            ("$.none", json!({"in": ["acme"]}), Fault),
            ("$.roles", json!({"in": ["clerk"]}), Fault),
            ("$.roles[*]", json!({"in": ["clerk", "auditor"]}), Fault),
            ("$.level", json!({"equals": 3}), Holds),
            ("$.level", json!({"equals": 3.0}), Holds),
            ("$.level", json!({"equals": "3"}), Fault),
            ("$.staff", json!({"equals": true}), Holds),
            ("$.staff", json!({"equals": "true"}), Fault),
            ("$.big", json!({"equals": 9_007_199_254_740_992_u64}), Fails),
            ("$.level", json!({"range": {"atLeast": 3}}), Holds),
            ("$.level", json!({"range": {"between": [4, 9]}}), Fails),
            ("$.score", json!({"range": {"atMost": 2.5}}), Holds),
            ("$.tenant", json!({"range": {"atLeast": 1}}), Fault),
            ("$.absent", json!({"range": {"atLeast": 1}}), Fails),
            ("$.tenant", json!({"exists": true}), Holds),
            ("$.absent", json!({"exists": true}), Fails),
            ("$.absent", json!({"exists": false}), Holds),
            ("$.tenant", json!({"exists": false}), Fails),
            ("$.none", json!({"exists": false}), Fault),
            ("$.roles", json!({"containsAllOf": ["clerk", "auditor"]}), Holds),
            ("$.roles", json!({"containsAllOf": ["clerk", "root"]}), Fails),
            ("$.roles", json!({"containsAnyOf": ["root", "clerk"]}), Holds),
            ("$.one", json!({"containsAnyOf": ["clerk"]}), Holds),
            ("$.realm.roles", json!({"containsAnyOf": ["x"]}), Holds),
            ("$.absent", json!({"containsAnyOf": ["x"]}), Fails),
            ("$.mixed", json!({"containsAnyOf": ["a"]}), Fault),
            ("$.groups[*].name", json!({"containsAllOf": ["a", "b"]}), Holds),
            ("$.groups[?@.main == true].name", json!({"equals": "b"}), Holds),
            ("$..main", json!({"equals": true}), Holds),
        ] {
            assert_eq!(judge(path, &test, &claims), verdict, "{path} {test}");
        }
    }

    #[test]
    fn a_list_holds_values_of_every_scalar_kind_and_nothing_else() {
        for (list, verdict) in [
            (json!([true]), Holds),
            (json!([true, 7, "a"]), Holds),
            (json!([true, null]), Fault),
            (json!([true, [1]]), Fault),
            (json!([true, {}]), Fault),
            (json!([7, "a"]), Fails),
            (json!([]), Fails),
        ] {
            assert_eq!(judge("$.list", &json!({"containsAnyOf": [true]}), &json!({"list": list})), verdict, "{list}");
        }
    }

    #[test]
    fn a_path_is_its_text_and_selects_what_it_says() {
        let path = |text: &str| ClaimPath::try_from(text.to_owned()).unwrap();
        let claims = json!({"a": ["x", "y"], "b": "z", "c": 7});
        assert_eq!(path("$.a[*]").select(&claims), [&json!("x"), &json!("y")]);
        assert!(path("$.none").select(&claims).is_empty());
        for (text, found) in [("$.b", Some("z")), ("$.a[1]", Some("y")), ("$.a[*]", None), ("$.c", None), ("$.n", None)]
        {
            assert_eq!(path(text).text(&claims), found, "{text}");
        }
        assert_eq!(
            (path("$.b").as_str(), String::from(path("$.b")), format!("{:?}", path("$.b"))),
            ("$.b", "$.b".to_owned(), "$.b".to_owned())
        );
        assert!(path("$.b") == path("$.b") && path("$.b") != path("$.c"));
    }

    #[test]
    fn selectors_that_could_cost_too_much_are_refused_d4() {
        for (path, good) in [
            ("$", true),
            ("$.a['b..c?*'][0]", true),
            // A quote ends where it ends, and the other kind within it is a character.
            ("$['a']..b['c']..d", false),
            ("$['\"']..b..c", false),
            ("$['a\\'..b..c?*']", true),
            ("$..a", true),
            ("$..a..b", false),
            ("$[?@.a > 1].b", true),
            ("$[?@.a == 'x?*$..']", true),
            ("$[?(@.a == 1)]", true),
            ("$..[?@.a]", false),
            ("$[?@[*]]", false),
            ("$[?$.a]", false),
            ("$[?@.a[?@.b]]", false),
            ("$[?match(@.a, '(a+)+$')]", false),
            ("$[?length(@.a) > 1]", false),
            ("a.b", false),
            ("$.", false),
            ("", false),
        ] {
            assert_eq!(ClaimPath::try_from(path.to_owned()).is_ok(), good, "{path}");
        }
        assert_eq!(ClaimPath::try_from("$.a".repeat(200)), Err(InvalidClaimPath::TooLong));
        // Forty levels of this did not end in minutes.
        let nested = format!("${}[0]{}", "[?@".repeat(40), "]".repeat(40));
        assert_eq!(ClaimPath::try_from(nested.clone()), Err(InvalidClaimPath::Costly(nested)));
    }
}
