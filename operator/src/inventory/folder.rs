//! Objects from a folder of manifests.
//!
//! INVARIANTS
//! - A file that stops being YAML keeps its last good text in force, so that a slip of the pen changes nothing but the log.
//! - A file that is still being written changes nothing (see [`file`]).

mod file;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use file::{Content, FileState, Origin, Progress};
use portreeve_compiler::{
    Inventory, gateway_clients,
    manifest::{ManifestFault, Manifests},
};
use portreeve_crds::{
    ObjectKind, ObjectRef,
    v1alpha1::{ApiRouteStatus, OwnedScopes},
};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::{Places, View, generations::Generations};

/// A file that was written longer ago than this is not being written.
const SETTLED: Duration = Duration::from_secs(1);

/// The state of a folder, as last read.
pub(crate) struct Folder {
    source: PathBuf,
    /// Secrets that registration wrote.
    credentials: PathBuf,
    /// Statuses that we wrote.
    statuses: PathBuf,
    generations: Generations,
    files: BTreeMap<PathBuf, FileState>,
    read_once: bool,
    /// Of what was read.
    revision: u64,
}

/// What a change of the folder brought.
pub(crate) struct Reading {
    pub(crate) view: View,
    pub(crate) faults: Vec<ManifestFault>,
}

impl Folder {
    /// A folder of manifests, and the folder of state beside it.
    pub(crate) fn new(source: &Path, state: &Path) -> Self {
        Self {
            source: source.to_owned(),
            credentials: state.join("secrets"),
            statuses: state.join("status"),
            generations: Generations::load(&state.join("generations.json")),
            files: BTreeMap::new(),
            read_once: false,
            revision: 0,
        }
    }

    /// Reads everything, and says when to look again where a change may not be complete.
    pub(crate) fn read(&mut self, now: Instant) -> io::Result<(Option<Reading>, Option<Duration>)> {
        let mut paths = Vec::new();
        list(&self.source, &mut paths)?;
        // After the user's own, so that a Secret of the user is never replaced by one of ours.
        if self.credentials.is_dir() {
            list(&self.credentials, &mut paths)?;
        }
        let (mut changed, mut wait) = (!self.read_once, None::<Duration>);
        let known = self.files.keys().filter(|path| !paths.contains(path)).cloned();
        for path in known.chain(paths.iter().cloned()).collect::<Vec<_>>() {
            let (content, origin) = self.content(&path)?;
            let state = self.files.entry(path.clone()).or_default();
            match state.observe(&path, content, origin, now) {
                Progress::Unchanged => {}
                Progress::Changed => changed = true,
                Progress::Wait(time) => wait = Some(wait.map_or(time, |least| least.min(time))),
            }
        }
        // At the start nothing is told before every file is complete: without one of them the others may open what it closes.
        let starting = !self.read_once && self.files.values().any(FileState::is_new);
        self.files.retain(|_, state| !state.is_gone());
        if !changed || starting {
            return Ok((None, wait));
        }
        self.read_once = true;
        Ok((Some(self.assemble()), wait))
    }

    /// What stands on disk, and how it came there.
    fn content(&self, path: &Path) -> io::Result<(Content, Origin)> {
        let named = |fault: io::Error| io::Error::new(fault.kind(), format!("{}: {fault}", path.display()));
        let read = || -> io::Result<(Content, Option<SystemTime>)> {
            let metadata = fs::metadata(path)?;
            let bytes = fs::read(path)?;
            Ok((Content::File { bytes, inode: metadata.ino() }, metadata.modified().ok()))
        };
        let (content, modified) = match read() {
            Ok(found) => found,
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => (Content::Gone, None),
            Err(fault) => return Err(named(fault)),
        };
        let settled = modified.and_then(|time| time.elapsed().ok()).is_some_and(|age| age > SETTLED);
        let own = path.starts_with(&self.credentials);
        Ok((content, if own { Origin::Own } else { Origin::Foreign { settled } }))
    }

