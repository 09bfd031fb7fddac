//! Whose scopes are whose. Scopes belong to a TokenService, so its owner says which namespaces' ApiRoutes may own which
//! (`spec.scopes`); an ApiRoute's own word counts only there.
//!
//! | scope | may be owned by ApiRoutes of | until one does |
//! |---|---|---|
//! | a pattern of `spec.scopes` fits | the namespaces of the narrowest pattern that fits | nobody gets it |
//! | no pattern fits | the TokenService's own namespace | it is free, see `free_scope` in `limits.rs` |
//!
//! INVARIANTS
//! - A claim that is not granted takes nothing from anybody, whether its ApiRoute can be read or not.
//! - Of two granted claims the one that is held already (`status.ownedScopes`) stays, so that no edit of an older object
//!   takes a scope over.
//! - The scopes of an owner that cannot be read any more are nobody's, not free.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use portreeve_crds::{
    Object, ObjectKind, Unreadable,
    v1alpha1::{ApiRoute, OwnedScopes, TokenService},
};
use portreeve_policy::NamespacedName;
use serde_json::Value;

use crate::{
    Inventory, Stray,
    namespaces::is_selected,
    pattern::{Narrowness, Pattern},
};

/// Most scopes that one ApiRoute names, and most TokenServices at which it owns some.
const MAX_SCOPES: usize = 64;

/// Owners of scopes at every TokenService. Made once for an inventory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScopeOwners {
    at: BTreeMap<NamespacedName, BTreeMap<String, Owner>>,
    routes: BTreeMap<NamespacedName, ClaimReport>,
    /// Namespaces with something that may be an ApiRoute and cannot be told; `None`: any of them.
    unclear: BTreeSet<Option<String>>,
}

/// Who owns a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This ApiRoute.
    Route(NamespacedName),
    /// This one, which cannot be read.
    Unreadable(NamespacedName),
    /// A pattern fits it, and no ApiRoute that may own it names it.
    Unclaimed,
    /// No pattern fits it, and the TokenService's own namespace does not name it.
    Free,
}

/// What became of the scopes that one ApiRoute names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClaimReport {
    /// Scopes that it owns, by TokenService.
    pub(crate) owned: BTreeMap<NamespacedName, BTreeSet<String>>,
    /// Scopes that another ApiRoute has: the scope, the TokenService, the other one.
    pub(crate) lost: BTreeSet<(String, NamespacedName, NamespacedName)>,
    /// Scopes that no TokenService grants to its namespace.
    pub(crate) ungranted: BTreeSet<String>,
}

/// What one ApiRoute says that it owns.
struct Claim<'a> {
    route: NamespacedName,
    readable: bool,
    created: Option<&'a Time>,
    scopes: BTreeSet<&'a str>,
    held: BTreeSet<(&'a str, &'a str)>,
}

impl ScopeOwners {
    /// Settles every claim.
    pub fn of(inventory: &Inventory) -> Self {
        let claims = claims(inventory);
        let may_own = |stray: &&std::sync::Arc<Stray>| matches!(stray.kind, None | Some(ObjectKind::ApiRoute));
        let unclear = inventory.strays.iter().filter(may_own).map(|stray| stray.namespace.clone()).collect();
        let mut owners = Self { unclear, ..Self::default() };
        for claim in claims.iter().filter(|claim| claim.readable) {
            owners.routes.insert(claim.route.clone(), ClaimReport::default());
        }
        for (name, service) in &inventory.token_services {
            owners.assign_scopes(inventory, name, service, &claims);
        }
        for claim in &claims {
            let Some(report) = owners.routes.get_mut(&claim.route) else { continue };
            let settled = |scope: &str| {
                report.owned.values().any(|owned| owned.contains(scope))
                    || report.lost.iter().any(|(lost, _, _)| lost == scope)
            };
            let ungranted: Vec<_> = claim.scopes.iter().filter(|scope| !settled(scope)).collect();
            let ungranted: BTreeSet<String> = ungranted.into_iter().map(|scope| (*scope).to_owned()).collect();
            report.ungranted = ungranted;
        }
        owners
    }

