//! Access of applications to APIs: what a ClientRegistration asks for, and what the owner of an ApiRoute grants.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Production and sandbox are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
pub enum Environment {
    /// The real thing.
    #[default]
    Production,
    /// For trying out.
    Sandbox,
}

/// An API that an application calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessRequest {
    /// The ApiRoute, e.g. `{name: orders, namespace: orders}`. Naming one of another namespace gives nothing by itself.
    pub api_ref: ApiRef,
    /// Scopes of that API, e.g. `[orders:read]`.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 128)))]
    pub scopes: Vec<String>,
}

/// Names an ApiRoute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiRef {
    /// Name of the ApiRoute, e.g. `orders`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace; the object's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// Whom the owner of an API grants access. It stands in the owner's namespace, where consumers cannot write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiAccessSpec {
    /// Scopes that belong to this API, at each TokenService whose `spec.scopes` grants them to this namespace. No
    /// ClientRegistration gets one of them there without a grant. When two ApiRoutes may own the same scope, it belongs to
    /// the one that had it first, as `status.ownedScopes` says.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 128)))]
    pub scopes: Vec<String>,
    /// Whether this is a production API (default) or a sandbox.
    #[serde(default)]
    pub environment: Environment,
    /// Who is granted access without being asked about one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automatic: Option<AutomaticAccess>,
    /// Decisions about single applications. They win over `automatic`.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub approvals: Vec<AccessApproval>,
}

/// Who is granted access by rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("size(self.namespaces) > 0 || has(self.matchLabels)").message("automatic needs namespaces or matchLabels"))]
#[serde(rename_all = "camelCase")]
pub struct AutomaticAccess {
    /// Namespaces, e.g. `[shop]`.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub namespaces: Vec<String>,
    /// Labels of namespaces, e.g. `{tier: internal}`; all of them must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16))]
    pub match_labels: Option<BTreeMap<String, String>>,
    /// The scopes that are granted so; all of the API's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 128)))]
    pub scopes: Option<Vec<String>>,
}

/// A decision about one application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessApproval {
    /// Namespace of the ClientRegistration, e.g. `shop`.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Name of the ClientRegistration, e.g. `web`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Granted or Denied.
    pub decision: AccessDecision,
    /// The scopes that are granted; all of the API's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 128)))]
    pub scopes: Option<Vec<String>>,
    /// Who decided, for the consumer to read, e.g. `alice@example.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub by: Option<String>,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AccessDecision {
    /// Yes.
    Granted,
    /// No.
    Denied,
}

/// How a request for access stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessState {
    /// The ApiRoute, as `namespace/name`.
    #[schemars(length(max = 320))]
    pub api: String,
    /// Granted, PartlyGranted, Pending or Denied.
    pub state: AccessVerdict,
    /// The scopes that are granted.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub scopes: Vec<String>,
    /// Who decided, or by which rule; empty while nobody has.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub by: String,
    /// What is missing, and who can give it.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// What became of a request for access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum AccessVerdict {
    /// Every scope that was asked for.
    Granted,
    /// Some of the scopes.
    PartlyGranted,
    /// Nobody has decided yet.
    Pending,
    /// None of it.
    Denied,
}
