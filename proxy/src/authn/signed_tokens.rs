//! Signed tokens for tests: a key by its seed, what a token service publishes of it, and what it signs.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portreeve_policy::KeySet;
use serde_json::{Value, json};

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

/// The key set that holds the one key, named `ed-1`.
pub(crate) fn key_set(seed: u8) -> KeySet {
    let x = URL_SAFE_NO_PAD.encode(pair(seed).public_key().as_ref());
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "ed-1", "x": x}]});
    KeySet::parse(set.to_string().as_bytes()).unwrap().0
}

/// A compact JWS of two texts, whatever they say.
pub(crate) fn sign_text(seed: u8, header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(pair(seed).sign(message.as_bytes()).as_ref()))
}

/// A token of this `typ`.
pub(crate) fn sign(seed: u8, typ: &str, claims: &Value) -> String {
    sign_text(seed, &json!({"alg": "EdDSA", "kid": "ed-1", "typ": typ}).to_string(), &claims.to_string())
}
