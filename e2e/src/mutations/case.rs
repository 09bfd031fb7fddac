//! The inputs: golden inputs, alone and beside neighbors that let everybody in.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use portreeve_compiler::{
    Compiled, Discovered, DiscoveredEndpoints, MtlsAliases, Options, SigningKey, compile, manifest::Manifests,
};
use portreeve_policy::{AddressRange, KeySet, NamespacedName, Secret, SecretName};
use serde_json::{Value, json};

use super::judge::KEY_X;

const OPTIONS: Options = Options { allow_http: false, addresses: AddressRange::Public };

/// A set of documents that the compiler takes.
pub struct Case {
    /// File and variant.
    pub name: String,
    /// Documents of the project's own kinds and of Kubernetes.
    pub(super) documents: Vec<Value>,
    /// Documents of the tests alone: what the operator would have fetched or made.
    around: Vec<Value>,
}

/// What a set of documents compiles to.
pub(super) struct Made {
    pub(super) compiled: Compiled,
    /// Every fault and every error, in words.
    pub(super) faults: Vec<String>,
}

/// Every golden input that is valid text, in three variants.
pub fn cases(folder: &Path) -> Result<Vec<Case>> {
    let mut found = Vec::new();
    let mut paths: Vec<_> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(name) = name.strip_suffix(".in.yaml") else { continue };
        // Their documents are broken on purpose.
        if name.starts_with("file-") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).with_context(|| path.display().to_string())?;
        let (around, documents): (Vec<_>, Vec<_>) =
            documents.into_iter().filter(|document| !document.is_null()).partition(is_around);
        let case = |variant: &str, more: Vec<Value>| Case {
            name: format!("{name}{variant}"),
            documents: documents.iter().cloned().chain(more).collect(),
            around: around.clone(),
        };
        let pods = || pods(&documents);
        found.push(case("", Vec::new()));
        found.push(case(" beside an open site", pods().iter().flat_map(open_site).collect()));
        found.push(case(" under open defaults", pods().iter().map(|(namespace, _)| open_default(namespace)).collect()));
    }
    Ok(found)
}

fn is_around(document: &Value) -> bool {
    ["Discovered", "Fleet", "SigningKey"].iter().any(|kind| document.get("kind").is_some_and(|found| found == kind))
}

/// Namespace and labels of every pod, one of each namespace.
fn pods(documents: &[Value]) -> Vec<(String, Value)> {
    let mut found: Vec<(String, Value)> = Vec::new();
    for pod in documents.iter().filter(|document| document.get("kind").is_some_and(|kind| kind == "Pod")) {
        let namespace = pod.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
        let labels = pod.pointer("/metadata/labels").cloned().unwrap_or_default();
        if !found.iter().any(|(known, _)| known == namespace) {
            found.push((namespace.to_owned(), labels));
        }
    }
    found
}

fn open_site((namespace, labels): &(String, Value)) -> Vec<Value> {
    let route = |name: &str, hostnames: Value, matches: Value| {
        json!({
            "apiVersion": "portreeve.dev/v1alpha1", "kind": "ApiRoute",
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": "2026-12-01T00:00:00Z"},
            "spec": {
                "workloadSelector": {"matchLabels": labels}, "hostnames": hostnames, "upstream": {"port": 8080},
                "rules": [{"name": "everything", "matches": matches}],
            },
        })
    };
    let any = json!([
        {"path": {"type": "PathPrefix", "value": "/"}}, {"path": {"type": "Template", "value": "/{a}/{b}"}},
        {"path": {"type": "Template", "value": "/{a}"}, "methods": ["POST"]},
    ]);
    let policy = |name: &str| {
        json!({
            "apiVersion": "portreeve.dev/v1alpha1", "kind": "ApiPolicy",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "targetRefs": [{"kind": "ApiRoute", "name": name}],
                "authentication": {"anonymous": {}},
            },
        })
    };
    vec![
        route("zz-site", json!([]), any.clone()),
        policy("zz-site"),
        route("zz-host", json!(["orders.example.com"]), any.clone()),
        policy("zz-host"),
        route("zz-hosts", json!(["*.example.com"]), any),
        policy("zz-hosts"),
    ]
}

fn open_default(namespace: &str) -> Value {
    json!({
        "apiVersion": "portreeve.dev/v1alpha1", "kind": "ApiPolicy",
        "metadata": {"name": "zz-open", "namespace": namespace, "creationTimestamp": "2026-12-01T00:00:00Z"},
        "spec": {
            "targetRefs": [{"group": "", "kind": "Namespace", "name": namespace}],
            "authentication": {"anonymous": {}},
        },
    })
}

impl Case {
    /// The documents as one text; JSON is YAML.
    pub(super) fn text(&self) -> String {
        text(self.documents.iter())
    }

    /// Compiles a text in place of the case's own.
    pub(super) fn compile(&self, text: &str) -> Result<Made> {
        let mut manifests = Manifests::default();
        manifests.read("case.yaml", text);
        for document in &self.around {
            surround(&mut manifests, document)?;
        }
        let compiled = compile(&manifests.inventory, OPTIONS);
        let errors = compiled.diagnostics.iter().filter(|found| found.severity == portreeve_compiler::Severity::Error);
        let faults = manifests.faults.iter().map(|fault| fault.message.clone());
        let faults = faults.chain(errors.map(ToString::to_string)).collect();
        Ok(Made { compiled, faults })
    }
}

/// Documents as one text.
pub(super) fn text<'a>(documents: impl Iterator<Item = &'a Value>) -> String {
    documents.map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
}

/// What the operator would have fetched or made.
fn surround(manifests: &mut Manifests, document: &Value) -> Result<()> {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let namespace = text("/metadata/namespace").unwrap_or_else(|| "default".to_owned());
    if document.get("kind").is_some_and(|kind| kind == "SigningKey") {
        let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "gw-1", "x": KEY_X}]});
        let object = NamespacedName::new(&namespace, "portreeve-signing")?;
        let key = SigningKey {
            name: SecretName::new(object, "gw-1")?,
            key_id: "gw-1".to_owned(),
            issuer: format!("urn:portreeve:{namespace}"),
            private_key: Secret::new(b"none".to_vec()),
            published: KeySet::parse(set.to_string().as_bytes())?.0,
        };
        manifests.inventory.signing_keys.insert(namespace, Arc::new(key));
    } else if document.get("kind").is_some_and(|kind| kind == "Discovered") {
        let name = NamespacedName::new(&namespace, &text("/metadata/name").unwrap_or_default())?;
        let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "ed-1", "x": KEY_X}]});
        let keys = document.get("keys").map(|_| KeySet::parse(set.to_string().as_bytes())).transpose()?;
        let endpoints = DiscoveredEndpoints {
            introspection: text("/endpoints/introspection"),
            registration: text("/endpoints/registration"),
            token: text("/endpoints/token"),
            jwks: text("/endpoints/jwks"),
            mtls: MtlsAliases {
                introspection: text("/endpoints/mtls/introspection"),
                token: text("/endpoints/mtls/token"),
            },
        };
        let keys = keys.map(|(set, _)| set);
        let found = Discovered { endpoints, keys, left_out: Vec::new(), fault: text("/fault") };
        manifests.inventory.discovered.insert(name, Arc::new(found));
    }
    Ok(())
}
