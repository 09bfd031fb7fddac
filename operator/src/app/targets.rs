//! What is to be read of each TokenService.

use std::collections::BTreeMap;

use portreeve_compiler::{Inventory, ca_certificates};
use portreeve_crds::v1alpha1::TokenService;
use portreeve_policy::NamespacedName;
use tokio::sync::watch;

use crate::{inventory::View, outbound::Target};

/// Keeps the targets as the objects say.
pub(super) async fn follow(
    mut views: watch::Receiver<Option<View>>,
    targets: watch::Sender<BTreeMap<NamespacedName, Target>>,
) {
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
        ca_certificates: ca_certificates(inventory, name, service).map_err(|(_, message)| message),
    }
}
