//! Keys of the client's own, for `private_key_jwt` (RFC 7523) and `self_signed_tls_client_auth` (RFC 8705 section 2.2).
//!
//! The public halves travel in `jwks`; while keys are rotated both the new and the old one do, so that neither pods with
//! the one nor pods with the other are refused. Nothing here makes a key: that is the caller's [`Keys`].

use serde_json::{Value, json};

use crate::{Document, Secret};

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPurpose {
    /// Client assertions (RFC 7523 section 2.2).
    Assertion,
    /// A self-signed certificate, in the member `x5c` (RFC 8705 section 2.2.2).
    Certificate,
}

/// A key pair of a client. It holds a secret, so it has neither `Debug` nor a serde form.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientKey {
    /// Key identifier; not used twice within one registration.
    pub kid: String,
    /// The public half as a JSON Web Key (RFC 7517), with `kid`.
    pub public: Value,
    /// The private half, PKCS#8 in PEM.
    pub private: Secret,
    /// The self-signed certificate in PEM, for [`KeyPurpose::Certificate`].
    pub certificate: Option<String>,
    /// When the key is to leave the document, in seconds since 1970; `None` for the newest one.
    pub until: Option<u64>,
}

/// No key could be made; holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no key could be made: {0}")]
pub struct KeyFault(pub String);

/// Makes keys and signs with them; this crate holds no cryptography.
pub trait Keys: Sync {
    /// A fresh key.
    fn make(&self, purpose: KeyPurpose) -> Result<ClientKey, KeyFault>;

    /// A client assertion (RFC 7523 section 3) for `audience`, or `None` where it cannot be made.
    fn assertion(&self, key: &ClientKey, client_id: &str, audience: &str) -> Option<Secret>;
}

/// `document` with the public halves of `keys`, newest first.
pub(crate) fn with_keys(mut document: Document, keys: &[ClientKey]) -> Document {
    if !keys.is_empty() {
        let keys: Vec<&Value> = keys.iter().map(|key| &key.public).collect();
        document.insert("jwks".to_owned(), json!({ "keys": keys }));
    }
    document
}

/// Whether a document holds the key.
pub(crate) fn is_in(document: &Document, kid: &str) -> bool {
    let keys = document.get("jwks").and_then(|set| set.get("keys")).and_then(Value::as_array);
    keys.into_iter().flatten().any(|key| key.get("kid").and_then(Value::as_str) == Some(kid))
}
