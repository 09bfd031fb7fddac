use portreeve_crds::v1alpha1::ClientRegistration;

use super::*;
use crate::manifest::Manifests;

fn inventory(limits: &str, more: &str) -> Inventory {
    let mut manifests = Manifests::default();
    manifests.read(
        "a.yaml",
        &format!(
            "
apiVersion: portreeve.dev/v1alpha1
kind: TokenService
metadata: {{name: login, namespace: identity}}
spec:
  issuer: https://login.test
  allowedNamespaces: {{from: All}}
  client: {{perNamespace: {{}}}}
  registration: {{limits: {limits}}}
---
{more}"
        ),
    );
    assert!(manifests.faults.is_empty(), "{:?}", manifests.faults);
    manifests.inventory
}

fn registration(namespace: &str, name: &str, metadata: &str) -> String {
    format!(
        "
apiVersion: portreeve.dev/v1alpha1
kind: ClientRegistration
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  tokenServiceRef: {{name: login, namespace: identity}}
  credentialsSecretName: web
  metadata: {{clientName: web, {metadata}}}
---
"
    )
}

fn refused(inventory: &Inventory, registration: &str) -> Option<String> {
    let registration: ClientRegistration = serde_saphyr::from_str(registration.trim_end_matches("---\n")).unwrap();
    let name = "identity/login".parse().unwrap();
    let found = check_limits(inventory, &name, &inventory.token_services[&name], &registration);
    found.err().map(|(reason, message)| {
        assert_eq!(reason, ConditionReason::LimitExceeded);
        message
    })
}

#[test]
fn k5_the_owner_bounds_what_each_namespace_registers() {
    let limits = "[{namespaces: [shop], grantTypes: [client_credentials], softwareIds: [\"shop-*\"], \
                  redirectHosts: [shop.test, \"*.shop.test\"]}, {namespaces: [open]}]";
    let machine = "grantTypes: [client_credentials]";
    let web = |uri: &str| format!("grantTypes: [client_credentials], redirectUris: [\"{uri}\"]");
    for (namespace, metadata, field) in [
        ("shop", machine.to_owned(), ""),
        ("shop", format!("{machine}, softwareId: shop-web"), ""),
        ("shop", format!("{machine}, softwareId: portreeve-gateway"), "softwareId"),
        ("shop", "grantTypes: [client_credentials, refresh_token]".to_owned(), "grantTypes"),
        ("shop", web("https://shop.test/cb"), ""),
        ("shop", web("https://a.shop.test/cb"), ""),
        ("shop", web("https://evil.test/cb"), "redirectUris"),
        ("shop", web("https://shop.test.evil.test/cb"), "redirectUris"),
        ("shop", web("https://shop.test@evil.test/cb"), "redirectUris"),
        ("shop", web("custom:/cb"), "redirectUris"),
        ("shop", format!("{machine}, additional: {{logo_uri: \"https://evil.test/x\"}}"), "additional"),
        ("shop", format!("{machine}, additional: {{org: a}}"), ""),
        ("open", web("https://evil.test/cb"), ""),
        ("open", format!("{machine}, softwareId: a"), "softwareId"),
        ("tenant", machine.to_owned(), "anything"),
        ("identity", format!("{machine}, softwareId: a"), ""),
    ] {
        let told = refused(&inventory(limits, ""), &registration(namespace, "web", &metadata));
        assert_eq!(told.is_some(), !field.is_empty(), "{namespace} {metadata}: {told:?}");
        assert!(told.is_none_or(|told| told.contains(field)), "{namespace} {metadata}");
    }
}

#[test]
fn k5_without_limits_another_namespace_chooses_no_software_identifier() {
    let open = inventory("[]", "");
    let of = |namespace, metadata: &str| refused(&open, &registration(namespace, "web", metadata));
    let gateway = "grantTypes: [client_credentials], softwareId: portreeve-gateway";
    assert!(of("tenant", gateway).is_some() && of("identity", gateway).is_none());
    assert!(of("tenant", "grantTypes: [client_credentials]").is_none());
}

#[test]
fn k5_the_number_of_clients_is_bounded_and_the_oldest_count_first() {
    let machine = "grantTypes: [client_credentials]";
    let all: String = ["a", "b", "c"].map(|name| registration("shop", name, machine)).concat();
    let held = inventory("[{maxClients: 2}]", &all);
    let told = ["a", "b", "c"].map(|name| refused(&held, &registration("shop", name, machine)).is_some());
    assert_eq!(told, [false, false, true]);
    assert!(refused(&held, &registration("other", "z", machine)).is_none(), "each namespace by itself");
}

#[test]
fn c3_scopes_that_nobody_owns_are_the_owners_to_give() {
    let name = "identity/login".parse().unwrap();
    for (limits, namespace, scope, expected) in [
        ("[]", "shop", "openid", false),
        ("[]", "identity", "openid", true),
        ("[{namespaces: [shop], scopes: [openid]}]", "shop", "openid", true),
        ("[{namespaces: [shop], scopes: [openid]}]", "shop", "payments:write", false),
        ("[{namespaces: [shop], scopes: [openid]}]", "tenant", "openid", false),
        ("[{scopes: [\"*\"]}]", "tenant", "payments:write", true),
        ("[{namespaces: [identity], scopes: [a]}]", "identity", "b", false),
        ("[{namespaces: [identity]}]", "identity", "b", true),
    ] {
        let inventory = inventory(limits, "");
        let service = &inventory.token_services[&name];
        assert_eq!(free_scope(&inventory, &name, service, namespace, scope), expected, "{limits} {namespace} {scope}");
    }
}
