//! Reads metadata and keys of every TokenService: at once when it appears or changes, then by interval, sooner after a
//! failure, and when a proxy meets a key that it does not know.
//!
//! INVARIANT: a failed read keeps what was known, keys until they are older than the installation allows. One token
//! service that hangs holds no other one up.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use portreeve_compiler::{Discovered, DiscoveredEndpoints, Options};
use portreeve_crds::v1alpha1::Discovery;
use portreeve_policy::{AddressRange, KeySet, NamespacedName};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};

use super::{
    client::{CallFault, SsrfGuardedClient},
    discovery::{metadata_url, parse_metadata},
    key_age::{Settled, settle},
    memory::Memory,
};
use crate::{
    clock::{SharedClock, UnixMillis, any_number, jittered},
    telemetry::Metrics,
};

/// What is to be read of one TokenService.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Compared letter by letter with the metadata's.
    pub(crate) issuer: String,
    /// Where metadata stands.
    pub(crate) discovery: Discovery,
    /// Given in the object; wins over the metadata's.
    pub(crate) jwks: Option<String>,
    /// Certificate authorities in PEM, or why there are none.
    pub(crate) ca_certificates: Result<String, String>,
}

/// What does not change.
pub(crate) struct DiscoverySettings {
    /// What is allowed.
    pub(crate) options: Options,
    /// Time between reads.
    pub(crate) interval: Duration,
    /// How long keys count that cannot be read again.
    pub(crate) keys_max_age: Duration,
    /// The time.
    pub(crate) clock: SharedClock,
    /// What was read last, also by an earlier process.
    pub(crate) memory: watch::Sender<Memory>,
    /// What is counted.
    pub(crate) metrics: Metrics,
}

/// Targets by name.
type Targets = BTreeMap<NamespacedName, Target>;

/// Findings by name.
type Fetched = Arc<BTreeMap<NamespacedName, Arc<Discovered>>>;

/// Reads for ever.
pub(crate) struct DiscoveryLoop {
    settings: DiscoverySettings,
    targets: watch::Receiver<Targets>,
    unknown_keys: mpsc::Receiver<NamespacedName>,
    known: BTreeMap<NamespacedName, Known>,
    reads: JoinSet<Read>,
    fetched: watch::Sender<Fetched>,
}

struct Known {
    target: Target,
    found: Option<Arc<Discovered>>,
    due: Instant,
    reading: bool,
    failures: u32,
    last_read: Option<Instant>,
    /// When what was found was read.
    found_at: UnixMillis,
    /// What the log was last told.
    told_detail: Option<String>,
}

struct Read {
    name: NamespacedName,
    target: Target,
    result: Result<Findings, ReadFault>,
}

/// Why a document was not read.
struct ReadFault {
    /// For the status.
    told: String,
    /// For the log.
    detail: String,
}

impl ReadFault {
    fn of_call(document: &str, fault: CallFault, options: Options) -> Self {
        Self { told: format!("{document}: {}", fault.told(options)), detail: format!("{document}: {fault}") }
    }

    /// The document was there, and is not what it should be.
    fn of_content(text: &str, options: Options) -> Self {
        let told = match options.addresses {
            AddressRange::Public => text.to_owned(),
            // That somebody answers at all is for the log too.
            AddressRange::PrivateAndPublic => CallFault::Broken.told(options),
        };
        Self { told, detail: text.to_owned() }
    }
}

/// What was read.
struct Findings {
    endpoints: DiscoveredEndpoints,
    keys: Option<KeySet>,
    left_out: Vec<String>,
}

/// Most keys of a set that are named as not used; the rest is counted.
const MAX_LEFT_OUT: usize = 16;

/// A storm of unknown keys costs one read in this time (J15).
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(10);

const MAX_BACKOFF: Duration = Duration::from_mins(1);

/// Far enough to be never.
const IDLE: Duration = Duration::from_hours(1);

impl Known {
    fn new(target: Target, found: Option<(Arc<Discovered>, UnixMillis)>, due: Instant) -> Self {
        let (found, found_at) = found.map_or((None, UnixMillis(0)), |(found, at)| (Some(found), at));
        Self { target, found, due, reading: false, failures: 0, last_read: None, found_at, told_detail: None }
    }
}

impl DiscoveryLoop {
    /// A loop, and what it will find.
    pub(crate) fn new(
        settings: DiscoverySettings,
        targets: watch::Receiver<Targets>,
        unknown_keys: mpsc::Receiver<NamespacedName>,
    ) -> (Self, watch::Receiver<Fetched>) {
        let (fetched, receiver) = watch::channel(Arc::default());
        let this = Self { settings, targets, unknown_keys, known: BTreeMap::new(), reads: JoinSet::new(), fetched };
        (this, receiver)
    }

