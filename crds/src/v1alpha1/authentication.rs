//! The part of ApiPolicy that says who calls.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ExchangeSpec, MintSpec};
use crate::{CaBundleRef, LocalRef, SecretKeyRef, TokenServiceRef};

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.anonymous) != has(self.anyOf)").message("exactly one of anonymous and anyOf"))]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationSpec {
    /// Nobody is asked: this is how one says "open". Written `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<AnonymousSpec>,
    /// The first entry whose credentials are all there decides; when none is, the request is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub any_of: Option<Vec<AuthenticatorSpec>>,
}

/// Takes no settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AnonymousSpec {}

/// One way to authenticate: one credential, or several together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.allOf), has(self.anonymous), has(self.apiKey), has(self.basic), has(self.clientCertificate), has(self.digest), has(self.exchange), has(self.introspection), has(self.jwt)].filter(x, x).size() == 1").message("exactly one of allOf, anonymous, apiKey, basic, clientCertificate, digest, exchange, introspection and jwt"))]
#[serde(rename_all = "camelCase")]
pub struct AuthenticatorSpec {
    /// Every one of these must be proven; the first names the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 4))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub all_of: Option<Vec<CredentialSpec>>,
    /// Requests without any credential pass as nobody. Written `{}`, as the last entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<AnonymousSpec>,
    /// A key that names its consumer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKeySpec>,
    /// User and password (RFC 7617).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicSpec>,
    /// A certificate shown in the TLS handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificateSpec>,
    /// User and a digest of the password (RFC 7616).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<DigestSpec>,
    /// A token of a partner's domain, exchanged at the own token service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<ExchangeSpec>,
    /// Bearer tokens that the token service is asked about (RFC 7662).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection: Option<IntrospectionRuleSpec>,
    /// Signed bearer tokens (RFC 9068).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtRuleSpec>,
}

/// One credential of several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.apiKey), has(self.basic), has(self.clientCertificate), has(self.digest), has(self.exchange), has(self.introspection), has(self.jwt)].filter(x, x).size() == 1").message("exactly one of apiKey, basic, clientCertificate, digest, exchange, introspection and jwt"))]
#[serde(rename_all = "camelCase")]
pub struct CredentialSpec {
    /// A key that names its consumer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKeySpec>,
    /// User and password (RFC 7617).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicSpec>,
    /// A certificate shown in the TLS handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificateSpec>,
    /// User and a digest of the password (RFC 7616).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<DigestSpec>,
    /// A token of a partner's domain, exchanged at the own token service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<ExchangeSpec>,
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
    /// Which `typ` the token has: AccessToken (default; at+jwt, RFC 9068) or Any (also JWT or none).
    #[serde(default)]
    pub token_type: JwtTypeSpec,
    /// Longest life of a token, `exp` less `iat`, e.g. `30m`, whatever the issuer says. A token without `exp` or `iat` is
    /// refused then. Any (default) when it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub max_token_age: Option<String>,
    /// Whether the sender proves possession of a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_constraint: Option<SenderConstraintSpec>,
    /// What the application gets: Original (default), Minted or None.
    #[serde(default)]
    pub upstream_token: UpstreamTokenSpec,
    /// How a token for the application is minted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mint: Option<MintSpec>,
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
    /// Longest life of a token, `exp` less `iat`, e.g. `30m`, whatever the issuer says. A token without `exp` or `iat` is
    /// refused then. Any (default) when it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub max_token_age: Option<String>,
    /// Whether the sender proves possession of a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_constraint: Option<SenderConstraintSpec>,
    /// What the application gets: Jwt (the JWT of the answer: phantom token; with mint, a minted one where the answer
    /// has none), Minted, Original (default) or None.
    #[serde(default)]
    pub upstream_token: UpstreamTokenSpec,
    /// How a token for the application is minted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mint: Option<MintSpec>,
}

/// Which `typ` a token has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum JwtTypeSpec {
    /// `at+jwt` (RFC 9068).
    #[default]
    AccessToken,
    /// Also `JWT` or none, for token services that are older than RFC 9068.
    Any,
}

/// Proof of possession. A token that is bound to a key always needs its proof.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SenderConstraintSpec {
    /// The token must be bound in one of these ways: Certificate (RFC 8705), DPoP (RFC 9449). Left out: unbound tokens
    /// pass too.
    #[serde(default)]
    #[schemars(length(max = 2))]
    pub required: Vec<BindingMethodSpec>,
    /// Whether DPoP proofs must carry a nonce that the gateway gave, e.g. `true`.
    #[serde(default)]
    pub dpop_nonce: bool,
}

/// How a token is bound to its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BindingMethodSpec {
    /// To the certificate of the TLS connection.
    Certificate,
    /// To a key that signs each request.
    #[serde(rename = "DPoP")]
    Dpop,
}

/// What stands in `Authorization` towards the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum UpstreamTokenSpec {
    /// The JWT of the introspection answer.
    Jwt,
    /// A short-lived JWT that the gateway mints, as `mint` says.
    Minted,
    /// Nothing.
    None,
    /// The caller's own token.
    #[default]
    Original,
}

