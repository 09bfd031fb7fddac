//! Documents that are no object of any name: which namespace they may belong to, and what they may be.

use std::collections::BTreeSet;

use portreeve_crds::{GROUP, ObjectKind};
use portreeve_policy::NamespacedName;
use serde_json::Value;

use crate::Stray;

/// Fields of `metadata` that Kubernetes knows (`ObjectMeta` of its API reference).
const METADATA: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The kind that an object was meant to be, by the fields of its `spec`. `None`: it could be anything.
pub(super) fn meant_kind(value: &Value) -> Option<ObjectKind> {
    let has = |names: &[&str]| names.iter().any(|name| value.pointer(&format!("/spec/{name}")).is_some());
    if has(&["targetRefs", "precedence", "mode"]) {
        Some(ObjectKind::ApiPolicy)
    } else if has(&["workloadSelector", "rules", "hostnames", "upstream"]) {
        Some(ObjectKind::ApiRoute)
    } else if has(&["issuer", "discovery", "introspection"]) {
        Some(ObjectKind::TokenService)
    } else if has(&["tokenServiceRef", "credentialsSecretName"]) {
        Some(ObjectKind::ClientRegistration)
    } else {
        None
    }
}

/// Namespace and name of an object, or the field that is wrong.
pub(super) fn read_name(value: &Value) -> Result<(String, String), (String, String)> {
    let metadata = value.get("metadata").and_then(Value::as_object);
    let Some(metadata) = metadata else {
        return Err(("metadata".to_owned(), "an object needs metadata.name".to_owned()));
    };
    if let Some(unknown) = metadata.keys().find(|name| !METADATA.contains(&name.as_str())) {
        return Err((format!("metadata.{unknown}"), format!("field metadata.{unknown} is unknown; correct its name")));
    }
    let Some(Value::String(name)) = metadata.get("name") else {
        return Err(("metadata.name".to_owned(), "an object needs metadata.name, a text".to_owned()));
    };
    match metadata.get("namespace") {
        None => Ok(("default".to_owned(), name.clone())),
        Some(Value::String(namespace)) if is_namespace(namespace) => Ok((namespace.clone(), name.clone())),
        Some(_) => {
            let message = "metadata.namespace is the name of a namespace: lower-case letters, digits and '-'";
            Err(("metadata.namespace".to_owned(), message.to_owned()))
        }
    }
}

fn is_namespace(text: &str) -> bool {
    NamespacedName::new(text, "any").is_ok()
}

/// What a document may be; nothing for one that cannot be ours.
pub(super) fn strays(value: &Value, message: &str) -> Vec<Stray> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    if let Some(kind) = ObjectKind::parse(text("kind")).or_else(|| meant_kind(value)) {
        return namespaces(value).into_iter().map(|namespace| stray(namespace, Some(kind), value, message)).collect();
    }
    if text("apiVersion").split('/').next() == Some(GROUP) && !text("kind").ends_with("List") {
        return namespaces(value).into_iter().map(|namespace| stray(namespace, None, value, message)).collect();
    }
    // A List whose objects stand somewhere else than it should be, if anywhere.
    let mut found = Vec::new();
    collect(value, &mut found);
    found.into_iter().flat_map(|object| strays(object, message)).collect()
}

/// Objects of our group anywhere in a value. The reader of YAML bounds how deep it is.
fn collect<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_one(item, found)),
        Value::Object(members) => members.values().for_each(|member| collect_one(member, found)),
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
    }
}

fn collect_one<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    if text("apiVersion").split('/').next() == Some(GROUP) && !text("kind").ends_with("List") {
        found.push(value);
    } else {
        collect(value, found);
    }
}

fn stray(namespace: Option<String>, kind: Option<ObjectKind>, value: &Value, message: &str) -> Stray {
    Stray { namespace, kind, value: value.clone(), message: message.to_owned() }
}

/// The namespaces that an object may belong to; `None` for any.
fn namespaces(value: &Value) -> BTreeSet<Option<String>> {
    let Some(metadata) = value.get("metadata").and_then(Value::as_object) else { return BTreeSet::from([None]) };
    match metadata.get("namespace") {
        Some(Value::String(namespace)) if is_namespace(namespace) => BTreeSet::from([Some(namespace.clone())]),
        Some(_) => BTreeSet::from([None]),
        None => {
            // Each field that nobody knows can be the namespace, misspelt.
            let unknown = metadata.iter().filter(|(name, _)| !METADATA.contains(&name.as_str()));
            let mut found: BTreeSet<_> =
                unknown.filter_map(|(_, value)| value.as_str()).map(|text| Some(text.to_owned())).collect();
            found.insert(Some("default".to_owned()));
            found
        }
    }
}

/// Whether a text ends within `apiVersion` of an object of ours, so that all that would say whose it is was cut off.
fn is_cut_before_its_group(text: &str) -> bool {
    let marks = [' ', '\t', '\r', '\n', '"', '\'', '{', '-'];
    let key = text.trim_start_matches(marks);
    match key.rsplit_once("apiVersion") {
        None => !key.is_empty() && "apiVersion".starts_with(key.trim_end_matches(marks)),
        Some((_, value)) => {
            let value = value.trim_start_matches([' ', '\t', '"', '\'', ':']);
            GROUP.starts_with(value.trim_end_matches(['\r', '\n']))
        }
    }
}

/// What a text may be that is not YAML; nothing for one that has no word of ours.
pub(super) fn strays_of_text(text: &str, message: &str) -> Vec<Stray> {
    let ours = text.contains(GROUP)
        || ObjectKind::ALL.iter().any(|kind| text.contains(kind.as_str()))
        || is_cut_before_its_group(text);
    if !ours {
        return Vec::new();
    }
    let mut namespaces: BTreeSet<Option<String>> = BTreeSet::new();
    for rest in text.split("namespace").skip(1) {
        let value = rest.trim_start_matches(['"', '\'', ' ']).strip_prefix(':').unwrap_or_default();
        let name: String = value
            .trim_start_matches([' ', '"', '\''])
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '.')
            .collect();
        namespaces.insert(Some(name).filter(|name| !name.is_empty()));
    }
    if namespaces.is_empty() {
        // It may have been cut before it said.
        namespaces.insert(None);
    }
    namespaces.into_iter().map(|namespace| stray(namespace, None, &Value::Null, message)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c5_a_text_that_is_cut_anywhere_before_its_group_may_be_ours() {
        for whole in ["{\"apiVersion\":\"portreeve.dev/v1alpha1\",\"kind\"", "apiVersion: portreeve.dev/v1alpha1\nkind"]
        {
            let first = whole.find("apiV").unwrap() + 1;
            for end in first..whole.len() {
                let cut = whole.get(..end).unwrap();
                assert!(!strays_of_text(cut, "cut").is_empty(), "{cut}");
            }
        }
        for foreign in
            ["", "{", "apiVersion: apps/v1\nkind: {", "{{ .Values.x }}", "a: [", "port: [1", "apiVersion: v1\n["]
        {
            assert!(strays_of_text(foreign, "cut").is_empty(), "{foreign}");
        }
    }
}
