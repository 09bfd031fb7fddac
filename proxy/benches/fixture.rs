//! What the measurements have in common: a token service that signs, and a token of it.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "see the measurements")]

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portreeve_policy::{KeySet, NamespacedName, TokenService};
use serde_json::{Value, json};

fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

/// A token of about 430 bytes, good for an hour, with these claims beside or instead of the usual ones.
pub(crate) fn token(more: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let header = json!({"alg": "EdDSA", "kid": "ed-1", "typ": "at+jwt"}).to_string();
    let mut claims = json!({
        "iss": "https://login.example.com", "sub": "ada", "client_id": "shop", "aud": ["orders"], "exp": now + 3600,
        "iat": now, "jti": "0f3c1c1e", "scope": "orders:read orders:write", "tenant": "acme", "roles": ["clerk"],
    });
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(key().sign(message.as_bytes()).as_ref()))
}

/// The token service that signed it, by the name that rules call it.
pub(crate) fn token_service() -> (NamespacedName, TokenService) {
    let x = URL_SAFE_NO_PAD.encode(key().public_key().as_ref());
    let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "ed-1", "x": x}]});
    let (set, _) = KeySet::parse(keys.to_string().as_bytes()).unwrap();
    let service = json!({
        "issuer": "https://login.example.com", "keys": {"known": set}, "introspection": "disabled",
        "exchange": "disabled",
    });
    ("default/login".parse().unwrap(), serde_json::from_value(service).unwrap())
}
