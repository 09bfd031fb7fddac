//! TokenService: one authorization server, and who may use it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PerNamespaceClientSpec, RegistrationLimit, ScopeGrant};
use crate::{CaBundleRef, LocalRef, SecretKeyRef};

/// One OAuth authorization server that issues the tokens and registers the applications.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "portreeve.dev",
    version = "v1alpha1",
    kind = "TokenService",
    namespaced,
    status = "TokenServiceStatus",
    derive = "PartialEq",
    category = "portreeve",
    doc = "An OAuth authorization server whose tokens are accepted and at which applications are registered.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Issuer", type_ = "string", json_path = ".spec.issuer"),
    printcolumn(name = "Keys", type_ = "integer", json_path = ".status.keys"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("self.discovery != 'None' || (has(self.endpoints) && (has(self.endpoints.jwks) || has(self.endpoints.introspection)))").message("discovery None needs endpoints.jwks or endpoints.introspection"))]
#[x_kube(validation = Rule::new("!has(self.introspection) || has(self.client)").message("introspection needs client: the gateway has to authenticate at the endpoint"))]
#[serde(rename_all = "camelCase")]
pub struct TokenServiceSpec {
    /// Issuer identifier, compared byte for byte with `iss`, e.g. `https://login.example.com`. Immutable: another
    /// issuer is another TokenService.
    #[schemars(length(min = 8, max = 512), regex(pattern = r"^https?://[^?#\s]+$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("issuer is immutable; create another TokenService"))]
    pub issuer: String,
    /// Claim and introspection member that holds a token's scopes, as a text separated by blanks or as a list, e.g. `scp`;
    /// `scope` when left out. No other one is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[!-~]+$"))]
    pub scope_claim: Option<String>,
    /// Where endpoints are learned from: OpenIdConfiguration (default), OAuthAuthorizationServer (RFC 8414) or None.
    #[serde(default)]
    pub discovery: Discovery,
    /// Endpoints that win over discovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<EndpointsSpec>,
    /// Which certificate authorities to trust beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<TrustSpec>,
    /// How the gateway itself authenticates at this server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<GatewayClientSpec>,
    /// How opaque tokens are looked up (RFC 7662).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection: Option<IntrospectionSpec>,
    /// How applications are registered (RFC 7591).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<RegistrationSpec>,
    /// Which namespaces' ApiRoutes may own which scopes here. A scope that no pattern fits can be owned by ApiRoutes of
    /// this namespace alone.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub scopes: Vec<ScopeGrant>,
    /// Which namespaces may refer to this object; its own only when left out.
    #[serde(default)]
    pub allowed_namespaces: AllowedNamespaces,
}

/// Source of the server's metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Discovery {
    /// `ISSUER/.well-known/openid-configuration` (OpenID Connect Discovery 1.0 section 4).
    #[default]
    OpenIdConfiguration,
    /// `/.well-known/oauth-authorization-server` between host and path of the issuer (RFC 8414 section 3).
    OAuthAuthorizationServer,
    /// No discovery; `endpoints` says all.
    None,
}

/// Endpoints that win over discovery.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointsSpec {
    /// Introspection endpoint, e.g. `https://login.example.com/introspect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 1024), regex(pattern = r"^https?://[^#\s]+$"))]
    pub introspection: Option<String>,
    /// Registration endpoint, e.g. `https://login.example.com/register`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 1024), regex(pattern = r"^https?://[^#\s]+$"))]
    pub registration: Option<String>,
    /// Token endpoint, handed to applications, e.g. `https://login.example.com/token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 1024), regex(pattern = r"^https?://[^#\s]+$"))]
    pub token: Option<String>,
    /// Key set, e.g. `https://login.example.com/jwks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 1024), regex(pattern = r"^https?://[^#\s]+$"))]
    pub jwks: Option<String>,
}

/// Certificate authorities for this server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrustSpec {
    /// Object that holds them in PEM.
    pub ca_ref: CaBundleRef,
}

/// The gateway's own OAuth client. `registrationRef` and `secretRef` are for policies of this namespace alone; those of
/// other namespaces need `perNamespace`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!(has(self.registrationRef) && has(self.secretRef))").message("at most one of registrationRef and secretRef"))]
#[x_kube(validation = Rule::new("has(self.registrationRef) || has(self.secretRef) || has(self.perNamespace)").message("client needs registrationRef, secretRef or perNamespace"))]
#[serde(rename_all = "camelCase")]
pub struct GatewayClientSpec {
    /// A ClientRegistration of this namespace whose credentials are used, e.g. `{name: gateway}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration_ref: Option<LocalRef>,
    /// A Secret of this namespace with the key `client_id` and, by method, `client_secret`, `private_key` (PKCS#8 in PEM;
    /// `key_id` may stand beside it), or `tls.crt` and `tls.key`. It must carry the annotation
    /// `portreeve.dev/use: client-credentials`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalRef>,
    /// How the gateway authenticates with `secretRef`: ClientSecretBasic (default), ClientSecretPost, PrivateKeyJwt or
    /// TlsClientAuth.
    #[serde(default)]
    pub method: SecretMethod,
    /// Registers a client of the gateway in each other namespace whose policies need one, and in this one where neither
    /// `registrationRef` nor `secretRef` is given. `{}` takes every default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_namespace: Option<PerNamespaceClientSpec>,
    /// Initial access token (RFC 7591 section 3) with which the gateway's own clients are registered, so that the server
    /// can tell them from applications; that of `registration` when left out. The Secret must carry the annotation
    /// `portreeve.dev/use: initial-access-token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_access_token_ref: Option<SecretKeyRef>,
}

