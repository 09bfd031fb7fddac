//! What a refusal tells the client about how to be let in (RFC 9110 section 11.6.1): every scheme that the rule takes,
//! one line each.

use std::collections::BTreeSet;

use portreeve_policy::{
    ApiKeyLocation, Authorization, BindingMethod, Condition, Credential, DigestAlgorithm, Guard, ProofRule, Scope,
    ScopeRule,
};

use crate::{
    authn::{CredentialMemory, NonceUse},
    clock::UnixMillis,
};

/// The schemes of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Challenge {
    /// Scopes that would help, in order.
    pub scopes: Vec<Scope>,
    /// Schemes in the order of the policy.
    pub schemes: Vec<ChallengeScheme>,
    /// Where the rule's metadata can be read (RFC 9728 section 5.1).
    pub resource_metadata: Option<Box<str>>,
}

/// One scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChallengeScheme {
    /// A key of ours; not a registered scheme, but every 401 has one.
    ApiKey(ApiKeyLocation),
    /// RFC 7617.
    Basic {
        /// `realm`
        realm: Box<str>,
    },
    /// RFC 6750.
    Bearer,
    /// A certificate in the TLS handshake; not a registered scheme.
    ClientCertificate,
    /// RFC 7616, one line for each algorithm, the best first.
    Digest {
        /// `realm`
        realm: Box<str>,
        /// What is offered.
        algorithms: BTreeSet<DigestAlgorithm>,
    },
    /// RFC 9449.
    Dpop,
}

/// What the failed credential adds to the challenge of its own scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChallengeError {
    /// None was shown: no error code (RFC 6750 section 3.1).
    None,
    /// `error` of Bearer and DPoP.
    Token(&'static str),
    /// `stale=true` of Digest.
    StaleNonce,
    /// The credential was of a scheme without error codes.
    Other,
}

/// Algorithms of DPoP proofs that are taken.
pub(super) const DPOP_ALGORITHMS: &str = "ES256 ES384 EdDSA PS256 PS384 PS512 RS256 RS384 RS512";

impl Challenge {
    /// The challenge of a rule.
    pub fn of(guard: &Guard, resource_metadata: Option<Box<str>>) -> Self {
        let Guard { authentication, authorization, limits: _ } = guard;
        let scopes = scopes_of(authorization).cloned().collect();
        let mut schemes = Vec::new();
        for scheme in authentication.credentials().flat_map(schemes_of) {
            if !schemes.contains(&scheme) {
                schemes.push(scheme);
            }
        }
        Self { scopes, schemes, resource_metadata }
    }

    /// The `scope` parameter.
    pub fn scope_text(&self) -> String {
        self.scopes.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ")
    }

    /// Values of WWW-Authenticate. A rule that takes no scheme at all answers as one for bearer tokens.
    pub(super) fn lines(&self, error: ChallengeError, memory: &CredentialMemory, now: UnixMillis) -> Vec<String> {
        let bearer = [ChallengeScheme::Bearer];
        let schemes = if self.schemes.is_empty() { &bearer } else { self.schemes.as_slice() };
        let mut lines = Vec::new();
        for scheme in schemes {
            match scheme {
                ChallengeScheme::Bearer => lines.push(self.token_line("Bearer", error)),
                ChallengeScheme::Dpop => {
                    lines.push(format!("{}, algs=\"{DPOP_ALGORITHMS}\"", self.token_line("DPoP", error)));
                }
                ChallengeScheme::Basic { realm } => lines.push(format!("Basic realm=\"{realm}\", charset=\"UTF-8\"")),
                ChallengeScheme::Digest { realm, algorithms } => {
                    let stale = if error == ChallengeError::StaleNonce { ", stale=true" } else { "" };
                    for algorithm in algorithms {
                        let nonce = memory.nonce(NonceUse::Digest, now);
                        let name = algorithm.as_str();
                        lines.push(format!(
                            "Digest realm=\"{realm}\", qop=\"auth\", algorithm={name}, nonce=\"{nonce}\", charset=UTF-8{stale}"
                        ));
                    }
                }
                ChallengeScheme::ApiKey(location) => {
                    let (place, name) = match location {
                        ApiKeyLocation::Cookie(name) => ("cookie", name),
                        ApiKeyLocation::Header(name) => ("header", name),
                        ApiKeyLocation::Query(name) => ("query", name),
                    };
                    lines.push(format!("ApiKey realm=\"portreeve\", in=\"{place}\", name=\"{name}\""));
                }
                ChallengeScheme::ClientCertificate => lines.push("ClientCertificate realm=\"portreeve\"".to_owned()),
            }
        }
        lines
    }

    /// RFC 6750 section 3: each parameter at most once. Scope tokens hold neither quote nor backslash.
    fn token_line(&self, scheme: &str, error: ChallengeError) -> String {
        let mut text = format!("{scheme} realm=\"portreeve\"");
        // `invalid_dpop_proof` and `use_dpop_nonce` are words of DPoP only.
        match error {
            ChallengeError::Token(code) if scheme == "DPoP" || !code.contains("dpop") => {
                text.push_str(&format!(", error=\"{code}\""));
            }
            ChallengeError::Token(_) | ChallengeError::None | ChallengeError::StaleNonce | ChallengeError::Other => {}
        }
        if !self.scopes.is_empty() {
            text.push_str(&format!(", scope=\"{}\"", self.scope_text()));
        }
        if let Some(address) = &self.resource_metadata {
            text.push_str(&format!(", resource_metadata=\"{address}\""));
        }
        text
    }
}

/// Scopes that would help.
pub(super) fn scopes_of(authorization: &Authorization) -> impl Iterator<Item = &Scope> {
    let rules = authorization.conditions().iter().filter_map(|condition| match condition {
        Condition::Scopes(rule) => Some(rule),
        Condition::Addresses(_)
        | Condition::Cedar(_)
        | Condition::Claims(_)
        | Condition::External(_)
        | Condition::Hours(_)
        | Condition::Request(_) => None,
    });
    rules.flat_map(ScopeRule::named)
}

fn schemes_of(credential: &Credential) -> Vec<ChallengeScheme> {
    match credential {
        Credential::ApiKey(rule) => vec![ChallengeScheme::ApiKey(rule.location.clone())],
        Credential::Basic(rule) => vec![ChallengeScheme::Basic { realm: rule.realm.as_str().into() }],
        Credential::ClientCertificate(_) => vec![ChallengeScheme::ClientCertificate],
        Credential::Digest(rule) => {
            let algorithms = rule.algorithms.clone();
            vec![ChallengeScheme::Digest { realm: rule.realm.as_str().into(), algorithms }]
        }
        Credential::Exchange(_) => vec![ChallengeScheme::Bearer],
        Credential::Introspection(rule) => token_schemes(&rule.proof),
        Credential::Jwt(rule) => token_schemes(&rule.proof),
    }
}

/// A rule that demands DPoP does not offer Bearer; one that leaves the choice offers both.
fn token_schemes(proof: &ProofRule) -> Vec<ChallengeScheme> {
    let only_dpop = proof.required.iter().eq([&BindingMethod::Dpop]);
    let offers_dpop = proof.required.contains(&BindingMethod::Dpop) || proof.dpop_nonce;
    match (only_dpop, offers_dpop) {
        (true, _) => vec![ChallengeScheme::Dpop],
        (false, true) => vec![ChallengeScheme::Bearer, ChallengeScheme::Dpop],
        (false, false) => vec![ChallengeScheme::Bearer],
    }
}
