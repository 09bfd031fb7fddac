//! Keys of clients' own: made with the machine's randomness, used to sign client assertions.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use portreeve_registration::{ClientKey, KeyFault, KeyPurpose, Keys, Secret};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::crypto::aws_lc_rs;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::clock::SharedClock;

/// How long a client assertion is good; it is used at once.
const ASSERTION_SECONDS: u64 = 60;

/// Makes P-256 keys, and signs with ES256.
#[derive(Clone)]
pub(super) struct OperatorKeys {
    clock: SharedClock,
}

impl OperatorKeys {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { clock }
    }
}

impl Keys for OperatorKeys {
    fn make(&self, purpose: KeyPurpose) -> Result<ClientKey, KeyFault> {
        let fault = |fault: rcgen::Error| KeyFault(fault.to_string());
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(fault)?;
        // SEC 1 section 2.3.3: 4, then 32 bytes each of x and y.
        let point = pair.der_bytes();
        let (Some(x), Some(y)) = (point.get(1..33), point.get(33..65)) else {
            return Err(KeyFault("the key has an unknown form".to_owned()));
        };
        let (x, y) = (base64url(x), base64url(y));
        let kid = thumbprint(&x, &y);
        let (public, certificate) = match purpose {
            KeyPurpose::Assertion => {
                let public = json!({
                    "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "use": "sig", "alg": "ES256",
                });
                (public, None)
            }
            KeyPurpose::Certificate => {
                let mut params = CertificateParams::default();
                params.distinguished_name.push(DnType::CommonName, kid.as_str());
                let made = params.self_signed(&pair).map_err(fault)?;
                let chain = [STANDARD.encode(made.der())];
                let public = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "x5c": chain});
                (public, Some(made.pem()))
            }
        };
        Ok(ClientKey { kid, public, private: Secret::new(pair.serialize_pem()), certificate, until: None })
    }

    fn assertion(&self, key: &ClientKey, client_id: &str, audience: &str) -> Option<Secret> {
        let now = self.clock.now().0 / 1000;
        let claims = json!({
            "iss": client_id, "sub": client_id, "aud": audience, "iat": now,
            "exp": now.saturating_add(ASSERTION_SECONDS), "jti": identifier()?,
        });
        let header = Header { kid: Some(key.kid.clone()), ..Header::new(Algorithm::ES256) };
        let signer = EncodingKey::from_ec_pem(key.private.expose().as_bytes()).ok()?;
        jsonwebtoken::encode(&header, &claims, &signer).ok().map(Secret::new)
    }
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// RFC 7638: SHA-256 over the required members in the order of their names.
fn thumbprint(x: &str, y: &str) -> String {
    base64url(&Sha256::digest(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)))
}

/// An identifier that is not used twice.
fn identifier() -> Option<String> {
    let mut bytes = [0u8; 16];
    aws_lc_rs::default_provider().secure_random.fill(&mut bytes).ok()?;
    Some(base64url(&bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jsonwebtoken::{DecodingKey, Validation, jwk::Jwk};
    use serde_json::Value;

    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn an_assertion_holds_under_the_public_half() {
        let keys = OperatorKeys::new(Arc::new(SystemClock));
        let key = keys.make(KeyPurpose::Assertion).unwrap();
        let token = keys.assertion(&key, "c1", "https://login.test").unwrap();
        let public: Jwk = serde_json::from_value(key.public.clone()).unwrap();
        let mut rules = Validation::new(Algorithm::ES256);
        rules.set_audience(&["https://login.test"]);
        let read =
            jsonwebtoken::decode::<Value>(token.expose(), &DecodingKey::from_jwk(&public).unwrap(), &rules).unwrap();
        assert_eq!((read.claims["sub"].as_str(), read.header.kid), (Some("c1"), Some(key.kid.clone())));
        assert_ne!(keys.make(KeyPurpose::Assertion).unwrap().kid, key.kid);
        for member in ["d", "k"] {
            assert!(key.public.get(member).is_none());
        }
    }

    #[test]
    fn a_certificate_carries_its_key() {
        let key = OperatorKeys::new(Arc::new(SystemClock)).make(KeyPurpose::Certificate).unwrap();
        assert!(key.certificate.unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(key.public["x5c"][0].as_str().unwrap().starts_with("MII"));
    }
}
