//! Journals and credentials as files, mode 0600:
//!
//! ```text
//! STATE/registrations/NS/NAME.json          the journal
//! STATE/registrations/NS/NAME.target.json   where the client is, for when the object is gone; no secrets
//! STATE/secrets/NS/NAME.yaml                the credentials, as a Secret
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use portreeve_compiler::ResolvedRegistration;
use portreeve_crds::v1alpha1::{ClientRegistration, DeletionPolicy};
use portreeve_policy::NamespacedName;
use portreeve_registration::{JournalEntry, JournalError, JournalFault};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    credentials::{ClientCredentials, identity_names},
    store::{HeldIdentity, StoreFault},
};
use crate::atomic_file;

/// The annotation that names the registration that a Secret was written for.
const OWNER: &str = "portreeve.dev/registration";

/// Files below the folder of state.
#[derive(Debug, Clone)]
pub(crate) struct FileStore {
    state: PathBuf,
}

/// The journal of one registration.
pub(super) struct FileJournal {
    file: PathBuf,
}

/// A registration that was begun, as far as is needed to end it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Vanished {
    pub(super) name: NamespacedName,
    pub(super) uid: String,
    pub(super) deletion_policy: DeletionPolicy,
    pub(super) registration_endpoint: String,
    pub(super) ca_certificates: String,
    pub(super) credentials_secret_name: String,
}

#[derive(Deserialize)]
struct Owned {
    metadata: OwnedMetadata,
    #[serde(default, rename = "stringData")]
    data: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct OwnedMetadata {
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

impl FileStore {
    /// A store below a folder of state.
    pub(crate) fn new(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }

    pub(super) fn claim(
        &self,
        registration: &ClientRegistration,
        target: &ResolvedRegistration,
    ) -> Result<(), StoreFault> {
        let name = name_of(registration)?;
        let vanished = Vanished {
            uid: registration.metadata.uid.clone().unwrap_or_default(),
            deletion_policy: registration.spec.deletion_policy,
            registration_endpoint: target.registration_endpoint.clone(),
            ca_certificates: target.ca_certificates.clone(),
            credentials_secret_name: registration.spec.credentials_secret_name.clone(),
            name,
        };
        let text = serde_json::to_vec_pretty(&vanished).map_err(|fault| StoreFault::Unavailable(fault.to_string()))?;
        replace(&self.registration_file(&vanished.name, "target.json"), &text)
    }

    pub(super) fn check_credentials(
        &self,
        registration: &ClientRegistration,
        known: bool,
    ) -> Result<HeldIdentity, StoreFault> {
        let name = name_of(registration)?;
        let secret = &registration.spec.credentials_secret_name;
        let file = self.secret_file(name.namespace(), secret);
        let owned = match fs::read_to_string(&file) {
            Ok(text) => serde_saphyr::from_str::<Owned>(&text).ok(),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound && !known => return Ok(HeldIdentity::default()),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => None,
            Err(fault) => return Err(unavailable(&file, &fault)),
        };
        let ours = |owned: &Owned| owned.metadata.annotations.get(OWNER).map(String::as_str) == Some(name.name());
        if let Some(mut owned) = owned.filter(ours) {
            let [client_id, key_id] = identity_names(&registration.spec.credentials_keys);
            return Ok(HeldIdentity { client_id: owned.data.remove(&client_id), key_id: owned.data.remove(&key_id) });
        }
        Err(StoreFault::Foreign(format!(
            "Secret {}/{secret} exists and was not written for this object; remove it, or choose another \
             credentialsSecretName",
            name.namespace()
        )))
    }

    pub(super) fn write_credentials(
        &self,
        registration: &ClientRegistration,
        credentials: &ClientCredentials,
    ) -> Result<(), StoreFault> {
        let name = name_of(registration)?;
        let secret = &registration.spec.credentials_secret_name;
        let data = credentials.data(&registration.spec.credentials_keys);
        let values: Map<String, Value> =
            data.into_iter().map(|(key, value)| (key, value.expose().to_owned().into())).collect();
        let document = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {
                "name": secret, "namespace": name.namespace(),
                "labels": {"app.kubernetes.io/managed-by": "portreeve"}, "annotations": {OWNER: name.name()},
            },
            "stringData": Value::Object(values),
        });
        // The library's text could quote the secret.
        let text = serde_saphyr::to_string(&document).map_err(|_fault| {
            StoreFault::Unavailable(format!("Secret {}/{secret} cannot be written", name.namespace()))
        })?;
        replace(&self.secret_file(name.namespace(), secret), text.as_bytes())
    }

