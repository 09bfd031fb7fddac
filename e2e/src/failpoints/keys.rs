//! Keys of clients, as the operator makes them.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use portreeve_registration::{ClientKey, KeyFault, KeyPurpose, Keys, Secret};
use serde_json::json;

use super::server::unix_seconds;

/// P-256, ES256.
pub(super) struct RealKeys;

impl Keys for RealKeys {
    fn make(&self, _: KeyPurpose) -> Result<ClientKey, KeyFault> {
        let fault = || KeyFault("no key".to_owned());
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).map_err(|_unspecified| fault())?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref()).map_err(|_rejected| fault())?;
        let point = pair.public_key().as_ref();
        let (Some(x), Some(y)) = (point.get(1..33), point.get(33..65)) else { return Err(fault()) };
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let kid = x.chars().take(16).collect::<String>();
        let pem =
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(document.as_ref()));
        let public = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "use": "sig", "alg": "ES256"});
        Ok(ClientKey { kid, public, private: Secret::new(pem), certificate: None, until: None })
    }

    fn assertion(&self, key: &ClientKey, client_id: &str, audience: &str) -> Option<Secret> {
        let now = unix_seconds();
        let claims = json!({
            "iss": client_id, "sub": client_id, "aud": audience, "iat": now, "exp": now + 60,
            "jti": self.make(KeyPurpose::Assertion).ok()?.kid,
        });
        let header = Header { kid: Some(key.kid.clone()), ..Header::new(Algorithm::ES256) };
        let signer = EncodingKey::from_ec_pem(key.private.expose().as_bytes()).ok()?;
        jsonwebtoken::encode(&header, &claims, &signer).ok().map(Secret::new)
    }
}
