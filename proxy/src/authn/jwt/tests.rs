use serde_json::json;

use super::*;
use crate::authn::signed_tokens::{self, key_set};

const ISSUER: &str = "https://login.example.com";
const NOW: UnixMillis = UnixMillis(1_000_000_000);

fn ring() -> KeyRing {
    KeyRing::new(&key_set(7))
}

fn sign_text(header: &str, claims: &str) -> String {
    signed_tokens::sign_text(7, header, claims)
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "orders", "exp": 1_000_060, "scope": "orders:read"})
}

fn header() -> Value {
    json!({"alg": "EdDSA", "kid": "ed-1", "typ": "at+jwt"})
}

fn with(mut base: Value, name: &str, value: Value) -> Value {
    base[name] = value;
    base
}

fn without(mut base: Value, name: &str) -> Value {
    base.as_object_mut().unwrap().remove(name);
    base
}

fn check(token: &str) -> Result<Verified<Claims>, JwtFault> {
    verify(token, TokenType::AccessToken, (ISSUER, "scope"), &ring(), NOW).map(|(claims, _)| claims)
}

fn verdict(header: &Value, claims: &Value) -> Option<JwtFault> {
    check(&sign_text(&header.to_string(), &claims.to_string())).err()
}

#[test]
fn accepts_a_good_token() {
    assert_eq!(verdict(&header(), &claims()), None);
}

#[test]
fn refuses_hostile_headers() {
    for (case, name, value, fault) in [
        ("J1", "alg", json!("none"), JwtFault::Algorithm),
        ("J1", "alg", json!("nOnE"), JwtFault::Algorithm),
        ("J1", "alg", json!(""), JwtFault::Algorithm),
        ("J2", "alg", json!("HS256"), JwtFault::Algorithm),
        ("J1", "alg", json!("eddsa"), JwtFault::Algorithm),
        ("J3", "kid", json!("other"), JwtFault::UnknownKey),
        ("J4", "kid", json!("../../dev/null"), JwtFault::UnknownKey),
        ("J5", "kid", json!(1), JwtFault::Malformed),
        ("J7", "crit", json!(["exp"]), JwtFault::Critical),
        ("J7", "crit", json!([]), JwtFault::Critical),
        ("J8", "enc", json!("A256GCM"), JwtFault::Algorithm),
        ("J10", "zip", json!("DEF"), JwtFault::Algorithm),
        ("J16", "typ", json!("JWT"), JwtFault::Type),
        ("J16", "typ", json!("dpop+jwt"), JwtFault::Type),
        ("J16", "typ", json!("token-introspection+jwt"), JwtFault::Type),
        ("J16", "typ", json!(7), JwtFault::Type),
        ("2x2", "alg", json!("RS256"), JwtFault::UnknownKey),
    ] {
        assert_eq!(verdict(&with(header(), name, value.clone()), &claims()), Some(fault), "{case} {name} {value}");
    }
    assert_eq!(verdict(&without(header(), "typ"), &claims()), Some(JwtFault::Type));
    assert_eq!(verdict(&without(header(), "alg"), &claims()), Some(JwtFault::Algorithm));
}

#[test]
fn refuses_hostile_claims() {
    for (case, name, value, fault) in [
        ("J5", "exp", json!("1000060"), JwtFault::ClaimType),
        ("J5", "nbf", json!("9999"), JwtFault::ClaimType),
        ("J6", "iss", json!("https://login.example.com/"), JwtFault::Issuer),
        ("J6", "iss", json!("https://LOGIN.example.com"), JwtFault::Issuer),
        ("J6", "iss", json!([ISSUER]), JwtFault::ClaimType),
        ("J6", "aud", json!([]), JwtFault::MissingClaim),
        ("9449", "cnf", json!({"jkt": "x"}), JwtFault::ClaimType),
        ("4.1.4", "exp", json!(1_000_000), JwtFault::Expired),
        ("4.1.5", "nbf", json!(1_000_006), JwtFault::NotYetValid),
        ("4.1.6", "iat", json!(1_000_006), JwtFault::IssuedInFuture),
    ] {
        assert_eq!(verdict(&header(), &with(claims(), name, value.clone())), Some(fault), "{case} {name} {value}");
    }
    for name in ["exp", "aud"] {
        assert_eq!(verdict(&header(), &without(claims(), name)), Some(JwtFault::MissingClaim), "{name}");
    }
    assert_eq!(verdict(&header(), &without(claims(), "iss")), Some(JwtFault::Issuer));
    assert_eq!(verdict(&header(), &with(claims(), "nbf", json!(1_000_005))), None);
}

