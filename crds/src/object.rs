//! Reading one object from JSON, strictly: a field that this version does not know is a fault with a place, never
//! ignored, for it may be the field that was to protect something.

mod field_faults;

use std::{fmt, sync::LazyLock};

pub use field_faults::FieldFault;
use field_faults::field_faults;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::CustomResourceExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    API_VERSION,
    v1alpha1::{ApiPolicy, ApiRoute, ClientRegistration, TokenService},
};

/// The kinds of `portreeve.dev`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[expect(missing_docs, reason = "each has its page in v1alpha1")]
pub enum ObjectKind {
    TokenService,
    ApiRoute,
    ApiPolicy,
    ClientRegistration,
}

/// Says which object is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// One object of any of our kinds.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "one variant a kind")]
pub enum Object {
    TokenService(Box<TokenService>),
    ApiRoute(Box<ApiRoute>),
    ApiPolicy(Box<ApiPolicy>),
    ClientRegistration(Box<ClientRegistration>),
}

/// An object that is there but cannot be understood. It still takes part: what it was to govern is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{object}{}: {message}", path_suffix(.path))]
pub struct Unreadable {
    /// Which object.
    pub object: ObjectRef,
    /// Field path, e.g. `spec.rules[0].matches`; empty when the whole object is meant.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// Further faults beside it.
    pub others: Vec<FieldFault>,
    /// The object as far as it is understood, so that what it was to govern can be refused.
    pub understood: Option<Object>,
    /// The object as it came.
    pub value: Value,
}

impl Unreadable {
    /// What is wrong, behind the path of the field.
    pub fn place_and_message(&self) -> String {
        if self.path.is_empty() { self.message.clone() } else { format!("{}: {}", self.path, self.message) }
    }
}

/// Reads one of our objects. `None`: another group, version or kind.
pub fn read_object(value: Value) -> Option<Result<Object, Box<Unreadable>>> {
    if value.get("apiVersion")?.as_str()? != API_VERSION {
        return None;
    }
    Some(match ObjectKind::parse(value.get("kind")?.as_str()?)? {
        ObjectKind::TokenService => {
            read(ObjectKind::TokenService, value, |object| Object::TokenService(Box::new(object)))
        }
        ObjectKind::ApiRoute => read(ObjectKind::ApiRoute, value, |object| Object::ApiRoute(Box::new(object))),
        ObjectKind::ApiPolicy => read(ObjectKind::ApiPolicy, value, |object| Object::ApiPolicy(Box::new(object))),
        ObjectKind::ClientRegistration => {
            read(ObjectKind::ClientRegistration, value, |object| Object::ClientRegistration(Box::new(object)))
        }
    })
}

fn read<T: DeserializeOwned>(
    kind: ObjectKind,
    value: Value,
    wrap: impl FnOnce(T) -> Object,
) -> Result<Object, Box<Unreadable>> {
    let mut unknown = false;
    let mut note = |path: serde_ignored::Path<'_>| unknown |= field_path(&path).starts_with("spec");
    let parsed = serde_ignored::deserialize::<_, _, T>(&value, &mut note);
    // The API server drops a null or keeps it, by the field; either way what was to stand there is gone.
    let null = value.get("spec").and_then(|spec| first_null(spec, "spec"));
    let understood = match (parsed, unknown, &null) {
        (Ok(parsed), false, None) => return Ok(wrap(parsed)),
        (Ok(parsed), true, None) => Some(wrap(parsed)),
        _ => None,
    };
    let mut faults = field_faults::<T>(&value, kind.schema());
    if let Some(path) = null {
        faults.retain(|fault| fault.path != path);
        let message = format!("{path} is null; give it a value, or leave the field out");
        faults.insert(0, FieldFault { path, message });
    }
    let object = ObjectRef::of(kind, &value);
    let mut faults = faults.into_iter();
    let whole = || FieldFault { path: String::new(), message: "it cannot be read".to_owned() };
    let FieldFault { path, message } = faults.next().unwrap_or_else(whole);
    Err(Box::new(Unreadable { object, path, message, others: faults.collect(), understood, value }))
}

