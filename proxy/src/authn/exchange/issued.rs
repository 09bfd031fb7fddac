//! What a token endpoint answers to an exchange (RFC 8693 section 2.2, RFC 6749 section 5).

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;

use super::{
    super::{
        AnswerFault, LookupFault, VerifiedCredential,
        answer::{bearer_value, is},
        json,
    },
    ACCESS_TOKEN, ExchangeFault, JWT,
};
use crate::clock::UnixMillis;

/// Longest use of an issued token, so that a revocation at the own token service takes effect.
const MAX_TTL: Duration = Duration::from_mins(1);

/// What the token endpoint issued.
pub(super) struct Issued {
    pub(super) token: zeroize::Zeroizing<String>,
    expires_in: Option<Duration>,
}

impl Issued {
    /// Never longer than the subject token, the issued token, what `expires_in` says, and our own cap.
    pub(super) fn until(
        &self,
        subject: Option<UnixMillis>,
        credential: &VerifiedCredential,
        asked_at: UnixMillis,
    ) -> UnixMillis {
        let mut until = asked_at.plus(MAX_TTL);
        until = self.expires_in.map_or(until, |length| asked_at.plus(length).min(until));
        for bound in [subject, credential.claims().expires_at()].into_iter().flatten() {
            until = until.min(bound);
        }
        until.min(credential.usable_until())
    }
}

/// RFC 8693 section 2.2, RFC 6749 section 5.
pub(super) fn read(answer: &Response<Bytes>) -> Result<Issued, ExchangeFault> {
    let fault = |fault: AnswerFault| ExchangeFault::Verification(LookupFault::Answer(fault).into());
    let malformed = || fault(AnswerFault::Malformed);
    let members = json::parse_object(answer.body());
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::BAD_REQUEST => {
            let error = members.as_ref().and_then(|members| members.get("error")).and_then(Value::as_str);
            // Only these speak of the token that was brought; the others speak of us (RFC 6749 section 5.2).
            return Err(match error {
                Some("invalid_grant" | "invalid_request" | "invalid_target" | "invalid_scope" | "access_denied") => {
                    ExchangeFault::Refused
                }
                _ => fault(AnswerFault::Credentials),
            });
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(fault(AnswerFault::Credentials)),
        _ => return Err(fault(AnswerFault::Status)),
    }
    if !is(answer, "application/json") {
        return Err(fault(AnswerFault::ContentType));
    }
    let members = members.ok_or_else(malformed)?;
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let token = text("access_token").filter(|token| !token.is_empty()).ok_or_else(malformed)?;
    if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err(malformed());
    }
    if text("issued_token_type").is_some_and(|kind| kind != ACCESS_TOKEN && kind != JWT) {
        return Err(malformed());
    }
    bearer_value(token).map_err(fault)?;
    let expires_in = members.get("expires_in").and_then(Value::as_u64).map(Duration::from_secs);
    Ok(Issued { token: zeroize::Zeroizing::new(token.to_owned()), expires_in })
}
