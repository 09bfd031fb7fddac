//! Whether a change of the objects bears on policy. Pure.
//!
//! Statuses, versions and fields of other managers do not; neither do pods of namespaces without ApiRoutes, nor the
//! readiness of pods that no ApiRoute selects, nor Services of such namespaces.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_compiler::{Inventory, Pod};
use portreeve_crds::Unreadable;
use portreeve_policy::NamespacedName;

/// Whether two states of the cluster may compile to different things.
pub(super) fn differs(before: &Inventory, after: &Inventory) -> bool {
    !same_map(&before.token_services, &after.token_services, |a, b| a.spec == b.spec && same(&a.metadata, &b.metadata))
        || !same_map(&before.routes, &after.routes, |a, b| a.spec == b.spec && same(&a.metadata, &b.metadata))
        || !same_map(&before.policies, &after.policies, |a, b| a.spec == b.spec && same(&a.metadata, &b.metadata))
        || !same_map(&before.registrations, &after.registrations, |a, b| {
            a.spec == b.spec && same(&a.metadata, &b.metadata)
        })
        || !same_map(&before.unreadable, &after.unreadable, same_unreadable)
        || before.namespaces != after.namespaces
        || before.secrets != after.secrets
        || before.secret_uses != after.secret_uses
        || before.config_maps != after.config_maps
        || services(before) != services(after)
        || pods(before) != pods(after)
}

fn same_map<K: Ord, T>(
    before: &BTreeMap<K, Arc<T>>,
    after: &BTreeMap<K, Arc<T>>,
    same: impl Fn(&T, &T) -> bool,
) -> bool {
    before.len() == after.len()
        && before.iter().zip(after).all(|((a, old), (b, new))| a == b && (Arc::ptr_eq(old, new) || same(old, new)))
}

/// What of the metadata counts; `resourceVersion` and managed fields change with every status.
fn same(a: &ObjectMeta, b: &ObjectMeta) -> bool {
    a.uid == b.uid
        && a.generation == b.generation
        && a.annotations == b.annotations
        && a.labels == b.labels
        && a.finalizers == b.finalizers
        && a.deletion_timestamp == b.deletion_timestamp
        && a.creation_timestamp == b.creation_timestamp
}

fn same_unreadable(a: &Unreadable, b: &Unreadable) -> bool {
    let part = |value: &serde_json::Value, pointer: &str| value.pointer(pointer).cloned();
    a.message == b.message
        && ["/spec", "/metadata/annotations", "/metadata/generation", "/metadata/uid"]
            .iter()
            .all(|pointer| part(&a.value, pointer) == part(&b.value, pointer))
}

/// Namespaces that have an ApiRoute, or something that may be one.
fn governed(inventory: &Inventory) -> BTreeSet<&str> {
    let routes = inventory.routes.keys().map(NamespacedName::namespace);
    routes.chain(inventory.unreadable.keys().map(|object| object.namespace.as_str())).collect()
}

fn services(inventory: &Inventory) -> Vec<(&NamespacedName, &portreeve_compiler::PortService)> {
    let governed = governed(inventory);
    inventory.services.iter().filter(|(name, _)| governed.contains(name.namespace())).collect()
}

/// Pods as far as they have a say: which there are, and whether those that are selected are Ready.
fn pods(inventory: &Inventory) -> Vec<(&NamespacedName, &BTreeMap<String, String>, &str, bool)> {
    let governed = governed(inventory);
    let mut selectors: BTreeMap<&str, Vec<&BTreeMap<String, String>>> = BTreeMap::new();
    for (name, route) in &inventory.routes {
        selectors.entry(name.namespace()).or_default().push(&route.spec.workload_selector.match_labels);
    }
    let selected = |name: &NamespacedName, pod: &Pod| {
        selectors
            .get(name.namespace())
            .into_iter()
            .flatten()
            .any(|wanted| wanted.iter().all(|(key, value)| pod.labels.get(key) == Some(value)))
    };
    let here = inventory.pods.iter().filter(|(name, _)| governed.contains(name.namespace()));
    here.map(|(name, pod)| (name, &pod.labels, pod.uid.as_str(), pod.ready && selected(name, pod))).collect()
}

#[cfg(test)]
mod tests {
    use portreeve_compiler::manifest::Manifests;

    use super::*;

    /// Name, label `app`, and whether it is Ready.
    type Facts = (&'static str, &'static str, bool);

    fn inventory(pods: &[Facts]) -> Inventory {
        let mut manifests = Manifests::default();
        manifests.read(
            "a.yaml",
            "apiVersion: portreeve.dev/v1alpha1\nkind: ApiRoute\nmetadata: {name: a, namespace: shop}\nspec:\n  \
             workloadSelector: {matchLabels: {app: a}}\n  upstream: {port: 8080}\n  rules: [{name: all, matches: \
             [{path: {type: PathPrefix, value: /}}]}]\n",
        );
        let mut inventory = manifests.inventory;
        for (name, app, ready) in pods {
            let labels = BTreeMap::from([("app".to_owned(), (*app).to_owned())]);
            let pod = Pod { labels, ready: *ready, uid: (*name).to_owned() };
            inventory.pods.insert(name.parse().unwrap(), pod);
        }
        inventory
    }

    #[test]
    fn k12_pods_that_nothing_selects_compile_nothing() {
        let base = [("shop/a", "a", true), ("shop/b", "b", true), ("other/c", "a", true)];
        let with = |change: &dyn Fn(&mut Vec<Facts>)| {
            let mut pods = base.to_vec();
            change(&mut pods);
            differs(&inventory(&base), &inventory(&pods))
        };
        assert!(!with(&|_| ()));
        assert!(with(&|pods| pods[0].2 = false), "a selected pod is not Ready any more");
        assert!(!with(&|pods| pods[1].2 = false));
        assert!(with(&|pods| pods[1].1 = "a"), "it is selected now");
        assert!(!with(&|pods| pods[2].2 = false), "no ApiRoute there");
        assert!(!with(&|pods| pods.truncate(2)));
        assert!(with(&|pods| pods.push(("shop/d", "b", false))), "its proxy waits for an answer");
    }

    #[test]
    fn k12_own_status_writes_compile_nothing() {
        let before = inventory(&[]);
        let mut after = before.clone();
        let route = after.routes.values_mut().next().unwrap();
        Arc::make_mut(route).status = Some(portreeve_crds::v1alpha1::ApiRouteStatus::default());
        Arc::make_mut(route).metadata.resource_version = Some("2".to_owned());
        assert!(!differs(&before, &after));
        let closed = [("portreeve.dev/closed".to_owned(), "INC-1".to_owned())];
        let route = after.routes.values_mut().next().unwrap();
        Arc::make_mut(route).metadata.annotations = Some(closed.into());
        assert!(differs(&before, &after));
    }
}
