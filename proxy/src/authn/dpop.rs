//! Proofs of possession that sign each request (RFC 9449).

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Uri;
use portreeve_policy::{CanonicalPath, Hostname, KeySet, ProofRule};
use serde_json::{Map, Value, json};

use super::{
    binding::ProofFault,
    jwt::{self, TokenType},
    key_ring::KeyRing,
    memory::{CredentialMemory, NonceUse, NonceVerdict, Use},
    presentation::{Presentation, TokenFault, Unproven},
};
use crate::clock::UnixMillis;

/// Header of the proof.
pub(super) const DPOP: &str = "dpop";

/// How old a proof may be, and how far ahead its clock may run.
const MAX_AGE: Duration = Duration::from_mins(1);
const SKEW: Duration = Duration::from_secs(5);

/// Longest proof and longest `jti` that are looked at, in bytes.
const MAX_PROOF: usize = 8 * 1024;
const MAX_JTI: usize = 256;

/// What a proof says, once its signature held.
struct Proof {
    thumbprint: [u8; 32],
    claims: Map<String, Value>,
}

/// Whether the request carries exactly one valid proof for this token and this key (section 4.3).
pub(super) fn check(
    presentation: &Presentation<'_>,
    token: &str,
    key: &[u8; 32],
    rule: &ProofRule,
    memory: &CredentialMemory,
    now: UnixMillis,
) -> Result<(), Unproven> {
    let fault = |fault| Unproven::Token(TokenFault::Proof(fault));
    let mut lines = presentation.headers.get_all(DPOP).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Err(fault(ProofFault::Missing)) };
    let text = line.to_str().ok().filter(|text| text.len() <= MAX_PROOF).ok_or_else(|| fault(ProofFault::Malformed))?;
    let proof = read(text).ok_or_else(|| fault(ProofFault::Malformed))?;
    if proof.thumbprint != *key {
        return Err(fault(ProofFault::Key));
    }
    let jti = proof.binds(presentation, token).map_err(fault)?;
    proof.is_recent(now).map_err(fault)?;
    proof.nonce(rule, memory, now).map_err(fault)?;
    let mut used = [0; 16];
    let digest = digest(&SHA256, &[key.as_slice(), jti.as_bytes()].concat());
    used.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    match memory.proofs.take(used, MAX_AGE.saturating_add(SKEW).saturating_add(SKEW), now) {
        Use::First => Ok(()),
        Use::Repeated => Err(fault(ProofFault::Replayed)),
        Use::Full => Err(Unproven::Overloaded),
    }
}

/// Verifies the proof with the public key that it brings. The key says nothing by itself; only its thumbprint counts.
fn read(text: &str) -> Option<Proof> {
    let header = jwt::header(text)?;
    let algorithm = header.get("alg")?.as_str()?;
    let Some(Value::Object(jwk)) = header.get("jwk") else { return None };
    if jwk.get("alg").is_some_and(|named| named.as_str() != Some(algorithm)) {
        return None;
    }
    let mut jwk = jwk.clone();
    let thumbprint = thumbprint(&jwk)?;
    jwk.insert("alg".to_owned(), algorithm.into());
    // Not named by `kid`: the proof has one key only.
    jwk.remove("kid");
    let (set, _) = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).ok()?;
    let payload = jwt::verify_members_with_any_key(text, TokenType::Exactly("dpop+jwt"), &KeyRing::new(&set)).ok()?;
    Some(Proof { thumbprint, claims: payload.members })
}

/// RFC 7638: SHA-256 of the required members in order.
fn thumbprint(jwk: &Map<String, Value>) -> Option<[u8; 32]> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let canonical = match text("kty")? {
        "EC" => json!({"crv": text("crv")?, "kty": "EC", "x": text("x")?, "y": text("y")?}),
        "OKP" => json!({"crv": text("crv")?, "kty": "OKP", "x": text("x")?}),
        "RSA" => json!({"e": text("e")?, "kty": "RSA", "n": text("n")?}),
        _ => return None,
    };
    digest(&SHA256, canonical.to_string().as_bytes()).as_ref().try_into().ok()
}

impl Proof {
    fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// Method, address and token are those of the request. Gives `jti`.
    fn binds(&self, presentation: &Presentation<'_>, token: &str) -> Result<&str, ProofFault> {
        let jti = self.text("jti").filter(|jti| (1..=MAX_JTI).contains(&jti.len())).ok_or(ProofFault::Malformed)?;
        let (Some(method), Some(address)) = (self.text("htm"), self.text("htu")) else {
            return Err(ProofFault::Malformed);
        };
        let hash = URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes()).as_ref());
        let fits = method == presentation.method.as_str()
            && is_address_of(address, presentation)
            && self.text("ath") == Some(hash.as_str());
        if fits { Ok(jti) } else { Err(ProofFault::Mismatch) }
    }

    fn is_recent(&self, now: UnixMillis) -> Result<(), ProofFault> {
        let seconds = self.claims.get("iat").and_then(Value::as_f64).filter(|s| (0.0..=1e12).contains(s));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded above and below")]
        let issued = UnixMillis((seconds.ok_or(ProofFault::Malformed)? * 1000.0) as u64);
        if issued > now.plus(SKEW) || now > issued.plus(MAX_AGE) { Err(ProofFault::Age) } else { Ok(()) }
    }

    /// Once nonces are given, proofs without one are refused (section 11.3); a nonce that is not ours never counts.
    fn nonce(&self, rule: &ProofRule, memory: &CredentialMemory, now: UnixMillis) -> Result<(), ProofFault> {
        match self.claims.get("nonce") {
            None if rule.dpop_nonce => Err(ProofFault::Nonce),
            None => Ok(()),
            Some(Value::String(nonce)) => match memory.check_nonce(NonceUse::Dpop, nonce, now) {
                NonceVerdict::Fresh => Ok(()),
                NonceVerdict::Stale | NonceVerdict::Unknown => Err(ProofFault::Nonce),
            },
            Some(_) => Err(ProofFault::Malformed),
        }
    }
}

/// `htu` is the address that the client used, without query and fragment, after normalising (RFC 3986 section 6.2).
fn is_address_of(text: &str, presentation: &Presentation<'_>) -> bool {
    if text.contains(['?', '#']) {
        return false;
    }
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
    let default = |port: Option<u16>, scheme: &str| port.unwrap_or(if scheme == "https" { 443 } else { 80 });
    let host = Hostname::parse(authority.host());
    let path = CanonicalPath::parse(uri.path());
    let userinfo = authority.as_str().contains('@');
    !userinfo
        && scheme == presentation.scheme
        && host.is_ok_and(|host| host == *presentation.host)
        && default(authority.port_u16(), scheme) == default(presentation.port, scheme)
        && path.is_ok_and(|path| path == *presentation.path)
}
