//! `portreeve explain` for requests that nobody sent.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so by panicking")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

const POD: [&str; 2] = ["--time", "2026-01-07T12:00:00Z"];

const JWT: &str = "apiVersion: portreeve.dev/v1alpha1
kind: TokenService
metadata: {name: login, namespace: shop}
spec: {issuer: \"https://login.example.com\"}
---
apiVersion: portreeve.dev/v1alpha1
kind: ApiRoute
metadata: {name: orders, namespace: shop}
spec:
  workloadSelector: {matchLabels: {app: orders}}
  upstream: {port: 8080}
  rules:
  - name: read
    matches: [{path: {type: PathPrefix, value: /orders}}]
---
apiVersion: portreeve.dev/v1alpha1
kind: ApiRoute
metadata: {name: other, namespace: shop}
spec:
  workloadSelector: {matchLabels: {app: other}}
  upstream: {port: 8080}
  rules:
  - name: all
    matches: [{path: {type: PathPrefix, value: /other}}]
---
apiVersion: portreeve.dev/v1alpha1
kind: ApiPolicy
metadata: {name: orders, namespace: shop}
spec:
  targetRefs: [{kind: ApiRoute, name: orders}]
  authentication: {anyOf: [{jwt: {tokenServiceRef: {name: login}, audiences: [orders]}}]}
";

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn explain(request: &str, manifests: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    command.args(["explain", request, "--manifests", manifests]).args(POD).args(more).current_dir(root());
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    assert_eq!((String::from_utf8_lossy(&output.stderr), output.status.code()), ("".into(), Some(0)));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn jwt_file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("explain");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(name);
    fs::write(&file, JWT).unwrap();
    file.display().to_string()
}

#[test]
fn the_page_shows_what_is_printed() {
    let page = fs::read_to_string(root().join("docs/explain.md")).unwrap();
    let claims = r#"{"sub": "ada", "scope": "orders:read", "aud": "https://orders.example.com"}"#;
    let request = "curl -X POST https://orders.example.com/orders -d {}";
    for part in [claims, request] {
        assert!(page.contains(part), "{part}");
    }
    let output = text(&explain(request, "manifests/samples", &["--opaque", "--claims", claims]));
    assert!(page.contains(&format!("```text\n{output}```")), "{output}");
}

#[test]
fn a_jwt_of_a_command_line_is_judged_by_all_but_its_signature() {
    let file = jwt_file("jwt.yaml");
    let sent = |claims: &str| {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.c2lnbmVk", part(r#"{"alg":"RS256","kid":"theirs","typ":"at+jwt"}"#), part(claims));
        let curl = format!("curl -s https://orders.example.com/orders/7 -H 'Authorization: Bearer {token}'");
        text(&explain(&curl, &file, &[]))
    };
    let (issued, ends) = (1_767_787_000, 1_767_790_000);
    let good =
        format!(r#"{{"iss":"https://login.example.com","aud":"orders","sub":"ada","iat":{issued},"exp":{ends}}}"#);
    let story = sent(&good);
    assert!(story.contains("outcome    permit") && story.contains("caller     subject ada"), "{story}");
    assert!(story.contains("token      taken as issued by its TokenService"), "{story}");
    let story = sent(&good.replace("1767790000", "1767787100"));
    assert!(story.contains("outcome    deny: the token is expired"), "{story}");
    assert!(
        story.contains("demands    authentication: jwt of TokenService shop/login, audience orders  <- refused"),
        "{story}"
    );
    // Of an issuer that nobody knows, or without an end.
    assert!(sent(&good.replace("login.example", "evil.example")).contains("outcome    deny"));
    assert!(sent(&good.replace(",\"exp\":1767790000", "")).contains("outcome    deny"));
}

#[test]
fn the_pod_is_found_and_what_refuses_everything_is_told() {
    let file = jwt_file("pods.yaml");
    let story = text(&explain("GET https://a.test/other/1", &file, &[]));
    assert!(story.contains("matched    rule all of ApiRoute shop/other"), "{story}");
    assert!(story.contains("to pass    correct what makes the rule refuse everything: no ApiPolicy"), "{story}");
    let here = text(&explain("https://a.test/other/1", &file, &["--label", "app=orders", "--namespace", "shop"]));
    assert!(here.contains("matched    no rule of any route"), "{here}");
}

#[test]
fn what_is_no_request_is_refused_with_a_cure_and_the_code_of_misuse() {
    let file = jwt_file("misuse.yaml");
    for (request, more, wanted) in [
        ("curl --foo https://a.test/", &[][..], "option --foo is not known"),
        ("curl -H", &[], "-H needs a value"),
        ("curl -H broken https://a.test/", &[], "is no header"),
        ("curl", &[], "names no URL"),
        ("curl 'https://a.test", &[], "quote that is not closed"),
        ("/orders", &[], "has no host"),
        ("a b c", &[], "a request is a URL, METHOD URL, or a command line of curl"),
        ("https://a.test/", &["--claims", "[]"], "--claims is not a JSON object"),
        ("https://a.test/", &["--claims", "{}", "--token-service", "login"], "--token-service"),
    ] {
        let output = explain(request, &file, more);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(wanted), "{request}: {told}");
        assert_eq!(output.status.code(), Some(64), "{request}: {told}");
    }
    assert_eq!(explain("https://a.test/", "nowhere.yaml", &[]).status.code(), Some(2));
}
