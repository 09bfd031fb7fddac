//! Last pass: resources, and the snapshot of every pod.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portreeve_crds::{ConditionReason, v1alpha1::TokenService as TokenServiceObject};
use portreeve_policy::{
    Access, Authentication, Authenticator, Introspection, Keys, NamespacedName, Refusal, RefusalReason, Route, Rule,
    Secret, SecretName, Snapshot, TokenService,
};

use crate::{
    Discovered, Inventory, Options,
    attach::PolicyIndex,
    collide::Collision,
    resolve::{ca_certificates, gateway_credentials},
    validate::{ValidIntrospection, ValidRoute, ValidTokenService, check_url},
};

/// A token service as a resource, the secret that goes with it, and what is missing.
pub(crate) struct EmittedService {
    pub(crate) resource: Arc<TokenService>,
    pub(crate) secret: Option<(SecretName, Secret)>,
    pub(crate) missing: Option<(ConditionReason, String)>,
}

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
        let lost =
            |position: usize| collisions.iter().any(|c| c.route == *name && c.rule == number && c.position == position);
        let kept: Vec<_> =
            rule.matches.iter().enumerate().filter(|(position, _)| !lost(*position)).map(|(_, m)| m.clone()).collect();
        let settled = index.settle(name, &rule.name);
        if kept.is_empty() {
            continue;
        }
        let access = match (&route.closed, fault) {
            (Some(reason), _) => Access::Refused(closed(reason)),
            (None, None) => settled.access,
            (None, Some(message)) => {
                Access::Refused(Refusal { reason: RefusalReason::InvalidRoute, message: message.to_owned() })
            }
        };
        rules.push(Rule {
            name: rule.name.clone(),
            matches: kept,
            timeout: rule.timeout,
            upgrades: rule.upgrades.clone(),
            policies: settled.policies,
            access,
            // A closed route does no work for anybody.
            shadows: if route.closed.is_none() { settled.shadows } else { Vec::new() },
        });
    }
    Route {
        generation: route.generation,
        hostnames: route.hostnames.clone(),
        client_address: route.client_address.clone(),
        upstream: route.upstream.clone(),
        rules,
    }
}

fn closed(reason: &str) -> Refusal {
    let said: String = reason.chars().filter(|c| !c.is_control()).take(256).collect();
    let said = if said.trim().is_empty() { "no reason given".to_owned() } else { said };
    Refusal { reason: RefusalReason::Closed, message: format!("closed by annotation portreeve.dev/closed: {said}") }
}

/// Makes the resource of a token service.
pub(crate) fn emit_token_service(
    inventory: &Inventory,
    options: Options,
    name: &NamespacedName,
    object: &TokenServiceObject,
    valid: &ValidTokenService,
) -> EmittedService {
    let discovered = inventory.discovered.get(name).cloned().unwrap_or_default();
    let keys = discovered.keys.clone().map_or(Keys::Unavailable, Keys::Known);
    let mut missing = None;
    if keys == Keys::Unavailable {
        let fault = discovered.fault.clone().unwrap_or_else(|| "not fetched yet".to_owned());
        missing = Some((ConditionReason::AwaitingKeys, format!("key set: {fault}")));
    }
    let (introspection, secret) = match &valid.introspection {
        None => (Introspection::Disabled, None),
        Some(settings) => match introspection(inventory, options, name, object, settings) {
            Ok((introspection, secret)) => (introspection, Some(secret)),
            Err(unresolved) => {
                missing = Some(unresolved);
                (Introspection::Unavailable, None)
            }
        },
    };
    let resource = Arc::new(TokenService { issuer: valid.issuer.clone(), keys, introspection });
    EmittedService { resource, secret, missing }
}

fn introspection(
    inventory: &Inventory,
    options: Options,
    name: &NamespacedName,
    object: &TokenServiceObject,
    settings: &ValidIntrospection,
) -> Result<(Introspection, (SecretName, Secret)), (ConditionReason, String)> {
    let configured = object.spec.endpoints.as_ref().and_then(|endpoints| endpoints.introspection.clone());
    let discovered = inventory.discovered.get(name);
    let found = configured.or_else(|| discovered.and_then(|known| known.endpoints.introspection.clone()));
    let Some(endpoint) = found else {
        let fault = no_endpoint(discovered.map(Arc::as_ref));
        return Err((ConditionReason::TokenServiceUnavailable, format!("introspection endpoint: {fault}")));
    };
    check_url(&endpoint, options).map_err(|message| (ConditionReason::Invalid, message))?;
    let (client, secret) = gateway_credentials(inventory, name, object)?;
    let ca_certificates = ca_certificates(inventory, name, object)?;
    let secret = (client.client_secret.clone(), secret);
    let introspection = Introspection::Enabled {
        endpoint,
        dialect: settings.dialect,
        client,
        ca_certificates,
        addresses: options.addresses,
        timeout: settings.timeout,
        cache: settings.cache,
    };
    Ok((introspection, secret))
}

/// Why a metadata document brought no endpoint.
pub(crate) fn no_endpoint(discovered: Option<&Discovered>) -> &str {
    match discovered {
        None => "the server's metadata is not fetched yet",
        Some(known) => known.fault.as_deref().unwrap_or("the server's metadata names none"),
    }
}

/// Token services that a route's rules refer to.
pub(crate) fn services_of(route: &Route) -> BTreeSet<&NamespacedName> {
    let accesses = route
        .rules
        .iter()
        .flat_map(|rule| std::iter::once(&rule.access).chain(rule.shadows.iter().map(|shadow| &shadow.access)));
    let lists = accesses.filter_map(|access| match access {
        Access::Guarded { authentication: Authentication::AnyOf(list), .. } => Some(list),
        Access::Guarded { authentication: Authentication::Anonymous, .. } | Access::Refused(_) => None,
    });
    lists.flatten().filter_map(Authenticator::token_service).collect()
}

/// The snapshot of a pod that carries these routes.
pub(crate) fn emit_snapshot(
    names: &[NamespacedName],
    routes: &BTreeMap<NamespacedName, Arc<Route>>,
    services: &BTreeMap<NamespacedName, EmittedService>,
) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, route) in names.iter().filter_map(|name| routes.get_key_value(name)) {
        for (service, emitted) in services_of(route).into_iter().filter_map(|name| services.get_key_value(name)) {
            snapshot.token_services.insert(service.clone(), Arc::clone(&emitted.resource));
            snapshot.secrets.extend(emitted.secret.clone());
        }
        snapshot.routes.insert(name.clone(), Arc::clone(route));
    }
    snapshot
}
