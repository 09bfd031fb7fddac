//! The samples that people copy are correct, and what they compile to is known: `e2e/testdata/samples.out.yaml`.
//! With `PORTREEVE_GOLDEN=write` the output is written anew; the diff is for a person to read.
#![cfg(test)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use portreeve_compiler::{
    Discovered, DiscoveredEndpoints, FleetView, Options, PodView, compile, manifest::Manifests, statuses,
};
use portreeve_policy::{AddressRange, KeySet, NamespacedName};
use serde_json::{Map, Value, json};

/// As the demo runs it: a token service on this machine.
const OPTIONS: Options = Options { allow_http: true, addresses: AddressRange::PrivateAndPublic };

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn yaml_files(folder: &str) -> BTreeMap<String, String> {
    let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let yaml = entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    yaml.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap()))
        .collect()
}

/// What the operator would have fetched from the token service.
fn discovered() -> Discovered {
    let key =
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed-1", "x": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"});
    let endpoint = |path: &str| Some(format!("http://127.0.0.1:9410{path}"));
    Discovered {
        endpoints: DiscoveredEndpoints {
            introspection: endpoint("/token/introspection"),
            registration: endpoint("/reg"),
            token: endpoint("/token"),
            jwks: endpoint("/jwks"),
            mtls: portreeve_compiler::MtlsAliases::default(),
        },
        keys: Some(KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes()).unwrap().0),
        left_out: Vec::new(),
        fault: None,
    }
}

/// With members in the order of their names, whatever order the JSON library keeps.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            Value::Object(members.into_iter().collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => scalar,
    }
}

fn output() -> String {
    let mut manifests = Manifests::default();
    for (name, text) in yaml_files("manifests/samples") {
        assert!(manifests.read(&name, &text), "{name}");
    }
    let around = fs::read_to_string(root().join("e2e/testdata/samples.around.yaml")).unwrap();
    manifests.read("samples.around.yaml", &around);
    let service = NamespacedName::new("default", "login").unwrap();
    manifests.inventory.discovered.insert(service, Arc::new(discovered()));
    let compiled = compile(&manifests.inventory, OPTIONS);

    let mut fleet = FleetView::default();
    let mut snapshots = Map::new();
    for (pod, snapshot) in &compiled.snapshots {
        let current: BTreeSet<_> = snapshot.routes.keys().cloned().collect();
        fleet.pods.insert(pod.clone(), PodView { current, rejected: BTreeMap::new() });
        let routes: Map<_, _> = snapshot.routes.iter().map(|(name, route)| (name.to_string(), json!(route))).collect();
        let services: Map<_, _> = snapshot.token_services.iter().map(|(n, s)| (n.to_string(), json!(s))).collect();
        let secrets: Vec<_> = snapshot.secrets.keys().map(ToString::to_string).collect();
        let parts = json!({ "routes": routes, "tokenServices": services, "secrets": secrets });
        snapshots.insert(pod.to_string(), parts);
    }
    let mut told = Map::new();
    for (object, status) in statuses(&compiled, &fleet) {
        let lines = status.conditions.iter().map(|c| format!("{} {:?} {} {}", c.kind, c.status, c.reason, c.message));
        told.insert(object.to_string(), lines.map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().into());
    }
    let faults: Vec<_> = manifests.faults.iter().map(ToString::to_string).collect();
    let diagnostics: Vec<_> = compiled.diagnostics.iter().map(ToString::to_string).collect();
    let all = json!({ "snapshots": snapshots, "statuses": told, "faults": faults, "diagnostics": diagnostics });
    serde_saphyr::to_string(&sorted(all)).unwrap()
}

#[test]
fn samples_compile_to_the_golden_output() {
    let path = root().join("e2e/testdata/samples.out.yaml");
    let found = output();
    if std::env::var_os("PORTREEVE_GOLDEN").is_some_and(|value| value == "write") {
        fs::write(&path, &found).unwrap();
    }
    assert!(!found.contains("c4n4ry"), "a secret's value stands in the output");
    let held = fs::read_to_string(&path).unwrap_or_default();
    assert!(held == found, "e2e/testdata/samples.out.yaml is stale: run with PORTREEVE_GOLDEN=write, read the diff");
}

#[test]
fn samples_have_neither_faults_nor_diagnostics() {
    let told: Value = serde_saphyr::from_str(&output()).unwrap();
    assert_eq!((&told["faults"], &told["diagnostics"]), (&json!([]), &json!([])));
    for (object, lines) in told["statuses"].as_object().unwrap() {
        let ready = lines.as_array().unwrap().iter().any(|line| line.as_str().unwrap().starts_with("Ready True"));
        assert!(ready, "{object}: {lines}");
    }
}

#[test]
fn no_manifest_holds_a_secret() {
    for folder in ["manifests/samples", "manifests/cluster"] {
        for (name, text) in yaml_files(folder) {
            assert!(!text.contains("kind: Secret"), "{folder}/{name}: Secrets are made by whoever runs it");
        }
    }
}

#[test]
fn the_chart_holds_the_definitions() {
    let generated = yaml_files("crds");
    assert_eq!(generated.len(), 4);
    assert!(
        yaml_files("charts/portreeve/files/crds") == generated,
        "charts/portreeve/files/crds is stale: copy crds/*.yaml into it"
    );
}
