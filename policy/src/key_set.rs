//! Public keys of a token service (RFC 7517), narrowed to what a verifier may use.
//!
//! In: the bytes of a JWKS document. Out: keys, each bound to exactly one algorithm (RFC 8725 section 3.1), and the
//! faults of those left out. A key that we cannot use never spoils the others.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// Keys in the order of the document. Several may have one identifier: all of them are tried then (RFC 7517 section 4.5:
/// distinct values are a recommendation).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeySet(Vec<Jwk>);

/// One public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Jwk {
    /// `kid`; a key without one serves tokens without one.
    pub key_id: Option<String>,
    /// The only algorithm that this key verifies.
    pub algorithm: SignatureAlgorithm,
    /// The key itself.
    pub key: JwkKey,
}

/// Public key material, base64url without padding as in the document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum JwkKey {
    /// Elliptic curve point.
    Ec {
        /// Coordinate.
        x: String,
        /// Coordinate.
        y: String,
    },
    /// Edwards curve point.
    Okp {
        /// Public key.
        x: String,
    },
    /// RSA modulus of 2048 to 8192 bits and exponent.
    Rsa {
        /// Modulus.
        n: String,
        /// Exponent.
        e: String,
    },
}

/// Asymmetric signature algorithms (RFC 7518 section 3, RFC 8037). There is no symmetric one, so a public key can
/// never be taken for an HMAC secret (J2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of RFC 7518 and RFC 8037")]
pub enum SignatureAlgorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// The document is no key set at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a JWK Set (RFC 7517 section 5): an object whose member \"keys\" is a list")]
pub struct InvalidKeySet;

/// A key that was left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key {position} of the set is not used: {reason}")]
pub struct KeyFault {
    /// Position in the document, from 0.
    pub position: usize,
    /// Why.
    pub reason: &'static str,
}

#[derive(Deserialize)]
struct RawKeySet {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct RawJwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<serde_json::Value>,
}

const MAX_KEYS: usize = 64;

// === impl KeySet ===

impl KeySet {
    /// Reads a JWKS document.
    pub fn parse(document: &[u8]) -> Result<(Self, Vec<KeyFault>), InvalidKeySet> {
        let raw: RawKeySet = serde_json::from_slice(document).map_err(|_ignored: serde_json::Error| InvalidKeySet)?;
        let mut keys: Vec<Jwk> = Vec::new();
        let mut faults = Vec::new();
        for (position, value) in raw.keys.into_iter().enumerate() {
            match read_key(value) {
                Ok(key) if keys.len() == MAX_KEYS && !keys.contains(&key) => {
                    faults.push(KeyFault { position, reason: "more than 64 keys" });
                }
                // Nothing is lost with the second copy of a key.
                Ok(key) if keys.contains(&key) => {}
                Ok(key) => keys.push(key),
                Err(reason) => faults.push(KeyFault { position, reason }),
            }
        }
        Ok((Self(keys), faults))
    }

    /// The keys.
    pub fn keys(&self) -> &[Jwk] {
        &self.0
    }

    /// The keys as members of a JWK Set (RFC 7517 section 5).
    pub fn to_jwks(&self) -> impl Iterator<Item = serde_json::Value> {
        self.0.iter().map(Jwk::to_json)
    }
}

// === impl Jwk ===

impl Jwk {
    /// The key as JSON (RFC 7517 section 4).
    pub fn to_json(&self) -> serde_json::Value {
        let curve = if self.algorithm == SignatureAlgorithm::ES384 { "P-384" } else { "P-256" };
        let mut jwk = match &self.key {
            JwkKey::Ec { x, y } => serde_json::json!({"kty": "EC", "crv": curve, "x": x, "y": y}),
            JwkKey::Okp { x } => serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": x}),
            JwkKey::Rsa { n, e } => serde_json::json!({"kty": "RSA", "n": n, "e": e}),
        };
        if let serde_json::Value::Object(members) = &mut jwk {
            members.insert("alg".to_owned(), self.algorithm.as_str().into());
            members.insert("use".to_owned(), "sig".into());
            members.extend(self.key_id.as_ref().map(|key_id| ("kid".to_owned(), key_id.as_str().into())));
        }
        jwk
    }
}

// === impl SignatureAlgorithm ===

impl SignatureAlgorithm {
    /// The registered name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The algorithm of that registered name, spelled exactly (J1).
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::RS256,
            "RS384" => Self::RS384,
            "RS512" => Self::RS512,
            "PS256" => Self::PS256,
            "PS384" => Self::PS384,
            "PS512" => Self::PS512,
            "ES256" => Self::ES256,
            "ES384" => Self::ES384,
            "EdDSA" => Self::EdDSA,
            _ => return None,
        })
    }
}

