//! Statuses, whenever something was compiled, acknowledged or registered. Only the leader writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use portreeve_compiler::{Inventory, statuses};
use portreeve_crds::{ObjectKind, ObjectRef};
use portreeve_policy::NamespacedName;
use portreeve_wire::{Digest, SetDigest};
use tokio::{sync::watch, time::Instant};

use super::{
    Compilation, StatusSink, Verdict,
    fleet_view::{Seen, see},
    status::DesiredStatus,
    stored::{StatusCache, StoredCondition, StoredStatus},
};
use crate::{clock::SharedClock, distribute::Fleet, register::RegistrationReport, telemetry::Metrics};

/// Reports of registrations by name.
type Reports = Arc<BTreeMap<NamespacedName, RegistrationReport>>;

/// What statuses are made of.
pub(crate) struct StatusInputs {
    /// What was compiled.
    pub(crate) compilations: watch::Receiver<Option<Compilation>>,
    /// Who runs what.
    pub(crate) fleet: Fleet,
    /// What registration found.
    pub(crate) registrations: watch::Receiver<Reports>,
    /// Whether we may write.
    pub(crate) leading: watch::Receiver<bool>,
    /// The time.
    pub(crate) clock: SharedClock,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// Keeps what a status says of secrets' content from being guessed. Every replica has the same.
    pub(crate) salt: Vec<u8>,
}

/// Answers of many pods come together.
const COALESCE: Duration = Duration::from_millis(50);

/// Time for proxies to come back after we began to lead.
const SETTLE: Duration = Duration::from_secs(15);

/// When a write failed, and when something else may have changed our statuses.
const RETRY: Duration = Duration::from_secs(5);
const DOUBT: Duration = Duration::from_mins(5);

/// Letters of the content's digest that stand in a status.
const CONTENT_LENGTH: usize = 32;

/// Writes at the same time.
const CONCURRENCY: usize = 8;

struct Write {
    object: ObjectRef,
    uid: String,
    status: StoredStatus,
    turned: Vec<StoredCondition>,
}

/// Writes statuses for ever; ends only when its inputs do.
pub(crate) async fn run(mut inputs: StatusInputs, sink: StatusSink) {
    let mut fleet = inputs.fleet.changes();
    let mut ledger = StatusCache::default();
    let (mut settled_at, mut doubt_at) = (Instant::now() + SETTLE, Instant::now() + DOUBT);
    let mut retry_at = None;
    loop {
        let now = Instant::now();
        let timers = [retry_at, Some(doubt_at), Some(settled_at).filter(|at| *at > now)];
        let timer = timers.into_iter().flatten().min().unwrap_or(doubt_at);
        let open = tokio::select! {
            changed = inputs.compilations.changed() => changed.is_ok(),
            changed = fleet.changed() => changed.is_ok(),
            changed = inputs.registrations.changed() => changed.is_ok(),
            changed = inputs.leading.changed() => {
                // Somebody else wrote in the meantime, and every proxy may have to come to us first.
                ledger.doubt();
                settled_at = Instant::now() + SETTLE;
                changed.is_ok()
            }
            () = tokio::time::sleep_until(timer) => true,
        };
        if !open {
            return;
        }
        tokio::time::sleep(COALESCE).await;
        fleet.mark_unchanged();
        let Some(compilation) = inputs.compilations.borrow_and_update().clone() else { continue };
        let now = Instant::now();
        if now >= doubt_at {
            ledger.doubt();
            doubt_at = now + DOUBT;
        }
        let writes = round(&mut inputs, &mut ledger, &sink, &compilation, now < settled_at);
        if !*inputs.leading.borrow_and_update() {
            continue;
        }
        let good = write_all(&inputs, &mut ledger, &sink, writes).await;
        sink.retain(&compilation);
        retry_at = (!good).then(|| Instant::now() + RETRY);
        inputs.metrics.reconciled("status", good);
    }
}

