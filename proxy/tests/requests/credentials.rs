//! API keys, Basic, Digest, combinations, minted tokens, metadata of protected resources.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on shall say so by panicking")]

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    fixture::{Fixture, Reply, Signer, guarded, jwt_rule, open_rule},
    setup::{Setup, claims_of, key_line, now},
};

const KEY: &str = "prk_k3y0_0123456789abcdefghij";
const OLD_KEY: &str = "prk_k3y1_0123456789abcdefghij";
const ENDED_KEY: &str = "prk_k3y2_0123456789abcdefghij";

fn api_key(location: &Value) -> Value {
    json!({"apiKey": {"source": {"digests": ["default/keys#keys"]}, "location": location, "upstreamToken": "none"}})
}

fn key_file() -> String {
    [
        key_line("acme", KEY, "scope=orders:read"),
        key_line("acme", OLD_KEY, &format!("not-after={}", now() + 600)),
        key_line("other", ENDED_KEY, &format!("not-after={}", now() - 1)),
        key_line("other", "prk_k3y3_0123456789abcdefghij", &format!("not-before={}", now() + 600)),
    ]
    .concat()
}

fn reason(reply: &Reply) -> String {
    reply.json()["reason"].as_str().unwrap().to_owned()
}

fn get(fixture: &Fixture, target: &str, headers: &str) -> Reply {
    fixture.send(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n"))
}

#[test]
fn api_keys_name_their_consumer_and_never_go_on() {
    let fixture = Setup::default()
        .rule("h", &json!([{"allOf": [api_key(&json!({"header": "x-api-key"}))]}]))
        .rule("q", &json!([{"allOf": [api_key(&json!({"query": "key"}))]}]))
        .rule("c", &json!([{"allOf": [api_key(&json!({"cookie": "key"}))]}]))
        .raw({
            let mut rule = open_rule("s", "/s");
            rule["state"] = guarded(&json!([{"allOf": [api_key(&json!({"header": "x-api-key"}))]}]), "orders:read");
            rule
        })
        .secret("default/keys#keys", &key_file())
        .start();
    for (target, headers, status) in [
        ("/h", format!("X-API-Key: {KEY}\r\n"), 200),
        ("/h", format!("X-API-Key: {OLD_KEY}\r\n"), 200),
        ("/h", format!("X-API-Key: {ENDED_KEY}\r\n"), 401),
        ("/h", "X-API-Key: prk_k3y3_0123456789abcdefghij\r\n".to_owned(), 401),
        ("/h", "X-API-Key: prk_k3y0_0123456789abcdefghix\r\n".to_owned(), 401),
        ("/h", "X-API-Key: prk_none_0123456789abcdefghij\r\n".to_owned(), 401),
        ("/h", "X-API-Key: \r\n".to_owned(), 400),
        ("/h", format!("X-API-Key: {KEY}\r\nX-API-Key: {KEY}\r\n"), 400),
        ("/h", format!("X-API-Key: {}\r\n", "a".repeat(5000)), 400),
        ("/h", String::new(), 401),
        ("/h", format!("Authorization: Bearer {KEY}\r\n"), 401),
        (&format!("/q?a=1&key={KEY}&b=2"), String::new(), 200),
        (&format!("/q?key={KEY}&key={KEY}"), String::new(), 400),
        ("/q?a=1", String::new(), 401),
        ("/c", format!("Cookie: a=1; key={KEY}; b=2\r\n"), 200),
        ("/c", "Cookie: a=1\r\n".to_owned(), 401),
        ("/s", format!("X-API-Key: {KEY}\r\n"), 200),
        ("/s", format!("X-API-Key: {OLD_KEY}\r\n"), 403),
    ] {
        let reply = get(&fixture, target, &headers);
        assert_eq!(reply.status, status, "{target} {headers} {}", reply.body);
        if status == 401 {
            assert!(reply.header("www-authenticate").starts_with("ApiKey "), "{target} {headers}");
        }
    }
    let seen = fixture.app_log().join("");
    assert!(!seen.contains("prk_") && !seen.to_ascii_lowercase().contains("x-api-key"), "{seen}");
    assert!(seen.contains("GET /q?a=1&b=2 HTTP/1.1") && seen.contains("cookie: a=1; b=2\r\n"), "{seen}");
    let record = fixture.record("permitted");
    assert_eq!((record["subject"].as_str(), record["client_id"].as_str()), (Some("acme"), Some("acme")));
    let metrics = fixture.admin("/metrics").body;
    let used = |id: &str| {
        let line = metrics.lines().find(|line| line.contains("api_key_last_use") && line.contains(id)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert!(used("k3y0") > 1e9 && used("k3y2") == 0.0, "{metrics}");
}

#[test]
fn self_contained_keys_are_of_their_own_type_j16() {
    let signer = Signer::new();
    let (set, _) = portreeve_policy::KeySet::parse(signer.key_set().to_string().as_bytes()).unwrap();
    let rule = json!({"apiKey": {
        "source": {"signed": {"keys": set, "audience": "orders"}}, "location": {"header": "x-api-key"},
        "upstreamToken": "none",
    }});
    let fixture = Setup::default().rule("h", &json!([{"allOf": [rule]}])).start();
    let key = |typ: &str, audience: &str, end: u64| {
        let header = json!({"alg": "EdDSA", "kid": "ed-1", "typ": typ});
        signer.sign_as(&header, &json!({"sub": "acme", "aud": audience, "exp": end}))
    };
    for (key, status) in [
        (key("key+jwt", "orders", now() + 60), 200),
        (format!("prk_{}", key("key+jwt", "orders", now() + 60)), 200),
        (key("at+jwt", "orders", now() + 60), 401),
        (key("JWT", "orders", now() + 60), 401),
        (key("key+jwt", "other", now() + 60), 401),
        (key("key+jwt", "orders", now() - 1), 401),
        (
            signer.sign_as(
                &json!({"alg": "EdDSA", "kid": "ed-1", "typ": "key+jwt"}),
                &json!({"sub": "a", "aud": "orders"}),
            ),
            401,
        ),
    ] {
        assert_eq!(get(&fixture, "/h", &format!("X-API-Key: {key}\r\n")).status, status, "{key}");
    }
}

/// Who signs keys speaks for no issuer and proves no binding; and nobody is somebody else for having the same name.
#[test]
fn m4_l6_a_key_names_no_issuer_and_callers_of_other_kinds_are_other_principals() {
    let signer = Signer::new();
    let (set, _) = portreeve_policy::KeySet::parse(signer.key_set().to_string().as_bytes()).unwrap();
    let key_rule = json!({"apiKey": {
        "source": {"signed": {"keys": set, "audience": "orders", "signers": "ConfigMap/default/signers/keys"}},
        "location": {"header": "x-api-key"}, "upstreamToken": "none",
    }});
    let basic_rule = json!({"basic": {"realm": "team", "users": "default/team#htpasswd", "upstreamToken": "none"}});
    let cedar = |principal: &str| {
        json!({"allOf": [{"cedar": {
            "text": format!("permit(principal == User::\"{principal}\", action, resource);"), "roles": null,
            "groups": null, "pathParameters": [], "headers": [], "claims": {}, "reads": [],
        }}]})
    };
    let rule = |name: &str, principal: &str| {
        let mut rule = open_rule(name, &format!("/{name}"));
        let alternatives = json!([{"allOf": [key_rule]}, {"allOf": [basic_rule]}]);
        rule["state"] = json!({"ready": {"limits": "none",
            "authentication": {"anyOf": alternatives}, "authorization": cedar(principal),
        }});
        rule
    };
    let users = format!("admin:{}\n", bcrypt::hash("s3cret", 4).unwrap());
    let fixture = Setup::default()
        .raw(rule("token", "https://login.example.com#admin"))
        .raw(rule("nameless", "#admin"))
        .raw(rule("key", "signedApiKey:ConfigMap/default/signers/keys#admin"))
        .raw(rule("basic", "basic:default/team/htpasswd#admin"))
        .secret("default/team#htpasswd", &users)
        .start();
    let key = |more: Value| {
        let mut claims = json!({"sub": "admin", "aud": "orders", "exp": now() + 60});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        format!("X-API-Key: {}\r\n", signer.sign_as(&json!({"alg": "EdDSA", "kid": "ed-1", "typ": "key+jwt"}), &claims))
    };
    let (plain, named) = (key(json!({})), key(json!({"iss": "https://login.example.com"})));
    let bound = key(json!({"cnf": {"jkt": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}));
    let password = basic("admin", "s3cret");
    for (path, headers, status) in [
        ("/key", &plain, 200),
        ("/basic", &password, 200),
        ("/key", &password, 403),
        ("/basic", &plain, 403),
        ("/nameless", &plain, 403),
        ("/nameless", &password, 403),
        ("/token", &plain, 403),
        ("/token", &password, 403),
        ("/token", &named, 401),
        ("/key", &named, 401),
        ("/key", &bound, 401),
    ] {
        assert_eq!(get(&fixture, path, headers).status, status, "{path} {headers}");
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{password}")))
}

#[test]
fn passwords_are_checked_once_and_guesses_get_slower() {
    let users = format!("ann:{}\nbob:{}\n", bcrypt::hash("s3cret", 4).unwrap(), bcrypt::hash("b0b", 4).unwrap());
    let rule = json!({"basic": {"realm": "team", "users": "default/team#htpasswd", "upstreamToken": "none"}});
    let fixture =
        Setup::default().rule("b", &json!([{"allOf": [rule]}])).secret("default/team#htpasswd", &users).start();
    for (headers, status) in [
        (basic("ann", "s3cret"), 200),
        (basic("ann", "s3cret"), 200),
        (basic("bob", "s3cret"), 401),
        (basic("nobody", "s3cret"), 401),
        ("Authorization: Basic !!!\r\n".to_owned(), 400),
        ("Authorization: Basic YW5u\r\n".to_owned(), 400),
        (String::new(), 401),
    ] {
        let reply = get(&fixture, "/b", &headers);
        assert_eq!(reply.status, status, "{headers} {}", reply.body);
        if status == 401 {
            assert_eq!(reply.header("www-authenticate"), "Basic realm=\"team\", charset=\"UTF-8\"");
        }
    }
    assert!(!fixture.app_log().join("").contains("authorization:"), "the password stays here");
    let mut statuses: Vec<_> =
        (0..8).map(|n| get(&fixture, "/b", &basic("bob", &format!("guess {n}"))).status).collect();
    assert_eq!(statuses.pop(), Some(429), "{statuses:?}");
    assert!(get(&fixture, "/b", &basic("bob", "b0b")).header("retry-after").parse::<u64>().unwrap() >= 1);
    // A password that was right before is still known, whatever others try (I10).
    assert_eq!(get(&fixture, "/b", &basic("ann", "s3cret")).status, 200);
    let records = fixture.count_records("reason", "wrong_password");
    assert!(records >= 6, "{records}");
}

struct DigestAnswer<'a> {
    user: &'a str,
    password: &'a str,
    nonce: &'a str,
    count: u32,
    uri: &'a str,
    algorithm: &'a str,
}

impl DigestAnswer<'_> {
    fn header(&self) -> String {
        let hash = |text: String| -> String {
            digest(&SHA256, text.as_bytes()).as_ref().iter().fold(String::new(), |all, byte| format!("{all}{byte:02x}"))
        };
        let Self { user, password, nonce, count, uri, algorithm } = self;
        let a1 = hash(format!("{user}:api:{password}"));
        let a2 = hash(format!("GET:{uri}"));
        let response = hash(format!("{a1}:{nonce}:{count:08x}:c:auth:{a2}"));
        format!(
            "Authorization: Digest username=\"{user}\", realm=\"api\", nonce=\"{nonce}\", uri=\"{uri}\", qop=auth, \
             nc={count:08x}, cnonce=\"c\", response=\"{response}\", algorithm={algorithm}\r\n"
        )
    }
}

#[test]
fn digest_answers_count_once_for_one_address_c4() {
    let hash = digest(&SHA256, b"ann:api:s3cret");
    let hash = hash.as_ref().iter().fold(String::new(), |all, byte| format!("{all}{byte:02x}"));
    let rule = json!({"digest": {
        "realm": "api", "users": "default/team#htdigest", "algorithms": ["Sha256"], "upstreamToken": "none",
    }});
    let fixture = Setup::default()
        .rule("d", &json!([{"allOf": [rule]}]))
        .secret("default/team#htdigest", &format!("ann:api:{hash}\n"))
        .start();
    let asked = get(&fixture, "/d?x=1", "");
    let line = asked.header("www-authenticate").to_owned();
    assert!(line.starts_with("Digest realm=\"api\", qop=\"auth\", algorithm=SHA-256, nonce="), "{line}");
    assert_eq!(asked.headers("www-authenticate").len(), 1, "MD5 is not offered");
    let nonce = line.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
    let good = DigestAnswer { user: "ann", password: "s3cret", nonce, count: 1, uri: "/d?x=1", algorithm: "SHA-256" };
    for (case, answer, status) in [
        ("right", DigestAnswer { ..good }, 200),
        ("replayed", DigestAnswer { ..good }, 401),
        ("next", DigestAnswer { count: 3, ..good }, 200),
        ("going back", DigestAnswer { count: 2, ..good }, 401),
        ("wrong password", DigestAnswer { count: 4, password: "x", ..good }, 401),
        ("unknown user", DigestAnswer { count: 4, user: "bob", ..good }, 401),
        ("another address", DigestAnswer { count: 4, uri: "/d?x=2", ..good }, 400),
        ("another path", DigestAnswer { count: 4, uri: "/other", ..good }, 400),
        ("downgrade", DigestAnswer { count: 4, algorithm: "MD5", ..good }, 401),
        ("unknown algorithm", DigestAnswer { count: 4, algorithm: "SHA-1", ..good }, 401),
        ("somebody's nonce", DigestAnswer { nonce: "dGhpcyBpcyBub3Qgb3VycyBhdCBhbGwhISEhISEh", ..good }, 401),
        ("still right", DigestAnswer { count: 5, ..good }, 200),
    ] {
        let reply = get(&fixture, "/d?x=1", &answer.header());
        assert_eq!(reply.status, status, "{case}: {}", reply.body);
        assert!(!reply.header("www-authenticate").contains("stale"), "{case}");
    }
    assert_eq!(get(&fixture, "/d", "Authorization: Digest nonsense\r\n").status, 400);
}

#[test]
fn a_secret_that_is_missing_or_broken_closes_its_rule_only_c5() {
    let signer = Signer::new();
    let rule = json!({"basic": {"realm": "team", "users": "default/team#htpasswd", "upstreamToken": "none"}});
    for broken in [None, Some(""), Some("rubbish")] {
        let setup = Setup::default()
            .signer("default/login", "https://login.example.com", &signer)
            .rule("b", &json!([{"allOf": [rule]}]))
            .rule("t", &json!([{"allOf": [{"jwt": jwt_rule()}]}]));
        let setup = match broken {
            None => setup,
            Some(text) => setup.secret("default/team#htpasswd", text),
        };
        let fixture = setup.start();
        let reply = get(&fixture, "/b", &basic("ann", "s3cret"));
        assert_eq!((reply.status, reason(&reply).as_str()), (503, "invalid_policy"), "{broken:?}");
        let token = signer.token("x", "orders");
        assert_eq!(get(&fixture, "/t", &format!("Authorization: Bearer {token}\r\n")).status, 200, "{broken:?}");
    }
}

#[test]
fn any_of_and_all_of_answer_with_one_clear_challenge() {
    let signer = Signer::new();
    let key = api_key(&json!({"header": "x-api-key"}));
    let basic_rule = json!({"basic": {"realm": "team", "users": "default/team#htpasswd", "upstreamToken": "none"}});
    let fixture = Setup::default()
        .signer("default/login", "https://login.example.com", &signer)
        .rule("any", &json!([{"allOf": [{"jwt": jwt_rule()}]}, {"allOf": [key]}, {"allOf": [basic_rule]}]))
        .rule("all", &json!([{"allOf": [{"jwt": jwt_rule()}, key]}]))
        .rule("open", &json!([{"allOf": [{"jwt": jwt_rule()}]}, {"allOf": [key]}, "anonymous"]))
        .secret("default/keys#keys", &key_file())
        .secret("default/team#htpasswd", &format!("ann:{}", bcrypt::hash("s3cret", 4).unwrap()))
        .start();
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let good = bearer(&signer.token("x", "orders"));
    let foreign = bearer(&signer.token_of("https://evil.example.com"));
    let with_key = format!("X-API-Key: {KEY}\r\n");
    for (target, headers, status) in [
        ("/any", good.clone(), 200),
        ("/any", with_key.clone(), 200),
        ("/any", basic("ann", "s3cret"), 200),
        ("/any", String::new(), 401),
        ("/any", foreign.clone(), 401),
        ("/any", format!("{}{with_key}", bearer("opaque")), 200),
        // The first that is there decides, and its refusal is final.
        ("/any", format!("{}{with_key}", bearer(&signer.token("x", "other"))), 401),
        ("/all", good.clone(), 401),
        ("/all", with_key.clone(), 401),
        ("/all", format!("{good}{with_key}"), 200),
        ("/all", format!("{good}X-API-Key: {ENDED_KEY}\r\n"), 401),
        ("/open", String::new(), 200),
        ("/open", with_key, 200),
        ("/open", foreign, 401),
        ("/open", "X-API-Key: nonsense\r\n".to_owned(), 401),
        ("/open", basic("ann", "s3cret"), 401),
    ] {
        let reply = get(&fixture, target, &headers);
        assert_eq!(reply.status, status, "{target} {headers} {}", reply.body);
    }
    let schemes = |target: &str| -> Vec<String> {
        let reply = get(&fixture, target, "");
        let lines = reply.headers("www-authenticate");
        lines.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(schemes("/any"), ["Bearer", "ApiKey", "Basic"]);
    assert_eq!(schemes("/all"), ["Bearer", "ApiKey"]);
    let seen = fixture.app_log().join("");
    assert!(!seen.contains("opaque") && !seen.contains("prk_"), "a credential that did not decide goes nowhere");
}

fn signing_key() -> (String, Value) {
    let key = rcgen::KeyPair::generate().unwrap();
    let point = rcgen::PublicKeyData::der_bytes(&key).to_vec();
    let part = |range: std::ops::Range<usize>| {
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(point.get(range).unwrap())
    };
    let set = json!({"keys": [{
        "kty": "EC", "crv": "P-256", "kid": "gw-1", "alg": "ES256", "x": part(1..33), "y": part(33..65),
    }]});
    let (set, _) = portreeve_policy::KeySet::parse(set.to_string().as_bytes()).unwrap();
    (key.serialize_pem(), json!(set))
}

#[test]
fn the_gateway_mints_one_token_for_each_credential_h3_h5() {
    let (pem, published) = signing_key();
    let mint = json!({
        "signingKey": "default/portreeve-signing#gw-1", "keyId": "gw-1", "published": published,
        "issuer": "urn:portreeve:default", "audience": "orders-app", "lifetime": 60_000,
        "claims": {
            "sub": {"claim": "sub"}, "tenant": {"claim": "tenant"}, "scope": {"claim": "scope"},
            "via": {"text": "gateway"},
        },
    });
    let mut key = api_key(&json!({"header": "x-api-key"}));
    key["apiKey"]["upstreamToken"] = json!({"minted": mint});
    let fixture = Setup::default()
        .rule("m", &json!([{"allOf": [key]}]))
        .secret("default/keys#keys", &key_file())
        .secret("default/portreeve-signing#gw-1", &pem)
        .start();
    for _ in 0..3 {
        let headers = format!("X-API-Key: {KEY}\r\nAuthorization: Bearer mine\r\n");
        assert_eq!(get(&fixture, "/m", &headers).status, 200);
    }
    assert_eq!(get(&fixture, "/m", &format!("X-API-Key: {OLD_KEY}\r\n")).status, 200);
    let tokens: Vec<String> = fixture
        .app_log()
        .iter()
        .map(|head| {
            let lines: Vec<_> = head.lines().filter(|line| line.starts_with("authorization:")).collect();
            assert_eq!(lines.len(), 1, "{head}");
            lines.first().unwrap().trim_start_matches("authorization: Bearer ").to_owned()
        })
        .collect();
    assert!(tokens.iter().take(3).all(|token| Some(token) == tokens.first()), "one token a credential");
    assert_ne!(tokens.first(), tokens.last());
    let claims = claims_of(tokens.first().unwrap());
    assert_eq!(claims["iss"], "urn:portreeve:default");
    assert_eq!(claims["aud"], "orders-app");
    assert_eq!(claims["sub"], "acme");
    assert_eq!(claims["via"], "gateway");
    assert_eq!(claims.get("tenant"), None, "an absent claim stays absent");
    let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert_eq!(life, 60, "{claims}");
    let jwks = fixture.admin("/jwks").json();
    assert_eq!(jwks["keys"][0]["kid"], "gw-1");
    assert!(jwks["keys"][0].get("d").is_none());
}

#[test]
fn metadata_of_a_protected_resource_comes_from_its_policies() {
    let signer = Signer::new();
    let mut rule = jwt_rule();
    rule["audiences"] = json!(["https://orders.example.com/v1"]);
    rule["proof"] = json!({"required": ["dpop"], "dpopNonce": false});
    let mut guarded_rule = open_rule("read", "/v1");
    guarded_rule["state"] = guarded(&json!([{"allOf": [{"jwt": rule}]}]), "orders:read");
    let fixture =
        Setup::default().signer("default/login", "https://login.example.com", &signer).raw(guarded_rule).start();
    let ask = |host: &str, path: &str| fixture.send(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let path = "/.well-known/oauth-protected-resource/v1";
    let reply = ask("orders.example.com", path);
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/json"));
    assert_eq!(
        reply.json(),
        json!({
            "resource": "https://orders.example.com/v1",
            "authorization_servers": ["https://login.example.com"],
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["orders:read"],
            "dpop_signing_alg_values_supported":
                ["ES256", "ES384", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"],
            "dpop_bound_access_tokens_required": true,
        })
    );
    assert_eq!(ask("other.example.com", path).status, 404);
    let refused = ask("orders.example.com", "/v1/7");
    let line = refused.header("www-authenticate");
    assert!(
        line.starts_with("DPoP ") && line.contains(&format!("resource_metadata=\"https://orders.example.com{path}\"")),
        "{line}"
    );
    assert!(fixture.app_log().is_empty());
}
