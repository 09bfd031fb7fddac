//! Statuses as files: `STATE/status/KIND/NAMESPACE/NAME.yaml`.

use std::{collections::BTreeSet, fs, io, path::PathBuf};

use portreeve_crds::{API_VERSION, ObjectKind, ObjectRef};
use serde::Deserialize;
use serde_json::json;

use super::stored::StoredStatus;
use crate::atomic_file;

/// The folder of statuses.
pub(crate) struct StatusFiles {
    folder: PathBuf,
}

#[derive(Deserialize)]
struct File {
    status: StoredStatus,
}

impl StatusFiles {
    /// Statuses below a folder.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// What was written last.
    pub(super) fn present(&self, object: &ObjectRef) -> Option<StoredStatus> {
        let text = fs::read_to_string(self.file(object)).ok()?;
        serde_saphyr::from_str::<File>(&text).ok().map(|file| file.status)
    }

    /// Replaces a status.
    pub(super) fn write(&self, object: &ObjectRef, status: &StoredStatus) -> io::Result<()> {
        let document = json!({
            "apiVersion": API_VERSION,
            "kind": object.kind.as_str(),
            "metadata": {
                "name": object.name, "namespace": object.namespace, "generation": status.observed_generation,
            },
            "status": status,
        });
        let text = serde_saphyr::to_string(&document).map_err(io::Error::other)?;
        atomic_file::write(&self.file(object), text.as_bytes())
    }

    /// Removes statuses of objects that are gone.
    pub(super) fn retain(&self, objects: &BTreeSet<&ObjectRef>) -> io::Result<()> {
        for kind in ObjectKind::ALL {
            for namespace in names(&self.folder.join(kind.as_str()))? {
                for file in names(&self.folder.join(kind.as_str()).join(&namespace))? {
                    let Some(name) = file.strip_suffix(".yaml").filter(|name| !name.starts_with('.')) else { continue };
                    let object = ObjectRef::new(kind, &namespace, name);
                    if !objects.contains(&object) {
                        atomic_file::remove(&self.file(&object))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn file(&self, object: &ObjectRef) -> PathBuf {
        let ObjectRef { kind, namespace, name } = object;
        self.folder.join(kind.as_str()).join(namespace).join(format!("{name}.yaml"))
    }
}

fn names(folder: &PathBuf) -> io::Result<Vec<String>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(fault) => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{atomic_file::scratch, controller::stored::StoredCondition};

    #[test]
    fn reads_what_it_wrote_and_removes_what_is_gone() {
        let files = StatusFiles::new(scratch("status-files"));
        let object = ObjectRef::new(ObjectKind::ApiRoute, "shop", "orders.v1");
        let condition = StoredCondition {
            kind: "Ready".to_owned(),
            status: "True".to_owned(),
            observed_generation: Some(3),
            last_transition_time: "2026-01-01T00:00:00Z".to_owned(),
            reason: "Ready".to_owned(),
            message: "a: b # c\n\"d\"".to_owned(),
        };
        let status = StoredStatus {
            observed_generation: Some(3),
            conditions: vec![condition],
            programmed: Some("1/1".to_owned()),
            ..StoredStatus::default()
        };
        assert_eq!(files.present(&object), None);
        files.write(&object, &status).unwrap();
        assert_eq!(files.present(&object), Some(status));
        files.retain(&BTreeSet::from([&object])).unwrap();
        assert!(files.present(&object).is_some());
        files.retain(&BTreeSet::new()).unwrap();
        assert_eq!(files.present(&object), None);
    }
}
