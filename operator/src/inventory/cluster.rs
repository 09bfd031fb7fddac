//! Objects from a cluster: one watch for each kind, and one for the metadata of Secrets and of ConfigMaps; in each watched
//! namespace where only some are watched.
//!
//! INVARIANTS
//! - Nothing is published before every watch of a kind has listed once and everything that is referred to was read; a
//!   watch that starts anew replaces what it held in one act.
//! - The number of connections follows the number of kinds and of watched namespaces, never what objects say.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use portreeve_compiler::{Inventory, Reference, references};
use portreeve_crds::{API_VERSION, GROUP};
use portreeve_policy::NamespacedName;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::Instant,
};

use super::{
    Places, View,
    held::{Held, Source, content, name, plural, set},
    item::{self, Item, Read},
    named::{self, Content, Named, Turn},
    refused::explain_watch,
    relevance::differs,
};
use crate::readiness::Readiness;

/// Changes that come within this time are published together.
const COALESCE: Duration = Duration::from_millis(15);

/// Reads of Secrets and ConfigMaps at the same time.
const READS: usize = 8;

/// For one of them.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// How soon names that could not be read are tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Publishes what the cluster holds.
pub(crate) struct ClusterWatch {
    client: Client,
    readiness: Readiness,
    views: watch::Sender<Option<View>>,
    messages: mpsc::Receiver<Message>,
    sender: mpsc::Sender<Message>,
    /// Namespaces that are watched; empty: all.
    namespaces: Vec<String>,
    sources: BTreeMap<Source, Held>,
    named: Named,
    reads: Arc<Semaphore>,
    retry_at: Option<Instant>,
    revision: u64,
}

enum Message {
    Kind(Source, Change<Option<Item>>),
    /// With the version of the object.
    Metadata(Source, Listing, Change<Option<String>>),
    Content(Reference, Result<Option<Content>, String>),
}

enum Change<T> {
    Apply(String, T),
    Delete(String),
    Init,
    InitApply(String, T),
    InitDone,
    /// The watch failed and is tried again.
    Failed(String),
}

/// Names of Secrets or ConfigMaps.
type Listing = fn(NamespacedName) -> Reference;

/// The kinds that are watched as a whole: group, version, kind, plural, and how one is read.
const KINDS: [(&str, &str, &str, &str, Read); 6] = [
    (GROUP, "v1alpha1", "TokenService", "tokenservices", |o| item::own(API_VERSION, "TokenService", o)),
    (GROUP, "v1alpha1", "ApiRoute", "apiroutes", |o| item::own(API_VERSION, "ApiRoute", o)),
    (GROUP, "v1alpha1", "ApiPolicy", "apipolicies", |o| item::own(API_VERSION, "ApiPolicy", o)),
    (GROUP, "v1alpha1", "ClientRegistration", "clientregistrations", |o| {
        item::own(API_VERSION, "ClientRegistration", o)
    }),
    ("", "v1", "Pod", "pods", item::pod),
    ("", "v1", "Service", "services", item::service),
];

/// Those whose metadata is watched.
const NAMED: [(&str, &str, Listing); 2] =
    [("Secret", "secrets", Reference::Secret), ("ConfigMap", "configmaps", Reference::ConfigMap)];

impl ClusterWatch {
    /// Prepares the watches; nothing is read yet. No `namespaces`: all of them.
    pub(crate) fn new(
        client: Client,
        readiness: Readiness,
        namespaces: Vec<String>,
    ) -> (Self, watch::Receiver<Option<View>>) {
        let (views, receiver) = watch::channel(None);
        let (sender, messages) = mpsc::channel(1024);
        readiness.block("source", "not every kind was listed yet");
        let this = Self {
            client,
            readiness,
            views,
            messages,
            sender,
            namespaces,
            sources: BTreeMap::new(),
            named: Named::default(),
            reads: Arc::new(Semaphore::new(READS)),
            retry_at: None,
            revision: 0,
        };
        (this, receiver)
    }

