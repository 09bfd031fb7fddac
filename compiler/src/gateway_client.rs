//! The gateway's own client at a token service: which one a namespace's pods use, and the ClientRegistrations by which the
//! operator registers one in each namespace.
//!
//! INVARIANT: credentials are read from the namespace of the pods that use them, never from another one.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_crds::{
    ConditionReason, ObjectKind, TokenServiceRef,
    v1alpha1::{
        ApiPolicy, ClientAuthenticationSpec, ClientMetadataSpec, ClientMethod, ClientRegistration,
        ClientRegistrationSpec, CredentialSpec, DeletionPolicy, DriftPolicy, Environment, GatewayClientSpec,
        RotationSpec, SecretMethod, TokenService,
    },
};
use portreeve_policy::{ClientAuthentication, ClientAuthenticationMethod, NamespacedName, Secret, SecretName};

use crate::{
    Inventory, Stray,
    consent::{Use, check_consent, check_registered},
    namespaces::may_refer,
    resolve::Unresolved,
};

/// Label of the ClientRegistrations that the operator makes for the gateway.
pub const GATEWAY_CLIENT_LABEL: (&str, &str) = ("portreeve.dev/gateway-client", "true");

/// Longest name of a TokenService with such clients, so that names made from it stay names.
const MAX_NAME: usize = 128;

/// Keys of the Secret that hold something of the credentials.
const METHOD: &str = "token_endpoint_auth_method";

/// The ClientRegistrations of the gateway itself, as they shall be: one in each namespace with a policy that asks a token
/// service whose owner has them made.
pub fn gateway_clients(inventory: &Inventory) -> BTreeMap<NamespacedName, ClientRegistration> {
    let mut wanted = BTreeMap::new();
    for (name, policy) in &inventory.policies {
        let from = name.namespace();
        for reference in asked_services(policy) {
            let namespace = reference.namespace.as_deref().unwrap_or(from);
            let Ok(service_name) = NamespacedName::new(namespace, &reference.name) else { continue };
            let Some(service) = inventory.token_services.get(&service_name) else { continue };
            if may_refer(inventory, service, namespace, from)
                && let Some((name, object)) = gateway_client(&service_name, service, from)
            {
                wanted.entry(name).or_insert(object);
            }
        }
    }
    wanted
}

/// Whether nobody can say which clients of the gateway are wanted in a namespace, for a policy there, or something that
/// may be one, cannot be read. Those that are there stay.
pub fn is_undecided(inventory: &Inventory, namespace: &str) -> bool {
    let mut policies = inventory.unreadable.keys().filter(|object| object.kind == ObjectKind::ApiPolicy);
    let may_be = |stray: &std::sync::Arc<Stray>| {
        matches!(stray.kind, None | Some(ObjectKind::ApiPolicy | ObjectKind::TokenService))
            && stray.namespace.as_deref().is_none_or(|held| held == namespace)
    };
    policies.any(|object| object.namespace == namespace) || inventory.strays.iter().any(may_be)
}

/// Whether this is the ClientRegistration that the operator makes for the gateway, in every word.
pub(crate) fn is_made(
    inventory: &Inventory,
    service_name: &NamespacedName,
    service: &TokenService,
    registration: &ClientRegistration,
) -> bool {
    let from = registration.metadata.namespace.as_deref().unwrap_or_default();
    let Some((wanted, object)) = gateway_client(service_name, service, from) else { return false };
    registration.metadata.name.as_deref() == Some(wanted.name())
        && may_refer(inventory, service, service_name.namespace(), from)
        && object.spec == registration.spec
}

/// Whether it is one of the gateway's own clients: made by the operator, or named by the TokenService.
pub(crate) fn is_gateway_client(
    inventory: &Inventory,
    service_name: &NamespacedName,
    service: &TokenService,
    registration: &ClientRegistration,
) -> bool {
    let named = service.spec.client.as_ref().and_then(|client| client.registration_ref.as_ref());
    let is_named = registration.metadata.namespace.as_deref() == Some(service_name.namespace())
        && named.is_some_and(|reference| registration.metadata.name.as_ref() == Some(&reference.name));
    is_named || is_made(inventory, service_name, service, registration)
}

