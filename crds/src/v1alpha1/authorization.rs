//! The authorization part of an ApiPolicy: what a caller may do.

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::api_policy::PolicyMode;
use crate::{CaBundleRef, ConfigMapKeyRef};

/// What the caller may do. Every block that is there must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.request) || has(self.clientAddresses) || has(self.timeWindows) || has(self.scopes) || has(self.roles) || has(self.claims) || has(self.cedar) || has(self.external)").message("say at least one condition"))]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationSpec {
    /// Enforce (default), or Shadow: this block alone is in dry run, as with `spec.mode`; the others stay in force.
    #[serde(default)]
    pub mode: PolicyMode,
    /// Conditions on method, path parameters and headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestConditionSpec>,
    /// Where the client may be; its address is worked out as the route's `clientAddress` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_addresses: Option<ClientAddressesSpec>,
    /// When the caller may call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_windows: Option<TimeWindowsSpec>,
    /// Scopes that the token must carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<ScopesSpec>,
    /// Roles that the caller must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<RolesSpec>,
    /// Claims that the caller must have; every entry must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub claims: Option<Vec<ClaimSpec>>,
    /// Attribute rules in Cedar, checked against a schema before they run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cedar: Option<CedarSpec>,
    /// A decision point outside, asked when every other condition holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalSpec>,
}

/// Scopes. Both parts must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("size(self.allOf) + size(self.anyOf) > 0").message("name at least one scope"))]
#[serde(rename_all = "camelCase")]
pub struct ScopesSpec {
    /// Every one of these, e.g. `[orders:read]`.
    #[serde(default)]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub all_of: Vec<String>,
    /// At least one of these, e.g. `[orders:read, orders:admin]`.
    #[serde(default)]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub any_of: Vec<String>,
}

/// Roles. Both parts must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("size(self.allOf) + size(self.anyOf) > 0").message("name at least one role"))]
#[serde(rename_all = "camelCase")]
pub struct RolesSpec {
    /// Where the claims hold the roles, as a JSONPath (RFC 9535), e.g. `$.realm_access.roles`; `$.roles` when left out.
    #[serde(default = "default_roles_path")]
    #[schemars(length(min = 1, max = 256))]
    pub path: String,
    /// Every one of these, e.g. `[clerk]`.
    #[serde(default)]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub all_of: Vec<String>,
    /// At least one of these, e.g. `[clerk, auditor]`.
    #[serde(default)]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub any_of: Vec<String>,
}

/// A typed test of claims. Exactly one of the tests; the compiler says so, for CEL cannot see fields without a type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimSpec {
    /// Which claims, as a JSONPath (RFC 9535), e.g. `$.tenant`.
    #[schemars(length(min = 1, max = 256))]
    pub path: String,
    /// The value is one of these, of the same JSON type, e.g. `[acme, 7]`.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scalars")]
    pub one_of: Option<Vec<Value>>,
    /// The value is this, of the same JSON type, e.g. `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scalar")]
    pub equals: Option<Value>,
    /// Something is there (`true`), or nothing (`false`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
    /// The value is a number of this range, e.g. `{min: 3}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<RangeSpec>,
    /// The list holds every one of these, e.g. `[clerk]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scalars")]
    pub contains_all_of: Option<Vec<Value>>,
    /// The list holds one of these, e.g. `[clerk, auditor]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scalars")]
    pub contains_any_of: Option<Vec<Value>>,
}

/// Bounds, both included; at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RangeSpec {
    /// This or more, e.g. `3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scalar")]
    pub min: Option<Value>,
    /// This or less, e.g. `9.5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scalar")]
    pub max: Option<Value>,
}

