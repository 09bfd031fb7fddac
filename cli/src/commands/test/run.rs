//! Runs one case through the proxy's own pipeline, and compares.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, request::Parts};
use jiff::{SignedDuration, Timestamp};
use portreeve_policy::{NamespacedName, Reason, Snapshot};
use portreeve_proxy::{
    authn::PeerCertificates,
    clock::{Clock, UnixMillis},
    in_process::{InProcess, Surroundings},
    outbound::Network,
    pipeline::Scheme,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Map, Value};

use super::{
    assumed::{Issuer, Issuers, over},
    endpoints::{Answers, OpaqueToken},
    suite::{CaseSpec, ExpectSpec, SchemeSpec, TestSpec, TokenForm, TokenSpec},
};

/// Most requests of one case.
const MAX_TIMES: u32 = 10_000;

/// The opaque token of a case.
const HANDLE: &str = "an-opaque-token-of-the-test";

/// What came of a case.
#[derive(Debug, Default)]
pub(in crate::commands) struct Verdict {
    /// Each expectation that was not met, in words.
    pub(in crate::commands) failures: Vec<String>,
    /// The decision records of its requests.
    pub(in crate::commands) records: Vec<Value>,
}

/// A request ready to be sent, and everything around it.
struct Prepared {
    request: Request<Bytes>,
    surroundings: Surroundings,
    times: u32,
}

/// The moment of a case.
struct Moment(Timestamp);

impl Clock for Moment {
    fn now(&self) -> UnixMillis {
        UnixMillis(u64::try_from(self.0.as_millisecond()).unwrap_or(0))
    }
}

/// Decision records as they are written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs a case. A case that cannot be run is one that fails.
pub(in crate::commands) fn run_case(
    spec: &TestSpec,
    case: &CaseSpec,
    snapshot: &Snapshot,
    issuers: &Issuers,
) -> Verdict {
    let outcome = prepare(spec, case, snapshot, issuers).and_then(|prepared| send(prepared, snapshot));
    match outcome {
        Err(error) => Verdict { failures: vec![format!("{error:#}")], records: Vec::new() },
        Ok((answer, seen, records)) => {
            let failures = compare(&case.expect, records.last(), &answer, seen.as_ref());
            Verdict { failures, records }
        }
    }
}

type Sent = (Response<Bytes>, Option<Parts>, Vec<Value>);

fn send(prepared: Prepared, snapshot: &Snapshot) -> anyhow::Result<Sent> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let lines = Lines::default();
    let exchange = async {
        let Prepared { request, surroundings, times } = prepared;
        let mut pipeline = InProcess::start(surroundings, lines.clone()).await?;
        let rejections = pipeline.load(snapshot);
        if let Some(rejection) = rejections.first() {
            anyhow::bail!("the proxy cannot run {}: {}", rejection.resource, rejection.reason);
        }
        let mut last = pipeline.send(request.clone()).await?;
        for _ in 1..times {
            last = pipeline.send(request.clone()).await?;
        }
        pipeline.finish().await;
        Ok(last)
    };
    let (answer, seen) = tokio::task::LocalSet::new().block_on(&runtime, exchange)?;
    let bytes = lines.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let records = bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    Ok((answer, seen, records))
}

fn prepare(spec: &TestSpec, case: &CaseSpec, snapshot: &Snapshot, issuers: &Issuers) -> anyhow::Result<Prepared> {
    let at = case.time.as_ref().unwrap_or(&spec.time);
    let now: Timestamp = at.parse().with_context(|| format!("time: {at:?} is not RFC 3339"))?;
    anyhow::ensure!((1..=MAX_TIMES).contains(&case.times), "times: 1 to {MAX_TIMES} requests can be sent");
    let asked = &case.request;
    let mut request = Request::builder().method(asked.method.as_bytes()).uri(&asked.path).header("host", &asked.host);
    for (name, value) in &asked.headers {
        request = request.header(name, value);
    }
    let token = case.token.as_ref().map(|token| Token::new(token, spec, issuers, now)).transpose()?;
    let opaque = token.as_ref().and_then(Token::opaque);
    let answers = Answers::new(snapshot, issuers, opaque.as_ref(), case.decision_point.as_ref(), now.as_second());
    if let Some(token) = &token {
        request = request.header("authorization", format!("Bearer {}", token.text));
    }
    let request = request.body(Bytes::from(asked.body.clone())).context("request")?;
    let address: IpAddr =
        asked.client_address.parse().with_context(|| format!("clientAddress: {:?}", asked.client_address))?;
    let surroundings = Surroundings {
        clock: Arc::new(Moment(now)),
        network: Network::InProcess(Arc::new(answers)),
        peer: SocketAddr::new(address, 40_000),
        scheme: match asked.scheme {
            SchemeSpec::Http => Scheme::Http,
            SchemeSpec::Https => Scheme::Https,
        },
        certificates: asked.client_certificate.as_deref().map(certificates).transpose()?,
    };
    Ok(Prepared { request, surroundings, times: case.times })
}

fn certificates(pem: &str) -> anyhow::Result<PeerCertificates> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let chain = chain.ok().and_then(PeerCertificates::new);
    chain.context("clientCertificate: not a certificate chain in PEM")
}

/// The token of a case.
struct Token<'a> {
    spec: &'a TokenSpec,
    issuer: &'a Issuer,
    claims: Map<String, Value>,
    text: String,
}

