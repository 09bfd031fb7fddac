//! Requests and what their answers mean. Pure: nothing is sent here.
//!
//! INVARIANT: no function builds a request that carries a registration token to another origin than the endpoint's.

#[cfg(test)]
mod tests;

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::Value;

use crate::{
    AnswerFault, Desired, Document, Endpoint, Error, InvalidAnswer, Registration, Secret, ServerError, Step,
    Unmanageable,
};

/// POST of RFC 7591 section 3.1; the initial access token, if there is one, as a Bearer token.
pub(crate) fn create_request(
    desired: &Desired,
    document: &Document,
    initial: Option<&Secret>,
) -> Result<Request<Vec<u8>>, Error> {
    let token = initial.map(|token| bearer(token, "the initial access token")).transpose()?;
    let body = Value::Object(stated(desired, document.clone())).to_string();
    request(Method::POST, desired.endpoint().url().as_str(), token, Some(body))
}

/// GET, PUT or DELETE of RFC 7592 section 2, by `step`, with the given registration token.
pub(crate) fn management_request(
    step: Step,
    desired: &Desired,
    document: &Document,
    registration: &Registration,
    token: &Secret,
) -> Result<Request<Vec<u8>>, Error> {
    let address = management_address(step, desired.endpoint(), registration)?;
    let bearer = bearer(token, "the registration token")?;
    let (method, body) = match step {
        Step::Update => (Method::PUT, Some(update_body(stated(desired, document.clone()), registration))),
        Step::Delete | Step::Retire => (Method::DELETE, None),
        Step::Abandon
        | Step::AddKey
        | Step::Create
        | Step::Discard
        | Step::DropKeys
        | Step::Forget
        | Step::Probe
        | Step::Read
        | Step::Replace => (Method::GET, None),
    };
    request(method, address, Some(bearer), body)
}

/// RFC 7592 section 3: the address is opaque, but it is the server's; section 5 of RFC 7591: no secret to strangers.
fn management_address<'a>(step: Step, endpoint: &Endpoint, registration: &'a Registration) -> Result<&'a str, Error> {
    let Some(address) = &registration.registration_client_uri else {
        let relative = registration.faults.contains(&AnswerFault::RelativeManagementUri);
        let reason = if relative { Unmanageable::RelativeUri } else { Unmanageable::NoUri };
        return Err(Error::Unmanageable { step, reason });
    };
    if !endpoint.admits(address) {
        return Err(Error::ForeignOrigin {
            expected: endpoint.origin(),
            found: address.origin().ascii_serialization(),
        });
    }
    Ok(address.as_str())
}

/// RFC 7592 section 2.2: all desired metadata, `client_id`, and the present `client_secret` if there is one; never the
/// token, the address or the two times.
fn update_body(mut body: Document, registration: &Registration) -> String {
    body.insert("client_id".to_owned(), Value::String(registration.client_id.clone()));
    if let Some(secret) = &registration.client_secret {
        body.insert("client_secret".to_owned(), Value::String(secret.expose().to_owned()));
    }
    Value::Object(body).to_string()
}

/// RFC 7591 section 2.3: the statement travels beside the metadata.
fn stated(desired: &Desired, mut document: Document) -> Document {
    if let Some(statement) = desired.software_statement() {
        document.insert("software_statement".to_owned(), Value::String(statement.expose().to_owned()));
    }
    document
}

fn bearer(token: &Secret, name: &'static str) -> Result<HeaderValue, Error> {
    let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", token.expose())) else {
        return Err(Error::Unsendable(name));
    };
    value.set_sensitive(true);
    Ok(value)
}

fn request(
    method: Method,
    address: &str,
    token: Option<HeaderValue>,
    body: Option<String>,
) -> Result<Request<Vec<u8>>, Error> {
    let mut builder = Request::builder().method(method).uri(address).header(header::ACCEPT, "application/json");
    if let Some(token) = token {
        builder = builder.header(header::AUTHORIZATION, token);
    }
    if body.is_some() {
        builder = builder.header(header::CONTENT_TYPE, "application/json");
    }
    let Ok(request) = builder.body(body.map(String::into_bytes).unwrap_or_default()) else {
        return Err(Error::Unsendable("the address"));
    };
    Ok(request)
}

/// The client that the answer to a create, a read or an update describes. `client_id` is the one that it must speak of.
/// 401 to a read or an update is the caller's affair, who may have another token; here it means locked out.
pub(crate) fn described(
    step: Step,
    response: &Response<Vec<u8>>,
    endpoint: &Endpoint,
    client_id: Option<&str>,
    secrets: &[&Secret],
) -> Result<Registration, Error> {
    if !response.status().is_success() {
        return Err(failure(step, response, client_id, secrets));
    }
    let invalid = |fault| Error::InvalidAnswer { step, fault };
    let mut registration = Registration::parse(response.body(), endpoint).map_err(invalid)?;
    if client_id.is_some_and(|own| own != registration.client_id) {
        return Err(invalid(InvalidAnswer::WrongClient));
    }
    // RFC 7591 section 3.2.1: 201 and no-store. RFC 7592 section 3: 200.
    let due = if step.makes_a_client() { StatusCode::CREATED } else { StatusCode::OK };
    if response.status() != due {
        registration.faults.push(AnswerFault::Status(response.status().as_u16()));
    }
    if !is_no_store(response.headers()) {
        registration.faults.push(AnswerFault::Cacheable);
    }
    Ok(registration)
}

/// What a refused call means.
pub(crate) fn failure(step: Step, response: &Response<Vec<u8>>, client_id: Option<&str>, secrets: &[&Secret]) -> Error {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let server = || ServerError::parse(response.body(), secrets);
    let managed = !step.makes_a_client();
    let client_id = client_id.unwrap_or_default().to_owned();
    match status.as_u16() {
        401 if managed => Error::LockedOut { client_id, rotation_lost: false },
        401 | 403 if !managed => Error::InitialTokenRefused { status, server: server() },
        404 | 410 if managed => Error::Missing { client_id },
        405 | 501 => Error::Unmanageable { step, reason: Unmanageable::NotSupported },
        429 => Error::Busy { status, retry_after },
        // A server that names a time has read the request and refused it; a bare 503 may come from a proxy that lost
        // the answer of a server that did act.
        503 if response.headers().contains_key(header::RETRY_AFTER) => Error::Busy { status, retry_after },
        408 | 500..=599 => Error::Unavailable { status },
        400..=499 => Error::Refused { step, status, server: server() },
        other => Error::InvalidAnswer { step, fault: InvalidAnswer::Status(other) },
    }
}

fn is_no_store(headers: &HeaderMap) -> bool {
    let directives = headers.get_all(header::CACHE_CONTROL).into_iter().filter_map(|value| value.to_str().ok());
    directives.flat_map(|value| value.split(',')).any(|directive| directive.trim().eq_ignore_ascii_case("no-store"))
}

/// `Retry-After` (RFC 9110 section 10.2.3). A date is counted from the answer's own `Date`, which needs no clock of ours
/// and no agreement of clocks; without one it is not understood.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let wait = text(header::RETRY_AFTER)?;
    if !wait.is_empty() && wait.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(wait.parse().unwrap_or(u64::MAX)));
    }
    let at = httpdate::parse_http_date(wait).ok()?;
    let sent = httpdate::parse_http_date(text(header::DATE)?).ok()?;
    Some(at.duration_since(sent).unwrap_or_default())
}
