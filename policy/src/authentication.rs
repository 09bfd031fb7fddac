//! Who calls: which credentials a rule accepts.
//!
//! An alternative is a list of credentials that must all be proven; the first of them names the caller. The first
//! alternative all of whose credentials are there decides, and its refusal is final.

mod api_key;
mod certificate;
mod password;
mod token;
mod token_age;
mod upstream;

use serde::{Deserialize, Serialize};

pub use api_key::{ApiKeyEntry, ApiKeyLocation, ApiKeyRule, ApiKeySource, InvalidApiKeys, parse_api_keys};
pub use certificate::{CertificateName, ClientCertificateRule, InvalidCertificateName};
pub use password::{
    BasicRule, DigestAlgorithm, DigestEntry, DigestRule, InvalidUsers, PasswordEntry, parse_htdigest, parse_htpasswd,
};
pub use token::{
    Audiences, BindingMethod, ExchangeGrant, ExchangeRule, ExchangeSubject, IntrospectionRule, JwtRule, JwtType,
    NoAudience, ProofRule,
};
pub use token_age::MaxTokenAge;
pub use upstream::{ClaimSource, MintRule, UpstreamToken};

use crate::{NamespacedName, SecretName};

/// How a rule establishes its caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Authentication {
    /// Nobody is asked; credentials that come along are not read and not forwarded.
    Anonymous,
    /// The first alternative whose credentials are all there decides. None is: refused.
    AnyOf(Vec<Authenticator>),
}

/// One way to authenticate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Authenticator {
    /// Every one of these must be proven; the first names the caller. Never empty.
    AllOf(Vec<Credential>),
    /// Requests without any credential pass as nobody.
    Anonymous,
}

/// One kind of proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Credential {
    /// A key that names its consumer.
    ApiKey(ApiKeyRule),
    /// User and password (RFC 7617).
    Basic(BasicRule),
    /// A certificate shown in the TLS handshake.
    ClientCertificate(ClientCertificateRule),
    /// User and a digest of the password (RFC 7616).
    Digest(DigestRule),
    /// A token of a partner's domain, exchanged at the own token service.
    Exchange(ExchangeRule),
    /// Bearer tokens that the token service is asked about (RFC 7662).
    Introspection(IntrospectionRule),
    /// Signed bearer tokens (RFC 9068, RFC 7519) whose `iss` is this token service.
    Jwt(JwtRule),
}

// === impl Authentication ===

impl Authentication {
    /// Every credential of every alternative.
    pub fn credentials(&self) -> impl Iterator<Item = &Credential> {
        let list = match self {
            Self::Anonymous => &[][..],
            Self::AnyOf(list) => list.as_slice(),
        };
        list.iter().flat_map(|one| match one {
            Authenticator::AllOf(all) => all.as_slice(),
            Authenticator::Anonymous => &[],
        })
    }

    /// Header fields in which credentials of the rule's own choice stand.
    pub fn watched_fields(&self) -> impl Iterator<Item = &str> {
        self.credentials().filter_map(|credential| match credential {
            Credential::ApiKey(ApiKeyRule { location: ApiKeyLocation::Header(name), .. }) => Some(name.as_str()),
            Credential::ApiKey(_)
            | Credential::Basic(_)
            | Credential::ClientCertificate(_)
            | Credential::Digest(_)
            | Credential::Exchange(_)
            | Credential::Introspection(_)
            | Credential::Jwt(_) => None,
        })
    }

    /// The token services that are asked or whose keys count.
    pub fn token_services(&self) -> impl Iterator<Item = &NamespacedName> {
        self.credentials().flat_map(Credential::token_services)
    }

    /// The secrets that are needed to check credentials or to mint tokens.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretName> {
        self.credentials().flat_map(Credential::secrets)
    }
}

// === impl Credential ===

impl Credential {
    /// The token services that it asks or whose keys it uses.
    pub fn token_services(&self) -> impl Iterator<Item = &NamespacedName> {
        let (first, second) = match self {
            Self::Introspection(rule) => (Some(&rule.token_service), None),
            Self::Jwt(rule) => (Some(&rule.token_service), None),
            Self::Exchange(rule) => (Some(&rule.token_service), rule.subject.partner()),
            Self::ApiKey(_) | Self::Basic(_) | Self::ClientCertificate(_) | Self::Digest(_) => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// What the upstream gets for it.
    pub fn upstream_token(&self) -> &UpstreamToken {
        match self {
            Self::ApiKey(rule) => &rule.upstream_token,
            Self::Basic(rule) => &rule.upstream_token,
            Self::ClientCertificate(rule) => &rule.upstream_token,
            Self::Digest(rule) => &rule.upstream_token,
            Self::Exchange(rule) => &rule.upstream_token,
            Self::Introspection(rule) => &rule.upstream_token,
            Self::Jwt(rule) => &rule.upstream_token,
        }
    }

    fn secrets(&self) -> impl Iterator<Item = &SecretName> {
        let own: &[SecretName] = match self {
            Self::ApiKey(ApiKeyRule { source: ApiKeySource::Digests(secrets), .. }) => secrets,
            Self::Basic(rule) => std::slice::from_ref(&rule.users),
            Self::Digest(rule) => std::slice::from_ref(&rule.users),
            Self::ApiKey(_)
            | Self::ClientCertificate(_)
            | Self::Exchange(_)
            | Self::Introspection(_)
            | Self::Jwt(_) => &[],
        };
        own.iter().chain(self.upstream_token().mint().map(|rule| &rule.signing_key))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_rule_needs_is_known_of_every_kind_of_credential_in_every_alternative() {
        let proof = json!({"required": [], "dpopNonce": false});
        let mint = json!({"minted": {
            "signingKey": "d/key#signing", "keyId": "k", "published": [], "issuer": "me", "audience": "a", "lifetime": 1000, "claims": {},
        }});
        let authentication: Authentication = serde_json::from_value(json!({"anyOf": [
            "anonymous",
            {"allOf": [
                {"jwt": {"tokenService": "d/signed", "audiences": ["a"], "tokenType": "accessToken", "proof": proof, "upstreamToken": "none"}},
                {"apiKey": {"source": {"digests": ["d/one#keys", "d/two#keys"]}, "location": {"header": "x-api-key"}, "upstreamToken": "none"}},
            ]},
            {"allOf": [{"introspection": {"tokenService": "d/asked", "audiences": ["a"], "proof": proof, "upstreamToken": "none"}}]},
            {"allOf": [{"basic": {"realm": "r", "users": "d/basic#users", "upstreamToken": mint}}]},
            {"allOf": [{"digest": {"realm": "r", "users": "d/digest#users", "algorithms": ["Sha256"], "upstreamToken": "none"}}]},
            {"allOf": [{"apiKey": {"source": {"digests": ["d/three#keys"]}, "location": {"query": "key"}, "upstreamToken": "none"}}]},
        ]}))
        .unwrap();
        let texts = |names: &mut dyn Iterator<Item = String>| names.collect::<Vec<_>>();
        assert_eq!(authentication.credentials().count(), 6);
        assert_eq!(authentication.watched_fields().collect::<Vec<_>>(), ["x-api-key"]);
        assert_eq!(texts(&mut authentication.token_services().map(ToString::to_string)), ["d/signed", "d/asked"]);
        assert_eq!(
            texts(&mut authentication.secrets().map(ToString::to_string)),
            ["d/one#keys", "d/two#keys", "d/basic#users", "d/key#signing", "d/digest#users", "d/three#keys"]
        );
        assert_eq!(Authentication::Anonymous.credentials().count(), 0);
    }
}
