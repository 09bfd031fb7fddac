//! From a snapshot to a runtime. Everything that can fail happens here, before the swap, and by resource name: what
//! cannot be built keeps its last good form or refuses, all else goes live.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portreeve_policy::{
    Cors, Introspection, Match, NamespacedName, Reach, ResourceName, Route, Rule, RuleState as CompiledState, Shadow,
    Snapshot, TokenExchange, TokenService,
};

use super::{
    Metrics, Runtime,
    guard::{Carried, Guard, GuardInputs, RuleState, wants_bound_tokens},
    preflight::{PreflightBudget, PreflightPolicy},
    protected_resource::{ProtectedResources, metadata_address},
    router::Router,
    runtime::{RuleRuntime, ShadowRuntime, Target},
};
use crate::{
    authn::{BuildInputs, TokenServiceClient},
    authz::Authorizer,
    clock::SharedClock,
    outbound::Network,
};

/// What building needs beside the snapshot.
#[derive(Clone)]
pub struct BuildContext {
    /// For expiry checks.
    pub clock: SharedClock,
    /// Where rules get their handles.
    pub metrics: Metrics,
    /// Ports on which this process listens: never an application's.
    pub own_ports: BTreeSet<u16>,
    /// Where token services and decision points are asked.
    pub network: Network,
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
    let mut token_services = BTreeMap::new();
    for (name, service) in &snapshot.token_services {
        let held = previous.token_services.get(name);
        match token_service(name, service, snapshot, held, context) {
            Ok(client) => drop(token_services.insert(name.clone(), Arc::new(client))),
            Err(reason) => {
                rejections.push(Rejection { resource: ResourceName::token_service(name), reason });
                // With the last good form the API stays open; without one, its rules answer 503.
                token_services.extend(held.map(|held| (name.clone(), Arc::clone(held))));
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
    let credentials = BuildInputs {
        secrets: &snapshot.secrets,
        token_services: &token_services,
        previous: &previous.carried.credentials,
        api_key_use: &api_key_use,
    };
    let dry_run_key_use = |consumer: &str, key: &str| metrics.api_key_use_in_dry_run(consumer, key);
    let in_dry_run = &previous.carried_in_dry_run;
    let inputs_in_dry_run = GuardInputs {
        credentials: BuildInputs { previous: &in_dry_run.credentials, api_key_use: &dry_run_key_use, ..credentials },
        limits: &in_dry_run.limits,
        network: &context.network,
    };
    let inputs = GuardInputs { credentials, limits: &previous.carried.limits, network: &context.network };
    let (carried, carried_in_dry_run) = (Carried::default(), Carried::default());
    let mut building = Routes { inputs, inputs_in_dry_run, previous, context, carried, carried_in_dry_run, rejections };
    let (router, rules) = building.build(&snapshot.routes);
    let Routes { carried, carried_in_dry_run, rejections, .. } = building;
    let issuer = |name: &NamespacedName| token_services.get(name).map(|known| known.issuer().to_owned());
    let resources = ProtectedResources::of(snapshot.routes.values().map(AsRef::as_ref), &issuer);
    let bound = |rule: &RuleRuntime| rule.rule().is_some_and(|rule| wants_bound_tokens(&rule.state));
    let wants_certificates = carried.credentials.wants_certificates() || rules.iter().any(bound);
    let runtime = Runtime {
        revision,
        ready: true,
        router,
        rules,
        routes: snapshot.routes.clone(),
        token_services,
        carried,
        carried_in_dry_run,
        resources,
        wants_certificates,
        watched: snapshot.routes.values().flat_map(|route| route.watched_fields()).map(str::to_owned).collect(),
    };
    (runtime, rejections)
}

/// Whether a route asks this token service.
fn uses(route: &Route, resource: &ResourceName) -> bool {
    let guards = route.rules.iter().filter_map(|rule| rule.state.guard());
    guards
        .flat_map(portreeve_policy::Guard::token_services)
        .map(ResourceName::token_service)
        .any(|name| name == *resource)
}

fn token_service(
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
    let held = held.map(Arc::as_ref);
    TokenServiceClient::new(name, service, secret, held, clock, &context.network).map_err(|fault| fault.to_string())
}

/// Makes the rules of every route.
struct Routes<'a> {
    inputs: GuardInputs<'a>,
    inputs_in_dry_run: GuardInputs<'a>,
    previous: &'a Runtime,
    context: &'a BuildContext,
    carried: Carried,
    carried_in_dry_run: Carried,
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
                let preflight = preflight((&route.cors, &label), rule, &budget, &self.context.network);
                rules.push(RuleRuntime {
                    name: name.clone(),
                    metrics: self.context.metrics.rule(&label, &rule.name),
                    label,
                    route: Arc::clone(route),
                    index,
                    state: self.state(name, route, rule),
                    preflight,
                    shadows: self.shadows(name, rule),
                });
            }
        }
        (router, rules)
    }

    /// What cannot be built is rejected by name. It keeps its last good form, or else it refuses.
    fn state(&mut self, name: &NamespacedName, route: &Route, rule: &Rule) -> RuleState {
        if let Some(reason) = unfit(route, rule, &self.context.own_ports) {
            self.reject(name, rule, &reason);
            return RuleState::unfit(reason);
        }
        let metadata = rule.state.guard().and_then(metadata_address);
        let built = ready(&rule.state, (name, &rule.name), metadata, &self.inputs, &mut self.carried);
        built.unwrap_or_else(|reason| {
            self.reject(name, rule, &reason);
            let same = |old: &&RuleRuntime| {
                old.name == *name && old.rule().is_some_and(|old| old.name == rule.name && old.state == rule.state)
            };
            let last_good = self.previous.rules.iter().find(same).map(|old| old.state.clone());
            last_good.unwrap_or_else(|| RuleState::unfit(reason))
        })
    }

    fn reject(&mut self, route: &NamespacedName, rule: &Rule, reason: &str) {
        let reason = format!("rule {}: {reason}", rule.name);
        self.rejections.push(Rejection { resource: ResourceName::route(route), reason });
    }

    /// Policies in dry run made ready. One that cannot be made so would refuse; it rejects nothing, for nothing hangs on
    /// it.
    fn shadows(&mut self, route: &NamespacedName, rule: &Rule) -> Vec<ShadowRuntime> {
        let label = route.to_string();
        let mut shadows = Vec::with_capacity(rule.shadows.len());
        for Shadow { policy, state } in &rule.shadows {
            let policy = policy.name.to_string();
            let count = |outcome| self.context.metrics.shadow(&label, &rule.name, &policy, outcome);
            let built = ready(state, (route, &rule.name), None, &self.inputs_in_dry_run, &mut self.carried_in_dry_run);
            let caller = |state: &CompiledState| state.guard().map(|guard| guard.authentication.clone());
            shadows.push(ShadowRuntime {
                state: built.unwrap_or_else(RuleState::unfit),
                same_caller: state.guard().is_some() && caller(state) == caller(&rule.state),
                would_permit: count("permit"),
                would_deny: count("deny"),
                undecided: count("unknown"),
                policy,
            });
        }
        shadows
    }
}

