//! Bad objects are refused at the door, with a message that helps.

use anyhow::{Result, ensure};
use serde_json::json;

use super::fixture::{Fixture, OTHER, TEAM};
use crate::report::Report;

const POLICY: &str = "apiVersion: portreeve.dev/v1alpha1
kind: ApiPolicy
metadata: {name: bad, namespace: default}
spec:
  targetRefs: [TARGET]
  BODY
";
const ROUTE_TARGET: &str = "{group: portreeve.dev, kind: ApiRoute, name: orders}";
const SERVICE: &str = "apiVersion: portreeve.dev/v1alpha1
kind: TokenService
metadata: {name: bad, namespace: default}
spec: {issuer: ISSUER, BODY}
";
const ROUTE: &str = "apiVersion: portreeve.dev/v1alpha1
kind: ApiRoute
metadata: {name: bad, namespace: default}
spec:
  workloadSelector: {matchLabels: {app: orders}}
  upstream: {port: 9420}
  rules: [{name: all, matches: [{path: {type: PathPrefix, value: /a}, METHODS}]}]
";

const CLIENT: &str = "apiVersion: portreeve.dev/v1alpha1
kind: ClientRegistration
metadata: {name: bad, namespace: default}
spec: {tokenServiceRef: {name: login}, credentialsSecretName: bad, metadata: {clientName: bad, METADATA}, BODY}
";

/// What contradicts itself in a ClientRegistration: name, metadata, other fields, and a part of what is said.
const BAD_CLIENTS: [(&str, &str, &str, &str); 8] = [
    (
        "a redirect URI with a fragment",
        "grantTypes: [authorization_code], redirectUris: [\"https://a.example/cb#x\"]",
        "",
        "a redirect URI has no fragment",
    ),
    (
        "a redirect URI with plain http",
        "grantTypes: [authorization_code], redirectUris: [\"http://a.example/cb\"]",
        "",
        "http is for loopback only",
    ),
    ("a code flow without redirect URI", "grantTypes: [authorization_code]", "", "needs redirectUris"),
    (
        "a response type without its grant type",
        "grantTypes: [client_credentials], responseTypes: [code]",
        "",
        "code needs the grant type authorization_code",
    ),
    (
        "keys of ours and keys of theirs",
        "grantTypes: [client_credentials], additional: {jwks_uri: \"https://a.example/jwks\"}",
        "",
        "jwks_uri: PrivateKeyJwt uses keys that Portreeve makes",
    ),
    (
        "a public client with client credentials",
        "grantTypes: [client_credentials]",
        "authentication: {method: None}",
        "needs a client that authenticates",
    ),
    (
        "a certificate of nobody",
        "grantTypes: [client_credentials]",
        "authentication: {method: TlsClientAuth}",
        "tlsSubject goes with method: TlsClientAuth",
    ),
    (
        "an unknown key of the credentials Secret",
        "grantTypes: [client_credentials]",
        "credentialsKeys: {password: X}",
        "names keys of the credentials Secret",
    ),
];

/// Objects of the other kinds: what is wrong, the manifest, and a part of what is said.
fn bad_objects() -> [(&'static str, String, &'static str); 8] {
    let policy = |target: &str, body: &str| POLICY.replace("TARGET", target).replace("BODY", body);
    let service = |issuer: &str, body: &str| SERVICE.replace("ISSUER", issuer).replace("BODY", body);
    let open = "authentication: {anonymous: {}}";
    let jwt = "jwt: {tokenServiceRef: {name: login}, audiences: [a]}";
    [
        (
            "a policy that is open and is not",
            policy(ROUTE_TARGET, &format!("authentication: {{anonymous: {{}}, anyOf: [{{{jwt}}}]}}")),
            "exactly one of anonymous and anyOf",
        ),
        (
            "a policy that says nothing",
            policy(ROUTE_TARGET, ""),
            "set at least one of authentication, authorization and limits",
        ),
        (
            "a rule of a namespace",
            policy("{group: \"\", kind: Namespace, name: default, sectionName: read}", open),
            "sectionName goes with an ApiRoute",
        ),
        (
            "a rule without a name",
            policy("{group: portreeve.dev, kind: ApiRoute, name: orders, sectionName: \"\"}", open),
            "sectionName",
        ),
        ("a field that does not exist", policy(ROUTE_TARGET, "autentication: {anonymous: {}}"), "autentication"),
        ("a method that is never forwarded", ROUTE.replace("METHODS", "methods: [CONNECT]"), "never forwarded"),
        (
            "introspection without a client",
            service("https://login.example.com", "introspection: {answer: Json}"),
            "introspection needs client",
        ),
        ("an issuer that is no URL", service("login.example.com", "discovery: OpenIdConfiguration"), "spec.issuer"),
    ]
}

