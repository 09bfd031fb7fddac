//! Objects from a cluster: one watch for each kind, one for each Secret and ConfigMap that is referred to.
//!
//! INVARIANT: nothing is published before every watch has listed once; a watch that starts anew replaces what it held in
//! one act.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use portreeve_compiler::Inventory;
use portreeve_crds::{API_VERSION, GROUP};
use portreeve_policy::NamespacedName;
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
};

use super::{
    Places, View,
    item::{self, Item, Read},
    references::{Reference, references},
    refused::explain_watch,
};
use crate::readiness::Readiness;

/// Changes that come within this time are published together.
const COALESCE: Duration = Duration::from_millis(15);

/// Publishes what the cluster holds.
pub(crate) struct ClusterWatch {
    client: Client,
    readiness: Readiness,
    views: watch::Sender<Option<View>>,
    messages: mpsc::Receiver<Message>,
    sender: mpsc::Sender<Message>,
    sources: BTreeMap<Source, Held>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Kind(&'static str),
    Named(Reference),
}

struct Held {
    /// By `namespace/name`.
    items: BTreeMap<String, Item>,
    /// A list that is being read.
    draft: Option<BTreeMap<String, Item>>,
    synced: bool,
    task: AbortHandle,
}

struct Message {
    source: Source,
    change: Change,
}

enum Change {
    Apply(String, Option<Item>),
    Delete(String),
    Init,
    InitApply(String, Option<Item>),
    InitDone,
    /// The watch failed and is tried again.
    Failed(String),
}

/// The kinds that are watched as a whole: group, version, kind, plural, and how one is read.
const KINDS: [(&str, &str, &str, &str, Read); 7] = [
    (GROUP, "v1alpha1", "TokenService", "tokenservices", |o| item::own(API_VERSION, "TokenService", o)),
    (GROUP, "v1alpha1", "ApiRoute", "apiroutes", |o| item::own(API_VERSION, "ApiRoute", o)),
    (GROUP, "v1alpha1", "ApiPolicy", "apipolicies", |o| item::own(API_VERSION, "ApiPolicy", o)),
    (GROUP, "v1alpha1", "ClientRegistration", "clientregistrations", |o| {
        item::own(API_VERSION, "ClientRegistration", o)
    }),
    ("", "v1", "Pod", "pods", item::pod),
    ("", "v1", "Service", "services", item::service),
    ("", "v1", "Namespace", "namespaces", item::namespace),
];

impl ClusterWatch {
    /// Prepares the watches; nothing is read yet.
    pub(crate) fn new(client: Client, readiness: Readiness) -> (Self, watch::Receiver<Option<View>>) {
        let (views, receiver) = watch::channel(None);
        let (sender, messages) = mpsc::channel(1024);
        readiness.block("source", "not every kind was listed yet");
        (Self { client, readiness, views, messages, sender, sources: BTreeMap::new() }, receiver)
    }

    /// Follows the cluster for ever.
    pub(crate) async fn run(mut self) {
        for (group, version, kind, plural, read) in KINDS {
            let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
            let api = Api::all_with(self.client.clone(), &resource);
            self.follow(Source::Kind(plural), api, watcher::Config::default(), plural.to_owned(), read);
        }
        while let Some(message) = self.messages.recv().await {
            self.take(message);
            tokio::time::sleep(COALESCE).await;
            while let Ok(message) = self.messages.try_recv() {
                self.take(message);
            }
            self.publish();
        }
    }

    fn follow(
        &mut self,
        source: Source,
        api: Api<DynamicObject>,
        config: watcher::Config,
        resource: String,
        read: Read,
    ) {
        let (sender, key) = (self.sender.clone(), source.clone());
        let task = tokio::spawn(async move {
            let mut events = std::pin::pin!(watcher(api, config).default_backoff());
            while let Some(event) = events.next().await {
                let change = match event {
                    Ok(Event::Apply(object)) => Change::Apply(name(&object), read(object)),
                    Ok(Event::Delete(object)) => Change::Delete(name(&object)),
                    Ok(Event::Init) => Change::Init,
                    Ok(Event::InitApply(object)) => Change::InitApply(name(&object), read(object)),
                    Ok(Event::InitDone) => Change::InitDone,
                    Err(fault) => Change::Failed(explain_watch(&fault, &resource)),
                };
                if sender.send(Message { source: key.clone(), change }).await.is_err() {
                    return;
                }
            }
        });
        let held = Held { items: BTreeMap::new(), draft: None, synced: false, task: task.abort_handle() };
        self.sources.insert(source, held);
    }

