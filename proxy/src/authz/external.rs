//! A decision point outside. It is asked once for a request, tried again at most once and only when nothing was heard,
//! and within a budget; what it answers is remembered only where and as long as it allows that, under a digest of
//! exactly what it was told.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{ACCEPT, AGE, CACHE_CONTROL, CONTENT_TYPE},
};
use portreeve_policy::{DecisionProtocol, ExternalRule, FailureMode};
use quick_cache::sync::Cache;

use super::{
    AuthorizationInput, Forbidden, Refusal,
    protocol::{self, Answer},
};
use crate::{
    bulkhead::Turn,
    clock::UnixMillis,
    outbound::{CallFault, InvalidEndpoint, Network, Outbound},
    peer::Peer,
};

/// A decision point, ready to be asked.
pub(super) struct DecisionPoint {
    outbound: Outbound,
    rule: ExternalRule,
    resource: String,
    remembered: Cache<[u8; 32], (UnixMillis, Arc<Answer>)>,
    credit: AtomicU32,
}

/// What comes of asking.
pub(super) struct Consulted {
    /// Fields for the upstream.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// No usable answer came, and `failureMode: Permit` lets the request through.
    pub(super) failed_open: bool,
}

/// Decisions that are remembered at the most, and for how long.
const MAX_REMEMBERED: usize = 4096;
const MAX_SECONDS: u64 = 300;

/// One second try costs what five questions earn, so that an outage is not doubled by those who ask.
const EARNED: u32 = 1;
const COST: u32 = 5;
const MAX_CREDIT: u32 = 50;

impl DecisionPoint {
    pub(super) fn new(
        rule: &ExternalRule,
        (route, rule_name): (&str, &str),
        network: &Network,
    ) -> Result<Self, InvalidEndpoint> {
        let ExternalRule { endpoint, ca_certificates, addresses, timeout, .. } = rule;
        let outbound = Outbound::connect(endpoint, ca_certificates, *addresses, timeout.duration(), None, network)?;
        Ok(Self {
            outbound,
            rule: rule.clone(),
            resource: format!("{route}/{rule_name}"),
            remembered: Cache::new(MAX_REMEMBERED),
            credit: AtomicU32::new(MAX_CREDIT),
        })
    }

    /// Fields that the policy lets obligations and advice set, in lower case.
    pub(super) fn owned_fields(&self) -> impl Iterator<Item = &str> {
        self.rule.upstream_headers.iter().map(String::as_str)
    }