/// Cedar policies, and what they may look at. Exactly one of `policy` and `policyRef`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.policy) != has(self.policyRef)").message("exactly one of policy and policyRef"))]
#[serde(rename_all = "camelCase")]
pub struct CedarSpec {
    /// The policies, e.g. `permit(principal in Role::"clerk", action, resource);`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub policy: Option<String>,
    /// A ConfigMap of the same namespace that holds them, e.g. `{name: orders-rules, key: orders.cedar}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_ref: Option<ConfigMapKeyRef>,
    /// Typed attributes of the principal, taken from the claims.
    #[serde(default)]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub claims: Vec<ClaimAttributeSpec>,
    /// Where the claims hold the roles, as a JSONPath (RFC 9535), e.g. `$.roles`; each is a parent `Role` of the principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub roles: Option<String>,
    /// Where the claims hold the groups, e.g. `$.groups`; each is a parent `Group` of the principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub groups: Option<String>,
    /// Path parameters for `resource.parameters`, e.g. `[tenant]`.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1, max = 64)))]
    pub path_parameters: Vec<String>,
    /// Header fields for `context.headers`, e.g. `[X-Channel]`.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1, max = 128)))]
    pub headers: Vec<String>,
}

/// A claim as an attribute of the principal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimAttributeSpec {
    /// Name of the attribute, e.g. `tenant` for `principal.tenant`.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Its type: String, Long, Boolean or SetOfString. A token whose claim has another type is refused.
    #[serde(rename = "type")]
    pub kind: ClaimTypeSpec,
    /// Which claim, as a JSONPath (RFC 9535); the member of this name when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub path: Option<String>,
    /// Whether a token may lack it (default: no). The text has to ask with `has` then.
    #[serde(default)]
    pub optional: bool,
}

/// Types of claims in Cedar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClaimTypeSpec {
    /// `Bool`.
    Boolean,
    /// `Long`: a whole number of 64 bits.
    Long,
    /// `Set<String>`.
    SetOfString,
    /// `String`.
    String,
}

/// A decision point outside. Exactly one of `authzen`, `opa` and `xacml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.authzen), has(self.opa), has(self.xacml)].filter(x, x).size() == 1").message("exactly one of authzen, opa and xacml"))]
#[serde(rename_all = "camelCase")]
pub struct ExternalSpec {
    /// OpenID AuthZEN 1.0, e.g. `{url: "https://pdp.example.com/access/v1/evaluation"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authzen: Option<DecisionPointSpec>,
    /// The data API of Open Policy Agent, e.g. `{url: "https://opa.example.com/v1/data/orders/allow"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opa: Option<DecisionPointSpec>,
    /// The JSON profile of XACML 3.0, e.g. `{url: "https://pdp.example.com/authorize"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xacml: Option<DecisionPointSpec>,
    /// Certificate authorities beside the system's, e.g. `{kind: ConfigMap, name: pdp-ca, key: ca.crt}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaBundleRef>,
    /// For the whole question, a second try included, e.g. `500ms` (default). Format of GEP-2257.
    #[serde(default = "default_decision_timeout")]
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub timeout: String,
    /// Deny (default), or Permit: what no usable answer means.
    #[serde(default)]
    pub failure_mode: FailureModeSpec,
    /// Claims that are told.
    #[serde(default)]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub claims: Vec<ToldClaimSpec>,
    /// Header fields that are told, e.g. `[X-Channel]`.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1, max = 128)))]
    pub headers: Vec<String>,
    /// Header fields that obligations and advice may set for the application, e.g. `[X-Row-Filter]`.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1, max = 128)))]
    pub upstream_headers: Vec<String>,
}

/// Where a decision point is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecisionPointSpec {
    /// URL that is asked, e.g. `https://pdp.example.com/access/v1/evaluation`.
    #[schemars(length(min = 1, max = 1024))]
    pub url: String,
}

/// A claim under the name by which it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToldClaimSpec {
    /// Name, e.g. `tenant`.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// Which claim, as a JSONPath (RFC 9535); the member of this name when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub path: Option<String>,
}

