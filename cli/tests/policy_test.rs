//! `portreeve test` as people and pipelines run it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

const SERVICE: &str = "apiVersion: portreeve.dev/v1alpha1
kind: TokenService
metadata: {name: login, namespace: shop}
spec:
  issuer: https://login.example.com
  client: {registrationRef: {name: gateway}}
  introspection: {answer: ANSWER}
---
apiVersion: portreeve.dev/v1alpha1
kind: ClientRegistration
metadata: {name: gateway, namespace: shop}
spec:
  tokenServiceRef: {name: login}
  credentialsSecretName: gateway
  metadata: {clientName: gateway, grantTypes: [client_credentials]}
";

const ROUTE: &str = "apiVersion: portreeve.dev/v1alpha1
kind: ApiRoute
metadata: {name: orders, namespace: shop}
spec:
  workloadSelector: {matchLabels: {app: orders}}
  upstream: {port: 8080}
  rules:
  - name: read
    matches: [{path: {type: PathPrefix, value: /orders}}]
";

fn policy(body: &str) -> String {
    format!(
        "apiVersion: portreeve.dev/v1alpha1
kind: ApiPolicy
metadata: {{name: orders, namespace: shop}}
spec:
  targetRefs: [{{kind: ApiRoute, name: orders}}]
{body}"
    )
}

fn jwt() -> String {
    policy("  authentication: {anyOf: [{jwt: {tokenServiceRef: {name: login}, audiences: [orders]}}]}\n")
}

/// A document of one case for each text.
fn cases(cases: &[&str]) -> String {
    let head = "apiVersion: test.portreeve.dev/v1alpha1
kind: PolicyTest
metadata: {name: orders}
spec:
  pod: {namespace: shop, labels: {app: orders}}
  cases:
";
    let list: Vec<_> = cases.iter().enumerate().map(|(i, case)| format!("  - {{name: case {i}, {case}}}\n")).collect();
    format!("{head}{}", list.concat())
}

fn folder(name: &str, files: &[(&str, String)]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("policy-test").join(name);
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).unwrap();
    for (file, text) in files {
        fs::write(folder.join(file), text).unwrap();
    }
    folder
}