    /// Follows the cluster for ever.
    pub(crate) async fn run(mut self) {
        self.start();
        loop {
            let retry = self.retry_at;
            let message = tokio::select! {
                message = self.messages.recv() => message,
                () = until(retry) => {
                    self.retry_at = None;
                    for reference in self.named.failed_reads() {
                        self.read(reference);
                    }
                    continue;
                }
            };
            let Some(message) = message else { return };
            self.take(message);
            tokio::time::sleep(COALESCE).await;
            while let Ok(message) = self.messages.try_recv() {
                self.take(message);
            }
            self.publish();
        }
    }

    fn start(&mut self) {
        let places: Vec<Option<String>> = if self.namespaces.is_empty() {
            // Labels of namespaces are of no namespace, so nobody who watches single ones may read them.
            let resource =
                ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", "Namespace"), "namespaces");
            let source = Source { plural: "namespaces", namespace: None };
            self.follow(source, Api::all_with(self.client.clone(), &resource), item::namespace);
            vec![None]
        } else {
            self.namespaces.iter().cloned().map(Some).collect()
        };
        for namespace in places {
            for (group, version, kind, plural, read) in KINDS {
                let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
                let api = self.api(namespace.as_deref(), &resource);
                self.follow(Source { plural, namespace: namespace.clone() }, api, read);
            }
            for (kind, plural, listing) in NAMED {
                let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", kind), plural);
                let client = self.client.clone();
                let api = match &namespace {
                    Some(namespace) => Api::namespaced_with(client, namespace, &resource),
                    None => Api::all_with(client, &resource),
                };
                self.follow_metadata(Source { plural, namespace: namespace.clone() }, api, listing);
            }
        }
    }

