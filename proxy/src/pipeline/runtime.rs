//! A snapshot made ready to run. One immutable value for each request; replaced as a whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arc_swap::ArcSwap;
use portreeve_policy::{ApiKeyLocation, NamespacedName, Route, Rule};
use prometheus::IntCounter;

use super::{
    guard::{Authenticator, Carried, RuleState},
    metrics::RuleMetrics,
    preflight::PreflightPolicy,
    protected_resource::ProtectedResources,
    router::Router,
};
use crate::{authn::TokenServiceClient, bounded_cache::Held};

/// The runtime that is in force, shared by all workers.
pub type SharedRuntime = Arc<ArcSwap<Runtime>>;

/// Everything that a request needs to be decided.
pub struct Runtime {
    pub(super) revision: u64,
    pub(super) ready: bool,
    pub(super) router: Router<Target>,
    pub(super) rules: Vec<RuleRuntime>,
    pub(super) routes: BTreeMap<NamespacedName, Arc<Route>>,
    pub(super) token_services: BTreeMap<NamespacedName, Arc<TokenServiceClient>>,
    pub(super) carried: Carried,
    /// The same for policies in dry run: what is in force shares nothing with them.
    pub(super) carried_in_dry_run: Carried,
    pub(super) resources: ProtectedResources,
    pub(super) wants_certificates: bool,
    /// Header fields that any rule looks at, in force or in dry run.
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
    pub(super) state: RuleState,
    pub(super) metrics: RuleMetrics,
    /// What becomes of CORS preflights.
    pub(super) preflight: PreflightPolicy,
    pub(super) shadows: Vec<ShadowRuntime>,
}

/// A policy in dry run, ready.
pub(super) struct ShadowRuntime {
    /// `namespace/name`
    pub(super) policy: String,
    pub(super) state: RuleState,
    /// Authentication is the one in force, so that its caller is the one found already.
    pub(super) same_caller: bool,
    pub(super) would_permit: IntCounter,
    pub(super) would_deny: IntCounter,
    /// Out of time, or too many at once.
    pub(super) undecided: IntCounter,
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
            token_services: BTreeMap::new(),
            carried: Carried::default(),
            carried_in_dry_run: Carried::default(),
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
            let states = rule.shadows.iter().map(|shadow| &shadow.state).chain([&rule.state]);
            states.filter_map(RuleState::guard).map(|guard| guard.authorizer.held()).sum::<Held>()
        };
        let of_tokens = [
            ("signed", self.token_services.values().map(|client| client.held_of_signed()).sum()),
            ("introspected", self.token_services.values().map(|client| client.held_of_introspected()).sum()),
            ("cedar_decisions", self.rules.iter().map(decisions).sum()),
            (
                "limits",
                [&self.carried, &self.carried_in_dry_run].map(|carried| carried.limits.held()).into_iter().sum(),
            ),
        ];
        let carried = self.carried.credentials.held().into_iter().zip(self.carried_in_dry_run.credentials.held());
        of_tokens.into_iter().chain(carried.map(|((table, held), (_, trial))| (table, [held, trial].into_iter().sum())))
    }

    /// Names of the token services in force.
    pub fn token_services(&self) -> impl Iterator<Item = &NamespacedName> {
        self.token_services.keys()
    }

    /// Whether the TLS handshake asks for client certificates.
    pub fn wants_certificates(&self) -> bool {
        self.wants_certificates
    }

    /// Public keys with which minted tokens can be verified, as a JWK Set.
    pub fn published_keys(&self) -> serde_json::Value {
        let mut keys: Vec<serde_json::Value> = Vec::new();
        for jwk in self.carried.credentials.minters().iter().flat_map(|minter| minter.published().to_jwks()) {
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
    /// Where API keys are taken out of requests, whichever alternative decided.
    pub(super) fn key_locations(&self) -> &[ApiKeyLocation] {
        self.state.guard().map_or(&[], |guard| match &guard.authenticator {
            Authenticator::Anonymous => &[],
            Authenticator::AnyOf(authenticators) => authenticators.key_locations(),
        })
    }

    pub(super) fn rule(&self) -> Option<&Rule> {
        self.route.rules.get(self.index)
    }
}
