//! Last pass, first half: the resource of every route.

use std::collections::BTreeSet;

use portreeve_policy::{Match, NamespacedName, Reach, Refusal, RefusalReason, Route, Rule, RuleState};

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
        let mut winner = None;
        for (position, clause) in rule.matches.iter().enumerate() {
            let lost = collisions.iter().find(|c| c.route == *name && c.rule == number && c.position == position);
            match lost {
                None => kept.push(clause.clone()),
                Some(collision) => {
                    winner.get_or_insert(&collision.winner);
                    refused.extend(collision.remainder.then(|| Match { reach: Reach::Remainder, ..clause.clone() }));
                }
            }
        }
        let merged = index.merge(name, &rule.name);
        let state = match (&route.closed, fault) {
            (Some(reason), _) => RuleState::Refusing(closed(reason)),
            (None, None) => merged.state,
            (None, Some(message)) => {
                RuleState::Refusing(Refusal { reason: RefusalReason::InvalidRoute, message: message.to_owned() })
            }
        };
        let emitted = Rule {
            name: rule.name.clone(),
            matches: kept,
            timeout: rule.timeout,
            upgrades: rule.upgrades.clone(),
            policies: merged.policies,
            state,
            // A closed route does no work for anybody.
            shadows: if route.closed.is_none() { merged.shadows } else { Vec::new() },
        };
        if let (Some(winner), false) = (winner, refused.is_empty()) {
            rules.push(Rule { matches: refused, state: conflicted(winner), shadows: Vec::new(), ..emitted.clone() });
        }
        if !emitted.matches.is_empty() {
            rules.push(emitted);
        }
    }
    Route {
        generation: route.generation,
        hostnames: route.hostnames.clone(),
        client_address: route.client_address.clone(),
        cors: route.cors.clone(),
        pass_headers: route.pass_headers.clone(),
        upstream: route.upstream.clone(),
        rules,
    }
}

/// What is left of a match that lost a conflict: served, it would follow other rules than its neighbours.
fn conflicted(winner: &NamespacedName) -> RuleState {
    let message = format!("ApiRoute {winner} is older and has the same host, path and one of the methods");
    RuleState::Refusing(Refusal { reason: RefusalReason::Conflicted, message })
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