    fn api(&self, namespace: Option<&str>, resource: &ApiResource) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        }
    }

    fn follow(&mut self, source: Source, api: Api<DynamicObject>, read: Read) {
        let (sender, key) = (self.sender.clone(), source.clone());
        self.sources.insert(source, Held::default());
        tokio::spawn(async move {
            let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
            while let Some(event) = events.next().await {
                let change = match event {
                    Ok(Event::Apply(object)) => Change::Apply(name(&object), read(object)),
                    Ok(Event::Delete(object)) => Change::Delete(name(&object)),
                    Ok(Event::Init) => Change::Init,
                    Ok(Event::InitApply(object)) => Change::InitApply(name(&object), read(object)),
                    Ok(Event::InitDone) => Change::InitDone,
                    Err(fault) => Change::Failed(explain_watch(&fault, &key.resource())),
                };
                if sender.send(Message::Kind(key.clone(), change)).await.is_err() {
                    return;
                }
            }
        });
    }

    fn follow_metadata(&self, source: Source, api: Api<PartialObjectMeta<DynamicObject>>, listing: Listing) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
            while let Some(event) = events.next().await {
                let of = |object: &PartialObjectMeta<DynamicObject>| {
                    let text = |text: &Option<String>| text.clone().unwrap_or_default();
                    format!("{}/{}", text(&object.metadata.namespace), text(&object.metadata.name))
                };
                let change = match event {
                    Ok(Event::Apply(object)) => Change::Apply(of(&object), object.metadata.resource_version),
                    Ok(Event::Delete(object)) => Change::Delete(of(&object)),
                    Ok(Event::Init) => Change::Init,
                    Ok(Event::InitApply(object)) => Change::InitApply(of(&object), object.metadata.resource_version),
                    Ok(Event::InitDone) => Change::InitDone,
                    Err(fault) => Change::Failed(explain_watch(&fault, &source.resource())),
                };
                if sender.send(Message::Metadata(source.clone(), listing, change)).await.is_err() {
                    return;
                }
            }
        });
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Kind(source, change) => self.take_kind(&source, change),
            Message::Metadata(source, listing, change) => self.take_metadata(&source, listing, change),
            Message::Content(reference, result) => {
                let part = format!("read {} {}", plural(&reference), named::name(&reference));
                let result = match result {
                    Ok(content) => {
                        self.readiness.clear(&part);
                        Ok(content)
                    }
                    Err(fault) => {
                        // One namespace's missing grant must not hold all others up: the object counts as missing.
                        if self.readiness.warn(&part, &fault) {
                            tracing::error!("{fault}");
                        }
                        self.retry_at.get_or_insert_with(|| Instant::now() + RETRY);
                        Err(())
                    }
                };
                if self.named.read(&reference, result) == Turn::Read {
                    self.read(reference);
                }
            }
        }
    }

    fn take_kind(&mut self, source: &Source, change: Change<Option<Item>>) {
        let Some(held) = self.sources.get_mut(source) else { return };
        let part = format!("watch {}", source.resource());
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
            // A watch that worked and broke off goes on with what it has; but where the definition is gone, or the grant,
            // nothing that is changed will be seen.
            Change::Failed(fault) if held.synced && !fault.contains("unknown") && !fault.contains("forbidden") => {
                tracing::debug!(fault, "watch broke off; it is begun again");
            }
            Change::Failed(fault) => {
                if self.readiness.block(&part, &fault) {
                    tracing::error!("{fault}");
                }
            }
        }
    }

    fn take_metadata(&mut self, source: &Source, listing: Listing, change: Change<Option<String>>) {
        let reference = |key: &str| key.parse().ok().map(listing);
        let part = format!("watch {}", source.resource());
        let turn = match change {
            Change::Apply(key, version) | Change::InitApply(key, version) => {
                self.readiness.clear(&part);
                let Some(reference) = reference(&key) else { return };
                let turn = self.named.changed(&reference, Some(version.as_deref().unwrap_or_default()));
                if self.named.wants(&reference) {
                    self.sources.entry(source.clone()).or_default().draft_name(&key);
                }
                (reference, turn)
            }
            Change::Delete(key) => {
                let Some(reference) = reference(&key) else { return };
                let turn = self.named.changed(&reference, None);
                (reference, turn)
            }
            Change::Init => {
                self.sources.entry(source.clone()).or_default().draft = Some(BTreeMap::new());
                return;
            }
            Change::InitDone => {
                self.readiness.clear(&part);
                let held = self.sources.entry(source.clone()).or_default();
                held.synced = true;
                let names = held.draft.take().unwrap_or_default();
                let names: BTreeSet<_> = names.keys().filter_map(|key| reference(key)).collect();
                let here = |found: &Reference| {
                    plural(found) == source.plural
                        && source.namespace.as_deref().is_none_or(|own| own == named::name(found).namespace())
                };
                for reference in self.named.unlisted(&names, here) {
                    self.read(reference);
                }
                return;
            }
            Change::Failed(fault) => {
                if self.readiness.warn(&part, &fault) {
                    tracing::error!("{fault}");
                }
                return;
            }
        };
        if turn.1 == Turn::Read {
            self.read(turn.0);
        }
    }

    /// Reads one object, in its turn.
    fn read(&self, reference: Reference) {
        let (client, sender, reads) = (self.client.clone(), self.sender.clone(), Arc::clone(&self.reads));
        tokio::spawn(async move {
            let Ok(_turn) = reads.acquire().await else { return };
            let result = match tokio::time::timeout(READ_WITHIN, content(client, &reference)).await {
                Ok(result) => result,
                Err(_late) => Err(format!("cannot read {} {}: timed out", plural(&reference), named::name(&reference))),
            };
            drop(sender.send(Message::Content(reference, result)).await);
        });
    }

    fn publish(&mut self) {
        let kinds = KINDS.map(|(_, _, _, plural, _)| plural);
        let is_kind = |source: &Source| kinds.contains(&source.plural) || source.plural == "namespaces";
        if !self.sources.iter().filter(|(source, _)| is_kind(source)).all(|(_, held)| held.synced) {
            return;
        }
        let mut inventory = Inventory::default();
        for item in self.sources.values().flat_map(|held| held.items.values()) {
            item.add(&mut inventory);
        }
        for reference in self.named.want(&references(&inventory).wanted) {
            self.read(reference);
        }
        if !self.named.is_complete() {
            return;
        }
        self.named.add(&mut inventory);
        self.readiness.clear("source");
        let before = self.views.borrow().as_ref().map(|view| Arc::clone(&view.inventory));
        if before.is_none_or(|before| differs(&before, &inventory)) {
            self.revision = self.revision.saturating_add(1);
        }
        let inventory = Arc::new(inventory);
        self.views.send_replace(Some(View {
            inventory,
            places: Places::default(),
            revision: self.revision,
            complete: true,
        }));
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
