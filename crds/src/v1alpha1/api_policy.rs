//! ApiPolicy: who may call what it targets.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AuthenticationSpec, authorization::AuthorizationSpec, limits::LimitsSpec};

/// What the API server and `portreeve validate` say to a policy that sets no block.
pub const SAYS_NOTHING: &str = "set at least one of authentication, authorization and limits";

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
#[x_kube(validation = Rule::new("has(self.authentication) || has(self.authorization) || has(self.limits)").message(SAYS_NOTHING))]
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
    /// How often callers may call. Left out: the next less specific policy says; if none does, there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Box<LimitsSpec>>,
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

/// Whether something is in force or in dry run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum PolicyMode {
    /// In force.
    #[default]
    Enforce,
    /// Dry run: evaluated and recorded, never enforced.
    Shadow,
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
    /// Which content every Ready pod acknowledged last, so that pods that start later do not make it unprogrammed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub programmed_content: Option<String>,
}

fn default_group() -> String {
    crate::GROUP.to_owned()
}
