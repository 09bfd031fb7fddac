//! Decides which registration is to be worked on, and when. So many at a time as the settings say; a token service that
//! asks to be left alone is left alone by all.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use portreeve_compiler::{Inventory, Options, RegistrationTarget, ScopeOwners, registration_target};
use portreeve_crds::{
    ObjectKind,
    v1alpha1::{AccessState, ClientRegistration},
};
use portreeve_policy::{NamespacedName, Secret};
use portreeve_registration::ReadBack;
use tokio::{sync::watch, task::JoinSet, time::Instant};

use super::{
    conditions::{ABANDON, ACCEPT, ROTATE},
    report::RegistrationReport,
    store::Store,
    work::{Deps, Done, Job, Requeue, annotation, run},
};
use crate::{
    clock::{SharedClock, any_number, jittered},
    telemetry::Metrics,
};

/// The objects as they are now.
#[derive(Clone)]
pub(crate) struct DesiredState {
    /// The objects.
    pub(crate) inventory: Arc<Inventory>,
    /// Whose scopes are whose.
    pub(crate) scope_owners: Arc<ScopeOwners>,
    /// Whether an object that is missing is known not to exist.
    pub(crate) complete: bool,
}

/// What does not change.
pub(crate) struct RegistrarSettings {
    /// What is allowed.
    pub(crate) options: Options,
    /// Whether we may act.
    pub(crate) leading: watch::Receiver<bool>,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// The time.
    pub(crate) clock: SharedClock,
    /// Most registrations that are worked on at the same time.
    pub(crate) concurrency: usize,
    /// How often drift is looked for.
    pub(crate) drift_interval: Duration,
}

/// Reports by name.
type Reports = Arc<BTreeMap<NamespacedName, RegistrationReport>>;

/// Keeps registrations as their objects say.
pub(crate) struct Registrar {
    settings: RegistrarSettings,
    store: Store,
    wanted: watch::Receiver<Option<DesiredState>>,
    known: BTreeMap<NamespacedName, Known>,
    running: JoinSet<Done>,
    /// Registration endpoints that asked to be left alone, and until when.
    paused: BTreeMap<String, Instant>,
    reports: watch::Sender<Reports>,
}

#[derive(Default)]
struct Known {
    /// What the last run was about.
    seen: Option<Signature>,
    running: bool,
    due: Option<Instant>,
    failures: u32,
    read_back: bool,
    report: Option<RegistrationReport>,
}

/// What a run depends on; a change of it is a reason to run.
#[derive(Clone, PartialEq)]
struct Signature {
    uid: Option<String>,
    generation: Option<i64>,
    finalizers: Option<Vec<String>>,
    deleting: bool,
    endpoint: Option<String>,
    issuer: Option<String>,
    token_endpoint: Option<String>,
    ca_certificates: Option<String>,
    initial_access_token: Option<Secret>,
    credentials: Option<Arc<BTreeMap<String, Secret>>>,
    scope: Option<String>,
    access: Option<Vec<AccessState>>,
    software_statement: Option<Secret>,
    consent: Option<String>,
    accepted: Option<String>,
    rotation_request: Option<String>,
}

const MAX_BACKOFF: Duration = Duration::from_mins(5);

/// Far enough to be never.
const IDLE: Duration = Duration::from_hours(1);

impl Registrar {
    /// A registrar, and what it will report.
    pub(crate) fn new(
        settings: RegistrarSettings,
        store: Store,
        wanted: watch::Receiver<Option<DesiredState>>,
    ) -> (Self, watch::Receiver<Reports>) {
        let (reports, receiver) = watch::channel(Arc::default());
        (
            Self {
                settings,
                store,
                wanted,
                known: BTreeMap::new(),
                running: JoinSet::new(),
                paused: BTreeMap::new(),
                reports,
            },
            receiver,
        )
    }

    /// Works for ever; ends only when its inputs do.
    pub(crate) async fn run(mut self) {
        loop {
            if *self.settings.leading.borrow_and_update() {
                self.start();
            }
            let due = self.known.values().filter(|known| !known.running).filter_map(|known| known.due).min();
            let due = due.unwrap_or_else(|| Instant::now() + IDLE).max(Instant::now() + Duration::from_millis(10));
            let open = tokio::select! {
                changed = self.wanted.changed() => changed.is_ok(),
                changed = self.settings.leading.changed() => {
                    // Another replica may have worked in the meantime.
                    self.known.values_mut().for_each(|known| known.seen = None);
                    changed.is_ok()
                }
                Some(done) = self.running.join_next() => {
                    if let Ok(done) = done {
                        self.finish(done);
                    }
                    true
                }
                () = tokio::time::sleep_until(due) => true,
            };
            if !open {
                return;
            }
        }
    }

    fn start(&mut self) {
        let Some(DesiredState { inventory, scope_owners, complete }) = self.wanted.borrow_and_update().clone() else {
            return;
        };
        for (name, registration) in &inventory.registrations {
            if self.running.len() >= self.settings.concurrency {
                return;
            }
            self.start_one(name, registration, &inventory, &scope_owners);
        }
        if complete {
            self.start_vanished(&inventory);
        }
    }

