//! One object of the cluster, narrowed to what matters.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::{api::core::v1, apimachinery::pkg::util::intstr::IntOrString};
use kube::api::DynamicObject;
use portreeve_compiler::{Inventory, Pod, PortService, uses_of_secret};
use portreeve_crds::{
    Object, Unreadable, read_object,
    v1alpha1::{ApiPolicy, ApiRoute, ClientRegistration, TokenService},
};
use portreeve_policy::{NamespacedName, Secret};
use serde_json::Value;

/// What is kept of an object.
#[derive(Clone)]
pub(super) enum Item {
    ApiPolicy(NamespacedName, Arc<ApiPolicy>),
    ApiRoute(NamespacedName, Arc<ApiRoute>),
    ClientRegistration(NamespacedName, Arc<ClientRegistration>),
    ConfigMap(NamespacedName, Arc<BTreeMap<String, String>>),
    /// Only that it exists.
    Name,
    Namespace(String, BTreeMap<String, String>),
    Pod(NamespacedName, Pod),
    Secret(NamespacedName, Arc<BTreeMap<String, Secret>>, BTreeSet<String>),
    Service(NamespacedName, PortService),
    TokenService(NamespacedName, Arc<TokenService>),
    Unreadable(Arc<Unreadable>),
}

/// Reads an object; `None` for one that is none of our business or has no shape at all.
pub(super) type Read = fn(DynamicObject) -> Option<Item>;

/// One of our own kinds. `watcher` leaves apiVersion and kind out of list items, so they are put back.
pub(super) fn own(api_version: &str, kind: &str, mut object: DynamicObject) -> Option<Item> {
    object.metadata.managed_fields = None;
    object.types = Some(kube::core::TypeMeta { api_version: api_version.to_owned(), kind: kind.to_owned() });
    let value = serde_json::to_value(object).ok()?;
    match read_object(value)? {
        Ok(object) => {
            let reference = object.reference();
            let name = NamespacedName::new(&reference.namespace, &reference.name).ok()?;
            Some(match object {
                Object::ApiPolicy(object) => Item::ApiPolicy(name, Arc::new(*object)),
                Object::ApiRoute(object) => Item::ApiRoute(name, Arc::new(*object)),
                Object::ClientRegistration(object) => Item::ClientRegistration(name, Arc::new(*object)),
                Object::TokenService(object) => Item::TokenService(name, Arc::new(*object)),
            })
        }
        Err(unreadable) => Some(Item::Unreadable(Arc::new(*unreadable))),
    }
}

pub(super) fn pod(object: DynamicObject) -> Option<Item> {
    let name = name(&object)?;
    let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
    let is =
        |condition: &&Value, field: &str, wanted: &str| condition.get(field).and_then(Value::as_str) == Some(wanted);
    let ready = conditions.into_iter().flatten().any(|c| is(&c, "type", "Ready") && is(&c, "status", "True"));
    let ready = ready && object.metadata.deletion_timestamp.is_none();
    let labels = object.metadata.labels.unwrap_or_default();
    Some(Item::Pod(name, Pod { labels, ready, uid: object.metadata.uid.unwrap_or_default() }))
}

pub(super) fn service(object: DynamicObject) -> Option<Item> {
    let name = name(&object)?;
    let mut data = object.data;
    let spec: v1::ServiceSpec = serde_json::from_value(data.get_mut("spec")?.take()).ok()?;
    let target = |port: v1::ServicePort| match port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(number)) => Some(number),
        Some(IntOrString::String(_)) => None,
    };
    let target_ports = spec.ports.unwrap_or_default().into_iter().filter_map(target).collect();
    Some(Item::Service(name, PortService { selector: spec.selector.unwrap_or_default(), target_ports }))
}

pub(super) fn namespace(object: DynamicObject) -> Option<Item> {
    Some(Item::Namespace(object.metadata.name?, object.metadata.labels.unwrap_or_default()))
}

