//! Facts about the owner of a token, and the proof that they were checked.

use std::{any::Any, ops::Deref};

use serde_json::{Map, Value};

use super::{
    binding::Binding,
    claim_texts::{ClaimTexts, Name},
    json,
    memoized::{Derived, MemoizedValues},
};
use crate::{clock::UnixMillis, heap_size::HeapSize};

/// Proof that a value was verified; only this folder can make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

/// What a token says, in the types of RFC 7519 section 4.1 and RFC 7662 section 2.2. Tens of thousands are held, so that
/// all their texts share one allocation, and the whole object is parsed only for policies that ask for more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    texts: ClaimTexts,
    expires_at: Option<UnixMillis>,
    not_before: Option<UnixMillis>,
    issued_at: Option<UnixMillis>,
    binding: Binding,
    /// The whole object, and nothing else: it is made while others are, and takes no place from them.
    object: MemoizedValues,
    derived: MemoizedValues,
}

/// Every claim as one JSON object.
struct ClaimsObject(Value);

impl HeapSize for ClaimsObject {
    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}

/// Recipe of [`ClaimsObject`]: nothing but the claims decides how it is made.
const OBJECT: [u8; 32] = [0; 32];

/// A claim of the wrong JSON type that decides is a fault, never taken for absent (J5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("claim {0} has the wrong type")]
pub(super) struct WrongType(pub(super) &'static str);

/// Most entries of `aud` and of `scope`.
const MAX_ENTRIES: usize = 256;

/// Latest time that is believed: the year 9999.
const MAX_SECONDS: f64 = 253_402_300_800.0;

impl<T> Verified<T> {
    pub(super) fn new(value: T) -> Self {
        Self(value)
    }

    /// The value.
    pub fn get(&self) -> &T {
        &self.0
    }
}

impl Claims {
    /// Reads the members that decide; all others are kept as they are.
    pub(super) fn read(members: &Map<String, Value>) -> Result<Self, WrongType> {
        Self::read_with(members, "scope")
    }

    /// The same where another claim holds the scopes; then `scope` is a claim like any other.
    pub(super) fn read_with(members: &Map<String, Value>, scope_claim: &str) -> Result<Self, WrongType> {
        let (issuer, subject) = (text(members, "iss")?, text(members, "sub")?);
        // A name for records and policies: one that is no text names nobody, and refuses nothing.
        let client_id = members.get("client_id").and_then(Value::as_str);
        let (audiences, scopes) = (audiences(members)?, scopes(members, scope_claim));
        Ok(Self {
            texts: ClaimTexts::new(members, [issuer, subject, client_id], &audiences, &scopes),
            expires_at: numeric_date(members, "exp")?,
            not_before: numeric_date(members, "nbf")?,
            issued_at: numeric_date(members, "iat")?,
            binding: Binding::read(members)?,
            object: MemoizedValues::default(),
            derived: MemoizedValues::default(),
        })
    }

    /// `iss`
    pub fn issuer(&self) -> Option<&str> {
        self.texts.name(Name::Issuer)
    }

    /// `sub`
    pub fn subject(&self) -> Option<&str> {
        self.texts.name(Name::Subject)
    }

    /// `client_id`
    pub fn client_id(&self) -> Option<&str> {
        self.texts.name(Name::Client)
    }

    /// `aud`
    pub fn audiences(&self) -> impl Iterator<Item = &str> {
        self.texts.audiences()
    }

    /// Whether `scope` holds this token.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.texts.scopes().any(|held| held == scope)
    }

    /// Every scope, in order.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.texts.scopes()
    }

    /// `exp`: the first moment at which the token counts no longer.
    pub fn expires_at(&self) -> Option<UnixMillis> {
        self.expires_at
    }

    /// `nbf`
    pub fn not_before(&self) -> Option<UnixMillis> {
        self.not_before
    }

    /// `iat`
    pub fn issued_at(&self) -> Option<UnixMillis> {
        self.issued_at
    }

    /// Every claim as one JSON object, parsed on first need and then kept as long as there is room: a token that no
    /// policy asks for more than scopes costs no tree.
    pub fn object(&self) -> impl Deref<Target = Value> {
        // The text was made from an object, so that it parses.
        let parse = || ClaimsObject(Value::Object(json::parse_object(self.texts.object()).unwrap_or_default()));
        Object(self.object.get_or_make(&OBJECT, parse))
    }

    /// Every claim, as the text of one JSON object.
    pub(super) fn text(&self) -> &[u8] {
        self.texts.object()
    }

    /// Something made of these claims, kept with them under the digest of how it is made as long as there is room. What
    /// was made under another recipe is never handed out.
    pub(crate) fn derived<T>(&self, recipe: &[u8; 32], make: impl Fn() -> T) -> Derived<'_, T>
    where
        T: Any + Send + Sync + HeapSize,
    {
        self.derived.get_or_make(recipe, make)
    }

    /// `cnf`: the key that the sender has to prove.
    pub(super) fn binding(&self) -> &Binding {
        &self.binding
    }
}

/// The object, kept or made for this once.
struct Object<'a>(Derived<'a, ClaimsObject>);

impl Deref for Object<'_> {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0.0
    }
}

impl HeapSize for Claims {
    /// What is derived counts for itself ([`crate::heap_size::MemoryBudget`]).
    fn heap_bytes(&self) -> usize {
        self.texts.heap_bytes().saturating_add(self.binding.heap_bytes())
    }
}

