//! What the owner of a TokenService grants to namespaces: scopes, clients of the gateway, bounds of registration.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ClientMethod, GrantType};

/// Which namespaces' ApiRoutes may own scopes at this token service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("size(self.namespaces) > 0 || has(self.matchLabels)").message("a scope grant needs namespaces or matchLabels"))]
#[serde(rename_all = "camelCase")]
pub struct ScopeGrant {
    /// A scope, e.g. `orders:read`, or a pattern in which each `*` stands for any text, e.g. `orders:*`. Of several
    /// patterns that fit a scope the one with the most other characters decides, one without `*` before all.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[!#-\[\]-~]+$"))]
    pub pattern: String,
    /// Namespaces, e.g. `[orders]`.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub namespaces: Vec<String>,
    /// Labels of namespaces, e.g. `{team: orders}`; all of them must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16))]
    pub match_labels: Option<BTreeMap<String, String>>,
}

/// What ClientRegistrations of some namespaces may ask for. With neither `namespaces` nor `matchLabels` it is for every
/// namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationLimit {
    /// Namespaces, e.g. `[shop]`.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub namespaces: Vec<String>,
    /// Labels of namespaces, e.g. `{team: shop}`; all of them must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16))]
    pub match_labels: Option<BTreeMap<String, String>>,
    /// Grant types, e.g. `[client_credentials]`; every one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    pub grant_types: Option<Vec<GrantType>>,
    /// Values of `metadata.softwareId` and patterns of them, e.g. `[shop-*]`. None may be chosen when left out.
    #[serde(default)]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub software_ids: Vec<String>,
    /// Scopes and patterns of scopes that may be asked for though no ApiRoute owns them, e.g. `[openid, profile]`.
    #[serde(default)]
    #[schemars(length(max = 32), inner(length(min = 1, max = 128)))]
    pub scopes: Vec<String>,
    /// Hosts of redirect URIs, and of other URLs in the metadata, e.g. `[shop.example.com, "*.shop.example.com"]`; every
    /// one when left out, none when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 253)))]
    pub redirect_hosts: Option<Vec<String>>,
    /// Most clients of one namespace, e.g. `20`; as many as it likes when left out. The oldest objects count first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub max_clients: Option<i32>,
}

/// The gateway's own client in each namespace whose policies need one. The operator registers it and keeps its
/// credentials in that namespace, so that no secret crosses namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.method in ['PrivateKeyJwt', 'ClientSecretBasic', 'ClientSecretPost', 'SelfSignedTlsClientAuth']").message("the gateway authenticates by PrivateKeyJwt, ClientSecretBasic, ClientSecretPost or SelfSignedTlsClientAuth"))]
#[serde(rename_all = "camelCase")]
pub struct PerNamespaceClientSpec {
    /// How it authenticates: PrivateKeyJwt (default), ClientSecretBasic, ClientSecretPost or SelfSignedTlsClientAuth.
    #[serde(default)]
    pub method: ClientMethod,
    /// Grant types, e.g. `[client_credentials]` (default). An exchange needs its grant type here.
    #[serde(default = "default_grant_types")]
    #[schemars(length(min = 1, max = 8))]
    pub grant_types: Vec<GrantType>,
    /// Scopes, separated by blanks; none when left out.
    #[serde(default)]
    #[schemars(length(max = 2048))]
    pub scope: String,
    /// Members beyond the standard that the server understands, e.g. `{org_unit: gateway}`.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 32))]
    pub additional: BTreeMap<String, String>,
}

/// Scopes that an ApiRoute owns at one token service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnedScopes {
    /// The TokenService, as `namespace/name`.
    #[schemars(length(max = 320))]
    pub token_service: String,
    /// The scopes, in order.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(max = 128)))]
    pub scopes: Vec<String>,
}

fn default_grant_types() -> Vec<GrantType> {
    vec![GrantType::ClientCredentials]
}
