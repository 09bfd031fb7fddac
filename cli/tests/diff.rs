//! `portreeve diff` as people and pipelines run it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

const MANIFESTS: &str = "apiVersion: portreeve.dev/v1alpha1
kind: TokenService
metadata: {name: login, namespace: shop}
spec: {issuer: \"https://login.example.com\"}
---
apiVersion: portreeve.dev/v1alpha1
kind: ApiRoute
metadata: {name: orders, namespace: shop}
spec:
  workloadSelector: {matchLabels: {app: orders}}
  hostnames: [orders.example.com]
  upstream: {port: 8080}
  rules:
  - name: admin
    matches: [{path: {type: PathPrefix, value: /orders/admin}}]
  - name: read
    matches: [{path: {type: PathPrefix, value: /orders}, methods: [GET]}]
---
apiVersion: portreeve.dev/v1alpha1
kind: ApiPolicy
metadata: {name: orders, namespace: shop}
spec:
  targetRefs: [{kind: ApiRoute, name: orders}]
  authentication: {anyOf: [{jwt: {tokenServiceRef: {name: login}, audiences: [a, b], maxTokenAge: 30m}}]}
  authorization: {clientAddresses: {allow: [192.0.2.0/24, 198.51.100.0/24]}}
  limits: {rateLimits: [{name: each, key: [{type: Application}], rates: [{requests: 10, per: Minute}]}]}
---
apiVersion: portreeve.dev/v1alpha1
kind: ApiPolicy
metadata: {name: admin, namespace: shop}
spec:
  targetRefs: [{kind: ApiRoute, name: orders, sectionName: admin}]
  authorization: {scopes: {allOf: [read, admin]}}
";

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("diff").join(name);
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn portreeve(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portreeve")).arg("diff").args(arguments).current_dir(folder).output().unwrap()
}

/// Exit code and text for one edit of the manifests; made, or undone.
fn edited(name: &str, from: &str, to: &str, is_undone: bool) -> (Option<i32>, String) {
    assert!(MANIFESTS.contains(from), "{from}");
    let folder = folder(name);
    fs::write(folder.join("a.yaml"), MANIFESTS).unwrap();
    fs::write(folder.join("b.yaml"), MANIFESTS.replace(from, to)).unwrap();
    let (before, after) = if is_undone { ("b.yaml", "a.yaml") } else { ("a.yaml", "b.yaml") };
    let output = portreeve(&folder, &[before, after]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn what_is_demanded_less_is_more_open_and_what_is_demanded_more_is_more_closed() {
    for (name, from, to, word) in [
        ("scope", "allOf: [read, admin]", "allOf: [read]", "authorization.scopes"),
        (
            "any",
            "scopes: {allOf: [read, admin]}",
            "scopes: {allOf: [read], anyOf: [admin, root]}",
            "authorization.scopes",
        ),
        ("age", "maxTokenAge: 30m", "maxTokenAge: 2h", "authentication"),
        ("no-age", ", maxTokenAge: 30m", "", "authentication"),
        ("rate", "requests: 10,", "requests: 11,", "limits"),
        ("no-rate", "rateLimits: [{name: each,", "rateLimits: [{name: other,", "limits"),
        (
            "anonymous",
            "authentication: {anyOf: [{jwt: {tokenServiceRef: {name: login}, audiences: [a, b], maxTokenAge: 30m}}]}\n  authorization: {clientAddresses: {allow: [192.0.2.0/24, 198.51.100.0/24]}}\n  limits: {rateLimits: [{name: each, key: [{type: Application}]",
            "authentication: {anonymous: {}}\n  authorization: {clientAddresses: {allow: [192.0.2.0/24, 198.51.100.0/24]}}\n  limits: {rateLimits: [{name: each, key: [{type: ClientAddress}]",
            "nobody is asked any more",
        ),
        (
            "range",
            "192.0.2.0/24, 198.51.100.0/24",
            "192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24",
            "authorization.clientAddresses",
        ),
        ("audiences", "audiences: [a, b]", "audiences: [a, b, c]", "authentication"),
        (
            "other-service",
            "issuer: \"https://login.example.com\"",
            "issuer: \"https://elsewhere.example.com\"",
            "TokenService shop/login",
        ),
    ] {
        let (code, text) = edited(name, from, to, false);
        assert_eq!((code, text.contains("more open ")), (Some(11), true), "{name}: {text}");
        assert!(text.contains(word), "{name}: {text}");
    }
    for (name, from, to) in [
        ("u-scope", "allOf: [read, admin]", "allOf: [read]"),
        ("u-age", "maxTokenAge: 30m", "maxTokenAge: 2h"),
        ("u-rate", "requests: 10,", "requests: 11,"),
        ("u-range", "192.0.2.0/24, 198.51.100.0/24", "192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24"),
        ("u-audiences", "audiences: [a, b]", "audiences: [a, b, c]"),
    ] {
        let (code, text) = edited(name, from, to, true);
        assert_eq!(code, Some(10), "{name}: {text}");
        assert!(text.ends_with("in all: more closed\n"), "{name}: {text}");
    }
}

#[test]
fn what_a_rule_leaves_to_a_broader_one_is_more_open() {
    // Without the rule its requests fall to the one that demands less.
    let admin = "  - name: admin\n    matches: [{path: {type: PathPrefix, value: /orders/admin}}]\n";
    let fall = |name: &str, is_undone| {
        let folder = folder(name);
        let (policy, _) = MANIFESTS
            .split_once("---\napiVersion: portreeve.dev/v1alpha1\nkind: ApiPolicy\nmetadata: {name: admin")
            .unwrap();
        fs::write(folder.join("a.yaml"), MANIFESTS).unwrap();
        fs::write(folder.join("b.yaml"), policy.replace(admin, "")).unwrap();
        let (before, after) = if is_undone { ("b.yaml", "a.yaml") } else { ("a.yaml", "b.yaml") };
        let output = portreeve(&folder, &[before, after]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, text) = fall("fall", false);
    assert_eq!(code, Some(11), "{text}");
    assert!(text.contains("rule admin of ApiRoute shop/orders: it no longer matches"), "{text}");
    assert!(text.contains("authorization.scopes is not demanded any more"), "{text}");
    // The other way round it opens methods that the broader one does not have.
    let (code, text) = fall("rise", true);
    assert_eq!(code, Some(11), "{text}");
    assert!(text.contains("rule admin of ApiRoute shop/orders: it matches"), "{text}");
    let get = "value: /orders/admin}}";
    let (code, text) = edited("methods", get, "value: /orders/admin}, methods: [GET]}", true);
    assert_eq!(code, Some(11), "{text}");
    let (code, text) = edited("new", "methods: [GET]", "methods: [GET, POST]", false);
    assert_eq!(code, Some(11), "{text}");
    let (code, text) =
        edited("host", "hostnames: [orders.example.com]", "hostnames: [orders.example.com, b.example.com]", false);
    assert_eq!(code, Some(11), "{text}");
}

#[test]
fn what_is_no_matter_of_access_is_changed_and_nothing_is_the_same() {
    assert_eq!(edited("same", "name: login", "name: login", false), (Some(0), "in all: the same\n".to_owned()));
    let (code, text) = edited("upstream", "upstream: {port: 8080}", "upstream: {port: 8081}", false);
    assert_eq!(code, Some(10), "{text}");
    assert!(text.ends_with("in all: changed\n"), "{text}");
    let (code, text) = edited("renamed", "name: read\n", "name: readers\n", false);
    assert_eq!(code, Some(10), "{text}");
    // What is at fault refuses, and opens when it is cured.
    let broken = |is_undone| edited("broken", "allOf: [read, admin]", "allOff: [read, admin]", is_undone);
    let (code, text) = broken(false);
    assert_eq!(code, Some(10), "{text}");
    assert!(text.contains("errors close what they cover"), "{text}");
    assert_eq!(broken(true).0, Some(11));
}

#[test]
fn a_client_that_gains_access_is_more_open() {
    let access = "apiVersion: portreeve.dev/v1alpha1
kind: ClientRegistration
metadata: {name: app, namespace: shop}
spec:
  tokenServiceRef: {name: login}
  credentialsSecretName: app
  metadata: {clientName: app, grantTypes: [client_credentials], scope: \"SCOPE\"}
";
    let folder = folder("clients");
    fs::write(folder.join("a.yaml"), format!("{MANIFESTS}---\n{}", access.replace("SCOPE", "one"))).unwrap();
    fs::write(folder.join("b.yaml"), format!("{MANIFESTS}---\n{}", access.replace("SCOPE", "two three"))).unwrap();
    let output = portreeve(&folder, &["a.yaml", "b.yaml", "--output", "json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        value["clients"][0],
        serde_json::json!({"client": "shop/app", "gains": ["three", "two"], "loses": ["one"]})
    );
    assert_eq!((&value["verdict"], output.status.code()), (&Value::from("more open"), Some(11)));
}

#[test]
fn revisions_of_git_are_compared() {
    let folder = folder("git");
    let git = |arguments: &[&str]| {
        let set = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"];
        let done = Command::new("git").args(set).args(arguments).current_dir(&folder).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    git(&["init", "-q"]);
    fs::create_dir(folder.join("deploy")).unwrap();
    fs::write(folder.join("deploy/all.yaml"), MANIFESTS).unwrap();
    git(&["add", "."]);
    git(&["commit", "-qm", "one"]);
    fs::write(folder.join("deploy/all.yaml"), MANIFESTS.replace("[read, admin]", "[read]")).unwrap();
    assert_eq!(portreeve(&folder, &["git:HEAD:deploy", "deploy"]).status.code(), Some(11));
    assert_eq!(portreeve(&folder, &["git:HEAD:deploy", "git:HEAD"]).status.code(), Some(0));
    for (source, wanted) in [
        ("git:nothing:deploy", "git:nothing:deploy"),
        ("git:HEAD:nowhere", "no manifest below nowhere"),
        ("git:--help:deploy", "is no revision"),
        ("nowhere", "nowhere"),
    ] {
        let output = portreeve(&folder, &[source, "deploy"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(wanted), "{source}: {told}");
        assert_eq!(output.status.code(), Some(2), "{source}: {told}");
    }
}

#[test]
fn the_page_shows_what_is_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/diff.md")).unwrap();
    let folder = folder("page");
    for file in fs::read_dir(root.join("manifests/samples")).unwrap() {
        let file = file.unwrap();
        let text = fs::read_to_string(file.path()).unwrap().replace("[\"invoices:read\"]", "[\"orders:read\"]");
        fs::write(folder.join(file.file_name()), text).unwrap();
    }
    let output = portreeve(&root, &["manifests/samples", &folder.display().to_string()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(page.contains(&format!("```text\n{text}```")), "{text}");
}
