//! Where denials meet HTTP: status, challenge, problem details (RFC 9457). Nothing here tells the caller of internals.

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};

use portreeve_policy::{InvalidPath, RefusalReason};

use super::{
    AnswerBody, Challenge, Denial, InvalidRequest, PreflightFault, TokenFault, UpstreamFault, challenge::ChallengeError,
};
use crate::{
    authn::{CredentialMemory, CredentialRefusal, NonceUse, ProofFault},
    clock::UnixMillis,
};

/// Name of the header that carries the decision id.
pub(super) const DECISION_ID: &str = "portreeve-decision-id";

/// Header that carries a nonce for DPoP proofs (RFC 9449 section 8).
const DPOP_NONCE: &str = "dpop-nonce";

struct Answer<'a> {
    status: StatusCode,
    title: &'static str,
    challenge: Option<(&'a Challenge, ChallengeError)>,
}

/// The answer to a refused request.
pub(super) fn respond(
    denial: &Denial,
    decision_id: &str,
    memory: &CredentialMemory,
    now: UnixMillis,
) -> Response<AnswerBody> {
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
    if let Some((challenge, trouble)) = challenge {
        for line in challenge.lines(trouble, memory, now) {
            headers.extend(HeaderValue::from_str(&line).ok().map(|value| (WWW_AUTHENTICATE, value)));
        }
    }
    match denial {
        Denial::MethodNotAllowed(allow) => insert(headers, ALLOW.as_str(), allow),
        Denial::DecisionPointUnavailable
        | Denial::NotReady
        | Denial::Preflight(PreflightFault::Overloaded)
        | Denial::ProofsOverloaded
        | Denial::TokenServiceUnavailable(_)
        | Denial::Undecided => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        Denial::Overloaded => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Denial::TooManyAttempts(seconds) => insert(headers, RETRY_AFTER.as_str(), &seconds.to_string()),
        Denial::InvalidToken(TokenFault::Proof(ProofFault::Nonce), _) => {
            insert(headers, DPOP_NONCE, &memory.nonce(NonceUse::Dpop, now));
        }
        Denial::InvalidRequest(fault) if fault.spoils_connection() => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Denial::Upstream(UpstreamFault::SlowBody) => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Denial::BrokenCredentials(..)
        | Denial::CredentialsRefused(..)
        | Denial::Forbidden(_)
        | Denial::InsufficientScope(_)
        | Denial::InvalidRequest(_)
        | Denial::InvalidToken(..)
        | Denial::Loop
        | Denial::NoCredentials(_)
        | Denial::Preflight(PreflightFault::NotConfigured | PreflightFault::Undecidable)
        | Denial::RouteNotFound
        | Denial::RuleRefuses(_)
        | Denial::UpgradeNotAllowed
        | Denial::Upstream(_) => {}
    }
    response
}

#[expect(clippy::too_many_lines, reason = "a table: one arm for each denial, and none is forgotten")]
fn answer(denial: &Denial) -> Answer<'_> {
    let plain = |status, title| Answer { status, title, challenge: None };
    match denial {
        Denial::BrokenCredentials(_, challenge) => Answer {
            status: StatusCode::BAD_REQUEST,
            title: "The credentials are malformed",
            challenge: Some((challenge, ChallengeError::Token("invalid_request"))),
        },
        Denial::CredentialsRefused(refusal, challenge) => Answer {
            status: StatusCode::UNAUTHORIZED,
            title: "The credentials are not valid here",
            challenge: Some((
                challenge,
                if *refusal == CredentialRefusal::StaleNonce {
                    ChallengeError::StaleNonce
                } else {
                    ChallengeError::Other
                },
            )),
        },
        Denial::DecisionPointUnavailable => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "The request cannot be decided at the moment")
        }
        Denial::Forbidden(_) => plain(StatusCode::FORBIDDEN, "The policy does not allow this request"),
        Denial::InsufficientScope(challenge) => Answer {
            status: StatusCode::FORBIDDEN,
            title: "The token lacks a scope that this request needs",
            challenge: Some((challenge, ChallengeError::Token("insufficient_scope"))),
        },
        Denial::InvalidRequest(InvalidRequest::ForbiddenMethod) => {
            plain(StatusCode::METHOD_NOT_ALLOWED, "The method is not supported")
        }
        Denial::InvalidRequest(InvalidRequest::Scheme) => {
            plain(StatusCode::MISDIRECTED_REQUEST, "The target names another scheme than the connection has")
        }
        Denial::InvalidRequest(InvalidRequest::HeadTooLarge) => {
            plain(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The head of the request is too large")
        }
        Denial::InvalidRequest(InvalidRequest::Path(InvalidPath::TooLong) | InvalidRequest::TargetTooLong) => {
            plain(StatusCode::URI_TOO_LONG, "The target of the request is too long")
        }
        Denial::InvalidRequest(_) => plain(StatusCode::BAD_REQUEST, "The request is malformed or ambiguous"),
        Denial::InvalidToken(TokenFault::NoUpstreamJwt, _) => {
            plain(StatusCode::BAD_GATEWAY, "The token service gave no token for the application")
        }
        Denial::InvalidToken(
            fault @ (TokenFault::Audience
            | TokenFault::Exchange
            | TokenFault::TooLongLived
            | TokenFault::Verification(_)
            | TokenFault::Proof(_)),
            challenge,
        ) => Answer {
            status: StatusCode::UNAUTHORIZED,
            title: "The token is not valid here",
            challenge: Some((challenge, ChallengeError::Token(token_error(*fault)))),
        },
        Denial::Loop => plain(StatusCode::LOOP_DETECTED, "The request has come back to the proxy that sent it on"),
        Denial::MethodNotAllowed(_) => plain(StatusCode::METHOD_NOT_ALLOWED, "The method is not allowed here"),
        // No credentials, no error code (RFC 6750 section 3.1).
        Denial::NoCredentials(challenge) => Answer {
            status: StatusCode::UNAUTHORIZED,
            title: "Credentials are needed",
            challenge: Some((challenge, ChallengeError::None)),
        },
        Denial::NotReady => plain(StatusCode::SERVICE_UNAVAILABLE, "The proxy has no policy yet"),
        Denial::Preflight(PreflightFault::NotConfigured | PreflightFault::Undecidable) => {
            plain(StatusCode::FORBIDDEN, "The API may not be called from other origins")
        }
        Denial::Preflight(PreflightFault::Overloaded) => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "Too many preflights at the moment")
        }
        Denial::Overloaded => plain(StatusCode::SERVICE_UNAVAILABLE, "The proxy has too much to do at the moment"),
        Denial::ProofsOverloaded => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "The proof of possession cannot be checked at the moment")
        }
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
        Denial::TooManyAttempts(_) => plain(StatusCode::TOO_MANY_REQUESTS, "Too many wrong credentials"),
        Denial::Undecided => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "The request was not decided in the time that it has")
        }
        Denial::UpgradeNotAllowed => plain(StatusCode::FORBIDDEN, "The protocol switch is not allowed here"),
        Denial::Upstream(fault) => match fault {
            UpstreamFault::Connect => plain(StatusCode::SERVICE_UNAVAILABLE, "The application cannot be reached"),
            UpstreamFault::Overloaded => plain(StatusCode::SERVICE_UNAVAILABLE, "The application is at its limit"),
            UpstreamFault::Protocol => plain(StatusCode::BAD_GATEWAY, "The application gave no valid answer"),
            UpstreamFault::RequestBody => plain(StatusCode::BAD_REQUEST, "The request body is incomplete"),
            UpstreamFault::SlowBody => plain(StatusCode::REQUEST_TIMEOUT, "The request body did not come in time"),
            UpstreamFault::Timeout => plain(StatusCode::GATEWAY_TIMEOUT, "The application did not answer in time"),
        },
    }
}

