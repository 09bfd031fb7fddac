//! Reading manifests from text: YAML in, objects and their places out. Pure; whoever calls brings the text.
//!
//! A file that is not YAML, a kind that does not exist, a field that is unknown, a duplicate name: each is a
//! fault with file, line, column and cure, and the other documents stay in force.

mod ambiguous;
mod identity;
mod kubernetes;
mod node;
mod stray;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

use identity::{Identity, identity};
use portreeve_crds::{API_VERSION, FieldFault, ObjectKind, ObjectRef, Unreadable, read_object};
use serde_json::Value;

use crate::{Diagnostic, Inventory};
use node::Node;
pub use node::{Place, Position};

/// Deepest nesting of Lists.
const LIST_DEPTH: usize = 4;

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
    file: Arc<SourceFile>,
    document: usize,
    /// The path of the object within a List, with a dot behind it; empty for an object of its own.
    within: String,
}

/// A file, whose documents are read again when the first place in it is asked for.
struct SourceFile {
    name: String,
    text: String,
    documents: OnceLock<Vec<Node>>,
}

/// A document, or an item of a List, on its way in.
struct Document<'a> {
    file: &'a Arc<SourceFile>,
    number: usize,
    root: &'a Node,
    /// See [`Source::within`].
    within: String,
}

impl fmt::Display for ManifestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl Manifests {
    /// Takes one file in; `file` is only a name for messages. Returns whether all of the text was YAML: of one that was
    /// not, the documents that can be read are in force, and the others refuse what they may cover.
    pub fn read(&mut self, file: &str, text: &str) -> bool {
        let (documents, faults) = node::parse_all(text);
        let source = SourceFile { name: file.to_owned(), text: text.to_owned(), documents: OnceLock::new() };
        let source = Arc::new(source);
        for (number, root) in documents.iter().enumerate() {
            self.document(&Document { file: &source, number, root, within: String::new() });
        }
        for fault in &faults {
            self.broken_text(file, fault);
        }
        faults.is_empty()
    }

    /// Takes one file in as it came. Bytes that are no UTF-8 are one fault with its place, as in kubectl.
    pub fn read_bytes(&mut self, file: &str, bytes: &[u8]) -> bool {
        let text = match str::from_utf8(bytes) {
            Ok(text) => return self.read(file, text),
            Err(fault) => bytes.get(..fault.valid_up_to()).map(String::from_utf8_lossy).unwrap_or_default(),
        };
        let line = text.matches('\n').count().saturating_add(1);
        let column = text.rsplit('\n').next().unwrap_or_default().chars().count().saturating_add(1);
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let position = Position { line: number(line), column: number(column) };
        let message = "not UTF-8; save the file in that encoding; what it may cover is refused".to_owned();
        let fault = ManifestFault { place: Place { file: file.to_owned(), position }, message };
        let strays = stray::strays_of_text(&String::from_utf8_lossy(bytes), &fault.to_string());
        self.inventory.strays.extend(strays.into_iter().map(Arc::new));
        self.faults.push(fault);
        false
    }

    /// Where a diagnostic points to.
    pub fn place(&self, diagnostic: &Diagnostic) -> Option<Place> {
        let place = self.place_of(&diagnostic.object, &diagnostic.path)?;
        let text = self.sources.get(&diagnostic.object)?.file.text.as_str();
        let position = diagnostic.within.map_or(place.position, |within| node::within(text, place.position, within));
        Some(Place { position, ..place })
    }

    /// Where a field of an object stands, or the deepest part of it that is there.
    pub fn place_of(&self, object: &ObjectRef, path: &str) -> Option<Place> {
        let Source { file, document, within } = self.sources.get(object)?;
        let position = file.documents().get(*document)?.locate(&format!("{within}{path}"));
        Some(Place { file: file.name.clone(), position })
    }

    fn document(&mut self, document: &Document<'_>) {
        let value = document.value();
        if value.is_null() {
            return;
        }
        match identity(&value) {
            Identity::Foreign => {}
            Identity::Kubernetes { kind } => self.kubernetes(document, &kind, &value),
            Identity::List { version, kind } => self.list(document, &version, &kind, &value),
            Identity::Ours => self.named(document, value),
            Identity::Unclear { path, message } => self.stray(document, path, message, &value),
        }
    }

