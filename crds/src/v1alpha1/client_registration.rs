//! ClientRegistration: one application as one OAuth client.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AccessRequest, AccessState, Environment};
use crate::{SecretKeyRef, TokenServiceRef};

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
#[x_kube(validation = Rule::new("self.authentication.method != 'PrivateKeyJwt' || !('jwks_uri' in self.metadata.additional)").message("metadata.additional.jwks_uri: PrivateKeyJwt uses keys that Portreeve makes; leave it out"))]
#[x_kube(validation = Rule::new("self.authentication.method != 'None' || !self.metadata.grantTypes.exists(g, g == 'client_credentials')").message("authentication.method: client_credentials needs a client that authenticates"))]
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
    /// Secret of this namespace that Portreeve writes: client_id, issuer, token_endpoint, `.env`, and client_secret, or
    /// private_key and key_id, or tls.crt and tls.key. Immutable.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("credentialsSecretName is immutable"))]
    pub credentials_secret_name: String,
    /// Other names for keys of that Secret, e.g. `{client_id: CLIENT_ID}`; those not named here keep theirs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "pattern": "^[-._a-zA-Z0-9]{1,253}$"}))]
    #[x_kube(validation = Rule::new("self.all(k, k in ['client_id', 'client_secret', 'private_key', 'key_id', 'issuer', 'token_endpoint', 'token_endpoint_auth_method', 'tls.crt', 'tls.key', '.env'])").message("credentialsKeys names keys of the credentials Secret: client_id, client_secret, private_key, key_id, issuer, token_endpoint, token_endpoint_auth_method, tls.crt, tls.key, .env"))]
    pub credentials_keys: BTreeMap<String, String>,
    /// When credentials are renewed beside on request (annotation `portreeve.dev/rotate`) and before a secret expires.
    #[serde(default)]
    pub rotation: RotationSpec,
    /// What is done about outside edits at the token service: Correct (default) or Report.
    #[serde(default)]
    pub drift_policy: DriftPolicy,
    /// Signed statement about the software (RFC 7591 section 2.3) in a Secret of this namespace that carries the annotation
    /// `portreeve.dev/use: software-statement`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software_statement_ref: Option<SecretKeyRef>,
    /// Production (default) or Sandbox; a client of the one gets no access to APIs of the other.
    #[serde(default)]
    pub environment: Environment,
    /// APIs that the application calls. Their owners grant it, on the ApiRoute; scopes that are not granted are not asked
    /// for at the token service.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub access: Vec<AccessRequest>,
    /// What happens to the client when this object is deleted: Delete (default) or Retain.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Client metadata (RFC 7591 section 2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!self.grantTypes.exists(g, g == 'authorization_code') || size(self.redirectUris) > 0").message("grant type authorization_code needs redirectUris"))]
#[x_kube(validation = Rule::new("size(self.responseTypes) == 0 || self.grantTypes.exists(g, g == 'authorization_code')").message("responseTypes: code needs the grant type authorization_code"))]
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
    #[x_kube(validation = Rule::new("!self.exists(u, u.contains('#'))").message("redirectUris: a redirect URI has no fragment"))]
    #[x_kube(validation = Rule::new("!self.exists(u, u.startsWith('http://') && !u.matches('^http://(localhost|127\\\\.[0-9.]+|\\\\[::1\\\\])([:/].*)?$'))").message("redirectUris: http is for loopback only; use https"))]
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
    /// Identifies the software, e.g. `shop`; the object's uid when left out. Everybody can say
    /// anything here, so it proves nothing; other namespaces than the TokenService's need it in `registration.limits`.
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
    /// RFC 7523 section 2.1.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:jwt-bearer")]
    JwtBearer,
    /// RFC 7522 section 2.1.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:saml2-bearer")]
    SamlBearer,
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
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("(self.method == 'TlsClientAuth') == has(self.tlsSubject)").message("tlsSubject goes with method: TlsClientAuth, and only with it"))]
#[serde(rename_all = "camelCase")]
pub struct ClientAuthenticationSpec {
    /// PrivateKeyJwt (default), ClientSecretBasic, ClientSecretPost, ClientSecretJwt, TlsClientAuth,
    /// SelfSignedTlsClientAuth, or None for a public client.
    #[serde(default)]
    pub method: ClientMethod,
    /// What the application's certificate says of it, with method: TlsClientAuth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_subject: Option<TlsSubject>,
}

/// A certificate's subject (RFC 8705 section 2.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsSubject {
    /// Which part of the certificate: SubjectDn, SanDns, SanUri, SanIp or SanEmail.
    #[serde(rename = "type")]
    pub kind: TlsSubjectType,
    /// Its value, e.g. `CN=shop,O=Example`.
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
}

/// Part of a certificate (RFC 8705 section 2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsSubjectType {
    /// `tls_client_auth_subject_dn`
    SubjectDn,
    /// `tls_client_auth_san_dns`
    SanDns,
    /// `tls_client_auth_san_uri`
    SanUri,
    /// `tls_client_auth_san_ip`
    SanIp,
    /// `tls_client_auth_san_email`
    SanEmail,
}

/// When credentials are renewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationSpec {
    /// Time between two renewals, e.g. `720h`; none when left out. Format of GEP-2257.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub interval: Option<String>,
    /// Time for which the old credentials stay good, e.g. `24h` (default). Format of GEP-2257.
    #[serde(default = "default_overlap")]
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub overlap: String,
}

/// What is done about outside edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum DriftPolicy {
    /// Our metadata is sent again.
    #[default]
    Correct,
    /// They are told in MetadataAccepted, and left.
    Report,
}

/// Client authentication methods (RFC 7591 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ClientMethod {
    /// Assertions signed with a key that Portreeve makes and rotates (RFC 7523).
    #[default]
    PrivateKeyJwt,
    /// A secret in the Authorization header.
    ClientSecretBasic,
    /// A secret in the form body.
    ClientSecretPost,
    /// Assertions keyed with a secret (OpenID Connect Core section 9).
    ClientSecretJwt,
    /// A certificate of an authority that the server trusts (RFC 8705 section 2.1); the application brings it.
    TlsClientAuth,
    /// A self-signed certificate that Portreeve makes and rotates (RFC 8705 section 2.2).
    SelfSignedTlsClientAuth,
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
    /// Accepted, ResolvedRefs, AccessGranted, Registered, CredentialsCurrent, MetadataAccepted, Ready, Stalled.
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
    /// When the present credentials were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rotation: Option<Time>,
    /// When they are to be renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<Time>,
    /// Until when the credentials before them stay good at least, while there are some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_credentials_until: Option<Time>,
    /// What the token service said when it last refused something, until it takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<ServerErrorStatus>,
    /// How each entry of `spec.access` stands, in the same order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub access: Vec<AccessState>,
}

/// What the token service said (RFC 7591 section 3.2.2), without control characters and secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerErrorStatus {
    /// e.g. `invalid_client_metadata`.
    #[schemars(length(max = 64))]
    pub error: String,
    /// The server's own explanation, in its words.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub error_description: String,
}

impl Default for RotationSpec {
    fn default() -> Self {
        Self { interval: None, overlap: default_overlap() }
    }
}

fn default_overlap() -> String {
    "24h".to_owned()
}
