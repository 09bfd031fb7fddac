//! How the gateway proves itself at a token service (RFC 6749 section 2.3.1, RFC 7523 section 2.2, RFC 8705 section 2).

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use portreeve_policy::{ClientAuthentication, ClientAuthenticationMethod, Secret};
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    InvalidEndpoint,
    signer::{Signer, fresh_id},
};
use crate::clock::UnixMillis;

/// How long an assertion counts.
const ASSERTION_LIFETIME: Duration = Duration::from_mins(1);

/// The gateway's client at one token service, ready to be used.
pub(super) struct GatewayClient {
    client_id: String,
    proof: ClientProof,
}

enum ClientProof {
    /// Value of Authorization.
    Basic(HeaderValue),
    /// Form members.
    Post(Zeroizing<String>),
    Assertion {
        signer: Signer,
        key_id: String,
        audience: String,
    },
    /// The connection proves it; the form names the client.
    Tls,
}

impl GatewayClient {
    pub(super) fn new(client: &ClientAuthentication, secret: &Secret) -> Result<Self, InvalidEndpoint> {
        let id = form_encode(client.client_id.as_bytes());
        let proof = match &client.method {
            ClientAuthenticationMethod::ClientSecretBasic => {
                let pair = Zeroizing::new(format!("{}:{}", *id, *form_encode(secret.expose())));
                let line = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
                let mut value = HeaderValue::from_str(&line)
                    .map_err(|_ignored: http::header::InvalidHeaderValue| InvalidEndpoint::Url)?;
                value.set_sensitive(true);
                ClientProof::Basic(value)
            }
            ClientAuthenticationMethod::ClientSecretPost => {
                let secret = form_encode(secret.expose());
                ClientProof::Post(Zeroizing::new(format!("&client_id={}&client_secret={}", *id, *secret)))
            }
            ClientAuthenticationMethod::PrivateKeyJwt { key_id, audience } => ClientProof::Assertion {
                signer: Signer::from_pem(secret)
                    .map_err(|_ignored: super::signer::InvalidSigningKey| InvalidEndpoint::ClientKey)?,
                key_id: key_id.clone(),
                audience: audience.clone(),
            },
            ClientAuthenticationMethod::TlsClientAuth => ClientProof::Tls,
        };
        Ok(Self { client_id: client.client_id.clone(), proof })
    }

    pub(super) fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Value for Authorization, and what goes at the end of the form. `None` when an assertion cannot be signed.
    pub(super) fn verify(&self, now: UnixMillis) -> Option<(Option<HeaderValue>, Zeroizing<String>)> {
        let id = || form_encode(self.client_id.as_bytes());
        Some(match &self.proof {
            ClientProof::Basic(value) => (Some(value.clone()), Zeroizing::new(String::new())),
            ClientProof::Post(members) => (None, members.clone()),
            ClientProof::Tls => (None, Zeroizing::new(format!("&client_id={}", *id()))),
            ClientProof::Assertion { signer, key_id, audience } => {
                let seconds = now.0 / 1000;
                let claims = json!({
                    "iss": self.client_id, "sub": self.client_id, "aud": audience, "jti": fresh_id()?,
                    "iat": seconds, "exp": seconds.saturating_add(ASSERTION_LIFETIME.as_secs()),
                });
                let assertion = Zeroizing::new(signer.sign("JWT", key_id, &claims)?);
                let kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
                let members =
                    format!("&client_id={}&client_assertion_type={kind}&client_assertion={}", *id(), *assertion);
                (None, Zeroizing::new(members))
            }
        })
    }
}

/// `application/x-www-form-urlencoded` (RFC 6749 appendix B).
pub(super) fn form_encode(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len().saturating_mul(3)));
    for byte in bytes {
        match byte {
            b'*' | b'-' | b'.' | b'_' => text.push(char::from(*byte)),
            b if b.is_ascii_alphanumeric() => text.push(char::from(*b)),
            b' ' => text.push('+'),
            b => {
                text.push('%');
                for digit in [b >> 4, b & 15] {
                    text.push(char::from_digit(u32::from(digit), 16).map_or('0', |c| c.to_ascii_uppercase()));
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::form_encode;

    #[test]
    fn encodes_like_a_form() {
        assert_eq!(*form_encode("a b&c=d:é*-._~+/".as_bytes()), "a+b%26c%3Dd%3A%C3%A9*-._%7E%2B%2F");
    }
}
