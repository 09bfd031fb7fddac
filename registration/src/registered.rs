//! What the server holds for us (RFC 7591 section 3.2.1, RFC 7592 section 3), and how an answer is read.
//!
//! INVARIANT: an answer that names a client is never thrown away, for a create cannot be repeated without leaving a
//! second client. What is wrong in it is listed as [`AnswerFault`]; only an answer without a usable `client_id` is refused.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::{Document, Endpoint, Secret};

/// Largest answer that is read.
pub const MAX_ANSWER: usize = 64 * 1024;

const MAX_CLIENT_ID: usize = 512;
const MAX_SECRET: usize = 16 * 1024;

/// When a client secret ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretExpiry {
    /// At this second since 1970.
    At(u64),
    /// Never (`client_secret_expires_at` is 0).
    Never,
}

/// Something in an answer that the RFCs forbid, but that does not keep us from using the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AnswerFault {
    /// The answer lacks `Cache-Control: no-store` (RFC 7591 section 3.2.1).
    Cacheable,
    /// `registration_client_uri` is not on the origin of the registration endpoint; no token will be sent there.
    ForeignManagementUri,
    /// A member has the wrong type or is out of bounds and was ignored.
    Malformed(String),
    /// `registration_client_uri` is relative; RFC 7592 section 3 wants it whole, and no token is sent to a guess.
    RelativeManagementUri,
    /// There is a client secret, but no `client_secret_expires_at` (required by RFC 7591 section 3.2.1).
    MissingSecretExpiry,
    /// The status is not the one that the RFC asks for, e.g. 200 instead of 201 after a create.
    Status(u16),
}

/// Why an answer could not be read at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnswer {
    /// `client_id` is absent, empty, too long or not visible ASCII.
    #[error("the answer names no usable client_id")]
    ClientId,
    /// The body is not a JSON object, e.g. an HTML page, or empty.
    #[error("the answer is not a JSON object")]
    NotAnObject,
    /// A status that the protocol does not know here, e.g. a redirect.
    #[error("status {0} is no answer of the registration protocol")]
    Status(u16),
    /// The body is larger than [`MAX_ANSWER`].
    #[error("the answer is larger than 64 KiB")]
    TooLarge,
    /// The answer speaks of another client.
    #[error("the answer speaks of another client")]
    WrongClient,
}

/// A client as the server last described it. It holds secrets, so it has neither `Debug` nor a serde form.
///
/// ```compile_fail
/// fn debug<T: std::fmt::Debug>() {}
/// debug::<portreeve_registration::Registration>();
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Registration {
    /// The client identifier.
    pub client_id: String,
    /// When the identifier was issued, in seconds since 1970, if the server says so.
    pub client_id_issued_at: Option<u64>,
    /// The client secret, if the client has one.
    pub client_secret: Option<Secret>,
    /// When the secret ends, if the server says so.
    pub client_secret_expires_at: Option<SecretExpiry>,
    /// What was wrong in the last answer.
    pub faults: Vec<AnswerFault>,
    /// Opens the management address; absent where the server has no RFC 7592.
    pub registration_access_token: Option<Secret>,
    /// The management address, as the server gave it. Its origin is checked before each use.
    pub registration_client_uri: Option<Url>,
    /// All other members: the metadata as the server reports it, unknown members included.
    pub reported: Document,
}

// === impl Registration ===

impl Registration {
    /// Reads an answer's body, of at most [`MAX_ANSWER`] bytes. Members that the server sets are taken out and checked;
    /// all others stay in `reported`.
    pub fn parse(body: &[u8], endpoint: &Endpoint) -> Result<Self, InvalidAnswer> {
        if body.len() > MAX_ANSWER {
            return Err(InvalidAnswer::TooLarge);
        }
        let Ok(mut members) = serde_json::from_slice::<Document>(body) else { return Err(InvalidAnswer::NotAnObject) };
        let client_id = match take(&mut members, "client_id") {
            Some(Value::String(id)) if is_token(&id, MAX_CLIENT_ID, b' ') => id,
            Some(_) | None => return Err(InvalidAnswer::ClientId),
        };
        let mut faults = Vec::new();
        let registration_access_token = secret(&mut members, "registration_access_token", b'!', &mut faults);
        let client_secret = secret(&mut members, "client_secret", b' ', &mut faults);
        let registration_client_uri = management_uri(&mut members, endpoint, &mut faults);
        let client_id_issued_at = seconds(&mut members, "client_id_issued_at", &mut faults);
        let client_secret_expires_at = match seconds(&mut members, "client_secret_expires_at", &mut faults) {
            Some(0) => Some(SecretExpiry::Never),
            Some(at) => Some(SecretExpiry::At(at)),
            None => None,
        };
        if client_secret.is_some() && client_secret_expires_at.is_none() {
            faults.push(AnswerFault::MissingSecretExpiry);
        }
        Ok(Self {
            client_id,
            client_id_issued_at,
            client_secret,
            client_secret_expires_at,
            faults,
            registration_access_token,
            registration_client_uri,
            reported: members,
        })
    }

