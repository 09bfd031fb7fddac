//! Where journals and credentials are kept.

use portreeve_compiler::ResolvedRegistration;
use portreeve_crds::v1alpha1::ClientRegistration;
use portreeve_policy::NamespacedName;
use portreeve_registration::{Journal, JournalEntry, JournalError, PossibleOrphan};

use super::{
    cluster_store::{ClusterStore, SecretJournal},
    conditions::orphan_message,
    credentials::ClientCredentials,
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

/// Whose credentials a Secret holds; both `None` where there is no Secret yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct HeldIdentity {
    pub(super) client_id: Option<String>,
    pub(super) key_id: Option<String>,
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

    /// Whether the credentials may be written; `known` says that the inventory holds a Secret of that name. Tells which
    /// client and key the Secret speaks of now.
    pub(super) async fn check_credentials(
        &self,
        registration: &ClientRegistration,
        known: bool,
    ) -> Result<HeldIdentity, StoreFault> {
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

    /// Pods that took in credentials made before `since` (seconds since 1970) and cannot notice new ones.
    pub(super) async fn holders(
        &self,
        registration: &ClientRegistration,
        since: u64,
    ) -> Result<Vec<String>, StoreFault> {
        match self {
            Self::Cluster(cluster) => cluster.holders(registration, since).await,
            Self::Files(_) => Ok(Vec::new()),
        }
    }

    /// Tells people of clients that may be left behind, before the journal forgets them.
    pub(super) async fn tell_orphan(
        &self,
        registration: &ClientRegistration,
        orphan: &PossibleOrphan,
    ) -> Result<(), StoreFault> {
        let message = orphan_message(orphan);
        let metadata = &registration.metadata;
        let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
        tracing::warn!(namespace, registration = name, "{message}");
        match self {
            Self::Cluster(cluster) => cluster.tell(registration, "PossibleOrphan", &message).await,
            Self::Files(_) => Ok(()),
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
