//! What was learned from token services, in a ConfigMap of the operator's namespace. All of it is public.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::sync::watch;

use crate::{inventory::explain, outbound::Memory};

const NAME: &str = "portreeve-discovered";
const KEY: &str = "discovered.json";

/// Between writes, and after a failure.
const PAUSE: Duration = Duration::from_secs(5);

/// What an earlier process knew; nothing when it cannot be read.
pub(super) async fn load(client: &Client, namespace: &str) -> Memory {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    match api.get_opt(NAME).await {
        Ok(map) => {
            let data: BTreeMap<String, String> = map.and_then(|map| map.data).unwrap_or_default();
            data.get(KEY).map(|text| Memory::from_bytes(text.as_bytes())).unwrap_or_default()
        }
        Err(fault) => {
            let fault = explain(&fault, &format!("configmaps in namespace {namespace}"));
            tracing::warn!(fault, "cannot recall what was read from token services; it is read anew");
            Memory::default()
        }
    }
}

/// Keeps the ConfigMap as the memory is; the leader only.
pub(super) async fn keep(
    client: Client,
    namespace: String,
    mut memory: watch::Receiver<Memory>,
    mut leading: watch::Receiver<bool>,
) {
    let api: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let mut written = memory.borrow().clone();
    loop {
        let now = memory.borrow_and_update().clone();
        if *leading.borrow_and_update() && now != written {
            let text = String::from_utf8(now.to_bytes()).unwrap_or_default();
            let patch = Patch::Apply(json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": NAME, "labels": {"app.kubernetes.io/managed-by": "portreeve"}},
                "data": {KEY: text},
            }));
            match api.patch(NAME, &PatchParams::apply("portreeve-discovery").force(), &patch).await {
                Ok(_) => written = now,
                Err(fault) => {
                    let fault = explain(&fault, &format!("configmaps in namespace {namespace}"));
                    tracing::warn!(fault, "cannot keep what was read from token services; trying again");
                }
            }
            tokio::time::sleep(PAUSE).await;
            if *memory.borrow() != written {
                continue;
            }
        }
        let open = tokio::select! {
            changed = memory.changed() => changed.is_ok(),
            changed = leading.changed() => changed.is_ok(),
        };
        if !open {
            return;
        }
    }
}
