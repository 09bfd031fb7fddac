use std::time::Duration;

use http::{Request, Response};
use serde_json::{Value, json};

use super::{create_request, described, failure, management_request};
use crate::{
    AnswerFault, Desired, Error, InvalidAnswer, Registration, Retry, Secret, Step,
    tests::{desired_with, endpoint},
};

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn held(uri: &Value) -> Registration {
    let answer = json!({
        "client_id": "c1", "client_secret": "s1", "client_secret_expires_at": 0, "client_id_issued_at": 7,
        "registration_access_token": "t1", "registration_client_uri": uri, "server_member": true,
    });
    Registration::parse(answer.to_string().as_bytes(), &endpoint()).ok().unwrap()
}

fn home() -> Value {
    json!("https://login.example.com/reg/c1")
}

fn body(request: &Request<Vec<u8>>) -> Value {
    serde_json::from_slice(request.body()).unwrap()
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Vec<u8>> {
    let builder = headers.iter().fold(Response::builder().status(status), |b, (name, value)| b.header(*name, *value));
    builder.body(body.as_bytes().to_vec()).unwrap()
}

fn desired() -> Desired {
    desired_with(|metadata| metadata.scope = Some("a".to_owned()))
}

#[test]
fn posts_metadata_with_the_initial_token() {
    let request = create_request(&desired(), desired().document(), Some(&secret("initial"))).unwrap();
    assert_eq!(
        (request.method().as_str(), request.uri().to_string().as_str()),
        ("POST", "https://login.example.com/reg")
    );
    assert_eq!(request.headers()["authorization"], "Bearer initial");
    assert!(request.headers()["authorization"].is_sensitive());
    assert_eq!(request.headers()["content-type"], "application/json");
    assert_eq!(body(&request), Value::Object(desired().document().clone()));
    assert!(create_request(&desired(), desired().document(), None).unwrap().headers().get("authorization").is_none());
    assert_eq!(
        create_request(&desired(), desired().document(), Some(&secret("a\r\nx: y"))).err(),
        Some(Error::Unsendable("the initial access token"))
    );
}

#[test]
fn puts_all_metadata_and_nothing_that_the_server_sets() {
    // RFC 7592 section 2.2
    let request =
        management_request(Step::Update, &desired(), desired().document(), &held(&home()), &secret("t1")).unwrap();
    let mut expected = desired().document().clone();
    expected.insert("client_id".to_owned(), json!("c1"));
    expected.insert("client_secret".to_owned(), json!("s1"));
    assert_eq!(body(&request), Value::Object(expected));
    assert_eq!(request.method(), "PUT");
    assert_eq!(request.headers()["authorization"], "Bearer t1");

    let public = Registration { client_secret: None, ..held(&home()) };
    let request = management_request(Step::Update, &desired(), desired().document(), &public, &secret("t1")).unwrap();
    assert!(body(&request).get("client_secret").is_none());
}

#[test]
fn reads_and_deletes_without_a_body() {
    for (step, method) in [(Step::Read, "GET"), (Step::Delete, "DELETE")] {
        let request =
            management_request(step, &desired(), desired().document(), &held(&home()), &secret("t1")).unwrap();
        assert_eq!(request.method(), method);
        assert_eq!(request.uri(), "https://login.example.com/reg/c1");
        assert!(request.body().is_empty() && request.headers().get("content-type").is_none());
    }
}

#[test]
fn never_sends_a_token_to_another_origin() {
    for uri in ["https://evil.test/reg/c1", "http://login.example.com/reg/c1", "https://login.example.com:444/reg/c1"] {
        for step in [Step::Delete, Step::Read, Step::Update] {
            let result = management_request(step, &desired(), desired().document(), &held(&json!(uri)), &secret("t1"));
            assert!(matches!(result, Err(Error::ForeignOrigin { .. })), "{uri}");
        }
    }
    let result = management_request(Step::Read, &desired(), desired().document(), &held(&Value::Null), &secret("t1"));
    assert!(matches!(result, Err(Error::Unmanageable { .. })));
}

#[test]
fn takes_a_client_out_of_any_success_and_lists_the_faults() {
    let whole = json!({"client_id": "c1"}).to_string();
    let no_store = [("cache-control", "private, No-Store")];
    for (step, status, headers, faults) in [
        (Step::Create, 201, &no_store[..], vec![]),
        (Step::Create, 200, &no_store[..], vec![AnswerFault::Status(200)]),
        (Step::Create, 201, &[], vec![AnswerFault::Cacheable]),
        (Step::Update, 200, &[("cache-control", "no-cache")][..], vec![AnswerFault::Cacheable]),
        (Step::Read, 200, &no_store[..], vec![]),
    ] {
        let read = described(step, &answer(status, headers, &whole), &endpoint(), None, &[]).ok().unwrap();
        assert_eq!(read.faults, faults, "{step} {status}");
    }
    for (status, text, fault) in [
        (200, "", InvalidAnswer::NotAnObject),
        (204, "", InvalidAnswer::NotAnObject),
        (200, "<html>", InvalidAnswer::NotAnObject),
        (200, "{\"client_id\":\"c2\"}", InvalidAnswer::WrongClient),
        (302, "", InvalidAnswer::Status(302)),
    ] {
        let error = described(Step::Update, &answer(status, &[], text), &endpoint(), Some("c1"), &[]).err();
        assert_eq!(error, Some(Error::InvalidAnswer { step: Step::Update, fault }), "{status} {text}");
    }
}

#[test]
fn tells_refusals_apart() {
    let wait = [("retry-after", "7")];
    let date = [("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")];
    let dates = [("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"), ("date", "Wed, 21 Oct 2026 07:27:30 GMT")];
    let past = [("retry-after", "Wed, 21 Oct 2026 07:27:00 GMT"), ("date", "Wed, 21 Oct 2026 07:27:30 GMT")];
    for (step, status, headers, name, retry, acted) in [
        (Step::Create, 400, &[][..], "Refused", Retry::Never, false),
        (Step::Create, 401, &[], "InitialTokenRefused", Retry::Never, false),
        (Step::Create, 403, &[], "InitialTokenRefused", Retry::Never, false),
        (Step::Create, 404, &[], "Refused", Retry::Never, false),
        (Step::Create, 302, &[], "InvalidAnswer", Retry::Never, true),
        (Step::Create, 503, &[], "Unavailable", Retry::Later, true),
        (Step::Create, 503, &wait, "Busy", Retry::After(Duration::from_secs(7)), false),
        (Step::Create, 503, &date, "Busy", Retry::Later, false),
        (Step::Create, 429, &dates, "Busy", Retry::After(Duration::from_secs(30)), false),
        (Step::Create, 429, &past, "Busy", Retry::Later, false),
        (Step::Create, 429, &[], "Busy", Retry::Later, false),
        (Step::Create, 429, &[("retry-after", "0")], "Busy", Retry::Later, false),
        (
            Step::Create,
            429,
            &[("retry-after", "99999999999999999999999")],
            "Busy",
            Retry::After(Duration::from_hours(1)),
            false,
        ),
        (Step::Create, 502, &[], "Unavailable", Retry::Later, true),
        (Step::Update, 400, &[], "Refused", Retry::Never, false),
        (Step::Update, 401, &[], "LockedOut", Retry::Never, false),
        (Step::Update, 403, &[], "Refused", Retry::Never, false),
        (Step::Read, 404, &[], "Missing", Retry::Never, false),
        (Step::Delete, 405, &[], "Unmanageable", Retry::Never, false),
        (Step::Update, 501, &[], "Unmanageable", Retry::Never, false),
        (Step::Read, 302, &[], "InvalidAnswer", Retry::Later, true),
    ] {
        let error = failure(step, &answer(status, headers, "<html>"), Some("c1"), &[]);
        assert!(format!("{error:?}").starts_with(name), "{step} {status}: {error:?}");
        assert_eq!((error.retry(), error.may_have_acted()), (retry, acted), "{step} {status}");
    }
}

#[test]
fn shows_what_the_server_says_without_secrets_and_control_characters() {
    let shown = |error: &str, description: &str| {
        let body = json!({"error": error, "error_description": description}).to_string();
        let error = failure(Step::Create, &answer(400, &[], &body), None, &[&secret("s3cret")]);
        let Error::Refused { server: Some(server), .. } = error else { panic!("{error}") };
        (server.error, server.description)
    };
    let (error, description) = shown("invalid_redirect_uri", "a\nb\u{1b}[31m");
    assert_eq!((error.as_str(), description.as_str()), ("invalid_redirect_uri", "a b [31m"));
    assert_eq!(shown("x", "token s3cret is bad").1, "(withheld)");
    assert_eq!(shown("s3cret", "").0, "(withheld)");
    let (error, description) = shown(&"é".repeat(100), &"é".repeat(1000));
    assert_eq!((error.chars().count(), description.chars().count()), (64, 256));
}
