//! ApiRoute: one API and the pods that serve it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ApiAccessSpec, OwnedScopes};

/// One API, in one major version, and the pods whose proxies serve it.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "portreeve.dev",
    version = "v1alpha1",
    kind = "ApiRoute",
    namespaced,
    status = "ApiRouteStatus",
    derive = "PartialEq",
    category = "portreeve",
    doc = "An API and the pods that serve it. What no ApiPolicy covers is refused.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Programmed", type_ = "string", json_path = ".status.programmed"),
    printcolumn(name = "Hosts", type_ = "string", json_path = ".spec.hostnames", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ApiRouteSpec {
    /// The pods of this namespace that serve the API.
    pub workload_selector: WorkloadSelector,
    /// Hosts that the API answers, e.g. `orders.example.com` or `*.example.com`; empty: any valid Host.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub hostnames: Vec<String>,
    /// Whose word is taken for the client's address, scheme and host. Left out: nobody's; the client is the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_address: Option<ClientAddressSpec>,
    /// Who answers cross-origin preflights. Left out: they are refused with 403, and nothing of them reaches the
    /// application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<CorsSpec>,
    /// Request headers that reach the application although they are taken out by default: those from which frameworks
    /// take method, target, client or user, e.g. `[X-HTTP-Method-Override]`, and names with `_`.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_-]+$")))]
    pub pass_headers: Vec<String>,
    /// What the API is called in catalogues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<ApiDescription>,
    /// The application behind the proxy.
    pub upstream: UpstreamSpec,
    /// The rules. Of two that match a request the more specific wins: Exact before Template before the longer PathPrefix.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub rules: Vec<RuleSpec>,
    /// Which scopes belong to the API, and which applications get them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<ApiAccessSpec>,
}

/// Which pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSelector {
    /// Labels that a pod must carry, e.g. `{app: orders}`.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16))]
    pub match_labels: BTreeMap<String, String>,
}

/// Proxies in front whose word is taken for who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientAddressSpec {
    /// Addresses of the proxies, e.g. `[10.0.0.0/8, "2001:db8::7"]`. The chain is walked from the nearest hop on, as long
    /// as the hops are listed here.
    #[schemars(length(min = 1, max = 32), inner(length(min = 2, max = 64)))]
    pub trusted_proxies: Vec<String>,
    /// Forwarded (RFC 7239), which tells scheme and host too, or XForwardedFor, which tells the address alone: where these
    /// proxies write it. The other one is never read.
    pub header: ForwardingHeaderSpec,
    /// What these proxies write beside XForwardedFor, e.g. `[XForwardedProto]`. Name only what each of them sets or
    /// removes: what one of them passes on is the client's own word.
    #[serde(default)]
    #[schemars(length(max = 2))]
    pub additional_headers: Vec<AdditionalHeaderSpec>,
}

/// Where proxies write whom they serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ForwardingHeaderSpec {
    /// `Forwarded`.
    Forwarded,
    /// `X-Forwarded-For`.
    XForwardedFor,
}

/// What proxies write beside `X-Forwarded-For`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum AdditionalHeaderSpec {
    /// `X-Forwarded-Host`.
    XForwardedHost,
    /// `X-Forwarded-Proto`.
    XForwardedProto,
}

/// Cross-origin requests of browsers (Fetch standard).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!(self.passthrough && has(self.allowOrigins))").message("set either passthrough: true or allowOrigins"))]
#[x_kube(validation = Rule::new("has(self.allowOrigins) || !(has(self.allowHeaders) || has(self.exposeHeaders) || has(self.maxAge) || self.allowCredentials)").message("allowHeaders, exposeHeaders, allowCredentials and maxAge go with allowOrigins"))]
#[serde(rename_all = "camelCase")]
pub struct CorsSpec {
    /// Origins whose scripts may read answers, e.g. `[https://app.example.com, "https://*.example.com"]`. The proxy
    /// answers preflights itself, for the methods that the rules match, and takes out what the application says of CORS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub allow_origins: Option<Vec<String>>,
    /// Request headers that scripts may set beyond the safelisted ones, e.g. `[Authorization, Content-Type]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub allow_headers: Option<Vec<String>>,
    /// Answer headers that scripts may read beyond the safelisted ones, e.g. `[RateLimit]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub expose_headers: Option<Vec<String>>,
    /// `true`: requests may carry cookies and client certificates. Not with the origin `*`.
    #[serde(default)]
    pub allow_credentials: bool,
    /// How long browsers may keep the answer to a preflight, up to `24h`, e.g. `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 16))]
    pub max_age: Option<String>,
    /// `true`: preflights go to the application, without body, query, cookies and credentials; only the
    /// `Access-Control-*` and `Vary` fields of its answer go back. Conditions on request, address and hours hold for
    /// them too; a rule with attribute rules or a decision point refuses them.
    #[serde(default)]
    pub passthrough: bool,
}