    /// Each item of a List is an object like any other.
    fn list(&mut self, document: &Document<'_>, version: &str, kind: &str, value: &Value) {
        let Document { file, number, root, within } = document;
        if within.matches("items").count() >= LIST_DEPTH {
            self.stray(document, "kind", format!("Lists are nested deeper than {LIST_DEPTH}"), value);
            return;
        }
        for name in value.as_object().into_iter().flatten().map(|(name, _)| name) {
            if !["apiVersion", "kind", "metadata", "items"].contains(&name.as_str()) {
                let message = format!("field {name} is unknown in a {kind}; its objects stand under items");
                let beside = serde_json::json!({ "kind": "List", "items": value.get(name) });
                self.stray(document, name, message, &beside);
            }
        }
        let Some(items) = value.get("items").and_then(Value::as_array) else {
            self.stray(document, "items", format!("a {kind} needs items, a list of objects"), value);
            return;
        };
        // A typed list says the kind once, for all of its items.
        let kind = kind.strip_suffix("List").filter(|kind| !kind.is_empty()).map(str::to_owned);
        for index in 0..items.len() {
            let within = format!("{within}items[{index}].");
            let item = Document { file, number: *number, root, within };
            match (&kind, item.value()) {
                (Some(kind), Value::Object(mut members)) if !members.contains_key("kind") => {
                    members.entry("apiVersion").or_insert_with(|| version.into());
                    members.insert("kind".to_owned(), kind.as_str().into());
                    self.typed_item(&item, Value::Object(members));
                }
                _ => self.document(&item),
            }
        }
    }

    fn typed_item(&mut self, item: &Document<'_>, value: Value) {
        match identity(&value) {
            Identity::Ours => self.named(item, value),
            Identity::Kubernetes { kind } => self.kubernetes(item, &kind, &value),
            Identity::Foreign => {}
            Identity::List { .. } => self.stray(item, "", "a List of Lists needs their kind".to_owned(), &value),
            Identity::Unclear { path, message } => self.stray(item, path, message, &value),
        }
    }

    /// A kind of Kubernetes itself.
    fn kubernetes(&mut self, document: &Document<'_>, kind: &str, value: &Value) {
        let Some((namespace, name)) = self.name(document, kind, value) else { return };
        let place = document.place("metadata.name");
        if let Some(first) = self.taken(&format!("v1 {kind} {namespace}/{name}"), &place) {
            let message = format!(
                "duplicate {kind} {namespace}/{name}, first at {first}; the first one is in force, rename or remove this one"
            );
            self.faults.push(ManifestFault { place, message });
        } else if let Err(message) = kubernetes::read(&mut self.inventory, kind, &namespace, &name, value) {
            self.faults.push(ManifestFault { place, message });
        }
    }

