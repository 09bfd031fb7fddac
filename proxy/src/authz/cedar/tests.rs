use http::HeaderMap;
use portreeve_policy::{CanonicalPath, PathMatch};
use serde_json::{Value, json};

use super::*;
use crate::{authn::VerifiedCredential, authz::PathParameters, clock::UnixMillis};

fn check(text: &str, reads: &Value) -> CedarCheck {
    let rule = json!({
        "text": text, "roles": "$.roles", "groups": "$.groups", "pathParameters": ["tenant"], "headers": ["x-channel"],
        "reads": reads,
        "claims": {
            "tenant": {"path": "$.tenant", "kind": "String", "optional": false},
            "level": {"path": "$.level", "kind": "Long", "optional": true},
        },
    });
    CedarCheck::new(&serde_json::from_value(rule).unwrap(), "shop/orders", "read").unwrap()
}

struct Given {
    credential: VerifiedCredential,
    method: &'static str,
    address: &'static str,
    path: &'static str,
    channel: &'static [&'static str],
    tls: bool,
}

fn given(more: &Value) -> Given {
    let mut claims = json!({"iss": "https://login.example.com", "sub": "ada", "client_id": "shop", "scope": "a b"});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let credential = VerifiedCredential::of_claims_for_tests(&claims);
    Given {
        credential,
        method: "GET",
        address: "10.0.0.1",
        path: "/tenants/acme/orders",
        channel: &["shop"],
        tls: true,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Permitted,
    Refused(Forbidden),
}

const DENIED: Verdict = Verdict::Refused(Forbidden::CedarDenied);
const UNDECIDABLE: Verdict = Verdict::Refused(Forbidden::CedarUndecidable);

fn judge(check: &CedarCheck, given: &Given) -> Verdict {
    let mut headers = HeaderMap::new();
    for line in given.channel {
        headers.append("x-channel", line.parse().unwrap());
    }
    let path = CanonicalPath::parse(given.path).unwrap();
    let template = PathMatch::Template("/tenants/{tenant}/orders".to_owned().try_into().unwrap());
    let asked = AuthorizationInput {
        caller: Some(&given.credential),
        address: given.address.parse().ok(),
        tls: Some(given.tls),
        method: given.method,
        host: Some("orders.example.com"),
        path: path.as_str(),
        parameters: PathParameters::new(&path, Some(&template)),
        headers: &headers,
        now: UnixMillis(1_795_392_000_000),
    };
    match check.judge(&asked) {
        Ok(()) => Verdict::Permitted,
        Err(Refusal::Forbidden(why)) => Verdict::Refused(why),
        Err(other @ (Refusal::DecisionPointUnavailable | Refusal::InsufficientScope | Refusal::NoCaller)) => {
            panic!("{other:?}")
        }
    }
}

#[test]
fn every_attribute_can_decide() {
    let clerk = json!({"tenant": "acme", "roles": ["clerk"], "groups": "sales", "level": 3});
    for (text, reads, holds) in [
        (r#"permit(principal in Role::"clerk", action, resource);"#, json!([]), true),
        (r#"permit(principal in Role::"root", action, resource);"#, json!([]), false),
        (r#"permit(principal in Group::"sales", action == Action::"GET", resource);"#, json!([]), true),
        (r#"permit(principal == User::"https://login.example.com#ada", action, resource);"#, json!([]), true),
        (r#"permit(principal, action, resource) when { principal.client == Client::"shop" };"#, json!([]), true),
        (r#"permit(principal, action, resource) when { principal.scopes.contains("b") };"#, json!([]), true),
        ("permit(principal, action, resource) when { principal has level && principal.level > 3 };", json!([]), false),
        (r#"permit(principal, action, resource == Rule::"shop/orders/read");"#, json!([]), true),
        (r#"permit(principal, action, resource in Route::"shop/orders");"#, json!(["resource"]), true),
        (
            "permit(principal, action, resource) when \
             { resource.parameters has tenant && resource.parameters.tenant == principal.tenant };",
            json!(["resource"]),
            true,
        ),
        (
            r#"permit(principal, action, resource) when { context.address.isInRange(ip("10.0.0.0/8")) };"#,
            json!(["address"]),
            true,
        ),
        (
            r#"permit(principal, action, resource) when { context.time < datetime("2026-11-23T00:00:00.001Z") };"#,
            json!(["time"]),
            true,
        ),
        ("permit(principal, action, resource) when { context.tls };", json!(["tls"]), true),
        (
            r#"permit(principal, action, resource) when { context.host == "orders.example.com" };"#,
            json!(["host"]),
            true,
        ),
        (r#"permit(principal, action, resource) when { context.path like "/tenants/*" };"#, json!(["path"]), true),
        (
            r#"permit(principal, action, resource) when
               { context.headers has "x-channel" && ["shop"].containsAll(context.headers["x-channel"]) };"#,
            json!(["headers"]),
            true,
        ),
        (
            "permit(principal, action, resource); forbid(principal, action, resource) when { context.tls };",
            json!(["tls"]),
            false,
        ),
    ] {
        let told = judge(&check(text, &reads), &given(&clerk));
        assert_eq!(told, if holds { Verdict::Permitted } else { DENIED }, "{text}");
    }
}

#[test]
fn whatever_cannot_be_judged_is_refused() {
    let open = check("permit(principal, action, resource);", &json!([]));
    for (claims, verdict) in [
        (json!({"tenant": "acme"}), Verdict::Permitted),
        (json!({}), UNDECIDABLE),
        (json!({"tenant": 7}), UNDECIDABLE),
        (json!({"tenant": ["acme"]}), UNDECIDABLE),
        (json!({"tenant": "acme", "level": "3"}), UNDECIDABLE),
        (json!({"tenant": "acme", "level": 3.5}), UNDECIDABLE),
        (json!({"tenant": "acme", "level": 1e300}), UNDECIDABLE),
        (json!({"tenant": "acme", "roles": [{"name": "clerk"}]}), UNDECIDABLE),
    ] {
        assert_eq!(judge(&open, &given(&claims)), verdict, "{claims}");
    }
    let acme = json!({"tenant": "acme", "level": i64::MAX});
    assert_eq!(judge(&open, &Given { method: "PURGE", ..given(&acme) }), UNDECIDABLE);
    // Cedar leaves a policy that fails out of the decision; a `forbid` that is left out would permit.
    let failing = "permit(principal, action, resource); \
                   forbid(principal, action, resource) when { principal has level && principal.level + 1 > 0 };";
    assert_eq!(judge(&check(failing, &json!([])), &given(&acme)), UNDECIDABLE);
}

#[test]
fn a_remembered_decision_is_never_used_for_another_request() {
    let text = r#"permit(principal in Role::"clerk", action == Action::"GET", resource) when {
        context.tls && context.address.isInRange(ip("10.0.0.0/8")) && context.path like "/tenants/*" &&
        context.headers has "x-channel" && ["shop"].containsAll(context.headers["x-channel"]) &&
        resource.parameters has tenant && resource.parameters.tenant == principal.tenant };"#;
    let check = check(text, &json!(["address", "headers", "path", "resource", "tls"]));
    let clerk = json!({"tenant": "acme", "roles": ["clerk"]});
    for _ in 0..2 {
        assert_eq!(judge(&check, &given(&clerk)), Verdict::Permitted);
        for other in [
            Given { method: "PUT", ..given(&clerk) },
            Given { address: "11.0.0.1", ..given(&clerk) },
            Given { path: "/tenants/other/orders", ..given(&clerk) },
            Given { channel: &[], ..given(&clerk) },
            Given { channel: &["shop", "admin"], ..given(&clerk) },
            Given { channel: &["admin"], ..given(&clerk) },
            Given { tls: false, ..given(&clerk) },
            given(&json!({"tenant": "acme", "roles": []})),
            given(&json!({"tenant": "other", "roles": ["clerk"]})),
        ] {
            assert_eq!(judge(&check, &other), DENIED);
        }
    }
}
