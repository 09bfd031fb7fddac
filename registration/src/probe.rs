//! Whether a client is still alive: it authenticates at the token endpoint and asks for something that it cannot get, so
//! that no token is made (RFC 6749 section 5.2). Pure.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, Method, Request, Response, header};
use serde_json::Value;

use crate::{ClientKey, Desired, Error, JournalEntry, Keys, Probe, Registration, Secret};

/// How the client can authenticate with what the journal holds.
pub(crate) enum ProbeMethod<'a> {
    /// RFC 7523.
    Assertion(&'a ClientKey),
    /// RFC 6749 section 2.3.1, in the header.
    Basic(&'a Secret),
    /// The same, in the form.
    Post(&'a Secret),
}

/// The method of the client, where this crate can act it out.
pub(crate) fn method<'a>(
    desired: &Desired,
    entry: &'a JournalEntry,
    registration: &'a Registration,
) -> Option<ProbeMethod<'a>> {
    // What the server holds counts; it may have chosen another method than was asked for.
    let reported = registration.reported.get("token_endpoint_auth_method").and_then(Value::as_str);
    match (reported.or_else(|| desired.method())?, &registration.client_secret) {
        ("client_secret_basic", Some(secret)) => Some(ProbeMethod::Basic(secret)),
        ("client_secret_post", Some(secret)) => Some(ProbeMethod::Post(secret)),
        ("private_key_jwt", _) => entry.present_key().map(ProbeMethod::Assertion),
        _ => None,
    }
}

/// The request, or `None` where the client cannot be acted out.
pub(crate) fn request<K: Keys>(
    desired: &Desired,
    entry: &JournalEntry,
    keys: &K,
) -> Result<Option<Request<Vec<u8>>>, Error> {
    let (Some(registration), Some(endpoint)) = (&entry.registration, desired.token_endpoint()) else {
        return Ok(None);
    };
    let Some(method) = method(desired, entry, registration) else { return Ok(None) };
    let id = &registration.client_id;
    let mut form = vec![("grant_type", "refresh_token".to_owned()), ("refresh_token", "none".to_owned())];
    let mut authorization = None;
    match method {
        ProbeMethod::Assertion(key) => {
            let audience = if desired.issuer().is_empty() { endpoint } else { desired.issuer() };
            let Some(assertion) = keys.assertion(key, id, audience) else { return Ok(None) };
            form.push(("client_id", id.clone()));
            form.push(("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned()));
            form.push(("client_assertion", assertion.expose().to_owned()));
        }
        ProbeMethod::Basic(secret) => {
            let pair = format!("{}:{}", encoded(id), encoded(secret.expose()));
            authorization = Some(format!("Basic {}", STANDARD.encode(pair)));
        }
        ProbeMethod::Post(secret) => {
            form.push(("client_id", id.clone()));
            form.push(("client_secret", secret.expose().to_owned()));
        }
    }
    let body: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let mut builder = Request::builder()
        .method(Method::POST)
        .uri(endpoint)
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some(text) = authorization {
        let Ok(mut value) = HeaderValue::try_from(text) else { return Err(Error::Unsendable("the client's secret")) };
        value.set_sensitive(true);
        builder = builder.header(header::AUTHORIZATION, value);
    }
    match builder.body(body.into_bytes()) {
        Ok(request) => Ok(Some(request)),
        Err(_no_uri) => Err(Error::Unsendable("the token endpoint")),
    }
}

/// RFC 6749 section 2.3.1: both halves are form-encoded first.
fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// What the answer tells. A refused client is 401, or 400 with `invalid_client` (RFC 6749 section 5.2); any other refusal
/// comes after the client was recognised.
pub(crate) fn verdict(response: &Response<Vec<u8>>) -> Option<Probe> {
    let body: Option<Value> = serde_json::from_slice(response.body()).ok();
    let code = body.as_ref().and_then(|body| body.get("error")).and_then(Value::as_str);
    match (response.status().as_u16(), code) {
        (400 | 401, Some("invalid_client")) | (401, Some(_)) => Some(Probe::Gone),
        (200, _)
        | (
            400,
            Some(
                "invalid_grant"
                | "invalid_request"
                | "invalid_scope"
                | "unauthorized_client"
                | "unsupported_grant_type",
            ),
        ) => Some(Probe::Alive),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::verdict;
    use crate::Probe;

    #[test]
    fn tells_a_refused_client_from_a_refused_grant() {
        for (status, body, expected) in [
            (401, r#"{"error":"invalid_client"}"#, Some(Probe::Gone)),
            (401, r#"{"error":"unauthorized_client"}"#, Some(Probe::Gone)),
            (400, r#"{"error":"invalid_client"}"#, Some(Probe::Gone)),
            (400, r#"{"error":"invalid_grant"}"#, Some(Probe::Alive)),
            (400, r#"{"error":"unsupported_grant_type"}"#, Some(Probe::Alive)),
            (400, r#"{"error":"unauthorized_client"}"#, Some(Probe::Alive)),
            (401, "<html>sign in", None),
            (400, "", None),
            (403, r#"{"error":"invalid_client"}"#, None),
            (503, "{}", None),
            (302, "", None),
        ] {
            let response = Response::builder().status(status).body(body.as_bytes().to_vec()).unwrap();
            assert_eq!(verdict(&response), expected, "{status} {body}");
        }
    }
}
