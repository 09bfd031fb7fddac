//! The immutable view of the cluster, or of a folder, that is compiled.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portreeve_crds::{
    Object, ObjectKind, ObjectRef, Unreadable,
    v1alpha1::{ApiPolicy, ApiRoute, ClientRegistration, TokenService},
};
use portreeve_policy::{AddressRange, KeySet, NamespacedName, Secret, SecretName};
use serde_json::Value;

use crate::consent::written_for;

/// Every object that is compiled. Cheap to clone: what it holds is shared.
#[derive(Clone, Default)]
pub struct Inventory {
    /// TokenServices by name.
    pub token_services: BTreeMap<NamespacedName, Arc<TokenService>>,
    /// ApiRoutes by name.
    pub routes: BTreeMap<NamespacedName, Arc<ApiRoute>>,
    /// ApiPolicies by name.
    pub policies: BTreeMap<NamespacedName, Arc<ApiPolicy>>,
    /// ClientRegistrations by name.
    pub registrations: BTreeMap<NamespacedName, Arc<ClientRegistration>>,
    /// Objects of our kinds that are there but not understood.
    pub unreadable: BTreeMap<ObjectRef, Arc<Unreadable>>,
    /// Documents that are no object of any name, and still refuse what they may cover.
    pub strays: Vec<Arc<Stray>>,
    /// Labels of namespaces.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Pods that could carry a proxy.
    pub pods: BTreeMap<NamespacedName, Pod>,
    /// Services, to notice one that goes past the proxy.
    pub services: BTreeMap<NamespacedName, PortService>,
    /// Secrets that are referred to. A name that is missing here does not exist or may not be read.
    pub secrets: BTreeMap<NamespacedName, Arc<BTreeMap<String, Secret>>>,
    /// What those Secrets may be used for: the words of their annotation `portreeve.dev/use`, and `registration:NAME`
    /// where the operator wrote one for a ClientRegistration.
    pub secret_uses: BTreeMap<NamespacedName, BTreeSet<String>>,
    /// ConfigMaps that are referred to.
    pub config_maps: BTreeMap<NamespacedName, Arc<BTreeMap<String, String>>>,
    /// Keys with which the gateway mints tokens, by namespace of the routes.
    pub signing_keys: BTreeMap<String, Arc<SigningKey>>,
    /// What was fetched from token services.
    pub discovered: BTreeMap<NamespacedName, Arc<Discovered>>,
}

/// A pod, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it is Ready and not on its way out.
    pub ready: bool,
    /// Its uid; empty in file mode.
    pub uid: String,
}

/// The key with which the gateway mints tokens for the routes of one namespace.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// Names the secret resource.
    pub name: SecretName,
    /// `kid`
    pub key_id: String,
    /// `iss`
    pub issuer: String,
    /// PKCS#8 in PEM, for ES256.
    pub private_key: Secret,
    /// Public keys of the namespace: this one, the one before it and the next one.
    pub published: KeySet,
}

/// A Service, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortService {
    /// Pods that it selects.
    pub selector: BTreeMap<String, String>,
    /// Numeric target ports.
    pub target_ports: BTreeSet<i32>,
}

/// What the operator learned from a token service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    /// Endpoints of the metadata document.
    pub endpoints: DiscoveredEndpoints,
    /// The key set as last read.
    pub keys: Option<KeySet>,
    /// Which keys of the set are not used, and why, each in one line.
    pub left_out: Vec<String>,
    /// What went wrong at the last try, for status; holds nothing of the server's answer.
    pub fault: Option<String>,
}

/// Endpoints named by a metadata document (RFC 8414 section 2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiscoveredEndpoints {
    /// `introspection_endpoint`
    pub introspection: Option<String>,
    /// `registration_endpoint`
    pub registration: Option<String>,
    /// `token_endpoint`
    pub token: Option<String>,
    /// `jwks_uri`
    pub jwks: Option<String>,
    /// `mtls_endpoint_aliases` (RFC 8705 section 5).
    pub mtls: MtlsAliases,
}

/// Endpoints for clients that authenticate by their TLS certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MtlsAliases {
    /// `introspection_endpoint`
    pub introspection: Option<String>,
    /// `token_endpoint`
    pub token: Option<String>,
}

/// Settings of the installation that bear on what is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether token services may be reached over http; for development only.
    pub allow_http: bool,
    /// Where outbound calls may go.
    pub addresses: AddressRange,
}

/// Something that was to be an object and is none: of an unknown kind or version, without a name, with the name of
/// another, or not even YAML. It has no status; what it may cover is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// Its namespace; `None` where that cannot be told, which closes every namespace.
    pub namespace: Option<String>,
    /// What it was meant to be; `None` where that cannot be told, which closes the namespace.
    pub kind: Option<ObjectKind>,
    /// What can be read of it.
    pub value: Value,
    /// What is wrong with it, and where.
    pub message: String,
}

/// An object whose name Kubernetes would not accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {reason}")]
pub struct SkippedObject {
    /// The object.
    pub object: ObjectRef,
    /// Which rule its name breaks.
    pub reason: String,
}

/// What the annotations of a Secret say that it may be used for.
pub fn uses_of_secret(annotations: &BTreeMap<String, String>) -> BTreeSet<String> {
    let listed = annotations.get("portreeve.dev/use").into_iter().flat_map(|list| list.split(','));
    let listed = listed.map(|word| word.trim().to_owned()).filter(|word| !word.is_empty() && !word.contains(':'));
    let written = annotations.get("portreeve.dev/registration").map(|name| written_for(name));
    listed.chain(written).collect()
}

impl Inventory {
    /// Adds an object of ours under its name, replacing an older form of it.
    pub fn insert(&mut self, object: Object) -> Result<(), SkippedObject> {
        let reference = object.reference();
        let name = NamespacedName::new(&reference.namespace, &reference.name)
            .map_err(|error| SkippedObject { object: reference, reason: error.to_string() })?;
        match object {
            Object::TokenService(object) => drop(self.token_services.insert(name, Arc::new(*object))),
            Object::ApiRoute(object) => drop(self.routes.insert(name, Arc::new(*object))),
            Object::ApiPolicy(object) => drop(self.policies.insert(name, Arc::new(*object))),
            Object::ClientRegistration(object) => drop(self.registrations.insert(name, Arc::new(*object))),
        }
        Ok(())
    }

    /// Puts an object that cannot be told in the place of one of the same name.
    pub(crate) fn replace_by_unreadable(&mut self, unreadable: Unreadable) {
        if let Ok(name) = NamespacedName::new(&unreadable.object.namespace, &unreadable.object.name) {
            match unreadable.object.kind {
                ObjectKind::ApiPolicy => drop(self.policies.remove(&name)),
                ObjectKind::ApiRoute => drop(self.routes.remove(&name)),
                ObjectKind::ClientRegistration => drop(self.registrations.remove(&name)),
                ObjectKind::TokenService => drop(self.token_services.remove(&name)),
            }
        }
        self.insert_unreadable(unreadable);
    }

    /// Adds an object that could not be read.
    pub fn insert_unreadable(&mut self, unreadable: Unreadable) {
        self.unreadable.insert(unreadable.object.clone(), Arc::new(unreadable));
    }
}
