//! From a snapshot to a runtime. Everything that can fail happens here, before the swap, and by resource name: what
//! cannot be built keeps its last good form or refuses, all else goes live.

use std::{collections::BTreeMap, sync::Arc};

use portreeve_policy::{
    Access, Authentication, Authenticator, Authorization, Condition, Introspection, NamespacedName, ResourceName,
    Route, Rule, Shadow, Snapshot, TokenService,
};

use super::{
    Challenge, Metrics, Runtime,
    router::Router,
    runtime::{RuleRuntime, ShadowRuntime, Target},
};
use crate::{authn::Authority, authz::Authorizer, clock::SharedClock};

/// What building needs beside the snapshot.
#[derive(Clone)]
pub struct BuildContext {
    /// For the authorities' expiry checks.
    pub clock: SharedClock,
    /// Where rules get their handles.
    pub metrics: Metrics,
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
    let (router, rules) = routes(&snapshot.routes, context);
    for rule in &rules {
        if let Err(reason) = &rule.authorizer {
            rejections.push(Rejection { resource: ResourceName::route(&rule.name), reason: reason.clone() });
        }
    }
    let runtime = Runtime { revision, ready: true, router, rules, routes: snapshot.routes.clone(), authorities };
    (runtime, rejections)
}

/// Whether a route asks this token service.
fn uses(route: &Route, resource: &ResourceName) -> bool {
    route.rules.iter().any(|rule| match &rule.access {
        Access::Guarded { authentication: Authentication::AnyOf(list), .. } => {
            let named = list.iter().filter_map(Authenticator::token_service);
            named.map(ResourceName::token_service).any(|name| name == *resource)
        }
        Access::Guarded { authentication: Authentication::Anonymous, .. } | Access::Refused(_) => false,
    })
}

fn authority(
    name: &NamespacedName,
    service: &TokenService,
    snapshot: &Snapshot,
    held: Option<&Arc<Authority>>,
    context: &BuildContext,
) -> Result<Authority, String> {
    let secret = match &service.introspection {
        Introspection::Enabled { client, .. } => {
            let found = snapshot.secrets.get(&client.client_secret);
            Some(found.ok_or_else(|| format!("secret {} did not come with it", client.client_secret))?)
        }
        Introspection::Disabled | Introspection::Unavailable => None,
    };
    let clock = Arc::clone(&context.clock);
    Authority::new(name, service, secret, held.map(Arc::as_ref), clock).map_err(|fault| fault.to_string())
}

/// Older routes come first, by name: the order in which the compiler settles collisions.
fn routes(named: &BTreeMap<NamespacedName, Arc<Route>>, context: &BuildContext) -> (Router<Target>, Vec<RuleRuntime>) {
    let mut router = Router::default();
    let mut rules = Vec::new();
    for (name, route) in named {
        for (index, rule) in route.rules.iter().enumerate() {
            let label = name.to_string();
            let target = rules.len();
            for (number, clause) in rule.matches.iter().enumerate() {
                router.insert(route.hostnames.iter(), clause, (target, number));
            }
            rules.push(RuleRuntime {
                name: name.clone(),
                metrics: context.metrics.rule(&label, &rule.name),
                label,
                route: Arc::clone(route),
                index,
                shadows: shadows(&name.to_string(), rule, context),
                challenge: challenge(&rule.access),
                authorizer: authorizer(&rule.access, &name.to_string(), &rule.name),
            });
        }
    }
    (router, rules)
}

/// What would help a caller who is asked for a token, or whose token lacks a scope.
fn challenge(access: &Access) -> Challenge {
    let conditions = match access {
        Access::Guarded { authorization, .. } => authorization.conditions(),
        Access::Refused(_) => &[],
    };
    let scopes = conditions.iter().filter_map(|condition| match condition {
        Condition::Scopes(scopes) => Some(scopes.named().cloned()),
        Condition::Addresses(_)
        | Condition::Cedar(_)
        | Condition::Claims(_)
        | Condition::External(_)
        | Condition::Hours(_)
        | Condition::Request(_) => None,
    });
    Challenge { scopes: scopes.flatten().collect() }
}

/// The rule's conditions made ready; a rule that refuses anyway has none.
fn authorizer(access: &Access, route: &str, rule: &str) -> Result<Authorizer, String> {
    let authorization = match access {
        Access::Guarded { authorization, .. } => authorization,
        Access::Refused(_) => &Authorization::Anyone,
    };
    Authorizer::new(authorization, route, rule).map_err(|fault| fault.to_string())
}

/// Policies on trial made ready. One that cannot be made so would refuse; it rejects nothing, for nothing hangs on it.
fn shadows(route: &str, rule: &Rule, context: &BuildContext) -> Vec<ShadowRuntime> {
    let ready = |shadow: &Shadow| {
        let policy = shadow.policy.name.to_string();
        let count = |outcome| context.metrics.shadow(route, &rule.name, &policy, outcome);
        ShadowRuntime {
            access: shadow.access.clone(),
            challenge: challenge(&shadow.access),
            authorizer: authorizer(&shadow.access, route, &rule.name),
            would_permit: count("permit"),
            would_deny: count("deny"),
            policy,
        }
    };
    rule.shadows.iter().map(ready).collect()
}
