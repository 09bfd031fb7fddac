//! From a snapshot to a runtime. Everything that can fail happens here, before the swap, and by resource name: what
//! cannot be built keeps its last good form or refuses, all else goes live.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portreeve_policy::{
    Access, Authentication, Authorization, Cors, Introspection, Match, NamespacedName, Reach, ResourceName, Route,
    Rule, Shadow, Snapshot, TokenExchange, TokenService,
};

use super::{
    Challenge, Metrics, Runtime,
    preflight::{PreflightBudget, PreflightPolicy},
    protected_resource::{ProtectedResources, metadata_address},
    router::Router,
    runtime::{RuleAuthenticator, RuleRuntime, ShadowRuntime, Target, wants_bound_tokens},
};
use crate::{
    authn::{Authenticators, BuildInputs, CarriedState, TokenServiceClient},
    authz::Authorizer,
    clock::SharedClock,
};

/// What building needs beside the snapshot.
#[derive(Clone)]
pub struct BuildContext {
    /// For the authorities' expiry checks.
    pub clock: SharedClock,
    /// Where rules get their handles.
    pub metrics: Metrics,
    /// Ports on which this process listens: never an application's.
    pub own_ports: BTreeSet<u16>,
}

/// A resource that cannot run, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The resource.
    pub resource: ResourceName,
    /// For the object's status; no secrets.
    pub reason: String,
}

/// Builds a runtime, taking over from `previous` what is still true: caches, connections, keys.
pub fn build(
    snapshot: &Snapshot,
    revision: u64,
    previous: &Runtime,
    context: &BuildContext,
) -> (Runtime, Vec<Rejection>) {
    let mut rejections = Vec::new();
    let mut authorities = BTreeMap::new();
    for (name, service) in &snapshot.token_services {
        let held = previous.authorities.get(name);
        match authority(name, service, snapshot, held, context) {
            Ok(authority) => drop(authorities.insert(name.clone(), Arc::new(authority))),
            Err(reason) => {
                rejections.push(Rejection { resource: ResourceName::token_service(name), reason });
                // With the last good form the API stays open; without one, its rules answer 503.
                authorities.extend(held.map(|held| (name.clone(), Arc::clone(held))));
            }
        }
    }
    for (name, route) in &snapshot.routes {
        let broken = rejections.iter().find(|rejection| uses(route, &rejection.resource));
        if let Some(Rejection { resource, reason }) = broken {
            let reason = format!("{resource}: {reason}");
            rejections.push(Rejection { resource: ResourceName::route(name), reason });
        }
    }
    let metrics = &context.metrics;
    let api_key_use = |consumer: &str, key: &str| metrics.api_key_use(consumer, key);
    let materials = BuildInputs {
        secrets: &snapshot.secrets,
        authorities: &authorities,
        previous: &previous.kept,
        api_key_use: &api_key_use,
    };
    let trial_key_use = |consumer: &str, key: &str| metrics.api_key_use_on_trial(consumer, key);
    let on_trial = BuildInputs { previous: &previous.kept_on_trial, api_key_use: &trial_key_use, ..materials };
    let (kept, kept_on_trial) = (CarriedState::default(), CarriedState::default());
    let mut made = Routes { materials, on_trial, previous, context, kept, kept_on_trial, rejections };
    let (router, rules) = made.build(&snapshot.routes);
    let Routes { kept, kept_on_trial, rejections, .. } = made;
    let issuer = |name: &NamespacedName| authorities.get(name).map(|known| known.issuer().to_owned());
    let resources = ProtectedResources::of(snapshot.routes.values().map(AsRef::as_ref), &issuer);
    let bound = |rule: &RuleRuntime| rule.rule().is_some_and(|rule| wants_bound_tokens(&rule.access));
    let wants_certificates = kept.wants_certificates() || rules.iter().any(bound);
    let runtime = Runtime {
        revision,
        ready: true,
        router,
        rules,
        routes: snapshot.routes.clone(),
        authorities,
        kept,
        kept_on_trial,
        resources,
        wants_certificates,
        watched: snapshot.routes.values().flat_map(|route| route.watched_fields()).map(str::to_owned).collect(),
    };
    (runtime, rejections)
}

