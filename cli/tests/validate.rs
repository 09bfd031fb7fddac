//! `portreeve validate` as people and pipelines run it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so by panicking")]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

const ROUTE: &str = "apiVersion: portreeve.dev/v1alpha1
kind: ApiRoute
metadata: {name: orders, namespace: shop}
spec:
  workloadSelector: {matchLabels: {app: orders}}
  upstream: {port: 8080}
  rules:
  - name: read
    matches: [{path: {type: PathPrefix, value: /orders}}]
  - name: write
    matches: [{path: {type: PathPrefix, value: /orders}, methods: [POST]}]
";

const OPEN: &str = "apiVersion: portreeve.dev/v1alpha1
kind: ApiPolicy
metadata: {name: open, namespace: shop}
spec:
  targetRefs: [{kind: ApiRoute, name: orders}]
  authentication: {anonymous: {}}
";

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn validate(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portreeve"))
        .arg("validate")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end before it read everything.
    drop(child.stdin.take().unwrap().write_all(input));
    child.wait_with_output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn every_fault_of_an_object_has_its_own_line_and_column_and_a_suggestion() {
    let text = ROUTE
        .replace("type: PathPrefix, value: /orders}}", "type: PathPrefixx, value: /orders}, methodss: [GET]}")
        .replace("  upstream", "  hostnamess: [a.example.com]\n  upstream")
        .replace("port: 8080", "port: http");
    let output = validate(&["-"], format!("{text}---\n{OPEN}").as_bytes());
    let unknown = |path: &str, near: &str| {
        format!(
            "{path}: field {path} is unknown to this version of Portreeve; correct its name, or upgrade Portreeve first; did \
             you mean {near}? [Unreadable]"
        )
    };
    let at = |place: &str, rest: &str| format!("<stdin>:{place}: error: ApiRoute shop/orders {rest}");
    let value = "unknown value \"PathPrefixx\"; allowed: Exact, PathPrefix, Template; did you mean \"PathPrefix\"?";
    let expected = [
        at("6:15", &unknown("spec.hostnamess", "hostnames")),
        at("7:20", "spec.upstream.port: \"http\" where a whole number is expected [Unreadable]"),
        at("10:29", &format!("spec.rules[0].matches[0].path.type: {value} [Unreadable]")),
        at("10:69", &unknown("spec.rules[0].matches[0].methodss", "methods")),
        "2 objects, 4 errors, 0 notes".to_owned(),
    ];
    assert_eq!(lines(&output), expected);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_only_follows_is_folded_under_its_cause_and_stays_in_json() {
    let broken = OPEN.replace("anonymous: {}", "anonymos: {}");
    let text = format!("{ROUTE}---\n{broken}");
    let output = validate(&["-"], text.as_bytes());
    let lines = lines(&output);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines.first().unwrap().contains("spec.authentication.anonymos"), "{lines:#?}");
    assert_eq!(lines.get(1..).unwrap(), ["  2 more follow from this", "2 objects, 1 error, 0 notes"]);
    let json = validate(&["-", "--output=json"], text.as_bytes());
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json.pointer("/errors").unwrap(), 3);
    let causes: Vec<_> =
        (0..3).map(|i| json.pointer(&format!("/findings/{i}/followsFrom")).unwrap().as_str()).collect();
    assert_eq!(causes, [None, Some("<stdin>:18:30"), Some("<stdin>:18:30")]);
}

