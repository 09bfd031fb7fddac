//! What the owner of a TokenService lets each namespace register there (`spec.registration.limits`).

use portreeve_crds::{
    ConditionReason,
    v1alpha1::{ClientRegistration, RegistrationLimit, TokenService},
};
use portreeve_policy::NamespacedName;
use url::Url;

use crate::{
    Inventory, gateway_client::is_gateway_client, namespaces::is_selected, pattern::any_fits, resolve::Unresolved,
};

/// What bounds a namespace at a TokenService.
enum Bound<'a> {
    /// Its own namespace, which no entry is for.
    Owner,
    /// No entries: another namespace chooses neither software identifiers nor scopes.
    Default,
    Entry(&'a RegistrationLimit),
    /// There are entries, and none is for it.
    Closed,
}

/// The first entry that is for the namespace.
fn bound<'a>(inventory: &Inventory, name: &NamespacedName, service: &'a TokenService, from: &str) -> Bound<'a> {
    let limits = service.spec.registration.as_ref().map(|spec| spec.limits.as_slice()).unwrap_or_default();
    let is_for = |limit: &&RegistrationLimit| {
        limit.namespaces.is_empty() && limit.match_labels.is_none()
            || is_selected(inventory, from, &limit.namespaces, limit.match_labels.as_ref())
    };
    match limits.iter().find(is_for) {
        Some(limit) => Bound::Entry(limit),
        None if from == name.namespace() => Bound::Owner,
        None if limits.is_empty() => Bound::Default,
        None => Bound::Closed,
    }
}

/// Whether a namespace may have a scope that no ApiRoute owns and no pattern of `spec.scopes` fits.
pub(crate) fn free_scope(
    inventory: &Inventory,
    name: &NamespacedName,
    service: &TokenService,
    from: &str,
    scope: &str,
) -> bool {
    match bound(inventory, name, service, from) {
        Bound::Owner => true,
        Bound::Entry(limit) if from == name.namespace() && limit.scopes.is_empty() => true,
        Bound::Entry(limit) => any_fits(&limit.scopes, scope),
        Bound::Closed | Bound::Default => false,
    }
}

/// Checks a ClientRegistration against what its namespace may register. The message says what is over the bound, and who
/// can widen it.
pub(crate) fn check_limits(
    inventory: &Inventory,
    name: &NamespacedName,
    service: &TokenService,
    registration: &ClientRegistration,
) -> Result<(), Unresolved> {
    // What the operator made for the owner of the TokenService is the owner's own wish.
    if is_gateway_client(inventory, name, service, registration) {
        return Ok(());
    }
    let from = registration.metadata.namespace.as_deref().unwrap_or_default();
    let refused = |field: &str, what: &str| {
        let message = format!(
            "{field}: TokenService {name} does not let namespace {from} register {what}; its owner can in \
             spec.registration.limits"
        );
        Err((ConditionReason::LimitExceeded, message))
    };
    let metadata = &registration.spec.metadata;
    let limit = match bound(inventory, name, service, from) {
        Bound::Closed => return refused("spec.tokenServiceRef", "anything"),
        Bound::Default if metadata.software_id.is_some() => {
            return refused("spec.metadata.softwareId", "a software identifier of its choice");
        }
        Bound::Default | Bound::Owner => return Ok(()),
        Bound::Entry(limit) => limit,
    };
    if let Some(software_id) = &metadata.software_id
        && !any_fits(&limit.software_ids, software_id)
    {
        return refused("spec.metadata.softwareId", "this software identifier");
    }
    if let Some(allowed) = &limit.grant_types
        && metadata.grant_types.iter().any(|grant| !allowed.contains(grant))
    {
        return refused("spec.metadata.grantTypes", "one of these grant types");
    }
    if let Some(hosts) = &limit.redirect_hosts {
        if metadata.redirect_uris.iter().any(|uri| !is_at(hosts, uri)) {
            return refused("spec.metadata.redirectUris", "a redirect URI at one of these hosts");
        }
        let leads = |value: &&String| value.contains("://") && !is_at(hosts, value);
        if metadata.additional.values().any(|value| leads(&value)) {
            return refused("spec.metadata.additional", "a URL at one of these hosts");
        }
    }
    if let Some(most) = limit.max_clients
        && rank(inventory, name, registration, from) >= usize::try_from(most).unwrap_or(0)
    {
        return refused("spec.tokenServiceRef", &format!("more than {most} clients"));
    }
    Ok(())
}

/// Whether a URI is at one of the hosts. One of another scheme than http, or that is no URI, is at none.
fn is_at(hosts: &[String], uri: &str) -> bool {
    let url = Url::parse(uri).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let host = url.as_ref().and_then(Url::host_str);
    host.is_some_and(|host| any_fits(hosts, host))
}

/// How many of the namespace's registrations at this TokenService are older.
fn rank(inventory: &Inventory, service: &NamespacedName, registration: &ClientRegistration, from: &str) -> usize {
    let age = |one: &ClientRegistration| {
        let made = one.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (made.is_none(), made, one.metadata.name.clone())
    };
    let mine = age(registration);
    let same_place = |one: &ClientRegistration| {
        let reference = &one.spec.token_service_ref;
        reference.name == service.name() && reference.namespace.as_deref().unwrap_or(from) == service.namespace()
    };
    let of_namespace = inventory.registrations.iter().filter(|(name, _)| name.namespace() == from);
    of_namespace.filter(|(_, one)| same_place(one) && age(one) < mine).count()
}

#[cfg(test)]
mod tests;
