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
mod tests {
    use super::*;

    fn parse(keys: &str) -> (KeySet, Vec<&'static str>) {
        let (set, faults) = KeySet::parse(format!("{{\"keys\":[{keys}]}}").as_bytes()).unwrap();
        (set, faults.into_iter().map(|fault| fault.reason).collect())
    }

    fn rsa_key(bytes: usize, e: &str) -> String {
        let n = URL_SAFE_NO_PAD.encode(vec![0xff; bytes]);
        format!(r#"{{"kty":"RSA","kid":"r","n":"{n}","e":"{e}"}}"#)
    }

    #[test]
    fn a_bad_key_does_not_spoil_the_others() {
        let (set, faults) = parse(&format!(r#"{{"kty":"oct","k":"AA"}},42,{}"#, rsa_key(256, "AQAB")));
        assert_eq!((set.keys().len(), faults.len()), (1, 2));
        assert_eq!(set.keys()[0].algorithm, SignatureAlgorithm::RS256);
    }

    #[test]
    fn bounds_rsa_keys_j17() {
        for (bytes, e, good) in [
            (256, "AQAB", true),
            (1024, "AQAB", true),
            (255, "AQAB", false),
            (1025, "AQAB", false),
            (256, "AQ", false),
            (256, "Ag", false),
            (256, "AQAAAAE", false),
            (256, "", false),
        ] {
            assert_eq!(parse(&rsa_key(bytes, e)).0.keys().len() == 1, good, "{bytes} {e}");
        }
    }

    #[test]
    fn binds_the_algorithm_to_the_key_j2() {
        let point = URL_SAFE_NO_PAD.encode([7; 32]);
        let ec = |alg: &str| format!(r#"{{"kty":"EC","crv":"P-256","alg":"{alg}","x":"{point}","y":"{point}"}}"#);
        assert_eq!(parse(&ec("ES256")).0.keys().len(), 1);
        for alg in ["HS256", "RS256", "none", "es256", ""] {
            assert!(parse(&ec(alg)).0.keys().is_empty(), "{alg}");
        }
    }

    #[test]
    fn j1_every_algorithm_has_its_name_and_only_that() {
        use SignatureAlgorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        for (algorithm, name) in [
            (RS256, "RS256"),
            (RS384, "RS384"),
            (RS512, "RS512"),
            (PS256, "PS256"),
            (PS384, "PS384"),
            (PS512, "PS512"),
            (ES256, "ES256"),
            (ES384, "ES384"),
            (EdDSA, "EdDSA"),
        ] {
            assert_eq!((algorithm.as_str(), SignatureAlgorithm::parse(name)), (name, Some(algorithm)));
            assert_eq!(SignatureAlgorithm::parse(&name.to_lowercase()), None);
        }
    }

    #[test]
    fn points_have_the_length_of_their_curve_in_both_coordinates() {
        let text = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![7; bytes]);
        let ec = |curve: &str, x: usize, y: usize| {
            parse(&format!(r#"{{"kty":"EC","crv":"{curve}","x":"{}","y":"{}"}}"#, text(x), text(y))).0.keys().len()
        };
        for (curve, right, wrong) in [("P-256", 32, 48), ("P-384", 48, 32)] {
            assert_eq!(ec(curve, right, right), 1, "{curve}");
            for (x, y) in [(right, wrong), (wrong, right), (wrong, wrong), (right, right - 1), (right + 1, right)] {
                assert_eq!(ec(curve, x, y), 0, "{curve} {x} {y}");
            }
        }
        let okp =
            |bytes: usize| parse(&format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, text(bytes))).0.keys().len();
        assert_eq!((okp(31), okp(32), okp(33)), (0, 1, 0));
    }

    #[test]
    fn a_key_set_is_told_as_it_was_read() {
        let (ec, okp) = (URL_SAFE_NO_PAD.encode([7; 48]), URL_SAFE_NO_PAD.encode([7; 32]));
        let n = URL_SAFE_NO_PAD.encode(vec![0xff; 256]);
        let keys = [
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{okp}","y":"{okp}","alg":"ES256","use":"sig","kid":"a"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-384","x":"{ec}","y":"{ec}","alg":"ES384","use":"sig"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{okp}","alg":"EdDSA","use":"sig"}}"#),
            format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","alg":"PS256","use":"sig","kid":"r"}}"#),
        ];
        let read: Vec<serde_json::Value> = keys.iter().map(|key| serde_json::from_str(key).unwrap()).collect();
        assert_eq!(parse(&keys.join(",")).0.to_jwks().collect::<Vec<_>>(), read);
    }

    #[test]
    fn j17_a_modulus_has_2048_bits_and_not_one_less() {
        let key = |first: u8| {
            let mut modulus = vec![0xff; 256];
            modulus[0] = first;
            parse(&format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, URL_SAFE_NO_PAD.encode(modulus))).0.keys().len()
        };
        assert_eq!((key(0x80), key(0x7f)), (1, 0));
        let exponent = |e: &str| parse(&rsa_key(256, e)).0.keys().len();
        // Of four bytes, and of five.
        assert_eq!((exponent("AQAAAQ"), exponent("AQAAAAE")), (1, 0));
    }

    #[test]
    fn j17_moduli_with_the_fingerprint_of_a_broken_generator_are_refused() {
        // A power of 65537 is one modulo every prime.
        let power = (0..128).fold(vec![1_u8], |number, _| {
            let mut carry = 0_u64;
            let mut product: Vec<u8> = number
                .iter()
                .rev()
                .map(|byte| {
                    let sum = u64::from(*byte) * 65_537 + carry;
                    carry = sum >> 8;
                    u8::try_from(sum & 0xff).unwrap()
                })
                .collect();
            while carry > 0 {
                product.push(u8::try_from(carry & 0xff).unwrap());
                carry >>= 8;
            }
            product.reverse();
            product
        });
        let read =
            |modulus: &[u8]| parse(&format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, URL_SAFE_NO_PAD.encode(modulus)));
        let (set, faults) = read(&power);
        assert!(set.keys().is_empty() && faults[0].contains("ROCA"), "{faults:?}");
        // One more is no such number any more.
        let mut next = power;
        *next.last_mut().unwrap() = next.last().unwrap().wrapping_add(2);
        assert_eq!(read(&next).0.keys().len(), 1);
    }

    #[test]
    fn leaves_out_encryption_keys_and_private_keys() {
        let point = URL_SAFE_NO_PAD.encode([7; 32]);
        let key = |more: &str| format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"a","x":"{point}"{more}}}"#);
        assert!(parse(&key(r#","use":"enc""#)).0.keys().is_empty());
        assert!(parse(&key(r#","key_ops":["sign"]"#)).0.keys().is_empty());
        assert!(parse(&key(r#","d":"AA""#)).0.keys().is_empty());
    }

    #[test]
    fn fault_07_keys_of_one_identifier_are_all_kept() {
        let key = |kid: &str, byte: u8| {
            let point = URL_SAFE_NO_PAD.encode([byte; 32]);
            format!(r#"{{"kty":"OKP","crv":"Ed25519"{kid},"x":"{point}"}}"#)
        };
        for kid in ["", r#","kid":"a""#] {
            let (set, faults) = parse(&format!("{},{},{}", key(kid, 7), key(kid, 8), key(kid, 7)));
            assert_eq!((set.keys().len(), faults.len()), (2, 0), "{kid}: the copy adds nothing and loses nothing");
        }
        let many: Vec<_> = (0..66).map(|byte| key("", byte)).collect();
        let (set, faults) = parse(&many.join(","));
        assert_eq!((set.keys().len(), faults), (64, vec!["more than 64 keys"; 2]));
    }

    #[test]
    fn fault_08_zero_octets_before_a_modulus_are_taken_away() {
        let key = |zeros: usize, bytes: usize, e: &str| {
            let n = URL_SAFE_NO_PAD.encode([vec![0; zeros], vec![0xff; bytes]].concat());
            parse(&format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#))
        };
        let (plain, _) = key(0, 256, "AQAB");
        for zeros in [1, 2, 40] {
            assert_eq!(key(zeros, 256, "AAEAAQ").0, plain, "{zeros} octets; the exponent has one too");
        }
        assert_eq!(key(1, 255, "AQAB").0.keys().len(), 0, "zeros make no key longer");
        assert_eq!(key(0, 256, "AAAB").0.keys().len(), 0, "an exponent of 1");
        assert_eq!(key(0, 256, "").0.keys().len(), 0);
    }

    #[test]
    fn fault_09_what_is_left_out_is_named_with_its_reason() {
        let n = URL_SAFE_NO_PAD.encode([0xff; 256]);
        for (key, reason) in [
            (format!(r#"{{"kty":"RSA","n":"{n}==","e":"AQAB"}}"#), "not base64url"),
            (r#"{"kty":"RSA","x5c":["AA"]}"#.to_owned(), "modulus or exponent is missing"),
            (format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","use":"enc"}}"#), "\"use\" is not \"sig\""),
        ] {
            assert_eq!(parse(&key).1, [reason], "{key}");
        }
    }

    #[test]
    fn refuses_documents_that_are_no_key_set_j14() {
        for document in ["", "<html>", "[]", "{}", r#"{"keys":{}}"#] {
            assert!(KeySet::parse(document.as_bytes()).is_err(), "{document}");
        }
    }
}
