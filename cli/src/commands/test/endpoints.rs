//! Token services and decision points as a case describes them: answers without a network.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{
    Request, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use portreeve_policy::{Dialect, Introspection, NamespacedName, Snapshot};
use portreeve_proxy::outbound::Endpoints;
use serde_json::{Map, Value, json};

use super::assumed::{Issuer, Issuers};

/// What each endpoint answers.
#[derive(Default)]
pub(super) struct Answers {
    /// Introspection endpoints by URL.
    introspection: BTreeMap<String, TokenAnswers>,
    /// Any other endpoint.
    decision_point: Option<Value>,
}

/// The answers of one token service.
struct TokenAnswers {
    /// About the token of the case, if it is of this token service.
    known: Option<(String, Answer)>,
    /// About any other token.
    unknown: Answer,
}

/// An opaque token, and what its token service knows of it.
pub(super) struct OpaqueToken<'a> {
    pub(super) service: &'a NamespacedName,
    pub(super) handle: &'a str,
    pub(super) active: bool,
    pub(super) claims: &'a Map<String, Value>,
}

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    media_type: &'static str,
    body: String,
}

impl Answers {
    /// The answers of a case; `now` in seconds since 1970.
    pub(super) fn new(
        snapshot: &Snapshot,
        issuers: &Issuers,
        token: Option<&OpaqueToken<'_>>,
        decision_point: Option<&Value>,
        now: i64,
    ) -> Self {
        let mut introspection = BTreeMap::new();
        for (name, service) in &snapshot.token_services {
            let (Introspection::Enabled { access, dialect, .. }, Some(issuer)) =
                (&service.introspection, issuers.get(name))
            else {
                continue;
            };
            let client = &access.client.client_id;
            let known = token.filter(|token| token.service == name).map(|token| {
                let claims = token.active.then_some(token.claims);
                (token.handle.to_owned(), answer(dialect, issuer, client, claims, now))
            });
            let unknown = answer(dialect, issuer, client, None, now);
            introspection.insert(access.endpoint.clone(), TokenAnswers { known, unknown });
        }
        Self { introspection, decision_point: decision_point.cloned() }
    }

    /// In the media type that is asked for.
    fn of_decision_point(&self, request: &Request<String>) -> Option<Answer> {
        let accepted = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
        let xacml = "application/xacml+json";
        let media_type = if accepted == Some(xacml) { xacml } else { "application/json" };
        let body = self.decision_point.as_ref()?.to_string();
        Some(Answer { status: StatusCode::OK, media_type, body })
    }
}

impl TokenAnswers {
    /// To this question, a form (RFC 7662 section 2.1).
    fn of(&self, form: &str) -> &Answer {
        let token = form.split('&').find_map(|member| member.strip_prefix("token="));
        let known = self.known.as_ref().filter(|(handle, _)| Some(handle.as_str()) == token);
        known.map_or(&self.unknown, |(_, answer)| answer)
    }
}

impl Endpoints for Answers {
    fn answer(&self, request: Request<String>) -> Option<Response<Bytes>> {
        let Answer { status, media_type, body } = match self.introspection.get(&request.uri().to_string()) {
            Some(answers) => answers.of(request.body()).clone(),
            None => self.of_decision_point(&request)?,
        };
        Response::builder().status(status).header(CONTENT_TYPE, media_type).body(body.into()).ok()
    }
}

/// What a token service says of a token with these claims, or of one that is not active.
fn answer(dialect: &Dialect, issuer: &Issuer, client: &str, claims: Option<&Map<String, Value>>, now: i64) -> Answer {
    let ok = |media_type, body| Answer { status: StatusCode::OK, media_type, body };
    let jwt = |claims: &Map<String, Value>| issuer.sign("at+jwt", &Map::new(), claims);
    let mut members = claims.cloned().unwrap_or_default();
    members.insert("active".to_owned(), claims.is_some().into());
    match (dialect, claims) {
        (Dialect::Json, _) => ok("application/json", json!(members).to_string()),
        (Dialect::JwtBody, None) => {
            Answer { status: StatusCode::NO_CONTENT, media_type: "application/jwt", body: String::new() }
        }
        (Dialect::JwtBody, Some(claims)) => ok("application/jwt", jwt(claims)),
        (Dialect::JwtMember { member, .. }, claims) => {
            if let Some(claims) = claims {
                members.insert(member.clone(), jwt(claims).into());
            }
            ok("application/json", json!(members).to_string())
        }
        (Dialect::SignedEnvelope, _) => {
            let mut envelope = Map::new();
            envelope.insert("iss".to_owned(), issuer.url.as_str().into());
            envelope.insert("aud".to_owned(), client.into());
            envelope.insert("iat".to_owned(), now.into());
            envelope.insert("token_introspection".to_owned(), members.into());
            let body = issuer.sign("token-introspection+jwt", &Map::new(), &envelope);
            ok("application/token-introspection+jwt", body)
        }
    }
}