pub(super) async fn stage(fixture: &Fixture, report: &mut Report) {
    report.check("two namespaces are made, one at the strictest level of Pod Security", namespaces(fixture)).await;
    for (name, yaml, wanted) in bad_objects() {
        report.check(&format!("the API server refuses {name}"), refused(fixture, &yaml, wanted)).await;
    }
    for (name, metadata, body, wanted) in BAD_CLIENTS {
        let yaml = CLIENT
            .replace("METADATA", metadata)
            .replace(", BODY", &if body.is_empty() { String::new() } else { format!(", {body}") });
        report.check(&format!("the API server refuses {name}"), refused(fixture, &yaml, wanted)).await;
    }
    let good = "grantTypes: [authorization_code], redirectUris: [\"http://127.0.0.1:8/cb\", \"http://[::1]/cb\"]";
    report
        .check("and takes loopback for http", taken(fixture, &CLIENT.replace("METADATA", good).replace(", BODY", "")))
        .await;
    report.check("the API server refuses another issuer for a TokenService", immutable(fixture)).await;
}

async fn namespaces(fixture: &Fixture) -> Result<String> {
    for (name, level) in [(TEAM, "restricted"), (OTHER, "baseline")] {
        let labels = json!({"pod-security.kubernetes.io/enforce": level});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        fixture.apply(&namespace.to_string()).await?;
    }
    Ok(String::new())
}

async fn taken(fixture: &Fixture, yaml: &str) -> Result<String> {
    fixture.kubectl.feed(&["apply", "--dry-run=server", "-f", "-"], yaml).await
}

async fn refused(fixture: &Fixture, yaml: &str, wanted: &str) -> Result<String> {
    let said = fixture.kubectl.refused(&["apply", "--dry-run=server", "-f", "-"], yaml).await?;
    ensure!(said.contains(wanted), "{wanted:?} expected in: {said}");
    let line = said.lines().find(|line| line.contains(wanted)).unwrap_or_default();
    Ok(line.trim().to_owned())
}

async fn immutable(fixture: &Fixture) -> Result<String> {
    let body = "discovery: OpenIdConfiguration";
    let of = |issuer| SERVICE.replace("ISSUER", issuer).replace("BODY", body).replace("default", OTHER);
    fixture.apply(&of("https://one.example.com")).await?;
    let found = refused(fixture, &of("https://two.example.com"), "issuer is immutable").await;
    fixture.kubectl.run(&["delete", "tokenservice/bad", "-n", OTHER]).await?;
    found
}

#[cfg(test)]
mod tests {
    use super::{BAD_CLIENTS, bad_objects};

    /// What the rules of the CustomResourceDefinitions say is expected here word by word: a message that changes has to
    /// fail without a node too.
    #[test]
    fn expected_messages_stand_in_the_definitions() {
        let definitions = [
            include_str!("../../../crds/apipolicies.yaml"),
            include_str!("../../../crds/apiroutes.yaml"),
            include_str!("../../../crds/clientregistrations.yaml"),
            include_str!("../../../crds/tokenservices.yaml"),
        ]
        .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
        let objects = bad_objects().into_iter().map(|(_, _, wanted)| wanted);
        let clients = BAD_CLIENTS.into_iter().map(|(_, _, _, wanted)| wanted);
        for wanted in objects.chain(clients).filter(|wanted| wanted.contains(' ')) {
            assert!(definitions.iter().any(|text| text.contains(wanted)), "no rule says {wanted:?}");
        }
    }
}