    /// Takes a later answer about the same client over. What the answer brings replaces what we had, at once; a secret,
    /// token or address that it does not repeat stays (RFC 7592 section 3). The registration token is handled apart,
    /// because the old one is kept until the new one worked.
    pub(crate) fn absorb(&mut self, answer: Self) {
        let Self {
            client_id: _,
            client_id_issued_at,
            client_secret,
            client_secret_expires_at,
            faults,
            registration_access_token: _,
            registration_client_uri,
            reported,
        } = answer;
        self.client_id_issued_at = client_id_issued_at.or(self.client_id_issued_at);
        if client_secret.is_some() {
            // A new secret does not inherit the old one's end.
            let same = client_secret == self.client_secret;
            self.client_secret = client_secret;
            self.client_secret_expires_at = if same {
                client_secret_expires_at.or(self.client_secret_expires_at)
            } else {
                client_secret_expires_at
            };
        } else if client_secret_expires_at.is_some() {
            self.client_secret_expires_at = client_secret_expires_at;
        }
        if registration_client_uri.is_some() {
            self.registration_client_uri = registration_client_uri;
        }
        self.faults = faults;
        self.reported = reported;
    }
}

/// A member that is there and not null.
fn take(members: &mut Document, name: &str) -> Option<Value> {
    members.remove(name).filter(|value| !value.is_null())
}

/// 1 to `max` bytes of ASCII from `first` to `~` (RFC 6749 appendix A: VSCHAR has the blank, a Bearer token has not).
fn is_token(text: &str, max: usize, first: u8) -> bool {
    !text.is_empty() && text.len() <= max && text.bytes().all(|b| (first..=b'~').contains(&b))
}

fn secret(members: &mut Document, name: &str, first: u8, faults: &mut Vec<AnswerFault>) -> Option<Secret> {
    match take(members, name)? {
        Value::String(text) if is_token(&text, MAX_SECRET, first) => Some(Secret::new(text)),
        Value::Array(_) | Value::Bool(_) | Value::Null | Value::Number(_) | Value::Object(_) | Value::String(_) => {
            faults.push(AnswerFault::Malformed(name.to_owned()));
            None
        }
    }
}

fn seconds(members: &mut Document, name: &str, faults: &mut Vec<AnswerFault>) -> Option<u64> {
    let value = take(members, name)?;
    // A JSON number may have a fraction; what ends within a second ends at its beginning. A number of seconds that is no
    // number of seconds since 1970 is no time.
    let seconds = value.as_u64().or_else(|| whole_seconds(&value));
    if seconds.is_none() {
        faults.push(AnswerFault::Malformed(name.to_owned()));
    }
    seconds
}

/// A number with a fraction or an exponent, rounded down.
fn whole_seconds(value: &Value) -> Option<u64> {
    const MOST: f64 = 9_007_199_254_740_991.0;
    let number = value.as_f64().filter(|number| (0.0..=MOST).contains(number))?;
    format!("{:.0}", number.floor()).parse().ok()
}

fn management_uri(members: &mut Document, endpoint: &Endpoint, faults: &mut Vec<AnswerFault>) -> Option<Url> {
    let name = "registration_client_uri";
    let value = take(members, name)?;
    let url = match value.as_str().map(Url::parse) {
        Some(Ok(url)) => url,
        // RFC 7592 section 3 wants the whole address; what it would be relative to is not said anywhere.
        Some(Err(url::ParseError::RelativeUrlWithoutBase)) => {
            faults.push(AnswerFault::RelativeManagementUri);
            return None;
        }
        Some(Err(_)) | None => {
            faults.push(AnswerFault::Malformed(name.to_owned()));
            return None;
        }
    };
    if !endpoint.admits(&url) {
        faults.push(AnswerFault::ForeignManagementUri);
    }
    Some(url)
}
