//! PolicyTest documents: what people write to say which requests pass.

use std::collections::BTreeMap;

use portreeve_compiler::manifest::{Located, Place};
use portreeve_crds::{TokenServiceRef, read_strictly};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Group of documents that are read by this command alone.
const GROUP: &str = "test.portreeve.dev";
const API_VERSION: &str = "test.portreeve.dev/v1alpha1";
const KIND: &str = "PolicyTest";

/// A document of cases.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(in crate::commands) struct PolicyTest {
    pub(in crate::commands) metadata: TestMetadata,
    pub(in crate::commands) spec: TestSpec,
}

/// Its name.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(in crate::commands) struct TestMetadata {
    pub(in crate::commands) name: String,
}

/// The pod that is asked, and the cases.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(in crate::commands) struct TestSpec {
    /// Whose proxy decides: every ApiRoute that selects such a pod is in force.
    pub(in crate::commands) pod: PodSpec,
    /// The moment of every request that says no other, e.g. `2026-01-07T12:00:00Z` (default, a Wednesday).
    #[serde(default = "default_time")]
    pub(in crate::commands) time: String,
    /// The cases. None knows of another: caches, counts and logins begin anew with each.
    pub(in crate::commands) cases: Vec<CaseSpec>,
}

/// A pod.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(in crate::commands) struct PodSpec {
    /// Its namespace, `default` when left out.
    #[serde(default = "default_namespace")]
    pub(in crate::commands) namespace: String,
    /// Its labels, e.g. `{app: orders}`.
    pub(in crate::commands) labels: BTreeMap<String, String>,
}

/// A request, and what is to become of it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::commands) struct CaseSpec {
    /// In words.
    pub(in crate::commands) name: String,
    /// The moment, when it is not that of the document.
    #[serde(default)]
    pub(in crate::commands) time: Option<String>,
    /// What is sent.
    pub(in crate::commands) request: RequestSpec,
    /// A token that the request carries.
    #[serde(default)]
    pub(in crate::commands) token: Option<TokenSpec>,
    /// What an external authorization (PDP) answers, as JSON; it cannot be reached when left out.
    #[serde(default)]
    pub(in crate::commands) decision_point: Option<Value>,
    /// How often the request is sent, 1 when left out. What is expected is expected of the last one.
    #[serde(default = "once")]
    pub(in crate::commands) times: u32,
    /// What is to become of it.
    pub(in crate::commands) expect: ExpectSpec,
}

/// A request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::commands) struct RequestSpec {
    /// `GET` when left out.
    #[serde(default = "get")]
    pub(in crate::commands) method: String,
    /// Whether the client speaks TLS.
    #[serde(default)]
    pub(in crate::commands) scheme: SchemeSpec,
    /// Value of `Host`.
    pub(in crate::commands) host: String,
    /// Path and query.
    pub(in crate::commands) path: String,
    /// Header fields.
    #[serde(default)]
    pub(in crate::commands) headers: BTreeMap<String, String>,
    /// Body.
    #[serde(default)]
    pub(in crate::commands) body: String,
    /// Address of the peer, `192.0.2.1` when left out.
    #[serde(default = "default_address")]
    pub(in crate::commands) client_address: String,
    /// Certificate chain that the client shows, in PEM.
    #[serde(default)]
    pub(in crate::commands) client_certificate: Option<String>,
}

/// What the client speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::commands) enum SchemeSpec {
    #[default]
    Http,
    Https,
}

/// A token that a TokenService of the manifests would have issued. It is signed, or answered for, by a key of the test.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::commands) struct TokenSpec {
    /// Its issuer; may be left out where the manifests have one TokenService. The namespace is that of the pod when left out.
    #[serde(default)]
    pub(in crate::commands) token_service_ref: Option<TokenServiceRef>,
    /// Jwt (default), or Opaque: the token service is asked about it.
    #[serde(default)]
    pub(in crate::commands) form: TokenForm,
    /// Whether the token service says that an opaque token is active.
    #[serde(default = "yes")]
    pub(in crate::commands) active: bool,
    /// Claims beside or in place of `iss`, `iat`, `exp` and `jti`; null leaves one out.
    #[serde(default)]
    pub(in crate::commands) claims: Map<String, Value>,
    /// Members of the JOSE header beside or in place of `alg`, `kid` and `typ`; null leaves one out.
    #[serde(default)]
    pub(in crate::commands) header: Map<String, Value>,
    /// How long ago it was issued, e.g. `10m`; `0s` when left out.
    #[serde(default = "zero")]
    pub(in crate::commands) age: String,
    /// How long it counts from then on, e.g. `5m` (default).
    #[serde(default = "five_minutes")]
    pub(in crate::commands) lifetime: String,
}

