use serde_json::{Value, json};

use super::{AnswerFault, InvalidAnswer, MAX_ANSWER, Registration, SecretExpiry};
use crate::{Secret, tests::endpoint};

fn parse(value: &Value) -> Result<Registration, InvalidAnswer> {
    Registration::parse(value.to_string().as_bytes(), &endpoint())
}

fn whole() -> Value {
    json!({
        "client_id": "c1", "client_secret": "s1", "client_secret_expires_at": 0, "client_id_issued_at": 17,
        "registration_access_token": "t1", "registration_client_uri": "https://login.example.com/reg/c1",
        "scope": "a", "org": {"unit": 1},
    })
}

fn with(member: &str, value: Value) -> Registration {
    let mut answer = whole();
    answer[member] = value;
    parse(&answer).ok().unwrap()
}

#[test]
fn reads_what_the_server_sets_and_keeps_the_rest() {
    let registration = parse(&whole()).ok().unwrap();
    assert_eq!(registration.client_id, "c1");
    assert_eq!(registration.client_secret.unwrap().expose(), "s1");
    assert_eq!(registration.registration_access_token.unwrap().expose(), "t1");
    assert_eq!(registration.registration_client_uri.unwrap().as_str(), "https://login.example.com/reg/c1");
    assert_eq!(registration.client_id_issued_at, Some(17));
    assert_eq!(registration.client_secret_expires_at, Some(SecretExpiry::Never));
    assert_eq!(Value::Object(registration.reported), json!({"scope": "a", "org": {"unit": 1}}));
    assert_eq!(registration.faults, []);
}

#[test]
fn refuses_answers_without_a_client() {
    let long = "x".repeat(513);
    for (body, fault) in [
        ("", InvalidAnswer::NotAnObject),
        ("<html>login</html>", InvalidAnswer::NotAnObject),
        ("[]", InvalidAnswer::NotAnObject),
        ("null", InvalidAnswer::NotAnObject),
        ("{\"client_id\": \"c1\"", InvalidAnswer::NotAnObject),
        ("{}", InvalidAnswer::ClientId),
        ("{\"client_id\": 7}", InvalidAnswer::ClientId),
        ("{\"client_id\": \"\"}", InvalidAnswer::ClientId),
        ("{\"client_id\": \"a\\nb\"}", InvalidAnswer::ClientId),
        (&format!("{{\"client_id\": \"{long}\"}}"), InvalidAnswer::ClientId),
        (&" ".repeat(MAX_ANSWER + 1), InvalidAnswer::TooLarge),
        (&"[".repeat(60_000), InvalidAnswer::NotAnObject),
    ] {
        assert_eq!(Registration::parse(body.as_bytes(), &endpoint()).err(), Some(fault));
    }
}

#[test]
fn lists_what_is_wrong_without_losing_the_client() {
    let malformed = |name: &str| AnswerFault::Malformed(name.to_owned());
    for (member, value, faults) in [
        ("client_secret_expires_at", Value::Null, vec![AnswerFault::MissingSecretExpiry]),
        (
            "client_secret_expires_at",
            json!("0"),
            vec![malformed("client_secret_expires_at"), AnswerFault::MissingSecretExpiry],
        ),
        (
            "client_secret_expires_at",
            json!(-1),
            vec![malformed("client_secret_expires_at"), AnswerFault::MissingSecretExpiry],
        ),
        ("client_id_issued_at", json!("now"), vec![malformed("client_id_issued_at")]),
        ("client_secret", json!(7), vec![malformed("client_secret")]),
        ("client_secret", json!("a\nb"), vec![malformed("client_secret")]),
        ("registration_access_token", json!(["t"]), vec![malformed("registration_access_token")]),
        ("registration_access_token", json!("a b"), vec![malformed("registration_access_token")]),
        ("registration_client_uri", json!("/reg/c1"), vec![AnswerFault::RelativeManagementUri]),
        ("registration_client_uri", json!("https://"), vec![malformed("registration_client_uri")]),
        ("registration_client_uri", json!("https://evil.test/c1"), vec![AnswerFault::ForeignManagementUri]),
        ("client_secret_expires_at", json!(99), vec![]),
    ] {
        assert_eq!(with(member, value.clone()).faults, faults, "{member} {value}");
    }
}

#[test]
fn replaces_secrets_at_once_and_keeps_what_is_not_repeated() {
    let mut held = with("client_secret_expires_at", json!(99));
    held.absorb(parse(&json!({"client_id": "c1", "scope": "b"})).ok().unwrap());
    assert!(held.client_secret == Some(Secret::new("s1".to_owned())));
    assert_eq!(held.client_secret_expires_at, Some(SecretExpiry::At(99)));
    assert!(held.registration_client_uri.is_some());
    assert_eq!(held.client_id_issued_at, Some(17));
    assert_eq!(Value::Object(held.reported.clone()), json!({"scope": "b"}));

    held.absorb(parse(&json!({"client_id": "c1", "client_secret": "s2"})).ok().unwrap());
    assert_eq!(held.client_secret.as_ref().unwrap().expose(), "s2");
    assert_eq!(held.client_secret_expires_at, None, "a new secret does not inherit the old one's end");
    assert_eq!(held.faults, [AnswerFault::MissingSecretExpiry]);
}

#[test]
fn fault_18_an_expiry_with_a_fraction_counts_and_one_that_is_no_number_does_not() {
    for (value, expected) in [
        (json!(1_800_000_012.5), Some(SecretExpiry::At(1_800_000_012))),
        (json!(1.8e9), Some(SecretExpiry::At(1_800_000_000))),
        (json!(0.0), Some(SecretExpiry::Never)),
        (json!("1800000012"), None),
        (json!(-0.5), None),
        (json!(1e300), None),
        (json!([1]), None),
    ] {
        assert_eq!(with("client_secret_expires_at", value.clone()).client_secret_expires_at, expected, "{value}");
    }
}
