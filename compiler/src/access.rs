//! Which scopes a ClientRegistration may have at the token service. Pure.
//!
//! INVARIANTS
//! - A scope that an ApiRoute claims is asked for only with a grant by that ApiRoute; one that two claim belongs to the
//!   older, and one that an unreadable ApiRoute claims to nobody.
//! - Production and sandbox are kept apart.

use std::collections::BTreeSet;

use portreeve_crds::{
    Object, ObjectKind,
    v1alpha1::{
        AccessApproval, AccessDecision, AccessRequest, AccessState, AccessVerdict, ApiAccessSpec, ApiRoute,
        ClientRegistration, Environment,
    },
};
use portreeve_policy::NamespacedName;

use crate::Inventory;

/// What a registration may ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// The scopes to ask for, separated by blanks; may be empty.
    pub scope: String,
    /// Scopes were wanted, and none may be had. Without any, most servers would give all.
    pub withheld: bool,
    /// How each entry of `spec.access` stands.
    pub states: Vec<AccessState>,
}

/// Decides about every scope that a registration wants.
pub fn decide_access(inventory: &Inventory, registration: &ClientRegistration) -> Access {
    let wanted = &registration.spec;
    let mut granted: BTreeSet<(NamespacedName, String)> = BTreeSet::new();
    let mut states = Vec::new();
    for request in &wanted.access {
        let (route, state) = decide(inventory, registration, request);
        granted.extend(route.into_iter().flat_map(|route| {
            let scopes = state.scopes.iter().cloned();
            scopes.map(move |scope| (route.clone(), scope)).collect::<Vec<_>>()
        }));
        states.push(state);
    }
    let mut scope: Vec<&str> = Vec::new();
    let free = wanted.metadata.scope.split_ascii_whitespace().map(|word| (word, true));
    let of_apis = wanted.access.iter().flat_map(|request| &request.scopes).map(|word| (word.as_str(), false));
    let mut asked = false;
    for (word, may_be_free) in free.chain(of_apis) {
        asked = true;
        let allowed = match owner(inventory, word) {
            Owner::Nobody => may_be_free,
            Owner::Route(name) => granted.contains(&(name, word.to_owned())),
            Owner::Unreadable => false,
        };
        if allowed && !scope.contains(&word) {
            scope.push(word);
        }
    }
    Access { withheld: asked && scope.is_empty(), scope: scope.join(" "), states }
}

/// Whose scope it is.
enum Owner {
    Nobody,
    Route(NamespacedName),
    Unreadable,
}

fn owner(inventory: &Inventory, scope: &str) -> Owner {
    let claims = |route: &ApiRoute| route.spec.access.as_ref().is_some_and(|access| has(&access.scopes, scope));
    let unreadable = inventory.unreadable.values().filter(|broken| broken.object.kind == ObjectKind::ApiRoute);
    for broken in unreadable {
        let raw = broken.value.pointer("/spec/access/scopes").and_then(serde_json::Value::as_array);
        let raw = raw.is_some_and(|scopes| scopes.iter().any(|claimed| claimed.as_str() == Some(scope)));
        let read = matches!(&broken.understood, Some(Object::ApiRoute(route)) if claims(route));
        if raw || read {
            return Owner::Unreadable;
        }
    }
    let claimants = inventory.routes.iter().filter(|(_, route)| claims(route));
    // One without a time is not from a cluster, where all have one; it comes last.
    let oldest = claimants.min_by_key(|(name, route)| {
        let made = route.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (made.is_none(), made, *name)
    });
    oldest.map_or(Owner::Nobody, |(name, _)| Owner::Route(name.clone()))
}

fn has(scopes: &[String], scope: &str) -> bool {
    scopes.iter().any(|held| held == scope)
}