/// What no usable answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum FailureModeSpec {
    /// Refused.
    #[default]
    Deny,
    /// Let through, as if the block were not there.
    Permit,
}

/// Ranges of addresses. What is denied is denied, also where it is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("size(self.allow) + size(self.deny) > 0").message("name at least one range"))]
#[serde(rename_all = "camelCase")]
pub struct ClientAddressesSpec {
    /// The client is in one of these, e.g. `[10.0.0.0/8]`; anywhere when empty.
    #[serde(default)]
    #[schemars(length(max = 128), inner(length(min = 2, max = 64)))]
    pub allow: Vec<String>,
    /// The client is in none of these, e.g. `[10.9.0.0/16]`.
    #[serde(default)]
    #[schemars(length(max = 128), inner(length(min = 2, max = 64)))]
    pub deny: Vec<String>,
}

/// Weekly windows on the clocks of one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimeWindowsSpec {
    /// Name of the IANA time zone database, e.g. `Europe/Vienna`.
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// The moment lies in one of these.
    #[schemars(length(min = 1, max = 16))]
    pub windows: Vec<WindowSpec>,
    /// Windows that begin on these dates do not count, e.g. `["2026-12-25"]`.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(min = 10, max = 10)))]
    pub except_dates: Vec<String>,
}

/// From one time of day to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WindowSpec {
    /// Days on which it begins, e.g. `[Monday, Friday]`; every day when empty.
    #[serde(default)]
    #[schemars(length(max = 7))]
    pub weekdays: Vec<WeekdaySpec>,
    /// First minute, e.g. `"08:00"`.
    #[schemars(length(min = 5, max = 5))]
    pub from: String,
    /// First minute after it, e.g. `"18:00"`, at most `"24:00"`; earlier than `from` when it lasts past midnight.
    #[schemars(length(min = 5, max = 5))]
    pub to: String,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the names say it")]
pub enum WeekdaySpec {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// Conditions on the request itself; every part must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("size(self.methods) + size(self.pathParameters) + size(self.headers) > 0").message("say at least one of methods, pathParameters and headers"))]
#[serde(rename_all = "camelCase")]
pub struct RequestConditionSpec {
    /// The method is one of these, e.g. `[GET, HEAD]`; any when empty.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1, max = 32)))]
    pub methods: Vec<String>,
    /// Parameters of the path template; a request whose template lacks one is refused.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub path_parameters: Vec<PathParameterSpec>,
    /// Header fields.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub headers: Vec<HeaderConditionSpec>,
}

/// A path parameter, percent-decoded. Exactly one of the tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.__in__) != has(self.equalsClaim)").message("exactly one of in and equalsClaim"))]
#[serde(rename_all = "camelCase")]
pub struct PathParameterSpec {
    /// Its name in the template, e.g. `tenant` for `/tenants/{tenant}`.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// The value is one of these, e.g. `[acme]`.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256)))]
    pub one_of: Option<Vec<String>>,
    /// The value is the text of this claim, as a JSONPath (RFC 9535), e.g. `$.tenant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub equals_claim: Option<String>,
}

/// A header field, line by line. Exactly one of the tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.__in__) != has(self.exists)").message("exactly one of in and exists"))]
#[serde(rename_all = "camelCase")]
pub struct HeaderConditionSpec {
    /// Field name, e.g. `X-Channel`.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// There is at least one line, and every line is one of these, e.g. `[shop]`.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 1024)))]
    pub one_of: Option<Vec<String>>,
    /// There is a line (`true`), or none (`false`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
}

fn default_decision_timeout() -> String {
    "500ms".to_owned()
}

fn default_roles_path() -> String {
    "$.roles".to_owned()
}

/// Text, number or boolean: nothing that a structural schema has a type for.
fn scalar(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}

fn scalars(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "minItems": 1, "maxItems": 64, "items": { "x-kubernetes-preserve-unknown-fields": true },
        "x-kubernetes-list-type": "atomic",
    })
}
