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
    /// Public keys, fetched by the operator.
    pub keys: Keys,
    /// How opaque tokens are looked up.
    pub introspection: Introspection,
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
        /// The endpoint, an absolute http or https URL.
        endpoint: String,
        /// What the answer looks like.
        dialect: Dialect,
        /// How the proxy authenticates there.
        client: ClientAuthentication,
        /// Extra certificate authorities in PEM; empty means the system's.
        ca_certificates: String,
        /// Which addresses the endpoint's name may resolve to.
        addresses: AddressRange,
        /// For connecting, asking and reading the answer together.
        timeout: Millis,
        /// Bounds of what is remembered.
        cache: TokenCacheLimits,
    },
}

/// Form of the introspection answer; decided by configuration, checked by content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Dialect {
    /// Plain JSON (RFC 7662 section 2.2).
    Json,
    /// The body is the JWT itself; 204 says inactive.
    JwtBody,
}

/// How the gateway itself authenticates at the token service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientAuthentication {
    /// OAuth client identifier; not a secret.
    pub client_id: String,
    /// Names the secret resource of this snapshot.
    pub client_secret: SecretName,
    /// Where the secret goes.
    pub method: ClientAuthenticationMethod,
}

/// RFC 6749 section 2.3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ClientAuthenticationMethod {
    /// In the Authorization header, both parts form-encoded first.
    ClientSecretBasic,
    /// In the form body.
    ClientSecretPost,
}

/// Bounds of the token cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenCacheLimits {
    /// Longest time that an active answer is used: the bound within which a revocation takes effect.
    pub max_ttl: Millis,
    /// Longest time that an inactive answer is used.
    pub negative_ttl: Millis,
    /// Most active answers held.
    pub max_entries: NonZeroU32,
}
