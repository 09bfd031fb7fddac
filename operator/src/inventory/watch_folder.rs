//! Follows a folder: at once when the kernel tells of a change, every few seconds in any case.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use notify::{EventKind, RecursiveMode, Watcher};
use serde_json::json;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    View,
    folder::{Folder, Reading},
};
use crate::{args::FileSettings, atomic_file, readiness::Readiness};

/// An editor writes a file in several steps; they are read as one.
const DEBOUNCE: Duration = Duration::from_millis(15);

/// For changes of which the kernel does not tell (network file systems).
const REREAD: Duration = Duration::from_secs(5);

/// Publishes what a folder holds.
pub(crate) struct FolderWatch {
    folder: Folder,
    settings: FileSettings,
    readiness: Readiness,
    views: watch::Sender<Option<View>>,
    told: BTreeSet<String>,
}

impl FolderWatch {
    /// Prepares a watch; nothing is read yet.
    pub(crate) fn new(settings: FileSettings, readiness: Readiness) -> (Self, watch::Receiver<Option<View>>) {
        let (views, receiver) = watch::channel(None);
        let folder = Folder::new(&settings.source, &settings.state);
        readiness.block("source", "not read yet");
        (Self { folder, settings, readiness, views, told: BTreeSet::new() }, receiver)
    }

    /// Follows the folder for ever.
    pub(crate) async fn run(mut self) {
        let changed = Arc::new(Notify::new());
        let watcher = self.watch(&changed);
        if let Err(fault) = &watcher {
            let every = REREAD.as_secs();
            tracing::warn!(%fault, every, "cannot watch the folder; it is read again every few seconds only");
        }
        loop {
            let next = self.read();
            tokio::select! {
                () = changed.notified() => tokio::time::sleep(DEBOUNCE).await,
                () = tokio::time::sleep(next) => {}
            }
        }
    }

    fn watch(&self, changed: &Arc<Notify>) -> notify::Result<notify::RecommendedWatcher> {
        let changed = Arc::clone(changed);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reading is an event too.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                changed.notify_one();
            }
        })?;
        watcher.watch(&self.settings.source, RecursiveMode::Recursive)?;
        watcher.watch(&self.credentials(), RecursiveMode::Recursive)?;
        Ok(watcher)
    }

    fn credentials(&self) -> PathBuf {
        self.settings.state.join("secrets")
    }

    /// Reads the folder; says when to do so again at the latest.
    fn read(&mut self) -> Duration {
        match tokio::task::block_in_place(|| self.folder.read(Instant::now())) {
            Ok((reading, wait)) => {
                if let Some(Reading { view, faults }) = reading {
                    self.tell(faults.iter().map(ToString::to_string).collect());
                    self.readiness.clear("source");
                    self.views.send_replace(Some(view));
                }
                wait.unwrap_or(REREAD).min(REREAD)
            }
            Err(fault) => {
                let reason = format!("cannot read {fault}; what was read before stays in force");
                self.tell(BTreeSet::from([reason]));
                REREAD
            }
        }
    }

    /// Logs each fault once, and lists all in a file.
    fn tell(&mut self, faults: BTreeSet<String>) {
        for fault in faults.difference(&self.told) {
            tracing::error!("{fault}");
        }
        for fault in self.told.difference(&faults) {
            tracing::info!("resolved: {fault}");
        }
        if faults == self.told && !faults.is_empty() {
            return;
        }
        let file = self.settings.state.join("status/faults.yaml");
        let result = if faults.is_empty() {
            atomic_file::remove(&file)
        } else {
            let text = serde_saphyr::to_string(&json!({ "faults": faults })).unwrap_or_default();
            atomic_file::write(&file, text.as_bytes())
        };
        if let Err(fault) = result {
            tracing::error!(file = %file.display(), %fault, "cannot write the list of faults");
        }
        self.told = faults;
    }
}
