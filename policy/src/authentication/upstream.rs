//! What the upstream gets in place of the caller's credential.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{KeySet, Millis, SecretName};

/// What stands in `Authorization` towards the upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum UpstreamToken {
    /// The JWT of the introspection answer, verified (phantom token).
    Jwt,
    /// The JWT of the introspection answer when there is one, else one that the gateway mints.
    JwtOrMinted(MintRule),
    /// A short-lived JWT that the gateway mints.
    Minted(MintRule),
    /// No credential at all.
    None,
    /// The caller's own credential.
    Original,
}

/// How the gateway mints a JWT. `iat`, `exp` and `jti` are always its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MintRule {
    /// Private key of the route's namespace, PKCS#8 in PEM, for ES256.
    pub signing_key: SecretName,
    /// `kid`
    pub key_id: String,
    /// Public keys of the namespace: this one, the one before it and the next one.
    pub published: KeySet,
    /// `iss`
    pub issuer: String,
    /// `aud`
    pub audience: String,
    /// Longest life of one token; it never outlives the caller's credential.
    pub lifetime: Millis,
    /// Further claims by name.
    pub claims: BTreeMap<String, ClaimSource>,
}

/// Where a claim of a minted token comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ClaimSource {
    /// The caller's claim of this name; left out where the caller has none (H3).
    Claim(String),
    /// This text.
    Text(String),
}

impl UpstreamToken {
    /// The rule by which a token may have to be minted.
    pub fn mint(&self) -> Option<&MintRule> {
        match self {
            Self::JwtOrMinted(rule) | Self::Minted(rule) => Some(rule),
            Self::Jwt | Self::None | Self::Original => None,
        }
    }
}
