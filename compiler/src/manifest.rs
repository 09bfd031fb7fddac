//! Reading manifests from text: YAML in, objects and their places out. Pure; whoever calls brings the text.
//!
//! A file that is not YAML, a kind that does not exist, a field that is unknown, a name that stands twice: each is a
//! fault with file, line, column and cure, and the other documents stay in force.

mod kubernetes;
mod node;

use std::{collections::BTreeMap, fmt, sync::Arc};

use portreeve_crds::{API_VERSION, GROUP, ObjectKind, ObjectRef, read_object};
use serde_json::Value;

use crate::{Diagnostic, Inventory};
use node::Node;
pub use node::{Place, Position};

/// A fault in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManifestFault {
    /// Where.
    pub place: Place,
    /// What is wrong, and what to do.
    pub message: String,
}

/// What a set of manifests holds.
#[derive(Default)]
pub struct Manifests {
    /// The objects.
    pub inventory: Inventory,
    /// Everything that could not be taken.
    pub faults: Vec<ManifestFault>,
    sources: BTreeMap<ObjectRef, Source>,
    seen: BTreeMap<String, Place>,
}

/// Where an object was read: enough to find the place of a field again, which is rarely asked for.
struct Source {
    file: Arc<str>,
    text: Arc<str>,
    document: usize,
}

/// A document on its way in.
struct Document<'a> {
    file: &'a Arc<str>,
    text: &'a Arc<str>,
    number: usize,
    root: Node,
}

impl fmt::Display for ManifestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl Manifests {
    /// Takes one file in; `file` is only a name for messages. Returns whether the text was YAML at all.
    pub fn read(&mut self, file: &str, text: &str) -> bool {
        let documents = match node::parse(text) {
            Ok(documents) => documents,
            Err((position, message)) => {
                self.fault(file, position, format!("not YAML: {message}; nothing of this file is in force"));
                return false;
            }
        };
        let (file, text): (Arc<str>, Arc<str>) = (file.into(), text.into());
        for (number, root) in documents.into_iter().enumerate() {
            self.document(&Document { file: &file, text: &text, number, root });
        }
        true
    }

    /// Where a diagnostic points to.
    pub fn place(&self, diagnostic: &Diagnostic) -> Option<Place> {
        let Source { file, text, document } = self.sources.get(&diagnostic.object)?;
        let documents = node::parse(text).ok()?;
        let position = documents.get(*document)?.locate(&diagnostic.path);
        let position = diagnostic.within.map_or(position, |within| node::within(text, position, within));
        Some(Place { file: file.to_string(), position })
    }

    fn fault(&mut self, file: &str, position: Position, message: String) {
        self.faults.push(ManifestFault { place: Place { file: file.to_owned(), position }, message });
    }

    fn document(&mut self, document: &Document<'_>) {
        let Document { file, root, .. } = document;
        let mut value = root.to_value();
        if value.is_null() {
            return;
        }
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let (Some(version), Some(kind)) = (text("/apiVersion"), text("/kind")) else {
            self.fault(file, root.locate(""), "a manifest needs apiVersion and kind".to_owned());
            return;
        };
        let ours = version.split('/').next() == Some(GROUP);
        if !ours && !kubernetes::is_read(&version, &kind) {
            return;
        }
        let Some(name) = text("/metadata/name") else {
            self.fault(file, root.locate("metadata"), format!("{kind} needs metadata.name"));
            return;
        };
        let namespace = text("/metadata/namespace").unwrap_or_else(|| "default".to_owned());
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("namespace".to_owned(), namespace.clone().into());
        }
        let place = Place { file: file.to_string(), position: root.locate("metadata.name") };
        let key = format!("{version} {kind} {namespace}/{name}");
        if let Some(first) = self.seen.get(&key) {
            let message = format!(
                "{kind} {namespace}/{name} stands at {first} already; the first one is in force, rename or remove this one"
            );
            self.faults.push(ManifestFault { place, message });
            return;
        }
        self.seen.insert(key, place.clone());
        if ours {
            self.own(document, value, &version, &kind);
        } else if let Err(message) = kubernetes::read(&mut self.inventory, &kind, &namespace, &name, &value) {
            self.faults.push(ManifestFault { place, message });
        }
    }

    /// An object of our own group.
    fn own(&mut self, document: &Document<'_>, value: Value, version: &str, kind: &str) {
        let Document { file, text, number, root } = document;
        let source = || Source { file: Arc::clone(file), text: Arc::clone(text), document: *number };
        if version != API_VERSION {
            let message = format!("apiVersion {version} is unknown; this version of Portreeve reads {API_VERSION}");
            self.fault(file, root.locate("apiVersion"), message);
            return;
        }
        match read_object(value) {
            None => {
                let known: Vec<_> = ObjectKind::ALL.iter().map(|kind| kind.as_str()).collect();
                let message = format!("kind {kind} is unknown; {API_VERSION} has {}", known.join(", "));
                self.fault(file, root.locate("kind"), message);
            }
            Some(Ok(object)) => {
                let reference = object.reference();
                match self.inventory.insert(object) {
                    Ok(()) => drop(self.sources.insert(reference, source())),
                    Err(skipped) => self.fault(file, root.locate("metadata.name"), skipped.to_string()),
                }
            }
            Some(Err(unreadable)) => {
                let position = root.locate(&unreadable.path);
                self.fault(file, position, unreadable.to_string());
                self.sources.insert(unreadable.object.clone(), source());
                self.inventory.insert_unreadable(*unreadable);
            }
        }
    }
}
