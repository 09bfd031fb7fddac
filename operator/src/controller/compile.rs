//! The loop around the compiler: any change of its inputs, one compilation, one publication.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use portreeve_compiler::{Compiled, Discovered, Inventory, Options, Pod, Severity, compile_with, minting_namespaces};
use portreeve_policy::NamespacedName;
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use super::watchdog::Watchdog;
use crate::{
    distribute::{Published, Publisher, Workloads},
    inventory::View,
    readiness::Readiness,
    signing::SigningKeys,
    telemetry::Metrics,
};

/// Changes that come within this time are compiled together.
const COALESCE: Duration = Duration::from_millis(5);

/// Stack of the thread that compiles, in bytes.
const STACK: usize = 64 * 1024 * 1024;

/// After a compilation nothing is compiled for so many times its own length: a quarter of one core at most.
const REST: u32 = 3;

/// But no longer than this.
const MAX_REST: Duration = Duration::from_secs(2);

/// Above the time limit of a single read.
const FIRST_READS_WITHIN: Duration = Duration::from_secs(6);

/// What was fetched from token services.
type Fetched = Arc<BTreeMap<NamespacedName, Arc<Discovered>>>;

/// Everything that was made from one state of the inputs.
#[derive(Clone)]
pub(crate) struct Compilation {
    /// The input, joined.
    pub(crate) inventory: Arc<Inventory>,
    /// Whether an object that is missing there is known not to exist.
    pub(crate) complete: bool,
    /// The output.
    pub(crate) compiled: Arc<Compiled>,
    /// The output as it is sent.
    pub(crate) published: Arc<Published>,
}

/// What is compiled.
pub(crate) struct Inputs {
    /// The objects.
    pub(crate) views: watch::Receiver<Option<View>>,
    /// What was fetched.
    pub(crate) discovered: watch::Receiver<Fetched>,
    /// Keys with which the gateway mints tokens.
    pub(crate) signing: watch::Receiver<SigningKeys>,
    /// In file mode the pods are the connected proxies.
    pub(crate) workloads: Option<watch::Receiver<Workloads>>,
    /// What is accepted.
    pub(crate) options: Options,
}

/// What a compilation was made from.
#[derive(PartialEq)]
struct Sources {
    revision: u64,
    fetched: Fetched,
    signing: SigningKeys,
    workloads: Option<Workloads>,
}

/// The objects with what was fetched and who is connected.
fn join(inventory: Arc<Inventory>, sources: &Sources) -> Arc<Inventory> {
    let mut joined = Arc::unwrap_or_clone(inventory);
    for name in joined.token_services.keys() {
        let unread = || Arc::new(Discovered { fault: Some("not read yet".to_owned()), ..Discovered::default() });
        joined.discovered.insert(name.clone(), sources.fetched.get(name).cloned().unwrap_or_else(unread));
    }
    joined.signing_keys = sources.signing.as_ref().clone();
    if let Some(workloads) = &sources.workloads {
        let pod = |(name, labels): (&NamespacedName, &BTreeMap<String, String>)| {
            (name.clone(), Pod { labels: labels.clone(), ready: true, uid: String::new() })
        };
        // A proxy that is connected is the pod; a Pod manifest without one would never acknowledge anything.
        joined.pods = workloads.iter().map(pod).collect();
    }
    Arc::new(joined)
}

/// Compiles and publishes.
pub(crate) struct CompileLoop {
    inputs: Inputs,
    publisher: Publisher,
    compilations: watch::Sender<Option<Compilation>>,
    readiness: Readiness,
    metrics: Metrics,
    watchdog: Watchdog,
    told: BTreeSet<String>,
    /// What was compiled last.
    last: Option<Sources>,
}

impl CompileLoop {
    /// A loop, and what it will have made.
    pub(crate) fn new(
        inputs: Inputs,
        publisher: Publisher,
        readiness: Readiness,
        metrics: Metrics,
        watchdog: Watchdog,
    ) -> (Self, watch::Receiver<Option<Compilation>>) {
        let (compilations, receiver) = watch::channel(None);
        readiness.block("compiler", "nothing is compiled yet");
        (
            Self { inputs, publisher, compilations, readiness, metrics, watchdog, told: BTreeSet::new(), last: None },
            receiver,
        )
    }

