//! Private keys of the gateway: compact JWS for assertions and minted tokens (RFC 7515 section 7.1).

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portreeve_policy::Secret;
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Value, json};

/// A key that signs with ES256 or EdDSA.
pub(super) enum Signer {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

/// A key that cannot be used; says nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the private key is not PKCS#8 in PEM of type P-256 or Ed25519")]
pub(super) struct InvalidSigningKey;

impl Signer {
    pub(super) fn from_pem(secret: &Secret) -> Result<Self, InvalidSigningKey> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(secret.expose());
        let key = key.map_err(|_ignored: rustls_pki_types::pem::Error| InvalidSigningKey)?;
        let der = key.secret_pkcs8_der();
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map(Self::P256)
            .or_else(|_| Ed25519KeyPair::from_pkcs8(der).map(Self::Ed25519))
            .map_err(|_ignored: aws_lc_rs::error::KeyRejected| InvalidSigningKey)
    }

    /// A compact JWS. `None` when the system gives no random numbers.
    pub(super) fn sign(&self, typ: &str, key_id: &str, claims: &Value) -> Option<String> {
        let algorithm = match self {
            Self::Ed25519(_) => "EdDSA",
            Self::P256(_) => "ES256",
        };
        let mut header = json!({"alg": algorithm, "typ": typ});
        if let (Value::Object(header), false) = (&mut header, key_id.is_empty()) {
            header.insert("kid".to_owned(), key_id.into());
        }
        let mut text = URL_SAFE_NO_PAD.encode(header.to_string());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut text);
        let signature = match self {
            Self::Ed25519(pair) => pair.sign(text.as_bytes()).as_ref().to_vec(),
            Self::P256(pair) => pair.sign(&SystemRandom::new(), text.as_bytes()).ok()?.as_ref().to_vec(),
        };
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        Some(text)
    }
}

/// A fresh identifier of 128 bits.
pub(super) fn fresh_id() -> Option<String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}
