//! The iron rules of docs/architecture.md, over `cargo metadata` and the sources: who may use whom, which crates stay
//! out, how long a file may be.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on shall say so by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Normal dependencies of every package of the tree.
struct Tree {
    direct: BTreeMap<String, BTreeSet<String>>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn tree() -> Tree {
    let arguments = ["metadata", "--format-version=1", "--filter-platform=x86_64-unknown-linux-gnu"];
    let metadata: Value = serde_json::from_str(&cargo(&arguments)).unwrap();
    let mut names = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap().to_owned();
        names.insert(package["id"].as_str().unwrap().to_owned(), name);
    }
    let mut direct: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        let name = names[node["id"].as_str().unwrap()].clone();
        let normal = |dep: &&Value| dep["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null());
        let deps = node["deps"].as_array().unwrap().iter().filter(normal);
        direct.entry(name).or_default().extend(deps.map(|dep| names[dep["pkg"].as_str().unwrap()].clone()));
    }
    Tree { direct }
}

/// Everything below a crate of ours when it is built alone: features that another crate switches on do not count.
fn below(folder: &str) -> BTreeSet<String> {
    let package = format!("portreeve-{folder}");
    let lines = cargo(&["tree", "-p", &package, "-e", "normal", "--prefix", "none", "--format", "{p}"]);
    let names = lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned);
    let found: BTreeSet<_> = names.filter(|name| *name != package).collect();
    assert!(!found.is_empty(), "cargo tree says nothing of {package}");
    found
}