/// What is to be written now.
fn round(
    inputs: &mut StatusInputs,
    ledger: &mut StatusCache,
    sink: &StatusSink,
    compilation: &Compilation,
    settling: bool,
) -> Vec<Write> {
    let Compilation { inventory, complete: _, compiled, published } = compilation;
    let pods = inputs.fleet.pods();
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    inputs.metrics.sessions.set(count(pods.len()));
    inputs.metrics.rejected_resources.set(count(pods.values().map(|pod| pod.rejected.len()).sum()));
    let reports = Arc::clone(&inputs.registrations.borrow_and_update());
    let now = inputs.clock.now().rfc3339();
    let Seen { fleet, contents } = see(&pods, published, compiled);
    let all = statuses(compiled, &fleet);
    let uids: BTreeMap<_, _> = all.keys().map(|object| (object.clone(), uid(inventory, object))).collect();
    ledger.retain(|object, known| uids.get(object).is_some_and(|uid| uid == known));
    let mut writes = Vec::new();
    for (object, status) in all {
        let routes = compiled.findings.get(&object).map(|findings| &findings.routes);
        let mut content = inputs.salt.clone();
        for route in routes.into_iter().flatten() {
            content.extend_from_slice(route.to_string().as_bytes());
            content.extend_from_slice(contents.get(route).map(SetDigest::as_bytes).map_or(&[0; 32], |bytes| bytes));
        }
        let content = Digest::of(&content).to_string().chars().take(CONTENT_LENGTH).collect();
        let desired = if object.kind == ObjectKind::ClientRegistration {
            let name = NamespacedName::new(&object.namespace, &object.name).ok();
            let report = name.and_then(|name| reports.get(&name));
            // A report of an older generation says nothing of this one.
            DesiredStatus::registered(
                status.clone(),
                report.filter(|report| report.generation == status.observed_generation),
            )
        } else {
            DesiredStatus::compiled(status)
        };
        let uid = uids.get(&object).cloned().unwrap_or_default();
        let present = sink.present(inventory, &object);
        match ledger.judge((&object, &uid), desired, content, present, settling, &now) {
            Verdict::Unchanged => {}
            Verdict::Write { status, turned } => writes.push(Write { object, uid, status: *status, turned }),
        }
    }
    writes
}

async fn write_all(inputs: &StatusInputs, ledger: &mut StatusCache, sink: &StatusSink, writes: Vec<Write>) -> bool {
    let one = |write: Write| async move {
        let done = sink.write(&write.object, &write.uid, &write.status, &write.turned).await;
        (write, done)
    };
    let mut results = stream::iter(writes).map(one).buffer_unordered(CONCURRENCY);
    let mut good = true;
    while let Some((Write { object, uid, status, turned }, done)) = results.next().await {
        for StoredCondition { kind, status, reason, message, .. } in turned {
            tracing::info!(%object, condition = kind, status, reason, "{message}");
        }
        match done {
            Ok(()) => {
                inputs.metrics.statuses_written.with_label_values(&[object.kind.as_str()]).inc();
                ledger.wrote(&object, &uid, status);
            }
            Err(fault) => {
                good = false;
                tracing::warn!(%object, %fault, "cannot write the status; trying again");
            }
        }
    }
    good
}

fn uid(inventory: &Inventory, object: &ObjectRef) -> String {
    if let Some(unreadable) = inventory.unreadable.get(object) {
        let uid = unreadable.value.pointer("/metadata/uid").and_then(serde_json::Value::as_str);
        return uid.unwrap_or_default().to_owned();
    }
    let Ok(name) = NamespacedName::new(&object.namespace, &object.name) else { return String::new() };
    let metadata = match object.kind {
        ObjectKind::ApiPolicy => inventory.policies.get(&name).map(|object| &object.metadata),
        ObjectKind::ApiRoute => inventory.routes.get(&name).map(|object| &object.metadata),
        ObjectKind::ClientRegistration => inventory.registrations.get(&name).map(|object| &object.metadata),
        ObjectKind::TokenService => inventory.token_services.get(&name).map(|object| &object.metadata),
    };
    metadata.and_then(|metadata| metadata.uid.clone()).unwrap_or_default()
}

/// Every object that has a status.
pub(super) fn objects(compilation: &Compilation) -> BTreeSet<&ObjectRef> {
    compilation.compiled.findings.keys().collect()
}