impl<'a> Token<'a> {
    fn new(spec: &'a TokenSpec, suite: &TestSpec, issuers: &'a Issuers, now: Timestamp) -> anyhow::Result<Self> {
        let issuer = issuer(spec, &suite.pod.namespace, issuers)?;
        let seconds = |field: &str, text: &str| {
            let duration: SignedDuration = text.parse().with_context(|| format!("token.{field}: {text:?}"))?;
            anyhow::Ok(duration.as_secs())
        };
        let begins = now.as_second().saturating_sub(seconds("age", &spec.age)?);
        let ends = begins.saturating_add(seconds("lifetime", &spec.lifetime)?);
        let mut ours = Map::new();
        ours.insert("iss".to_owned(), issuer.url.as_str().into());
        ours.insert("iat".to_owned(), begins.into());
        ours.insert("exp".to_owned(), ends.into());
        ours.insert("jti".to_owned(), "test".into());
        let claims = over(ours, &spec.claims);
        let text = match spec.form {
            TokenForm::Jwt => issuer.sign("at+jwt", &spec.header, &claims),
            TokenForm::Opaque => HANDLE.to_owned(),
        };
        Ok(Self { spec, issuer, claims, text })
    }

    fn opaque(&self) -> Option<OpaqueToken<'_>> {
        let Self { spec, issuer, claims, text } = self;
        let token = OpaqueToken { service: &issuer.name, handle: text, active: spec.active, claims };
        (spec.form == TokenForm::Opaque).then_some(token)
    }
}

fn issuer<'a>(spec: &TokenSpec, namespace: &str, issuers: &'a Issuers) -> anyhow::Result<&'a Issuer> {
    let Some(reference) = &spec.token_service_ref else {
        let mut all = issuers.values();
        return match (all.next(), all.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => anyhow::bail!("token: the manifests have no TokenService"),
            (Some(_), Some(_)) => anyhow::bail!("token.tokenServiceRef: name one, the manifests have several"),
        };
    };
    let name = NamespacedName::new(reference.namespace.as_deref().unwrap_or(namespace), &reference.name)
        .context("token.tokenServiceRef")?;
    issuers.get(&name).with_context(|| format!("token.tokenServiceRef: there is no TokenService {name}"))
}

/// Every expectation that was not met.
fn compare(
    expected: &ExpectSpec,
    record: Option<&Value>,
    answer: &Response<Bytes>,
    seen: Option<&Parts>,
) -> Vec<String> {
    let Some(record) = record else { return vec!["the request left no decision record".to_owned()] };
    let mut failures = Vec::new();
    let found = |member: &str| record.get(member).and_then(Value::as_str).unwrap_or("none");
    let mut texts = vec![("outcome", expected.outcome.as_str())];
    let more = [("reason", &expected.reason), ("route", &expected.route), ("rule", &expected.rule)];
    texts.extend(more.iter().filter_map(|(member, wanted)| wanted.as_deref().map(|wanted| (*member, wanted))));
    for (member, wanted) in texts {
        if found(member) != wanted {
            failures.push(format!("{member}: expected {wanted}, found {}", found(member)));
        }
    }
    if let Some(wanted) = expected.status.filter(|wanted| *wanted != answer.status().as_u16()) {
        failures.push(format!("status: expected {wanted}, found {}", answer.status().as_u16()));
    }
    compare_fields("answer", &expected.answer.headers, answer.headers(), &mut failures);
    let upstream = &expected.upstream;
    match seen {
        Some(parts) => {
            compare_fields("upstream", &upstream.headers, &parts.headers, &mut failures);
            compare_claims(&upstream.claims, &parts.headers, &mut failures);
            let path = parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
            if let Some(wanted) = upstream.path.as_deref().filter(|wanted| *wanted != path) {
                failures.push(format!("upstream.path: expected {wanted}, found {path}"));
            }
        }
        None if upstream.path.is_some() || !upstream.headers.is_empty() || !upstream.claims.is_empty() => {
            failures.push("upstream: the request did not reach the application".to_owned());
        }
        None => {}
    }
    if !failures.is_empty() {
        let words = Reason::parse(found("reason")).map_or("", Reason::words);
        let detail = record.get("detail").and_then(Value::as_str);
        let detail = detail.map_or_else(String::new, |detail| format!(" ({detail})"));
        let (outcome, rule, route) = (found("outcome"), found("rule"), found("route"));
        failures.push(format!("decided: {outcome} by rule {rule} of ApiRoute {route}: {words}{detail}"));
    }
    failures
}

/// Claims of the token that the application gets, in the form of RFC 7515.
fn compare_claims(expected: &Map<String, Value>, found: &HeaderMap, failures: &mut Vec<String>) {
    if expected.is_empty() {
        return;
    }
    let token = found.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let payload = token.and_then(|token| URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok());
    let Some(claims) = payload.and_then(|payload| serde_json::from_slice::<Map<String, Value>>(&payload).ok()) else {
        return failures.push("upstream.claims: the application gets no JWT".to_owned());
    };
    for (name, wanted) in expected {
        let value = claims.get(name).unwrap_or(&Value::Null);
        if value != wanted {
            failures.push(format!("upstream.claims.{name}: expected {wanted}, found {value}"));
        }
    }
}

fn compare_fields(
    whose: &str,
    expected: &BTreeMap<String, Option<String>>,
    found: &HeaderMap,
    failures: &mut Vec<String>,
) {
    for (name, wanted) in expected {
        let values: Vec<_> =
            found.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let values = (!values.is_empty()).then(|| values.join(", "));
        if values != *wanted {
            let shown = |value: &Option<String>| {
                value.as_ref().map_or_else(|| "no such field".to_owned(), |text| format!("{text:?}"))
            };
            failures.push(format!("{whose}.headers.{name}: expected {}, found {}", shown(wanted), shown(&values)));
        }
    }
}
