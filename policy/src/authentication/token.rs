//! Tokens of a token service.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{MaxTokenAge, UpstreamToken};
use crate::NamespacedName;

/// Rule for signed bearer tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtRule {
    /// The only issuer whose tokens count here.
    pub token_service: NamespacedName,
    /// One of these must stand in `aud`.
    pub audiences: Audiences,
    /// Which `typ` the token may have.
    pub token_type: JwtType,
    /// How long a token may live.
    #[serde(default, skip_serializing_if = "MaxTokenAge::is_unlimited")]
    pub max_token_age: MaxTokenAge,
    /// Whether the sender has to prove possession of a key.
    pub proof: ProofRule,
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
    /// How long a token may live.
    #[serde(default, skip_serializing_if = "MaxTokenAge::is_unlimited")]
    pub max_token_age: MaxTokenAge,
    /// Whether the sender has to prove possession of a key.
    pub proof: ProofRule,
    /// What the upstream gets.
    pub upstream_token: UpstreamToken,
}

/// Rule for tokens of a partner's domain. They count only once the own token service has given a token for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExchangeRule {
    /// What is brought.
    pub subject: ExchangeSubject,
    /// Who exchanges it.
    pub token_service: NamespacedName,
    /// `audience` of the exchange, and what must stand in `aud` of its result.
    pub audience: String,
    /// `scope` of the exchange, separated by blanks; empty leaves it to the token service.
    pub scope: String,
    /// What the upstream gets: `Original` is the token that the exchange gave.
    pub upstream_token: UpstreamToken,
}

/// What a partner's users bring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum ExchangeSubject {
    /// A signed token, verified with the partner's keys before anything is asked.
    Jwt {
        /// Whose tokens.
        partner: NamespacedName,
        /// One of these must stand in `aud`.
        audiences: Audiences,
        /// Which `typ` it may have.
        token_type: JwtType,
        /// How it is exchanged.
        grant: ExchangeGrant,
    },
    /// A SAML 2.0 bearer assertion, exchanged by RFC 7522. The token service has the partner's certificate and checks
    /// the signature; what is not of this form, issuer, audience and time never gets there.
    Saml {
        /// Entity identifier that must stand in `Issuer`.
        issuer: String,
        /// One of these must stand in each `AudienceRestriction`.
        audiences: Audiences,
    },
}

impl ExchangeSubject {
    /// The partner's token service, where its keys are used here.
    pub fn partner(&self) -> Option<&NamespacedName> {
        match self {
            Self::Jwt { partner, .. } => Some(partner),
            Self::Saml { .. } => None,
        }
    }
}

/// How a partner's token becomes one of the own token service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ExchangeGrant {
    /// The token is an assertion (RFC 7523 section 2.1).
    JwtBearer,
    /// The token is a subject token (RFC 8693 section 2.1).
    TokenExchange,
}

/// Which `typ` a signed token may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JwtType {
    /// `at+jwt` and nothing else (RFC 9068 section 4).
    AccessToken,
    /// Also `JWT` or none, for token services that are older than RFC 9068. Tokens with claims that only ID tokens and
    /// logout tokens have are refused (RFC 8725 section 3.12).
    Any,
}

/// Proof of possession (RFC 8705, RFC 9449). A token that is bound to a key always needs the proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProofRule {
    /// The token must be bound in one of these ways. Empty: unbound tokens pass too.
    pub required: BTreeSet<BindingMethod>,
    /// Whether DPoP proofs must carry a nonce that the gateway gave (RFC 9449 section 9).
    pub dpop_nonce: bool,
}

/// How a token is bound to its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BindingMethod {
    /// To the certificate of the TLS connection (`cnf` member `x5t#S256`, RFC 8705 section 3).
    Certificate,
    /// To a key that signs each request (`cnf` member `jkt`, RFC 9449 section 6).
    Dpop,
}

/// A non-empty set of audiences, compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeSet<String>", into = "BTreeSet<String>")]
pub struct Audiences(BTreeSet<String>);

/// An empty set of audiences would accept tokens made for anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at least one audience, and none of them empty")]
pub struct NoAudience;

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
