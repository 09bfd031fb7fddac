//! Second pass: every reference is found and allowed, or there is a diagnostic.

mod authentication;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use authentication::References;
use portreeve_crds::{
    CaBundleRef, CaBundleRefKind, ConditionReason, TokenServiceRef,
    v1alpha1::{
        ApiPolicy, ClientMethod, ClientRegistration, CredentialSpec, MintSpec, NamespacesFrom, SecretMethod,
        TokenService,
    },
};
use portreeve_policy::{
    ClientAuthentication, ClientAuthenticationMethod, InvalidName, NamespacedName, Secret, SecretName,
};

use crate::{
    Access, Inventory, Options, decide_access,
    duration::parse_duration,
    emit::no_endpoint,
    pem::PemKind,
    validate::{ValidTokenService, check_url},
};

/// Why a reference does not hold: reason, and a message that names both ends and the cure.
pub(crate) type Unresolved = (ConditionReason, String);

/// Token services by name; `None` for one that is there but broken.
pub(crate) type Services = BTreeMap<NamespacedName, Option<ValidTokenService>>;

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

/// Finds the TokenService that an object of namespace `from` refers to, if its owner allows that.
pub(crate) fn find_token_service<'a>(
    inventory: &'a Inventory,
    from: &str,
    reference: &TokenServiceRef,
) -> Result<(NamespacedName, &'a TokenService), Unresolved> {
    let namespace = reference.namespace.as_deref().unwrap_or(from);
    let missing = || {
        let message =
            format!("TokenService {namespace}/{} does not exist; create it or correct the name", reference.name);
        (ConditionReason::UnresolvedReference, message)
    };
    let name = NamespacedName::new(namespace, &reference.name).map_err(|_ignored: InvalidName| missing())?;
    let service = inventory.token_services.get(&name).ok_or_else(missing)?;
    if allows(inventory, service, namespace, from) {
        return Ok((name, service));
    }
    let message =
        format!("TokenService {name} is not open to namespace {from}; its owner can say so in spec.allowedNamespaces");
    Err((ConditionReason::NotPermitted, message))
}

fn allows(inventory: &Inventory, service: &TokenService, owner: &str, from: &str) -> bool {
    let allowed = &service.spec.allowed_namespaces;
    match allowed.from {
        _ if owner == from => true,
        NamespacesFrom::Same => false,
        NamespacesFrom::All => true,
        NamespacesFrom::Selector => {
            let (Some(wanted), Some(labels)) = (&allowed.match_labels, inventory.namespaces.get(from)) else {
                return false;
            };
            !wanted.is_empty() && wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
        }
    }
}

/// Namespaces whose policies have tokens minted, so that the gateway needs a signing key there.
pub fn minting_namespaces(inventory: &Inventory) -> BTreeSet<String> {
    let mints = |policy: &ApiPolicy| {
        let list = policy.spec.authentication.as_ref().and_then(|spec| spec.any_of.as_ref());
        list.into_iter().flatten().any(|entry| {
            let single = CredentialSpec::from(entry.clone());
            std::iter::once(&single).chain(entry.all_of.iter().flatten()).any(|one| mint_of(one).is_some())
        })
    };
    let found = inventory.policies.iter().filter(|(_, policy)| mints(policy));
    found.map(|(name, _)| name.namespace().to_owned()).collect()
}

fn mint_of(spec: &CredentialSpec) -> Option<&MintSpec> {
    let CredentialSpec { api_key, basic, client_certificate, digest, exchange, introspection, jwt } = spec;
    let mints = [
        api_key.as_ref().and_then(|spec| spec.mint.as_ref()),
        basic.as_ref().and_then(|spec| spec.mint.as_ref()),
        client_certificate.as_ref().and_then(|spec| spec.mint.as_ref()),
        digest.as_ref().and_then(|spec| spec.mint.as_ref()),
        exchange.as_ref().and_then(|spec| spec.mint.as_ref()),
        introspection.as_ref().and_then(|spec| spec.mint.as_ref()),
        jwt.as_ref().and_then(|spec| spec.mint.as_ref()),
    ];
    mints.into_iter().flatten().next()
}