fn decide(
    inventory: &Inventory,
    registration: &ClientRegistration,
    request: &AccessRequest,
) -> (Option<NamespacedName>, AccessState) {
    let from = registration.metadata.namespace.as_deref().unwrap_or_default();
    let namespace = request.api_ref.namespace.as_deref().unwrap_or(from);
    let api = format!("{namespace}/{}", request.api_ref.name);
    let state =
        |state, scopes, by: String, message: String| AccessState { api: api.clone(), state, scopes, by, message };
    let pending = |message| (None, state(AccessVerdict::Pending, Vec::new(), String::new(), message));
    let name = NamespacedName::new(namespace, &request.api_ref.name).ok();
    let Some((name, route)) = name.and_then(|name| inventory.routes.get(&name).map(|route| (name, route))) else {
        return pending(format!(
            "ApiRoute {api} does not exist, or cannot be read; correct apiRef, or wait for its owner"
        ));
    };
    let Some(access) = &route.spec.access else {
        return pending(format!("ApiRoute {api} grants nobody access; its owner can say who in spec.access"));
    };
    if access.environment != registration.spec.environment {
        let message = format!(
            "ApiRoute {api} is {}, this client is {}; the two are kept apart",
            name_of(access.environment),
            name_of(registration.spec.environment)
        );
        return (None, state(AccessVerdict::Denied, Vec::new(), format!("environment of ApiRoute {api}"), message));
    }
    let Some((by, allowed)) = rule(inventory, registration, from, &api, access) else {
        let me = registration.metadata.name.as_deref().unwrap_or_default();
        return pending(format!(
            "the owner of ApiRoute {api} has not decided; an entry in its spec.access.approvals for {from}/{me} would"
        ));
    };
    let own = |scope: &&String| matches!(owner(inventory, scope), Owner::Route(owner) if owner == name);
    let (given, refused): (Vec<_>, Vec<_>) = request
        .scopes
        .iter()
        .partition(|scope| own(scope) && allowed.as_ref().is_some_and(|allowed| has(allowed, scope)));
    let refused: Vec<&str> = refused.into_iter().map(String::as_str).collect();
    let verdict = match (given.is_empty(), refused.is_empty()) {
        (_, true) => AccessVerdict::Granted,
        (false, false) => AccessVerdict::PartlyGranted,
        (true, false) => AccessVerdict::Denied,
    };
    let message = if refused.is_empty() { String::new() } else { format!("not granted: {}", refused.join(" ")) };
    let told = state(verdict, given.into_iter().cloned().collect(), by, message);
    (Some(name), told)
}

/// Who decides, and the scopes that may be had; `None` within when it was denied. Nobody decided: `None`.
fn rule(
    inventory: &Inventory,
    registration: &ClientRegistration,
    from: &str,
    api: &str,
    access: &ApiAccessSpec,
) -> Option<(String, Option<Vec<String>>)> {
    let me = registration.metadata.name.as_deref().unwrap_or_default();
    let about_me = |approval: &&AccessApproval| approval.namespace == from && approval.name == me;
    let mut about = access.approvals.iter().filter(about_me);
    // Of two decisions about one application the refusal counts.
    let refusal = about.clone().find(|approval| approval.decision == AccessDecision::Denied);
    if let Some(approval) = refusal.or_else(|| about.next()) {
        let who = approval.by.as_deref().map_or_else(String::new, |by| format!(" by {by}"));
        let by = format!("approval in ApiRoute {api}{who}");
        let scopes = || approval.scopes.clone().unwrap_or_else(|| access.scopes.clone());
        return Some((by, (approval.decision == AccessDecision::Granted).then(scopes)));
    }
    let automatic = access.automatic.as_ref()?;
    let listed = has(&automatic.namespaces, from);
    let labelled = automatic.match_labels.as_ref().is_some_and(|wanted| {
        let labels = inventory.namespaces.get(from);
        !wanted.is_empty()
            && labels.is_some_and(|labels| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
    });
    let scopes = automatic.scopes.clone().unwrap_or_else(|| access.scopes.clone());
    (listed || labelled).then(|| (format!("spec.access.automatic of ApiRoute {api}"), Some(scopes)))
}

fn name_of(environment: Environment) -> &'static str {
    match environment {
        Environment::Production => "Production",
        Environment::Sandbox => "Sandbox",
    }
}

#[cfg(test)]
mod tests;