/// What the application gets for a credential that is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum UpstreamIdentitySpec {
    /// A short-lived JWT that the gateway mints, as `mint` says.
    Minted,
    /// Nothing.
    #[default]
    None,
}

/// API keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.secretRefs) != has(self.signed)").message("exactly one of secretRefs and signed"))]
#[serde(rename_all = "camelCase")]
pub struct ApiKeySpec {
    /// Where the request carries the key: Header (default), Query or Cookie. It is removed before the application.
    #[serde(default, rename = "in")]
    pub place: ApiKeyPlace,
    /// Name of the header, query parameter or cookie, e.g. `X-API-Key` (default).
    #[serde(default = "default_key_name")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[-_.a-zA-Z0-9]+$"))]
    pub name: String,
    /// Secrets of this namespace with digests of keys under `keys`, as `portreeve api-key` writes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub secret_refs: Option<Vec<LocalRef>>,
    /// Self-contained keys, as `portreeve api-key --sign` makes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedKeySpec>,
    /// What the application gets: None (default) or Minted.
    #[serde(default)]
    pub upstream_token: UpstreamIdentitySpec,
    /// How a token for the application is minted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mint: Option<MintSpec>,
}

/// Self-contained API keys: a JWT of type `key+jwt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignedKeySpec {
    /// ConfigMap or Secret of this namespace with the JWK Set of those who may sign.
    pub key_set_ref: CaBundleRef,
    /// `aud` of the key, e.g. `orders`.
    #[schemars(length(min = 1, max = 512))]
    pub audience: String,
}

/// Where a request carries its API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ApiKeyPlace {
    /// In a cookie.
    Cookie,
    /// In a header.
    #[default]
    Header,
    /// In a query parameter. Logs along the way then hold the key.
    Query,
}

/// User and password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasicSpec {
    /// Shown to the client, e.g. `orders`.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[ !#-\[\]-~]+$"))]
    pub realm: String,
    /// Lines `user:hash`, argon2id or bcrypt (htpasswd -B), e.g. `{name: team, key: htpasswd}`.
    pub users_ref: SecretKeyRef,
    /// What the application gets: None (default) or Minted.
    #[serde(default)]
    pub upstream_token: UpstreamIdentitySpec,
    /// How a token for the application is minted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mint: Option<MintSpec>,
}

/// User and digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DigestSpec {
    /// Part of what is hashed, e.g. `orders`.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[ !#-\[\]-~]+$"))]
    pub realm: String,
    /// Lines `user:realm:hash`, SHA-256 of `user:realm:password` in hexadecimal, e.g. `{name: team, key: htdigest}`.
    pub users_ref: SecretKeyRef,
    /// SHA-256 (default); MD5 for old clients only.
    #[serde(default = "default_algorithms")]
    #[schemars(length(min = 1, max = 2))]
    pub algorithms: Vec<DigestAlgorithmSpec>,
    /// What the application gets: None (default) or Minted.
    #[serde(default)]
    pub upstream_token: UpstreamIdentitySpec,
    /// How a token for the application is minted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mint: Option<MintSpec>,
}

/// Hash of HTTP Digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DigestAlgorithmSpec {
    /// Broken; for old clients only.
    #[serde(rename = "MD5")]
    Md5,
    /// SHA-256.
    #[serde(rename = "SHA-256")]
    Sha256,
}

/// Certificates shown in the TLS handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificateSpec {
    /// Authorities that may have issued the certificate.
    pub ca_ref: CaBundleRef,
    /// Revocation lists in PEM; revocation is not checked when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl_ref: Option<CaBundleRef>,
    /// One of these must be in the certificate; any certificate of the authorities counts when left out.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub names: Vec<CertificateNameSpec>,
    /// Whether the application gets the certificate in `Client-Cert` (RFC 9440), e.g. `true`.
    #[serde(default)]
    pub forward: bool,
    /// What the application gets: None (default) or Minted.
    #[serde(default)]
    pub upstream_token: UpstreamIdentitySpec,
    /// How a token for the application is minted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mint: Option<MintSpec>,
}

/// A name in a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateNameSpec {
    /// What is compared: Dns, Email, SpiffeTrustDomain, Subject (RFC 4514), Thumbprint (SHA-256) or Uri.
    #[serde(rename = "type")]
    pub kind: CertificateNameType,
    /// With what, e.g. `spiffe://example.org/shop`.
    #[schemars(length(min = 1, max = 512))]
    pub value: String,
}

/// Kinds of name in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the names say it")]
pub enum CertificateNameType {
    Dns,
    Email,
    SpiffeTrustDomain,
    Subject,
    Thumbprint,
    Uri,
}

impl From<AuthenticatorSpec> for CredentialSpec {
    /// The single credential of an entry.
    fn from(spec: AuthenticatorSpec) -> Self {
        let AuthenticatorSpec {
            all_of: _,
            anonymous: _,
            api_key,
            basic,
            client_certificate,
            digest,
            exchange,
            introspection,
            jwt,
        } = spec;
        Self { api_key, basic, client_certificate, digest, exchange, introspection, jwt }
    }
}

fn default_key_name() -> String {
    "X-API-Key".to_owned()
}

fn default_algorithms() -> Vec<DigestAlgorithmSpec> {
    vec![DigestAlgorithmSpec::Sha256]
}
