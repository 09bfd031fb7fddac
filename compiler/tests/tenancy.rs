//! Two tenants: whatever stands in namespace `evil`, nothing of namespace `good` changes, and what `good` and the owner of
//! the token service have is never lent to `evil` (B13, C3, H6, K1 to K5, O1, O4, O9).

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on shall say so by panicking")]
#![expect(clippy::disallowed_methods, reason = "the time to compile is what is measured")]

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use portreeve_compiler::{
    Compiled, Discovered, DiscoveredEndpoints, FleetView, Inventory, Options, RegistrationTarget, compile,
    manifest::Manifests, references, registration_target, statuses,
};
use portreeve_policy::{AddressRange, Authentication, Introspection, KeySet, NamespacedName, TokenExchange};
use proptest::prelude::*;
use serde_json::json;

const OPTIONS: Options = Options { allow_http: false, addresses: AddressRange::Public };

/// The owner of the token service, and a tenant who uses it honestly.
const HONEST: &str = "
apiVersion: portreeve.dev/v1alpha1
kind: TokenService
metadata: {name: login, namespace: identity, creationTimestamp: \"2026-01-01T00:00:00Z\"}
spec:
  issuer: https://login.test
  allowedNamespaces: {from: All}
  client: {secretRef: {name: gateway}, perNamespace: {method: ClientSecretBasic}}
  introspection: {answer: Json}
  scopes: [{pattern: \"orders:*\", namespaces: [good]}]
  registration: {initialAccessTokenRef: {name: dcr, key: token}, limits: [{scopes: [openid]}]}
---
apiVersion: v1
kind: Secret
metadata: {name: gateway, namespace: identity, annotations: {portreeve.dev/use: client-credentials}}
stringData: {client_id: owner, client_secret: c4n4ry-owner}
---
apiVersion: v1
kind: Secret
metadata: {name: dcr, namespace: identity, annotations: {portreeve.dev/use: initial-access-token}}
stringData: {token: c4n4ry-dcr}
---
apiVersion: portreeve.dev/v1alpha1
kind: ApiRoute
metadata: {name: orders, namespace: good, creationTimestamp: \"2026-02-01T00:00:00Z\"}
spec:
  workloadSelector: {matchLabels: {app: orders}}
  hostnames: [orders.test]
  upstream: {port: 8080}
  rules: [{name: all, matches: [{path: {type: PathPrefix, value: /}}]}]
  access: {scopes: [\"orders:read\"], automatic: {namespaces: [good]}}
---
apiVersion: portreeve.dev/v1alpha1
kind: ApiPolicy
metadata: {name: orders, namespace: good}
spec:
  targetRefs: [{kind: ApiRoute, name: orders}]
  authentication:
    anyOf: [{introspection: {tokenServiceRef: {name: login, namespace: identity}, audiences: [https://orders.test]}}]
  authorization: {scopes: {allOf: [\"orders:read\"]}}
---
apiVersion: portreeve.dev/v1alpha1
kind: ClientRegistration
metadata: {name: web, namespace: good, creationTimestamp: \"2026-02-01T00:00:00Z\"}
spec:
  tokenServiceRef: {name: login, namespace: identity}
  metadata: {clientName: web, grantTypes: [client_credentials], scope: \"openid orders:read\"}
  access: [{apiRef: {name: orders}, scopes: [\"orders:read\"]}]
  credentialsSecretName: web
---
apiVersion: v1
kind: Pod
metadata: {name: orders-1, namespace: good, labels: {app: orders}}
---
apiVersion: v1
kind: Secret
metadata: {name: portreeve-gateway.identity.login, namespace: good, annotations: {portreeve.dev/registration: portreeve-gateway.identity.login}}
stringData: {client_id: good, client_secret: c4n4ry-good}
---
apiVersion: v1
kind: Pod
metadata: {name: orders-1, namespace: evil, labels: {app: orders}}
---
";

fn inventory(more: &str) -> Inventory {
    let mut manifests = Manifests::default();
    manifests.read("honest.yaml", HONEST);
    manifests.read("evil.yaml", more);
    let mut inventory = manifests.inventory;
    for (name, object) in portreeve_compiler::gateway_clients(&inventory) {
        inventory.registrations.entry(name).or_insert_with(|| Arc::new(object));
    }
    let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"});
    let endpoint = |path: &str| Some(format!("https://login.test{path}"));
    let found = Discovered {
        endpoints: DiscoveredEndpoints {
            introspection: endpoint("/introspect"),
            registration: endpoint("/reg"),
            token: endpoint("/token"),
            ..DiscoveredEndpoints::default()
        },
        keys: Some(KeySet::parse(json!({"keys": [key]}).to_string().as_bytes()).unwrap().0),
        ..Discovered::default()
    };
    inventory.discovered.insert("identity/login".parse().unwrap(), Arc::new(found));
    inventory
}

/// Everything of the honest namespaces that anybody can notice.
fn seen(inventory: &Inventory) -> BTreeMap<String, String> {
    let compiled = compile(inventory, OPTIONS);
    let honest = |name: &NamespacedName| name.namespace() != "evil";
    let mut seen = BTreeMap::new();
    for (pod, snapshot) in compiled.snapshots.iter().filter(|(pod, _)| honest(pod)) {
        let secrets: Vec<_> = snapshot.secrets.iter().map(|(n, s)| format!("{n}={:?}", s.expose_str())).collect();
        let held = json!({"routes": snapshot.routes.values().collect::<Vec<_>>(),
            "services": snapshot.token_services.values().collect::<Vec<_>>(), "secrets": secrets});
        seen.insert(format!("snapshot {pod}"), held.to_string());
    }
    for (object, status) in statuses(&compiled, &FleetView::default()) {
        if object.namespace != "evil" {
            seen.insert(format!("status {object}"), format!("{status:?}"));
        }
    }
    for (name, registration) in inventory.registrations.iter().filter(|(name, _)| honest(name)) {
        let told = match registration_target(inventory, OPTIONS, &compiled.scope_owners, registration) {
            RegistrationTarget::Resolved(target) => format!("{:?}", target.access),
            RegistrationTarget::Unresolved(reason, message) => format!("{reason}: {message}"),
        };
        seen.insert(format!("plan {name}"), told);
    }
    for reference in references(inventory).wanted {
        let text = format!("{reference:?}");
        if !text.contains("evil") {
            seen.insert(format!("read {text}"), String::new());
        }
    }
    seen
}

/// Which secret values the pods of a namespace hold.
fn held(compiled: &Compiled, namespace: &str) -> Vec<String> {
    let of = compiled.snapshots.iter().filter(|(pod, _)| pod.namespace() == namespace);
    of.flat_map(|(_, snapshot)| snapshot.secrets.values().map(|s| s.expose_str().unwrap().to_owned())).collect()
}

fn evil_route(access: &str) -> String {
    format!(
        "
apiVersion: portreeve.dev/v1alpha1
kind: ApiRoute
metadata: {{name: aaa, namespace: evil, creationTimestamp: \"2025-01-01T00:00:00Z\"}}
spec:
  workloadSelector: {{matchLabels: {{app: orders}}}}
  upstream: {{port: 8080}}
  rules: [{{name: all, matches: [{{path: {{type: PathPrefix, value: /}}}}]}}]
{access}
---
"
    )
}

fn evil_policy(credential: &str) -> String {
    format!(
        "
apiVersion: portreeve.dev/v1alpha1
kind: ApiPolicy
metadata: {{name: p, namespace: evil}}
spec:
  targetRefs: [{{kind: ApiRoute, name: aaa}}]
  authentication: {{anyOf: [{credential}]}}
---
"
    )
}

const JWT: &str = "{jwt: {tokenServiceRef: {name: login, namespace: identity}, audiences: [a]}}";
const OPAQUE: &str = "{introspection: {tokenServiceRef: {name: login, namespace: identity}, audiences: [a]}}";

#[test]
fn c3_a_route_of_another_namespace_ends_no_client() {
    let before = seen(&inventory(""));
    let plan = &before["plan good/web"];
    assert!(plan.contains("openid orders:read") && plan.contains("withheld: false"), "{plan}");
    for claim in ["[\"orders:read\"]", "[openid, profile, offline_access, \"orders:read\", \"*\"]"] {
        for more in ["", "  nonsense: 1\n"] {
            let route =
                evil_route(&format!("  access: {{scopes: {claim}, automatic: {{namespaces: [evil]}}}}\n{more}"));
            assert_eq!(seen(&inventory(&route)), before, "{claim} {more}");
        }
    }
}

#[test]
fn k2_a_route_without_a_grant_gives_its_own_clients_nothing() {
    let thief = "
apiVersion: portreeve.dev/v1alpha1
kind: ClientRegistration
metadata: {name: thief, namespace: evil}
spec:
  tokenServiceRef: {name: login, namespace: identity}
  metadata: {clientName: a, grantTypes: [client_credentials], scope: \"orders:read\"}
  access: [{apiRef: {name: aaa}, scopes: [\"orders:read\"]}]
  credentialsSecretName: thief
---
";
    let route = evil_route("  access: {scopes: [\"orders:read\"], automatic: {namespaces: [evil]}}\n");
    let inventory = inventory(&format!("{route}{thief}"));
    let compiled = compile(&inventory, OPTIONS);
    let registration = &inventory.registrations[&"evil/thief".parse().unwrap()];
    let RegistrationTarget::Resolved(target) =
        registration_target(&inventory, OPTIONS, &compiled.scope_owners, registration)
    else {
        panic!()
    };
    assert!(target.access.withheld && target.access.scope.is_empty(), "{:?}", target.access);
    let told = compiled.diagnostics.iter().any(|d| d.object.namespace == "evil" && d.message.contains("orders:read"));
    assert!(told, "the claim is reported");
}

#[test]
fn h6_a_rule_by_signed_tokens_gets_keys_and_no_secret() {
    let compiled = compile(&inventory(&format!("{}{}", evil_route(""), evil_policy(JWT))), OPTIONS);
    assert_eq!(held(&compiled, "evil"), Vec::<String>::new());
    let snapshot = &compiled.snapshots[&"evil/orders-1".parse().unwrap()];
    let service = &snapshot.token_services[&"identity/login".parse().unwrap()];
    assert_eq!((&service.introspection, &service.exchange), (&Introspection::Disabled, &TokenExchange::Disabled));
}

#[test]
fn k4_no_secret_crosses_namespaces_s1_o7() {
    let opaque = format!("{}{}", evil_route(""), evil_policy(OPAQUE));
    let compiled = compile(&inventory(&opaque), OPTIONS);
    assert_eq!(held(&compiled, "good"), ["c4n4ry-good"]);
    assert_eq!(held(&compiled, "evil"), Vec::<String>::new(), "its own client is not registered yet");
    let own = "
apiVersion: v1
kind: Secret
metadata: {name: portreeve-gateway.identity.login, namespace: evil, annotations: {portreeve.dev/registration: portreeve-gateway.identity.login}}
stringData: {client_id: evil, client_secret: c4n4ry-evil}
---
";
    let compiled = compile(&inventory(&format!("{opaque}{own}")), OPTIONS);
    assert_eq!(held(&compiled, "evil"), ["c4n4ry-evil"]);
    let alone = HONEST.replace(", perNamespace: {method: ClientSecretBasic}", "");
    let mut manifests = Manifests::default();
    manifests.read("a.yaml", &format!("{alone}{opaque}"));
    let compiled = compile(&manifests.inventory, OPTIONS);
    assert!(held(&compiled, "evil").is_empty() && held(&compiled, "good").is_empty());
    let cure = |d: &portreeve_compiler::Diagnostic| d.message.contains("spec.client.perNamespace");
    assert!(compiled.diagnostics.iter().any(cure), "the refusal says the cure");
}

#[test]
fn k9_a_secret_leaves_only_with_its_consent() {
    let service = |spec: &str| {
        format!(
            "apiVersion: portreeve.dev/v1alpha1\nkind: TokenService\nmetadata: {{name: mine, namespace: evil}}\nspec: \
             {{issuer: \"https://evil.test\", discovery: None, endpoints: {{registration: \"https://evil.test/r\", \
             introspection: \"https://evil.test/i\"}}, {spec}}}\n---\napiVersion: v1\nkind: Secret\nmetadata: {{name: \
             db, namespace: evil ANNOTATIONS}}\nstringData: {{client_id: a, client_secret: c4n4ry-db, token: \
             c4n4ry-db}}\n---\napiVersion: portreeve.dev/v1alpha1\nkind: ClientRegistration\nmetadata: {{name: c, \
             namespace: evil}}\nspec: {{tokenServiceRef: {{name: mine}}, credentialsSecretName: c, metadata: {{clientName: \
             c, grantTypes: [client_credentials]}}}}\n---\n"
        )
    };
    let token = service("registration: {initialAccessTokenRef: {name: db, key: token}}");
    let client = service("client: {secretRef: {name: db}}, introspection: {answer: Json}");
    let policy = evil_policy("{introspection: {tokenServiceRef: {name: mine}, audiences: [a]}}");
    for (uses, sends_token, sends_secret) in [
        ("", false, false),
        (", annotations: {portreeve.dev/use: something-else}", false, false),
        (", annotations: {portreeve.dev/use: \"registration:c\"}", false, false),
        (", annotations: {portreeve.dev/registration: c}", false, false),
        (", annotations: {portreeve.dev/use: initial-access-token}", true, false),
        (", annotations: {portreeve.dev/use: \"client-credentials , initial-access-token\"}", true, true),
    ] {
        let inventory_of =
            |text: &str| inventory(&format!("{}{}{policy}", text.replace(" ANNOTATIONS", uses), evil_route("")));
        let objects = inventory_of(&token);
        let compiled = compile(&objects, OPTIONS);
        let registration = &objects.registrations[&"evil/c".parse().unwrap()];
        let target = registration_target(&objects, OPTIONS, &compiled.scope_owners, registration);
        let sent = matches!(&target, RegistrationTarget::Resolved(target) if target.initial_access_token.is_some());
        assert_eq!(sent, sends_token, "token {uses}");
        if let RegistrationTarget::Unresolved(_, message) = target {
            assert!(message.contains("portreeve.dev/use: initial-access-token"), "{message}");
        }
        let compiled = compile(&inventory_of(&client), OPTIONS);
        assert_eq!(!held(&compiled, "evil").is_empty(), sends_secret, "client {uses}");
    }
}

/// O4: a reference to a TokenService of another namespace, by each kind of object, with the grant, without, and withdrawn.
#[test]
fn o4_references_across_namespaces_need_the_grant_of_the_owner() {
    let honest =
        |allowed: &str| HONEST.replace("allowedNamespaces: {from: All}", &format!("allowedNamespaces: {allowed}"));
    let labels = "apiVersion: v1\nkind: Namespace\nmetadata: {name: evil, labels: {tier: outer}}\n---\n";
    for (allowed, granted) in [
        ("{from: All}", true),
        ("{from: Same}", false),
        ("{from: Selector, matchLabels: {tier: outer}}", true),
        ("{from: Selector, matchLabels: {tier: inner}}", false),
    ] {
        let objects = format!(
            "{}{labels}{}{}
apiVersion: portreeve.dev/v1alpha1
kind: ClientRegistration
metadata: {{name: c, namespace: evil}}
spec: {{tokenServiceRef: {{name: login, namespace: identity}}, credentialsSecretName: c, metadata: {{clientName: c, grantTypes: [client_credentials]}}}}
",
            honest(allowed),
            evil_route(""),
            evil_policy(JWT)
        );
        let mut manifests = Manifests::default();
        manifests.read("a.yaml", &objects);
        let compiled = compile(&manifests.inventory, OPTIONS);
        let refused = |kind: &str| {
            let of =
                |d: &&portreeve_compiler::Diagnostic| d.object.namespace == "evil" && d.object.kind.as_str() == kind;
            compiled.diagnostics.iter().filter(of).any(|d| d.message.contains("is not open to namespace evil"))
        };
        assert_eq!((refused("ApiPolicy"), refused("ClientRegistration")), (!granted, !granted), "{allowed}");
        let snapshot = &compiled.snapshots[&"evil/orders-1".parse().unwrap()];
        assert_eq!(snapshot.token_services.is_empty(), !granted, "{allowed}");
    }
}

/// O1: Secrets and ConfigMaps are looked up in the namespace of the object that names them, whatever the name.
#[test]
fn o1_a_secret_of_another_namespace_cannot_be_named() {
    for name in ["gateway", "identity/gateway", "../identity/gateway", "identity.gateway"] {
        let credential = format!("{{apiKey: {{secretRefs: [{{name: \"{name}\"}}]}}}}");
        let compiled = compile(&inventory(&format!("{}{}", evil_route(""), evil_policy(&credential))), OPTIONS);
        assert!(held(&compiled, "evil").is_empty(), "{name}");
    }
}

fn with_keys(keys: &serde_json::Value) -> (Inventory, NamespacedName) {
    let mut inventory = inventory("");
    let login: NamespacedName = "identity/login".parse().unwrap();
    let (set, faults) = KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
    let left_out = faults.iter().map(ToString::to_string).collect();
    let mut found = inventory.discovered[&login].as_ref().clone();
    (found.keys, found.left_out) = (Some(set), left_out);
    inventory.discovered.insert(login.clone(), Arc::new(found));
    let policy = HONEST.replace("introspection: {tokenServiceRef", "jwt: {tokenServiceRef");
    let mut manifests = Manifests::default();
    manifests.read("a.yaml", &policy);
    manifests.inventory.discovered = inventory.discovered;
    (manifests.inventory, login)
}

/// A set without a usable key is the token service's fault, not the caller's: 503, and nobody is Ready.
#[test]
fn fault_09_without_a_usable_key_nobody_is_ready_and_each_key_is_named() {
    for (keys, told) in [
        (json!([]), "it is empty"),
        (json!([{"kty": "RSA", "n": "AQAB==", "e": "AQAB"}]), "key 0 of the set is not used: not base64url"),
        (json!([{"kty": "oct", "k": "AA"}, {"kty": "RSA", "x5c": ["AA"]}]), "key 1 of the set is not used"),
    ] {
        let (inventory, login) = with_keys(&keys);
        let compiled = compile(&inventory, OPTIONS);
        let snapshot = &compiled.snapshots[&"good/orders-1".parse().unwrap()];
        assert_eq!(snapshot.token_services[&login].keys, portreeve_policy::Keys::Unavailable, "{keys}");
        let statuses = statuses(&compiled, &FleetView::default());
        for (kind, place) in [("TokenService", "identity/login"), ("ApiRoute", "good/orders")] {
            let of = |(object, _): &(&portreeve_crds::ObjectRef, _)| object.to_string() == format!("{kind} {place}");
            let (_, status) = statuses.iter().find(of).unwrap();
            let ready = status.conditions.iter().find(|c| c.kind.to_string() == "Ready").unwrap();
            assert_eq!(ready.reason.to_string(), "NoUsableKeys", "{kind} {keys}");
            assert!(ready.message.contains(told), "{}", ready.message);
        }
    }
}

/// What the server registered counts, whatever was asked for (RFC 7591 section 3.2.1).
#[test]
fn fault_17_the_gateway_authenticates_as_the_server_registered_it() {
    use portreeve_policy::ClientAuthenticationMethod::{ClientSecretBasic, ClientSecretPost};
    for (named, expected) in [
        ("", Some(ClientSecretBasic)),
        ("client_secret_basic", Some(ClientSecretBasic)),
        ("client_secret_post", Some(ClientSecretPost)),
        ("tls_client_auth", None),
        ("none", None),
    ] {
        let method = if named.is_empty() { String::new() } else { format!(", token_endpoint_auth_method: {named}") };
        let text = HONEST.replace("client_secret: c4n4ry-good", &format!("client_secret: c4n4ry-good{method}"));
        let mut manifests = Manifests::default();
        manifests.read("a.yaml", &text);
        let mut objects = manifests.inventory;
        for (name, object) in portreeve_compiler::gateway_clients(&objects) {
            objects.registrations.insert(name, Arc::new(object));
        }
        objects.discovered = inventory("").discovered;
        let login: NamespacedName = "identity/login".parse().unwrap();
        let service = &objects.token_services[&login];
        let found = portreeve_compiler::gateway_credentials(&objects, &login, service, "good");
        assert_eq!(found.as_ref().ok().map(|(client, _)| &client.method), expected.as_ref(), "{named}");
        if let Err((_, message)) = found {
            assert!(message.contains(named), "{message}");
            let compiled = compile(&objects, OPTIONS);
            let told = statuses(&compiled, &FleetView::default());
            let route = told.iter().find(|(object, _)| object.to_string() == "ApiRoute good/orders").unwrap().1;
            let ready = route.conditions.iter().find(|c| c.kind.to_string() == "Ready").unwrap();
            assert!(ready.message.contains(named), "{}", ready.message);
        }
    }
}

/// O9: a Service that goes past the proxy is told of its ApiRoute; one of another namespace is none of its business.
#[test]
fn o9_a_service_past_the_proxy_is_told() {
    let mut objects = inventory("");
    let service = portreeve_compiler::PortService {
        selector: BTreeMap::from([("app".to_owned(), "orders".to_owned())]),
        target_ports: [8080].into(),
    };
    let told = |objects: &Inventory| {
        compile(objects, OPTIONS).diagnostics.iter().filter(|d| d.message.contains("past the proxy")).count()
    };
    objects.services.insert("evil/direct".parse().unwrap(), service.clone());
    assert_eq!(told(&objects), 0);
    objects.services.insert("good/direct".parse().unwrap(), service);
    assert_eq!(told(&objects), 1);
}

/// What is refused for want of a grant says nothing of what is behind it.
#[test]
fn o4_a_refusal_tells_nothing_of_the_other_namespace() {
    let text = HONEST.replace("allowedNamespaces: {from: All}", "allowedNamespaces: {from: Same}");
    let mut manifests = Manifests::default();
    manifests.read("a.yaml", &format!("{text}{}{}", evil_route(""), evil_policy(OPAQUE)));
    let compiled = compile(&manifests.inventory, OPTIONS);
    let told: String =
        compiled.diagnostics.iter().filter(|d| d.object.namespace == "evil").map(ToString::to_string).collect();
    assert!(!told.is_empty());
    for word in ["login.test", "gateway", "dcr", "good", "c4n4ry"] {
        assert!(!told.contains(word), "{word}: {told}");
    }
}

/// Texts of which hostile objects are made. Every one is of namespace `evil`.
fn hostile() -> impl Strategy<Value = String> {
    let scope = prop::sample::select(vec!["orders:read", "openid", "orders:*", "*", "payments", "offline_access"]);
    let route = (prop::collection::vec(scope.clone(), 0..4), any::<bool>(), 0..4_u8).prop_map(|(scopes, broken, kind)| {
        let scopes = scopes.iter().map(|scope| format!("\"{scope}\"")).collect::<Vec<_>>().join(", ");
        let access = match kind {
            0 => String::new(),
            1 => format!("  access: {{scopes: [{scopes}], automatic: {{namespaces: [good, evil]}}}}\n"),
            2 => format!("  access: {{scopes: \"{}\"}}\n", scopes.replace('"', "")),
            _ => format!(
                "  access: {{scopes: [{scopes}]}}\nstatus: {{ownedScopes: [{{tokenService: identity/login, scopes: [{scopes}]}}]}}\n"
            ),
        };
        evil_route(&format!("{access}{}", if broken && kind < 3 { "  nonsense: 1\n" } else { "" }))
    });
    let credential = prop::sample::select(vec![
        JWT,
        OPAQUE,
        "{jwt: {tokenServiceRef: {name: mine}, audiences: [a]}}",
        "{apiKey: {secretRefs: [{name: gateway}]}}",
        "{basic: {usersRef: {name: web, key: client_secret}}}",
        "{nonsense: {}}",
        "{exchange: {partnerRef: {name: mine}, partnerAudiences: [a], tokenServiceRef: {name: login, namespace: identity}, audience: a}}",
    ]);
    let policy =
        (credential, prop::sample::select(vec!["aaa", "orders"]), any::<bool>()).prop_map(|(one, target, over)| {
            let text = evil_policy(one).replace("name: aaa", &format!("name: {target}"));
            if over { text.replace("kind: ApiRoute, name", "kind: Namespace, name") } else { text }
        });
    let names = prop::sample::select(vec!["web", "gateway", "portreeve-gateway.identity.login", "zz"]);
    let registration = (names, scope, any::<bool>(), any::<bool>()).prop_map(|(name, scope, software, broken)| {
        let software = if software { ", softwareId: portreeve-gateway" } else { "" };
        let broken = if broken { ", nonsense: 1" } else { "" };
        format!(
            "apiVersion: portreeve.dev/v1alpha1\nkind: ClientRegistration\nmetadata: {{name: {name}, namespace: evil, labels: \
             {{portreeve.dev/gateway-client: \"true\"}}}}\nspec: {{tokenServiceRef: {{name: login, namespace: identity}}, \
             credentialsSecretName: {name}, metadata: {{clientName: a, grantTypes: [client_credentials], scope: \
             \"{scope}\"{software}}}, access: [{{apiRef: {{name: orders, namespace: good}}, scopes: [\"orders:read\"]}}]{broken}}}\n---\n"
        )
    });
    let service = prop::sample::select(vec!["mine", "login"]).prop_map(|name| {
        format!(
            "apiVersion: portreeve.dev/v1alpha1\nkind: TokenService\nmetadata: {{name: {name}, namespace: evil}}\nspec: {{issuer: \
             \"https://login.test\", allowedNamespaces: {{from: All}}, client: {{secretRef: {{name: gateway}}}}, scopes: \
             [{{pattern: \"*\", namespaces: [evil]}}]}}\n---\n"
        )
    });
    let pod = prop::sample::select(vec!["orders", "x"]).prop_map(|app| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p-{app}, namespace: evil, labels: {{app: {app}}}}}\n---\n"
        )
    });
    prop::collection::vec(prop_oneof![3 => route, 3 => policy, 3 => registration, 1 => service, 1 => pod], 0..8)
        .prop_map(|texts| texts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// B13: nothing of B changes, whatever A writes; and A holds no secret of another namespace.
    #[test]
    fn b13_nothing_of_one_namespace_changes_by_objects_of_another(text in hostile()) {
        thread_local!(static BEFORE: BTreeMap<String, String> = seen(&inventory("")));
        let inventory = inventory(&text);
        let after = seen(&inventory);
        BEFORE.with(|before| {
            prop_assert_eq!(&after, before);
            Ok(())
        })?;
        let compiled = compile(&inventory, OPTIONS);
        for secret in held(&compiled, "evil") {
            prop_assert!(!secret.contains("owner") && !secret.contains("good") && !secret.contains("dcr"), "{}", secret);
        }
        for route in compiled.routes.iter().filter(|(name, _)| name.namespace() == "evil").map(|(_, route)| route) {
            for rule in &route.rules {
                if let Some(guard) = rule.state.guard() {
                    prop_assert!(guard.authentication != Authentication::Anonymous);
                }
            }
        }
    }
}

/// B13: the time to compile follows the number of objects, whoever wrote them.
#[test]
fn b13_the_time_to_compile_stays_within_a_bound() {
    let time = |text: &str| {
        let inventory = inventory(text);
        let began = Instant::now();
        let compiled = compile(&inventory, OPTIONS);
        assert!(!compiled.snapshots.is_empty());
        began.elapsed()
    };
    let scopes = (0..64).map(|i| format!("\"orders:{i}\"")).collect::<Vec<_>>().join(", ");
    let route = |i: usize| {
        evil_route(&format!("  access: {{scopes: [{scopes}]}}\n")).replace("name: aaa", &format!("name: r{i}"))
    };
    let registration = |i: usize| {
        format!(
            "apiVersion: portreeve.dev/v1alpha1\nkind: ClientRegistration\nmetadata: {{name: c{i}, namespace: evil}}\nspec: \
             {{tokenServiceRef: {{name: login, namespace: identity}}, credentialsSecretName: c{i}, metadata: {{clientName: a, \
             grantTypes: [client_credentials], scope: \"orders:1 orders:2\"}}}}\n---\n"
        )
    };
    let both = |i: usize| [route(i), registration(i)].concat();
    let many = |count: usize| (0..count).map(both).collect::<Vec<_>>().concat();
    let (some, more) = (time(&many(50)), time(&many(200)));
    assert!(more < some * 40 + std::time::Duration::from_millis(500), "50 objects of each {some:?}, 200 {more:?}");
}
