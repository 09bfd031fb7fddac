//! What the fleet runs, seen against what is compiled now.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use portreeve_compiler::{Compiled, FleetView, PodView, dependencies};
use portreeve_policy::{NamespacedName, ResourceKind, ResourceName, Snapshot};
use portreeve_wire::{Digest, ResourceSet, SetDigest, set_digest};

use crate::distribute::{PodState, Published};

/// The fleet, and what each route's content is.
pub(super) struct Seen {
    pub(super) fleet: FleetView,
    pub(super) contents: BTreeMap<NamespacedName, SetDigest>,
}

/// What the routes of one snapshot depend on.
type Dependencies = Vec<(NamespacedName, BTreeSet<ResourceName>)>;

/// A route is current on a pod when the pod runs it, and every key set, client and secret that its rules use, in the form
/// that is published now. One of them that the pod cannot run counts against the route.
pub(super) fn see(pods: &BTreeMap<NamespacedName, PodState>, published: &Published, compiled: &Compiled) -> Seen {
    let mut known: HashMap<*const Snapshot, Dependencies> = HashMap::new();
    let mut contents: BTreeMap<NamespacedName, BTreeSet<(ResourceName, Digest)>> = BTreeMap::new();
    let mut fleet = FleetView::default();
    for (pod, snapshot) in &compiled.snapshots {
        let Some(set) = published.set_of_name(pod) else { continue };
        let dependencies = known.entry(Arc::as_ptr(snapshot)).or_insert_with(|| {
            let made = of_snapshot(snapshot);
            for (route, names) in &made {
                let content = contents.entry(route.clone()).or_default();
                content.extend(names.iter().filter_map(|name| Some((name.clone(), set.resource_digest(name)?))));
            }
            made
        });
        if let Some(state) = pods.get(pod) {
            fleet.pods.insert(pod.clone(), view(state, set, dependencies));
        }
    }
    let digest = |content: BTreeSet<(ResourceName, Digest)>| set_digest(content.iter().map(|(name, of)| (name, *of)));
    Seen { fleet, contents: contents.into_iter().map(|(route, content)| (route, digest(content))).collect() }
}

fn of_snapshot(snapshot: &Snapshot) -> Dependencies {
    snapshot.routes.keys().map(|route| (route.clone(), dependencies(route, snapshot))).collect()
}

fn view(state: &PodState, set: &ResourceSet, dependencies: &Dependencies) -> PodView {
    let mut view = PodView::default();
    for (route, names) in dependencies {
        let rejected = names.iter().find_map(|name| Some((name, state.rejected.get(name)?)));
        if let Some((name, reason)) = rejected {
            let of_route = name.kind == ResourceKind::Route;
            let reason = if of_route { reason.clone() } else { format!("{name}: {reason}") };
            view.rejected.insert(route.clone(), reason);
            continue;
        }
        let runs = |name: &ResourceName| match set.resource_digest(name) {
            // What is not published is not asked for: the rule refuses without it.
            None => true,
            Some(digest) => state.running.get(name) == Some(&digest),
        };
        if names.iter().all(runs) {
            view.current.insert(route.clone());
        }
    }
    view
}

#[cfg(test)]
mod tests {
    use portreeve_compiler::{Options, compile, manifest::Manifests};
    use portreeve_policy::AddressRange;

    use super::*;

    const OPTIONS: Options = Options { allow_http: false, addresses: AddressRange::Public };

    fn compiled(key: &str) -> Compiled {
        let mut manifests = Manifests::default();
        manifests.read(
            "a.yaml",
            &format!(
                "
apiVersion: portreeve.dev/v1alpha1
kind: ApiRoute
metadata: {{name: a, namespace: shop}}
spec:
  workloadSelector: {{matchLabels: {{app: a}}}}
  upstream: {{port: 8080}}
  rules: [{{name: all, matches: [{{path: {{type: PathPrefix, value: /}}}}]}}]
---
apiVersion: portreeve.dev/v1alpha1
kind: ApiPolicy
metadata: {{name: a, namespace: shop}}
spec:
  targetRefs: [{{kind: ApiRoute, name: a}}]
  authentication: {{anyOf: [{{apiKey: {{secretRefs: [{{name: keys}}]}}}}]}}
---
apiVersion: v1
kind: Secret
metadata: {{name: keys, namespace: shop}}
stringData: {{keys: \"acme {key} sha256 BwcHBwcHBwcHBwcHBwcHBw CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk\"}}
---
apiVersion: v1
kind: Pod
metadata: {{name: p, namespace: shop, labels: {{app: a}}}}
spec: {{containers: []}}
",
            ),
        );
        let compiled = compile(&manifests.inventory, OPTIONS);
        assert!(!compiled.has_errors(), "{:?}", compiled.diagnostics);
        compiled
    }

    fn set(compiled: &Compiled) -> Arc<ResourceSet> {
        let pod: NamespacedName = "shop/p".parse().unwrap();
        Arc::new(ResourceSet::new(&compiled.snapshots[&pod], &mut |resource| Arc::new(resource)))
    }

    fn seen(state: PodState, compiled: &Compiled) -> (PodView, SetDigest) {
        let pod: NamespacedName = "shop/p".parse().unwrap();
        let published = Published::of_sets([(pod.clone(), set(compiled))].into());
        let seen = see(&[(pod.clone(), state)].into(), &published, compiled);
        (seen.fleet.pods[&pod].clone(), seen.contents[&"shop/a".parse().unwrap()])
    }

    #[test]
    fn k6_a_secret_that_a_pod_has_not_acknowledged_makes_its_routes_wait() {
        let (old, new) = (compiled("k3y0"), compiled("k3y1"));
        let running = |compiled: &Compiled| PodState { running: set(compiled).digests(), ..PodState::default() };
        let route: NamespacedName = "shop/a".parse().unwrap();
        let (view, content) = seen(running(&new), &new);
        assert_eq!(view.current, [route.clone()].into());
        let (view, _) = seen(running(&old), &new);
        assert!(view.current.is_empty() && view.rejected.is_empty(), "the route itself is the same");
        assert_ne!(seen(running(&old), &old).1, content, "so that no latch hides it");
        let mut refusing = running(&new);
        let secret = refusing.running.keys().find(|name| name.kind == ResourceKind::Secret).unwrap().clone();
        refusing.running.remove(&secret);
        refusing.rejected.insert(secret, "why".to_owned());
        let (view, _) = seen(refusing, &new);
        assert!(view.rejected[&route].contains("why") && view.current.is_empty());
    }
}
