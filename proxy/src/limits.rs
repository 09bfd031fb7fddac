//! How often callers may call. In: the limits of a rule and the facts of a request. Out: admitted with what is left, or
//! refused with the time after which to try again.
//!
//! INVARIANTS
//! - A request is counted under every limit or under none.
//! - Whatever is counted is bounded; making room forgets least-used keys first.
//! - Each proxy counts for itself.

mod table;

use std::{
    collections::BTreeMap,
    fmt::Write,
    hash::{Hash, Hasher},
    sync::Arc,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use portreeve_policy::{
    AbsentKey, LimitKey, LimitRules, Limits, MAX_RATES, NamespacedName, Rate, RateLimit, SpikeArrest,
};
use serde_json::Value;

use table::{Charge, Left, MAX_KEYS, Table};

use crate::{authz::AuthorizationInput, bounded_cache::Held, bounds::Bound, clock::UnixMillis, peer::Peer};

/// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10).
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// The limits of a rule, ready.
pub struct Limiter {
    spike: Option<Spike>,
    limits: Vec<Limit>,
    /// Value of `RateLimit-Policy`, where callers are told.
    policy: Option<HeaderValue>,
}

struct Spike {
    rate: [Rate; 1],
    per_address: bool,
    table: Arc<Table>,
}

struct Limit {
    rule: RateLimit,
    table: Arc<Table>,
    /// The names of its rates in header fields; none where others would be told of.
    names: Vec<String>,
}

/// Tables by policy and limit, which outlive a snapshot: new numbers of a limit do not reset what is counted.
#[derive(Default, Clone)]
pub struct LimitTables(BTreeMap<(NamespacedName, String), Arc<Table>>);

/// What a caller is told of limits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LimitHeaders(Option<(HeaderValue, HeaderValue)>);

/// A request that came too soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limited {
    /// Name of the limit.
    pub limit: String,
    /// Seconds after which one more is admitted, at least 1.
    pub retry_after: u64,
    /// What the caller is told.
    pub headers: LimitHeaders,
}

/// Why a rate limit refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitRefusal {
    /// The limit of this name needs something that the request does not have.
    KeyMissing(String),
    /// Too soon.
    Limited(Box<Limited>),
}

impl LimitTables {
    /// The table of a limit, taken over where its key is the same.
    fn table(&mut self, previous: &Self, policy: &NamespacedName, identity: String) -> Arc<Table> {
        let name = (policy.clone(), identity);
        let table = self.0.get(&name).or_else(|| previous.0.get(&name)).cloned();
        let table = table.unwrap_or_else(|| Arc::new(Table::new()));
        self.0.insert(name, Arc::clone(&table));
        table
    }

    /// What is held.
    pub(crate) fn held(&self) -> Held {
        self.0.values().map(|table| table.held()).sum()
    }
}

impl Limiter {
    /// Makes the limits of a rule ready.
    pub fn new(limits: &Limits, previous: &LimitTables, tables: &mut LimitTables) -> Self {
        let Some(LimitRules { policy, spike_arrest, rate_limits }) = limits.rules() else {
            return Self { spike: None, limits: Vec::new(), policy: None };
        };
        let mut spike = |rate: &Rate, per_address: bool| {
            let table = tables.table(previous, policy, format!("spike {per_address}"));
            Some(Spike { rate: [*rate], per_address, table })
        };
        let spike = match spike_arrest {
            SpikeArrest::None => None,
            SpikeArrest::PerClientAddress(rate) => spike(rate, true),
            SpikeArrest::Together(rate) => spike(rate, false),
        };
        let mut ready = Vec::with_capacity(rate_limits.len());
        for rule in rate_limits {
            let periods: Vec<_> = rule.rates.iter().map(|rate| rate.per().as_str()).collect();
            let identity = format!("limit {} {:?} {periods:?}", rule.name, rule.key);
            let table = tables.table(previous, policy, identity);
            ready.push(Limit { names: names(rule), rule: rule.clone(), table });
        }
        let told = ready.iter().flat_map(|limit| limit.names.iter().zip(&limit.rule.rates));
        let told: Vec<_> =
            told.map(|(n, rate)| format!("\"{n}\";q={};w={}", rate.requests(), rate.per().seconds())).collect();
        let policy = (!told.is_empty()).then(|| HeaderValue::try_from(told.join(", ")).ok()).flatten();
        Self { spike, limits: ready, policy }
    }

    /// Before authentication. `peer` is unknown where a trusted proxy does not tell it; such requests are counted
    /// together. Refused: seconds after which to try again.
    pub fn arrest_spike(&self, peer: Option<Peer>, now: UnixMillis) -> Result<(), u64> {
        let Some(spike) = &self.spike else { return Ok(()) };
        let mut hasher = spike.table.hasher();
        peer.filter(|_| spike.per_address).hash(&mut hasher);
        match spike.table.charge(hasher.finish(), &spike.rate, nanoseconds(now)) {
            Charge::Admitted(_) => Ok(()),
            Charge::Refused(wait, _) => Err(seconds(wait)),
        }
    }