    /// Compiles for ever; ends only when its inputs do.
    pub(crate) async fn run(mut self) {
        self.first_reads().await;
        while self.changed().await {
            tokio::time::sleep(COALESCE).await;
            let Some(view) = self.inputs.views.borrow_and_update().clone() else { continue };
            let View { inventory, places, revision, complete } = view;
            let fetched = Arc::clone(&self.inputs.discovered.borrow_and_update());
            let signing = Arc::clone(&self.inputs.signing.borrow_and_update());
            let workloads = self.inputs.workloads.as_mut().map(|workloads| Arc::clone(&workloads.borrow_and_update()));
            let inputs = Sources { revision, fetched, signing, workloads };
            let inventory = join(inventory, &inputs);
            if let Some(held) = self.same_as_before(&inputs, &inventory, complete) {
                self.compilations.send_replace(Some(held));
                continue;
            }
            let began = Instant::now();
            let Some(compiled) = self.compile(&inventory).await else { continue };
            let rest = began.elapsed().saturating_mul(REST).min(MAX_REST);
            self.last = Some(inputs);
            let uids = inventory.pods.iter().map(|(name, pod)| (name.clone(), pod.uid.clone())).collect();
            let published = self.publisher.publish(&compiled.snapshots, &uids);
            let findings = compiled.diagnostics.iter().map(|finding| (places.tell(finding), finding.severity));
            self.tell(findings.collect());
            self.compilations.send_replace(Some(Compilation { inventory, complete, compiled, published }));
            self.readiness.clear("compiler");
            // Somebody who changes objects without end must not have a core for it; changes come together meanwhile.
            tokio::time::sleep(rest).await;
        }
    }

    /// Before the first compilation every token service is read once, or has had its time: a snapshot without keys
    /// would take the keys from proxies that have them.
    async fn first_reads(&mut self) {
        let Inputs { views, discovered, signing, workloads: _, options: _ } = &mut self.inputs;
        let known = async {
            let Ok((names, minting)) = views.wait_for(Option::is_some).await.map(|view| {
                let services = view.iter().flat_map(|view| view.inventory.token_services.keys());
                let minting = view.iter().flat_map(|view| minting_namespaces(&view.inventory));
                (services.cloned().collect::<BTreeSet<_>>(), minting.collect::<BTreeSet<_>>())
            }) else {
                return;
            };
            drop(signing.wait_for(|keys| minting.iter().all(|name| keys.contains_key(name))).await);
            drop(discovered.wait_for(|found| names.iter().all(|name| found.contains_key(name))).await);
        };
        if tokio::time::timeout(FIRST_READS_WITHIN, known).await.is_err() {
            tracing::warn!("some token services did not answer yet; compiling without them");
        }
        self.inputs.views.mark_changed();
    }

    async fn changed(&mut self) -> bool {
        let Inputs { views, discovered, signing, workloads, options: _ } = &mut self.inputs;
        let workloads = async {
            match workloads {
                Some(workloads) => workloads.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = views.changed() => changed.is_ok(),
            changed = discovered.changed() => changed.is_ok(),
            changed = signing.changed() => changed.is_ok(),
            changed = workloads => changed.is_ok(),
        }
    }

    /// The last compilation with the newest objects, where nothing changed that bears on policy.
    fn same_as_before(&self, inputs: &Sources, inventory: &Arc<Inventory>, complete: bool) -> Option<Compilation> {
        let same = self.last.as_ref().is_some_and(|last| last == inputs);
        let held = self.compilations.borrow().clone().filter(|_| same)?;
        Some(Compilation { inventory: Arc::clone(inventory), complete, ..held })
    }

    async fn compile(&self, inventory: &Arc<Inventory>) -> Option<Arc<Compiled>> {
        let timer = self.metrics.compile_duration.start_timer();
        let (inventory, options) = (Arc::clone(inventory), self.inputs.options);
        let watched = self.watchdog.start(self.metrics.compile_objects.clone());
        // The gates keep every text within an ordinary stack; this one is the second net.
        let (done, compiled) = oneshot::channel();
        let thread = std::thread::Builder::new().name("compile".to_owned()).stack_size(STACK);
        let spawned = thread.spawn(move || drop(done.send(compile_with(&inventory, options, &watched))));
        if let Err(fault) = spawned {
            tracing::error!(%fault, "no thread to compile on; what was published stays in force");
        }
        let done = compiled.await;
        timer.observe_duration();
        self.metrics.reconciled("compile", done.is_ok());
        match done {
            Ok(compiled) => Some(Arc::new(compiled)),
            Err(fault) => {
                tracing::error!(%fault, "the compiler stopped; what was published stays in force. Please report this");
                None
            }
        }
    }

    /// Logs each finding once.
    fn tell(&mut self, findings: Vec<(String, Severity)>) {
        let mut told = BTreeSet::new();
        for (finding, severity) in findings {
            if !self.told.contains(&finding) && !told.contains(&finding) {
                match severity {
                    Severity::Error => tracing::error!("{finding}"),
                    Severity::Warning => tracing::warn!("{finding}"),
                }
            }
            told.insert(finding);
        }
        for finding in self.told.difference(&told) {
            tracing::info!("resolved: {finding}");
        }
        self.told = told;
    }
}