    fn assemble(&mut self) -> Reading {
        let mut manifests = Manifests::default();
        let mut unread = Vec::new();
        let mut complete = true;
        let own = |path: &&PathBuf| path.starts_with(&self.credentials);
        let (ours, theirs): (Vec<_>, Vec<_>) = self.files.keys().partition(own);
        for path in theirs.into_iter().chain(ours) {
            let Some(FileState { good, unread: bytes, fault, .. }) = self.files.get(path) else { continue };
            match (good, bytes) {
                (Some(text), _) => {
                    unread.extend(fault.clone());
                    manifests.read(&path.display().to_string(), text);
                }
                // What can be read of it is in force, and what cannot refuses what it may cover.
                (None, Some(bytes)) => {
                    complete = false;
                    manifests.read_bytes(&path.display().to_string(), bytes);
                }
                (None, None) => {}
            }
        }
        let mut faults = manifests.faults.clone();
        faults.extend(unread);
        faults.sort();
        let mut inventory = std::mem::take(&mut manifests.inventory);
        self.recall_owned_scopes(&mut inventory);
        // Which clients of the gateway are wanted cannot be told while one of these cannot be read.
        let decides = |object: &ObjectRef| matches!(object.kind, ObjectKind::ApiPolicy | ObjectKind::TokenService);
        let complete = complete && inventory.strays.is_empty() && !inventory.unreadable.keys().any(decides);
        for (name, object) in gateway_clients(&inventory) {
            inventory.registrations.entry(name).or_insert_with(|| Arc::new(object));
        }
        self.generations.stamp(&mut inventory);
        self.generations.save();
        self.revision = self.revision.saturating_add(1);
        let view =
            View { inventory: Arc::new(inventory), places: Places::new(manifests), revision: self.revision, complete };
        Reading { view, faults }
    }
}

impl Folder {
    /// A status in a manifest is nobody's word; which scopes an ApiRoute had is in the status that we wrote.
    fn recall_owned_scopes(&self, inventory: &mut Inventory) {
        let owned = |namespace: &str, name: &str| {
            let file = self.statuses.join("ApiRoute").join(namespace).join(format!("{name}.yaml"));
            let text = fs::read_to_string(file).ok()?;
            serde_saphyr::from_str::<OwnedStatus>(&text).ok().map(|status| status.owned_scopes)
        };
        for (name, route) in &mut inventory.routes {
            let owned_scopes = owned(name.namespace(), name.name()).unwrap_or_default();
            if route.status.is_some() || !owned_scopes.is_empty() {
                Arc::make_mut(route).status = Some(ApiRouteStatus { owned_scopes, ..ApiRouteStatus::default() });
            }
        }
        for (object, unreadable) in &mut inventory.unreadable {
            let owned_scopes = owned(&object.namespace, &object.name).unwrap_or_default();
            let value = &mut Arc::make_mut(unreadable).value;
            if let Some(members) = value.as_object_mut()
                && object.kind == ObjectKind::ApiRoute
            {
                members.insert("status".to_owned(), json!({"ownedScopes": owned_scopes}));
            }
        }
    }
}

/// What is taken from a status that we wrote.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnedStatus {
    #[serde(default)]
    owned_scopes: Vec<OwnedScopes>,
}

