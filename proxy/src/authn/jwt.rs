//! Signed tokens (RFC 7515, RFC 7519, RFC 8725, RFC 9068). In: compact text. Out: verified claims or a fault.
//!
//! The order of the steps: size (before this file), exactly two dots, canonical base64url, strict JSON, header rules,
//! signature, claims, times. Nothing of the token is believed before its signature held.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portreeve_policy::{KeySet, SignatureAlgorithm};
use serde_json::{Map, Value};

use super::{
    claims::{Claims, Verified},
    json,
    key_ring::{KeyRing, SignatureVerdict},
    token_kind,
};
use crate::clock::UnixMillis;

/// How far `nbf` and `iat` may lie ahead, for clocks that differ. `exp` has no such grace.
pub(super) const SKEW: Duration = Duration::from_secs(5);

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
    #[error("the token says that it is a refresh, ID, logout or other token, and no access token")]
    NotAccessToken,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token is bound to a key, but not in a way that its answer or its type allows")]
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
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "rules look at the type of the credential, so that facts can be shared")
    )]
    AccessToken,
    /// Also `JWT` and none, but never a token that only an ID token or a logout token can be (RFC 8725 section 3.12).
    Any,
    /// Exactly this one.
    Exactly(&'static str),
}

/// Which `typ` a verified token had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FoundType {
    /// `at+jwt`
    AccessToken,
    /// Another, or none.
    Other,
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