    pub(super) fn journal(&self, name: &NamespacedName) -> FileJournal {
        FileJournal { file: self.registration_file(name, "json") }
    }

    pub(super) fn remembered(&self) -> Vec<Vanished> {
        let mut found = Vec::new();
        let namespaces = fs::read_dir(self.state.join("registrations")).into_iter().flatten().flatten();
        for file in namespaces.flat_map(|namespace| fs::read_dir(namespace.path()).into_iter().flatten().flatten()) {
            let path = file.path();
            if !path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(".target.json")) {
                continue;
            }
            let read = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Vanished>(&text).ok());
            if read.is_none() {
                tracing::warn!(file = %path.display(), "cannot be read; its client is left alone");
            }
            found.extend(read);
        }
        found
    }

    pub(super) fn release(&self, vanished: &Vanished) -> Result<(), StoreFault> {
        let file = self.registration_file(&vanished.name, "target.json");
        atomic_file::remove(&file).map_err(|fault| unavailable(&file, &fault))
    }

    pub(super) fn forget(&self, vanished: &Vanished) -> Result<(), StoreFault> {
        let Vanished { name, credentials_secret_name, .. } = vanished;
        for file in
            [self.secret_file(name.namespace(), credentials_secret_name), self.registration_file(name, "target.json")]
        {
            atomic_file::remove(&file).map_err(|fault| unavailable(&file, &fault))?;
        }
        Ok(())
    }

    fn registration_file(&self, name: &NamespacedName, ending: &str) -> PathBuf {
        self.state.join("registrations").join(name.namespace()).join(format!("{}.{ending}", name.name()))
    }

    fn secret_file(&self, namespace: &str, name: &str) -> PathBuf {
        self.state.join("secrets").join(namespace).join(format!("{name}.yaml"))
    }
}

impl FileJournal {
    pub(super) fn load(&self) -> Result<JournalEntry, JournalError> {
        match fs::read(&self.file) {
            Ok(bytes) => JournalEntry::from_bytes(&bytes).map_err(|fault| {
                JournalError::new(JournalFault::Corrupt, &format!("{}: {fault}", self.file.display()))
            }),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(JournalEntry::default()),
            Err(fault) => Err(self.unavailable(&fault)),
        }
    }

    pub(super) fn store(&self, entry: &JournalEntry) -> Result<(), JournalError> {
        atomic_file::write(&self.file, &entry.to_bytes()).map_err(|fault| self.unavailable(&fault))
    }

    pub(super) fn clear(&self) -> Result<(), JournalError> {
        atomic_file::remove(&self.file).map_err(|fault| self.unavailable(&fault))
    }

    fn unavailable(&self, fault: &io::Error) -> JournalError {
        JournalError::new(JournalFault::Unavailable, &format!("{}: {fault}", self.file.display()))
    }
}

fn name_of(registration: &ClientRegistration) -> Result<NamespacedName, StoreFault> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    NamespacedName::new(&text(&registration.metadata.namespace), &text(&registration.metadata.name))
        .map_err(|fault| StoreFault::Unavailable(fault.to_string()))
}

/// Writes only what differs, so that nobody who watches the file is woken for nothing.
fn replace(file: &Path, bytes: &[u8]) -> Result<(), StoreFault> {
    if fs::read(file).is_ok_and(|held| held == bytes) {
        return Ok(());
    }
    atomic_file::write(file, bytes).map_err(|fault| unavailable(file, &fault))
}

fn unavailable(file: &Path, fault: &io::Error) -> StoreFault {
    StoreFault::Unavailable(format!("{}: {fault}", file.display()))
}