/// Reads a value of another kind as strictly as ours: every field is known, and every fault has its path. `schema` is the
/// kind's JSON Schema, for suggestions.
pub fn read_strictly<T: DeserializeOwned>(value: &Value, schema: &Value) -> Result<T, Vec<FieldFault>> {
    let mut unknown = false;
    let mut note = |path: serde_ignored::Path<'_>| unknown |= field_path(&path).starts_with("spec");
    match serde_ignored::deserialize::<_, _, T>(value, &mut note) {
        Ok(parsed) if !unknown => Ok(parsed),
        _ => Err(field_faults::<T>(value, schema)),
    }
}

/// The path of the first null. The depth is that of a value that was read, which its reader bounds.
fn first_null(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::Null => Some(path.to_owned()),
        Value::Array(items) => {
            items.iter().zip(0_usize..).find_map(|(item, i)| first_null(item, &format!("{path}[{i}]")))
        }
        Value::Object(members) => {
            members.iter().find_map(|(name, member)| first_null(member, &format!("{path}.{name}")))
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// `a.b[0].c`, without the marks that serde_ignored puts for optional and newtype values.
fn field_path(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", field_path(parent)),
        Path::Map { parent, key } => {
            let parent = field_path(parent);
            if parent.is_empty() { key.clone() } else { format!("{parent}.{key}") }
        }
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => field_path(parent),
    }
}

fn path_suffix(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" {path}") }
}

// === impl ObjectKind ===

impl ObjectKind {
    /// All kinds, in the order in which they are compiled.
    pub const ALL: [Self; 4] = [Self::TokenService, Self::ApiRoute, Self::ApiPolicy, Self::ClientRegistration];

    /// The kind's name, as in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TokenService => "TokenService",
            Self::ApiRoute => "ApiRoute",
            Self::ApiPolicy => "ApiPolicy",
            Self::ClientRegistration => "ClientRegistration",
        }
    }

    /// Its schema in OpenAPI v3, as the API server has it.
    fn schema(self) -> &'static Value {
        static SCHEMAS: LazyLock<[Value; 4]> = LazyLock::new(|| {
            [TokenService::crd(), ApiRoute::crd(), ApiPolicy::crd(), ClientRegistration::crd()].map(|crd| {
                let version = crd.spec.versions.into_iter().next();
                let schema = version.and_then(|version| version.schema?.open_api_v3_schema);
                serde_json::to_value(schema).unwrap_or_default()
            })
        });
        let [token_service, route, policy, registration] = &*SCHEMAS;
        match self {
            Self::TokenService => token_service,
            Self::ApiRoute => route,
            Self::ApiPolicy => policy,
            Self::ClientRegistration => registration,
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

// === impl ObjectRef ===

impl ObjectRef {
    /// Names an object.
    pub fn new(kind: ObjectKind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Names the object that a value holds; `None` for a kind that is not ours.
    pub fn of_value(value: &Value) -> Option<Self> {
        Some(Self::of(ObjectKind::parse(value.get("kind")?.as_str()?)?, value))
    }

    fn of(kind: ObjectKind, value: &Value) -> Self {
        let text =
            |field: &str| value.pointer(&format!("/metadata/{field}")).and_then(Value::as_str).unwrap_or_default();
        Self::new(kind, text("namespace"), text("name"))
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

// === impl Object ===

impl Object {
    /// The object's metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::TokenService(object) => &object.metadata,
            Self::ApiRoute(object) => &object.metadata,
            Self::ApiPolicy(object) => &object.metadata,
            Self::ClientRegistration(object) => &object.metadata,
        }
    }

    /// Which object this is.
    pub fn reference(&self) -> ObjectRef {
        let kind = match self {
            Self::TokenService(_) => ObjectKind::TokenService,
            Self::ApiRoute(_) => ObjectKind::ApiRoute,
            Self::ApiPolicy(_) => ObjectKind::ApiPolicy,
            Self::ClientRegistration(_) => ObjectKind::ClientRegistration,
        };
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let metadata = self.metadata();
        ObjectRef { kind, namespace: text(&metadata.namespace), name: text(&metadata.name) }
    }
}
