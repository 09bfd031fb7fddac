//! Golden pairs: `NAME.in.yaml` holds objects, `NAME.out.yaml` the snapshots, statuses and diagnostics that follow.
//! `make golden` writes the outputs anew; the diff is for a person to read.
//!
//! Beside objects a test may hold kinds of its own: `Discovered`, what was fetched from a token service; `SigningKey`,
//! that the gateway has one in this namespace; and `Fleet`, what proxies did not acknowledge; all others did.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on shall say so by panicking")]

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, sync::Arc};

use portreeve_compiler::{
    Compiled, Discovered, DiscoveredEndpoints, FleetView, MtlsAliases, Options, PodView, SigningKey, compile,
    manifest::Manifests, statuses,
};
use portreeve_policy::{AddressRange, KeySet, NamespacedName, Secret, SecretName, Snapshot};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const OPTIONS: Options = Options { allow_http: false, addresses: AddressRange::Public };

fn cases() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(".in.yaml")?.to_owned();
            Some((name, fs::read_to_string(path).unwrap()))
        })
        .collect();
    found.sort();
    found
}

fn discovered(manifests: &mut Manifests, document: &Value) {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let name = NamespacedName::new(&text("/metadata/namespace").unwrap(), &text("/metadata/name").unwrap()).unwrap();
    let parsed =
        document.get("keys").map(|keys| KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap());
    let left_out = parsed.iter().flat_map(|(_, faults)| faults.iter().map(ToString::to_string)).collect();
    let keys = parsed.map(|(keys, _)| keys);
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
    manifests
        .inventory
        .discovered
        .insert(name, Arc::new(Discovered { endpoints, keys, left_out, fault: text("/fault") }));
}

/// The gateway's key of a namespace, as the operator would have made it.
fn signing_key(manifests: &mut Manifests, namespace: &str) {
    let coordinate = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
    let set = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "gw-1", "x": coordinate, "y": coordinate}]});
    let object = NamespacedName::new(namespace, "portreeve-signing").unwrap();
    let key = SigningKey {
        name: SecretName::new(object, "gw-1").unwrap(),
        key_id: "gw-1".to_owned(),
        issuer: format!("urn:portreeve:{namespace}"),
        private_key: Secret::new(b"c4n4ry".to_vec()),
        published: KeySet::parse(set.to_string().as_bytes()).unwrap().0,
    };
    manifests.inventory.signing_keys.insert(namespace.to_owned(), Arc::new(key));
}

/// Every pod runs its snapshot, but for what the `Fleet` document says.
fn fleet(compiled: &Compiled, document: Option<&Value>) -> FleetView {
    let mut view = FleetView::default();
    for (pod, snapshot) in &compiled.snapshots {
        let mut current: std::collections::BTreeSet<_> = snapshot.routes.keys().cloned().collect();
        let silent = document.and_then(|d| d["silent"].as_array()).into_iter().flatten().any(|p| p == &pod.to_string());
        let rejects = document.map_or(Value::Null, |d| d["rejects"][pod.to_string()].clone());
        let rejected: BTreeMap<_, _> = rejects
            .as_object()
            .into_iter()
            .flatten()
            .map(|(route, why)| (route.parse::<NamespacedName>().unwrap(), why.as_str().unwrap().to_owned()))
            .collect();
        current.retain(|route| !rejected.contains_key(route));
        if !silent {
            view.pods.insert(pod.clone(), PodView { current, rejected });
        }
    }
    view
}

fn snapshot_value(snapshot: &Snapshot) -> Value {
    let routes: Map<_, _> = snapshot.routes.iter().map(|(n, r)| (n.to_string(), json!(r))).collect();
    let services: Map<_, _> = snapshot.token_services.iter().map(|(n, s)| (n.to_string(), json!(s))).collect();
    let secrets: Vec<_> = snapshot.secrets.keys().map(ToString::to_string).collect();
    json!({ "routes": routes, "tokenServices": services, "secrets": secrets })
}

