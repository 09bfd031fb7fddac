//! Public keys ready to verify with, each bound to its one algorithm.

use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use portreeve_policy::{Jwk, JwkKey, KeySet, SignatureAlgorithm};

/// The keys of one token service.
pub(super) struct KeyRing {
    keys: Vec<(Option<String>, SignatureAlgorithm, DecodingKey)>,
}

/// What became of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignatureVerdict {
    Bad,
    Good,
    /// The set has no key of that identifier and algorithm.
    UnknownKey,
}

impl KeyRing {
    /// Parses every key once. One that the library refuses is left out: no token can name it then.
    pub(super) fn new(set: &KeySet) -> Self {
        let ready = |jwk: &Jwk| Some((jwk.key_id.clone(), jwk.algorithm, decoding_key(&jwk.key)?));
        Self { keys: set.keys().iter().filter_map(ready).collect() }
    }

    /// Verifies a compact JWS: `message` is header and payload with the dot between, `signature` still base64url.
    ///
    /// A `kid` that the set lacks never yields a key (J3); a token without `kid` is tried with every key of its
    /// algorithm.
    pub(super) fn verify(
        &self,
        key_id: Option<&str>,
        algorithm: SignatureAlgorithm,
        message: &[u8],
        signature: &str,
    ) -> SignatureVerdict {
        let fits = |(held, bound, _): &&(Option<String>, SignatureAlgorithm, DecodingKey)| {
            *bound == algorithm && (key_id.is_none() || held.as_deref() == key_id)
        };
        let mut verdict = SignatureVerdict::UnknownKey;
        for (_, _, key) in self.keys.iter().filter(fits) {
            verdict = SignatureVerdict::Bad;
            if crypto::verify(signature, message, key, library_algorithm(algorithm)).unwrap_or(false) {
                return SignatureVerdict::Good;
            }
        }
        verdict
    }
}

fn decoding_key(key: &JwkKey) -> Option<DecodingKey> {
    match key {
        JwkKey::Ec { x, y } => DecodingKey::from_ec_components(x, y).ok(),
        JwkKey::Okp { x } => DecodingKey::from_ed_components(x).ok(),
        JwkKey::Rsa { n, e } => DecodingKey::from_rsa_components(n, e).ok(),
    }
}

fn library_algorithm(algorithm: SignatureAlgorithm) -> Algorithm {
    match algorithm {
        SignatureAlgorithm::RS256 => Algorithm::RS256,
        SignatureAlgorithm::RS384 => Algorithm::RS384,
        SignatureAlgorithm::RS512 => Algorithm::RS512,
        SignatureAlgorithm::PS256 => Algorithm::PS256,
        SignatureAlgorithm::PS384 => Algorithm::PS384,
        SignatureAlgorithm::PS512 => Algorithm::PS512,
        SignatureAlgorithm::ES256 => Algorithm::ES256,
        SignatureAlgorithm::ES384 => Algorithm::ES384,
        SignatureAlgorithm::EdDSA => Algorithm::EdDSA,
    }
}
