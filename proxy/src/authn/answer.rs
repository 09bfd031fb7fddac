//! What an introspection endpoint says (RFC 7662 section 2.2). Pure: status, content type and body in, a fact or a
//! fault out. A fault is never a fact: it closes, and it is not remembered (I8).

use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use portreeve_policy::Dialect;
use serde_json::{Map, Value};

use super::{
    JwtFault,
    claims::{Claims, Verified},
    json,
    jwt::{self, TokenType},
    key_ring::KeyRing,
    token_kind,
};
use crate::clock::UnixMillis;

/// What is known of the token now.
pub(super) enum Answer {
    /// In use, with these facts, and for some dialects with a JWT for the upstream.
    Active(Verified<Claims>, Option<UpstreamJwt>),
    /// Not in use; the answer says no more.
    Inactive,
    /// In use, but no access token.
    OtherToken,
}

/// A JWT for the upstream, as the value of Authorization, and the first moment at which it counts no longer.
#[derive(Debug, Clone)]
pub(super) struct UpstreamJwt {
    pub(super) value: HeaderValue,
    pub(super) expires_at: UnixMillis,
}

/// An answer that says nothing about the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum AnswerFault {
    /// A content type other than that of the dialect.
    #[error("the answer of the token service is not of the configured form")]
    ContentType,
    /// 400, 401 or 403: the gateway's own credentials were refused, or its request was.
    #[error("the token service refused the gateway's own credentials")]
    Credentials,
    /// Not JSON, repeated members, wrong types, or another issuer.
    #[error("the answer of the token service is malformed")]
    Malformed,
    /// Any other status.
    #[error("the token service answered with an unexpected status")]
    Status,
    /// The answer's JWT does not verify.
    #[error("the JWT of the answer is not valid: {0}")]
    Token(JwtFault),
}

/// What an answer is held against.
pub(super) struct Expected<'a> {
    pub(super) dialect: &'a Dialect,
    pub(super) issuer: &'a str,
    /// Member that holds scopes.
    pub(super) scope_claim: &'a str,
    /// As whom the gateway asked.
    pub(super) client_id: &'a str,
    pub(super) keys: Option<&'a KeyRing>,
    pub(super) now: UnixMillis,
}

/// `typ` of a signed envelope (RFC 9701 section 5).
const ENVELOPE: &str = "token-introspection+jwt";

/// Reads an answer of a dialect.
pub(super) fn read(answer: &Response<bytes::Bytes>, expected: &Expected<'_>) -> Result<Answer, AnswerFault> {
    match (answer.status(), expected.dialect) {
        (StatusCode::OK, Dialect::Json) if is(answer, "application/json") => {
            expected.read_json(object(answer.body())?, None)
        }
        (StatusCode::OK, Dialect::JwtBody) if is(answer, "application/jwt") => expected.read_jwt(answer.body()),
        (StatusCode::OK, Dialect::JwtMember { member, .. }) if is(answer, "application/json") => {
            expected.read_json(object(answer.body())?, Some(member))
        }
        (StatusCode::OK, Dialect::SignedEnvelope) if is(answer, "application/token-introspection+jwt") => {
            expected.read_envelope(answer.body())
        }
        (StatusCode::OK, _) => Err(AnswerFault::ContentType),
        (StatusCode::NO_CONTENT, Dialect::JwtBody) => Ok(Answer::Inactive),
        (StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
            Err(AnswerFault::Credentials)
        }
        _ => Err(AnswerFault::Status),
    }
}

pub(super) fn is(answer: &Response<bytes::Bytes>, media_type: &str) -> bool {
    let mut lines = answer.headers().get_all(CONTENT_TYPE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return false };
    let essence = line.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(media_type)
}

fn object(body: &[u8]) -> Result<Map<String, Value>, AnswerFault> {
    json::parse_object(body).ok_or(AnswerFault::Malformed)
}

fn text(body: &[u8]) -> Result<&str, AnswerFault> {
    str::from_utf8(body).map(str::trim_ascii).map_err(|_ignored: std::str::Utf8Error| AnswerFault::Malformed)
}

