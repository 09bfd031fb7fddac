//! From snapshots to encoded sets. Encoded once, the bytes are shared by every stream that needs them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use portreeve_policy::{NamespacedName, ResourceName, Route, Secret, Snapshot, TokenService};
use portreeve_wire::{EncodedResource, ResourceSet, encode_route, encode_secret, encode_token_service};
use tokio::sync::watch;

/// What every pod shall run.
#[derive(Clone, Default)]
pub(crate) struct Published {
    sets: BTreeMap<NamespacedName, PodSet>,
}

#[derive(Clone)]
struct PodSet {
    uid: String,
    set: Arc<ResourceSet>,
}

/// Encodes what is compiled and tells the streams.
pub(crate) struct Publisher {
    encoded: BTreeMap<ResourceName, (Source, Arc<EncodedResource>)>,
    published: watch::Sender<Arc<Published>>,
}

#[derive(Clone, PartialEq, Eq)]
enum Source {
    Route(Arc<Route>),
    Secret(Secret),
    TokenService(Arc<TokenService>),
}

// === impl Published ===

impl Published {
    /// What a pod shall run; `None` while the pod is not known, or is another one of the same name. A file has no pods
    /// and so no uids; there `uid` is empty.
    pub(crate) fn set(&self, pod: &NamespacedName, uid: &str) -> Option<&Arc<ResourceSet>> {
        self.sets.get(pod).filter(|found| found.uid == uid).map(|found| &found.set)
    }

    /// What pods shall run, for tests of what is made from it.
    #[cfg(test)]
    pub(crate) fn of_sets(sets: BTreeMap<NamespacedName, Arc<ResourceSet>>) -> Self {
        let uid = String::new;
        let sets = sets.into_iter().map(|(pod, set)| (pod, PodSet { uid: uid(), set })).collect();
        Self { sets }
    }

    /// What the pod of that name shall run, whichever uid it has.
    pub(crate) fn set_of_name(&self, pod: &NamespacedName) -> Option<&Arc<ResourceSet>> {
        self.sets.get(pod).map(|found| &found.set)
    }
}

// === impl Publisher ===

impl Publisher {
    /// Nothing is published yet, so every stream waits.
    pub(crate) fn new() -> (Self, watch::Receiver<Arc<Published>>) {
        let (published, receiver) = watch::channel(Arc::default());
        (Self { encoded: BTreeMap::new(), published }, receiver)
    }

    /// Encodes and publishes. `uids` says which pod of a name is meant.
    pub(crate) fn publish(
        &mut self,
        snapshots: &BTreeMap<NamespacedName, Arc<Snapshot>>,
        uids: &BTreeMap<NamespacedName, String>,
    ) -> Arc<Published> {
        let mut kept = BTreeMap::new();
        // Pods with the same routes share one snapshot, and so one set.
        let mut sets: HashMap<*const Snapshot, Arc<ResourceSet>> = HashMap::new();
        let mut by_pod = BTreeMap::new();
        for (pod, snapshot) in snapshots {
            let set = match sets.get(&Arc::as_ptr(snapshot)) {
                Some(set) => Arc::clone(set),
                None => Arc::new(self.encode(snapshot, &mut kept)),
            };
            sets.insert(Arc::as_ptr(snapshot), Arc::clone(&set));
            let uid = uids.get(pod).cloned().unwrap_or_default();
            by_pod.insert(pod.clone(), PodSet { uid, set });
        }
        self.encoded = kept;
        let published = Arc::new(Published { sets: by_pod });
        self.published.send_replace(Arc::clone(&published));
        published
    }

    fn encode(&self, snapshot: &Snapshot, kept: &mut Kept) -> ResourceSet {
        let Snapshot { routes, token_services, secrets } = snapshot;
        let mut resources = Vec::new();
        for (name, route) in routes {
            resources.push(self.route(name, route, kept));
        }
        for (name, service) in token_services {
            let source = Source::TokenService(Arc::clone(service));
            resources.push(
                self.resource(ResourceName::token_service(name), source, kept, || encode_token_service(name, service)),
            );
        }
        for (name, secret) in secrets {
            let source = Source::Secret(secret.clone());
            resources.push(self.resource(ResourceName::secret(name), source, kept, || encode_secret(name, secret)));
        }
        ResourceSet::of(resources.into_iter())
    }

    fn route(&self, name: &NamespacedName, route: &Arc<Route>, kept: &mut Kept) -> Arc<EncodedResource> {
        let source = Source::Route(Arc::clone(route));
        self.resource(ResourceName::route(name), source, kept, || encode_route(name, route))
    }

    /// The encoded form from this round or the last one, if the resource is the same.
    fn resource(
        &self,
        name: ResourceName,
        source: Source,
        kept: &mut Kept,
        encode: impl FnOnce() -> EncodedResource,
    ) -> Arc<EncodedResource> {
        let same = |(held, _): &&(Source, Arc<EncodedResource>)| *held == source;
        let known = kept.get(&name).filter(same).or_else(|| self.encoded.get(&name).filter(same));
        let resource = known.map_or_else(|| Arc::new(encode()), |(_, resource)| Arc::clone(resource));
        kept.insert(name, (source, Arc::clone(&resource)));
        resource
    }
}

type Kept = BTreeMap<ResourceName, (Source, Arc<EncodedResource>)>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_with_one_snapshot_share_its_bytes_and_so_do_rounds() {
        let (mut publisher, receiver) = Publisher::new();
        let name: NamespacedName = "shop/a".parse().unwrap();
        let secret = portreeve_policy::SecretName::new(name, "k").unwrap();
        let snapshot = |value: &str| {
            Arc::new(Snapshot {
                secrets: BTreeMap::from([(secret.clone(), Secret::new(value.as_bytes().to_vec()))]),
                ..Snapshot::default()
            })
        };
        let shared = snapshot("1");
        let pods: Vec<NamespacedName> = ["shop/p1", "shop/p2"].map(|pod| pod.parse().unwrap()).to_vec();
        let snapshots = |snapshot: &Arc<Snapshot>| pods.iter().map(|pod| (pod.clone(), Arc::clone(snapshot))).collect();
        let uids = BTreeMap::from([(pods[0].clone(), "u1".to_owned())]);
        let first = publisher.publish(&snapshots(&shared), &uids);
        assert!(Arc::ptr_eq(first.set_of_name(&pods[0]).unwrap(), first.set_of_name(&pods[1]).unwrap()));
        assert!(first.set(&pods[0], "u1").is_some() && first.set(&pods[0], "u2").is_none());
        let same = publisher.publish(&snapshots(&snapshot("1")), &uids);
        assert_eq!(first.set_of_name(&pods[0]).unwrap().digest(), same.set_of_name(&pods[0]).unwrap().digest());
        let other = publisher.publish(&snapshots(&snapshot("2")), &uids);
        assert_ne!(first.set_of_name(&pods[0]).unwrap().digest(), other.set_of_name(&pods[0]).unwrap().digest());
        assert!(Arc::ptr_eq(&receiver.borrow(), &other));
    }
}