    pub(super) async fn consult(&self, asked: &AuthorizationInput<'_>) -> Result<Consulted, Refusal> {
        asked.caller.ok_or(Refusal::NoCaller)?;
        let Some(question) = protocol::question(&self.rule, &self.resource, asked) else {
            return Err(Refusal::Forbidden(Forbidden::DecisionUndecidable));
        };
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, question.as_bytes()).as_ref());
        if let Some((until, answer)) = self.remembered.get(&key)
            && asked.now < until
        {
            return self.verdict(&answer);
        }
        // A flood shall not open what `failureMode: Permit` leaves open in an outage.
        let client = Peer::of(asked.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        let place = self.outbound.enter(client).ok_or(Refusal::DecisionPointUnavailable)?;
        let turn = self.outbound.turn(place).await.ok_or(Refusal::DecisionPointUnavailable)?;
        let heard = self.ask(&turn, &question).await.and_then(|answer| {
            let read = protocol::read(self.rule.protocol, answer.body())?;
            Some((read, lifetime(&answer)))
        });
        let Some((answer, seconds)) = heard else {
            return match self.rule.failure_mode {
                FailureMode::Deny => Err(Refusal::DecisionPointUnavailable),
                FailureMode::Permit => Ok(Consulted { headers: Vec::new(), failed_open: true }),
            };
        };
        let answer = Arc::new(answer);
        if seconds > 0 {
            let until = asked.now.plus(std::time::Duration::from_secs(seconds));
            self.remembered.insert(key, (until, Arc::clone(&answer)));
        }
        self.verdict(&answer)
    }

    /// The whole answer, or nothing: any status but 200, any other content type, and silence are no decision.
    async fn ask(&self, turn: &Turn, question: &str) -> Option<Response<Bytes>> {
        self.earn();
        let kind = match self.rule.protocol {
            DecisionProtocol::AuthZen | DecisionProtocol::Opa => "application/json",
            DecisionProtocol::Xacml => "application/xacml+json",
        };
        let send = || {
            let request = Request::builder().header(CONTENT_TYPE, kind).header(ACCEPT, kind);
            self.outbound.post(turn, request, question.to_owned())
        };
        let exchange = async {
            match send().await {
                Err(CallFault::Connect) if self.spend() => send().await,
                other => other,
            }
        };
        let answer = tokio::time::timeout(self.rule.timeout.duration(), exchange).await.ok()?.ok()?;
        let json = answer.headers().get(CONTENT_TYPE).and_then(|line| line.to_str().ok()).is_some_and(|line| {
            let essence = line.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/json") || essence.eq_ignore_ascii_case("application/xacml+json")
        });
        (answer.status() == StatusCode::OK && json).then_some(answer)
    }

    fn verdict(&self, answer: &Answer) -> Result<Consulted, Refusal> {
        if !answer.permits {
            return Err(Refusal::Forbidden(Forbidden::DecisionPointDenied));
        }
        let mut headers = Vec::new();
        for field in &answer.fields {
            let name = field.name.to_ascii_lowercase();
            let parsed = HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::from_str(&field.value).ok());
            match parsed.filter(|_| self.rule.upstream_headers.contains(&name)) {
                Some(pair) => headers.push(pair),
                // An obligation that nobody discharges turns a permit into a refusal (XACML 3.0 section 7.18).
                None if field.obliges => return Err(Refusal::Forbidden(Forbidden::ObligationUnknown)),
                None => {}
            }
        }
        Ok(Consulted { headers, failed_open: false })
    }

    fn earn(&self) {
        if self.credit.fetch_add(EARNED, Ordering::Relaxed) >= MAX_CREDIT {
            self.credit.fetch_sub(EARNED, Ordering::Relaxed);
        }
    }

    fn spend(&self) -> bool {
        self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |credit| credit.checked_sub(COST)).is_ok()
    }
}

/// Seconds for which the answer may be used again (RFC 9111): `max-age` less `Age`, nothing when anything forbids it.
fn lifetime(answer: &Response<Bytes>) -> u64 {
    let lines = answer.headers().get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    let directives: Vec<_> =
        lines.flat_map(|line| line.split(',')).map(|one| one.trim().to_ascii_lowercase()).collect();
    let forbids = |one: &String| ["no-store", "no-cache"].iter().any(|word| one.starts_with(word));
    if directives.iter().any(forbids) {
        return 0;
    }
    let ages: Vec<_> = directives.iter().filter_map(|one| one.strip_prefix("max-age=")).collect();
    let [age] = ages.as_slice() else { return 0 };
    let spent = answer.headers().get(AGE).and_then(|line| line.to_str().ok()?.parse::<u64>().ok()).unwrap_or(0);
    age.trim_matches('"').parse::<u64>().unwrap_or(0).saturating_sub(spent).min(MAX_SECONDS)
}

impl std::fmt::Debug for DecisionPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecisionPoint").field("rule", &self.rule).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_only_where_and_as_long_as_they_say() {
        for (control, age, seconds) in [
            (None, None, 0),
            (Some("max-age=60"), None, 60),
            (Some("private, max-age=60"), Some("20"), 40),
            (Some("max-age=60"), Some("90"), 0),
            (Some("max-age=99999"), None, MAX_SECONDS),
            (Some("no-store, max-age=60"), None, 0),
            (Some("no-cache"), None, 0),
            (Some("max-age=60, max-age=10"), None, 0),
            (Some("max-age=-1"), None, 0),
            (Some("max-age=soon"), None, 0),
        ] {
            let mut answer = Response::new(Bytes::new());
            let headers = answer.headers_mut();
            headers.extend(control.map(|text| (CACHE_CONTROL, HeaderValue::from_static(text))));
            headers.extend(age.map(|text| (AGE, HeaderValue::from_static(text))));
            assert_eq!(lifetime(&answer), seconds, "{control:?} {age:?}");
        }
    }
}