/// What a token says, once its signature held.
pub(super) struct Payload {
    pub(super) members: Map<String, Value>,
    pub(super) found: FoundType,
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

/// Whether a token says of itself that it is no access token, before anything of it is verified: good for refusing only.
pub(super) fn disclaims(token: &str) -> bool {
    let Some(compact) = split(token) else { return false };
    let Ok(found) = check_type(&compact.header, TokenType::Any) else { return true };
    json::parse_object(&compact.payload)
        .is_some_and(|members| token_kind::is_other(&members, found == FoundType::AccessToken))
}

/// Verifies the signature of a compact JWS, whatever its payload is (RFC 7515 section 5.2). Gives the payload.
pub fn verify_jws(text: &str, keys: &KeySet) -> Result<Vec<u8>, JwtFault> {
    let compact = split(text).ok_or(JwtFault::Malformed)?;
    let (key_id, algorithm) = check_algorithm(&compact.header)?;
    check_signature(&compact, key_id, algorithm, &KeyRing::new(keys))?;
    Ok(compact.payload)
}

/// Verifies a token of this issuer at this time.
pub(super) fn verify(
    token: &str,
    kind: TokenType,
    (issuer, scope_claim): (&str, &str),
    keys: &KeyRing,
    now: UnixMillis,
) -> Result<(Verified<Claims>, FoundType), JwtFault> {
    let Payload { members, found } = verify_members(token, kind, keys)?;
    let claims =
        Claims::read_with(&members, scope_claim).map_err(|_ignored: super::claims::WrongType| JwtFault::ClaimType)?;
    if claims.issuer() != Some(issuer) {
        return Err(JwtFault::Issuer);
    }
    if claims.expires_at().is_none() || claims.audiences().next().is_none() {
        return Err(JwtFault::MissingClaim);
    }
    let claims = Verified::new(claims);
    check_times(claims.get(), now)?;
    Ok((claims, found))
}

/// Verifies signature and type, and nothing of what the token says.
pub(super) fn verify_members(token: &str, kind: TokenType, keys: &KeyRing) -> Result<Payload, JwtFault> {
    let compact = split(token).ok_or(JwtFault::Malformed)?;
    let (key_id, algorithm, found) = check_header(&compact.header, kind)?;
    check_signature(&compact, key_id, algorithm, keys)?;
    read_members(&compact, kind, found)
}

/// The same for a token that brings its own key, whatever `kid` it names (RFC 9449 section 4.2).
pub(super) fn verify_members_with_any_key(token: &str, kind: TokenType, keys: &KeyRing) -> Result<Payload, JwtFault> {
    let compact = split(token).ok_or(JwtFault::Malformed)?;
    let (_, algorithm, found) = check_header(&compact.header, kind)?;
    check_signature(&compact, None, algorithm, keys)?;
    read_members(&compact, kind, found)
}

/// The header of a compact JWS, of which nothing is verified.
pub(super) fn header(token: &str) -> Option<Map<String, Value>> {
    split(token).map(|compact| compact.header)
}

fn check_signature(
    compact: &Compact<'_>,
    key_id: Option<&str>,
    algorithm: SignatureAlgorithm,
    keys: &KeyRing,
) -> Result<(), JwtFault> {
    match keys.verify(key_id, algorithm, compact.message.as_bytes(), compact.signature) {
        SignatureVerdict::Good => Ok(()),
        SignatureVerdict::Bad => Err(JwtFault::Signature),
        SignatureVerdict::UnknownKey => Err(JwtFault::UnknownKey),
    }
}

fn read_members(compact: &Compact<'_>, kind: TokenType, found: FoundType) -> Result<Payload, JwtFault> {
    let members = json::parse_object(&compact.payload).ok_or(JwtFault::Malformed)?;
    match kind {
        TokenType::AccessToken | TokenType::Any if token_kind::is_other(&members, found == FoundType::AccessToken) => {
            return Err(JwtFault::NotAccessToken);
        }
        TokenType::AccessToken | TokenType::Any | TokenType::Exactly(_) => {}
    }
    Ok(Payload { members, found })
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
fn check_header(
    header: &Map<String, Value>,
    kind: TokenType,
) -> Result<(Option<&str>, SignatureAlgorithm, FoundType), JwtFault> {
    let (key_id, algorithm) = check_algorithm(header)?;
    Ok((key_id, algorithm, check_type(header, kind)?))
}

/// What every signed text has to keep to (RFC 7515 section 5.2, RFC 8725 sections 3.1 and 3.2).
fn check_algorithm(header: &Map<String, Value>) -> Result<(Option<&str>, SignatureAlgorithm), JwtFault> {
    if header.contains_key("crit") {
        return Err(JwtFault::Critical);
    }
    // Encrypted, compressed or nested tokens are not taken apart (J8).
    let nested = header.get("cty").is_some_and(|kind| kind.as_str().is_none_or(|kind| is_type(kind, "jwt")));
    if nested || header.contains_key("enc") || header.contains_key("zip") {
        return Err(JwtFault::Algorithm);
    }
    let name = header.get("alg").and_then(Value::as_str);
    let algorithm = name.and_then(SignatureAlgorithm::parse).ok_or(JwtFault::Algorithm)?;
    match header.get("kid") {
        None => Ok((None, algorithm)),
        Some(Value::String(key_id)) => Ok((Some(key_id.as_str()), algorithm)),
        Some(_) => Err(JwtFault::Malformed),
    }
}

/// Whether a media type is this one; its prefix may be left out (RFC 7515 section 4.1.9).
fn is_type(text: &str, name: &str) -> bool {
    let short = text.get(..12).filter(|start| start.eq_ignore_ascii_case("application/"));
    short.map_or(text, |_| text.get(12..).unwrap_or_default()).eq_ignore_ascii_case(name)
}

/// Explicit typing (RFC 8725 section 3.11).
fn check_type(header: &Map<String, Value>, kind: TokenType) -> Result<FoundType, JwtFault> {
    let typ = match header.get("typ") {
        None => None,
        Some(Value::String(typ)) => Some(typ.as_str()),
        Some(_) => return Err(JwtFault::Type),
    };
    let is = |name: &str| typ.is_some_and(|typ| is_type(typ, name));
    let found = if is("at+jwt") { FoundType::AccessToken } else { FoundType::Other };
    let good = match kind {
        TokenType::AccessToken => found == FoundType::AccessToken,
        TokenType::Any => found == FoundType::AccessToken || typ.is_none() || is("jwt"),
        TokenType::Exactly(name) => is(name),
    };
    if good { Ok(found) } else { Err(JwtFault::Type) }
}

#[cfg(test)]
mod tests;
