//! Last pass: resources, and the snapshot of every pod.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portreeve_crds::{ConditionReason, v1alpha1::TokenService as TokenServiceObject};
use portreeve_policy::{
    Access, Authentication, ClientAuthenticationMethod, EndpointAccess, Introspection, Keys, Match, Millis,
    NamespacedName, Reach, Refusal, RefusalReason, Route, Rule, Secret, SecretName, Snapshot, TokenExchange,
    TokenService,
};

use crate::{
    Discovered, Inventory, Options,
    attach::PolicyIndex,
    collide::Collision,
    resolve::{Unresolved, ca_certificates, gateway_credentials},
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
    let mut secret = None;
    let mut take = |found: Result<(Box<EndpointAccess>, Secret), Unresolved>| {
        found.map(|(access, held)| {
            secret = Some((access.client.secret.clone(), held));
            access
        })
    };
    let asked = |kind| endpoint(inventory, options, name, object, kind);
    let introspection = match &valid.introspection {
        None => Introspection::Disabled,
        Some(ValidIntrospection { dialect, timeout, cache }) => match take(asked(Endpoint::Introspection(*timeout))) {
            Ok(access) => Introspection::Enabled { access, dialect: dialect.clone(), cache: *cache },
            Err(unresolved) => {
                missing = Some(unresolved);
                Introspection::Unavailable
            }
        },
    };
    let exchange = match &object.spec.client {
        None => TokenExchange::Disabled,
        Some(_) => take(asked(Endpoint::Token)).map_or(TokenExchange::Unavailable, TokenExchange::Enabled),
    };
    let resource = Arc::new(TokenService { issuer: valid.issuer.clone(), keys, introspection, exchange });
    EmittedService { resource, secret, missing }
}

/// An endpoint that proxies call.
#[derive(Clone, Copy)]
enum Endpoint {
    /// With its time limit.
    Introspection(Millis),
    Token,
}

fn endpoint(
    inventory: &Inventory,
    options: Options,
    name: &NamespacedName,
    object: &TokenServiceObject,
    kind: Endpoint,
) -> Result<(Box<EndpointAccess>, Secret), Unresolved> {
    let configured = object.spec.endpoints.clone().unwrap_or_default();
    let discovered = inventory.discovered.get(name);
    let known = discovered.map(|known| known.endpoints.clone()).unwrap_or_default();
    let (word, configured, plain, alias) = match kind {
        Endpoint::Introspection(_) => {
            ("introspection", configured.introspection, known.introspection, known.mtls.introspection)
        }
        Endpoint::Token => ("token", configured.token, known.token, known.mtls.token),
    };
    let Some(endpoint) = configured.clone().or(plain) else {
        let fault = no_endpoint(discovered.map(Arc::as_ref));
        return Err((ConditionReason::TokenServiceUnavailable, format!("{word} endpoint: {fault}")));
    };
    let (client, secret) = gateway_credentials(inventory, name, object)?;
    // What the object says wins; else a client with a certificate uses the alias, if there is one (RFC 8705 section 5).
    let by_certificate = client.method == ClientAuthenticationMethod::TlsClientAuth;
    let endpoint = configured.or_else(|| alias.filter(|_| by_certificate)).unwrap_or(endpoint);
    check_url(&endpoint, options).map_err(|message| (ConditionReason::Invalid, message))?;
    let ca_certificates = ca_certificates(inventory, name, object)?;
    let timeout = match kind {
        Endpoint::Introspection(timeout) => timeout,
        Endpoint::Token => EXCHANGE_TIMEOUT,
    };
    let access = EndpointAccess { endpoint, client, ca_certificates, addresses: options.addresses, timeout };
    Ok((Box::new(access), secret))
}

/// For one exchange of a token.
const EXCHANGE_TIMEOUT: Millis = Millis::at_least_one(2000);

/// Why a metadata document brought no endpoint.
pub(crate) fn no_endpoint(discovered: Option<&Discovered>) -> &str {
    match discovered {
        None => "the server's metadata is not fetched yet",
        Some(known) => known.fault.as_deref().unwrap_or("the server's metadata names none"),
    }
}

/// Token services that a route's rules refer to.
pub(crate) fn services_of(route: &Route) -> BTreeSet<&NamespacedName> {
    authentications(route).flat_map(Authentication::token_services).collect()
}

/// Of rules in force and of policies on trial.
fn authentications(route: &Route) -> impl Iterator<Item = &Authentication> {
    let accesses = route
        .rules
        .iter()
        .flat_map(|rule| std::iter::once(&rule.access).chain(rule.shadows.iter().map(|shadow| &shadow.access)));
    accesses.filter_map(|access| match access {
        Access::Guarded { authentication, .. } => Some(authentication),
        Access::Refused(_) => None,
    })
}

/// The snapshot of a pod that carries these routes.
pub(crate) fn emit_snapshot(
    inventory: &Inventory,
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
        for secret in authentications(route).flat_map(Authentication::secrets) {
            snapshot.secrets.extend(secret_of(inventory, secret).map(|held| (secret.clone(), held)));
        }
        snapshot.routes.insert(name.clone(), Arc::clone(route));
    }
    snapshot
}

fn secret_of(inventory: &Inventory, name: &SecretName) -> Option<Secret> {
    let signing = inventory.signing_keys.get(name.object().namespace()).filter(|key| key.name == *name);
    let held = || inventory.secrets.get(name.object())?.get(name.key()).cloned();
    signing.map(|key| key.private_key.clone()).or_else(held)
}