pub(super) fn secret(object: DynamicObject) -> Option<Item> {
    let name = name(&object)?;
    let uses = uses_of_secret(object.metadata.annotations.as_ref().unwrap_or(&BTreeMap::new()));
    let mut content = object.data;
    let data = content.get_mut("data").map(Value::take).filter(|data| !data.is_null());
    let data: BTreeMap<String, k8s_openapi::ByteString> = match data {
        Some(data) => serde_json::from_value(data).ok()?,
        None => BTreeMap::new(),
    };
    let values = data.into_iter().map(|(key, bytes)| (key, Secret::new(bytes.0))).collect();
    Some(Item::Secret(name, Arc::new(values), uses))
}

pub(super) fn config_map(object: DynamicObject) -> Option<Item> {
    let name = name(&object)?;
    let mut content = object.data;
    let data = content.get_mut("data").map(Value::take).filter(|data| !data.is_null());
    let data = data.map_or_else(|| Some(BTreeMap::new()), |data| serde_json::from_value(data).ok())?;
    Some(Item::ConfigMap(name, Arc::new(data)))
}

fn name(object: &DynamicObject) -> Option<NamespacedName> {
    let metadata = &object.metadata;
    NamespacedName::new(metadata.namespace.as_deref()?, metadata.name.as_deref()?).ok()
}

impl Item {
    /// What the content of a Secret or a ConfigMap takes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Secret(_, values, _) => values.iter().map(|(key, value)| key.len() + value.expose().len()).sum(),
            Self::ConfigMap(_, values) => values.iter().map(|(key, value)| key.len() + value.len()).sum(),
            Self::ApiPolicy(..)
            | Self::ApiRoute(..)
            | Self::ClientRegistration(..)
            | Self::Name
            | Self::Namespace(..)
            | Self::Pod(..)
            | Self::Service(..)
            | Self::TokenService(..)
            | Self::Unreadable(_) => 0,
        }
    }

    /// Adds the object to an inventory.
    pub(super) fn add(&self, inventory: &mut Inventory) {
        match self.clone() {
            Self::ApiPolicy(name, object) => drop(inventory.policies.insert(name, object)),
            Self::ApiRoute(name, object) => drop(inventory.routes.insert(name, object)),
            Self::ClientRegistration(name, object) => drop(inventory.registrations.insert(name, object)),
            Self::ConfigMap(name, data) => drop(inventory.config_maps.insert(name, data)),
            Self::Name => {}
            Self::Namespace(name, labels) => drop(inventory.namespaces.insert(name, labels)),
            Self::Pod(name, pod) => drop(inventory.pods.insert(name, pod)),
            Self::Secret(name, values, uses) => {
                inventory.secret_uses.insert(name.clone(), uses);
                inventory.secrets.insert(name, values);
            }
            Self::Service(name, service) => drop(inventory.services.insert(name, service)),
            Self::TokenService(name, object) => drop(inventory.token_services.insert(name, object)),
            Self::Unreadable(unreadable) => drop(inventory.unreadable.insert(unreadable.object.clone(), unreadable)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_pod_is_ready_until_it_is_on_its_way_out() {
        let make = |status: &str, deleted: Option<&str>| {
            object(json!({
                "metadata": {"name": "p", "namespace": "shop", "uid": "u", "deletionTimestamp": deleted},
                "status": {"conditions": [{"type": "Ready", "status": status}]},
            }))
        };
        let ready = |object| matches!(pod(object), Some(Item::Pod(_, Pod { ready: true, .. })));
        assert!(ready(make("True", None)));
        assert!(!ready(make("False", None)));
        assert!(!ready(make("True", Some("2026-01-01T00:00:00Z"))));
    }

    #[test]
    fn one_bad_object_is_kept_as_unreadable() {
        let bad = object(json!({"metadata": {"name": "r", "namespace": "shop"}, "spec": {"rules": 7}}));
        assert!(matches!(own(portreeve_crds::API_VERSION, "ApiRoute", bad), Some(Item::Unreadable(_))));
    }

    #[test]
    fn takes_numeric_target_ports_and_ports_without_one() {
        let read = service(object(json!({
            "metadata": {"name": "s", "namespace": "shop"},
            "spec": {"selector": {"app": "x"}, "ports": [{"port": 80, "targetPort": "http"}, {"port": 81}, {"port": 82, "targetPort": 8080}]},
        })));
        let Some(Item::Service(_, service)) = read else { panic!() };
        assert_eq!(service.target_ports, [81, 8080].into());
    }
}
