//! The limits part of an ApiPolicy: how often callers may call.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How often callers may call. Each pod counts for itself: with three pods, three times as much passes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.spikeArrest) || has(self.rateLimits)").message("set at least one of spikeArrest and rateLimits"))]
#[serde(rename_all = "camelCase")]
pub struct LimitsSpec {
    /// Evens out bursts before authentication. What it refuses costs nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spike_arrest: Option<SpikeArrestSpec>,
    /// Limits of callers, after authentication and authorization. Only requests that every limit admits are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub rate_limits: Option<Vec<RateLimitSpec>>,
}

/// A rate that is held evenly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpikeArrestSpec {
    /// Requests for each period, e.g. `50`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: u64,
    /// The period: Second (default) or Minute.
    #[serde(default)]
    pub per: SpikePeriodSpec,
    /// Requests that may come at once; what a tenth of a second brings, but at least 1, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u64>,
    /// What is counted apart: ClientAddress (default; each /64 of IPv6), or Everyone.
    #[serde(default)]
    pub key: SpikeKeySpec,
}

/// The period of a spike arrest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum SpikePeriodSpec {
    /// One second.
    #[default]
    Second,
    /// One minute.
    Minute,
}

/// What a spike arrest counts apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum SpikeKeySpec {
    /// Each client address.
    #[default]
    ClientAddress,
    /// Everybody together.
    Everyone,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitSpec {
    /// Name, e.g. `per-application`. Callers see it in `RateLimit` headers.
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// What is counted apart; several parts are counted apart together.
    #[schemars(length(min = 1, max = 4))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub key: Vec<LimitKeySpec>,
    /// What becomes of requests that lack a part of the key: Refuse (default, 403), or Share: they are counted together.
    #[serde(default)]
    pub absent_key: AbsentKeySpec,
    /// How many; every one of these holds.
    #[schemars(length(min = 1, max = 4))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub rates: Vec<RateSpec>,
}

/// A part of the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.path) == (self.type == 'Claim')").message("path goes with type Claim"))]
#[x_kube(validation = Rule::new("has(self.name) == (self.type == 'Header' || self.type == 'PathParameter')").message("name goes with type Header and type PathParameter"))]
#[serde(rename_all = "camelCase")]
pub struct LimitKeySpec {
    /// Application (client id, or the subject where a credential has none), Subject, Claim, ClientAddress, Header,
    /// PathParameter, or Everyone.
    #[serde(rename = "type")]
    pub type_: LimitKeyType,
    /// Name of the header or path parameter, e.g. `x-tenant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub name: Option<String>,
    /// JSONPath (RFC 9535) of the claim, e.g. `$.tenant`. It must select one text, number or boolean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub path: Option<String>,
}

/// The kinds of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LimitKeyType {
    /// `client_id`, or the subject where a credential has none.
    Application,
    /// A claim.
    Claim,
    /// The client's address; each /64 of IPv6.
    ClientAddress,
    /// Everybody together.
    Everyone,
    /// A header field.
    Header,
    /// A parameter of the path.
    PathParameter,
    /// The caller's subject.
    Subject,
}

/// What becomes of requests that lack a part of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum AbsentKeySpec {
    /// They are refused with 403.
    #[default]
    Refuse,
    /// They are counted together.
    Share,
}

/// So many requests for each period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateSpec {
    /// Requests for each period, e.g. `100`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: u64,
    /// The period: Second, Minute, Hour or Day. Requests come back evenly; there is no edge at which a window begins.
    pub per: PeriodSpec,
    /// Requests that may come at once; as many as `requests` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u64>,
}

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the names say it")]
pub enum PeriodSpec {
    Second,
    Minute,
    Hour,
    Day,
}
