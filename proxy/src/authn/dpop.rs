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
    memory::{CredentialMemory, NonceUse, NonceVerdict},
    presentation::{AuthenticationError, Presentation, TokenFault},
    shares::Use,
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
    claims: Map<String, Value>,
}

/// Largest modulus of a proof's own key in bytes, and its only exponent, 65537: keys that a caller brings are verified
/// with before anybody knows the caller, so that they must not cost more than others (L2, J17).
const MAX_MODULUS: usize = 512;
const EXPONENT: &str = "AQAB";

/// Whether the request carries exactly one valid proof for this token and this key (section 4.3).
pub(super) fn check(
    presentation: &Presentation<'_>,
    token: &str,
    key: &[u8; 32],
    rule: &ProofRule,
    memory: &CredentialMemory,
    now: UnixMillis,
) -> Result<(), AuthenticationError> {
    let fault = |fault| AuthenticationError::Token(TokenFault::Proof(fault));
    let mut lines = presentation.headers.get_all(DPOP).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Err(fault(ProofFault::Missing)) };
    let text = line.to_str().ok().filter(|text| text.len() <= MAX_PROOF).ok_or_else(|| fault(ProofFault::Malformed))?;
    let proof = Proof::read(text, key).map_err(fault)?;
    let jti = proof.binds(presentation, token).map_err(fault)?;
    proof.is_recent(now).map_err(fault)?;
    proof.nonce(rule, memory, now).map_err(fault)?;
    match memory.take_proof(key, jti, MAX_AGE.saturating_add(SKEW).saturating_add(SKEW), now) {
        Use::First => Ok(()),
        Use::Repeated => Err(fault(ProofFault::Replayed)),
        Use::Full => Err(AuthenticationError::Overloaded),
    }
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

/// Whether a key costs no more to verify with than it has to. Elliptic curves have one cost each.
fn is_cheap(jwk: &Map<String, Value>) -> bool {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str).unwrap_or_default();
    text("kty") != "RSA" || (text("e") == EXPONENT && text("n").len() <= MAX_MODULUS.div_ceil(3).saturating_mul(4))
}

impl Proof {
    /// Verifies the proof with the public key that it brings, once that is the one to which the token is bound: the key
    /// says nothing by itself, and no signature is looked at that could not count.
    fn read(text: &str, bound: &[u8; 32]) -> Result<Self, ProofFault> {
        let header = jwt::header(text).ok_or(ProofFault::Malformed)?;
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(ProofFault::Malformed)?;
        let Some(Value::Object(jwk)) = header.get("jwk") else { return Err(ProofFault::Malformed) };
        if thumbprint(jwk).ok_or(ProofFault::Malformed)? != *bound {
            return Err(ProofFault::Key);
        }
        if !is_cheap(jwk) || jwk.get("alg").is_some_and(|named| named.as_str() != Some(algorithm)) {
            return Err(ProofFault::Malformed);
        }
        let mut jwk = jwk.clone();
        jwk.insert("alg".to_owned(), algorithm.into());
        // Not named by `kid`: the proof has one key only.
        jwk.remove("kid");
        let set = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes());
        let (set, _) = set.map_err(|_ignored: portreeve_policy::InvalidKeySet| ProofFault::Malformed)?;
        let payload = jwt::verify_members_with_any_key(text, TokenType::Exactly("dpop+jwt"), &KeyRing::new(&set));
        let payload = payload.map_err(|_ignored: jwt::JwtFault| ProofFault::Malformed)?;
        Ok(Self { claims: payload.members })
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    /// The fault of a proof that nobody signed, for a token that is bound to its key or to another one.
    fn fault(jwk: &Value, is_bound: bool) -> Result<(), ProofFault> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({"alg": "RS256", "typ": "dpop+jwt", "jwk": jwk});
        let text = format!("{}.{}.{}", part(&header), part(&json!({})), URL_SAFE_NO_PAD.encode([0; 256]));
        let own = thumbprint(jwk.as_object().unwrap()).unwrap();
        Proof::read(&text, if is_bound { &own } else { &[0; 32] }).map(drop)
    }

    #[test]
    fn l2_the_thumbprint_is_compared_before_a_signature_is_verified_and_keys_that_cost_much_never_are() {
        let rsa = |bytes: usize, exponent: &str| {
            let modulus = URL_SAFE_NO_PAD.encode(vec![0xff; bytes]);
            json!({"kty": "RSA", "n": modulus, "e": exponent})
        };
        for jwk in [rsa(1024, "_____w"), rsa(256, "AQAB"), json!({"kty": "EC", "crv": "P-256", "x": "x", "y": "y"})] {
            assert_eq!(fault(&jwk, false), Err(ProofFault::Key), "{jwk}");
            assert_eq!(fault(&jwk, true), Err(ProofFault::Malformed), "{jwk}");
        }
        for (jwk, cheap) in [
            (rsa(256, "AQAB"), true),
            (rsa(512, "AQAB"), true),
            (rsa(520, "AQAB"), false),
            (rsa(1024, "AQAB"), false),
            (rsa(256, "Aw"), false),
            (rsa(256, "_____w"), false),
            (rsa(256, "AAEAAQ"), false),
            (json!({"kty": "OKP", "crv": "Ed25519", "x": "x"}), true),
        ] {
            assert_eq!(is_cheap(jwk.as_object().unwrap()), cheap, "{jwk}");
        }
    }
}
