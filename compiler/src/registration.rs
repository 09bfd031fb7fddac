//! Where and with what each ClientRegistration is registered, or why it is not. Everything that its namespace may not ask
//! for is refused here, before anybody calls a token service.

use portreeve_crds::{
    ConditionReason, ObjectKind, ObjectRef,
    v1alpha1::{ClientRegistration, TokenService},
};
use portreeve_policy::{NamespacedName, Secret};

use crate::{
    Access, Inventory, Options, ScopeOwners,
    access::decide_access,
    consent::{Use, consenting_text},
    duration::parse_duration,
    emit::no_endpoint,
    gateway_client::is_gateway_client,
    limits::check_limits,
    resolve::{Unresolved, ca_certificates, find_token_service},
    validate::{check_url, validate_token_service},
};

/// Where and with what a client is to be registered.
pub struct ResolvedRegistration {
    /// The TokenService.
    pub token_service: NamespacedName,
    /// Its issuer, for the credentials Secret.
    pub issuer: String,
    /// Its registration endpoint.
    pub registration_endpoint: String,
    /// Its token endpoint, for the credentials Secret.
    pub token_endpoint: Option<String>,
    /// Initial access token; `None` where registration is open.
    pub initial_access_token: Option<Secret>,
    /// Certificate authorities beside the system's, in PEM.
    pub ca_certificates: String,
    /// The Secret and key of the initial access token, for people: `namespace/name key "token"`; empty where registration
    /// is open.
    pub initial_access_token_place: String,
    /// The software statement, if there is one.
    pub software_statement: Option<Secret>,
    /// When credentials are renewed.
    pub rotation: ResolvedRotation,
    /// The scopes that may be asked for.
    pub access: Access,
}

/// When credentials are renewed, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolvedRotation {
    /// Between two renewals; `None`: only on request.
    pub interval: Option<u64>,
    /// For which the old credentials stay good.
    pub overlap: u64,
}

/// What can be said of a registration's target.
#[expect(missing_docs, reason = "the names say it")]
pub enum RegistrationTarget {
    Resolved(Box<ResolvedRegistration>),
    Unresolved(ConditionReason, String),
}

/// Where a ClientRegistration is to be registered.
pub fn registration_target(
    inventory: &Inventory,
    options: Options,
    owners: &ScopeOwners,
    registration: &ClientRegistration,
) -> RegistrationTarget {
    match resolve_registration(inventory, options, owners, registration) {
        Ok(resolved) => RegistrationTarget::Resolved(Box::new(resolved)),
        Err((reason, message)) => RegistrationTarget::Unresolved(reason, message),
    }
}

/// Which scopes a ClientRegistration may have, whether or not it can be registered; `None` where its TokenService is
/// missing or not open to it.
pub fn access_of(inventory: &Inventory, owners: &ScopeOwners, registration: &ClientRegistration) -> Option<Access> {
    let from = registration.metadata.namespace.as_deref().unwrap_or_default();
    let (name, service) = find_token_service(inventory, from, &registration.spec.token_service_ref).ok()?;
    Some(decide_access(inventory, owners, (&name, service), registration))
}

