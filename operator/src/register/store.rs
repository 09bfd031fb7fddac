//! Where journals and credentials are kept.

use portreeve_compiler::ResolvedRegistration;
use portreeve_crds::v1alpha1::ClientRegistration;
use portreeve_policy::NamespacedName;
use portreeve_registration::{Journal, JournalEntry, JournalError, Secret};

use super::{
    cluster_store::{ClusterStore, SecretJournal},
    file_store::{FileJournal, FileStore, Vanished},
};

/// Files or Secrets.
#[derive(Clone)]
pub(crate) enum Store {
    /// Secrets.
    Cluster(ClusterStore),
    /// Files.
    Files(FileStore),
}

/// What an application needs to act as its client. It holds a secret, so it has no `Debug`.
pub(super) struct ClientCredentials {
    pub(super) client_id: String,
    pub(super) client_secret: Option<Secret>,
    pub(super) issuer: String,
    pub(super) token_endpoint: Option<String>,
}

/// Why something could not be kept; holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum StoreFault {
    /// Somebody else's Secret has that name.
    #[error("{0}")]
    Foreign(String),
    /// Tried again later.
    #[error("{0}")]
    Unavailable(String),
}

/// The journal of one registration.
pub(super) enum AnyJournal {
    Cluster(Box<SecretJournal>),
    Files(FileJournal),
}

impl Store {
    /// Makes sure that the end of the object will be noticed, before anything is registered for it.
    pub(super) async fn claim(
        &self,
        registration: &ClientRegistration,
        target: &ResolvedRegistration,
    ) -> Result<(), StoreFault> {
        match self {
            Self::Cluster(cluster) => cluster.claim(registration).await,
            Self::Files(files) => files.claim(registration, target),
        }
    }

    /// Whether an object that is being deleted still waits for us.
    pub(super) fn waits_for_us(&self, registration: &ClientRegistration) -> bool {
        match self {
            Self::Cluster(_) => ClusterStore::is_claimed(registration),
            Self::Files(_) => false,
        }
    }

    /// Lets an object go whose client is dealt with; `retained`: the client stays, and so does its journal.
    pub(super) async fn unclaim(&self, registration: &ClientRegistration, retained: bool) -> Result<(), StoreFault> {
        match self {
            Self::Cluster(cluster) => {
                if retained {
                    cluster.retain(registration).await?;
                }
                cluster.unclaim(registration).await
            }
            Self::Files(_) => Ok(()),
        }
    }

    /// Whether the credentials may be written; `known` says that the inventory holds a Secret of that name.
    pub(super) async fn check_credentials(
        &self,
        registration: &ClientRegistration,
        known: bool,
    ) -> Result<(), StoreFault> {
        match self {
            Self::Cluster(cluster) => cluster.check_credentials(registration).await,
            Self::Files(files) => files.check_credentials(registration, known),
        }
    }

    /// Writes the credentials, if they differ from what is there.
    pub(super) async fn write_credentials(
        &self,
        registration: &ClientRegistration,
        credentials: &ClientCredentials,
    ) -> Result<(), StoreFault> {
        match self {
            Self::Cluster(cluster) => cluster.write_credentials(registration, credentials).await,
            Self::Files(files) => files.write_credentials(registration, credentials),
        }
    }

    /// The journal of a registration.
    pub(super) fn journal(&self, name: &NamespacedName, registration: &ClientRegistration) -> AnyJournal {
        match self {
            Self::Cluster(cluster) => AnyJournal::Cluster(Box::new(cluster.journal(name, registration))),
            Self::Files(files) => AnyJournal::Files(files.journal(name)),
        }
    }

    /// Files, the only place where objects go without a word.
    pub(super) fn files(&self) -> Option<&FileStore> {
        match self {
            Self::Cluster(_) => None,
            Self::Files(files) => Some(files),
        }
    }

    /// Registrations whose object may be gone without a word.
    pub(super) fn remembered(&self) -> Vec<Vanished> {
        self.files().map(FileStore::remembered).unwrap_or_default()
    }
}

impl Journal for AnyJournal {
    async fn load(&mut self) -> Result<JournalEntry, JournalError> {
        match self {
            Self::Cluster(journal) => journal.load().await,
            Self::Files(journal) => journal.load(),
        }
    }

    async fn store(&mut self, entry: &JournalEntry) -> Result<(), JournalError> {
        match self {
            Self::Cluster(journal) => journal.store(entry).await,
            Self::Files(journal) => journal.store(entry),
        }
    }

    async fn clear(&mut self) -> Result<(), JournalError> {
        match self {
            Self::Cluster(journal) => journal.clear().await,
            Self::Files(journal) => journal.clear(),
        }
    }
}