#[test]
fn a_file_that_cannot_be_read_does_not_keep_the_others_from_being_checked() {
    let folder = folder("unreadable");
    fs::write(folder.join("a.yaml"), b"kind: \xff\xfe\n").unwrap();
    fs::write(folder.join("b.yaml"), ROUTE.replace("8080", "none")).unwrap();
    let missing = folder.join("nope.yaml");
    let output = validate(&[missing.to_str().unwrap(), folder.to_str().unwrap()], b"");
    let lines = lines(&output);
    assert_eq!(lines.len(), 4, "{lines:#?}");
    for (line, part) in
        lines.iter().zip(["nope.yaml: error: cannot be read", "a.yaml:1:7: error: not UTF-8", "b.yaml:6:20"])
    {
        assert!(line.contains(part), "{line}");
    }
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn an_empty_or_foreign_folder_is_a_warning_or_a_failure() {
    let folder = folder("foreign");
    for _ in 0..2 {
        let path = folder.to_str().unwrap();
        let output = validate(&[path], b"");
        assert!(
            lines(&output)
                .first()
                .unwrap()
                .ends_with("warning: no Portreeve object found; nothing was checked [NoObjects]")
        );
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(validate(&[path, "--require-objects"], b"").status.code(), Some(1));
        fs::write(folder.join("a.yaml"), "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n").unwrap();
    }
    assert_eq!(validate(&["-", "--require-objects"], format!("{ROUTE}---\n{OPEN}").as_bytes()).status.code(), Some(0));
}

#[test]
fn what_no_file_can_cure_is_a_note_and_the_samples_have_no_errors() {
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/samples");
    let output = validate(&[samples, "--profile=development"], b"");
    let lines = lines(&output);
    assert!(lines.iter().any(|line| line.contains(": note: ") && line.contains("not fetched yet")), "{lines:#?}");
    assert!(lines.last().unwrap().contains(" 0 errors"), "{lines:#?}");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(validate(&[samples], b"").status.code(), Some(1), "http without --profile");
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let file = folder("pipe").join("a.yaml");
    fs::write(&file, ROUTE.replace("8080", "none")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_portreeve"))
        .arg("validate")
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(141));
}

/// docs/validate.md: its manifest gives the output that it shows. `PORTREEVE_GOLDEN=write` writes that anew.
#[test]
fn the_page_shows_what_the_command_prints() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/validate.md");
    let text = fs::read_to_string(&page).unwrap();
    let block = |form: &str| {
        let (_, rest) = text.split_once(&format!("```{form}\n")).unwrap();
        rest.split_once("```").unwrap().0.to_owned()
    };
    let folder = folder("page");
    fs::write(folder.join("orders.yaml"), block("yaml")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_portreeve"))
        .args(["validate", "orders.yaml"])
        .current_dir(folder)
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    if std::env::var_os("PORTREEVE_GOLDEN").is_some() {
        fs::write(&page, text.replace(&block("text"), &printed)).unwrap();
        return;
    }
    assert_eq!(printed, block("text"));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn other_programs_get_each_cause_with_file_line_and_column() {
    let folder = folder("formats");
    let file = folder.join("a, 100% b.yaml");
    fs::write(&file, format!("{}---\n{OPEN}", ROUTE.replace("port: 8080", "port: 0"))).unwrap();
    let path = file.display().to_string();
    let github = validate(&["--output", "github", &path], b"");
    assert_eq!(github.status.code(), Some(1));
    let escaped = path.replace('%', "%25").replace(',', "%2C");
    let lines = lines(&github);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with(&format!("::error file={escaped},line=6,col=")), "{}", lines[0]);
    assert!(lines[0].contains("::ApiRoute shop/orders spec.upstream.port"), "{}", lines[0]);
    let sarif = validate(&["--output", "sarif", &path], b"");
    let report: serde_json::Value = serde_json::from_slice(&sarif.stdout).unwrap();
    assert_eq!(report["version"], "2.1.0");
    let result = &report["runs"][0]["results"][0];
    assert_eq!((result["level"].as_str(), report["runs"][0]["results"].as_array().unwrap().len()), (Some("error"), 1));
    let location = &result["locations"][0]["physicalLocation"];
    assert!(location["artifactLocation"]["uri"].as_str().unwrap().ends_with("/a%2C%20100%25%20b.yaml"), "{location}");
    assert_eq!(location["region"]["startLine"], 6);
    assert_eq!(result["ruleId"], report["runs"][0]["tool"]["driver"]["rules"][0]["id"]);
    let clean = validate(
        &["--output", "github", "-"],
        format!("{ROUTE}---\n{OPEN}").replace("port: 0", "port: 8080").as_bytes(),
    );
    assert_eq!(String::from_utf8_lossy(&clean.stdout), "");
    let hostile = validate(
        &["--output", "github", "-"],
        b"kind: \"ApiRoute\\n::error::forged\"\napiVersion: portreeve.dev/v1alpha1\n",
    );
    assert!(!String::from_utf8_lossy(&hostile.stdout).contains("\n::error::forged"), "{hostile:?}");
}