fn load(name: &str, input: &str) -> (Manifests, Compiled, Option<Value>) {
    let mut manifests = Manifests::default();
    manifests.read(&format!("{name}.in.yaml"), input);
    let mut fleet = None;
    for document in serde_saphyr::from_multiple::<Value>(input).unwrap_or_default() {
        match document["kind"].as_str() {
            Some("Discovered") => discovered(&mut manifests, &document),
            Some("Fleet") => fleet = Some(document),
            Some("SigningKey") => signing_key(&mut manifests, document["metadata"]["namespace"].as_str().unwrap()),
            _ => {}
        }
    }
    let compiled = compile(&manifests.inventory, OPTIONS);
    (manifests, compiled, fleet)
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

fn output(name: &str, input: &str) -> String {
    let (manifests, compiled, fleet_document) = load(name, input);
    let snapshots: Map<_, _> = compiled.snapshots.iter().map(|(n, s)| (n.to_string(), snapshot_value(s))).collect();
    let mut told = Map::new();
    for (object, status) in statuses(&compiled, &fleet(&compiled, fleet_document.as_ref())) {
        let mut lines = Map::new();
        if let Some(programmed) = status.programmed {
            lines.insert("programmed".to_owned(), programmed.into());
        }
        for condition in status.conditions {
            let mut text = format!("{:?} {}", condition.status, condition.reason);
            if !condition.message.is_empty() {
                write!(text, ": {}", condition.message).unwrap();
            }
            lines.insert(condition.kind.to_string(), text.into());
        }
        told.insert(object.to_string(), lines.into());
    }
    let place = |diagnostic| manifests.place(diagnostic).map_or(String::new(), |place| place.to_string());
    let diagnostics: Vec<_> =
        compiled.diagnostics.iter().map(|d| format!("{} {:?} {}: {d}", place(d), d.severity, d.reason)).collect();
    let faults: Vec<_> = manifests.faults.iter().map(ToString::to_string).collect();
    let value = json!({ "snapshots": snapshots, "statuses": told, "diagnostics": diagnostics, "faults": faults });
    serde_saphyr::to_string(&sorted(value)).unwrap()
}

#[test]
fn every_input_compiles_to_its_golden_output() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let rewrite = std::env::var_os("PORTREEVE_GOLDEN").is_some_and(|value| value == "write");
    let cases = cases();
    assert!(cases.len() >= 30, "only {} golden pairs", cases.len());
    let mut stale = Vec::new();
    for (name, input) in cases {
        let (path, found) = (folder.join(format!("{name}.out.yaml")), output(&name, &input));
        if rewrite {
            fs::write(&path, &found).unwrap();
        } else if fs::read_to_string(&path).unwrap_or_default() != found {
            stale.push(name);
        }
    }
    assert_eq!(stale, Vec::<String>::new(), "run `make golden` and read the diff");
}

/// The examples of the pages are parts of what is compiled here, apart from their indentation.
#[test]
fn examples_of_the_pages_are_tested() {
    let bare = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let inputs: Vec<_> = cases().iter().map(|(_, input)| bare(input)).collect();
    for (name, least) in
        [("authentication.md", 5), ("authorization.md", 5), ("traffic/limits.md", 2), ("traffic/cors.md", 1)]
    {
        let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)).unwrap();
        let examples: Vec<_> = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        assert!(examples.len() >= least, "{name}: only {} examples", examples.len());
        for example in examples {
            let wanted = bare(example);
            assert!(inputs.iter().any(|input| input.contains(&wanted)), "{name}: no golden input has:\n{example}");
        }
    }
}

#[test]
fn no_secret_value_reaches_any_output_s1() {
    for (name, input) in cases() {
        assert!(!output(&name, &input).contains("c4n4ry"), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_the_documents_does_not_matter(seed in any::<u64>(), which in any::<prop::sample::Index>()) {
        let cases: Vec<_> = cases().into_iter().filter(|(name, _)| !name.starts_with("file-")).collect();
        let (name, input) = which.get(&cases);
        let mut documents: Vec<&str> = input.split("\n---\n").collect();
        let (mut state, count) = (seed, documents.len());
        for i in (1..count).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let other = usize::try_from(state >> 33).unwrap() % (i + 1);
            documents.swap(i, other);
        }
        let value = |input: &str| {
            let (_, compiled, fleet_document) = load(name, input);
            let view = fleet(&compiled, fleet_document.as_ref());
            let snapshots: Vec<_> = compiled.snapshots.values().map(|s| snapshot_value(s).to_string()).collect();
            (snapshots, statuses(&compiled, &view), compiled.diagnostics)
        };
        prop_assert_eq!(value(input), value(&documents.join("\n---\n")));
    }
}