    fn assign_scopes(
        &mut self,
        inventory: &Inventory,
        name: &NamespacedName,
        service: &TokenService,
        claims: &[Claim<'_>],
    ) {
        let grants = Grants { inventory, name, service };
        let place = name.to_string();
        let mut found: BTreeMap<&str, Vec<&Claim<'_>>> = BTreeMap::new();
        for claim in claims.iter().filter(|claim| grants.may_concern(claim.route.namespace())) {
            for scope in &claim.scopes {
                found.entry(scope).or_default().push(claim);
            }
        }
        let mut owners = BTreeMap::new();
        for (scope, mut claims) in found {
            claims.retain(|claim| grants.admit(scope, claim.route.namespace()));
            // One without a time is not from a cluster, where all have one; it comes last.
            claims.sort_by_key(|claim| {
                let held = claim.held.contains(&(place.as_str(), scope));
                (!held, claim.created.is_none(), claim.created.map(|time| time.0), &claim.route)
            });
            let Some((winner, others)) = claims.split_first() else { continue };
            for other in others {
                if let Some(report) = self.routes.get_mut(&other.route) {
                    report.lost.insert((scope.to_owned(), name.clone(), winner.route.clone()));
                }
            }
            if let Some(report) = self.routes.get_mut(&winner.route) {
                report.owned.entry(name.clone()).or_default().insert(scope.to_owned());
            }
            let route = winner.route.clone();
            owners
                .insert(scope.to_owned(), if winner.readable { Owner::Route(route) } else { Owner::Unreadable(route) });
        }
        self.at.insert(name.clone(), owners);
    }

    /// Who owns a scope at a TokenService.
    pub(crate) fn owner(&self, name: &NamespacedName, service: &TokenService, scope: &str) -> Owner {
        if let Some(owner) = self.at.get(name).and_then(|owners| owners.get(scope)) {
            return owner.clone();
        }
        let unclear = self.unclear.contains(&None) || self.unclear.contains(&Some(name.namespace().to_owned()));
        if unclear || covering(service, scope).is_some() { Owner::Unclaimed } else { Owner::Free }
    }

    /// What became of the scopes of each ApiRoute that names some and can be read.
    pub(crate) fn reports(&self) -> &BTreeMap<NamespacedName, ClaimReport> {
        &self.routes
    }
}

impl ClaimReport {
    /// As it stands in the status.
    pub(crate) fn to_status(&self) -> Vec<OwnedScopes> {
        let one = |(service, scopes): (&NamespacedName, &BTreeSet<String>)| OwnedScopes {
            token_service: service.to_string(),
            scopes: scopes.iter().cloned().collect(),
        };
        self.owned.iter().take(MAX_SCOPES).map(one).collect()
    }
}

/// What one TokenService's owner grants.
struct Grants<'a> {
    inventory: &'a Inventory,
    name: &'a NamespacedName,
    service: &'a TokenService,
}

impl Grants<'_> {
    /// Whether a namespace may own anything at all.
    fn may_concern(&self, namespace: &str) -> bool {
        namespace == self.name.namespace()
            || self.service.spec.scopes.iter().any(|grant| self.selects(grant, namespace))
    }

    fn admit(&self, scope: &str, namespace: &str) -> bool {
        let Some(narrowest) = covering(self.service, scope) else { return namespace == self.name.namespace() };
        self.service.spec.scopes.iter().any(|grant| {
            let pattern = Pattern::parse(&grant.pattern).ok();
            let decides = pattern.is_some_and(|pattern| pattern.fits(scope) && pattern.narrowness() == narrowest);
            decides && self.selects(grant, namespace)
        })
    }

    fn selects(&self, grant: &portreeve_crds::v1alpha1::ScopeGrant, namespace: &str) -> bool {
        is_selected(self.inventory, namespace, &grant.namespaces, grant.match_labels.as_ref())
    }
}

/// The narrowest pattern that fits a scope.
fn covering(service: &TokenService, scope: &str) -> Option<Narrowness> {
    let patterns = service.spec.scopes.iter().filter_map(|grant| Pattern::parse(&grant.pattern).ok());
    patterns.filter(|pattern| pattern.fits(scope)).map(Pattern::narrowness).max()
}

fn claims(inventory: &Inventory) -> Vec<Claim<'_>> {
    let mut found: Vec<Claim<'_>> = inventory.routes.iter().filter_map(|(name, route)| of_route(name, route)).collect();
    let unreadable = inventory.unreadable.values().filter(|broken| broken.object.kind == ObjectKind::ApiRoute);
    found.extend(unreadable.filter_map(|broken| of_unreadable(broken)));
    found
}

fn of_route<'a>(name: &NamespacedName, route: &'a ApiRoute) -> Option<Claim<'a>> {
    let access = route.spec.access.as_ref()?;
    let held = route.status.iter().flat_map(|status| &status.owned_scopes);
    Some(Claim {
        route: name.clone(),
        readable: true,
        created: route.metadata.creation_timestamp.as_ref(),
        scopes: access.scopes.iter().take(MAX_SCOPES).map(String::as_str).collect(),
        held: held.flat_map(|owned| owned.scopes.iter().map(|s| (owned.token_service.as_str(), s.as_str()))).collect(),
    })
}

/// What an object that cannot be read names as far as it can be told, and what it had when it could.
fn of_unreadable(broken: &Unreadable) -> Option<Claim<'_>> {
    let route = NamespacedName::new(&broken.object.namespace, &broken.object.name).ok()?;
    let list = |pointer: &str| broken.value.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let raw = list("/spec/access/scopes").filter_map(Value::as_str).take(MAX_SCOPES);
    let held: BTreeSet<(&str, &str)> = list("/status/ownedScopes")
        .take(MAX_SCOPES)
        .filter_map(|owned| Some((owned.get("tokenService")?.as_str()?, owned.get("scopes")?.as_array()?)))
        .flat_map(|(service, scopes)| scopes.iter().filter_map(move |scope| Some((service, scope.as_str()?))))
        .collect();
    let understood = match &broken.understood {
        Some(Object::ApiRoute(understood)) => Some(understood),
        _ => None,
    };
    let typed = understood.and_then(|route| route.spec.access.as_ref()).into_iter().flat_map(|access| &access.scopes);
    let scopes: BTreeSet<&str> =
        raw.chain(held.iter().map(|(_, scope)| *scope)).chain(typed.map(String::as_str)).collect();
    let created = understood.and_then(|route| route.metadata.creation_timestamp.as_ref());
    Some(Claim { route, readable: false, created, scopes, held })
}

#[cfg(test)]
mod tests;
