//! Last pass, first half: the resource of every route.

use std::collections::BTreeSet;

use portreeve_policy::{Access, Match, NamespacedName, Reach, Refusal, RefusalReason, Route, Rule};

use crate::{Discovered, attach::PolicyIndex, collide::Collision, validate::ValidRoute};

/// Makes the resource of a route. `fault` refuses all its rules.
pub(crate) fn emit_route(
    name: &NamespacedName,
    route: &ValidRoute,
    fault: Option<&str>,
    collisions: &BTreeSet<Collision>,
    index: &mut PolicyIndex<'_>,
) -> Route {
    let mut rules = Vec::with_capacity(route.rules.len());
    for (number, rule) in route.rules.iter().enumerate() {
        let (mut kept, mut refused) = (Vec::new(), Vec::new());
        let mut holder = None;
        for (position, clause) in rule.matches.iter().enumerate() {
            let lost = collisions.iter().find(|c| c.route == *name && c.rule == number && c.position == position);
            match lost {
                None => kept.push(clause.clone()),
                Some(collision) => {
                    holder.get_or_insert(&collision.holder);
                    refused.extend(collision.remainder.then(|| Match { reach: Reach::Remainder, ..clause.clone() }));
                }
            }
        }
        let settled = index.settle(name, &rule.name);
        let access = match (&route.closed, fault) {
            (Some(reason), _) => Access::Refused(closed(reason)),
            (None, None) => settled.access,
            (None, Some(message)) => {
                Access::Refused(Refusal { reason: RefusalReason::InvalidRoute, message: message.to_owned() })
            }
        };
        let emitted = Rule {
            name: rule.name.clone(),
            matches: kept,
            timeout: rule.timeout,
            upgrades: rule.upgrades.clone(),
            policies: settled.policies,
            access,
            // A closed route does no work for anybody.
            shadows: if route.closed.is_none() { settled.shadows } else { Vec::new() },
        };
        if let (Some(holder), false) = (holder, refused.is_empty()) {
            rules.push(Rule { matches: refused, access: conflicted(holder), shadows: Vec::new(), ..emitted.clone() });
        }
        if !emitted.matches.is_empty() {
            rules.push(emitted);
        }
    }
    Route {
        generation: route.generation,
        hostnames: route.hostnames.clone(),
        client_address: route.client_address.clone(),
        cors: route.cors,
        pass_headers: route.pass_headers.clone(),
        upstream: route.upstream.clone(),
        rules,
    }
}

/// What is left of a match that lost a conflict: served, it would follow other rules than its neighbours.
fn conflicted(holder: &NamespacedName) -> Access {
    let message = format!("ApiRoute {holder} is older and has the same host, path and one of the methods");
    Access::Refused(Refusal { reason: RefusalReason::Conflicted, message })
}

fn closed(reason: &str) -> Refusal {
    let said: String = reason.chars().filter(|c| !c.is_control()).take(256).collect();
    let said = if said.trim().is_empty() { "no reason given".to_owned() } else { said };
    Refusal { reason: RefusalReason::Closed, message: format!("closed by annotation portreeve.dev/closed: {said}") }
}

/// Why a metadata document brought no endpoint.
pub(crate) fn no_endpoint(discovered: Option<&Discovered>) -> &str {
    match discovered {
        None => "the server's metadata is not fetched yet",
        Some(known) => known.fault.as_deref().unwrap_or("the server's metadata names none"),
    }
}
