use super::*;
use crate::manifest::Manifests;

const LOGIN: &str = "
apiVersion: portreeve.dev/v1alpha1
kind: TokenService
metadata: {name: login, namespace: identity}
spec:
  issuer: https://login.test
  scopes:
  - {pattern: \"orders:*\", namespaces: [orders, sales]}
  - {pattern: \"orders:admin\", namespaces: [sales]}
  - {pattern: \"crm:*\", matchLabels: {tier: inner}}
---
apiVersion: v1
kind: Namespace
metadata: {name: crm, labels: {tier: inner}}
---
";

/// An ApiRoute that names scopes; `more` goes into its metadata and `status` behind its spec.
fn route(place: &str, scopes: &str, more: &str, rest: &str) -> String {
    let (namespace, name) = place.split_once('/').unwrap();
    format!(
        "
apiVersion: portreeve.dev/v1alpha1
kind: ApiRoute
metadata: {{name: {name}, namespace: {namespace}{more}}}
spec:
  workloadSelector: {{matchLabels: {{app: nothing}}}}
  upstream: {{port: 8080}}
  rules: [{{name: all, matches: [{{path: {{type: PathPrefix, value: /}}}}]}}]
  access: {{scopes: {scopes}}}
{rest}
---
"
    )
}

fn born(day: u8) -> String {
    format!(", creationTimestamp: \"2026-01-{day:02}T00:00:00Z\"")
}

fn owned(scopes: &str) -> String {
    format!("status: {{ownedScopes: [{{tokenService: identity/login, scopes: {scopes}}}]}}")
}

fn owner(text: &str, scope: &str) -> Owner {
    let mut manifests = Manifests::default();
    manifests.read("a.yaml", &format!("{LOGIN}{text}"));
    let name = "identity/login".parse().unwrap();
    ScopeOwners::of(&manifests.inventory).owner(&name, &manifests.inventory.token_services[&name], scope)
}

fn of(place: &str) -> Owner {
    Owner::Route(place.parse().unwrap())
}

#[test]
fn c3_a_claim_counts_only_where_the_owner_of_the_token_service_grants_it_o4() {
    let claim = |place: &str, scope: &str| route(place, &format!("[\"{scope}\"]"), "", "");
    for (place, scope, expected) in [
        ("orders/a", "orders:read", of("orders/a")),
        ("sales/a", "orders:read", of("sales/a")),
        ("tenant/a", "orders:read", Owner::Unclaimed),
        ("orders/a", "orders:admin", Owner::Unclaimed),
        ("sales/a", "orders:admin", of("sales/a")),
        ("crm/a", "crm:x", of("crm/a")),
        ("orders/a", "crm:x", Owner::Unclaimed),
        ("identity/a", "crm:x", Owner::Unclaimed),
        ("tenant/a", "payments:write", Owner::Free),
        ("identity/a", "payments:write", of("identity/a")),
        ("tenant/a", "openid", Owner::Free),
    ] {
        assert_eq!(owner(&claim(place, scope), scope), expected, "{place} {scope}");
    }
    assert_eq!(owner("", "orders:read"), Owner::Unclaimed);
}

#[test]
fn k2_no_edit_of_an_older_route_takes_a_scope_over() {
    let old = |rest: &str| route("orders/old", "[\"orders:read\"]", &born(1), rest);
    let new = |rest: &str| route("sales/new", "[\"orders:read\"]", &born(2), rest);
    let both = |a: String, b: String| owner(&format!("{a}{b}"), "orders:read");
    assert_eq!(both(old(""), new("")), of("orders/old"), "nobody had it: the older object");
    assert_eq!(both(old(""), new(&owned("[\"orders:read\"]"))), of("sales/new"), "who had it keeps it");
    assert_eq!(both(old(""), new(&owned("[\"orders:write\"]"))), of("orders/old"), "it had another one");
    let thief = route("tenant/a", "[\"orders:read\"]", &born(1), &owned("[\"orders:read\"]"));
    assert_eq!(both(thief, new("")), of("sales/new"), "a status without a grant is worth nothing");
}

#[test]
fn c3_in_files_the_smaller_name_takes_nothing_from_who_has_it() {
    let have = route("orders/z", "[\"orders:read\"]", "", &owned("[\"orders:read\"]"));
    let aaa = route("orders/aaa", "[\"orders:read\"]", "", "");
    assert_eq!(owner(&format!("{aaa}{have}"), "orders:read"), of("orders/z"));
}

#[test]
fn c3_an_unreadable_route_takes_nothing_and_frees_nothing() {
    let broken = |place: &str, scopes: &str, rest: &str| route(place, scopes, "", &format!("  nonsense: 1\n{rest}"));
    let unreadable = |place: &str| Owner::Unreadable(place.parse().unwrap());
    let good = route("orders/a", "[\"orders:read\"]", &born(1), &owned("[\"orders:read\"]"));
    for thief in ["tenant/a", "orders/b", "sales/a"] {
        let text = format!("{}{good}", broken(thief, "[\"orders:read\"]", ""));
        assert_eq!(owner(&text, "orders:read"), of("orders/a"), "{thief}");
    }
    assert_eq!(owner(&broken("orders/a", "[\"orders:read\"]", ""), "orders:read"), unreadable("orders/a"));
    let lost = broken("identity/a", "7", &owned("[\"payments:write\"]"));
    assert_eq!(owner(&lost, "payments:write"), unreadable("identity/a"), "it had the scope when it could be read");
    assert_eq!(owner(&broken("tenant/a", "[\"payments:write\"]", ""), "payments:write"), Owner::Free);
}

#[test]
fn k2_what_was_lost_and_what_is_not_granted_is_told_of_its_route() {
    let mut manifests = Manifests::default();
    let text = format!(
        "{LOGIN}{}{}{}",
        route("orders/a", "[\"orders:read\", other]", &born(1), ""),
        route("sales/b", "[\"orders:read\"]", &born(2), ""),
        route("tenant/c", "[\"orders:read\"]", &born(1), ""),
    );
    manifests.read("a.yaml", &text);
    let owners = ScopeOwners::of(&manifests.inventory);
    let report = |place: &str| owners.reports()[&place.parse().unwrap()].clone();
    assert_eq!(report("orders/a").to_status()[0].scopes, ["orders:read"]);
    assert!(report("orders/a").ungranted.contains("other"));
    let login: NamespacedName = "identity/login".parse().unwrap();
    let lost = ("orders:read".to_owned(), login, "orders/a".parse().unwrap());
    assert!(report("sales/b").lost.contains(&lost) && report("sales/b").owned.is_empty());
    assert!(report("tenant/c").ungranted.contains("orders:read"));
}