/// Client authentication (RFC 6749 section 2.3.1, RFC 7523 section 2.2, RFC 8705 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum SecretMethod {
    /// In the Authorization header.
    #[default]
    ClientSecretBasic,
    /// In the form body.
    ClientSecretPost,
    /// By an assertion that the private key signs.
    PrivateKeyJwt,
    /// By the certificate of the TLS connection.
    TlsClientAuth,
}

/// How opaque tokens are looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!has(self.jwtMember) || self.answer == 'JwtMember'").message("jwtMember goes with answer: JwtMember"))]
#[serde(rename_all = "camelCase")]
pub struct IntrospectionSpec {
    /// Form of the answer: Json (RFC 7662), JwtBody (the body is the JWT, 204 says inactive), JwtMember (JSON with a JWT
    /// in one member) or SignedEnvelope (RFC 9701).
    pub answer: Answer,
    /// Which member holds the JWT, with answer: JwtMember.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt_member: Option<JwtMemberSpec>,
    /// Time for one look-up, e.g. `2s` (default). Format of GEP-2257.
    #[serde(default = "default_introspection_timeout")]
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub timeout: String,
    /// Bounds of what is remembered.
    #[serde(default)]
    pub cache: CacheSpec,
}

/// Form of the introspection answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Answer {
    /// Plain JSON.
    Json,
    /// The JWT itself.
    JwtBody,
    /// JSON with a JWT in one member.
    JwtMember,
    /// A signed envelope (RFC 9701).
    SignedEnvelope,
}

/// Where the JWT stands in the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtMemberSpec {
    /// Name of the member, e.g. `jwt` (default, as Keycloak has it) or `phantom_token`.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// What is asked for: Jwt (default, application/jwt) or Json (application/json).
    pub accept: MemberAcceptSpec,
}

/// `Accept` of the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum MemberAcceptSpec {
    /// `application/json`
    Json,
    /// `application/jwt`
    #[default]
    Jwt,
}

/// Bounds of the token cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CacheSpec {
    /// Longest use of an active answer, and so the longest time until a revocation takes effect, e.g. `60s` (default).
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub max_ttl: String,
    /// Longest use of an inactive answer, e.g. `5s` (default).
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub negative_ttl: String,
    /// Most bytes that answers take in one proxy, e.g. `33554432` (32 MiB, default). A usual answer takes less than 900.
    #[schemars(range(min = 65_536, max = 1_073_741_824))]
    pub max_bytes: i32,
    /// How long an active answer may be used beyond its time while the token service cannot be asked, e.g. `30s`; never
    /// beyond `exp`. Left out: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub stale_while_unavailable: Option<String>,
}

/// How applications are registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationSpec {
    /// Initial access token (RFC 7591 section 3); left out where registration is open. The Secret must carry the
    /// annotation `portreeve.dev/use: initial-access-token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_access_token_ref: Option<SecretKeyRef>,
    /// What namespaces may register; the first entry that is for a namespace decides. With entries, a namespace that none
    /// is for registers nothing; without, other namespaces choose neither software identifiers nor scopes that no ApiRoute
    /// owns. This object's own namespace is bounded only by an entry that is for it.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub limits: Vec<RegistrationLimit>,
}

/// Which namespaces may refer to an object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("(self.from == 'Selector') == has(self.matchLabels)").message("matchLabels goes with from: Selector, and only with it"))]
#[serde(rename_all = "camelCase")]
pub struct AllowedNamespaces {
    /// Same (default): its own namespace; All: every one; Selector: those with the labels.
    #[serde(default)]
    pub from: NamespacesFrom,
    /// Labels that the namespace must carry, with from: Selector, e.g. `{team: shop}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16))]
    pub match_labels: Option<BTreeMap<String, String>>,
}

/// Which namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum NamespacesFrom {
    /// The object's own.
    #[default]
    Same,
    /// Every one.
    All,
    /// Those with the labels.
    Selector,
}

/// What the operator found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenServiceStatus {
    /// Generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, ResolvedRefs, Ready, Stalled.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// How many signing keys are in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 64))]
    pub keys: Option<i32>,
}

impl Default for CacheSpec {
    fn default() -> Self {
        Self {
            max_ttl: "60s".to_owned(),
            negative_ttl: "5s".to_owned(),
            max_bytes: 32 << 20,
            stale_while_unavailable: None,
        }
    }
}

impl Default for JwtMemberSpec {
    fn default() -> Self {
        Self { name: "jwt".to_owned(), accept: MemberAcceptSpec::Jwt }
    }
}

fn default_introspection_timeout() -> String {
    "2s".to_owned()
}
