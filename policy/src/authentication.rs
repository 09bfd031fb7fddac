//! Who calls: which credentials a rule accepts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::NamespacedName;

/// How a rule establishes its caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Authentication {
    /// Nobody is asked; credentials that come along are not read and not forwarded.
    Anonymous,
    /// The first authenticator that finds its own kind of credential decides. None finds one: refused.
    AnyOf(Vec<Authenticator>),
}

/// One way to authenticate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Authenticator {
    /// Requests without any credential pass as nobody.
    Anonymous,
    /// Bearer tokens that the token service is asked about (RFC 7662).
    Introspection(IntrospectionRule),
    /// Signed bearer tokens (RFC 9068, RFC 7519) whose `iss` is this token service.
    Jwt(JwtRule),
}

/// Rule for signed bearer tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtRule {
    /// The only issuer whose tokens count here.
    pub token_service: NamespacedName,
    /// One of these must stand in `aud`.
    pub audiences: Audiences,
    /// What the upstream gets.
    pub upstream_token: UpstreamToken,
}

/// Rule for tokens that only their issuer can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IntrospectionRule {
    /// The token service to ask.
    pub token_service: NamespacedName,
    /// One of these must stand in `aud` of the answer.
    pub audiences: Audiences,
    /// What the upstream gets.
    pub upstream_token: UpstreamToken,
}

/// What stands in `Authorization` towards the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UpstreamToken {
    /// The JWT of the introspection answer, verified (phantom token).
    Jwt,
    /// No credential at all.
    None,
    /// The caller's own token.
    Original,
}

/// A non-empty set of audiences, compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeSet<String>", into = "BTreeSet<String>")]
pub struct Audiences(BTreeSet<String>);

/// An empty set of audiences would accept tokens made for anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at least one audience, and none of them empty")]
pub struct NoAudience;

// === impl Authenticator ===

impl Authenticator {
    /// The token service that it asks, if any.
    pub fn token_service(&self) -> Option<&NamespacedName> {
        match self {
            Self::Anonymous => None,
            Self::Introspection(rule) => Some(&rule.token_service),
            Self::Jwt(rule) => Some(&rule.token_service),
        }
    }
}

// === impl Audiences ===

impl Audiences {
    /// Whether one of the token's audiences is ours.
    pub fn accept<'a>(&self, mut audiences: impl Iterator<Item = &'a str>) -> bool {
        audiences.any(|audience| self.0.contains(audience))
    }

    /// The audiences in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl TryFrom<BTreeSet<String>> for Audiences {
    type Error = NoAudience;

    fn try_from(set: BTreeSet<String>) -> Result<Self, NoAudience> {
        if set.is_empty() || set.iter().any(String::is_empty) { Err(NoAudience) } else { Ok(Self(set)) }
    }
}

impl From<Audiences> for BTreeSet<String> {
    fn from(audiences: Audiences) -> Self {
        audiences.0
    }
}
