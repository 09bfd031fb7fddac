//! What browsers are told of cross-origin requests (Fetch standard, section "HTTP CORS protocol"), where the proxy
//! answers for the application.

use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_HEADERS, ORIGIN, VARY,
    },
};
use portreeve_policy::{Cors, CorsRule};

use super::{AnswerBody, preflight::Preflight};

/// The fields of one answer.
#[derive(Debug, Clone)]
pub(super) struct CorsAnswer {
    /// The origin that may read it, as the field says it; `None` for a request without an origin that is allowed.
    origin: Option<HeaderValue>,
    /// Answers differ by origin.
    varies: bool,
    credentials: bool,
    exposed: Option<HeaderValue>,
}

impl CorsAnswer {
    /// What the answer to a request says, where the proxy answers for the route.
    pub(super) fn of(cors: &Cors, headers: &HeaderMap) -> Option<Self> {
        let Cors::Answer(rule) = cors else { return None };
        let origin = origin_of(headers).filter(|origin| origin.to_str().is_ok_and(|text| rule.allows(text)));
        let any = rule.is_for_any() && !rule.credentials;
        Some(Self {
            origin: origin.map(|origin| if any { HeaderValue::from_static("*") } else { origin.clone() }),
            varies: !any,
            credentials: rule.credentials,
            exposed: list(rule.exposed.iter()),
        })
    }

    /// Sets the fields, in place of any that the application set.
    pub(super) fn set(self, headers: &mut HeaderMap) {
        let theirs: Vec<_> = headers.keys().filter(|name| is_of_cors(name)).cloned().collect();
        for name in theirs {
            headers.remove(name);
        }
        if self.varies {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = self.origin else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        headers.extend(self.exposed.map(|names| (ACCESS_CONTROL_EXPOSE_HEADERS, names)));
    }
}

/// The answer to a preflight; `None` where the route does not allow its origin or a header that it announces.
pub(super) fn answer_preflight(
    rule: &CorsRule,
    preflight: &Preflight,
    headers: &HeaderMap,
) -> Option<Response<AnswerBody>> {
    let fields = CorsAnswer::of(&Cors::Answer(Box::new(rule.clone())), headers)?;
    fields.origin.as_ref()?;
    let announced = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).map(HeaderValue::to_str);
    let announced = announced.transpose().ok()?.unwrap_or_default().split(',').map(str::trim);
    for name in announced.filter(|name| !name.is_empty()) {
        if !rule.headers.contains(&name.to_ascii_lowercase()) {
            return None;
        }
    }
    let mut response = Response::new(AnswerBody::full(bytes::Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let answer = response.headers_mut();
    fields.set(answer);
    answer.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
    answer.append(VARY, HeaderValue::from_static("Access-Control-Request-Method, Access-Control-Request-Headers"));
    answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_str(preflight.method.as_str()).ok()?);
    answer.extend(list(rule.headers.iter()).map(|names| (ACCESS_CONTROL_ALLOW_HEADERS, names)));
    if rule.max_age_seconds > 0 {
        answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(rule.max_age_seconds));
    }
    Some(response)
}

/// The one origin of a request; two are none.
fn origin_of(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut lines = headers.get_all(ORIGIN).iter();
    lines.next().filter(|_| lines.next().is_none())
}

fn is_of_cors(name: &HeaderName) -> bool {
    name.as_str().starts_with("access-control-")
}

fn list<'a>(names: impl Iterator<Item = &'a String>) -> Option<HeaderValue> {
    let names: Vec<_> = names.map(String::as_str).collect();
    if names.is_empty() { None } else { HeaderValue::from_str(&names.join(", ")).ok() }
}