fn text<'a>(members: &'a Map<String, Value>, name: &'static str) -> Result<Option<&'a str>, WrongType> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(WrongType(name)),
    }
}

/// A string or a list of strings (RFC 7519 section 4.1.3).
fn audiences(members: &Map<String, Value>) -> Result<Vec<&str>, WrongType> {
    let wrong = || WrongType("aud");
    match members.get("aud") {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one]),
        Some(Value::Array(list)) if list.len() <= MAX_ENTRIES => {
            list.iter().map(|one| one.as_str().ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

/// Scope tokens separated by single blanks (RFC 8693 section 4.2, RFC 7662 section 2.2), or a list of them, as many
/// servers write it. Scopes only ever permit, so that a value of another form holds none and spoils nothing else.
fn scopes<'a>(members: &'a Map<String, Value>, claim: &str) -> Vec<&'a str> {
    let mut list: Vec<&str> = match members.get(claim) {
        Some(Value::String(scope)) => scope.split(' ').filter(|one| !one.is_empty()).collect(),
        Some(Value::Array(list)) => {
            let one = |one: &Value| one.as_str().is_some_and(|text| !text.contains(|c: char| c.is_whitespace()));
            if !list.iter().all(one) {
                return Vec::new();
            }
            list.iter().filter_map(Value::as_str).filter(|one| !one.is_empty()).collect()
        }
        _ => Vec::new(),
    };
    if list.len() > MAX_ENTRIES {
        return Vec::new();
    }
    list.sort_unstable();
    list.dedup();
    list
}

/// Seconds since 1970, perhaps with a fraction (RFC 7519 section 2).
fn numeric_date(members: &Map<String, Value>, name: &'static str) -> Result<Option<UnixMillis>, WrongType> {
    let Some(value) = members.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|_| value.is_number()).ok_or(WrongType(name))?;
    if !(0.0..=MAX_SECONDS).contains(&seconds) {
        return Err(WrongType(name));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded above and below")]
    let millis = (seconds * 1000.0) as u64;
    Ok(Some(UnixMillis(millis)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<Claims, WrongType> {
        Claims::read(value.as_object().unwrap())
    }

    #[test]
    fn every_claim_refuses_every_wrong_type_j5() {
        let wrong = [json!(null), json!(true), json!({}), json!(-1), json!(1e300), json!([1]), json!([null])];
        for name in ["iss", "sub", "aud", "exp", "nbf", "iat"] {
            for value in wrong.iter().chain([&json!(""), &json!("9999"), &json!("NaN"), &json!(12)]) {
                let text = value.is_string() && !matches!(name, "exp" | "nbf" | "iat");
                let number = value == &json!(12) && matches!(name, "exp" | "nbf" | "iat");
                assert_eq!(read(&json!({ name: value })).is_ok(), text || number, "{name}: {value}");
            }
        }
    }

    #[test]
    fn fault_05_a_list_of_scopes_means_the_same_and_no_other_form_spoils_the_rest() {
        let held = |scope: Value| {
            let claims = read(&json!({"sub": "ada", "scope": scope})).unwrap();
            claims.scopes().map(str::to_owned).collect::<Vec<_>>().join("|")
        };
        assert_eq!(held(json!("b a  a")), "a|b");
        assert_eq!(held(json!(["b", "a", "a", ""])), "a|b");
        let many: Vec<String> = (0..257).map(|n| n.to_string()).collect();
        for none in [
            json!(null),
            json!(7),
            json!(true),
            json!({"a": 1}),
            json!([]),
            json!(["a", 7]),
            json!(["a", "b c"]),
            json!(["a", "b\tc"]),
            json!(["a", ["b"]]),
            json!(many),
            json!(many.join(" ")),
        ] {
            assert_eq!(held(none.clone()), "", "{none}");
        }
        for client in [json!(7), json!(null), json!(["a"])] {
            assert_eq!(read(&json!({"client_id": client})).unwrap().client_id(), None, "{client}");
        }
    }

    #[test]
    fn every_other_claim_is_there_when_asked_for() {
        let value = json!({"sub": "ada", "tenant": "acme", "roles": ["clerk"], "level": 3});
        let claims = read(&value).unwrap();
        assert_eq!(*claims.object(), value);
        assert_eq!(*claims.object(), value, "the second time from what was kept");
        assert_eq!(claims, claims.clone());
    }

    #[test]
    fn fault_05_another_claim_may_hold_the_scopes_and_then_it_alone_does() {
        let members = json!({"scp": ["read", "write"], "scope": "admin", "roles": "a b"});
        let held = |claim: &str| {
            let claims = Claims::read_with(members.as_object().unwrap(), claim).unwrap();
            claims.scopes().map(str::to_owned).collect::<Vec<_>>().join("|")
        };
        assert_eq!(
            (held("scope"), held("scp"), held("roles"), held("none")),
            ("admin".to_owned(), "read|write".to_owned(), "a|b".to_owned(), String::new())
        );
    }

    #[test]
    fn reads_fractions_lists_and_scopes() {
        let claims = read(&json!({"exp": 12.5, "aud": ["a", "b"], "scope": "write read  read"})).unwrap();
        assert_eq!(claims.expires_at(), Some(UnixMillis(12_500)));
        assert_eq!(claims.audiences().collect::<Vec<_>>(), ["a", "b"]);
        assert!(
            claims.has_scope("read") && claims.has_scope("write") && !claims.has_scope("") && !claims.has_scope("rea")
        );
    }
}