/// What is built at all, on this platform.
fn built() -> BTreeMap<String, BTreeSet<String>> {
    let lines = cargo(&["tree", "--workspace", "-e", "normal,build", "--prefix", "none", "--format", "{p}"]);
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in lines.lines() {
        if let Some((name, rest)) = line.split_once(" v") {
            let version = rest.split(' ').next().unwrap_or_default();
            found.entry(name.to_owned()).or_default().insert(version.to_owned());
        }
    }
    found
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

impl Tree {
    fn ours(&self, folder: &str) -> BTreeSet<String> {
        let deps = self.direct.get(&format!("portreeve-{folder}")).into_iter().flatten();
        deps.filter_map(|dep| dep.strip_prefix("portreeve-").map(str::to_owned)).collect()
    }
}

#[test]
fn each_crate_uses_only_the_layers_below_it() {
    let tree = tree();
    for (folder, allowed) in [
        ("policy", &[][..]),
        ("crds", &[]),
        ("registration", &[]),
        ("wire", &["policy"]),
        ("compiler", &["crds", "policy"]),
        ("proxy", &["policy", "wire"]),
        ("operator", &["crds", "policy", "wire", "compiler", "registration"]),
        ("cli", &["crds", "policy", "wire", "compiler", "registration", "proxy"]),
    ] {
        let allowed: BTreeSet<_> = allowed.iter().map(|name| (*name).to_owned()).collect();
        let used = tree.ours(folder);
        assert!(used.is_subset(&allowed), "{folder} uses {:?}", used.difference(&allowed));
    }
}

#[test]
fn the_proxy_does_not_know_kubernetes_and_the_operator_no_proxy() {
    let proxy = below("proxy");
    for banned in ["kube", "kube-core", "kube-client", "k8s-openapi", "portreeve-crds", "portreeve-compiler"] {
        assert!(!proxy.contains(banned), "proxy reaches {banned}");
    }
    assert!(!below("operator").contains("portreeve-proxy"));
}

#[test]
fn the_pure_crates_have_no_runtime_and_no_transport() {
    for folder in ["policy", "crds", "compiler", "registration"] {
        let below = below(folder);
        for banned in ["tokio", "async-std", "hyper", "tonic", "reqwest", "kube-client"] {
            assert!(!below.contains(banned), "{folder} reaches {banned}");
        }
    }
    for banned in ["prost", "kube", "kube-core"] {
        assert!(!below("policy").contains(banned), "policy reaches {banned}");
    }
}

#[test]
fn tonic_kube_clap_and_anyhow_stay_where_they_belong() {
    let tree = tree();
    let users = |dep: &str| -> BTreeSet<&str> {
        let uses = |(_, deps): &(&String, &BTreeSet<String>)| deps.contains(dep);
        let ours = tree.direct.iter().filter(uses).filter_map(|(name, _)| name.strip_prefix("portreeve-"));
        ours.filter(|folder| !matches!(*folder, "e2e" | "bench")).collect()
    };
    assert_eq!(users("tonic"), BTreeSet::from(["operator", "proxy", "wire"]));
    assert!(users("clap").is_subset(&BTreeSet::from(["cli", "operator", "proxy"])));
    assert!(users("anyhow").is_subset(&BTreeSet::from(["cli", "operator", "proxy"])));
    assert!(users("kube-client").is_empty(), "the client comes through kube");
    for folder in ["compiler", "crds", "policy", "registration", "wire", "proxy"] {
        assert!(!below(folder).contains("kube-client"), "{folder} reaches the cluster's client");
    }
    assert!(users("portreeve-e2e").is_empty() && users("portreeve-bench").is_empty());
}

#[test]
fn versions_with_known_faults_and_unkept_crates_stay_out() {
    let built = built();
    for banned in [
        "ring",
        "rsa",
        "openssl-sys",
        "native-tls",
        "serde_yaml",
        "serde_yml",
        "backoff",
        "bincode",
        "rustls-pemfile",
        "josekit",
    ] {
        assert!(!built.contains_key(banned), "{banned} is in the tree");
    }
    for (name, floor) in [
        ("h2", [0, 4, 16]),
        ("rustls-webpki", [0, 103, 13]),
        ("jsonwebtoken", [10, 3, 0]),
        ("regex", [1, 5, 5]),
        ("time", [0, 3, 47]),
    ] {
        for version in built.get(name).into_iter().flatten() {
            let parts: Vec<u32> = version.split(['.', '-', '+']).take(3).map(|part| part.parse().unwrap()).collect();
            assert!(parts.as_slice() >= floor.as_slice(), "{name} {version} is below {floor:?}");
        }
    }
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<_> = ["policy", "crds", "wire", "compiler", "registration", "operator", "proxy", "cli", "e2e"]
        .iter()
        .map(|folder| root().join(folder).join("src"))
        .collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn no_source_file_is_longer_than_its_budget() {
    let mut long = Vec::new();
    for path in sources().iter().filter(|path| !path.ends_with("tests.rs")) {
        let text = fs::read_to_string(path).unwrap();
        let lines = text.split("#[cfg(test)]").next().unwrap_or_default().lines().count();
        if lines > 400 {
            long.push(format!("{}: {lines}", path.display()));
        }
    }
    assert_eq!(long, Vec::<String>::new(), "a noun is missing: split by it");
}

/// What a module of the proxy never uses: what lies above it. `bounds.rs` lists the bounds of all, and is above them.
const ABOVE: [(&str, &[&str]); 6] = [
    ("authn", &["admin", "app", "authz", "pipeline", "sync", "transport"]),
    ("authz", &["admin", "app", "pipeline", "sync", "transport"]),
    ("bulkhead", &["admin", "app", "authn", "authz", "pipeline", "sync", "transport"]),
    ("outbound", &["admin", "app", "authn", "authz", "pipeline", "sync", "transport"]),
    ("pipeline", &["admin", "app", "sync"]),
    ("sync", &["admin", "app", "authn", "authz", "transport"]),
];

#[test]
fn each_module_of_the_proxy_uses_only_what_lies_below_it() {
    let mut strays = Vec::new();
    for path in sources() {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let Some(inner) = name.strip_prefix("proxy/src/") else { continue };
        let module = inner.split(['/', '.']).next().unwrap();
        let Some((_, above)) = ABOVE.iter().find(|(known, _)| *known == module) else { continue };
        let text = fs::read_to_string(&path).unwrap();
        strays.extend(used(&text).intersection(&above.iter().copied().collect()).map(|used| format!("{name}: {used}")));
    }
    assert_eq!(strays, Vec::<String>::new());
}

/// Modules of the crate's root that a text names: `crate::authn` and `use crate::{authn::…, clock}`.
fn used(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            found.extend(rest.split(|c: char| !c.is_alphanumeric() && c != '_').next());
            continue;
        };
        let (mut depth, mut begin) = (0, true);
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begin = true,
                _ if begin && depth == 0 && (c.is_alphanumeric() || c == '_') => {
                    found.extend(
                        list.get(at..).unwrap_or_default().split(|c: char| !c.is_alphanumeric() && c != '_').next(),
                    );
                    begin = false;
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn the_scan_for_modules_finds_every_form() {
    let text = "use crate::{\n    authn::{Caller, keys::Key},\n    clock,\n    pipeline::{self, x},\n};\nlet a = crate::sync::b;";
    assert_eq!(used(text), BTreeSet::from(["authn", "clock", "pipeline", "sync"]));
}

#[test]
fn generated_messages_stop_at_the_two_ends_of_the_stream() {
    let mut strays = Vec::new();
    for path in sources() {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let outside =
            !["wire/", "proxy/src/sync", "operator/src/distribute"].iter().any(|place| name.starts_with(place));
        if outside && fs::read_to_string(&path).unwrap().contains("portreeve_wire::proto") {
            strays.push(name);
        }
    }
    assert_eq!(strays, Vec::<String>::new());
}
