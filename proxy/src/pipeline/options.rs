//! OPTIONS for the gateway itself: `*` as its target (RFC 9112 section 3.2.4), and a request that has been forwarded as
//! often as its sender wanted (RFC 9110 section 7.6.2).

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header::MAX_FORWARDS, request::Parts};

use super::{AnswerBody, CanonicalRequest};

/// Whether the request is for nobody behind us.
pub(super) fn is_of_the_server(parts: &Parts) -> bool {
    parts.method == Method::OPTIONS && parts.uri.path() == "*"
}

/// Whether the request goes on; counts it down if it is one that is counted. What is no number is left alone.
pub(super) fn forwards(request: &mut CanonicalRequest) -> bool {
    if request.method != Method::OPTIONS {
        return true;
    }
    let Some(value) = request.headers.get_mut(MAX_FORWARDS) else { return true };
    let left = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match left.and_then(|text| text.parse::<u64>().ok()) {
        Some(0) => false,
        Some(left) => {
            *value = HeaderValue::from(left.saturating_sub(1));
            true
        }
        None => true,
    }
}

/// What is said of the gateway: that it is there.
pub(super) fn about_the_server() -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::full(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
