//! Who is connected and runs what. A stream that ends takes its pod out.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use portreeve_policy::{NamespacedName, ResourceName};
use portreeve_wire::Digest;
use tokio::sync::watch;

/// A workload that said who it is, over the Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workload {
    /// Its name.
    pub(crate) name: NamespacedName,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
}

/// Labels of workloads by name.
pub(crate) type Workloads = Arc<BTreeMap<NamespacedName, BTreeMap<String, String>>>;

/// What one pod's proxy runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PodState {
    /// Acknowledged and running.
    pub(crate) running: BTreeMap<ResourceName, Digest>,
    /// Held, but the proxy cannot run it.
    pub(crate) rejected: BTreeMap<ResourceName, String>,
}

/// All live streams. Cheap to clone, shared.
#[derive(Clone)]
pub(crate) struct Fleet {
    sessions: Arc<Mutex<Sessions>>,
    changes: Arc<watch::Sender<u64>>,
    workloads: Arc<watch::Sender<Workloads>>,
}

#[derive(Default)]
struct Sessions {
    last: u64,
    /// By pod and stream; the newest stream of a pod speaks for it.
    live: BTreeMap<NamespacedName, BTreeMap<u64, Live>>,
}

struct Live {
    state: PodState,
    labels: Option<BTreeMap<String, String>>,
}

/// A place in the fleet, given up when dropped.
pub(super) struct Membership {
    fleet: Fleet,
    pod: NamespacedName,
    id: u64,
}

impl Fleet {
    /// Nobody is connected.
    pub(crate) fn new() -> Self {
        Self {
            sessions: Arc::default(),
            changes: Arc::new(watch::Sender::new(0)),
            workloads: Arc::new(watch::Sender::new(Arc::default())),
        }
    }

    /// Changes whenever a pod comes, goes or answers.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Labels of those that said who they are.
    pub(crate) fn workloads(&self) -> watch::Receiver<Workloads> {
        self.workloads.subscribe()
    }

    /// What every connected pod runs.
    pub(crate) fn pods(&self) -> BTreeMap<NamespacedName, PodState> {
        self.with(|sessions| {
            let newest = |(pod, streams): (&NamespacedName, &BTreeMap<u64, Live>)| {
                streams.last_key_value().map(|(_, live)| (pod.clone(), live.state.clone()))
            };
            sessions.live.iter().filter_map(newest).collect()
        })
    }

    pub(super) fn join(&self, pod: NamespacedName, labels: Option<BTreeMap<String, String>>) -> Membership {
        let id = self.with(|sessions| {
            sessions.last += 1;
            let live = Live { state: PodState::default(), labels };
            sessions.live.entry(pod.clone()).or_default().insert(sessions.last, live);
            sessions.last
        });
        self.tell();
        Membership { fleet: self.clone(), pod, id }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Sessions) -> T) -> T {
        act(&mut self.sessions.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self) {
        let workloads: BTreeMap<_, _> = self.with(|sessions| {
            let named = |(pod, streams): (&NamespacedName, &BTreeMap<u64, Live>)| {
                Some((pod.clone(), streams.last_key_value()?.1.labels.clone()?))
            };
            sessions.live.iter().filter_map(named).collect()
        });
        self.workloads.send_if_modified(|held| {
            let changed = **held != workloads;
            if changed {
                *held = Arc::new(workloads);
            }
            changed
        });
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Membership {
    /// Notes what the proxy runs now.
    pub(super) fn report(&self, state: PodState) {
        let changed = self.fleet.with(|sessions| {
            let live = sessions.live.get_mut(&self.pod).and_then(|streams| streams.get_mut(&self.id));
            live.is_some_and(|live| {
                let changed = live.state != state;
                live.state = state;
                changed
            })
        });
        if changed {
            self.fleet.tell();
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.fleet.with(|sessions| {
            if let Some(streams) = sessions.live.get_mut(&self.pod) {
                streams.remove(&self.id);
                if streams.is_empty() {
                    sessions.live.remove(&self.pod);
                }
            }
        });
        self.fleet.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(reason: &str) -> PodState {
        let name: NamespacedName = "shop/orders".parse().unwrap();
        PodState { rejected: BTreeMap::from([(ResourceName::route(&name), reason.to_owned())]), ..PodState::default() }
    }

    #[test]
    fn the_newest_stream_speaks_for_its_pod_and_its_end_removes_it() {
        let fleet = Fleet::new();
        let pod: NamespacedName = "shop/p".parse().unwrap();
        let old = fleet.join(pod.clone(), Some(BTreeMap::new()));
        let new = fleet.join(pod.clone(), Some(BTreeMap::from([("app".to_owned(), "orders".to_owned())])));
        old.report(state("old"));
        new.report(state("new"));
        assert_eq!(fleet.pods()[&pod], state("new"));
        assert_eq!(fleet.workloads().borrow()[&pod].len(), 1);
        drop(new);
        assert_eq!(fleet.pods()[&pod], state("old"));
        drop(old);
        assert!(fleet.pods().is_empty() && fleet.workloads().borrow().is_empty());
    }

    #[test]
    fn tells_of_changes_only() {
        let fleet = Fleet::new();
        let member = fleet.join("shop/p".parse().unwrap(), None);
        let mut changes = fleet.changes();
        member.report(PodState::default());
        assert!(!changes.has_changed().unwrap());
        member.report(state("x"));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert!(fleet.workloads().borrow().is_empty(), "only those that said who they are");
    }
}
