//! Documents that are no object of any name still refuse what they may cover: each as the route or policy that it was
//! meant to be, or, where that cannot be told, as a closed namespace.

use std::{collections::BTreeMap, sync::Arc};

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

    /// Namespaces that are closed, since what was to govern there cannot be told. Of several messages the least one is
    /// told, whatever the order of the files.
    pub(crate) fn closures(&self) -> Closures {
        let mut least: BTreeMap<&Option<String>, &str> = BTreeMap::new();
        for stray in &self.inventory.strays {
            let closes = match (&stray.namespace, stray.kind) {
                (_, None) | (None, Some(ObjectKind::ApiPolicy | ObjectKind::ApiRoute)) => true,
                (_, Some(_)) => false,
            };
            if closes {
                let message = least.entry(&stray.namespace).or_insert(&stray.message);
                *message = (*message).min(&stray.message);
            }
        }
        let refusal = |message: &str| Refusal { reason: RefusalReason::InvalidPolicy, message: message.to_owned() };
        least.into_iter().map(|(namespace, message)| (namespace.clone(), refusal(message))).collect()
    }
}

/// A name that no object of the namespace has.
pub(crate) fn free_name(namespace: &str, taken: impl Fn(&NamespacedName) -> bool) -> Option<NamespacedName> {
    (0_u32..)
        .map_while(|number| NamespacedName::new(namespace, &format!("stray-{number}")).ok())
        .find(|name| !taken(name))
}
