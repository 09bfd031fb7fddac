//! Where denials meet HTTP: status, challenge, problem details (RFC 9457). Nothing here tells the caller of internals.

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};

use portreeve_policy::RefusalReason;

use super::denial::TokenFault;
use super::{AnswerBody, Challenge, Denial, InvalidRequest, UpstreamFault};

/// Name of the header that carries the decision id.
pub(super) const DECISION_ID: &str = "portreeve-decision-id";

struct Answer {
    status: StatusCode,
    title: &'static str,
    challenge: Option<String>,
}

/// The answer to a refused request.
pub(super) fn respond(denial: &Denial, decision_id: &str) -> Response<AnswerBody> {
    let Answer { status, title, challenge } = answer(denial);
    let body = serde_json::json!({
        "type": "about:blank",
        "title": title,
        "status": status.as_u16(),
        "reason": denial.reason(),
        "decision_id": decision_id,
    });
    let mut response = Response::new(AnswerBody::full(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    insert(headers, DECISION_ID, decision_id);
    if let Some(challenge) = challenge {
        insert(headers, WWW_AUTHENTICATE.as_str(), &challenge);
    }
    match denial {
        Denial::MethodNotAllowed(allow) => insert(headers, ALLOW.as_str(), allow),
        Denial::DecisionPointUnavailable | Denial::NotReady | Denial::TokenServiceUnavailable(_) => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        Denial::InvalidRequest(fault) if fault.spoils_connection() => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Denial::BrokenCredentials(..)
        | Denial::Forbidden(_)
        | Denial::InsufficientScope(_)
        | Denial::InvalidRequest(_)
        | Denial::InvalidToken(..)
        | Denial::NoCredentials(_)
        | Denial::RouteNotFound
        | Denial::RuleRefuses(_)
        | Denial::UpgradeNotAllowed
        | Denial::Upstream(_) => {}
    }
    response
}

fn answer(denial: &Denial) -> Answer {
    let plain = |status, title| Answer { status, title, challenge: None };
    match denial {
        Denial::BrokenCredentials(_, challenge) => Answer {
            status: StatusCode::BAD_REQUEST,
            title: "The credentials are malformed",
            challenge: Some(bearer(challenge, Some("invalid_request"))),
        },
        Denial::DecisionPointUnavailable => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "The request cannot be decided at the moment")
        }
        Denial::Forbidden(_) => plain(StatusCode::FORBIDDEN, "The policy does not allow this request"),
        Denial::InsufficientScope(challenge) => Answer {
            status: StatusCode::FORBIDDEN,
            title: "The token lacks a scope that this request needs",
            challenge: Some(bearer(challenge, Some("insufficient_scope"))),
        },
        Denial::InvalidRequest(InvalidRequest::ForbiddenMethod) => {
            plain(StatusCode::METHOD_NOT_ALLOWED, "The method is not supported")
        }
        Denial::InvalidRequest(InvalidRequest::HeadTooLarge) => {
            plain(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The head of the request is too large")
        }
        Denial::InvalidRequest(_) => plain(StatusCode::BAD_REQUEST, "The request is malformed or ambiguous"),
        Denial::InvalidToken(TokenFault::NoUpstreamJwt, _) => {
            plain(StatusCode::BAD_GATEWAY, "The token service gave no token for the application")
        }
        Denial::InvalidToken(TokenFault::Audience | TokenFault::Fact(_), challenge) => Answer {
            status: StatusCode::UNAUTHORIZED,
            title: "The token is not valid here",
            challenge: Some(bearer(challenge, Some("invalid_token"))),
        },
        Denial::MethodNotAllowed(_) => plain(StatusCode::METHOD_NOT_ALLOWED, "The method is not allowed here"),
        // No credentials, no error code (RFC 6750 section 3.1).
        Denial::NoCredentials(challenge) => Answer {
            status: StatusCode::UNAUTHORIZED,
            title: "A bearer token is needed",
            challenge: Some(bearer(challenge, None)),
        },
        Denial::NotReady => plain(StatusCode::SERVICE_UNAVAILABLE, "The proxy has no policy yet"),
        Denial::RouteNotFound => plain(StatusCode::NOT_FOUND, "No API answers here"),
        Denial::RuleRefuses(RefusalReason::Closed) => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "The API is closed at the moment")
        }
        Denial::RuleRefuses(_) => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "The API is closed until its policy is mended")
        }
        Denial::TokenServiceUnavailable(_) => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "The token cannot be checked at the moment")
        }
        Denial::UpgradeNotAllowed => plain(StatusCode::FORBIDDEN, "The protocol switch is not allowed here"),
        Denial::Upstream(fault) => match fault {
            UpstreamFault::Connect => plain(StatusCode::SERVICE_UNAVAILABLE, "The application cannot be reached"),
            UpstreamFault::Overloaded => plain(StatusCode::SERVICE_UNAVAILABLE, "The application is at its limit"),
            UpstreamFault::Protocol => plain(StatusCode::BAD_GATEWAY, "The application gave no valid answer"),
            UpstreamFault::RequestBody => plain(StatusCode::BAD_REQUEST, "The request body is incomplete"),
            UpstreamFault::Timeout => plain(StatusCode::GATEWAY_TIMEOUT, "The application did not answer in time"),
        },
    }
}

/// RFC 6750 section 3: `realm` and `scope` at most once. Scope tokens hold neither quote nor backslash.
fn bearer(challenge: &Challenge, error: Option<&str>) -> String {
    let mut text = "Bearer realm=\"portreeve\"".to_owned();
    if let Some(error) = error {
        text.push_str(&format!(", error=\"{error}\""));
    }
    if !challenge.scopes.is_empty() {
        text.push_str(&format!(", scope=\"{}\"", challenge.scope_text()));
    }
    text
}

/// A text of ours always is a field value; were it none, the field would be left out rather than the answer.
fn insert(headers: &mut http::HeaderMap, name: &'static str, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use portreeve_policy::Scope;

    use super::*;

    fn challenge_of(denial: &Denial) -> (u16, Option<String>) {
        let response = respond(denial, "id");
        let line = response.headers().get(WWW_AUTHENTICATE).map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), line)
    }

    #[test]
    fn challenges_follow_rfc_6750() {
        let challenge = Challenge { scopes: vec![Scope::try_from("orders:read".to_owned()).unwrap()] };
        for (denial, status, line) in [
            (Denial::NoCredentials(challenge.clone()), 401, r#"Bearer realm="portreeve", scope="orders:read""#),
            (
                Denial::InsufficientScope(challenge),
                403,
                r#"Bearer realm="portreeve", error="insufficient_scope", scope="orders:read""#,
            ),
            (
                Denial::InvalidToken(TokenFault::Audience, Challenge::default()),
                401,
                r#"Bearer realm="portreeve", error="invalid_token""#,
            ),
            (
                Denial::BrokenCredentials(crate::authn::CredentialFault::Repeated, Challenge::default()),
                400,
                r#"Bearer realm="portreeve", error="invalid_request""#,
            ),
        ] {
            assert_eq!(challenge_of(&denial), (status, Some(line.to_owned())), "{denial:?}");
        }
        assert_eq!(challenge_of(&Denial::RouteNotFound), (404, None));
    }

    #[test]
    fn ambiguous_framing_closes_the_connection_f2() {
        let response = respond(&Denial::InvalidRequest(InvalidRequest::Framing("x")), "id");
        assert_eq!(response.headers().get(CONNECTION).unwrap(), "close");
    }
}
