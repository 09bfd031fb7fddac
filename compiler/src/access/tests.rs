use portreeve_crds::v1alpha1::AccessVerdict;

use super::{Access, decide_access};
use crate::{Inventory, ScopeOwners, manifest::Manifests};

/// At which the owner lets namespace `orders` own what it names, and namespace `shop` have `openid`.
const LOGIN: &str = "
apiVersion: portreeve.dev/v1alpha1
kind: TokenService
metadata: {name: login, namespace: identity}
spec:
  issuer: https://login.test
  allowedNamespaces: {from: All}
  scopes: [{pattern: read, namespaces: [orders]}, {pattern: write, namespaces: [orders]}]
  registration: {limits: [{namespaces: [shop], scopes: [openid]}]}
---
";

const ROUTE: &str = "
apiVersion: portreeve.dev/v1alpha1
kind: ApiRoute
metadata: {name: orders, namespace: orders, creationTimestamp: \"2026-01-01T00:00:00Z\"}
spec:
  workloadSelector: {matchLabels: {app: orders}}
  upstream: {port: 8080}
  rules: [{name: all, matches: [{path: {type: PathPrefix, value: /}}]}]
";

fn inventory(access: &str, more: &str) -> Inventory {
    let mut manifests = Manifests::default();
    manifests.read("route.yaml", &format!("{LOGIN}{ROUTE}{access}\n---\n{more}"));
    assert!(manifests.faults.iter().all(|fault| fault.message.contains("nonsense")), "{:?}", manifests.faults);
    manifests.inventory
}

fn access(inventory: &Inventory, spec: &str) -> Access {
    let registration = serde_saphyr::from_str(&format!(
        "
apiVersion: portreeve.dev/v1alpha1
kind: ClientRegistration
metadata: {{name: web, namespace: shop}}
spec:
  tokenServiceRef: {{name: login, namespace: identity}}
  credentialsSecretName: web
{spec}"
    ));
    let name = "identity/login".parse().unwrap();
    let service = &inventory.token_services[&name];
    decide_access(inventory, &ScopeOwners::of(inventory), (&name, service), &registration.unwrap())
}

fn wants(scope: &str, of_api: &str) -> String {
    format!(
        "  metadata: {{clientName: web, grantTypes: [client_credentials], scope: \"{scope}\"}}
  access: [{{apiRef: {{name: orders, namespace: orders}}, scopes: [{of_api}]}}]"
    )
}

#[test]
fn grants_by_rule_and_by_approval_and_nothing_else() {
    use AccessVerdict::{Denied, Granted, PartlyGranted, Pending};
    let scopes = "  access:\n    scopes: [read, write]\n";
    let approval = |more: &str| format!("{scopes}    approvals: [{{namespace: shop, name: web, {more}}}]");
    let automatic = |more: &str| format!("{scopes}    automatic: {{{more}}}");
    let labels = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {tier: inner}}";
    for (name, owner, more, state, scope) in [
        ("no word of the owner", String::new(), "", Pending, ""),
        ("nobody is named", scopes.to_owned(), "", Pending, ""),
        ("another namespace", automatic("namespaces: [other]"), "", Pending, ""),
        ("the namespace", automatic("namespaces: [shop]"), "", Granted, "read write"),
        ("some of the scopes", automatic("namespaces: [shop], scopes: [read]"), "", PartlyGranted, "read"),
        ("labels", automatic("matchLabels: {tier: inner}"), labels, Granted, "read write"),
        ("other labels", automatic("matchLabels: {tier: outer}"), labels, Pending, ""),
        ("labels of nobody", automatic("matchLabels: {tier: inner}"), "", Pending, ""),
        ("approved", approval("decision: Granted, by: alice"), "", Granted, "read write"),
        ("approved in part", approval("decision: Granted, scopes: [write]"), "", PartlyGranted, "write"),
        ("refused", approval("decision: Denied, by: alice"), "", Denied, ""),
        (
            "refused beats the rule",
            format!("{}\n    automatic: {{namespaces: [shop]}}", approval("decision: Denied")),
            "",
            Denied,
            "",
        ),
        ("approved for more than the API has", approval("decision: Granted, scopes: [admin]"), "", Denied, ""),
        (
            "a sandbox",
            format!("{scopes}    environment: Sandbox\n    automatic: {{namespaces: [shop]}}"),
            "",
            Denied,
            "",
        ),
    ] {
        let told = access(&inventory(&owner, more), &wants("", "read, write"));
        assert_eq!((told.states[0].state, told.scope.as_str()), (state, scope), "{name}: {told:?}");
        assert_eq!(told.withheld, scope.is_empty(), "{name}");
        assert_eq!(told.states[0].by.is_empty(), state == Pending, "{name}");
    }
}

#[test]
fn a_scope_of_an_api_is_not_had_by_naming_it_in_the_metadata() {
    let claimed = inventory("  access: {scopes: [read, write], automatic: {namespaces: [shop], scopes: [read]}}", "");
    let told = access(&claimed, &wants("openid write read", "read"));
    assert_eq!(told.scope, "openid read");
    let told = access(&claimed, "  metadata: {clientName: a, grantTypes: [client_credentials], scope: write}");
    assert_eq!((told.scope.as_str(), told.withheld), ("", true));
    let told = access(&claimed, &wants("openid", "openid, admin"));
    assert_eq!(told.scope, "openid", "what the API does not own is not had through it");
}

#[test]
fn a_younger_route_takes_no_scopes_over() {
    let thief = ROUTE
        .replace("name: orders, namespace: orders", "name: thief, namespace: shop")
        .replace("2026-01-01", "2026-02-01");
    let thief = format!("{thief}  access: {{scopes: [read], automatic: {{namespaces: [shop]}}}}");
    let told = access(
        &inventory("  access: {scopes: [read]}", &thief),
        "  metadata: {clientName: a, grantTypes: [client_credentials], scope: read}
  access: [{apiRef: {name: thief}, scopes: [read]}]",
    );
    assert_eq!((told.scope.as_str(), told.states[0].state), ("", AccessVerdict::Denied));
}

#[test]
fn a_broken_route_frees_no_scopes() {
    let broken = inventory("  access: {scopes: [read]}\n  nonsense: true", "");
    assert!(!broken.unreadable.is_empty());
    let told = access(&broken, "  metadata: {clientName: a, grantTypes: [client_credentials], scope: read}");
    assert_eq!((told.scope.as_str(), told.withheld), ("", true));
}
