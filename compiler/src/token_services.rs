//! Last pass, second half: what each pod gets of the token services that its rules use, and nothing beside.
//!
//! INVARIANTS
//! - An endpoint, and the secret with which the gateway authenticates there, is in a snapshot only where a rule of that
//!   pod, in force or in dry run, calls it.
//! - The secret is one of the pod's own namespace.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portreeve_crds::{
    ConditionReason,
    v1alpha1::{Discovery, TokenService as TokenServiceObject},
};
use portreeve_policy::{
    ClientAuthenticationMethod, Credential, Dialect, EndpointAccess, Guard, Introspection, KeySet, Keys, Millis,
    NamespacedName, ResourceName, Route, RuleState, Secret, SecretName, Snapshot, TokenExchange, TokenService,
};

use crate::{
    Inventory, Options,
    emit::no_endpoint,
    gateway_client::gateway_credentials,
    resolve::{Unresolved, ca_certificates},
    validate::{ValidIntrospection, ValidTokenService, check_url},
};

/// What rules need of a token service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Needs {
    keys: bool,
    introspection: bool,
    exchange: bool,
}

/// A token service as a resource for the pods of one namespace, the secrets that go with it, and what is missing.
#[derive(Clone)]
pub(crate) struct EmittedService {
    pub(crate) resource: Arc<TokenService>,
    secrets: BTreeMap<SecretName, Secret>,
    pub(crate) missing: Option<Unresolved>,
}

/// Every readable TokenService, and what was made of it so far.
pub(crate) struct TokenServices<'a> {
    inventory: &'a Inventory,
    options: Options,
    objects: BTreeMap<NamespacedName, (&'a TokenServiceObject, ValidTokenService)>,
    made: BTreeMap<(NamespacedName, String, Needs), EmittedService>,
}

impl<'a> TokenServices<'a> {
    pub(crate) fn new(inventory: &'a Inventory, options: Options) -> Self {
        Self { inventory, options, objects: BTreeMap::new(), made: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, name: NamespacedName, object: &'a TokenServiceObject, valid: ValidTokenService) {
        self.objects.insert(name, (object, valid));
    }

    /// What stands against the TokenService itself: its keys, and the endpoints that its own namespace could use.
    pub(crate) fn of_owner(&mut self, name: &NamespacedName) -> Option<EmittedService> {
        let (object, valid) = self.objects.get(name)?;
        let client = object.spec.client.as_ref();
        let own = client.is_some_and(|client| client.registration_ref.is_some() || client.secret_ref.is_some());
        let endpoints = object.spec.endpoints.as_ref();
        let has_keys = object.spec.discovery != Discovery::None || endpoints.is_some_and(|known| known.jwks.is_some());
        let needs = Needs { keys: has_keys, introspection: own && valid.introspection.is_some(), exchange: false };
        self.get(name, name.namespace(), needs)
    }

    /// The resource for pods of a namespace whose rules need this; `None` for a TokenService that is broken or gone.
    pub(crate) fn get(&mut self, name: &NamespacedName, from: &str, needs: Needs) -> Option<EmittedService> {
        let key = (name.clone(), from.to_owned(), needs);
        if let Some(made) = self.made.get(&key) {
            return Some(made.clone());
        }
        let (object, valid) = self.objects.get(name)?;
        let made = Maker { inventory: self.inventory, options: self.options, name, object, valid, from }.make(needs);
        self.made.insert(key, made.clone());
        Some(made)
    }

    /// The snapshot of a pod that carries these routes.
    pub(crate) fn snapshot(
        &mut self,
        names: &[NamespacedName],
        routes: &BTreeMap<NamespacedName, Arc<Route>>,
    ) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let mut needed: BTreeMap<(&NamespacedName, &str), Needs> = BTreeMap::new();
        for (name, route) in names.iter().filter_map(|name| routes.get_key_value(name)) {
            for (service, needs) in needs_of(route) {
                let known = needed.entry((service, name.namespace())).or_default();
                *known = known.and(needs);
            }
            for secret in guards(route).flat_map(Guard::secrets) {
                snapshot.secrets.extend(self.secret(secret).map(|held| (secret.clone(), held)));
            }
            snapshot.routes.insert(name.clone(), Arc::clone(route));
        }
        for ((service, from), needs) in needed {
            let Some(made) = self.get(service, from, needs) else { continue };
            snapshot.token_services.insert(service.clone(), made.resource);
            snapshot.secrets.extend(made.secrets);
        }
        snapshot
    }

