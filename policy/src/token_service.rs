//! A token service as the proxy sees it: keys to verify with, and perhaps an endpoint to ask.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::{AddressRange, KeySet, Millis, SecretName};

/// One authorization server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenService {
    /// Compared byte for byte with `iss` (RFC 8725 section 3.8).
    pub issuer: String,
    /// Claim and introspection member that holds a token's scopes; `scope` (RFC 9068 section 2.2.3) unless said otherwise.
    #[serde(default = "scope_claim")]
    pub scope_claim: String,
    /// Public keys, fetched by the operator.
    pub keys: Keys,
    /// How opaque tokens are looked up.
    pub introspection: Introspection,
    /// How tokens of partners are exchanged.
    pub exchange: TokenExchange,
}

fn scope_claim() -> String {
    "scope".to_owned()
}

/// The key set, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Keys {
    /// The keys as last fetched.
    Known(KeySet),
    /// Never fetched so far; tokens that need a key are refused with 503.
    Unavailable,
}

/// How the proxy asks about opaque tokens (RFC 7662).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Introspection {
    /// Not offered; no rule of this snapshot asks for it.
    Disabled,
    /// Offered, but something is missing (endpoint not discovered, credentials not issued yet): 503.
    Unavailable,
    /// Ready to be asked.
    Enabled {
        /// Where and as whom to ask.
        access: Box<EndpointAccess>,
        /// What the answer looks like.
        dialect: Dialect,
        /// Bounds of what is remembered.
        cache: TokenCacheLimits,
    },
}

/// How the proxy exchanges tokens of partners (RFC 8693, RFC 7523).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum TokenExchange {
    /// No rule of this snapshot asks for it.
    Disabled,
    /// Something is missing (endpoint not discovered, credentials not issued yet): 503.
    Unavailable,
    /// Ready to be asked, at the token endpoint.
    Enabled(Box<EndpointAccess>),
}

/// An endpoint of a token service, and how the gateway calls it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointAccess {
    /// The endpoint, an absolute http or https URL.
    pub endpoint: String,
    /// How the proxy authenticates there.
    pub client: ClientAuthentication,
    /// Extra certificate authorities in PEM; empty means the system's.
    pub ca_certificates: String,
    /// Which addresses the endpoint's name may resolve to.
    pub addresses: AddressRange,
    /// For connecting, asking and reading the answer together.
    pub timeout: Millis,
}

/// Form of the introspection answer; decided by configuration, checked by content type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Dialect {
    /// Plain JSON (RFC 7662 section 2.2).
    Json,
    /// The body is the JWT itself; 204 says inactive.
    JwtBody,
    /// JSON with one more member that holds the JWT.
    JwtMember {
        /// Name of the member.
        member: String,
        /// What is asked for.
        accept: MemberAccept,
    },
    /// A signed envelope around plain JSON (RFC 9701). It is no access token and never goes upstream.
    SignedEnvelope,
}

/// `Accept` of a question whose answer is JSON with a JWT in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MemberAccept {
    /// `application/json`
    Json,
    /// `application/jwt`, as Keycloak wants it.
    Jwt,
}

/// How the gateway itself authenticates at the token service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientAuthentication {
    /// OAuth client identifier; not a secret.
    pub client_id: String,
    /// Names the secret resource of this snapshot: client secret, private key or certificate with key.
    pub secret: SecretName,
    /// What is done with it.
    pub method: ClientAuthenticationMethod,
}

/// OpenID Connect Core section 9, RFC 6749 section 2.3.1, RFC 8705 section 2.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum ClientAuthenticationMethod {
    /// In the Authorization header, both parts form-encoded first.
    ClientSecretBasic,
    /// In the form body.
    ClientSecretPost,
    /// An assertion signed with ES256 or EdDSA; the secret is the private key, PKCS#8 in PEM (RFC 7523 section 2.2).
    PrivateKeyJwt {
        /// `kid` of the assertion; empty for none.
        key_id: String,
        /// `aud` of the assertion: the issuer.
        audience: String,
    },
    /// By the TLS connection; the secret is certificate chain and private key in PEM.
    TlsClientAuth,
}

/// Bounds of the token cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenCacheLimits {
    /// Longest time that an active answer is used: the bound within which a revocation takes effect.
    pub max_ttl: Millis,
    /// Longest time that an inactive answer is used.
    pub negative_ttl: Millis,
    /// Most bytes that active answers take.
    pub max_bytes: NonZeroU32,
    /// Whether an active answer may be used beyond its time while the token service cannot be asked.
    pub stale: StaleAnswers,
}

/// Use of answers beyond their time. Never beyond `exp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum StaleAnswers {
    /// For this long after they ran out, and only while the token service is down; the decision record says so.
    For(Millis),
    /// Never.
    Never,
}
