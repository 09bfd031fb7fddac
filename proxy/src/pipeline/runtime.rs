//! A snapshot made ready to run. One immutable value for each request; replaced as a whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arc_swap::ArcSwap;
use portreeve_policy::{Access, BindingMethod, Credential, NamespacedName, Route, Rule};
use prometheus::IntCounter;

use super::{metrics::RuleMetrics, preflight::PreflightPolicy, protected_resource::ProtectedResources, router::Router};
use crate::{
    authn::{Authenticators, CarriedState, TokenServiceClient},
    authz::Authorizer,
    bounded_cache::Held,
    pipeline::Challenge,
};

/// The runtime that is in force, shared by all workers.
pub type SharedRuntime = Arc<ArcSwap<Runtime>>;

/// Everything that a request needs to be decided.
pub struct Runtime {
    pub(super) revision: u64,
    pub(super) ready: bool,
    pub(super) router: Router<Target>,
    pub(super) rules: Vec<RuleRuntime>,
    pub(super) routes: BTreeMap<NamespacedName, Arc<Route>>,
    pub(super) authorities: BTreeMap<NamespacedName, Arc<TokenServiceClient>>,
    pub(super) kept: CarriedState,
    /// The same for policies on trial: what is in force shares nothing with them.
    pub(super) kept_on_trial: CarriedState,
    pub(super) resources: ProtectedResources,
    pub(super) wants_certificates: bool,
    /// Header fields that any rule looks at, in force or on trial.
    pub(super) watched: BTreeSet<String>,
}

/// Position of a rule, and of the match within it.
pub(super) type Target = (usize, usize);

/// One rule, ready.
pub(super) struct RuleRuntime {
    pub(super) name: NamespacedName,
    pub(super) label: String,
    pub(super) route: Arc<Route>,
    pub(super) index: usize,
    pub(super) challenge: Challenge,
    pub(super) gate: RuleAuthenticator,
    /// Its conditions; `Err` when they cannot be made ready, and everything is refused.
    pub(super) authorizer: Result<Authorizer, String>,
    pub(super) metrics: RuleMetrics,
    /// What becomes of CORS preflights.
    pub(super) preflight: PreflightPolicy,
    pub(super) shadows: Vec<ShadowRuntime>,
}

/// A policy on trial, ready.
pub(super) struct ShadowRuntime {
    /// `namespace/name`
    pub(super) policy: String,
    pub(super) access: Access,
    pub(super) challenge: Challenge,
    pub(super) gate: RuleAuthenticator,
    pub(super) authorizer: Result<Authorizer, String>,
    pub(super) would_permit: IntCounter,
    pub(super) would_deny: IntCounter,
    /// Out of time, or too many at once.
    pub(super) undecided: IntCounter,
}

/// How a rule establishes its caller.
#[derive(Clone)]
pub(super) enum RuleAuthenticator {
    /// Nobody is asked.
    Anonymous,
    /// One of these is asked for.
    Authenticators(Arc<Authenticators>),
    /// Nobody passes: the policy can be read, but not be run.
    Broken(String),
}

impl Runtime {
    /// What runs before there is a snapshot: every request is refused.
    pub fn refusing() -> Self {
        Self {
            revision: 0,
            ready: false,
            router: Router::default(),
            rules: Vec::new(),
            routes: BTreeMap::new(),
            authorities: BTreeMap::new(),
            kept: CarriedState::default(),
            kept_on_trial: CarriedState::default(),
            resources: ProtectedResources::default(),
            wants_certificates: false,
            watched: BTreeSet::new(),
        }
    }

    /// Whether a snapshot is in force.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Revision of the snapshot.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What is remembered, table by table.
    pub(crate) fn held(&self) -> impl Iterator<Item = (&'static str, Held)> {
        let decisions = |rule: &RuleRuntime| {
            let shadows = rule.shadows.iter().map(|shadow| &shadow.authorizer);
            let all = shadows.chain([&rule.authorizer]).filter_map(|authorizer| authorizer.as_ref().ok());
            all.map(Authorizer::held).sum::<Held>()
        };
        let of_tokens = [
            ("signed", self.authorities.values().map(|authority| authority.held_of_signed()).sum()),
            ("introspected", self.authorities.values().map(|authority| authority.held_of_introspected()).sum()),
            ("cedar_decisions", self.rules.iter().map(decisions).sum()),
        ];
        let kept = self.kept.held().into_iter().zip(self.kept_on_trial.held());
        of_tokens.into_iter().chain(kept.map(|((table, held), (_, trial))| (table, [held, trial].into_iter().sum())))
    }

    /// Names of the token services in force.
    pub fn token_services(&self) -> impl Iterator<Item = &NamespacedName> {
        self.authorities.keys()
    }

    /// Whether the TLS handshake asks for client certificates.
    pub fn wants_certificates(&self) -> bool {
        self.wants_certificates
    }

    /// Public keys with which minted tokens can be verified, as a JWK Set.
    pub fn published_keys(&self) -> serde_json::Value {
        let mut keys: Vec<serde_json::Value> = Vec::new();
        for jwk in self.kept.minters().iter().flat_map(|minter| minter.published().to_jwks()) {
            if !keys.contains(&jwk) {
                keys.push(jwk);
            }
        }
        serde_json::json!({ "keys": keys })
    }

    /// The routes in force.
    pub fn routes(&self) -> &BTreeMap<NamespacedName, Arc<Route>> {
        &self.routes
    }
}

impl RuleRuntime {
    pub(super) fn rule(&self) -> Option<&Rule> {
        self.route.rules.get(self.index)
    }
}

/// Tokens that are bound to a certificate need the handshake to show one (RFC 8705 section 3).
pub(super) fn wants_bound_tokens(access: &Access) -> bool {
    let Access::Guarded { authentication, .. } = access else { return false };
    authentication.credentials().any(|credential| {
        let proof = match credential {
            Credential::Introspection(rule) => &rule.proof,
            Credential::Jwt(rule) => &rule.proof,
            Credential::ApiKey(_)
            | Credential::Basic(_)
            | Credential::ClientCertificate(_)
            | Credential::Digest(_)
            | Credential::Exchange(_) => return false,
        };
        proof.required.contains(&BindingMethod::Certificate)
    })
}
