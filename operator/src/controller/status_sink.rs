//! Where statuses go.

use portreeve_compiler::Inventory;
use portreeve_crds::ObjectRef;

use super::{
    ClusterStatuses, Compilation, StatusFiles,
    status_loop::objects,
    stored::{StoredCondition, StoredStatus},
};

/// Files or the API server.
pub(crate) enum StatusSink {
    /// The API server.
    Cluster(ClusterStatuses),
    /// Files.
    Files(StatusFiles),
}

impl StatusSink {
    /// The status as it stands.
    pub(super) fn present(&self, inventory: &Inventory, object: &ObjectRef) -> Option<StoredStatus> {
        match self {
            Self::Cluster(_) => ClusterStatuses::present(inventory, object),
            Self::Files(files) => files.present(object),
        }
    }

    /// Replaces a status. `turned`: conditions that people are told of.
    pub(super) async fn write(
        &self,
        object: &ObjectRef,
        uid: &str,
        status: &StoredStatus,
        turned: &[StoredCondition],
    ) -> Result<(), String> {
        match self {
            Self::Cluster(cluster) => cluster.write(object, uid, status, turned).await,
            Self::Files(files) => files.write(object, status).map_err(|fault| fault.to_string()),
        }
    }

    /// Forgets objects that are gone.
    pub(super) fn retain(&self, compilation: &Compilation) {
        match self {
            // Their statuses went with them.
            Self::Cluster(_) => {}
            Self::Files(files) => {
                if let Err(fault) = files.retain(&objects(compilation)) {
                    tracing::warn!(%fault, "cannot remove old statuses");
                }
            }
        }
    }
}