    /// After the decision.
    pub fn admit(&self, input: &AuthorizationInput<'_>) -> Result<LimitHeaders, LimitRefusal> {
        let now = nanoseconds(input.now);
        let mut counted: Vec<(&Limit, u64, [Left; MAX_RATES])> = Vec::with_capacity(self.limits.len());
        let mut refusal = None;
        for limit in &self.limits {
            let Some(key) = limit.key(input) else {
                refusal = Some(LimitRefusal::KeyMissing(limit.rule.name.clone()));
                break;
            };
            match limit.table.charge(key, &limit.rule.rates, now) {
                Charge::Admitted(left) => counted.push((limit, key, left)),
                Charge::Refused(wait, left) => {
                    let headers = self.headers(std::iter::once((limit, left)));
                    let limited = Limited { limit: limit.rule.name.clone(), retry_after: seconds(wait), headers };
                    refusal = Some(LimitRefusal::Limited(Box::new(limited)));
                    break;
                }
            }
        }
        match refusal {
            None => Ok(self.headers(counted.iter().map(|(limit, _, left)| (*limit, *left)))),
            Some(refusal) => {
                for (limit, key, _) in &counted {
                    limit.table.refund(*key, &limit.rule.rates);
                }
                Err(refusal)
            }
        }
    }

    fn headers<'a>(&self, states: impl Iterator<Item = (&'a Limit, [Left; MAX_RATES])>) -> LimitHeaders {
        let Some(policy) = &self.policy else { return LimitHeaders::default() };
        let mut text = String::with_capacity(64);
        for (limit, left) in states {
            for (name, left) in limit.names.iter().zip(left) {
                let comma = if text.is_empty() { "" } else { ", " };
                let written = write!(text, "{comma}\"{name}\";r={};t={}", left.requests, whole_seconds(left.full_in));
                if written.is_err() {
                    return LimitHeaders::default();
                }
            }
        }
        LimitHeaders(
            HeaderValue::try_from(text).ok().filter(|text| !text.is_empty()).map(|state| (policy.clone(), state)),
        )
    }
}

impl Limit {
    /// What the request is counted under; `None` where it lacks a part and the limit refuses it for that.
    fn key(&self, input: &AuthorizationInput<'_>) -> Option<u64> {
        let mut hasher = self.table.hasher();
        for part in &self.rule.key {
            if hash_part(part, input, &mut hasher).is_none() {
                return match self.rule.absent_key {
                    AbsentKey::Refuse => None,
                    // A hash of nothing: no request that has the key is counted with these.
                    AbsentKey::Share => Some(self.table.hasher().finish()),
                };
            }
        }
        Some(hasher.finish())
    }
}

/// Adds a part of the key, and what tells it from other parts; `None` where the request does not have it.
fn hash_part(part: &LimitKey, input: &AuthorizationInput<'_>, hasher: &mut impl Hasher) -> Option<()> {
    match part {
        LimitKey::Application => {
            let caller = input.caller?;
            let client = caller.claims().client_id();
            (1, caller.origin().authority(), client.is_some()).hash(hasher);
            client.or_else(|| caller.claims().subject())?.hash(hasher);
        }
        LimitKey::Subject => {
            let caller = input.caller?;
            (2, caller.origin().authority(), caller.claims().subject()?).hash(hasher);
        }
        LimitKey::Claim(path) => {
            let caller = input.caller?;
            let claims = caller.claims().object();
            let [value] = path.select(&claims)[..] else { return None };
            (3, caller.origin().authority()).hash(hasher);
            match value {
                Value::String(text) => (0, text).hash(hasher),
                Value::Number(number) => (1, number.to_string()).hash(hasher),
                Value::Bool(value) => (2, value).hash(hasher),
                Value::Null | Value::Array(_) | Value::Object(_) => return None,
            }
        }
        LimitKey::ClientAddress => (4, Peer::of(input.address?)).hash(hasher),
        LimitKey::Everyone => 5.hash(hasher),
        LimitKey::Header(name) => {
            let mut lines = input.headers.get_all(name.as_str()).iter();
            let line = lines.next().filter(|_| lines.next().is_none())?;
            (6, line.as_bytes()).hash(hasher);
        }
        LimitKey::PathParameter(name) => (7, input.parameters.get(name)?).hash(hasher),
    }
    Some(())
}

/// The name of each rate. A limit that counts everybody together tells nobody what others have used.
fn names(rule: &RateLimit) -> Vec<String> {
    if rule.key.contains(&LimitKey::Everyone) {
        return Vec::new();
    }
    match rule.rates.as_slice() {
        [_] => vec![rule.name.clone()],
        several => several.iter().map(|rate| format!("{}-{}", rule.name, rate.per().as_str())).collect(),
    }
}

impl LimitHeaders {
    /// Sets the fields, in place of any that the application set.
    pub fn set(&self, headers: &mut HeaderMap) {
        if let Some((policy, state)) = &self.0 {
            headers.insert(POLICY, policy.clone());
            headers.insert(STATE, state.clone());
        }
    }
}

/// What docs/limits.md tells of counts.
pub(crate) fn bound() -> Bound {
    Bound {
        state: "keys of a rate limit or spike arrest",
        bound: format!("{MAX_KEYS} for each limit of a policy"),
        beyond: "keys that used least are forgotten first",
        metric: "`portreeve_proxy_cache_entries{table=\"limits\"}`",
        test: "keys_are_bounded_and_a_key_that_is_used_up_is_not_forgotten_for_many_new_ones",
        ..Bound::default()
    }
}

fn nanoseconds(now: UnixMillis) -> u64 {
    now.0.saturating_mul(1_000_000)
}

/// Seconds for people: what is less than a millisecond comes from rounding.
fn whole_seconds(nanoseconds: u64) -> u64 {
    (nanoseconds / 1_000_000).div_ceil(1000)
}

/// Seconds after which a request is admitted: rounded up, never early.
fn seconds(nanoseconds: u64) -> u64 {
    nanoseconds.div_ceil(1_000_000_000)
}

#[cfg(test)]
mod tests;