/// How the gateway authenticates at a token service, and with which secret.
pub fn gateway_credentials(
    inventory: &Inventory,
    name: &NamespacedName,
    service: &TokenService,
) -> Result<(ClientAuthentication, Secret), (ConditionReason, String)> {
    let unresolved = |message: String| (ConditionReason::UnresolvedReference, message);
    let Some(client) = &service.spec.client else { return Err(unresolved("spec.client is missing".to_owned())) };
    let (secret_name, method) = match (&client.registration_ref, &client.secret_ref) {
        (Some(reference), None) => registered_credentials(inventory, name, &reference.name)?,
        (None, Some(reference)) => (reference.name.clone(), client.method),
        _ => return Err(unresolved("spec.client: say exactly one of registrationRef and secretRef".to_owned())),
    };
    let object = NamespacedName::new(name.namespace(), &secret_name).map_err(|error| unresolved(error.to_string()))?;
    let Some(secret) = inventory.secrets.get(&object) else {
        if client.registration_ref.is_some() {
            let message = format!("Secret {object} is not written yet; the gateway's client is being registered");
            return Err((ConditionReason::AwaitingRegistration, message));
        }
        let keys = "client_id and, by method, client_secret, private_key or tls.crt and tls.key";
        return Err(unresolved(format!("Secret {object} does not exist; create it with {keys}")));
    };
    let value = |key: &str| {
        let found = secret.get(key).filter(|value| !value.expose().is_empty());
        found.ok_or_else(|| unresolved(format!("Secret {object} has no value under {key:?}")))
    };
    let text = |key: &str| {
        let text = value(key)?.expose_str().map(str::to_owned);
        text.ok_or_else(|| unresolved(format!("Secret {object}: {key} is not text")))
    };
    let client_id = text("client_id")?;
    let (key, held, method) = match method {
        SecretMethod::ClientSecretBasic => {
            ("client_secret", value("client_secret")?.clone(), ClientAuthenticationMethod::ClientSecretBasic)
        }
        SecretMethod::ClientSecretPost => {
            ("client_secret", value("client_secret")?.clone(), ClientAuthenticationMethod::ClientSecretPost)
        }
        SecretMethod::PrivateKeyJwt => {
            let key_id = if secret.contains_key("key_id") { text("key_id")? } else { String::new() };
            let method = ClientAuthenticationMethod::PrivateKeyJwt { key_id, audience: service.spec.issuer.clone() };
            ("private_key", value("private_key")?.clone(), method)
        }
        SecretMethod::TlsClientAuth => {
            // One secret of both, so that a pair is never torn apart on the way.
            let pair = joined(value("tls.crt")?, value("tls.key")?);
            ("tls.pem", pair, ClientAuthenticationMethod::TlsClientAuth)
        }
    };
    let key = SecretName::new(object, key).map_err(|error| unresolved(error.to_string()))?;
    Ok((ClientAuthentication { client_id, secret: key, method }, held))
}

fn joined(first: &Secret, second: &Secret) -> Secret {
    let mut both = Vec::with_capacity(first.expose().len().saturating_add(second.expose().len()).saturating_add(1));
    both.extend_from_slice(first.expose());
    both.push(b'\n');
    both.extend_from_slice(second.expose());
    Secret::new(both)
}

/// The Secret that a ClientRegistration of ours writes, and how its client authenticates.
fn registered_credentials(
    inventory: &Inventory,
    service: &NamespacedName,
    registration: &str,
) -> Result<(String, SecretMethod), Unresolved> {
    let unresolved = |message: String| (ConditionReason::UnresolvedReference, message);
    let name = NamespacedName::new(service.namespace(), registration).map_err(|error| unresolved(error.to_string()))?;
    let Some(found) = inventory.registrations.get(&name) else {
        return Err(unresolved(format!("ClientRegistration {name} does not exist; create it or correct the name")));
    };
    let reference = &found.spec.token_service_ref;
    let at = reference.namespace.as_deref().unwrap_or_else(|| name.namespace());
    if at != service.namespace() || reference.name != service.name() {
        return Err(unresolved(format!("ClientRegistration {name} is registered at another TokenService")));
    }
    if !found.spec.credentials_keys.is_empty() {
        return Err(unresolved(format!(
            "ClientRegistration {name} renames keys of its Secret; the gateway reads them by their own names, so leave \
             credentialsKeys out there"
        )));
    }
    let method = match found.spec.authentication.method {
        ClientMethod::ClientSecretBasic => SecretMethod::ClientSecretBasic,
        ClientMethod::ClientSecretPost => SecretMethod::ClientSecretPost,
        ClientMethod::None => {
            return Err(unresolved(format!(
                "ClientRegistration {name} is a public client; introspection needs a secret"
            )));
        }
        ClientMethod::PrivateKeyJwt => SecretMethod::PrivateKeyJwt,
        ClientMethod::SelfSignedTlsClientAuth => SecretMethod::TlsClientAuth,
        ClientMethod::ClientSecretJwt | ClientMethod::TlsClientAuth => {
            return Err(unresolved(format!(
                "ClientRegistration {name} authenticates in a way that the gateway does not speak; use PrivateKeyJwt, \
                 ClientSecretBasic, ClientSecretPost or SelfSignedTlsClientAuth there"
            )));
        }
    };
    Ok((found.spec.credentials_secret_name.clone(), method))
}

