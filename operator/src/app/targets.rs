//! What is to be read of each TokenService.

use std::collections::BTreeMap;

use portreeve_compiler::Inventory;
use portreeve_crds::{CaBundleRefKind, v1alpha1::TokenService};
use portreeve_policy::{NamespacedName, Secret};
use tokio::sync::watch;

use crate::{inventory::View, outbound::Target};

/// Keeps the targets as the objects say.
pub(super) async fn follow(mut views: watch::Receiver<Option<View>>, targets: watch::Sender<BTreeMap<NamespacedName, Target>>) {
    while views.changed().await.is_ok() {
        let Some(view) = views.borrow_and_update().clone() else { continue };
        let all: BTreeMap<_, _> = view
            .inventory
            .token_services
            .iter()
            .map(|(name, service)| (name.clone(), target(&view.inventory, name, service)))
            .collect();
        targets.send_if_modified(|held| {
            let changed = *held != all;
            if changed {
                *held = all;
            }
            changed
        });
    }
}

fn target(inventory: &Inventory, name: &NamespacedName, service: &TokenService) -> Target {
    Target {
        issuer: service.spec.issuer.clone(),
        discovery: service.spec.discovery,
        jwks: service.spec.endpoints.as_ref().and_then(|endpoints| endpoints.jwks.clone()),
        ca_certificates: ca_certificates(inventory, name, service),
    }
}

/// The bundle that the object refers to; the message names objects only.
fn ca_certificates(inventory: &Inventory, name: &NamespacedName, service: &TokenService) -> Result<String, String> {
    let Some(trust) = &service.spec.trust else { return Ok(String::new()) };
    let reference = &trust.ca_ref;
    let object = NamespacedName::new(name.namespace(), &reference.name).map_err(|fault| fault.to_string())?;
    let (kind, text) = match reference.kind {
        CaBundleRefKind::ConfigMap => {
            ("ConfigMap", inventory.config_maps.get(&object).and_then(|map| map.get(&reference.key)).cloned())
        }
        CaBundleRefKind::Secret => {
            let value = inventory.secrets.get(&object).and_then(|secret| secret.get(&reference.key));
            ("Secret", value.and_then(Secret::expose_str).map(str::to_owned))
        }
    };
    text.filter(|text| !text.is_empty()).ok_or_else(|| format!("{kind} {object} has no text under {:?}", reference.key))
}
