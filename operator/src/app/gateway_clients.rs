//! Keeps the gateway's own ClientRegistrations as the TokenServices' owners want them. Only the leader writes.
//!
//! INVARIANT: an object without our label is never changed and never deleted, whatever its name.

use std::{collections::BTreeSet, time::Duration};

use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use portreeve_compiler::{GATEWAY_CLIENT_LABEL, Inventory, gateway_clients, is_undecided};
use portreeve_crds::{API_VERSION, ObjectKind, v1alpha1::ClientRegistration};
use portreeve_policy::NamespacedName;
use serde_json::json;
use tokio::sync::watch;

use crate::{controller::Compilation, inventory::explain};

/// Owns spec and label of these objects.
const FIELD_MANAGER: &str = "portreeve-gateway-clients";

/// Between attempts after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// What is to be done about one object.
#[derive(Debug, Clone, PartialEq)]
enum Act {
    Apply(Box<ClientRegistration>),
    /// With this uid, and no other.
    Delete(String),
}

/// Follows what is compiled for ever.
pub(super) async fn keep(
    client: Client,
    mut compilations: watch::Receiver<Option<Compilation>>,
    mut leading: watch::Receiver<bool>,
) {
    let mut told = BTreeSet::new();
    loop {
        let mut failed = false;
        let compilation = compilations.borrow_and_update().clone();
        if *leading.borrow_and_update()
            && let Some(Compilation { inventory, complete: true, .. }) = compilation
        {
            for (name, act) in acts(&inventory) {
                if let Err(fault) = carry_out(&client, &name, act).await {
                    failed = true;
                    if told.insert(fault.clone()) {
                        tracing::error!(registration = %name, "{fault}");
                    }
                }
            }
        }
        let open = tokio::select! {
            changed = compilations.changed() => changed.is_ok(),
            changed = leading.changed() => changed.is_ok(),
            () = tokio::time::sleep(RETRY), if failed => true,
        };
        if !open {
            return;
        }
    }
}

/// What is to be done. Pure.
fn acts(inventory: &Inventory) -> Vec<(NamespacedName, Act)> {
    let wanted = gateway_clients(inventory);
    let mut acts = Vec::new();
    for (name, object) in &wanted {
        match inventory.registrations.get(name) {
            Some(held) if !is_ours(held) || held.metadata.deletion_timestamp.is_some() => {}
            Some(held) if held.spec == object.spec => {}
            Some(_) | None => acts.push((name.clone(), Act::Apply(Box::new(object.clone())))),
        }
    }
    // What refers to it cannot be told while the TokenService cannot be read.
    let unreadable = inventory.unreadable.keys().any(|object| object.kind == ObjectKind::TokenService);
    for (name, held) in &inventory.registrations {
        let gone = is_ours(held) && !wanted.contains_key(name) && held.metadata.deletion_timestamp.is_none();
        if gone && !unreadable && !is_undecided(inventory, name.namespace()) {
            acts.push((name.clone(), Act::Delete(held.metadata.uid.clone().unwrap_or_default())));
        }
    }
    acts
}

fn is_ours(registration: &ClientRegistration) -> bool {
    let (label, value) = GATEWAY_CLIENT_LABEL;
    registration.metadata.labels.as_ref().and_then(|labels| labels.get(label)).is_some_and(|held| held == value)
}

async fn carry_out(client: &Client, name: &NamespacedName, act: Act) -> Result<(), String> {
    let api: Api<ClientRegistration> = Api::namespaced(client.clone(), name.namespace());
    let told = |fault: kube::Error| explain(&fault, &format!("clientregistrations in namespace {}", name.namespace()));
    match act {
        Act::Apply(object) => {
            let ClientRegistration { metadata, spec, status: _ } = *object;
            let patch = json!({
                "apiVersion": API_VERSION, "kind": "ClientRegistration",
                "metadata": {"name": name.name(), "namespace": name.namespace(), "labels": metadata.labels},
                "spec": spec,
            });
            let params = PatchParams::apply(FIELD_MANAGER).force();
            api.patch(name.name(), &params, &Patch::Apply(patch)).await.map_err(told)?;
            tracing::info!(registration = %name, "client of the gateway asked for");
        }
        Act::Delete(uid) => {
            let only = Preconditions { uid: Some(uid), resource_version: None };
            let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
            match api.delete(name.name(), &params).await {
                Ok(_) => tracing::info!(registration = %name, "client of the gateway not needed any more"),
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(fault) => return Err(told(fault)),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portreeve_compiler::manifest::Manifests;

    use super::*;

    const OBJECTS: &str = "
apiVersion: portreeve.dev/v1alpha1
kind: TokenService
metadata: {name: login, namespace: identity}
spec: {issuer: \"https://login.test\", allowedNamespaces: {from: All}, client: {perNamespace: {}}, introspection: {answer: Json}}
---
apiVersion: portreeve.dev/v1alpha1
kind: ApiPolicy
metadata: {name: a, namespace: shop}
spec:
  targetRefs: [{kind: ApiRoute, name: a}]
  authentication:
    anyOf: [{introspection: {tokenServiceRef: {name: login, namespace: identity}, audiences: [a]}}]
";

    fn inventory(text: &str) -> Inventory {
        let mut manifests = Manifests::default();
        manifests.read("a.yaml", text);
        manifests.inventory
    }

    fn name() -> NamespacedName {
        "shop/portreeve-gateway.identity.login".parse().unwrap()
    }

    #[test]
    fn k4_a_client_is_kept_in_each_namespace_that_asks_and_put_back_when_edited() {
        let mut inventory = inventory(OBJECTS);
        let first = acts(&inventory);
        let [(found, Act::Apply(made))] = first.as_slice() else { panic!() };
        assert_eq!(*found, name());
        inventory.registrations.insert(name(), Arc::new(made.as_ref().clone()));
        assert_eq!(acts(&inventory), []);
        let mut edited: ClientRegistration = made.as_ref().clone();
        edited.spec.metadata.software_id = Some("portreeve-gateway".to_owned());
        inventory.registrations.insert(name(), Arc::new(edited));
        assert_eq!(acts(&inventory), [(name(), Act::Apply(made.clone()))]);
        let mut foreign: ClientRegistration = made.as_ref().clone();
        foreign.metadata.labels = None;
        inventory.registrations.insert(name(), Arc::new(foreign));
        assert_eq!(acts(&inventory), [], "somebody else's object of that name");
    }

    #[test]
    fn k4_it_goes_with_the_last_policy_unless_nobody_can_say() {
        let whole = inventory(OBJECTS);
        let (name, made) = gateway_clients(&whole).into_iter().next().unwrap();
        let with = |text: &str| {
            let mut inventory = inventory(text);
            inventory.registrations.insert(name.clone(), Arc::new(made.clone()));
            acts(&inventory)
        };
        let (service, policy) = OBJECTS.split_once("---").unwrap();
        assert_eq!(with(service), [(name.clone(), Act::Delete(String::new()))]);
        assert_eq!(with(policy), [(name.clone(), Act::Delete(String::new()))]);
        assert_eq!(with(&OBJECTS.replace("targetRefs:", "nonsense: 1\n  targetRefs:")), []);
        assert_eq!(with(&OBJECTS.replace("spec: {issuer", "spec: {nonsense: 1, issuer")), []);
        assert_eq!(with(OBJECTS), []);
    }
}
