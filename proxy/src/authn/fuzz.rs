//! Parsers of credentials and answers, for the fuzzer.

use bytes::Bytes;
use http::Response;
use portreeve_policy::Dialect;

use super::{answer, authorization, digest, jwt, saml};
use crate::clock::UnixMillis;

/// A token, in all the forms in which one is read before anything of it is verified.
pub(crate) fn token(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    drop(jwt::shape(&text));
    jwt::disclaims(&text);
    drop(jwt::header(&text));
    drop(saml::Assertion::read(&text));
}

/// Parameters of Digest, and the fields in which credentials stand.
pub(crate) fn credentials(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    digest::try_parameters(&text);
    let mut headers = http::HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(value) = http::HeaderValue::from_bytes(line) {
            headers.append(http::header::AUTHORIZATION, value);
        }
    }
    assert!(authorization::authorization(&headers).is_err() || headers.len() <= 1, "two credentials are never one");
}

/// A body of every dialect of introspection.
pub(crate) fn introspection(data: &[u8]) {
    let member = Dialect::JwtMember { member: "jwt".to_owned(), accept: portreeve_policy::MemberAccept::Jwt };
    for (dialect, media_type) in [
        (Dialect::Json, "application/json"),
        (Dialect::JwtBody, "application/jwt"),
        (member, "application/json"),
        (Dialect::SignedEnvelope, "application/token-introspection+jwt"),
    ] {
        let mut response = Response::new(Bytes::copy_from_slice(data));
        response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(media_type));
        let expected = answer::Expected {
            scope_claim: "scope",
            dialect: &dialect,
            issuer: "https://login.example.com",
            client_id: "gateway",
            keys: None,
            now: UnixMillis(1_790_000_000_000),
        };
        drop(answer::read(&response, &expected));
    }
}
