//! ClientRegistration: one application as one OAuth client.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::TokenServiceRef;

/// One application, registered as one OAuth client at the token service (RFC 7591, RFC 7592).
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "portreeve.dev",
    version = "v1alpha1",
    kind = "ClientRegistration",
    namespaced,
    status = "ClientRegistrationStatus",
    derive = "PartialEq",
    category = "portreeve",
    doc = "An application as an OAuth client. Portreeve registers it and writes its credentials into a Secret.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Client-ID", type_ = "string", json_path = ".status.clientId"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".spec.credentialsSecretName"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ClientRegistrationSpec {
    /// Where the application is registered, e.g. `{name: login, namespace: identity}`. Immutable: a client cannot move.
    #[x_kube(validation = Rule::new("self == oldSelf").message("tokenServiceRef is immutable; create another ClientRegistration"))]
    pub token_service_ref: TokenServiceRef,
    /// What the token service is told about the application.
    pub metadata: ClientMetadataSpec,
    /// How the application authenticates at the token endpoint.
    #[serde(default)]
    pub authentication: ClientAuthenticationSpec,
    /// Secret of this namespace that Portreeve writes: client_id, client_secret, issuer, token_endpoint. Immutable.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("credentialsSecretName is immutable"))]
    pub credentials_secret_name: String,
    /// What happens to the client when this object is deleted: Delete (default) or Retain.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Client metadata (RFC 7591 section 2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!self.grantTypes.exists(g, g == 'authorization_code') || size(self.redirectUris) > 0").message("grant type authorization_code needs redirectUris"))]
#[serde(rename_all = "camelCase")]
pub struct ClientMetadataSpec {
    /// Name shown to people, e.g. `shop`.
    #[schemars(length(min = 1, max = 128))]
    pub client_name: String,
    /// Grant types, e.g. `[client_credentials]`.
    #[schemars(length(min = 1, max = 8))]
    pub grant_types: Vec<GrantType>,
    /// Response types, e.g. `[code]`; what the grant types ask for when left out.
    #[serde(default)]
    #[schemars(length(max = 4))]
    pub response_types: Vec<ResponseType>,
    /// Redirect URIs, e.g. `[https://shop.example.com/callback]`.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1, max = 1024)))]
    pub redirect_uris: Vec<String>,
    /// Scopes that the application may ask for, separated by blanks, e.g. `orders:read orders:write`.
    #[serde(default)]
    #[schemars(length(max = 2048))]
    pub scope: String,
    /// Ways to reach people responsible, e.g. `[shop@example.com]`.
    #[serde(default)]
    #[schemars(length(max = 8), inner(length(min = 1, max = 256)))]
    pub contacts: Vec<String>,
    /// Home page, e.g. `https://shop.example.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub client_uri: Option<String>,
    /// Identifies the software, e.g. `portreeve-gateway`; the object's uid when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub software_id: Option<String>,
    /// Version of the software, e.g. `2.1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub software_version: Option<String>,
    /// Members beyond the standard that the server understands, e.g. `{org_unit: team-a}`.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 32))]
    pub additional: BTreeMap<String, String>,
}

/// OAuth grant types, spelled as in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// RFC 6749 section 4.1.
    AuthorizationCode,
    /// RFC 6749 section 4.4.
    ClientCredentials,
    /// RFC 6749 section 6.
    RefreshToken,
    /// RFC 8693.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:token-exchange")]
    TokenExchange,
}

/// OAuth response types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResponseType {
    /// RFC 6749 section 4.1.
    Code,
}

/// How the application authenticates.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientAuthenticationSpec {
    /// ClientSecretBasic (default), ClientSecretPost, or None for a public client.
    #[serde(default)]
    pub method: ClientMethod,
}

/// Client authentication methods (RFC 7591 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ClientMethod {
    /// In the Authorization header.
    #[default]
    ClientSecretBasic,
    /// In the form body.
    ClientSecretPost,
    /// Public client.
    None,
}

/// What deleting the object does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// The client is deleted at the token service.
    #[default]
    Delete,
    /// The client stays; the journal Secret is kept so that it can still be managed.
    Retain,
}

/// How the registration stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientRegistrationStatus {
    /// Generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, ResolvedRefs, Registered, CredentialsCurrent, MetadataHonoured, Ready, Stalled.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// OAuth client identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub client_id: Option<String>,
    /// When the identifier was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<Time>,
    /// When the secret expires; left out when it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_expires_at: Option<Time>,
}
