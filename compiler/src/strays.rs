//! Documents that are no object of any name still refuse what they may cover: each as the route or policy that it was
//! meant to be, or, where that cannot be told, as a closed namespace.

use std::sync::Arc;

use portreeve_crds::ObjectKind;
use portreeve_policy::{NamespacedName, Refusal, RefusalReason};

use crate::{Stray, attach::Closures, compiled::Compiler};

impl Compiler<'_> {
    /// Documents that were to be of this kind, with their namespaces; in an order that does not hang on their files.
    pub(crate) fn strays(&self, kind: ObjectKind) -> Vec<(String, Arc<Stray>)> {
        let of_kind = |stray: &&Arc<Stray>| stray.kind == Some(kind);
        let mut found: Vec<_> = self
            .inventory
            .strays
            .iter()
            .filter(of_kind)
            .filter_map(|stray| Some((stray.namespace.clone()?, Arc::clone(stray))))
            .collect();
        found.sort_by_cached_key(|(namespace, stray)| (namespace.clone(), stray.value.to_string()));
        found.dedup_by(|(_, a), (_, b)| a.namespace == b.namespace && a.value == b.value);
        found
    }

    /// Namespaces that are closed, since what was to govern there cannot be told.
    pub(crate) fn closures(&self) -> Closures {
        let mut closures = Closures::default();
        for stray in &self.inventory.strays {
            let refusal = Refusal { reason: RefusalReason::InvalidPolicy, message: stray.message.clone() };
            match (&stray.namespace, stray.kind) {
                (None, None | Some(ObjectKind::ApiPolicy | ObjectKind::ApiRoute)) => closures.everywhere.push(refusal),
                (Some(namespace), None) => {
                    closures.namespaces.entry(namespace.clone()).or_default().push(refusal);
                }
                (_, Some(_)) => {}
            }
        }
        closures
    }
}

/// A name that no object of the namespace has.
pub(crate) fn free_name(namespace: &str, taken: impl Fn(&NamespacedName) -> bool) -> Option<NamespacedName> {
    (0_u32..)
        .map_while(|number| NamespacedName::new(namespace, &format!("stray-{number}")).ok())
        .find(|name| !taken(name))
}