fn portreeve(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portreeve")).arg("test").args(arguments).current_dir(folder).output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Runs cases against manifests; every one has to pass.
fn pass(name: &str, manifests: &[String], list: &[&str]) {
    let folder = folder(name, &[("manifests.yaml", manifests.join("---\n")), ("test.yaml", cases(list))]);
    let output = portreeve(&folder, &["."]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        (output.status.code(), text.contains(&format!("{} passed, 0 failed", list.len()))),
        (Some(0), true),
        "{text}"
    );
}

const GET: &str = "request: {host: a.test, path: /orders/7}";

#[test]
fn signed_tokens_are_judged_with_their_times_audience_and_type() {
    let service = SERVICE.replace("ANSWER", "Json");
    let token = |token: &str, expect: &str| format!("{GET}, token: {token}, expect: {expect}");
    pass(
        "jwt",
        &[service, ROUTE.to_owned(), jwt()],
        &[
            &format!("{GET}, expect: {{outcome: deny, reason: no_credentials, status: 401, rule: read}}"),
            &token("{claims: {aud: orders, sub: ada}}", "{outcome: permit, status: 200, route: shop/orders}"),
            &token("{claims: {aud: other}}", "{outcome: deny, reason: wrong_audience}"),
            &token("{claims: {aud: orders}, age: 10m, lifetime: 5m}", "{outcome: deny, reason: invalid_token}"),
            &token("{claims: {aud: orders, iss: \"https://evil.example\"}}", "{outcome: deny, reason: invalid_token}"),
            &token("{claims: {aud: orders, exp: null}}", "{outcome: deny, reason: invalid_token}"),
            &token("{claims: {aud: orders}, header: {typ: dpop+jwt}}", "{outcome: deny, reason: invalid_token}"),
            &token("{claims: {aud: orders}, header: {kid: other}}", "{outcome: deny}"),
            "request: {host: a.test, path: /elsewhere}, expect: {outcome: deny, reason: route_not_found, status: 404}",
            "request: {host: a.test, path: \"/orders/%2e%2e/x\"}, expect: {outcome: deny}",
        ],
    );
}

#[test]
fn opaque_tokens_are_looked_up_in_every_dialect() {
    let policy = policy(
        "  authentication: {anyOf: [{introspection: {tokenServiceRef: {name: login}, audiences: [orders]}}]}
  authorization: {scopes: {allOf: [read]}}
",
    );
    for answer in ["Json", "JwtBody", "JwtMember", "SignedEnvelope"] {
        let token = |token: &str, expect: &str| format!("{GET}, token: {{form: Opaque, {token}}}, expect: {expect}");
        pass(
            &format!("opaque-{answer}"),
            &[SERVICE.replace("ANSWER", answer), ROUTE.to_owned(), policy.clone()],
            &[
                &token("claims: {aud: orders, sub: ada, scope: read}", "{outcome: permit}"),
                &token("claims: {aud: orders, sub: ada}", "{outcome: deny, reason: insufficient_scope, status: 403}"),
                &token("active: false", "{outcome: deny, reason: invalid_token}"),
                "request: {host: a.test, path: /orders/7, headers: {authorization: Bearer unknown}}, \
                 expect: {outcome: deny, reason: invalid_token}",
            ],
        );
    }
}

#[test]
fn the_application_sees_what_the_policy_says() {
    let minted = policy(
        "  authentication: {anyOf: [{jwt: {tokenServiceRef: {name: login}, audiences: [orders], upstreamToken: Minted, \
         mint: {audience: inner, claims: {user: {claim: sub}}}}}]}\n",
    );
    pass(
        "upstream",
        &[SERVICE.replace("ANSWER", "Json"), ROUTE.to_owned(), minted],
        &["request: {host: a.test, path: \"/orders/7?x=1\", headers: {x-a: b, x-real-ip: 1.1.1.1}}, \
             token: {claims: {aud: orders, sub: ada}}, expect: {outcome: permit, upstream: {path: \"/orders/7?x=1\", \
             headers: {x-a: b, x-forwarded-for: null}, claims: {aud: inner, user: ada, scope: null}}}"],
    );
}

#[test]
fn time_address_limits_and_decision_points_are_those_of_the_case() {
    let conditions = policy(
        "  authentication: {anonymous: {}}
  authorization:
    clientAddresses: {allow: [192.0.2.0/24]}
    timeWindows: {timeZone: Europe/Berlin, windows: [{weekdays: [Wednesday], from: \"08:00\", to: \"18:00\"}]}
  limits: {rateLimits: [{name: each, key: [{type: ClientAddress}], rates: [{requests: 2, per: Minute}]}]}
",
    );
    pass(
        "conditions",
        &[ROUTE.to_owned(), conditions],
        &[
            &format!("{GET}, expect: {{outcome: permit}}"),
            &format!("{GET}, time: \"2026-01-08T12:00:00Z\", expect: {{outcome: deny, reason: outside_hours}}"),
            "request: {host: a.test, path: /orders, clientAddress: \"2001:db8::1\"}, \
             expect: {outcome: deny, reason: address_not_allowed}",
            &format!("{GET}, times: 2, expect: {{outcome: permit}}"),
            &format!(
                "{GET}, times: 3, expect: {{outcome: deny, reason: rate_limited, status: 429, answer: {{headers: {{x: null}}}}}}"
            ),
        ],
    );
    let external = policy(
        "  authentication: {anyOf: [{jwt: {tokenServiceRef: {name: login}, audiences: [orders]}}]}
  authorization: {external: {authzen: {url: \"https://pdp.example.com/access/v1/evaluation\"}}}
",
    );
    let asked = |answer: &str, expect: &str| {
        format!("{GET}, token: {{claims: {{aud: orders, sub: ada}}}}, {answer} expect: {expect}")
    };
    pass(
        "external",
        &[SERVICE.replace("ANSWER", "Json"), ROUTE.to_owned(), external],
        &[
            &asked("decisionPoint: {decision: true},", "{outcome: permit}"),
            &asked("decisionPoint: {decision: false},", "{outcome: deny, reason: decision_point_denied}"),
            &asked("", "{outcome: deny, reason: decision_point_unavailable, status: 503}"),
        ],
    );
}

#[test]
fn what_is_not_as_expected_is_told_with_its_place_and_what_was_decided() {
    let list = cases(&[
        &format!("{GET}, expect: {{outcome: permit, status: 200, upstream: {{headers: {{x-a: b}}}}}}"),
        &format!("{GET}, times: 0, expect: {{outcome: deny}}"),
        &format!("{GET}, token: {{tokenServiceRef: {{name: other}}}}, expect: {{outcome: deny}}"),
        &format!("{GET}, time: yesterday, expect: {{outcome: deny}}"),
    ]);
    let manifests = [SERVICE.replace("ANSWER", "Json"), ROUTE.to_owned(), jwt()].join("---\n");
    let folder = folder("failures", &[("manifests.yaml", manifests), ("test.yaml", list)]);
    let output = portreeve(&folder, &["manifests.yaml", "test.yaml"]);
    let at = |line: u32, text: &str| format!("        test.yaml:{line}:5: {text}");
    let expected = [
        "FAILED  orders: case 0".to_owned(),
        at(7, "outcome: expected permit, found deny"),
        at(7, "status: expected 200, found 401"),
        at(7, "upstream: the request did not reach the application"),
        at(
            7,
            "decided: deny by rule read of ApiRoute shop/orders: the rule needs credentials, and the request has none",
        ),
        "FAILED  orders: case 1".to_owned(),
        at(8, "times: 1 to 10000 requests can be sent"),
        "FAILED  orders: case 2".to_owned(),
        at(9, "token.tokenServiceRef: there is no TokenService shop/other"),
        "FAILED  orders: case 3".to_owned(),
        at(10, "time: \"yesterday\" is not RFC 3339"),
        "coverage: 1 of 1 rules, 1 of 1 conditions".to_owned(),
        "0 passed, 4 failed".to_owned(),
    ];
    let lines = lines(&output);
    for (found, expected) in lines.iter().zip(&expected) {
        assert!(found.starts_with(expected.as_str()), "{found:?} beside {expected:?}");
    }
    assert_eq!((lines.len(), output.status.code()), (expected.len(), Some(1)), "{lines:?}");
}

#[test]
fn a_mistake_anywhere_is_never_a_pass() {
    let good = cases(&[&format!("{GET}, expect: {{outcome: deny}}")]);
    let manifests = [ROUTE.to_owned(), policy("  authentication: {anonymous: {}}\n")].join("---\n");
    for (name, manifests, test, wanted) in [
        ("no-cases", manifests.clone(), String::new(), "no case found"),
        ("empty", manifests.clone(), cases(&[]), "spec.cases: null where a list is expected"),
        (
            "version",
            manifests.clone(),
            good.replace("dev/v1alpha1", "dev/v1"),
            "test.yaml:1:13: PolicyTest of test.portreeve.dev/v1",
        ),
        ("kind", manifests.clone(), good.replace("PolicyTest", "PolicyTests"), "test.yaml:2:7: PolicyTests of"),
        ("group", manifests.clone(), good.replace("test.portreeve.dev/", "portreeve.dev/"), "PolicyTest"),
        (
            "field",
            manifests.clone(),
            good.replace("expect:", "expects:"),
            "spec.cases[0].expect: this field is required",
        ),
        ("near", manifests.clone(), good.replace("outcome: deny", "outcome: deny, raeson: x"), "did you mean reason?"),
        ("value", manifests.clone(), good.replace("outcome: deny", "outcome: denied"), "allowed: permit, deny"),
        ("yaml", manifests.clone(), good.replace("cases:", "cases: ["), "not YAML"),
        ("pod", manifests.clone(), good.replace("app: orders", "app: other"), "no ApiRoute selects a pod"),
        ("namespace", manifests.clone(), good.replace("namespace: shop", "namespace: Shop_"), "spec.pod.namespace"),
        // A policy at fault refuses everything, which is no reason to be content with a refusal.
        ("policy", manifests.replace("anonymous", "anonymos"), good.clone(), "spec.authentication.anonymos"),
        ("reference", [ROUTE.to_owned(), jwt()].join("---\n"), good.clone(), "TokenService shop/login"),
    ] {
        let folder = folder(&format!("mistake-{name}"), &[("manifests.yaml", manifests), ("test.yaml", test)]);
        let output = portreeve(&folder, &["manifests.yaml", "test.yaml"]);
        let text = lines(&output).join("\n");
        assert!(text.contains(wanted), "{name}: {wanted:?} expected in {text}");
        assert_eq!(output.status.code(), Some(1), "{name}: {text}");
    }
    let folder = folder("mistake-missing", &[("manifests.yaml", manifests), ("test.yaml", good)]);
    assert_eq!(portreeve(&folder, &["manifests.yaml", "nowhere.yaml"]).status.code(), Some(2));
}

#[test]
fn coverage_counts_rules_and_conditions_and_can_be_demanded() {
    let two = ROUTE.replace(
        "  - name: read",
        "  - name: other\n    matches: [{path: {type: Exact, value: /other}}]\n  - name: read",
    );
    let manifests = [SERVICE.replace("ANSWER", "Json"), two, jwt()].join("---\n");
    let list = cases(&[&format!("{GET}, token: {{claims: {{aud: orders}}}}, expect: {{outcome: permit}}")]);
    let folder = folder("coverage", &[("manifests.yaml", manifests), ("test.yaml", list)]);
    assert_eq!(portreeve(&folder, &["."]).status.code(), Some(0));
    assert_eq!(portreeve(&folder, &[".", "--coverage", "25"]).status.code(), Some(0));
    let output = portreeve(&folder, &[".", "--coverage", "26"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        lines(&output)[1..],
        [
            "coverage: 1 of 2 rules, 0 of 2 conditions",
            "  rule other of ApiRoute shop/orders: no request met it",
            "  rule read of ApiRoute shop/orders: authentication refused no request",
            "FAILED  coverage: 25 %, 26 % demanded",
            "1 passed, 0 failed",
        ]
    );
    assert_eq!(portreeve(&folder, &[".", "--coverage", "101"]).status.code(), Some(64));
}

#[test]
fn programs_read_json_and_junit_and_get_the_same_on_each_run() {
    let manifests = [SERVICE.replace("ANSWER", "Json"), ROUTE.to_owned(), jwt()].join("---\n");
    let list = cases(&[
        &format!("{GET}, token: {{claims: {{aud: orders, sub: ada}}}}, expect: {{outcome: permit}}"),
        &format!("{GET}, expect: {{outcome: permit, reason: \"<&\\\"\\e[2J\"}}"),
    ]);
    let folder = folder("formats", &[("manifests.yaml", manifests), ("test.yaml", list)]);
    let json = portreeve(&folder, &[".", "--output", "json"]);
    let value: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&value["passed"], &value["failed"]), (&Value::from(1), &Value::from(1)));
    assert_eq!(value["cases"][0]["decision"]["subject"], "ada");
    assert_eq!(value["cases"][1]["place"], "./test.yaml:8:5");
    assert_eq!(json.stdout, portreeve(&folder, &[".", "--output", "json"]).stdout);
    let junit = portreeve(&folder, &[".", "--output", "junit"]);
    let text = String::from_utf8(junit.stdout).unwrap();
    let mut reader = quick_xml::Reader::from_str(&text);
    let (mut cases, mut failures) = (0, 0);
    loop {
        let event = reader.read_event().unwrap();
        if let quick_xml::events::Event::Start(tag) | quick_xml::events::Event::Empty(tag) = &event {
            cases += usize::from(tag.name().as_ref() == "testcase");
            failures += usize::from(tag.name().as_ref() == "failure");
        }
        if event == quick_xml::events::Event::Eof {
            break;
        }
    }
    assert_eq!((cases, failures), (2, 1), "{text}");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n') && text.contains("&lt;&amp;"), "{text}");
    let schema: Value = serde_json::from_slice(&portreeve(&folder, &["--schema"]).stdout).unwrap();
    assert_eq!(schema["title"], "PolicyTest");
}

/// The page of the docs shows what is printed for the files that it names.
#[test]
fn the_page_shows_what_is_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/test.md")).unwrap();
    let output = portreeve(&root, &["manifests/samples", "manifests/tests"]);
    let text = lines(&output).join("\n");
    assert!(page.contains(&format!("```text\n{text}\n```")), "{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");
    let case = fs::read_to_string(root.join("manifests/tests/orders.yaml")).unwrap();
    assert!(page.contains(&format!("```yaml\n{case}```")), "the page shows manifests/tests/orders.yaml");
}
