//! The objects as they are now, from a folder or from a cluster.
//!
//! Out: a [`View`], replaced as a whole at each change. INVARIANT: the first one is published only when every object
//! of the source has been read once.

mod cluster;
mod folder;
mod generations;
mod held;
mod item;
mod named;
mod place;
mod refused;
mod relevance;
mod watch_folder;

use std::sync::Arc;

use portreeve_compiler::Inventory;

pub(crate) use cluster::ClusterWatch;
pub(crate) use place::Places;
pub(crate) use refused::explain;
pub(crate) use watch_folder::FolderWatch;

/// What a source holds.
#[derive(Clone, Default)]
pub(crate) struct View {
    /// The objects.
    pub(crate) inventory: Arc<Inventory>,
    /// Where each stands, in file mode.
    pub(crate) places: Places,
    /// Rises when something changed that bears on policy. What else changes, such as statuses, only brings new versions of
    /// objects.
    pub(crate) revision: u64,
    /// Whether an object that is missing here is known not to exist. A file that was never readable hides objects.
    pub(crate) complete: bool,
}