    fn take(&mut self, message: Message) {
        let Message { source, change } = message;
        // A watch that was ended may have left a message behind.
        let Some(held) = self.sources.get_mut(&source) else { return };
        let part = match &source {
            Source::Kind(plural) => format!("watch {plural}"),
            Source::Named(Reference::ConfigMap(name)) => format!("watch configmaps {name}"),
            Source::Named(Reference::Secret(name)) => format!("watch secrets {name}"),
        };
        match change {
            Change::Apply(key, item) => set(&mut held.items, key, item),
            Change::Delete(key) => drop(held.items.remove(&key)),
            Change::Init => held.draft = Some(BTreeMap::new()),
            Change::InitApply(key, item) => set(held.draft.get_or_insert_default(), key, item),
            Change::InitDone => {
                held.items = held.draft.take().unwrap_or_default();
                held.synced = true;
                self.readiness.clear(&part);
            }
            Change::Failed(fault) => match source {
                // A watch that worked and broke off goes on with what it has.
                Source::Kind(_) if held.synced && fault.contains("forbidden") => tracing::error!("{fault}"),
                Source::Kind(_) if held.synced => tracing::debug!(fault, "watch broke off; it is begun again"),
                Source::Kind(_) => {
                    if self.readiness.block(&part, &fault) {
                        tracing::error!("{fault}");
                    }
                }
                Source::Named(_) => {
                    // One namespace's missing grant must not hold all others up: the object counts as missing.
                    held.synced = true;
                    if self.readiness.warn(&part, &fault) {
                        tracing::error!("{fault}");
                    }
                }
            },
        }
    }

    fn publish(&mut self) {
        let kinds_synced = |(source, held): (&Source, &Held)| matches!(source, Source::Named(_)) || held.synced;
        if !self.sources.iter().all(kinds_synced) {
            return;
        }
        self.readiness.clear("source");
        let mut inventory = Inventory::default();
        for item in self.sources.values().flat_map(|held| held.items.values()) {
            item.add(&mut inventory);
        }
        self.watch_references(&references(&inventory));
        if self.sources.values().all(|held| held.synced) {
            let view = View { inventory: Arc::new(inventory), places: Places::default(), complete: true };
            self.views.send_replace(Some(view));
        }
    }

    /// Starts and ends watches by name.
    fn watch_references(&mut self, wanted: &BTreeSet<Reference>) {
        self.sources.retain(|source, held| {
            let keep = match source {
                Source::Kind(_) => true,
                Source::Named(reference) => wanted.contains(reference),
            };
            if !keep {
                held.task.abort();
            }
            keep
        });
        for reference in wanted {
            let source = Source::Named(reference.clone());
            if self.sources.contains_key(&source) {
                continue;
            }
            let (kind, plural, name, read): (_, _, &NamespacedName, Read) = match reference {
                Reference::ConfigMap(name) => ("ConfigMap", "configmaps", name, item::config_map),
                Reference::Secret(name) => ("Secret", "secrets", name, item::secret),
            };
            let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", kind), plural);
            let api = Api::namespaced_with(self.client.clone(), name.namespace(), &resource);
            let config = watcher::Config::default().fields(&format!("metadata.name={}", name.name()));
            self.follow(source, api, config, format!("{plural} in namespace {}", name.namespace()), read);
        }
    }
}

fn set(items: &mut BTreeMap<String, Item>, key: String, item: Option<Item>) {
    match item {
        Some(item) => drop(items.insert(key, item)),
        None => drop(items.remove(&key)),
    }
}

fn name(object: &DynamicObject) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", text(&object.metadata.namespace), text(&object.metadata.name))
}