/// Certificate authorities that a token service is to be trusted with; empty when only the system's count.
pub fn ca_certificates(
    inventory: &Inventory,
    name: &NamespacedName,
    service: &TokenService,
) -> Result<String, (ConditionReason, String)> {
    let Some(trust) = &service.spec.trust else { return Ok(String::new()) };
    ca_bundle(inventory, name.namespace(), &trust.ca_ref)
}

/// Certificate authorities that an object of this namespace refers to.
pub(crate) fn ca_bundle(
    inventory: &Inventory,
    namespace: &str,
    reference: &CaBundleRef,
) -> Result<String, (ConditionReason, String)> {
    let unresolved = |message: String| (ConditionReason::UnresolvedReference, message);
    let found = referenced_text(inventory, namespace, reference);
    let (object, text) = found.map_err(|error| unresolved(error.to_string()))?;
    let text = text.ok_or_else(|| unresolved(format!("{object} has no text under {:?}", reference.key)))?;
    // A broken bundle must not fall back to the system's authorities (M3).
    let fault = |fault| unresolved(format!("{object} key {:?} {fault}", reference.key));
    PemKind::Certificate.only(&text).map_err(fault)
}

/// The object that is referred to, with its kind, and the text that it holds under the key.
fn referenced_text(
    inventory: &Inventory,
    namespace: &str,
    reference: &CaBundleRef,
) -> Result<(String, Option<String>), InvalidName> {
    let object = NamespacedName::new(namespace, &reference.name)?;
    Ok(match reference.kind {
        CaBundleRefKind::ConfigMap => {
            let held = inventory.config_maps.get(&object).and_then(|map| map.get(&reference.key));
            (format!("ConfigMap {object}"), held.cloned())
        }
        CaBundleRefKind::Secret => {
            let held = inventory.secrets.get(&object).and_then(|map| map.get(&reference.key));
            (format!("Secret {object}"), held.and_then(Secret::expose_str).map(str::to_owned))
        }
    })
}

/// Where a ClientRegistration is to be registered.
pub fn registration_target(
    inventory: &Inventory,
    options: Options,
    registration: &ClientRegistration,
) -> RegistrationTarget {
    match resolve_registration(inventory, options, registration) {
        Ok(resolved) => RegistrationTarget::Resolved(Box::new(resolved)),
        Err((reason, message)) => RegistrationTarget::Unresolved(reason, message),
    }
}

fn resolve_registration(
    inventory: &Inventory,
    options: Options,
    registration: &ClientRegistration,
) -> Result<ResolvedRegistration, Unresolved> {
    let from = registration.metadata.namespace.as_deref().unwrap_or_default();
    let (name, service) = find_token_service(inventory, from, &registration.spec.token_service_ref)?;
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
    let reference = service.spec.registration.as_ref().and_then(|spec| spec.initial_access_token_ref.as_ref());
    let initial_access_token = match reference {
        None => None,
        Some(reference) => {
            let object = NamespacedName::new(name.namespace(), &reference.name)
                .map_err(|error| (ConditionReason::UnresolvedReference, error.to_string()))?;
            let held = inventory.secrets.get(&object).and_then(|secret| secret.get(&reference.key));
            let missing = || {
                let message = format!(
                    "initial access token: Secret {object} has no value under {:?}; TokenService {name} refers to it",
                    reference.key
                );
                (ConditionReason::UnresolvedReference, message)
            };
            Some(held.filter(|secret| !secret.expose().is_empty()).cloned().ok_or_else(missing)?)
        }
    };
    let initial_access_token_place = reference.map_or_else(String::new, |reference| {
        format!("Secret {}/{} key {:?}", name.namespace(), reference.name, reference.key)
    });
    Ok(ResolvedRegistration {
        initial_access_token_place,
        software_statement: software_statement(inventory, from, registration)?,
        rotation: rotation(registration)?,
        access: decide_access(inventory, registration),
        issuer: service.spec.issuer.clone(),
        registration_endpoint: endpoint,
        token_endpoint: endpoints.token.or_else(|| discovered.endpoints.token.clone()),
        initial_access_token,
        ca_certificates: ca_certificates(inventory, &name, service)?,
        token_service: name,
    })
}

fn software_statement(
    inventory: &Inventory,
    namespace: &str,
    registration: &ClientRegistration,
) -> Result<Option<Secret>, Unresolved> {
    let Some(reference) = &registration.spec.software_statement_ref else { return Ok(None) };
    let held = NamespacedName::new(namespace, &reference.name).ok().and_then(|name| inventory.secrets.get(&name));
    let held = held.and_then(|secret| secret.get(&reference.key)).filter(|secret| secret.expose_str().is_some());
    held.cloned().map(Some).ok_or_else(|| {
        let message = format!(
            "softwareStatementRef: Secret {namespace}/{} has no text under {:?}; create it, or correct the name",
            reference.name, reference.key
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
