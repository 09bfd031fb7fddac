use serde_json::{Value, json};

use super::ClientMetadata;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn machine() -> ClientMetadata {
    ClientMetadata { grant_types: words(&["client_credentials"]), ..ClientMetadata::default() }
}

fn web() -> ClientMetadata {
    ClientMetadata {
        grant_types: words(&["authorization_code"]),
        redirect_uris: words(&["https://shop.example.com/cb"]),
        ..ClientMetadata::default()
    }
}

fn field(metadata: ClientMetadata) -> Option<String> {
    metadata.validate().err().map(|invalid| invalid.field().to_owned())
}

#[test]
fn writes_the_exact_member_names_and_the_lists_that_have_defaults() {
    let mut metadata = machine();
    metadata.client_name = Some("shop".to_owned());
    metadata.scope = Some("orders:read".to_owned());
    metadata.vendor.insert("org_unit".to_owned(), json!("team-a"));
    let document = Value::Object(metadata.validate().unwrap().document().clone());
    assert_eq!(
        document,
        json!({
            "client_name": "shop", "scope": "orders:read", "org_unit": "team-a", "grant_types": ["client_credentials"],
            "response_types": [], "redirect_uris": [], "token_endpoint_auth_method": "client_secret_basic",
        })
    );
}

#[test]
fn derives_response_types_from_grant_types() {
    for (grants, responses) in [
        (vec!["client_credentials"], json!([])),
        (vec!["authorization_code", "refresh_token"], json!(["code"])),
        (vec!["authorization_code", "implicit"], json!(["code", "token"])),
        (vec!["urn:ietf:params:oauth:grant-type:token-exchange"], json!([])),
    ] {
        let metadata = ClientMetadata { grant_types: words(&grants), ..web() };
        assert_eq!(metadata.validate().unwrap().document().get("response_types"), Some(&responses), "{grants:?}");
    }
}

#[test]
fn keeps_grant_and_response_types_consistent() {
    // RFC 7591 section 2.1
    for (grants, responses, consistent) in [
        (vec!["authorization_code"], vec!["code"], true),
        (vec!["authorization_code", "implicit"], vec!["code id_token"], true),
        (vec!["implicit"], vec!["token"], true),
        (vec!["implicit"], vec!["id_token"], true),
        (vec!["client_credentials"], vec!["code"], false),
        (vec!["authorization_code"], vec!["token"], false),
        (vec!["authorization_code", "implicit"], vec!["code"], false),
        (vec!["authorization_code"], vec!["code token"], false),
        (vec!["authorization_code"], vec!["code  x"], false),
        (vec!["authorization_code"], vec!["code", "code"], false),
    ] {
        let metadata = ClientMetadata { grant_types: words(&grants), response_types: words(&responses), ..web() };
        let expected = if consistent { None } else { Some("response_types".to_owned()) };
        assert_eq!(field(metadata), expected, "{grants:?} {responses:?}");
    }
    for grants in [vec![], vec!["magic"], vec!["client_credentials", "client_credentials"], vec!["urn with blank:x"]] {
        assert_eq!(field(ClientMetadata { grant_types: words(&grants), ..machine() }).unwrap(), "grant_types");
    }
}

#[test]
fn takes_only_redirect_uris_that_cannot_leak_a_code() {
    for (uri, good) in [
        ("https://shop.example.com/cb?x=1", true),
        ("http://127.0.0.1:8080/cb", true),
        ("http://[::1]/cb", true),
        ("http://localhost/cb", true),
        ("com.example.app:/cb", true),
        ("/cb", false),
        ("https://shop.example.com/cb#x", false),
        ("https://shop.example.com/cb#", false),
        ("https://me@shop.example.com/cb", false),
        ("https://*.example.com/cb", false),
        ("http://shop.example.com/cb", false),
        ("http://127.0.0.1.evil.test/cb", false),
        ("javascript:alert(1)", false),
        ("data:text/html,x", false),
        ("myapp:/cb", false),
        (" https://shop.example.com/cb", false),
        ("https://shop.example.com/c\tb", false),
        ("", false),
    ] {
        let metadata = ClientMetadata { redirect_uris: words(&[uri]), ..web() };
        assert_eq!(field(metadata).is_none(), good, "{uri}");
    }
    assert_eq!(field(ClientMetadata { redirect_uris: vec![], ..web() }).unwrap(), "redirect_uris");
}

