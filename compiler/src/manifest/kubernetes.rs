//! The few kinds of Kubernetes itself that a folder of manifests may bring.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1;
use portreeve_policy::{NamespacedName, Secret};
use serde_json::Value;

use crate::{Inventory, Pod, uses_of_secret};

/// Whether a kind is read at all; every other one is none of our business.
pub(super) fn is_read(version: &str, kind: &str) -> bool {
    version == "v1" && matches!(kind, "ConfigMap" | "Namespace" | "Pod" | "Secret")
}

/// Takes an object in for which [`is_read`] holds. The error never quotes a value, for it may be a secret.
pub(super) fn read(
    inventory: &mut Inventory,
    kind: &str,
    namespace: &str,
    name: &str,
    value: &Value,
) -> Result<(), String> {
    let parsed = NamespacedName::new(namespace, name).map_err(|error| error.to_string())?;
    let broken = |_: serde_json::Error| format!("{kind} {namespace}/{name} does not have the shape of its kind");
    match kind {
        "ConfigMap" => {
            let map: v1::ConfigMap = serde_json::from_value(value.clone()).map_err(broken)?;
            inventory.config_maps.insert(parsed, Arc::new(map.data.unwrap_or_default()));
        }
        "Namespace" => {
            let object: v1::Namespace = serde_json::from_value(value.clone()).map_err(broken)?;
            inventory.namespaces.insert(name.to_owned(), object.metadata.labels.unwrap_or_default());
        }
        "Pod" => {
            let pod: v1::Pod = serde_json::from_value(value.clone()).map_err(broken)?;
            let labels = pod.metadata.labels.unwrap_or_default();
            let uid = pod.metadata.uid.unwrap_or_default();
            inventory.pods.insert(parsed, Pod { labels, ready: true, uid });
        }
        _ => {
            let secret: v1::Secret = serde_json::from_value(value.clone()).map_err(broken)?;
            let mut values: BTreeMap<String, Secret> = BTreeMap::new();
            values.extend(secret.data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, Secret::new(bytes.0))));
            let text = secret.string_data.unwrap_or_default();
            values.extend(text.into_iter().map(|(key, text)| (key, Secret::new(text.into_bytes()))));
            let uses = uses_of_secret(&secret.metadata.annotations.unwrap_or_default());
            inventory.secret_uses.insert(parsed.clone(), uses);
            inventory.secrets.insert(parsed, Arc::new(values));
        }
    }
    Ok(())
}