#[test]
fn refuses_repeated_members_j13() {
    let claims = format!(r#"{{"iss":"x","iss":"{ISSUER}","aud":"orders","exp":1000060}}"#);
    assert_eq!(check(&sign_text(&header().to_string(), &claims)).err(), Some(JwtFault::Malformed));
    let header = r#"{"alg":"none","alg":"EdDSA","kid":"ed-1","typ":"at+jwt"}"#;
    assert_eq!(check(&sign_text(header, &self::claims().to_string())).err(), Some(JwtFault::Malformed));
}

#[test]
fn refuses_tampering_and_other_spellings_of_the_same_bytes_j12() {
    let token = sign_text(&header().to_string(), &claims().to_string());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut other = signature.to_owned();
    // The last character of 86 carries unused bits: setting one leaves the decoded bytes alike.
    let last = other.pop().unwrap();
    other.push(char::from(last as u8 + 1));
    for text in [
        format!("{message}."),
        message.to_owned(),
        format!("{token}."),
        format!("{token}="),
        format!("{message}.{other}"),
        format!("{token}.x"),
        format!(" {token}"),
        "..".to_owned(),
        String::new(),
        token.replacen('e', "f", 1),
    ] {
        assert!(check(&text).is_err(), "{text}");
    }
    let flipped = format!("{message}.{}", URL_SAFE_NO_PAD.encode([0; 64]));
    assert_eq!(check(&flipped).err(), Some(JwtFault::Signature));
}

#[test]
fn tells_structured_tokens_from_opaque_ones() {
    assert_eq!(shape("m2XkZ6nFb0"), TokenShape::Opaque);
    assert_eq!(shape("a.b"), TokenShape::Opaque);
    assert_eq!(shape("a.b.c.d.e"), TokenShape::Opaque);
    assert_eq!(shape("a.b.c"), TokenShape::Structured { issuer: None });
    let token = sign_text(&header().to_string(), &claims().to_string());
    assert_eq!(shape(&token), TokenShape::Structured { issuer: Some(ISSUER.to_owned()) });
}

#[test]
fn j8_nested_and_encrypted_tokens_are_refused_at_any_depth() {
    let mut inner = sign_text(&header().to_string(), &claims().to_string());
    for depth in 1..=3 {
        for cty in [json!("JWT"), json!("jwt"), json!("application/jwt"), json!(7)] {
            let outer = with(header(), "cty", cty.clone());
            assert_eq!(check(&sign_text(&outer.to_string(), &inner)).err(), Some(JwtFault::Algorithm), "{depth} {cty}");
            assert_eq!(verdict(&outer, &claims()), Some(JwtFault::Algorithm), "claims of its own too: {cty}");
        }
        // Without a word on what is in it, it is no object of claims.
        inner = sign_text(&header().to_string(), &inner);
        assert_eq!(check(&inner).err(), Some(JwtFault::Malformed), "{depth}");
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for alg in ["RSA-OAEP", "dir", "A256GCMKW", "PBES2-HS256+A128KW"] {
        let jwe = json!({"alg": alg, "enc": "A256GCM", "cty": "JWT", "p2c": 1_000_000_000});
        let five = format!("{}.a2V5.aXY.{}.dGFn", part(&jwe), part(&claims()));
        let three = format!("{}.{}.dGFn", part(&jwe), part(&claims()));
        assert_eq!(check(&five).err(), Some(JwtFault::Malformed), "{alg}");
        assert_eq!(check(&three).err(), Some(JwtFault::Algorithm), "{alg}");
    }
}