    /// An object of our own group, version and kinds.
    fn named(&mut self, document: &Document<'_>, mut value: Value) {
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        let Some((namespace, name)) = self.name(document, &kind, &value) else { return };
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("namespace".to_owned(), namespace.clone().into());
        }
        let place = document.place("metadata.name");
        if let Some(first) = self.taken(&format!("{API_VERSION} {kind} {namespace}/{name}"), &place) {
            self.duplicate(document, &value, &format!("duplicate {kind} {namespace}/{name}, first at {first}"));
            return;
        }
        match read_object(value.clone()) {
            None => self.stray(document, "kind", format!("kind {kind} is unknown"), &value),
            Some(Ok(object)) => {
                let reference = object.reference();
                match self.inventory.insert(object) {
                    Ok(()) => drop(self.sources.insert(reference, document.source())),
                    Err(skipped) => self.stray(document, "metadata.name", skipped.to_string(), &value),
                }
            }
            Some(Err(unreadable)) => {
                let first = [(&unreadable.path, unreadable.to_string())].into_iter();
                let told =
                    |FieldFault { path, message }: &FieldFault| format!("{} {path}: {message}", unreadable.object);
                let others = unreadable.others.iter().map(|fault| (&fault.path, told(fault)));
                let mut faults: Vec<_> = first
                    .chain(others)
                    .map(|(path, message)| ManifestFault { place: document.place(path), message })
                    .collect();
                faults.sort_by_key(|ManifestFault { place: Place { position, .. }, .. }| {
                    (position.line, position.column)
                });
                self.faults.extend(faults);
                self.sources.insert(unreadable.object.clone(), document.source());
                self.inventory.insert_unreadable(*unreadable);
            }
        }
    }

    /// A second object of a name. One that says the same changes nothing. Of two that differ nobody can tell which one was
    /// to be called so: routes and policies refuse what either covers, and of the other kinds the first one stays.
    fn duplicate(&mut self, document: &Document<'_>, value: &Value, told: &str) {
        let place = document.place("metadata.name");
        let Some(object) = ObjectRef::of_value(value) else { return };
        let first = self.sources.get(&object).and_then(Source::document).unwrap_or_default();
        if first.get("spec") == value.get("spec") {
            self.faults.push(ManifestFault { place, message: format!("{told}; remove one of the two") });
            return;
        }
        let message = format!("{told}; what the two cover is refused: rename or remove one");
        if matches!(object.kind, ObjectKind::ApiPolicy | ObjectKind::ApiRoute) {
            let path = "metadata.name".to_owned();
            let message = message.clone();
            let unreadable = Unreadable { object, path, message, others: Vec::new(), understood: None, value: first };
            self.inventory.replace_by_unreadable(unreadable);
        }
        self.stray(document, "metadata.name", message, value);
    }

    /// Namespace and name, or a fault.
    fn name(&mut self, document: &Document<'_>, kind: &str, value: &Value) -> Option<(String, String)> {
        let ours = ObjectKind::parse(kind).is_some();
        let (path, message) = match stray::read_name(value) {
            Ok(name) => return Some(name),
            Err(fault) => fault,
        };
        if ours {
            self.stray(document, &path, message, value);
        } else {
            self.faults.push(ManifestFault { place: document.place(&path), message: format!("{kind}: {message}") });
        }
        None
    }

    /// The place of an object of the same name, if there is one; else the name is taken now.
    fn taken(&mut self, key: &str, place: &Place) -> Option<Place> {
        let first = self.seen.get(key).cloned();
        if first.is_none() {
            self.seen.insert(key.to_owned(), place.clone());
        }
        first
    }

    /// Notes a fault of a document that is no object, and refuses what it may cover.
    fn stray(&mut self, document: &Document<'_>, path: &str, message: String, value: &Value) {
        let fault = ManifestFault { place: document.place(path), message };
        self.inventory.strays.extend(stray::strays(value, &fault.to_string()).into_iter().map(Arc::new));
        self.faults.push(fault);
    }

    fn broken_text(&mut self, file: &str, fault: &node::TextFault<'_>) {
        let message = format!("not YAML: {}; what this document may cover is refused", fault.message);
        let fault_here = ManifestFault { place: Place { file: file.to_owned(), position: fault.position }, message };
        let strays = stray::strays_of_text(fault.text, &fault_here.to_string());
        self.inventory.strays.extend(strays.into_iter().map(Arc::new));
        self.faults.push(fault_here);
    }
}

/// A document of any kind, with the places of its fields.
pub struct Located(Node);

/// The documents of a text that can be read, whatever their kinds are.
pub fn located(text: &str) -> Vec<Located> {
    node::parse_all(text).0.into_iter().map(Located).collect()
}

impl Located {
    /// The document as JSON.
    pub fn value(&self) -> Value {
        self.0.to_value()
    }

    /// Where a field such as `spec.cases[0].name` stands, or the deepest part of it that is there.
    pub fn locate(&self, path: &str) -> Position {
        self.0.locate(path)
    }
}

/// The documents of a text as JSON values; `None` where it is not YAML.
pub fn documents(text: &str) -> Option<Vec<Value>> {
    let (documents, faults) = node::parse_all(text);
    faults.is_empty().then(|| documents.iter().map(Node::to_value).filter(|value| !value.is_null()).collect())
}

impl SourceFile {
    fn documents(&self) -> &[Node] {
        self.documents.get_or_init(|| node::parse_all(&self.text).0)
    }
}

impl Source {
    /// The object again, as it came.
    fn document(&self) -> Option<Value> {
        Some(self.file.documents().get(self.document)?.at(self.within.trim_end_matches('.'))?.to_value())
    }
}

impl Document<'_> {
    fn value(&self) -> Value {
        self.root.at(self.within.trim_end_matches('.')).map_or(Value::Null, Node::to_value)
    }

    fn place(&self, path: &str) -> Place {
        let path = format!("{}{path}", self.within);
        Place { file: self.file.name.clone(), position: self.root.locate(path.trim_end_matches('.')) }
    }

    fn source(&self) -> Source {
        Source { file: Arc::clone(self.file), document: self.number, within: self.within.clone() }
    }
}