/// Whether a route asks this token service.
fn uses(route: &Route, resource: &ResourceName) -> bool {
    route.rules.iter().any(|rule| match &rule.access {
        Access::Guarded { authentication, .. } => {
            authentication.token_services().map(ResourceName::token_service).any(|name| name == *resource)
        }
        Access::Refused(_) => false,
    })
}

fn authority(
    name: &NamespacedName,
    service: &TokenService,
    snapshot: &Snapshot,
    held: Option<&Arc<TokenServiceClient>>,
    context: &BuildContext,
) -> Result<TokenServiceClient, String> {
    let access = match (&service.introspection, &service.exchange) {
        (Introspection::Enabled { access, .. }, _) | (_, TokenExchange::Enabled(access)) => Some(access),
        (
            Introspection::Disabled | Introspection::Unavailable,
            TokenExchange::Disabled | TokenExchange::Unavailable,
        ) => None,
    };
    let secret = match access.map(|access| &access.client.secret) {
        Some(name) => Some(snapshot.secrets.get(name).ok_or_else(|| format!("secret {name} did not come with it"))?),
        None => None,
    };
    let clock = Arc::clone(&context.clock);
    TokenServiceClient::new(name, service, secret, held.map(Arc::as_ref), clock).map_err(|fault| fault.to_string())
}

/// Makes the rules of every route.
struct Routes<'a> {
    materials: BuildInputs<'a>,
    on_trial: BuildInputs<'a>,
    previous: &'a Runtime,
    context: &'a BuildContext,
    kept: CarriedState,
    kept_on_trial: CarriedState,
    rejections: Vec<Rejection>,
}

impl Routes<'_> {
    /// Older routes come first, by name: the order in which the compiler settles collisions.
    fn build(&mut self, named: &BTreeMap<NamespacedName, Arc<Route>>) -> (Router<Target>, Vec<RuleRuntime>) {
        let mut router = Router::default();
        let mut rules = Vec::new();
        for (name, route) in named {
            let budget = PreflightBudget::default();
            for (index, rule) in route.rules.iter().enumerate() {
                let label = name.to_string();
                let target = rules.len();
                for (number, clause) in rule.matches.iter().enumerate() {
                    router.insert(route.hostnames.iter(), &matchable(route, clause), (target, number));
                }
                let authorizer = authorizer(&rule.access, &label, &rule.name);
                if let Err(reason) = &authorizer {
                    self.rejections.push(Rejection { resource: ResourceName::route(name), reason: reason.clone() });
                }
                let preflight = preflight(route.cors, rule, &label, &budget);
                rules.push(RuleRuntime {
                    name: name.clone(),
                    metrics: self.context.metrics.rule(&label, &rule.name),
                    label,
                    route: Arc::clone(route),
                    index,
                    challenge: Challenge::of(&rule.access, metadata_address(&rule.access)),
                    gate: self.gate(name, route, rule),
                    preflight,
                    shadows: self.shadows(name, rule),
                    authorizer,
                });
            }
        }
        (router, rules)
    }

    /// What cannot be built is rejected by name. It keeps its last good form, or else it refuses.
    fn gate(&mut self, name: &NamespacedName, route: &Route, rule: &Rule) -> RuleAuthenticator {
        if let Some(reason) = unfit(route, rule, &self.context.own_ports) {
            let told =
                Rejection { resource: ResourceName::route(name), reason: format!("rule {}: {reason}", rule.name) };
            self.rejections.push(told);
            return RuleAuthenticator::Broken(reason);
        }
        make_gate(&rule.access, &self.materials, &mut self.kept).unwrap_or_else(|reason| {
            let resource = ResourceName::route(name);
            self.rejections.push(Rejection { resource, reason: format!("rule {}: {reason}", rule.name) });
            let same = |held: &&RuleRuntime| {
                held.name == *name && held.rule().is_some_and(|old| old.name == rule.name && old.access == rule.access)
            };
            let held = self.previous.rules.iter().find(same).map(|held| held.gate.clone());
            held.unwrap_or(RuleAuthenticator::Broken(reason))
        })
    }

    /// Policies on trial made ready. One that cannot be made so would refuse; it rejects nothing, for nothing hangs on
    /// it.
    fn shadows(&mut self, route: &NamespacedName, rule: &Rule) -> Vec<ShadowRuntime> {
        let label = route.to_string();
        let mut ready = Vec::with_capacity(rule.shadows.len());
        for Shadow { policy, access, .. } in &rule.shadows {
            let policy = policy.name.to_string();
            let gate =
                make_gate(access, &self.on_trial, &mut self.kept_on_trial).unwrap_or_else(RuleAuthenticator::Broken);
            let count = |outcome| self.context.metrics.shadow(&label, &rule.name, &policy, outcome);
            ready.push(ShadowRuntime {
                access: access.clone(),
                challenge: Challenge::of(access, None),
                gate,
                authorizer: authorizer(access, &label, &rule.name),
                would_permit: count("permit"),
                would_deny: count("deny"),
                undecided: count("unknown"),
                policy,
            });
        }
        ready
    }
}