/// RFC 6750 section 3.1 and RFC 9449 section 7.1.
fn token_error(fault: TokenFault) -> &'static str {
    match fault {
        TokenFault::Proof(fault) => match fault {
            ProofFault::Nonce => "use_dpop_nonce",
            ProofFault::Missing
            | ProofFault::Malformed
            | ProofFault::Mismatch
            | ProofFault::Age
            | ProofFault::Replayed => "invalid_dpop_proof",
            ProofFault::Certificate | ProofFault::Key | ProofFault::Scheme | ProofFault::Unbound => "invalid_token",
        },
        TokenFault::Audience
        | TokenFault::Exchange
        | TokenFault::TooLongLived
        | TokenFault::Verification(_)
        | TokenFault::NoUpstreamJwt => "invalid_token",
    }
}

/// A text of ours always is a field value; were it none, the field would be left out rather than the answer.
fn insert(headers: &mut http::HeaderMap, name: &'static str, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use portreeve_policy::{ApiKeyLocation, Scope};

    use super::*;
    use crate::pipeline::ChallengeScheme;

    const NOW: UnixMillis = UnixMillis(1_000_000_000);

    fn answer_to(denial: &Denial) -> Response<AnswerBody> {
        respond(denial, "id", &CredentialMemory::new(&[1; 32]), NOW)
    }

    fn challenges_of(denial: &Denial) -> (u16, Vec<String>) {
        let response = answer_to(denial);
        let lines = response.headers().get_all(WWW_AUTHENTICATE);
        (response.status().as_u16(), lines.iter().map(|value| value.to_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn challenges_follow_rfc_6750() {
        let challenge =
            Challenge { scopes: vec![Scope::try_from("orders:read".to_owned()).unwrap()], ..Challenge::default() };
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
            assert_eq!(challenges_of(&denial), (status, vec![line.to_owned()]), "{denial:?}");
        }
        assert_eq!(challenges_of(&Denial::RouteNotFound), (404, vec![]));
    }

    #[test]
    fn one_401_names_every_scheme() {
        let basic = ChallengeScheme::Basic { realm: "team".into() };
        let key = ChallengeScheme::ApiKey(ApiKeyLocation::Header("x-api-key".to_owned()));
        let schemes = vec![ChallengeScheme::Bearer, ChallengeScheme::Dpop, basic, key];
        let challenge = Challenge { schemes, resource_metadata: Some("https://a/m".into()), ..Challenge::default() };
        let (status, lines) = challenges_of(&Denial::NoCredentials(challenge.clone()));
        let schemes: Vec<_> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!((status, schemes), (401, vec!["Bearer", "DPoP", "Basic", "ApiKey"]));
        assert_eq!(lines[0], r#"Bearer realm="portreeve", resource_metadata="https://a/m""#);
        let nonce = Denial::InvalidToken(TokenFault::Proof(ProofFault::Nonce), challenge);
        let response = answer_to(&nonce);
        assert_eq!(response.headers().get_all(DPOP_NONCE).iter().count(), 1);
        let (_, lines) = challenges_of(&nonce);
        assert!(!lines[0].contains("error=") && lines[1].contains(r#"error="use_dpop_nonce""#), "{lines:?}");
    }

    #[test]
    fn ambiguous_framing_closes_the_connection_f2() {
        let response = answer_to(&Denial::InvalidRequest(InvalidRequest::Framing("x")));
        assert_eq!(response.headers().get(CONNECTION).unwrap(), "close");
    }
}