/// A rule as it runs, in force or in dry run; the fault says why it cannot.
fn ready(
    state: &CompiledState,
    rule: (&NamespacedName, &str),
    resource_metadata: Option<Box<str>>,
    inputs: &GuardInputs<'_>,
    carried: &mut Carried,
) -> Result<RuleState, String> {
    match state {
        CompiledState::Ready(guard) => {
            Ok(RuleState::Ready(Arc::new(Guard::new(guard, rule, resource_metadata, inputs, carried)?)))
        }
        CompiledState::Refusing(refusal) => Ok(RuleState::Refusing(refusal.clone())),
    }
}

/// What a rule makes of preflights. What cannot be made ready refuses them.
fn preflight(
    (cors, route): (&Cors, &str),
    rule: &Rule,
    budget: &PreflightBudget,
    network: &Network,
) -> PreflightPolicy {
    let authorization = match (cors, &rule.state) {
        (Cors::Passthrough, CompiledState::Ready(guard)) => guard.authorization.of_preflight(),
        (Cors::Answer(rule), CompiledState::Ready(_)) => return PreflightPolicy::Answer(rule.clone()),
        (Cors::Refuse, _) | (Cors::Answer(_) | Cors::Passthrough, CompiledState::Refusing(_)) => {
            return PreflightPolicy::Refuse;
        }
    };
    let ready = authorization.and_then(|conditions| Authorizer::new(&conditions, (route, &rule.name), network).ok());
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