/// What the API is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiDescription {
    /// Title, e.g. `Orders`.
    #[schemars(length(min = 1, max = 128))]
    pub title: String,
    /// Major version, e.g. `"1"`.
    #[schemars(length(min = 1, max = 32))]
    pub version: String,
}

/// The application behind the proxy, on loopback in the same pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamSpec {
    /// Port on which it listens, e.g. `8080`.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Http1 (default) or Http2 (clear text with prior knowledge).
    #[serde(default)]
    pub protocol: AppProtocolSpec,
    /// Forwarded (RFC 7239, default) or ForwardedAndXForwarded.
    #[serde(default)]
    pub forwarded_headers: ForwardedHeadersSpec,
    /// Most connections that each worker of a proxy opens to it, e.g. `256` (default).
    #[serde(default = "default_max_connections")]
    #[schemars(range(min = 1, max = 65535))]
    pub max_connections: i32,
}

/// Protocol towards the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum AppProtocolSpec {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
}

/// Headers that describe the caller's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ForwardedHeadersSpec {
    /// `Forwarded` only.
    #[default]
    Forwarded,
    /// The `X-Forwarded-*` family too.
    ForwardedAndXForwarded,
}

/// One clause of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleSpec {
    /// Name, unique in the route; policies refer to it as `sectionName`, e.g. `read`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The rule applies when one of these matches.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub matches: Vec<MatchSpec>,
    /// From the first byte of the request to the last of the answer, e.g. `15s` (default). Format of GEP-2257.
    #[serde(default = "default_timeout")]
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub timeout: String,
    /// Protocol switches to let through, e.g. `[WebSocket]`; none when left out.
    #[serde(default)]
    #[schemars(length(max = 4))]
    pub upgrades: Vec<UpgradeSpec>,
}

/// One match; all its parts must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MatchSpec {
    /// The path.
    pub path: PathMatchSpec,
    /// Methods, e.g. `[GET, HEAD]`; every method when empty, but never CONNECT and TRACE.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1, max = 32), regex(pattern = r"^[A-Z-]+$")))]
    #[x_kube(validation = Rule::new("!self.exists(m, m == 'CONNECT' || m == 'TRACE')").message("CONNECT and TRACE are never forwarded"))]
    pub methods: Vec<String>,
    /// Headers that must be present once, with exactly this value.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub headers: Vec<HeaderMatchSpec>,
}

/// How the path is compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathMatchSpec {
    /// Exact; PathPrefix, by whole segments; or Template, where `{name}` stands for one segment.
    #[serde(rename = "type")]
    pub kind: PathMatchType,
    /// The path, e.g. `/orders/{id}`. Without query; dot segments, `;`, `//` and encoded slashes are refused.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[^?#;\\]*$"))]
    pub value: String,
}

/// How a path is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PathMatchType {
    /// The whole path.
    Exact,
    /// Whole segments from the start.
    PathPrefix,
    /// Segments and parameters.
    Template,
}

/// A header to be present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderMatchSpec {
    /// Field name, e.g. `X-Channel`.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9-]+$"))]
    pub name: String,
    /// Value, compared byte for byte, e.g. `beta`.
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
}

/// A protocol switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpgradeSpec {
    /// RFC 6455.
    WebSocket,
}

/// What the fleet acknowledged.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiRouteStatus {
    /// Generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, ResolvedRefs, Programmed, Ready, Stalled.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Pods that run this generation, of all Ready pods of the workload, e.g. `2/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub programmed: Option<String>,
    /// Which content every Ready pod acknowledged last, so that pods that start later do not make it unprogrammed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub programmed_content: Option<String>,
    /// The scopes of `spec.access` that this ApiRoute owns. Another one that names a scope later does not get it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub owned_scopes: Vec<OwnedScopes>,
}

fn default_max_connections() -> i32 {
    256
}

fn default_timeout() -> String {
    "15s".to_owned()
}
