//! What the watches of a cluster hold, and one object that is read by name.

use std::collections::BTreeMap;

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use portreeve_compiler::Reference;

use super::{
    item::{self, Item, Read},
    named::{self, Content},
    refused::explain,
};

/// A kind, of one namespace where only some are watched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    pub(super) plural: &'static str,
    pub(super) namespace: Option<String>,
}

#[derive(Default)]
pub(super) struct Held {
    /// By `namespace/name`.
    pub(super) items: BTreeMap<String, Item>,
    /// A list that is being read.
    pub(super) draft: Option<BTreeMap<String, Item>>,
    pub(super) synced: bool,
}

impl Source {
    /// For people, e.g. `secrets in namespace shop`.
    pub(super) fn resource(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} in namespace {namespace}", self.plural),
            None => self.plural.to_owned(),
        }
    }
}

impl Held {
    /// Notes a name of a list that is being read.
    pub(super) fn draft_name(&mut self, key: &str) {
        if let Some(draft) = &mut self.draft {
            draft.insert(key.to_owned(), Item::Name);
        }
    }
}

pub(super) async fn content(client: Client, reference: &Reference) -> Result<Option<Content>, String> {
    let (kind, read): (_, Read) = match reference {
        Reference::ConfigMap(_) => ("ConfigMap", item::config_map),
        Reference::Secret(_) => ("Secret", item::secret),
    };
    let (plural, name) = (plural(reference), named::name(reference));
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", kind), plural);
    let api: Api<DynamicObject> = Api::namespaced_with(client, name.namespace(), &resource);
    let found = api.get_opt(name.name()).await;
    let found = found.map_err(|fault| explain(&fault, &format!("{plural} in namespace {}", name.namespace())))?;
    Ok(found.and_then(|object| {
        let version = object.metadata.resource_version.clone();
        let item = read(object)?;
        Some(Content { version, bytes: item.bytes(), item })
    }))
}

pub(super) fn plural(reference: &Reference) -> &'static str {
    match reference {
        Reference::ConfigMap(_) => "configmaps",
        Reference::Secret(_) => "secrets",
    }
}

pub(super) fn set(items: &mut BTreeMap<String, Item>, key: String, item: Option<Item>) {
    match item {
        Some(item) => drop(items.insert(key, item)),
        None => drop(items.remove(&key)),
    }
}

pub(super) fn name(object: &DynamicObject) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", text(&object.metadata.namespace), text(&object.metadata.name))
}