/// Value of Authorization that carries a token.
pub(super) fn bearer_value(token: &str) -> Result<HeaderValue, AnswerFault> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_ignored: http::header::InvalidHeaderValue| AnswerFault::Malformed)?;
    value.set_sensitive(true);
    Ok(value)
}

impl Expected<'_> {
    /// `active` is read before anything else, and only `true` means yes (I4); an embedded JWT of an inactive answer is
    /// never looked at.
    fn read_json(&self, mut members: Map<String, Value>, member: Option<&str>) -> Result<Answer, AnswerFault> {
        // Some servers list every member they know, those without a value too.
        members.retain(|_, value| !value.is_null());
        // Once is enough: it is kept as the value that goes upstream.
        let jwt = member.and_then(|member| members.remove(member));
        if members.get("active") != Some(&Value::Bool(true)) {
            return Ok(Answer::Inactive);
        }
        let claims = Claims::read_with(&members, self.scope_claim)
            .map_err(|_ignored: super::claims::WrongType| AnswerFault::Malformed)?;
        if claims.issuer().is_some_and(|named| named != self.issuer) {
            return Err(AnswerFault::Malformed);
        }
        if token_kind::is_other(&members, false) {
            return Ok(Answer::OtherToken);
        }
        let dpop =
            members.get("token_type").and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("dpop"));
        if dpop && claims.binding().dpop().is_none() {
            return Err(AnswerFault::Token(JwtFault::SenderConstrained));
        }
        if jwt::check_times(&claims, self.now).is_err() {
            return Ok(Answer::Inactive);
        }
        let jwt = match jwt {
            None => None,
            Some(Value::String(jwt)) => match self.read_jwt(jwt.as_bytes())? {
                Answer::Active(_, value) => value,
                other @ (Answer::Inactive | Answer::OtherToken) => return Ok(other),
            },
            Some(_) => return Err(AnswerFault::Malformed),
        };
        Ok(Answer::Active(Verified::new(claims), jwt))
    }

    /// The JWT is verified like any other before it may replace the caller's token.
    fn read_jwt(&self, body: &[u8]) -> Result<Answer, AnswerFault> {
        let text = text(body)?;
        match jwt::verify(text, TokenType::Any, (self.issuer, self.scope_claim), self.keys()?, self.now) {
            Ok((claims, _)) => {
                let expires_at = claims.get().expires_at().unwrap_or(self.now);
                let jwt = UpstreamJwt { value: bearer_value(text)?, expires_at };
                Ok(Answer::Active(claims, Some(jwt)))
            }
            Err(JwtFault::Expired) => Ok(Answer::Inactive),
            Err(JwtFault::NotAccessToken) => Ok(Answer::OtherToken),
            Err(fault) => Err(AnswerFault::Token(fault)),
        }
    }

    /// RFC 9701 section 5: signed by the token service for us; what counts stands in `token_introspection`.
    fn read_envelope(&self, body: &[u8]) -> Result<Answer, AnswerFault> {
        let text = text(body)?;
        let envelope =
            jwt::verify_members(text, TokenType::Exactly(ENVELOPE), self.keys()?).map_err(AnswerFault::Token)?;
        let mut members = envelope.members;
        // An envelope is no access token: it must not say whose or until when (section 8.1).
        let inner = match members.remove("token_introspection") {
            Some(Value::Object(inner)) if !members.contains_key("sub") && !members.contains_key("exp") => inner,
            _ => return Err(AnswerFault::Malformed),
        };
        let claims = Claims::read_with(&members, self.scope_claim)
            .map_err(|_ignored: super::claims::WrongType| AnswerFault::Malformed)?;
        if claims.issuer() != Some(self.issuer) {
            return Err(AnswerFault::Token(JwtFault::Issuer));
        }
        if claims.issued_at().is_none() || !claims.audiences().any(|audience| audience == self.client_id) {
            return Err(AnswerFault::Token(JwtFault::MissingClaim));
        }
        jwt::check_times(&claims, self.now).map_err(AnswerFault::Token)?;
        self.read_json(inner, None)
    }

    fn keys(&self) -> Result<&KeyRing, AnswerFault> {
        self.keys.ok_or(AnswerFault::Token(JwtFault::UnknownKey))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000_000);

    fn said(status: u16, kind: &str, body: &'static str, dialect: &Dialect) -> String {
        let answer = Response::builder().status(status).header(CONTENT_TYPE, kind).body(body.into()).unwrap();
        let (issuer, client_id) = ("https://login.example.com", "gateway");
        match read(&answer, &Expected { dialect, issuer, scope_claim: "scope", client_id, keys: None, now: NOW }) {
            Ok(Answer::Active(..)) => "active".to_owned(),
            Ok(Answer::Inactive) => "inactive".to_owned(),
            Ok(Answer::OtherToken) => "other".to_owned(),
            Err(fault) => format!("{fault:?}"),
        }
    }

    #[test]
    fn fault_05_members_that_nobody_asks_for_make_no_answer_unusable() {
        for body in [
            r#"{"active":true,"scope":["a","b"]}"#,
            r#"{"active":true,"scope":7}"#,
            r#"{"active":true,"client_id":7,"username":[]}"#,
            r#"{"active":true,"scope":null,"client_id":null,"sub":null,"aud":null,"iss":null,"exp":null,"nbf":null}"#,
            r#"{"active":true,"iat":null,"cnf":null,"token_type":null,"typ":null}"#,
        ] {
            assert_eq!(said(200, "application/json", body, &Dialect::Json), "active", "{body}");
        }
        let sub = r#"{"active":true,"sub":7}"#;
        assert_eq!(said(200, "application/json", sub, &Dialect::Json), "Malformed", "whose it is decides");
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
            (r#"{"active":true,"cnf":{"jkt":"x"}}"#, "Malformed"),
            (r#"{"active":true,"cnf":{"kid":"x"}}"#, "Malformed"),
            (
                r#"{"active":true,"cnf":{"jkt":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},"token_type":"DPoP"}"#,
                "active",
            ),
            (r#"{"active":true,"token_type":"DPoP"}"#, "Token(SenderConstrained)"),
            (r#"{"active":true,"token_type":"Refresh"}"#, "other"),
            (r#"{"active":true,"token_use":"refresh_token"}"#, "other"),
            (r#"{"active":true,"typ":"ID"}"#, "other"),
            (r#"{"active":true,"events":{},"typ":"Bearer"}"#, "other"),
            (r#"{"active":true,"nonce":"n","at_hash":"h"}"#, "other"),
            (r#"{"active":tr"#, "Malformed"),
            ("[true]", "Malformed"),
            ("", "Malformed"),
        ] {
            assert_eq!(said(200, "application/json; charset=utf-8", body, &Dialect::Json), verdict, "{body}");
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
            assert_eq!(said(status, kind, r#"{"active":false}"#, &dialect), verdict, "{status} {kind}");
        }
    }

    mod signed {
        use portreeve_policy::MemberAccept;
        use serde_json::json;

        use super::*;
        use crate::authn::signed_tokens::{key_set, sign};

        const ISSUER: &str = "https://login.example.com";

        fn said(kind: &str, body: String, dialect: &Dialect) -> String {
            let keys = KeyRing::new(&key_set(7));
            let answer = Response::builder().header(CONTENT_TYPE, kind).body(body.into()).unwrap();
            let expected = Expected {
                dialect,
                issuer: ISSUER,
                scope_claim: "scope",
                client_id: "gateway",
                keys: Some(&keys),
                now: NOW,
            };
            match read(&answer, &expected) {
                Ok(Answer::Active(claims, jwt)) => {
                    format!("{} {}", claims.get().subject().unwrap_or("-"), jwt.map_or("none", |_| "jwt"))
                }
                Ok(Answer::Inactive) => "inactive".to_owned(),
                Ok(Answer::OtherToken) => "other".to_owned(),
                Err(fault) => format!("{fault:?}"),
            }
        }

        /// RFC 9701 section 5.
        #[test]
        fn an_envelope_is_verified_and_is_never_a_token_j16() {
            let inner = json!({"active": true, "sub": "ann", "aud": "orders", "iss": ISSUER});
            let good = json!({"iss": ISSUER, "aud": "gateway", "iat": 1_000_000, "token_introspection": inner});
            let with = |name: &str, value: Value| {
                let mut envelope = good.clone();
                envelope.as_object_mut().unwrap().insert(name.to_owned(), value);
                envelope
            };
            let without = |name: &str| {
                let mut envelope = good.clone();
                envelope.as_object_mut().unwrap().remove(name);
                envelope
            };
            for (case, typ, envelope, verdict) in [
                ("good", "token-introspection+jwt", good.clone(), "ann none"),
                ("typ with prefix", "application/token-introspection+jwt", good.clone(), "ann none"),
                ("an access token", "at+jwt", good.clone(), "Token(Type)"),
                ("no type", "JWT", good.clone(), "Token(Type)"),
                ("with sub", "token-introspection+jwt", with("sub", json!("ann")), "Malformed"),
                ("with exp", "token-introspection+jwt", with("exp", json!(2_000_000)), "Malformed"),
                ("for another", "token-introspection+jwt", with("aud", json!("other")), "Token(MissingClaim)"),
                ("of another", "token-introspection+jwt", with("iss", json!("https://evil")), "Token(Issuer)"),
                ("no iat", "token-introspection+jwt", without("iat"), "Token(MissingClaim)"),
                ("of the future", "token-introspection+jwt", with("iat", json!(2_000_000)), "Token(IssuedInFuture)"),
                ("nothing in it", "token-introspection+jwt", without("token_introspection"), "Malformed"),
                (
                    "inactive",
                    "token-introspection+jwt",
                    with("token_introspection", json!({"active": false, "sub": "ann"})),
                    "inactive",
                ),
            ] {
                let kind = "application/token-introspection+jwt";
                assert_eq!(said(kind, sign(7, typ, &envelope), &Dialect::SignedEnvelope), verdict, "{case}");
            }
            let plain = said("application/json", good.to_string(), &Dialect::SignedEnvelope);
            assert_eq!(plain, "ContentType", "an unsigned answer is none");
        }

        #[test]
        fn a_jwt_member_is_looked_at_only_when_active_i4() {
            let dialect = Dialect::JwtMember { member: "jwt".to_owned(), accept: MemberAccept::Jwt };
            let claims = |exp: u64| json!({"iss": ISSUER, "aud": "orders", "sub": "ann", "exp": exp});
            let jwt = sign(7, "JWT", &claims(1_000_060));
            let mut forged = jwt.clone();
            forged.replace_range(jwt.len() - 6.., "AAAAAA");
            for (case, answer, verdict) in [
                ("good", json!({"active": true, "sub": "ann", "jwt": jwt}), "ann jwt"),
                ("none", json!({"active": true, "sub": "ann"}), "ann none"),
                ("inactive", json!({"active": false, "sub": "ann", "jwt": jwt}), "inactive"),
                ("forged", json!({"active": true, "jwt": forged}), "Token(Signature)"),
                ("expired", json!({"active": true, "jwt": sign(7, "JWT", &claims(1_000))}), "inactive"),
                ("no text", json!({"active": true, "jwt": 7}), "Malformed"),
                (
                    "a refresh token",
                    json!({"active": true, "jwt": sign(7, "JWT", &json!({
                        "iss": ISSUER, "aud": "orders", "sub": "ann", "exp": 1_000_060, "typ": "Refresh",
                    }))}),
                    "other",
                ),
                (
                    "an envelope",
                    json!({"active": true, "jwt": sign(7, "token-introspection+jwt", &claims(1_000_060))}),
                    "Token(Type)",
                ),
            ] {
                assert_eq!(said("application/json", answer.to_string(), &dialect), verdict, "{case}");
            }
            assert_eq!(said("application/jwt", jwt, &dialect), "ContentType");
        }
    }
}
