//! Signed tokens (RFC 7515, RFC 7519, RFC 8725, RFC 9068). In: compact text. Out: verified claims or a fault.
//!
//! The order of the steps: size (before this file), exactly two dots, canonical base64url, strict JSON, header rules,
//! signature, claims, times. Nothing of the token is believed before its signature held.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portreeve_policy::SignatureAlgorithm;
use serde_json::{Map, Value};

use super::{
    claims::{Claims, Verified},
    json,
    key_ring::{KeyRing, SignatureVerdict},
};
use crate::clock::UnixMillis;

/// How far `nbf` and `iat` may lie ahead, for clocks that differ. `exp` has no such grace.
const SKEW: Duration = Duration::from_secs(5);

/// Why a token is no proof of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum JwtFault {
    #[error("the algorithm is not an asymmetric signature")]
    Algorithm,
    #[error("a claim has the wrong type")]
    ClaimType,
    #[error("a header extension is critical and not understood")]
    Critical,
    #[error("the token has expired")]
    Expired,
    #[error("the token was issued in the future")]
    IssuedInFuture,
    #[error("iss is not the token service")]
    Issuer,
    #[error("not a compact JWS in canonical base64url without repeated members")]
    Malformed,
    #[error("a claim that every access token has is missing")]
    MissingClaim,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token is bound to a key that was not shown")]
    SenderConstrained,
    #[error("the signature is wrong")]
    Signature,
    #[error("typ is not that of an access token")]
    Type,
    #[error("the key set has no key of that identifier and algorithm")]
    UnknownKey,
}

/// Which `typ` a token may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenType {
    /// `at+jwt` and nothing else (RFC 9068 section 4).
    AccessToken,
    /// Also `JWT` and none, for the JWT of an introspection answer, which came over an authenticated channel.
    AnswerToken,
}

/// What can be told of a token by looking at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenShape {
    /// Not a compact JWS: only its issuer can read it.
    Opaque,
    /// A compact JWS that names this issuer; nothing is verified.
    Structured {
        /// Unverified `iss`, good only for choosing who is to verify.
        issuer: Option<String>,
    },
}

struct Compact<'a> {
    message: &'a str,
    signature: &'a str,
    header: Map<String, Value>,
    payload: Vec<u8>,
}

/// Tells opaque tokens from structured ones, by shape alone.
pub fn shape(token: &str) -> TokenShape {
    if token.bytes().filter(|b| *b == b'.').count() != 2 {
        return TokenShape::Opaque;
    }
    // A token that looks like a JWS but is a broken one counts as structured, so that it is never sent to a stranger.
    let issuer = split(token).and_then(|compact| {
        let claims = json::parse_object(&compact.payload)?;
        claims.get("iss").and_then(Value::as_str).map(str::to_owned)
    });
    TokenShape::Structured { issuer }
}

/// Verifies a token of this issuer at this time.
pub(super) fn verify(
    token: &str,
    kind: TokenType,
    issuer: &str,
    keys: &KeyRing,
    now: UnixMillis,
) -> Result<Verified<Claims>, JwtFault> {
    let compact = split(token).ok_or(JwtFault::Malformed)?;
    let (key_id, algorithm) = check_header(&compact.header, kind)?;
    match keys.verify(key_id, algorithm, compact.message.as_bytes(), compact.signature) {
        SignatureVerdict::Good => {}
        SignatureVerdict::Bad => return Err(JwtFault::Signature),
        SignatureVerdict::UnknownKey => return Err(JwtFault::UnknownKey),
    }
    let members = json::parse_object(&compact.payload).ok_or(JwtFault::Malformed)?;
    let claims =
        Claims::read(&members, &compact.payload).map_err(|_ignored: super::claims::WrongType| JwtFault::ClaimType)?;
    if members.contains_key("cnf") {
        // Until proofs of possession are checked, a bound token must not pass as a plain one (RFC 9449 section 7.2).
        return Err(JwtFault::SenderConstrained);
    }
    if claims.issuer() != Some(issuer) {
        return Err(JwtFault::Issuer);
    }
    if claims.expires_at().is_none() || claims.audiences().next().is_none() {
        return Err(JwtFault::MissingClaim);
    }
    let claims = Verified::new(claims);
    check_times(claims.get(), now)?;
    Ok(claims)
}

/// Whether the claims hold at this moment; asked again on every use (RFC 7519 sections 4.1.4 to 4.1.6).
pub(super) fn check_times(claims: &Claims, now: UnixMillis) -> Result<(), JwtFault> {
    if claims.expires_at().is_some_and(|expiry| now >= expiry) {
        return Err(JwtFault::Expired);
    }
    if claims.not_before().is_some_and(|start| start > now.plus(SKEW)) {
        return Err(JwtFault::NotYetValid);
    }
    if claims.issued_at().is_some_and(|issued| issued > now.plus(SKEW)) {
        return Err(JwtFault::IssuedInFuture);
    }
    Ok(())
}

fn split(token: &str) -> Option<Compact<'_>> {
    let (message, signature) = token.rsplit_once('.')?;
    let (header, payload) = message.split_once('.')?;
    if payload.contains('.') {
        return None;
    }
    // The engine refuses padding, blanks and unused bits, so one token has one text (J12).
    let header = json::parse_object(&URL_SAFE_NO_PAD.decode(header).ok()?)?;
    URL_SAFE_NO_PAD.decode(signature).ok()?;
    Some(Compact { message, signature, header, payload: URL_SAFE_NO_PAD.decode(payload).ok()? })
}

/// Header rules. Keys and their places in the token (`jwk`, `jku`, `x5u`, `x5c`) are never read (J4).
fn check_header(header: &Map<String, Value>, kind: TokenType) -> Result<(Option<&str>, SignatureAlgorithm), JwtFault> {
    if header.contains_key("crit") {
        return Err(JwtFault::Critical);
    }
    if header.contains_key("enc") || header.contains_key("zip") {
        return Err(JwtFault::Algorithm);
    }
    let name = header.get("alg").and_then(Value::as_str);
    let algorithm = name.and_then(SignatureAlgorithm::parse).ok_or(JwtFault::Algorithm)?;
    let key_id = match header.get("kid") {
        None => None,
        Some(Value::String(key_id)) => Some(key_id.as_str()),
        Some(_) => return Err(JwtFault::Malformed),
    };
    let is = |typ: &str, names: &[&str]| names.iter().any(|name| typ.eq_ignore_ascii_case(name));
    let access = ["at+jwt", "application/at+jwt"];
    let good = match (header.get("typ"), kind) {
        (None, TokenType::AnswerToken) => true,
        (Some(Value::String(typ)), TokenType::AccessToken) => is(typ, &access),
        (Some(Value::String(typ)), TokenType::AnswerToken) => is(typ, &access) || is(typ, &["jwt"]),
        _ => false,
    };
    if good { Ok((key_id, algorithm)) } else { Err(JwtFault::Type) }
}

#[cfg(test)]
mod tests;
