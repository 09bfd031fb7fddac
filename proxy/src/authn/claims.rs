//! Facts about the owner of a token, and the proof that they were checked.

use std::{
    any::Any,
    sync::{LazyLock, OnceLock},
};

use serde_json::{Map, Value};

use super::{binding::Binding, derived::Derivations, json};
use crate::clock::UnixMillis;

/// Proof that a value was verified; only this folder can make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

/// What a token says, in the types of RFC 7519 section 4.1 and RFC 7662 section 2.2.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    issuer: Option<Box<str>>,
    subject: Option<Box<str>>,
    client_id: Option<Box<str>>,
    audiences: Box<[Box<str>]>,
    /// In order, for a binary search.
    scopes: Box<[Box<str>]>,
    expires_at: Option<UnixMillis>,
    not_before: Option<UnixMillis>,
    issued_at: Option<UnixMillis>,
    binding: Binding,
    whole: Box<Whole>,
}

/// The whole object, parsed again only for policies that ask for more than the fields of [`Claims`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Whole {
    text: Box<[u8]>,
    object: OnceLock<Value>,
    derived: Derivations,
}

/// A claim of the wrong JSON type is a fault, never taken for absent (J5).
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
    /// Reads the members that decide; all others are left alone. `text_of_members` is what `members` were parsed from.
    pub(super) fn read(members: &Map<String, Value>, text_of_members: &[u8]) -> Result<Self, WrongType> {
        Ok(Self {
            issuer: text(members, "iss")?,
            subject: text(members, "sub")?,
            client_id: text(members, "client_id")?,
            audiences: audiences(members)?,
            scopes: scopes(members)?,
            expires_at: numeric_date(members, "exp")?,
            not_before: numeric_date(members, "nbf")?,
            issued_at: numeric_date(members, "iat")?,
            binding: Binding::read(members)?,
            whole: Box::new(Whole { text: text_of_members.into(), ..Whole::default() }),
        })
    }

    /// `iss`
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// `sub`
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// `client_id`
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// `aud`
    pub fn audiences(&self) -> impl Iterator<Item = &str> {
        self.audiences.iter().map(AsRef::as_ref)
    }

    /// Whether `scope` holds this token.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.binary_search_by(|held| held.as_ref().cmp(scope)).is_ok()
    }

    /// Every scope, in order.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scopes.iter().map(AsRef::as_ref)
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

    /// Every claim as one JSON object, parsed on first need and then kept: a token that no policy asks for more than
    /// scopes costs no tree.
    pub fn object(&self) -> &Value {
        // The text was read once already, so that it parses.
        let parse = || Value::Object(json::parse_object(&self.whole.text).unwrap_or_default());
        self.whole.object.get_or_init(parse)
    }

    /// The members of [`Claims::object`].
    pub fn members(&self) -> &Map<String, Value> {
        static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        self.object().as_object().unwrap_or(&NONE)
    }

    /// Something made of these claims, kept with them under the digest of how it is made; `None` when there is no room
    /// for it. What was made under another recipe is never handed out.
    pub fn derived<T: Any + Send + Sync>(&self, recipe: &[u8; 32], make: impl FnOnce() -> T) -> Option<&T> {
        self.whole.derived.get_or_make(recipe, make)
    }

    /// `cnf`: the key that the sender has to prove.
    pub(super) fn binding(&self) -> &Binding {
        &self.binding
    }
}

fn text(members: &Map<String, Value>, name: &'static str) -> Result<Option<Box<str>>, WrongType> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str().into())),
        Some(_) => Err(WrongType(name)),
    }
}

/// A string or a list of strings (RFC 7519 section 4.1.3).
fn audiences(members: &Map<String, Value>) -> Result<Box<[Box<str>]>, WrongType> {
    let wrong = || WrongType("aud");
    match members.get("aud") {
        None => Ok(Box::default()),
        Some(Value::String(one)) => Ok([one.as_str().into()].into()),
        Some(Value::Array(list)) if list.len() <= MAX_ENTRIES => {
            list.iter().map(|one| one.as_str().map(Into::into).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

/// Scope tokens separated by single blanks (RFC 8693 section 4.2, RFC 7662 section 2.2).
fn scopes(members: &Map<String, Value>) -> Result<Box<[Box<str>]>, WrongType> {
    let Some(scope) = text(members, "scope")? else { return Ok(Box::default()) };
    let mut list: Vec<Box<str>> = scope.split(' ').filter(|one| !one.is_empty()).map(Into::into).collect();
    if list.len() > MAX_ENTRIES {
        return Err(WrongType("scope"));
    }
    list.sort_unstable();
    list.dedup();
    Ok(list.into())
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
        Claims::read(value.as_object().unwrap(), value.to_string().as_bytes())
    }

    #[test]
    fn every_claim_refuses_every_wrong_type_j5() {
        let wrong = [json!(null), json!(true), json!({}), json!(-1), json!(1e300), json!([1]), json!([null])];
        for name in ["iss", "sub", "client_id", "aud", "scope", "exp", "nbf", "iat"] {
            for value in wrong.iter().chain([&json!(""), &json!("9999"), &json!("NaN"), &json!(12)]) {
                let text = value.is_string() && !matches!(name, "exp" | "nbf" | "iat");
                let number = value == &json!(12) && matches!(name, "exp" | "nbf" | "iat");
                assert_eq!(read(&json!({ name: value })).is_ok(), text || number, "{name}: {value}");
            }
        }
    }

    #[test]
    fn every_other_claim_is_there_when_asked_for() {
        let value = json!({"sub": "ada", "tenant": "acme", "roles": ["clerk"], "level": 3});
        let claims = read(&value).unwrap();
        assert_eq!(Value::Object(claims.members().clone()), value);
        assert_eq!(claims.derived(&[1; 32], || claims.members().len()), Some(&4));
        assert_eq!(claims, claims.clone());
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