fn resolve_registration(
    inventory: &Inventory,
    options: Options,
    owners: &ScopeOwners,
    registration: &ClientRegistration,
) -> Result<ResolvedRegistration, Unresolved> {
    let from = registration.metadata.namespace.as_deref().unwrap_or_default();
    let (name, service) = find_token_service(inventory, from, &registration.spec.token_service_ref)?;
    let object = ObjectRef::new(ObjectKind::TokenService, name.namespace(), name.name());
    if validate_token_service(&object, service, options).is_err() {
        let message = format!("TokenService {name} is broken; see its status");
        return Err((ConditionReason::UnresolvedReference, message));
    }
    check_limits(inventory, &name, service, registration)?;
    let endpoints = service.spec.endpoints.clone().unwrap_or_default();
    let known = inventory.discovered.get(&name);
    let discovered = known.cloned().unwrap_or_default();
    let endpoint = endpoints.registration.or_else(|| discovered.endpoints.registration.clone());
    let Some(endpoint) = endpoint else {
        let fault = no_endpoint(known.map(AsRef::as_ref));
        let message = format!("TokenService {name} has no registration endpoint: {fault}");
        return Err((ConditionReason::TokenServiceUnavailable, message));
    };
    check_url(&endpoint, options).map_err(|message| (ConditionReason::Invalid, message))?;
    let (initial_access_token, initial_access_token_place) = initial_token(inventory, &name, service, registration)?;
    Ok(ResolvedRegistration {
        initial_access_token_place,
        software_statement: software_statement(inventory, from, registration)?,
        rotation: rotation(registration)?,
        access: decide_access(inventory, owners, (&name, service), registration),
        issuer: service.spec.issuer.clone(),
        registration_endpoint: endpoint,
        token_endpoint: endpoints.token.or_else(|| discovered.endpoints.token.clone()),
        initial_access_token,
        ca_certificates: ca_certificates(inventory, &name, service)?,
        token_service: name,
    })
}

/// The initial access token, and where it stands, for people; empty where registration is open. The gateway's own
/// clients may have one of their own, by which the server knows them.
fn initial_token(
    inventory: &Inventory,
    name: &NamespacedName,
    service: &TokenService,
    registration: &ClientRegistration,
) -> Result<(Option<Secret>, String), Unresolved> {
    let own = service.spec.client.as_ref().filter(|_| is_gateway_client(inventory, name, service, registration));
    let reference = own.and_then(|client| client.initial_access_token_ref.as_ref());
    let general = || service.spec.registration.as_ref()?.initial_access_token_ref.as_ref();
    let Some(reference) = reference.or_else(general) else { return Ok((None, String::new())) };
    let object = NamespacedName::new(name.namespace(), &reference.name)
        .map_err(|error| (ConditionReason::UnresolvedReference, error.to_string()))?;
    let place = format!("Secret {object} key {:?}", reference.key);
    let held = consenting_text(inventory, &object, &reference.key, Use::InitialAccessToken)?;
    let missing = || {
        let message = format!(
            "initial access token: Secret {object} has no value under {:?}; TokenService {name} refers to it",
            reference.key
        );
        (ConditionReason::UnresolvedReference, message)
    };
    Ok((Some(held.ok_or_else(missing)?), place))
}

fn software_statement(
    inventory: &Inventory,
    namespace: &str,
    registration: &ClientRegistration,
) -> Result<Option<Secret>, Unresolved> {
    let Some(reference) = &registration.spec.software_statement_ref else { return Ok(None) };
    let object = NamespacedName::new(namespace, &reference.name)
        .map_err(|error| (ConditionReason::UnresolvedReference, error.to_string()))?;
    let held = consenting_text(inventory, &object, &reference.key, Use::SoftwareStatement)?;
    held.map(Some).ok_or_else(|| {
        let message = format!(
            "softwareStatementRef: Secret {object} has no text under {:?}; create it, or correct the name",
            reference.key
        );
        (ConditionReason::UnresolvedReference, message)
    })
}

/// When credentials are renewed; a fault is one of `spec.rotation`.
pub(crate) fn rotation(registration: &ClientRegistration) -> Result<ResolvedRotation, Unresolved> {
    let spec = &registration.spec.rotation;
    let seconds = |field: &str, text: &str| {
        let length = parse_duration(text).map(|length| length.duration().as_secs());
        length.filter(|seconds| *seconds > 0).ok_or_else(|| {
            let message = format!("{field}: {text:?} is no duration of a second or more, such as 24h");
            (ConditionReason::Invalid, message)
        })
    };
    let overlap = seconds("overlap", &spec.overlap)?;
    let interval = spec.interval.as_deref().map(|text| seconds("interval", text)).transpose()?;
    if interval.is_some_and(|interval| interval <= overlap) {
        let message = "interval: longer than overlap, or old credentials would pile up".to_owned();
        return Err((ConditionReason::Invalid, message));
    }
    Ok(ResolvedRotation { interval, overlap })
}