    /// What a route's rules lack of their token services, so that they cannot let anybody in by them.
    pub(crate) fn missing(&mut self, name: &NamespacedName, route: &Route) -> Option<Unresolved> {
        let needed: Vec<_> = needs_of(route).into_iter().map(|(service, needs)| (service.clone(), needs)).collect();
        needed.into_iter().find_map(|(service, needs)| {
            let (reason, message) = self.get(&service, name.namespace(), needs)?.missing?;
            Some((reason, format!("TokenService {service}: {message}")))
        })
    }

    fn secret(&self, name: &SecretName) -> Option<Secret> {
        let signing = self.inventory.signing_keys.get(name.object().namespace()).filter(|key| key.name == *name);
        let held = || self.inventory.secrets.get(name.object())?.get(name.key()).cloned();
        signing.map(|key| key.private_key.clone()).or_else(held)
    }
}

impl Needs {
    const KEYS: Self = Self { keys: true, introspection: false, exchange: false };
    const INTROSPECTION: Self = Self { keys: false, introspection: true, exchange: false };
    /// What an exchange gives is verified, or looked up where it is opaque.
    const EXCHANGE: Self = Self { keys: true, introspection: true, exchange: true };

    fn and(self, other: Self) -> Self {
        Self {
            keys: self.keys || other.keys,
            introspection: self.introspection || other.introspection,
            exchange: self.exchange || other.exchange,
        }
    }
}

/// What the rules of a route need, in force and in dry run.
fn needs_of(route: &Route) -> BTreeMap<&NamespacedName, Needs> {
    let mut found: BTreeMap<&NamespacedName, Needs> = BTreeMap::new();
    let mut add = |service, needs| {
        let known = found.entry(service).or_default();
        *known = known.and(needs);
    };
    for credential in guards(route).flat_map(|guard| guard.authentication.credentials()) {
        match credential {
            Credential::Introspection(rule) => add(&rule.token_service, Needs::INTROSPECTION),
            Credential::Jwt(rule) => add(&rule.token_service, Needs::KEYS),
            Credential::Exchange(rule) => {
                add(&rule.token_service, Needs::EXCHANGE);
                if let Some(partner) = rule.subject.partner() {
                    add(partner, Needs::KEYS);
                }
            }
            Credential::ApiKey(_) | Credential::Basic(_) | Credential::ClientCertificate(_) | Credential::Digest(_) => {
            }
        }
    }
    found
}

/// Of rules in force and of policies in dry run.
fn guards(route: &Route) -> impl Iterator<Item = &Guard> {
    let states = route
        .rules
        .iter()
        .flat_map(|rule| std::iter::once(&rule.state).chain(rule.shadows.iter().map(|shadow| &shadow.state)));
    states.filter_map(RuleState::guard)
}

/// Every resource of a snapshot on which the answers of one route depend, the route itself included.
pub fn dependencies(name: &NamespacedName, snapshot: &Snapshot) -> BTreeSet<ResourceName> {
    let mut found = BTreeSet::from([ResourceName::route(name)]);
    let Some(route) = snapshot.routes.get(name) else { return found };
    found.extend(guards(route).flat_map(Guard::secrets).map(ResourceName::secret));
    for service in guards(route).flat_map(Guard::token_services) {
        found.insert(ResourceName::token_service(service));
        let Some(service) = snapshot.token_services.get(service) else { continue };
        if let Introspection::Enabled { access, .. } = &service.introspection {
            found.insert(ResourceName::secret(&access.client.secret));
        }
        if let TokenExchange::Enabled(access) = &service.exchange {
            found.insert(ResourceName::secret(&access.client.secret));
        }
    }
    found
}

