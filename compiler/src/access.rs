//! Which scopes a ClientRegistration may have at the token service. Pure.
//!
//! INVARIANT: a scope that belongs to an ApiRoute is asked for only with a grant by that ApiRoute; whose it is, says
//! [`ScopeOwners`]. Production and sandbox are kept apart.

use std::collections::{BTreeMap, BTreeSet};

use portreeve_crds::v1alpha1::{
    AccessApproval, AccessDecision, AccessRequest, AccessState, AccessVerdict, ApiAccessSpec, ClientRegistration,
    Environment, TokenService,
};
use portreeve_policy::NamespacedName;

use crate::{
    Inventory, ScopeOwners, gateway_client::is_made, limits::free_scope, namespaces::is_selected, scopes::Owner,
};

/// What a registration may ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Every scope that the object names, in its order, each once.
    pub asked: Vec<String>,
    /// The scopes that may be asked for at the token service, separated by blanks; may be empty.
    pub scope: String,
    /// Scopes were wanted, and none may be had. Without any, most servers would give all.
    pub withheld: bool,
    /// Why a scope may not be had, by scope.
    pub refused: BTreeMap<String, String>,
    /// How each entry of `spec.access` stands.
    pub states: Vec<AccessState>,
}

/// A TokenService with its name.
pub(crate) type Service<'a> = (&'a NamespacedName, &'a TokenService);

/// Decides about every scope that a registration wants at this TokenService.
pub(crate) fn decide_access(
    inventory: &Inventory,
    owners: &ScopeOwners,
    service: Service<'_>,
    registration: &ClientRegistration,
) -> Access {
    let wanted = &registration.spec;
    if is_made(inventory, service.0, service.1, registration) {
        let asked: Vec<_> = wanted.metadata.scope.split_ascii_whitespace().map(str::to_owned).collect();
        return Access { scope: asked.join(" "), asked, ..Access::default() };
    }
    let decision = Decision { inventory, owners, service, registration };
    let mut granted: BTreeSet<(NamespacedName, String)> = BTreeSet::new();
    let mut states = Vec::new();
    for request in &wanted.access {
        let (route, state) = decision.about(request);
        granted.extend(route.into_iter().flat_map(|route| {
            let scopes = state.scopes.iter().cloned();
            scopes.map(move |scope| (route.clone(), scope)).collect::<Vec<_>>()
        }));
        states.push(state);
    }
    let mut access = Access { states, ..Access::default() };
    let mut allowed: Vec<&str> = Vec::new();
    let plain = wanted.metadata.scope.split_ascii_whitespace().map(|word| (word, true));
    let of_apis = wanted.access.iter().flat_map(|request| &request.scopes).map(|word| (word.as_str(), false));
    for (word, is_plain) in plain.chain(of_apis) {
        if !access.asked.iter().any(|known| known == word) {
            access.asked.push(word.to_owned());
        }
        match decision.scope(word, is_plain, &granted) {
            Ok(()) if !allowed.contains(&word) => allowed.push(word),
            Ok(()) => {}
            Err(why) => drop(access.refused.insert(word.to_owned(), why)),
        }
    }
    access.refused.retain(|word, _| !allowed.contains(&word.as_str()));
    access.withheld = !access.asked.is_empty() && allowed.is_empty();
    access.scope = allowed.join(" ");
    access
}

/// What one decision is about.
struct Decision<'a> {
    inventory: &'a Inventory,
    owners: &'a ScopeOwners,
    service: Service<'a>,
    registration: &'a ClientRegistration,
}

impl Decision<'_> {
    /// Whether a scope may be asked for. `is_plain`: it stands in the metadata and not only in `access`.
    fn scope(&self, word: &str, is_plain: bool, granted: &BTreeSet<(NamespacedName, String)>) -> Result<(), String> {
        let (name, service) = self.service;
        let from = self.from();
        match self.owners.owner(name, service, word) {
            Owner::Route(route) if granted.contains(&(route.clone(), word.to_owned())) => Ok(()),
            Owner::Route(route) => Err(format!("it belongs to ApiRoute {route}, whose owner has not granted it")),
            Owner::Unreadable(route) => Err(format!("it belongs to ApiRoute {route}, which cannot be read")),
            Owner::Unclaimed => Err(format!(
                "spec.scopes of TokenService {name} keeps it for an ApiRoute, and none that may own it names it in \
                 spec.access"
            )),
            Owner::Free if is_plain && free_scope(self.inventory, name, service, from, word) => Ok(()),
            Owner::Free if is_plain => Err(format!(
                "no ApiRoute owns it; the owner of TokenService {name} can let namespace {from} have it by scopes in \
                 spec.registration.limits"
            )),
            Owner::Free => Err("the ApiRoute that is named in access does not own it".to_owned()),
        }
    }

    fn from(&self) -> &str {
        self.registration.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn about(&self, request: &AccessRequest) -> (Option<NamespacedName>, AccessState) {
        decide(self, request)
    }
}

fn has(scopes: &[String], scope: &str) -> bool {
    scopes.iter().any(|held| held == scope)
}

fn decide(decision: &Decision<'_>, request: &AccessRequest) -> (Option<NamespacedName>, AccessState) {
    let Decision { inventory, owners, service, registration } = *decision;
    let from = decision.from();
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
    let own =
        |scope: &&String| matches!(owners.owner(service.0, service.1, scope), Owner::Route(owner) if owner == name);
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
    let selected = is_selected(inventory, from, &automatic.namespaces, automatic.match_labels.as_ref());
    let scopes = automatic.scopes.clone().unwrap_or_else(|| access.scopes.clone());
    selected.then(|| (format!("spec.access.automatic of ApiRoute {api}"), Some(scopes)))
}

fn name_of(environment: Environment) -> &'static str {
    match environment {
        Environment::Production => "Production",
        Environment::Sandbox => "Sandbox",
    }
}

#[cfg(test)]
mod tests;
