//! What an introspection endpoint says (RFC 7662 section 2.2). Pure: status, content type and body in, a fact or a
//! fault out. A fault is never a fact: it closes, and it is not remembered (I8).

use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use portreeve_policy::Dialect;
use serde_json::Value;

use super::{
    JwtFault,
    claims::{Claims, Verified},
    json,
    jwt::{self, TokenType},
    key_ring::KeyRing,
};
use crate::clock::UnixMillis;

/// What is known of the token now.
pub(super) enum Answer {
    /// In use, with these facts, and for some dialects with a JWT for the upstream.
    Active(Verified<Claims>, Option<HeaderValue>),
    /// Not in use; the answer says no more.
    Inactive,
}

/// An answer that says nothing about the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum AnswerFault {
    /// A content type other than that of the dialect.
    #[error("the introspection answer is not of the configured form")]
    ContentType,
    /// 400, 401 or 403: the gateway's own credentials were refused, or its request was.
    #[error("the token service refused the gateway's own credentials")]
    Credentials,
    /// Not JSON, repeated members, wrong types, or another issuer.
    #[error("the introspection answer is malformed")]
    Malformed,
    /// Any other status.
    #[error("the introspection endpoint answered with an unexpected status")]
    Status,
    /// The answer's JWT does not verify.
    #[error("the JWT of the introspection answer is not valid: {0}")]
    Token(JwtFault),
}

/// Reads an answer of a dialect.
pub(super) fn read(
    answer: &Response<bytes::Bytes>,
    dialect: Dialect,
    issuer: &str,
    keys: Option<&KeyRing>,
    now: UnixMillis,
) -> Result<Answer, AnswerFault> {
    match (answer.status(), dialect) {
        (StatusCode::OK, Dialect::Json) if is(answer, "application/json") => read_json(answer.body(), issuer, now),
        (StatusCode::OK, Dialect::JwtBody) if is(answer, "application/jwt") => {
            read_jwt(answer.body(), issuer, keys, now)
        }
        (StatusCode::OK, _) => Err(AnswerFault::ContentType),
        (StatusCode::NO_CONTENT, Dialect::JwtBody) => Ok(Answer::Inactive),
        (StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
            Err(AnswerFault::Credentials)
        }
        _ => Err(AnswerFault::Status),
    }
}

fn is(answer: &Response<bytes::Bytes>, media_type: &str) -> bool {
    let mut lines = answer.headers().get_all(CONTENT_TYPE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return false };
    let essence = line.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(media_type)
}

fn read_json(body: &[u8], issuer: &str, now: UnixMillis) -> Result<Answer, AnswerFault> {
    let members = json::parse_object(body).ok_or(AnswerFault::Malformed)?;
    // `active` is read before anything else, and only `true` means yes (I4).
    if members.get("active") != Some(&Value::Bool(true)) {
        return Ok(Answer::Inactive);
    }
    let claims = Claims::read(&members, body).map_err(|_ignored: super::claims::WrongType| AnswerFault::Malformed)?;
    if claims.issuer().is_some_and(|named| named != issuer) {
        return Err(AnswerFault::Malformed);
    }
    let bearer = members.get("token_type").is_none_or(|kind| {
        kind.as_str()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("bearer") || kind.eq_ignore_ascii_case("access_token"))
    });
    if !bearer || members.contains_key("cnf") {
        return Err(AnswerFault::Token(JwtFault::SenderConstrained));
    }
    match jwt::check_times(&claims, now) {
        Ok(()) => Ok(Answer::Active(Verified::new(claims), None)),
        Err(_) => Ok(Answer::Inactive),
    }
}

fn read_jwt(body: &[u8], issuer: &str, keys: Option<&KeyRing>, now: UnixMillis) -> Result<Answer, AnswerFault> {
    let text = str::from_utf8(body).map_err(|_ignored: std::str::Utf8Error| AnswerFault::Malformed)?.trim_ascii();
    let keys = keys.ok_or(AnswerFault::Token(JwtFault::UnknownKey))?;
    match jwt::verify(text, TokenType::AnswerToken, issuer, keys, now) {
        Ok(claims) => {
            let mut value = HeaderValue::try_from(format!("Bearer {text}"))
                .map_err(|_ignored: http::header::InvalidHeaderValue| AnswerFault::Malformed)?;
            value.set_sensitive(true);
            Ok(Answer::Active(claims, Some(value)))
        }
        Err(JwtFault::Expired) => Ok(Answer::Inactive),
        Err(fault) => Err(AnswerFault::Token(fault)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000_000);

    fn said(status: u16, kind: &str, body: &'static str, dialect: Dialect) -> String {
        let answer = Response::builder().status(status).header(CONTENT_TYPE, kind).body(body.into()).unwrap();
        match read(&answer, dialect, "https://login.example.com", None, NOW) {
            Ok(Answer::Active(..)) => "active".to_owned(),
            Ok(Answer::Inactive) => "inactive".to_owned(),
            Err(fault) => format!("{fault:?}"),
        }
    }

    #[test]
    fn only_active_true_means_active_i4() {
        for (body, verdict) in [
            (r#"{"active":true}"#, "active"),
            (r#"{"active":false,"scope":"a","exp":2000000000}"#, "inactive"),
            (r#"{"active":"true"}"#, "inactive"),
            (r#"{"active":1}"#, "inactive"),
            (r#"{"active":null}"#, "inactive"),
            (r#"{"scope":"a"}"#, "inactive"),
            (r#"{"active":false,"active":true}"#, "Malformed"),
            (r#"{"active":true,"exp":1000000}"#, "inactive"),
            (r#"{"active":true,"exp":"2000000000"}"#, "Malformed"),
            (r#"{"active":true,"iss":"https://evil.example.com"}"#, "Malformed"),
            (r#"{"active":true,"cnf":{"jkt":"x"}}"#, "Token(SenderConstrained)"),
            (r#"{"active":true,"token_type":"DPoP"}"#, "Token(SenderConstrained)"),
            (r#"{"active":tr"#, "Malformed"),
            ("[true]", "Malformed"),
            ("", "Malformed"),
        ] {
            assert_eq!(said(200, "application/json; charset=utf-8", body, Dialect::Json), verdict, "{body}");
        }
    }

    #[test]
    fn faults_are_never_facts_i8() {
        for (status, kind, dialect, verdict) in [
            (200, "text/html", Dialect::Json, "ContentType"),
            (200, "application/json", Dialect::JwtBody, "ContentType"),
            (200, "application/token-introspection+jwt", Dialect::JwtBody, "ContentType"),
            (204, "application/json", Dialect::Json, "Status"),
            (204, "application/jwt", Dialect::JwtBody, "inactive"),
            (302, "application/json", Dialect::Json, "Status"),
            (401, "application/json", Dialect::Json, "Credentials"),
            (429, "application/json", Dialect::Json, "Status"),
            (500, "application/json", Dialect::Json, "Status"),
            (503, "application/jwt", Dialect::JwtBody, "Status"),
        ] {
            assert_eq!(said(status, kind, r#"{"active":false}"#, dialect), verdict, "{status} {kind}");
        }
    }
}
