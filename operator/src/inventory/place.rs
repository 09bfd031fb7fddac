//! Where a diagnostic points to.

use std::sync::Arc;

use portreeve_compiler::{Diagnostic, manifest::Manifests};

/// Knows the files that objects came from; empty in cluster mode.
#[derive(Clone, Default)]
pub(crate) struct Places(Option<Arc<Manifests>>);

impl Places {
    pub(super) fn new(manifests: Manifests) -> Self {
        Self(Some(Arc::new(manifests)))
    }

    /// `file:line:column: ` in front of the finding, where that is known.
    pub(crate) fn tell(&self, diagnostic: &Diagnostic) -> String {
        let place = self.0.as_ref().and_then(|manifests| manifests.place(diagnostic));
        place.map_or_else(|| diagnostic.to_string(), |place| format!("{place}: {diagnostic}"))
    }
}