fn read_key(value: serde_json::Value) -> Result<Jwk, &'static str> {
    let raw: RawJwk =
        serde_json::from_value(value).map_err(|_ignored: serde_json::Error| "not a JWK (RFC 7517 section 4)")?;
    if raw.d.is_some() {
        return Err("it holds a private key");
    }
    if raw.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Err("\"use\" is not \"sig\"");
    }
    if raw.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
        return Err("\"key_ops\" lacks \"verify\"");
    }
    let (algorithm, key) = match (raw.kty.as_str(), raw.crv.as_deref()) {
        ("EC", Some("P-256")) => (SignatureAlgorithm::ES256, elliptic(raw.x, raw.y, 32)?),
        ("EC", Some("P-384")) => (SignatureAlgorithm::ES384, elliptic(raw.x, raw.y, 48)?),
        ("OKP", Some("Ed25519")) => (SignatureAlgorithm::EdDSA, edwards(raw.x)?),
        ("RSA", _) => return rsa(raw.kid, raw.alg.as_deref(), raw.n, raw.e),
        _ => return Err("key type or curve is not supported"),
    };
    match raw.alg.as_deref().map(SignatureAlgorithm::parse) {
        None => {}
        Some(named) if named == Some(algorithm) => {}
        Some(_) => return Err("\"alg\" does not fit the key"),
    }
    Ok(Jwk { key_id: raw.kid, algorithm, key })
}

fn elliptic(x: Option<String>, y: Option<String>, bytes: usize) -> Result<JwkKey, &'static str> {
    match (x, y) {
        (Some(x), Some(y)) if octets(&x)?.len() == bytes && octets(&y)?.len() == bytes => Ok(JwkKey::Ec { x, y }),
        _ => Err("coordinates are missing or of the wrong length"),
    }
}

fn edwards(x: Option<String>) -> Result<JwkKey, &'static str> {
    match x {
        Some(x) if octets(&x)?.len() == 32 => Ok(JwkKey::Okp { x }),
        _ => Err("the public key is missing or of the wrong length"),
    }
}

/// Bounds of J17: modulus of 2048 to 8192 bits, exponent odd, at least 3 and at most 32 bits.
fn rsa(kid: Option<String>, alg: Option<&str>, n: Option<String>, e: Option<String>) -> Result<Jwk, &'static str> {
    use SignatureAlgorithm::{ES256, ES384, EdDSA, RS256};
    let (Some(n), Some(e)) = (n, e) else { return Err("modulus or exponent is missing") };
    // RFC 7518 section 6.3.1.1 warns of servers that put a zero octet in front, as DER has it. The number is the same, and
    // what verifies takes it without.
    let (modulus, exponent) = (without_zeros(octets(&n)?), without_zeros(octets(&e)?));
    let (n, e) = (URL_SAFE_NO_PAD.encode(&modulus), URL_SAFE_NO_PAD.encode(&exponent));
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits) {
        return Err("an RSA modulus has 2048 to 8192 bits");
    }
    let odd = exponent.last().is_some_and(|last| last % 2 == 1);
    if !odd || exponent.len() > 4 || exponent.as_slice() == [1] {
        return Err("an RSA exponent is odd, above 1 and has at most 32 bits");
    }
    if is_roca(&modulus) {
        return Err("the RSA key is of the weak kind of CVE-2017-15361 (ROCA)");
    }
    // A key without "alg" verifies RS256 alone, the algorithm that RFC 9068 section 4 demands.
    let algorithm = alg.map_or(Some(RS256), SignatureAlgorithm::parse);
    match algorithm {
        None | Some(ES256 | ES384 | EdDSA) => Err("\"alg\" does not fit the key"),
        Some(algorithm) => Ok(Jwk { key_id: kid, algorithm, key: JwkKey::Rsa { n, e } }),
    }
}

/// Primes by which the fingerprint is taken.
const ROCA_PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether a modulus has the fingerprint of a known broken generator (Nemec et al., "The Return of Coppersmith's
/// Attack", 2017): modulo each of these primes it is a power of 65537. Other keys have it by chance about once in 2^27.
fn is_roca(modulus: &[u8]) -> bool {
    let remainder = |prime: u32| modulus.iter().fold(0_u32, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
    let is_power = |prime: u32| {
        let (wanted, generator) = (remainder(prime), 65_537 % prime);
        let mut power = 1;
        for _ in 0..prime {
            if power == wanted {
                return true;
            }
            power = power * generator % prime;
        }
        false
    };
    ROCA_PRIMES.into_iter().all(is_power)
}

fn without_zeros(octets: Vec<u8>) -> Vec<u8> {
    octets.into_iter().skip_while(|octet| *octet == 0).collect()
}

fn octets(text: &str) -> Result<Vec<u8>, &'static str> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_ignored: base64::DecodeError| "not base64url")
}

#[cfg(test)]
mod tests;