/// What a caller has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub(in crate::commands) enum TokenForm {
    #[default]
    Jwt,
    Opaque,
}

/// What is expected, in the words of decision records. What is left out may be anything.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(in crate::commands) struct ExpectSpec {
    /// `permit` or `deny`.
    pub(in crate::commands) outcome: OutcomeSpec,
    /// Reason code, e.g. `insufficient_scope`.
    #[serde(default)]
    pub(in crate::commands) reason: Option<String>,
    /// Status of the answer.
    #[serde(default)]
    pub(in crate::commands) status: Option<u16>,
    /// `namespace/name` of the ApiRoute.
    #[serde(default)]
    pub(in crate::commands) route: Option<String>,
    /// Rule within it.
    #[serde(default)]
    pub(in crate::commands) rule: Option<String>,
    /// What the application sees.
    #[serde(default)]
    pub(in crate::commands) upstream: UpstreamSpec,
    /// What the client gets.
    #[serde(default)]
    pub(in crate::commands) answer: AnswerSpec,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::commands) enum OutcomeSpec {
    Permit,
    Deny,
}

/// The request as the application sees it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub(in crate::commands) struct UpstreamSpec {
    /// Path and query.
    #[serde(default)]
    pub(in crate::commands) path: Option<String>,
    /// Header fields; null: there is no such field.
    #[serde(default)]
    pub(in crate::commands) headers: BTreeMap<String, Option<String>>,
    /// Claims of the JWT in `Authorization`; null: there is no such claim.
    #[serde(default)]
    pub(in crate::commands) claims: Map<String, Value>,
}

/// The answer as the client gets it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub(in crate::commands) struct AnswerSpec {
    /// Header fields; null: there is no such field.
    #[serde(default)]
    pub(in crate::commands) headers: BTreeMap<String, Option<String>>,
}

/// A document, and where its cases stand.
pub(in crate::commands) struct Suite {
    pub(in crate::commands) name: String,
    pub(in crate::commands) spec: TestSpec,
    /// Of each case.
    pub(in crate::commands) places: Vec<Place>,
    /// Of the document.
    pub(in crate::commands) place: Place,
}

impl OutcomeSpec {
    pub(in crate::commands) fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Deny => "deny",
        }
    }
}

/// Reads a document; `None` for one of another group. Each fault has its place.
pub(in crate::commands) fn read(file: &str, document: &Located) -> Option<Result<Suite, Vec<String>>> {
    let value = document.value();
    let place = |path: &str| Place { file: file.to_owned(), position: document.locate(path) };
    let text = |member: &str| value.get(member).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let is_ours = version.split('/').next() == Some(GROUP) || kind == KIND;
    if !is_ours {
        return None;
    }
    if (version, kind) != (API_VERSION, KIND) {
        let path = if version == API_VERSION { "kind" } else { "apiVersion" };
        let known = format!("this version of Portreeve reads {KIND} of {API_VERSION}");
        return Some(Err(vec![format!("{}: {kind} of {version} is unknown; {known}", place(path))]));
    }
    let schema = inlined_schema();
    Some(match read_strictly::<PolicyTest>(&value, &schema) {
        Ok(PolicyTest { metadata, spec }) => {
            let places = (0..spec.cases.len()).map(|i| place(&format!("spec.cases[{i}]"))).collect();
            Ok(Suite { name: metadata.name, spec, places, place: place("spec.pod") })
        }
        Err(faults) => {
            let told =
                faults.into_iter().map(|fault| format!("{}: {}: {}", place(&fault.path), fault.path, fault.message));
            Err(told.collect())
        }
    })
}

/// The schema without references, as suggestions are looked up by paths.
fn inlined_schema() -> Value {
    let mut settings = schemars::generate::SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let schema = settings.into_generator().into_root_schema_for::<PolicyTest>();
    serde_json::to_value(schema).unwrap_or_default()
}

/// For editors.
pub(in crate::commands) fn schema() -> Value {
    serde_json::to_value(schema_for!(PolicyTest)).unwrap_or_default()
}

fn default_time() -> String {
    "2026-01-07T12:00:00Z".to_owned()
}

fn default_namespace() -> String {
    "default".to_owned()
}

fn default_address() -> String {
    "192.0.2.1".to_owned()
}

fn get() -> String {
    "GET".to_owned()
}

fn zero() -> String {
    "0s".to_owned()
}

fn five_minutes() -> String {
    "5m".to_owned()
}

fn once() -> u32 {
    1
}

fn yes() -> bool {
    true
}
