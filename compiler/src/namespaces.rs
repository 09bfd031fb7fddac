//! Which namespaces an owner means, by name or by labels.

use std::collections::BTreeMap;

use portreeve_crds::v1alpha1::{NamespacesFrom, TokenService};

use crate::Inventory;

/// Whether a namespace is listed, or carries every one of the labels. No labels at all select nobody.
pub(crate) fn is_selected(
    inventory: &Inventory,
    namespace: &str,
    names: &[String],
    labels: Option<&BTreeMap<String, String>>,
) -> bool {
    names.iter().any(|name| name == namespace) || labels.is_some_and(|wanted| has_labels(inventory, namespace, wanted))
}

/// Whether objects of namespace `from` may refer to a TokenService of namespace `owner`.
pub(crate) fn may_refer(inventory: &Inventory, service: &TokenService, owner: &str, from: &str) -> bool {
    let allowed = &service.spec.allowed_namespaces;
    match allowed.from {
        _ if owner == from => true,
        NamespacesFrom::Same => false,
        NamespacesFrom::All => true,
        NamespacesFrom::Selector => {
            allowed.match_labels.as_ref().is_some_and(|wanted| has_labels(inventory, from, wanted))
        }
    }
}

fn has_labels(inventory: &Inventory, namespace: &str, wanted: &BTreeMap<String, String>) -> bool {
    let labels = inventory.namespaces.get(namespace);
    !wanted.is_empty() && labels.is_some_and(|labels| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
}
