//! Second pass: every reference is found and allowed, or there is a diagnostic.

use std::collections::BTreeMap;

use portreeve_crds::{
    CaBundleRefKind, ConditionReason, TokenServiceRef,
    v1alpha1::{ClientMethod, ClientRegistration, NamespacesFrom, SecretMethod, TokenService},
};
use portreeve_policy::{
    Authentication, Authenticator, ClientAuthentication, ClientAuthenticationMethod, Dialect, IntrospectionRule,
    JwtRule, NamespacedName, Secret, SecretName, UpstreamToken,
};

use crate::{
    Access, Inventory, Options, decide_access,
    duration::parse_duration,
    emit::no_endpoint,
    validate::{AuthenticationDraft, AuthenticatorDraft, TokenRule, ValidTokenService, check_url},
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
    let name =
        NamespacedName::new(namespace, &reference.name).map_err(|_ignored: portreeve_policy::InvalidName| missing())?;
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

/// Turns a policy's authentication into its final form. Faults carry the field path.
pub(crate) fn resolve_authentication(
    inventory: &Inventory,
    services: &Services,
    namespace: &str,
    draft: AuthenticationDraft,
) -> Result<Authentication, (String, Unresolved)> {
    let list = match draft {
        AuthenticationDraft::Anonymous => return Ok(Authentication::Anonymous),
        AuthenticationDraft::AnyOf(list) => list,
    };
    let resolve = |draft| resolve_authenticator(inventory, services, namespace, draft);
    list.into_iter().map(resolve).collect::<Result<_, _>>().map(Authentication::AnyOf)
}

fn resolve_authenticator(
    inventory: &Inventory,
    services: &Services,
    namespace: &str,
    draft: AuthenticatorDraft,
) -> Result<Authenticator, (String, Unresolved)> {
    let (rule, introspection) = match draft {
        AuthenticatorDraft::Anonymous => return Ok(Authenticator::Anonymous),
        AuthenticatorDraft::Introspection(rule) => (rule, true),
        AuthenticatorDraft::Jwt(rule) => (rule, false),
    };
    let at = |unresolved| (format!("{}.tokenServiceRef", rule.path), unresolved);
    let (name, _) = find_token_service(inventory, namespace, &rule.token_service).map_err(at)?;
    let Some(Some(service)) = services.get(&name) else {
        let message = format!("TokenService {name} is broken; see its status");
        return Err(at((ConditionReason::UnresolvedReference, message)));
    };
    let TokenRule { path, audiences, upstream_token, .. } = rule;
    if !introspection {
        return Ok(Authenticator::Jwt(JwtRule { token_service: name, audiences, upstream_token }));
    }
    let Some(settings) = &service.introspection else {
        let message = format!("TokenService {name} has no spec.introspection; add it there, or use jwt here");
        return Err((format!("{path}.tokenServiceRef"), (ConditionReason::UnresolvedReference, message)));
    };
    if upstream_token == UpstreamToken::Jwt && settings.dialect == Dialect::Json {
        let message = format!(
            "upstreamToken Jwt needs an introspection answer that carries one; TokenService {name} says answer: Json"
        );
        return Err((format!("{path}.upstreamToken"), (ConditionReason::Invalid, message)));
    }
    Ok(Authenticator::Introspection(IntrospectionRule { token_service: name, audiences, upstream_token }))
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
        (None, Some(reference)) => (reference.name.clone(), secret_method(client.method)),
        _ => return Err(unresolved("spec.client: say exactly one of registrationRef and secretRef".to_owned())),
    };
    let object = NamespacedName::new(name.namespace(), &secret_name).map_err(|error| unresolved(error.to_string()))?;
    let Some(secret) = inventory.secrets.get(&object) else {
        if client.registration_ref.is_some() {
            let message = format!("Secret {object} is not written yet; the gateway's client is being registered");
            return Err((ConditionReason::AwaitingRegistration, message));
        }
        return Err(unresolved(format!("Secret {object} does not exist; create it with client_id and client_secret")));
    };
    let value = |key: &str| {
        let found = secret.get(key).filter(|value| !value.expose().is_empty());
        found.ok_or_else(|| unresolved(format!("Secret {object} has no value under {key:?}")))
    };
    let client_id = value("client_id")?.expose_str().map(str::to_owned);
    let client_id = client_id.ok_or_else(|| unresolved(format!("Secret {object}: client_id is not text")))?;
    let client_secret = value("client_secret")?.clone();
    let key = SecretName::new(object, "client_secret").map_err(|error| unresolved(error.to_string()))?;
    Ok((ClientAuthentication { client_id, client_secret: key, method }, client_secret))
}

fn secret_method(method: SecretMethod) -> ClientAuthenticationMethod {
    match method {
        SecretMethod::ClientSecretBasic => ClientAuthenticationMethod::ClientSecretBasic,
        SecretMethod::ClientSecretPost => ClientAuthenticationMethod::ClientSecretPost,
    }
}

/// The Secret that a ClientRegistration of ours writes, and how its client authenticates.
fn registered_credentials(
    inventory: &Inventory,
    service: &NamespacedName,
    registration: &str,
) -> Result<(String, ClientAuthenticationMethod), Unresolved> {
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
        ClientMethod::ClientSecretBasic => ClientAuthenticationMethod::ClientSecretBasic,
        ClientMethod::ClientSecretPost => ClientAuthenticationMethod::ClientSecretPost,
        ClientMethod::None => {
            return Err(unresolved(format!(
                "ClientRegistration {name} is a public client; introspection needs a secret"
            )));
        }
        ClientMethod::PrivateKeyJwt
        | ClientMethod::ClientSecretJwt
        | ClientMethod::TlsClientAuth
        | ClientMethod::SelfSignedTlsClientAuth => {
            return Err(unresolved(format!(
                "ClientRegistration {name}: the gateway does not use its authentication.method; say ClientSecretBasic or \
                 ClientSecretPost there"
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
    let reference = &trust.ca_ref;
    let unresolved = |message: String| (ConditionReason::UnresolvedReference, message);
    let object =
        NamespacedName::new(name.namespace(), &reference.name).map_err(|error| unresolved(error.to_string()))?;
    let (kind, text) = match reference.kind {
        CaBundleRefKind::ConfigMap => {
            ("ConfigMap", inventory.config_maps.get(&object).and_then(|map| map.get(&reference.key).cloned()))
        }
        CaBundleRefKind::Secret => {
            let held = inventory.secrets.get(&object).and_then(|map| map.get(&reference.key));
            ("Secret", held.and_then(Secret::expose_str).map(str::to_owned))
        }
    };
    let text = text.ok_or_else(|| unresolved(format!("{kind} {object} has no text under {:?}", reference.key)))?;
    if text.contains("-----BEGIN CERTIFICATE-----") {
        Ok(text)
    } else {
        // A broken bundle must not fall back to the system's authorities (M3).
        Err(unresolved(format!("{kind} {object} key {:?} holds no certificate in PEM", reference.key)))
    }
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
