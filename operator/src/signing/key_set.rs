//! One namespace's keys. Pure but for the making of a key.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portreeve_compiler::SigningKey;
use portreeve_policy::{KeySet, NamespacedName, Secret, SecretName};
use rcgen::{KeyPair, PublicKeyData};
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use crate::clock::UnixMillis;

/// The keys of one namespace as they are stored. Holds private keys, so it has no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SigningSet {
    /// Milliseconds since 1970 at which the current key came into use.
    since: u64,
    current: StoredKey,
    next: StoredKey,
    previous: Option<PublicKey>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredKey {
    public: PublicKey,
    /// PKCS#8 in PEM.
    private: Zeroizing<String>,
}

/// Coordinates on P-256, in base64url.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PublicKey {
    key_id: String,
    x: String,
    y: String,
}

impl SigningSet {
    /// Two fresh keys: one for now, one for later.
    pub(crate) fn generate(now: UnixMillis) -> Result<Self, String> {
        Ok(Self { since: now.0, current: StoredKey::generate()?, next: StoredKey::generate()?, previous: None })
    }

    /// The next key takes over.
    pub(crate) fn rotated(self, now: UnixMillis) -> Result<Self, String> {
        let Self { since: _, current, next, previous: _ } = self;
        Ok(Self { since: now.0, current: next, next: StoredKey::generate()?, previous: Some(current.public) })
    }

    pub(crate) fn is_due(&self, now: UnixMillis, rotation: Duration) -> bool {
        u128::from(now.0.saturating_sub(self.since)) >= rotation.as_millis()
    }

    pub(crate) fn key_id(&self) -> &str {
        &self.current.public.key_id
    }

    /// Everything that a verifier needs, as a JWK Set.
    pub(crate) fn published(&self) -> serde_json::Value {
        let keys = [Some(&self.current.public), Some(&self.next.public), self.previous.as_ref()];
        let keys: Vec<_> = keys.into_iter().flatten().map(PublicKey::to_jwk).collect();
        json!({ "keys": keys })
    }

    /// As the compiler takes it. `None` for a namespace that is no name, or keys that are none.
    pub(crate) fn signing_key(&self, namespace: &str) -> Option<SigningKey> {
        let object = NamespacedName::new(namespace, "portreeve-signing").ok()?;
        let (published, faults) = KeySet::parse(self.published().to_string().as_bytes()).ok()?;
        if !faults.is_empty() {
            return None;
        }
        Some(SigningKey {
            name: SecretName::new(object, self.key_id()).ok()?,
            key_id: self.key_id().to_owned(),
            issuer: format!("urn:portreeve:{namespace}"),
            private_key: Secret::new(self.current.private.as_bytes().to_vec()),
            published,
        })
    }
}

impl StoredKey {
    fn generate() -> Result<Self, String> {
        let pair = KeyPair::generate().map_err(|fault| format!("cannot make a key: {fault}"))?;
        let point = pair.der_bytes();
        let (Some(x), Some(y)) = (point.get(1..33), point.get(33..65)) else {
            return Err("cannot make a key: the point is not on P-256".to_owned());
        };
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let name = digest(&SHA256, point);
        let key_id = URL_SAFE_NO_PAD.encode(name.as_ref().get(..12).unwrap_or_default());
        Ok(Self { public: PublicKey { key_id, x, y }, private: Zeroizing::new(pair.serialize_pem()) })
    }
}

impl PublicKey {
    fn to_jwk(&self) -> serde_json::Value {
        let Self { key_id, x, y } = self;
        json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": key_id, "x": x, "y": y})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_published_before_it_signs_and_after() {
        let now = UnixMillis(1_000);
        let first = SigningSet::generate(now).unwrap();
        let ids = |set: &SigningSet| -> Vec<String> {
            let keys = set.published()["keys"].clone();
            keys.as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
        };
        let before = ids(&first);
        assert_eq!(before.len(), 2);
        let day = Duration::from_hours(24);
        assert!(!first.is_due(now, day) && first.is_due(UnixMillis(1_000 + 86_400_000), day));
        let text = serde_json::to_string(&first).unwrap();
        let second = serde_json::from_str::<SigningSet>(&text).unwrap().rotated(UnixMillis(2_000)).unwrap();
        let after = ids(&second);
        assert_eq!(second.key_id(), before[1], "the next key signs");
        assert!(after.contains(&before[0]) && after.len() == 3, "the old one is still published");
        let key = second.signing_key("orders").unwrap();
        assert_eq!((key.key_id.as_str(), key.issuer.as_str()), (before[1].as_str(), "urn:portreeve:orders"));
    }
}
