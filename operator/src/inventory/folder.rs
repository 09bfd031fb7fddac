//! Objects from a folder of manifests.
//!
//! INVARIANT: a file that stops being YAML keeps its last good text in force, so that a slip of the pen changes nothing
//! but the log.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use portreeve_compiler::manifest::{ManifestFault, Manifests};

use super::{Places, View, generations::Generations};

/// The state of a folder, as last read.
pub(crate) struct Folder {
    source: PathBuf,
    /// Secrets that registration wrote.
    credentials: PathBuf,
    generations: Generations,
    files: BTreeMap<PathBuf, FileState>,
    read_once: bool,
}

#[derive(Default, PartialEq, Eq)]
struct FileState {
    /// As it stands on disk.
    text: String,
    /// What is in force; `None` where no text of this file was ever YAML.
    good: Option<String>,
    /// Why `text` is not in force.
    fault: Option<ManifestFault>,
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
            generations: Generations::load(&state.join("generations.json")),
            files: BTreeMap::new(),
            read_once: false,
        }
    }

    /// Reads everything; `None` when nothing changed.
    pub(crate) fn read(&mut self) -> io::Result<Option<Reading>> {
        let mut paths = Vec::new();
        list(&self.source, &mut paths)?;
        // After the user's own, so that a Secret of the user is never replaced by one of ours.
        if self.credentials.is_dir() {
            list(&self.credentials, &mut paths)?;
        }
        let mut changed = !self.read_once;
        let gone: Vec<_> = self.files.keys().filter(|path| !paths.contains(path)).cloned().collect();
        for path in gone {
            self.files.remove(&path);
            changed = true;
        }
        for path in &paths {
            let text = match fs::read(path) {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(fault) if fault.kind() == io::ErrorKind::NotFound => continue,
                Err(fault) => return Err(io::Error::new(fault.kind(), format!("{}: {fault}", path.display()))),
            };
            changed |= self.take(path, text);
        }
        if !changed {
            return Ok(None);
        }
        self.read_once = true;
        Ok(Some(self.assemble(&paths)))
    }

    fn take(&mut self, path: &Path, text: String) -> bool {
        let state = self.files.entry(path.to_owned()).or_default();
        if state.text == text && (state.good.is_some() || state.fault.is_some()) {
            return false;
        }
        let mut trial = Manifests::default();
        if trial.read(&path.display().to_string(), &text) {
            *state = FileState { good: Some(text.clone()), text, fault: None };
            return true;
        }
        let mut fault = trial.faults.pop();
        if let (Some(fault), true) = (&mut fault, state.good.is_some()) {
            fault.message =
                fault.message.replace("nothing of this file is in force", "its last good text stays in force");
        }
        state.fault = fault;
        state.text = text;
        true
    }

    fn assemble(&mut self, paths: &[PathBuf]) -> Reading {
        let mut manifests = Manifests::default();
        let mut unread = Vec::new();
        let mut complete = true;
        for path in paths {
            let Some(FileState { good, fault, text: _ }) = self.files.get(path) else { continue };
            unread.extend(fault.clone());
            match good {
                Some(text) => drop(manifests.read(&path.display().to_string(), text)),
                None => complete = false,
            }
        }
        let mut faults = manifests.faults.clone();
        faults.extend(unread);
        faults.sort();
        let mut inventory = std::mem::take(&mut manifests.inventory);
        self.generations.stamp(&mut inventory);
        self.generations.save();
        let view = View { inventory: Arc::new(inventory), places: Places::new(manifests), complete };
        Reading { view, faults }
    }
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
             matches: [{{path: {{type: Prefix, value: /}}}}]\n"
        )
    }

    fn generation(reading: &Reading) -> Option<i64> {
        reading.view.inventory.routes.values().next().and_then(|route| route.metadata.generation)
    }

    #[test]
    fn keeps_the_last_good_text_and_says_where_it_broke() {
        let (source, state) = (scratch("folder-source"), scratch("folder-state"));
        let file = source.join("orders.yaml");
        fs::write(&file, route(8080)).unwrap();
        let mut folder = Folder::new(&source, &state);
        assert_eq!(generation(&folder.read().unwrap().unwrap()), Some(1));
        assert!(folder.read().unwrap().is_none());
        fs::write(&file, "kind: [\n").unwrap();
        let broken = folder.read().unwrap().unwrap();
        assert_eq!((generation(&broken), broken.view.complete), (Some(1), true));
        let told = broken.faults[0].to_string();
        assert!(told.contains("orders.yaml:") && told.contains("last good text stays in force"), "{told}");
        fs::remove_file(&file).unwrap();
        assert_eq!(generation(&folder.read().unwrap().unwrap()), None);
    }

    #[test]
    fn a_file_that_was_never_readable_hides_objects() {
        let (source, state) = (scratch("folder-hidden"), scratch("folder-hidden-state"));
        fs::write(source.join("a.yaml"), "kind: [\n").unwrap();
        let reading = Folder::new(&source, &state).read().unwrap().unwrap();
        assert!(!reading.view.complete);
        assert_eq!(reading.faults.len(), 1);
    }

    #[test]
    fn generations_rise_with_the_spec_and_survive_a_restart() {
        let (source, state) = (scratch("folder-gen"), scratch("folder-gen-state"));
        let file = source.join("orders.yaml");
        for (port, expected) in [(8080, 1), (8081, 2), (8081, 2), (8080, 3)] {
            fs::write(&file, route(port)).unwrap();
            let reading = Folder::new(&source, &state).read().unwrap().unwrap();
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
        let reading = Folder::new(&source, &state).read().unwrap().unwrap();
        assert_eq!(reading.view.inventory.routes.len(), 1);
        assert!(reading.faults.is_empty());
    }
}
