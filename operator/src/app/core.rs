//! What both modes share: discovery, compiler, registrar, statuses, and the service for proxies.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::{mpsc, watch};

use super::{Base, targets};
use crate::{
    args::Settings,
    clock::{SharedClock, SystemClock},
    controller::{Compilation, CompileLoop, Inputs, StatusInputs, StatusSink, run_statuses},
    distribute::{Credentials, Fleet, Publisher, SnapshotServer},
    inventory::View,
    outbound::{DiscoveryLoop, DiscoverySettings, Memory},
    register::{DesiredState, Registrar, RegistrarSettings, Store},
    signing::{SigningInputs, SigningStore, keep_signing_keys},
};

/// What differs between the modes.
pub(super) struct Parts {
    /// The objects.
    pub(super) views: watch::Receiver<Option<View>>,
    /// How streams say who they are.
    pub(super) credentials: Credentials,
    /// Where registrations are kept.
    pub(super) store: Store,
    /// Where signing keys are kept.
    pub(super) signing: SigningStore,
    /// Where statuses go.
    pub(super) sink: StatusSink,
    /// Whether we may write.
    pub(super) leading: watch::Receiver<bool>,
    /// What was learned from token services.
    pub(super) memory: watch::Sender<Memory>,
    /// Known to every replica of this installation, and to nobody else.
    pub(super) salt: Vec<u8>,
    /// Why streams are not served, if they are not.
    pub(super) closed: watch::Receiver<Option<&'static str>>,
}

/// Starts everything, and returns the service that proxies call, with what is compiled.
pub(super) fn start(
    settings: &Settings,
    base: &Base,
    parts: Parts,
) -> (SnapshotServer, watch::Receiver<Option<Compilation>>) {
    let Parts { views, credentials, store, signing, sink, leading, memory, salt, closed } = parts;
    let clock: SharedClock = Arc::new(SystemClock);
    let fleet = Fleet::new();
    let (unknown_keys, asked) = mpsc::channel(64);
    let (wanted_targets, target_list) = watch::channel(BTreeMap::new());
    tokio::spawn(targets::follow(views.clone(), wanted_targets));
    let discovery = DiscoverySettings {
        options: settings.options,
        interval: settings.discovery_interval,
        keys_max_age: settings.keys_max_age,
        clock: Arc::clone(&clock),
        memory,
        metrics: base.metrics.clone(),
    };
    let (discovery, discovered) = DiscoveryLoop::new(discovery, target_list, asked);
    tokio::spawn(discovery.run());
    let (publisher, sets) = Publisher::new();
    let workloads = match credentials {
        Credentials::Socket => Some(fleet.workloads()),
        Credentials::Token(_) => None,
    };
    let signing = SigningInputs {
        views: views.clone(),
        leading: leading.clone(),
        store: signing,
        clock: Arc::clone(&clock),
        rotation: settings.signing_rotation,
    };
    tokio::spawn(keep_signing_keys(signing, base.signing.clone()));
    let signing = base.signing.subscribe();
    let inputs = Inputs { views, discovered, signing, workloads, options: settings.options };
    let (compiler, compilations) =
        CompileLoop::new(inputs, publisher, base.readiness.clone(), base.metrics.clone(), base.watchdog.clone());
    tokio::spawn(compiler.run());
    let (wanted, registrations) = watch::channel(None);
    tokio::spawn(forward(compilations.clone(), wanted));
    let registrar = RegistrarSettings {
        options: settings.options,
        leading: leading.clone(),
        metrics: base.metrics.clone(),
        clock: Arc::clone(&clock),
        concurrency: settings.registration_concurrency,
        drift_interval: settings.drift_interval,
    };
    let (registrar, reports) = Registrar::new(registrar, store, registrations);
    tokio::spawn(registrar.run());
    let statuses = StatusInputs {
        compilations: compilations.clone(),
        fleet: fleet.clone(),
        registrations: reports,
        leading,
        clock: Arc::clone(&clock),
        metrics: base.metrics.clone(),
        salt,
    };
    tokio::spawn(run_statuses(statuses, sink));
    let server = SnapshotServer::new(credentials, sets, fleet, unknown_keys, closed, base.metrics.clone(), clock);
    (server, compilations)
}

/// Registration needs the objects with what was fetched, and nothing of what they compile to.
async fn forward(mut compilations: watch::Receiver<Option<Compilation>>, wanted: watch::Sender<Option<DesiredState>>) {
    while compilations.changed().await.is_ok() {
        let Some(Compilation { inventory, compiled, complete, .. }) = compilations.borrow_and_update().clone() else {
            continue;
        };
        let scope_owners = Arc::clone(&compiled.scope_owners);
        wanted.send_replace(Some(DesiredState { inventory, scope_owners, complete }));
    }
}
