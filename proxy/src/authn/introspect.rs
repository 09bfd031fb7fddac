//! Asking a token service about a token (RFC 7662 section 2.1).

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderValue, Request, Response,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use portreeve_policy::{AddressRange, ClientAuthentication, ClientAuthenticationMethod, Dialect, Millis, Secret};

use super::{AnswerFault, InvalidEndpoint};
use crate::outbound::{CallFault, Outbound};

/// Why nothing is known of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum LookupFault {
    /// The answer makes no sense.
    #[error(transparent)]
    Answer(#[from] AnswerFault),
    /// No connection, or it broke.
    #[error("the token service cannot be reached")]
    Connect,
    /// The worker that asked went away.
    #[error("the look-up was interrupted")]
    Interrupted,
    /// More than 256 KiB.
    #[error("the introspection answer is too large")]
    TooLarge,
    /// No answer in time.
    #[error("the token service did not answer in time")]
    Timeout,
    /// Endpoint or credentials are not known yet.
    #[error("introspection is not set up yet")]
    Unavailable,
}

/// A configured introspection endpoint.
pub(super) struct Introspector {
    outbound: Outbound,
    authorization: Option<HeaderValue>,
    /// Form members that authenticate, encoded; empty unless the secret goes into the body.
    credentials: zeroize::Zeroizing<String>,
    dialect: Dialect,
}

impl Introspector {
    pub(super) fn new(
        endpoint: &str,
        client: &ClientAuthentication,
        secret: &Secret,
        (ca_certificates, addresses): (&str, AddressRange),
        timeout: Millis,
        dialect: Dialect,
    ) -> Result<Self, InvalidEndpoint> {
        let outbound = Outbound::new(endpoint, ca_certificates, addresses, timeout.duration())?;
        let (id, secret) = (form_encode(client.client_id.as_bytes()), form_encode(secret.expose()));
        let mut credentials = zeroize::Zeroizing::new(String::new());
        let mut authorization = None;
        match client.method {
            ClientAuthenticationMethod::ClientSecretBasic => {
                let pair = zeroize::Zeroizing::new(format!("{}:{}", *id, *secret));
                let line = zeroize::Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
                let mut value = HeaderValue::from_str(&line)
                    .map_err(|_ignored: http::header::InvalidHeaderValue| InvalidEndpoint::Url)?;
                value.set_sensitive(true);
                authorization = Some(value);
            }
            ClientAuthenticationMethod::ClientSecretPost => {
                *credentials = format!("&client_id={}&client_secret={}", *id, *secret);
            }
        }
        Ok(Self { outbound, authorization, credentials, dialect })
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Asks; the token is encoded, so that it cannot add form members of its own.
    pub(super) async fn ask(&self, token: &str) -> Result<Response<Bytes>, LookupFault> {
        let accept = match self.dialect {
            Dialect::Json => "application/json",
            Dialect::JwtBody => "application/jwt",
        };
        let mut request =
            Request::builder().header(CONTENT_TYPE, "application/x-www-form-urlencoded").header(ACCEPT, accept);
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value.clone());
        }
        let body =
            format!("token={}&token_type_hint=access_token{}", *form_encode(token.as_bytes()), *self.credentials);
        self.outbound.post(request, body).await.map_err(|fault| match fault {
            CallFault::Connect => LookupFault::Connect,
            CallFault::Timeout => LookupFault::Timeout,
            CallFault::TooLarge => LookupFault::TooLarge,
        })
    }
}

/// `application/x-www-form-urlencoded` (RFC 6749 appendix B).
fn form_encode(bytes: &[u8]) -> zeroize::Zeroizing<String> {
    let mut text = zeroize::Zeroizing::new(String::with_capacity(bytes.len() * 3));
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
