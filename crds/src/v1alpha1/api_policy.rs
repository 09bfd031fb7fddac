//! ApiPolicy: who may call what it targets.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::authorization::AuthorizationSpec;
use crate::TokenServiceRef;

/// Rules attached to routes, to single rules of a route, or to a whole namespace.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "portreeve.dev",
    version = "v1alpha1",
    kind = "ApiPolicy",
    namespaced,
    status = "ApiPolicyStatus",
    derive = "PartialEq",
    category = "portreeve",
    doc = "Who may call the routes, rules or namespace that it targets. On a rule beats on a route beats on the namespace.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Programmed", type_ = "string", json_path = ".status.programmed"),
    printcolumn(name = "Targets", type_ = "string", json_path = ".spec.targetRefs[*].name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("has(self.authentication) || has(self.authorization)").message("say at least one of authentication and authorization"))]
#[x_kube(validation = Rule::new("self.precedence != 'Overrides' || self.targetRefs.all(t, t.kind == 'Namespace')").message("precedence Overrides is for policies that target a Namespace"))]
#[serde(rename_all = "camelCase")]
pub struct ApiPolicySpec {
    /// What it governs, in its own namespace.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub target_refs: Vec<TargetRef>,
    /// Defaults (default): a more specific policy wins. Overrides, on a Namespace: this one wins.
    #[serde(default)]
    pub precedence: Precedence,
    /// Enforce (default), or Shadow: judged for the requests of its targets, recorded and counted, never enforced. A
    /// policy in shadow takes part in nothing else: it can neither loosen nor hide one that is enforced.
    #[serde(default)]
    pub mode: PolicyMode,
    /// Who calls. Left out: the next less specific policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<AuthenticationSpec>,
    /// What the caller may do. Left out: the next less specific policy says; if none does, whoever was authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Box<AuthorizationSpec>>,
}

/// One target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("(self.kind == 'ApiRoute' && self.group == 'portreeve.dev') || (self.kind == 'Namespace' && self.group == '')").message("a target is an ApiRoute of group portreeve.dev or a Namespace of group \"\""))]
#[x_kube(validation = Rule::new("self.kind == 'ApiRoute' || !has(self.sectionName)").message("sectionName goes with an ApiRoute"))]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// API group: `portreeve.dev` for ApiRoute (default), empty for Namespace.
    #[serde(default = "default_group")]
    #[schemars(length(max = 253))]
    pub group: String,
    /// ApiRoute, or Namespace for the defaults of a namespace.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Name of the target, e.g. `orders`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// One rule of the ApiRoute, e.g. `read`; the whole route when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub section_name: Option<String>,
}

/// Which side wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Precedence {
    /// More specific policies win.
    #[default]
    Defaults,
    /// This policy wins.
    Overrides,
}

/// Whether something is in force or on trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum PolicyMode {
    /// In force.
    #[default]
    Enforce,
    /// On trial.
    Shadow,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.anonymous) != has(self.anyOf)").message("exactly one of anonymous and anyOf"))]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationSpec {
    /// Nobody is asked: this is how one says "open". Written `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<AnonymousSpec>,
    /// The first entry that finds its own kind of credential decides; when none does, the request is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub any_of: Option<Vec<AuthenticatorSpec>>,
}

/// Takes no settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AnonymousSpec {}

/// One way to authenticate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.anonymous), has(self.introspection), has(self.jwt)].filter(x, x).size() == 1").message("exactly one of anonymous, introspection and jwt"))]
#[serde(rename_all = "camelCase")]
pub struct AuthenticatorSpec {
    /// Requests without any credential pass as nobody. Written `{}`, as the last entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<AnonymousSpec>,
    /// Bearer tokens that the token service is asked about (RFC 7662).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection: Option<IntrospectionRuleSpec>,
    /// Signed bearer tokens (RFC 9068).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtRuleSpec>,
}

/// Signed bearer tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JwtRuleSpec {
    /// The only issuer whose tokens count, e.g. `{name: login}`.
    pub token_service_ref: TokenServiceRef,
    /// One of these must stand in `aud`, e.g. `[https://orders.example.com]`.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 512)))]
    pub audiences: Vec<String>,
    /// What the application gets: Original (default) or None.
    #[serde(default)]
    pub upstream_token: UpstreamTokenSpec,
}

/// Bearer tokens that only their issuer can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct IntrospectionRuleSpec {
    /// The token service to ask, e.g. `{name: login}`.
    pub token_service_ref: TokenServiceRef,
    /// One of these must stand in `aud` of the answer, e.g. `[https://orders.example.com]`.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 512)))]
    pub audiences: Vec<String>,
    /// What the application gets: Jwt (the JWT of the answer: phantom token), Original (default) or None.
    #[serde(default)]
    pub upstream_token: UpstreamTokenSpec,
}

/// What stands in `Authorization` towards the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum UpstreamTokenSpec {
    /// The JWT of the introspection answer.
    Jwt,
    /// Nothing.
    None,
    /// The caller's own token.
    #[default]
    Original,
}

/// What became of the policy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiPolicyStatus {
    /// Generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, ResolvedRefs, Programmed, Ready, Stalled.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Pods that run this generation, of all Ready pods of the targets' workloads, e.g. `2/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub programmed: Option<String>,
}

fn default_group() -> String {
    crate::GROUP.to_owned()
}