    fn start_one(
        &mut self,
        name: &NamespacedName,
        registration: &Arc<ClientRegistration>,
        inventory: &Inventory,
        owners: &ScopeOwners,
    ) {
        let deleting = registration.metadata.deletion_timestamp.is_some();
        if deleting && !self.store.waits_for_us(registration) {
            return;
        }
        let target = match registration_target(inventory, self.settings.options, owners, registration) {
            RegistrationTarget::Resolved(target) => Ok(*target),
            // The compiler's findings say why.
            RegistrationTarget::Unresolved(..) if !deleting => return,
            RegistrationTarget::Unresolved(_, message) => Err(message),
        };
        let of_target = target.as_ref().ok();
        let secret = NamespacedName::new(name.namespace(), &registration.spec.credentials_secret_name).ok();
        let credentials = secret.and_then(|secret| inventory.secrets.get(&secret)).cloned();
        let signature = Signature {
            uid: registration.metadata.uid.clone(),
            generation: registration.metadata.generation,
            finalizers: registration.metadata.finalizers.clone(),
            deleting,
            endpoint: of_target.map(|target| target.registration_endpoint.clone()),
            issuer: of_target.map(|target| target.issuer.clone()),
            token_endpoint: of_target.and_then(|target| target.token_endpoint.clone()),
            ca_certificates: of_target.map(|target| target.ca_certificates.clone()),
            initial_access_token: of_target.and_then(|target| target.initial_access_token.clone()),
            credentials,
            scope: of_target.map(|target| target.access.scope.clone()),
            access: of_target.map(|target| target.access.states.clone()),
            software_statement: of_target.and_then(|target| target.software_statement.clone()),
            consent: annotation(registration, ABANDON).map(str::to_owned),
            accepted: annotation(registration, ACCEPT).map(str::to_owned),
            rotation_request: annotation(registration, ROTATE).map(str::to_owned),
        };
        let paused = signature.endpoint.as_ref().and_then(|endpoint| self.paused.get(endpoint).copied());
        let known = self.known.entry(name.clone()).or_default();
        let now = Instant::now();
        let changed = known.seen.as_ref() != Some(&signature);
        if known.running || !changed && known.due.is_none_or(|due| due > now) {
            return;
        }
        if let Some(until) = paused.filter(|until| *until > now) {
            known.due = Some(until);
            return;
        }
        let read_back = if known.read_back && !changed { ReadBack::Yes } else { ReadBack::No };
        let secret_known = signature.credentials.is_some();
        if changed {
            known.failures = 0;
        }
        (known.seen, known.running, known.due) = (Some(signature), true, None);
        let registration = Arc::clone(registration);
        let failures = known.failures;
        let job = match target {
            Ok(target) if !deleting => Job::Keep { registration, target, read_back, secret_known },
            target => Job::End { registration, target, failures },
        };
        let means = self.means();
        self.running.spawn(run(name.clone(), job, means));
    }

    fn means(&self) -> Deps {
        let RegistrarSettings { options, clock, .. } = &self.settings;
        Deps { store: self.store.clone(), options: *options, clock: Arc::clone(clock) }
    }

    /// Objects that went without a word.
    fn start_vanished(&mut self, inventory: &Inventory) {
        let unreadable: BTreeSet<_> = inventory
            .unreadable
            .keys()
            .filter(|object| object.kind == ObjectKind::ClientRegistration)
            .filter_map(|object| NamespacedName::new(&object.namespace, &object.name).ok())
            .collect();
        let there = |name: &NamespacedName| inventory.registrations.contains_key(name) || unreadable.contains(name);
        let now = Instant::now();
        let mut gone = BTreeSet::new();
        for vanished in self.store.remembered() {
            if there(&vanished.name) || self.running.len() >= self.settings.concurrency {
                continue;
            }
            gone.insert(vanished.name.clone());
            let known = self.known.entry(vanished.name.clone()).or_default();
            // The first run for a vanished object comes at once; a signature is kept only for one that is there.
            let first = known.seen.take().is_some() || known.due.is_none() && known.failures == 0;
            if known.running || !first && known.due.is_none_or(|due| due > now) {
                continue;
            }
            (known.running, known.due, known.report) = (true, None, None);
            let name = vanished.name.clone();
            let means = self.means();
            self.running.spawn(run(name, Job::Vanished(vanished), means));
        }
        self.known.retain(|name, known| known.running || there(name) || gone.contains(name));
        self.publish();
    }

    fn finish(&mut self, done: Done) {
        let Done { name, report, next, good, busy } = done;
        let now = Instant::now();
        self.paused.retain(|_, until| *until > now);
        if let Some((endpoint, wait)) = busy {
            let until = self.paused.entry(endpoint).or_insert(now);
            *until = (*until).max(now + wait);
        }
        self.settings.metrics.reconciled("registration", good);
        let Some(known) = self.known.get_mut(&name) else { return };
        known.running = false;
        known.failures = if good { 0 } else { known.failures.saturating_add(1) };
        known.read_back = matches!(next, Requeue::Drift(_));
        let random = any_number();
        let wait = match next {
            Requeue::Backoff => {
                let wait = Duration::from_secs(1).saturating_mul(1 << known.failures.saturating_sub(1).min(10));
                Some(jittered(wait.min(MAX_BACKOFF), random))
            }
            Requeue::Drift(earlier) => {
                let drift = jittered(self.settings.drift_interval, random);
                known.read_back = earlier.is_none_or(|earlier| earlier >= drift);
                Some(earlier.map_or(drift, |earlier| earlier.min(drift)))
            }
            Requeue::In(wait) => Some(wait),
            Requeue::Never => None,
        };
        known.due = wait.map(|wait| Instant::now() + wait);
        known.report = report;
        self.publish();
    }

    fn publish(&self) {
        let report =
            |(name, known): (&NamespacedName, &Known)| known.report.clone().map(|report| (name.clone(), report));
        let all: BTreeMap<_, _> = self.known.iter().filter_map(report).collect();
        self.reports.send_if_modified(|held| {
            let changed = **held != all;
            if changed {
                *held = Arc::new(all);
            }
            changed
        });
    }
}