/// The gateway's ClientRegistration in a namespace, if the owner of the TokenService has one made there.
fn gateway_client(
    service_name: &NamespacedName,
    service: &TokenService,
    from: &str,
) -> Option<(NamespacedName, ClientRegistration)> {
    let client = service.spec.client.as_ref()?;
    let spec = client.per_namespace.as_ref()?;
    let has_own = client.registration_ref.is_some() || client.secret_ref.is_some();
    if from == service_name.namespace() && has_own || service_name.name().len() > MAX_NAME {
        return None;
    }
    // A namespace has no dot in its name, so no two TokenServices share one.
    let name = format!("portreeve-gateway.{}.{}", service_name.namespace(), service_name.name());
    let (key, value) = GATEWAY_CLIENT_LABEL;
    let object = ClientRegistration {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(from.to_owned()),
            labels: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])),
            ..ObjectMeta::default()
        },
        spec: ClientRegistrationSpec {
            token_service_ref: TokenServiceRef {
                name: service_name.name().to_owned(),
                namespace: Some(service_name.namespace().to_owned()),
            },
            metadata: ClientMetadataSpec {
                client_name: format!("portreeve gateway of {from}"),
                grant_types: spec.grant_types.clone(),
                response_types: Vec::new(),
                redirect_uris: Vec::new(),
                scope: spec.scope.clone(),
                contacts: Vec::new(),
                client_uri: None,
                software_id: None,
                software_version: None,
                additional: spec.additional.clone(),
            },
            authentication: ClientAuthenticationSpec { method: spec.method, tls_subject: None },
            credentials_secret_name: name.clone(),
            credentials_keys: BTreeMap::new(),
            rotation: RotationSpec::default(),
            drift_policy: DriftPolicy::default(),
            software_statement_ref: None,
            environment: Environment::default(),
            access: Vec::new(),
            deletion_policy: DeletionPolicy::default(),
        },
        status: None,
    };
    Some((NamespacedName::new(from, &name).ok()?, object))
}

/// TokenServices that a policy's rules ask, and not only verify by.
fn asked_services(policy: &ApiPolicy) -> Vec<TokenServiceRef> {
    let list = policy.spec.authentication.as_ref().and_then(|spec| spec.any_of.as_ref());
    let mut found = Vec::new();
    for entry in list.into_iter().flatten() {
        let single = CredentialSpec::from(entry.clone());
        for one in std::iter::once(&single).chain(entry.all_of.iter().flatten()) {
            found.extend(one.introspection.as_ref().map(|spec| spec.token_service_ref.clone()));
            found.extend(one.exchange.as_ref().map(|spec| spec.token_service_ref.clone()));
        }
    }
    found
}

/// Whether policies of a namespace may ask this token service at all, and what its owner has to say so.
pub(crate) fn check_may_ask(name: &NamespacedName, service: &TokenService, from: &str) -> Result<(), Unresolved> {
    let client = service.spec.client.as_ref();
    if from == name.namespace() || client.is_none_or(|client| client.per_namespace.is_some()) {
        return Ok(());
    }
    let message = format!(
        "TokenService {name} has a client of the gateway for policies of its own namespace alone, for its secret would \
         leave that namespace; its owner can have one registered for namespace {from} by spec.client.perNamespace: {{}}"
    );
    Err((ConditionReason::NotPermitted, message))
}

/// How the gateway authenticates at a token service for the pods of namespace `from`, and with which secret.
pub fn gateway_credentials(
    inventory: &Inventory,
    name: &NamespacedName,
    service: &TokenService,
    from: &str,
) -> Result<(ClientAuthentication, Secret), (ConditionReason, String)> {
    let unresolved = |message: String| (ConditionReason::UnresolvedReference, message);
    let Some(client) = &service.spec.client else { return Err(unresolved("spec.client is missing".to_owned())) };
    check_may_ask(name, service, from)?;
    let own = from == name.namespace();
    let source = match client {
        GatewayClientSpec { registration_ref: Some(_), secret_ref: Some(_), .. } => {
            return Err(unresolved("spec.client: specify at most one of registrationRef and secretRef".to_owned()));
        }
        GatewayClientSpec { secret_ref: Some(reference), .. } if own => {
            let object = NamespacedName::new(from, &reference.name).map_err(|error| unresolved(error.to_string()))?;
            check_consent(inventory, &object, Use::ClientCredentials)?;
            Source { object, method: client.method, registered: false }
        }
        GatewayClientSpec { registration_ref: Some(reference), .. } if own => {
            let registration =
                NamespacedName::new(from, &reference.name).map_err(|error| unresolved(error.to_string()))?;
            registered(inventory, name, &registration)?
        }
        GatewayClientSpec { .. } => made(inventory, name, service, from)?,
    };
    read(inventory, service, &source)
}