/// The rule's conditions made ready; a rule that refuses anyway has none.
fn authorizer(access: &Access, route: &str, rule: &str) -> Result<Authorizer, String> {
    let authorization = match access {
        Access::Guarded { authorization, .. } => authorization,
        Access::Refused(_) => &Authorization::Anyone,
    };
    Authorizer::new(authorization, route, rule).map_err(|fault| fault.to_string())
}

/// What a rule makes of preflights. What cannot be made ready refuses them.
fn preflight(cors: Cors, rule: &Rule, route: &str, budget: &PreflightBudget) -> PreflightPolicy {
    let authorization = match (cors, &rule.access) {
        (Cors::Passthrough, Access::Guarded { authorization, .. }) => authorization.of_preflight(),
        (Cors::Refuse, _) | (Cors::Passthrough, Access::Refused(_)) => return PreflightPolicy::Refuse,
    };
    let ready = authorization.and_then(|conditions| Authorizer::new(&conditions, route, &rule.name).ok());
    ready.map_or(PreflightPolicy::Undecidable, |ready| PreflightPolicy::Passthrough(Box::new(ready), budget.clone()))
}

/// A match without fields that requests never have: its rule refuses, and has to be found for that.
fn matchable<'a>(route: &Route, clause: &'a Match) -> Cow<'a, Match> {
    if clause.headers.iter().all(|header| route.takes_field(&header.name)) {
        return Cow::Borrowed(clause);
    }
    let mut wider = clause.clone();
    wider.headers.retain(|header| route.takes_field(&header.name));
    if wider.reach.is_claim() {
        wider.reach = Reach::Remainder;
    }
    Cow::Owned(wider)
}

/// Why a rule can never do what it says, whatever its policy is.
fn unfit(route: &Route, rule: &Rule, own_ports: &BTreeSet<u16>) -> Option<String> {
    let port = route.upstream.port.get();
    if own_ports.contains(&port) {
        return Some(format!("upstream.port {port} is a port of the proxy itself"));
    }
    let untaken = rule.matches.iter().flat_map(|clause| &clause.headers).find(|one| !route.takes_field(&one.name));
    let untaken = untaken.map(|one| format!("a match needs the header {}, which is taken out of requests", one.name));
    let ambiguous = route.ambiguous_field();
    untaken.or_else(|| ambiguous.map(|one| format!("{one} may pass, and a rule looks at its other spelling")))
}

/// How an access establishes its caller, in force or on trial; the fault says why it cannot.
fn make_gate(
    access: &Access,
    materials: &BuildInputs<'_>,
    kept: &mut CarriedState,
) -> Result<RuleAuthenticator, String> {
    match access {
        Access::Guarded { authentication: Authentication::Anonymous, .. } => Ok(RuleAuthenticator::Anonymous),
        Access::Refused(refusal) => Ok(RuleAuthenticator::Broken(refusal.message.clone())),
        Access::Guarded { authentication, .. } => {
            let made = Authenticators::new(authentication, materials, kept)?;
            Ok(RuleAuthenticator::Authenticators(Arc::new(made)))
        }
    }
}