/// Makes one resource.
struct Maker<'a> {
    inventory: &'a Inventory,
    options: Options,
    name: &'a NamespacedName,
    object: &'a TokenServiceObject,
    valid: &'a ValidTokenService,
    from: &'a str,
}

/// An endpoint that proxies call.
#[derive(Clone, Copy)]
enum Endpoint {
    /// With its time limit.
    Introspection(Millis),
    Token,
}

/// For one exchange of a token.
const EXCHANGE_TIMEOUT: Millis = Millis::at_least_one(2000);

impl Maker<'_> {
    fn make(&self, needs: Needs) -> EmittedService {
        let mut secrets = BTreeMap::new();
        let mut missing = None;
        let mut take = |found: Result<(Box<EndpointAccess>, Secret), Unresolved>| match found {
            Ok((access, held)) => {
                secrets.insert(access.client.secret.clone(), held);
                Some(access)
            }
            Err(unresolved) => {
                missing.get_or_insert(unresolved);
                None
            }
        };
        let introspection = match &self.valid.introspection {
            Some(ValidIntrospection { dialect, timeout, cache }) if needs.introspection => {
                match take(self.endpoint(Endpoint::Introspection(*timeout))) {
                    Some(access) => Introspection::Enabled { access, dialect: dialect.clone(), cache: *cache },
                    None => Introspection::Unavailable,
                }
            }
            Some(_) | None => Introspection::Disabled,
        };
        let exchange = if needs.exchange {
            take(self.endpoint(Endpoint::Token)).map_or(TokenExchange::Unavailable, TokenExchange::Enabled)
        } else {
            TokenExchange::Disabled
        };
        let keys = self.keys();
        let verifies = match &introspection {
            Introspection::Enabled { dialect, .. } => *dialect != Dialect::Json,
            Introspection::Disabled | Introspection::Unavailable => false,
        };
        if (needs.keys || verifies)
            && let Err(fault) = &keys
        {
            missing = Some(fault.clone());
        }
        let keys = keys.map_or(Keys::Unavailable, Keys::Known);
        let resource = Arc::new(TokenService {
            issuer: self.valid.issuer.clone(),
            scope_claim: self.valid.scope_claim.clone(),
            keys,
            introspection,
            exchange,
        });
        EmittedService { resource, secrets, missing }
    }

    /// The keys, or why there is none. A set without a usable key is as good as none: what it could verify is answered
    /// with 503, for that is not the caller's fault.
    fn keys(&self) -> Result<KeySet, Unresolved> {
        let discovered = self.inventory.discovered.get(self.name).cloned().unwrap_or_default();
        match &discovered.keys {
            Some(keys) if !keys.keys().is_empty() => Ok(keys.clone()),
            Some(_) => {
                let why = if discovered.left_out.is_empty() {
                    "it is empty".to_owned()
                } else {
                    discovered.left_out.join("; ")
                };
                Err((ConditionReason::NoUsableKeys, format!("the key set has no key that can be used: {why}")))
            }
            None => {
                let fault = discovered.fault.as_deref().unwrap_or("not fetched yet");
                let fault = fault.strip_prefix("key set: ").unwrap_or(fault);
                Err((ConditionReason::AwaitingKeys, format!("key set: {fault}")))
            }
        }
    }

    fn endpoint(&self, kind: Endpoint) -> Result<(Box<EndpointAccess>, Secret), Unresolved> {
        let Self { inventory, options, name, object, valid: _, from } = *self;
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
        let (client, secret) = gateway_credentials(inventory, name, object, from)?;
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
}
