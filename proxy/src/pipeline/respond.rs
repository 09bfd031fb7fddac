//! Where denials meet HTTP: status, challenge, problem details (RFC 9457). Nothing here tells the caller of internals.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};

use super::{AnswerBody, Denial, PreflightFault, TokenFault, UpstreamFault};
use crate::{
    authn::{CredentialMemory, NonceUse, ProofFault},
    clock::UnixMillis,
};

/// Name of the header that carries the decision id.
pub(super) const DECISION_ID: &str = "portreeve-decision-id";

/// Header that carries a nonce for DPoP proofs (RFC 9449 section 8).
const DPOP_NONCE: &str = "dpop-nonce";

/// The answer to a refused request.
pub(super) fn respond(
    denial: &Denial,
    decision_id: &str,
    memory: &CredentialMemory,
    now: UnixMillis,
) -> Response<AnswerBody> {
    let reason = denial.reason();
    let status = reason.status().and_then(|status| StatusCode::from_u16(status).ok());
    // Every refusal has a status; one that had none would be our own fault.
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::json!({
        "type": "about:blank",
        "title": reason.title(),
        "status": status.as_u16(),
        "reason": reason,
        "decision_id": decision_id,
    });
    let mut response = Response::new(AnswerBody::full(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    insert(headers, DECISION_ID, decision_id);
    if let Some((challenge, error)) = denial.challenge() {
        for line in challenge.lines(error, memory, now) {
            headers.extend(HeaderValue::from_str(&line).ok().map(|value| (WWW_AUTHENTICATE, value)));
        }
    }
    particulars(denial, headers, memory, now);
    response
}

/// Fields that belong to one refusal and not to all.
fn particulars(denial: &Denial, headers: &mut HeaderMap, memory: &CredentialMemory, now: UnixMillis) {
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
        Denial::TooManyAttempts(seconds) | Denial::SpikeArrested(seconds) => {
            insert(headers, RETRY_AFTER.as_str(), &seconds.to_string());
        }
        Denial::RateLimited(limited) => {
            insert(headers, RETRY_AFTER.as_str(), &limited.retry_after.to_string());
            limited.headers.set(headers);
        }
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
        | Denial::LimitKeyMissing(_)
        | Denial::Loop
        | Denial::NoCredentials(_)
        | Denial::Preflight(PreflightFault::NotAllowed | PreflightFault::NotConfigured | PreflightFault::Undecidable)
        | Denial::RouteNotFound
        | Denial::RuleRefuses(_)
        | Denial::UpgradeNotAllowed
        | Denial::Upstream(_) => {}
    }
}

/// A text of ours always is a field value; were it none, the field would be left out rather than the answer.
fn insert(headers: &mut HeaderMap, name: &'static str, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use portreeve_policy::{ApiKeyLocation, Scope};

    use super::*;
    use crate::pipeline::{Challenge, ChallengeScheme, InvalidRequest};

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
