//! What a document is, by its `apiVersion` and `kind`.

use portreeve_crds::{API_VERSION, GROUP, ObjectKind};
use serde_json::Value;

use super::{kubernetes, stray::meant_kind};

/// What a document is.
pub(super) enum Identity {
    /// None of our business.
    Foreign,
    /// A kind of Kubernetes itself that is read.
    Kubernetes { kind: String },
    /// A List of any kind of objects, or of one kind.
    List { version: String, kind: String },
    /// A kind of ours, in the version that is read.
    Ours,
    /// It may be ours, but cannot be told.
    Unclear { path: &'static str, message: String },
}

/// A document is foreign only if nothing about it says that it may be ours: neither group, nor kind, nor fields.
pub(super) fn identity(value: &Value) -> Identity {
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let unclear = |path, message| Identity::Unclear { path, message };
    let (version, kind) = match (text("apiVersion"), text("kind")) {
        (Some(version), Some(kind)) => (version, kind),
        (version, kind) => {
            let path = if version.is_none() { "apiVersion" } else { "kind" };
            let ours = version.is_some_and(is_ours)
                || kind.is_some_and(|kind| ObjectKind::parse(kind).is_some())
                || meant_kind(value).is_some();
            let message = "a manifest needs apiVersion and kind, both text";
            let message = if ours { message.to_owned() } else { format!("{message}; the document is not read") };
            return unclear(path, message);
        }
    };
    if is_ours(version) {
        return match (ObjectKind::parse(kind), version == API_VERSION) {
            (Some(_), true) => Identity::Ours,
            (_, false) => {
                let message = format!("apiVersion {version} is unknown; this version of Portreeve reads {API_VERSION}");
                unclear("apiVersion", message)
            }
            (None, true) if value.get("items").is_some() => list(version, kind),
            (None, true) => {
                let known: Vec<_> = ObjectKind::ALL.iter().map(|kind| kind.as_str()).collect();
                unclear("kind", format!("kind {kind} is unknown; {API_VERSION} has {}", known.join(", ")))
            }
        };
    }
    if ObjectKind::parse(kind).is_some() {
        return unclear("apiVersion", format!("apiVersion {version} has no {kind}; did you mean {API_VERSION}?"));
    }
    if kind.ends_with("List") && (version == "v1" || value.get("items").is_some()) {
        return list(version, kind);
    }
    if kubernetes::is_read(version, kind) {
        return Identity::Kubernetes { kind: kind.to_owned() };
    }
    let holds_ours = |item: &Value| item.get("apiVersion").and_then(Value::as_str).is_some_and(is_ours);
    if value.get("items").and_then(Value::as_array).is_some_and(|items| items.iter().any(holds_ours)) {
        return unclear("kind", format!("kind {kind} of {version} is unknown; did you mean List of v1?"));
    }
    Identity::Foreign
}

fn list(version: &str, kind: &str) -> Identity {
    Identity::List { version: version.to_owned(), kind: kind.to_owned() }
}

fn is_ours(version: &str) -> bool {
    version.split('/').next() == Some(GROUP)
}