/// Manifests of a folder and of those below, in the order of their paths; hidden ones are left out.
fn list(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let named = |fault: io::Error| io::Error::new(fault.kind(), format!("{}: {fault}", folder.display()));
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(named)? {
        entries.push(entry.map_err(named)?.path());
    }
    entries.sort();
    for path in entries {
        if path.file_name().and_then(|name| name.to_str()).is_none_or(|name| name.starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            list(&path, found)?;
        } else if matches!(path.extension().and_then(|end| end.to_str()), Some("yaml" | "yml" | "json")) {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atomic_file::scratch;

    fn route(port: u16) -> String {
        format!(
            "apiVersion: portreeve.dev/v1alpha1\nkind: ApiRoute\nmetadata: {{name: orders, namespace: shop}}\nspec:\n  \
             workloadSelector: {{matchLabels: {{app: orders}}}}\n  upstream: {{port: {port}}}\n  rules:\n  - name: read\n    \
             matches: [{{path: {{type: PathPrefix, value: /}}}}]\n"
        )
    }

    fn generation(reading: &Reading) -> Option<i64> {
        reading.view.inventory.routes.values().next().and_then(|route| route.metadata.generation)
    }

    /// Reads until nothing waits, as if all the time that it takes had passed.
    fn read(folder: &mut Folder) -> Option<Reading> {
        let start = Instant::now();
        drop(folder.read(start).unwrap());
        folder.read(start + Duration::from_mins(1)).unwrap().0
    }

    #[test]
    fn keeps_the_last_good_text_and_says_where_it_broke() {
        let (source, state) = (scratch("folder-source"), scratch("folder-state"));
        let file = source.join("orders.yaml");
        fs::write(&file, route(8080)).unwrap();
        let mut folder = Folder::new(&source, &state);
        assert_eq!(generation(&read(&mut folder).unwrap()), Some(1));
        assert!(read(&mut folder).is_none());
        fs::write(&file, "kind: [\n").unwrap();
        let broken = read(&mut folder).unwrap();
        assert_eq!((generation(&broken), broken.view.complete), (Some(1), true));
        let told = broken.faults[0].to_string();
        assert!(told.contains("orders.yaml:") && told.contains("last good text stays in force"), "{told}");
        fs::remove_file(&file).unwrap();
        assert_eq!(generation(&read(&mut folder).unwrap()), None);
    }

    #[test]
    fn c5_a_file_that_was_never_readable_refuses_what_it_may_cover() {
        let (source, state) = (scratch("folder-hidden"), scratch("folder-hidden-state"));
        fs::write(source.join("a.yaml"), "kind: ApiRoute\nmetadata: {namespace: shop\n").unwrap();
        let reading = read(&mut Folder::new(&source, &state)).unwrap();
        assert!(!reading.view.complete);
        assert_eq!(reading.faults.len(), 1);
        let namespaces: Vec<_> = reading.view.inventory.strays.iter().map(|stray| stray.namespace.as_deref()).collect();
        assert_eq!(namespaces, [Some("shop")]);
    }

    #[test]
    fn p4_nothing_is_told_before_every_file_is_complete() {
        let (source, state) = (scratch("folder-start"), scratch("folder-start-state"));
        fs::write(source.join("a.yaml"), route(8080)).unwrap();
        let mut folder = Folder::new(&source, &state);
        let start = Instant::now();
        let (reading, wait) = folder.read(start).unwrap();
        assert!(reading.is_none() && wait.is_some());
        assert!(folder.read(start + wait.unwrap()).unwrap().0.is_some());
    }

    #[test]
    fn generations_rise_with_the_spec_and_survive_a_restart() {
        let (source, state) = (scratch("folder-gen"), scratch("folder-gen-state"));
        let file = source.join("orders.yaml");
        for (port, expected) in [(8080, 1), (8081, 2), (8081, 2), (8080, 3)] {
            fs::write(&file, route(port)).unwrap();
            let reading = read(&mut Folder::new(&source, &state)).unwrap();
            assert_eq!(generation(&reading), Some(expected), "port {port}");
        }
    }

    #[test]
    fn reads_only_manifests_and_nothing_hidden() {
        let (source, state) = (scratch("folder-list"), scratch("folder-list-state"));
        fs::create_dir(source.join("inner")).unwrap();
        fs::write(source.join("inner/orders.yml"), route(1)).unwrap();
        fs::write(source.join(".hidden.yaml"), route(2)).unwrap();
        fs::write(source.join("notes.txt"), "no: [").unwrap();
        let reading = read(&mut Folder::new(&source, &state)).unwrap();
        assert_eq!(reading.view.inventory.routes.len(), 1);
        assert!(reading.faults.is_empty());
    }
}