#[test]
fn checks_authentication_method_against_keys_and_grants() {
    let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "x", "y": "y"}]});
    let method = |method: &str, base: ClientMetadata| {
        ClientMetadata { token_endpoint_auth_method: Some(method.to_owned()), ..base }.validate().err()
    };
    assert!(method("client_secret_post", machine()).is_none());
    assert!(method("none", web()).is_none());
    assert!(method("urn:example:method", web()).is_none());
    assert!(method("none", machine()).is_some());
    assert!(method("magic", web()).is_some());
    assert!(method("private_key_jwt", machine()).is_some());
    assert!(method("private_key_jwt", ClientMetadata { jwks: Some(keys), ..machine() }).is_none());
}

#[test]
fn refuses_private_keys() {
    for (jwks, good) in [
        (json!({"keys": [{"kty": "RSA", "n": "n", "e": "AQAB"}]}), true),
        (json!({"keys": [{"kty": "RSA", "n": "n", "e": "AQAB", "d": "d"}]}), false),
        (json!({"keys": [{"kty": "oct", "k": "k"}]}), false),
        (json!({"keys": [{"n": "n"}]}), false),
        (json!({"keys": []}), false),
        (json!([]), false),
    ] {
        let shown = jwks.to_string();
        assert_eq!(field(ClientMetadata { jwks: Some(jwks), ..machine() }).is_none(), good, "{shown}");
    }
}

#[test]
fn refuses_vendor_members_that_shadow_the_standards() {
    for name in ["client_id", "client_secret", "scope", "registration_access_token", "software_statement", "jwks"] {
        let mut metadata = machine();
        metadata.vendor.insert(name.to_owned(), json!("x"));
        assert_eq!(field(metadata).unwrap(), name);
    }
    for (name, value, good) in [
        ("logo_uri", json!("https://shop.example.com/logo.png"), true),
        ("org", json!({"unit": [1, 2]}), true),
        ("org", Value::Null, false),
        ("", json!(1), false),
        ("a\nb", json!(1), false),
        ("big", json!("x".repeat(40_000)), false),
    ] {
        let mut metadata = machine();
        metadata.vendor.insert(name.to_owned(), value);
        assert_eq!(field(metadata).is_none(), good, "{name}");
    }
    let mut metadata =
        ClientMetadata { jwks: Some(json!({"keys": [{"kty": "RSA", "n": "n", "e": "AQAB"}]})), ..machine() };
    metadata.vendor.insert("jwks_uri".to_owned(), json!("https://shop.example.com/jwks"));
    assert_eq!(field(metadata).unwrap(), "jwks_uri");
}

#[test]
fn checks_texts_and_scopes() {
    for (scope, good) in [("a", true), ("a b:c/d", true), ("", false), ("a  b", false), (" a", false), ("a\"b", false)]
    {
        assert_eq!(field(ClientMetadata { scope: Some(scope.to_owned()), ..machine() }).is_none(), good, "{scope}");
    }
    for (uri, good) in [("https://shop.example.com", true), ("ftp://shop.example.com", false), ("shop", false)] {
        assert_eq!(field(ClientMetadata { client_uri: Some(uri.to_owned()), ..machine() }).is_none(), good, "{uri}");
    }
    assert_eq!(field(ClientMetadata { client_name: Some("a\nb".to_owned()), ..machine() }).unwrap(), "client_name");
    assert_eq!(field(ClientMetadata { contacts: words(&["a", "a"]), ..machine() }).unwrap(), "contacts");
}
