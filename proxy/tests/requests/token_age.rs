//! A ceiling on the life of tokens, whatever their issuer says.

use serde_json::{Value, json};

use crate::{
    fixture::{Fixture, Signer, guarded, jwt_rule, open_rule},
    setup::now,
};

#[test]
fn a_token_that_lives_longer_than_the_rule_allows_is_refused_whatever_the_issuer_says() {
    let signer = Signer::new();
    let (mut short, mut any) = (open_rule("short", "/short"), open_rule("any", "/any"));
    let mut rule = jwt_rule();
    any["state"] = guarded(&json!([{"allOf": [{"jwt": rule}]}]), "orders:read");
    rule["maxTokenAge"] = json!({"atMost": 1_800_000});
    short["state"] = guarded(&json!([{"allOf": [{"jwt": rule}]}]), "orders:read");
    let fixture = Fixture::start_with(&json!([short, any]), Some(&signer));
    let header = json!({"alg": "EdDSA", "kid": "ed-1", "typ": "at+jwt"});
    let token = |times: &Value| {
        let mut claims = json!({"iss": "https://login.example.com", "aud": "orders", "scope": "orders:read"});
        claims.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
        signer.sign_as(&header, &claims)
    };
    let begin = now() - 60;
    let cases = [
        (json!({"iat": begin, "exp": begin + 1800}), true),
        (json!({"iat": begin, "exp": begin + 1801}), false),
        // Old by now, though there is little left of it.
        (json!({"iat": begin - 3600, "exp": begin + 120}), false),
        (json!({"exp": begin + 120}), false),
    ];
    for (times, allowed) in cases {
        let bearer = format!("Authorization: Bearer {}\r\n", token(&times));
        let get = |path: &str| fixture.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n{bearer}\r\n"));
        assert_eq!(get("/any").status, 200, "{times}");
        // Twice: a verified token is held, and the verdict is made anew.
        for _ in 0..2 {
            let reply = get("/short");
            assert_eq!(reply.status, if allowed { 200 } else { 401 }, "{times}");
            if !allowed {
                assert_eq!(reply.json()["reason"], "token_too_long_lived");
                assert!(reply.header("www-authenticate").contains("error=\"invalid_token\""));
            }
        }
    }
    assert!(fixture.record("token_too_long_lived")["detail"].as_str().unwrap().contains("maxTokenAge"));
}