/// Where credentials stand.
struct Source {
    object: NamespacedName,
    method: SecretMethod,
    /// The operator writes them.
    registered: bool,
}

/// The client that the operator registers in a namespace.
fn made(
    inventory: &Inventory,
    name: &NamespacedName,
    service: &TokenService,
    from: &str,
) -> Result<Source, Unresolved> {
    let awaiting = |message: String| Err((ConditionReason::AwaitingRegistration, message));
    let Some((registration, wanted)) = gateway_client(name, service, from) else {
        let message = format!(
            "the name of TokenService {name} is longer than {MAX_NAME}; spec.client.perNamespace needs a shorter one"
        );
        return Err((ConditionReason::Invalid, message));
    };
    match inventory.registrations.get(&registration) {
        None => awaiting(format!("ClientRegistration {registration} of the gateway is being made")),
        Some(found) if found.spec != wanted.spec => {
            awaiting(format!("ClientRegistration {registration} of the gateway was edited, and is put back"))
        }
        Some(_) => registered(inventory, name, &registration),
    }
}

/// The Secret that a ClientRegistration of ours writes, and how its client authenticates.
fn registered(inventory: &Inventory, service: &NamespacedName, name: &NamespacedName) -> Result<Source, Unresolved> {
    let unresolved = |message: String| (ConditionReason::UnresolvedReference, message);
    let Some(found) = inventory.registrations.get(name) else {
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
    let object = NamespacedName::new(name.namespace(), &found.spec.credentials_secret_name)
        .map_err(|error| unresolved(error.to_string()))?;
    if !inventory.secrets.contains_key(&object) {
        let message = format!("Secret {object} is not written yet; the gateway's client is being registered");
        return Err((ConditionReason::AwaitingRegistration, message));
    }
    check_registered(inventory, &object, name.name())?;
    Ok(Source { object, method, registered: true })
}

fn read(
    inventory: &Inventory,
    service: &TokenService,
    source: &Source,
) -> Result<(ClientAuthentication, Secret), Unresolved> {
    let unresolved = |message: String| (ConditionReason::UnresolvedReference, message);
    let Source { object, method, registered } = source;
    let Some(secret) = inventory.secrets.get(object) else {
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
    // What the server registered counts, should it have chosen another method (RFC 7591 section 3.2.1).
    let method = match secret.get(METHOD).and_then(Secret::expose_str).filter(|_| *registered) {
        Some(named) => spoken(named).ok_or_else(|| {
            let plain: String = named.chars().filter(|c| c.is_ascii_lowercase() || *c == '_').take(64).collect();
            unresolved(format!(
                "the token service registered the gateway's client for {plain}, which the gateway does not speak"
            ))
        })?,
        None => *method,
    };
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
    let key = SecretName::new(object.clone(), key).map_err(|error| unresolved(error.to_string()))?;
    Ok((ClientAuthentication { client_id, secret: key, method }, held))
}

/// The method of that name in RFC 7591, where the gateway can act it out.
fn spoken(method: &str) -> Option<SecretMethod> {
    match method {
        "client_secret_basic" => Some(SecretMethod::ClientSecretBasic),
        "client_secret_post" => Some(SecretMethod::ClientSecretPost),
        "private_key_jwt" => Some(SecretMethod::PrivateKeyJwt),
        "self_signed_tls_client_auth" => Some(SecretMethod::TlsClientAuth),
        _ => None,
    }
}

fn joined(first: &Secret, second: &Secret) -> Secret {
    let mut both = Vec::with_capacity(first.expose().len().saturating_add(second.expose().len()).saturating_add(1));
    both.extend_from_slice(first.expose());
    both.push(b'\n');
    both.extend_from_slice(second.expose());
    Secret::new(both)
}