    /// Reads until the targets' sender is gone.
    pub(crate) async fn run(mut self) {
        loop {
            self.start_due();
            let due = self.known.values().filter(|known| !known.reading).map(|known| known.due).min();
            let due = due.unwrap_or_else(|| Instant::now() + IDLE);
            tokio::select! {
                changed = self.targets.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.retarget();
                }
                Some(name) = self.unknown_keys.recv() => self.unknown_key(&name),
                Some(read) = self.reads.join_next() => {
                    if let Ok(read) = read {
                        self.finish(read);
                    }
                }
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }

    fn retarget(&mut self) {
        let targets = self.targets.borrow_and_update().clone();
        self.known.retain(|name, _| targets.contains_key(name));
        let memory = self.settings.memory.borrow().clone();
        let now = Instant::now();
        for (name, target) in targets {
            let found = memory.recall(&name, &target.issuer).map(|(found, at)| (Arc::new(self.aged(found, at)), at));
            match self.known.entry(name) {
                Entry::Vacant(place) => {
                    place.insert(Known::new(target, found, now));
                }
                Entry::Occupied(place) if place.get().target == target => {}
                Entry::Occupied(mut place) => {
                    // Keys of another issuer are nobody's keys here.
                    let same = place.get().target.issuer == target.issuer;
                    let at = place.get().found_at;
                    let held = place.get_mut().found.take().filter(|_| same).map(|held| (held, at));
                    place.insert(Known::new(target, held.or(found), now));
                }
            }
        }
        self.publish();
    }

    /// What an earlier process read, without keys that are too old.
    fn aged(&self, found: Discovered, read_at: UnixMillis) -> Discovered {
        let (now, max_age) = (self.settings.clock.now(), self.settings.keys_max_age);
        if found.keys.is_some() && now.since(read_at) > max_age {
            return settle(found, "not read since the start", read_at, now, max_age).found;
        }
        found
    }

    fn unknown_key(&mut self, name: &NamespacedName) {
        let Some(known) = self.known.get_mut(name) else { return };
        let earliest = known.last_read.map_or_else(Instant::now, |last| last + UNKNOWN_KEY_INTERVAL);
        if earliest < known.due {
            tracing::info!(token_service = %name, "a proxy met an unknown key; the keys are read again");
            known.due = earliest;
        }
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        for (name, known) in self.known.iter_mut().filter(|(_, known)| !known.reading && known.due <= now) {
            known.reading = true;
            known.last_read = Some(now);
            let (name, target, options) = (name.clone(), known.target.clone(), self.settings.options);
            self.reads.spawn(async move {
                let result = read(&target, options).await;
                Read { name, target, result }
            });
        }
    }

    fn finish(&mut self, read: Read) {
        let Read { name, target, result } = read;
        let Some(known) = self.known.get_mut(&name) else { return };
        if known.target != target {
            // It was changed meanwhile, and is read again.
            known.reading = false;
            return;
        }
        let random = any_number();
        known.reading = false;
        let found = match result {
            Ok(Findings { endpoints, keys, left_out }) => {
                known.failures = 0;
                known.found_at = self.settings.clock.now();
                known.due = Instant::now() + jittered(self.settings.interval, random);
                Discovered { endpoints, keys, left_out, fault: None }
            }
            Err(ReadFault { told: fault, detail }) => {
                let wait = Duration::from_secs(1).saturating_mul(1 << known.failures.min(10)).min(MAX_BACKOFF);
                known.failures = known.failures.saturating_add(1);
                known.due = Instant::now() + jittered(wait, random);
                self.settings.metrics.discovery_failures.inc();
                let before = known.found.as_deref().cloned().unwrap_or_default();
                let held = before.keys.is_some();
                let Settled { found, news } =
                    settle(before, &fault, known.found_at, self.settings.clock.now(), self.settings.keys_max_age);
                if news || known.told_detail.as_ref() != Some(&detail) {
                    let keys_dropped = held && found.keys.is_none();
                    tracing::warn!(token_service = %name, fault = %detail, keys_dropped, "cannot read metadata or keys");
                }
                known.told_detail = Some(detail);
                found
            }
        };
        self.settings.metrics.reconciled("discovery", found.fault.is_none());
        let read_at = known.found_at;
        let all = self.targets.borrow();
        self.settings.memory.send_if_modified(|memory| {
            let before = memory.clone();
            if found.fault.is_none() {
                memory.note(&name, &target.issuer, &found, read_at);
            }
            memory.retain(|name| all.contains_key(name));
            *memory != before
        });
        drop(all);
        if known.found.as_deref() != Some(&found) {
            known.found = Some(Arc::new(found));
            self.publish();
        }
        self.measure_age();
    }

    /// The oldest keys that count.
    fn measure_age(&self) {
        let has_keys = |known: &&Known| known.found.as_ref().is_some_and(|found| found.keys.is_some());
        let oldest = self.known.values().filter(has_keys).map(|known| known.found_at.0 / 1000).min();
        self.settings.metrics.oldest_keys.set(i64::try_from(oldest.unwrap_or(0)).unwrap_or(i64::MAX));
    }

    fn publish(&self) {
        let found = |(name, known): (&NamespacedName, &Known)| Some((name.clone(), Arc::clone(known.found.as_ref()?)));
        let all: BTreeMap<_, _> = self.known.iter().filter_map(found).collect();
        self.fetched.send_if_modified(|held| {
            let changed = **held != all;
            if changed {
                *held = Arc::new(all);
            }
            changed
        });
    }
}

async fn read(target: &Target, options: Options) -> Result<Findings, ReadFault> {
    let Target { issuer, discovery, jwks, ca_certificates } = target;
    // What is wrong with the object itself is told in any case.
    let own = |text: String| ReadFault { told: text.clone(), detail: text };
    let client = SsrfGuardedClient::new(ca_certificates.as_ref().map_err(|fault| own(fault.clone()))?, options);
    let client = client.map_err(|fault| own(fault.to_string()))?;
    let endpoints = match metadata_url(issuer, *discovery) {
        None if *discovery == Discovery::None => DiscoveredEndpoints::default(),
        None => return Err(own("spec.issuer is not a URL".to_owned())),
        Some(url) => {
            let document = client.read(&url).await;
            let document = document.map_err(|fault| ReadFault::of_call("metadata", fault, options))?;
            parse_metadata(&document, issuer).map_err(|fault| ReadFault::of_content(&fault.to_string(), options))?
        }
    };
    let Some(url) = jwks.as_ref().or(endpoints.jwks.as_ref()) else {
        return Ok(Findings { endpoints, keys: None, left_out: Vec::new() });
    };
    let document = client.read_key_set(url).await;
    let document = document.map_err(|fault| ReadFault::of_call("key set", fault, options))?;
    let (keys, faults) = KeySet::parse(&document)
        .map_err(|_fault| ReadFault::of_content("the key set is not JSON of RFC 7517", options))?;
    let mut left_out: Vec<String> = faults.iter().take(MAX_LEFT_OUT).map(ToString::to_string).collect();
    if let Some(more) = faults.len().checked_sub(MAX_LEFT_OUT).filter(|more| *more > 0) {
        left_out.push(format!("and {more} more"));
    }
    Ok(Findings { endpoints, keys: Some(keys), left_out })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_at_once_and_keeps_what_was_known() {
        let options = Options { allow_http: true, addresses: AddressRange::PrivateAndPublic };
        let metrics = Metrics::new().unwrap();
        let settings = DiscoverySettings {
            options,
            interval: Duration::from_mins(1),
            keys_max_age: Duration::from_hours(24),
            clock: Arc::new(crate::clock::SystemClock),
            memory: watch::Sender::default(),
            metrics: metrics.clone(),
        };
        let (targets, receiver) = watch::channel(Targets::new());
        let (_unknown, unknown_keys) = mpsc::channel(1);
        let (discovery, mut fetched) = DiscoveryLoop::new(settings, receiver, unknown_keys);
        tokio::spawn(discovery.run());
        let target = Target {
            issuer: "http://127.0.0.1:1".to_owned(),
            discovery: Discovery::OpenIdConfiguration,
            jwks: None,
            ca_certificates: Ok(String::new()),
        };
        targets.send_replace([("identity/login".parse().unwrap(), target)].into());
        fetched.changed().await.unwrap();
        let found = fetched.borrow_and_update().values().next().unwrap().fault.clone();
        assert_eq!(found.as_deref(), Some("metadata: no usable answer; the operator's log says why"));
        targets.send_replace(Targets::new());
        fetched.changed().await.unwrap();
        assert!(fetched.borrow().is_empty());
        assert!(metrics.discovery_failures.get() >= 1);
    }
}
