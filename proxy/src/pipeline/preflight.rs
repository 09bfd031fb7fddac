//! CORS preflights (Fetch standard, sections "CORS-preflight request" and "CORS-preflight fetch"): what is one, and what of
//! one and of its answer may pass where a route leaves them to the application.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response,
    header::{ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, USER_AGENT, VARY},
};

use portreeve_policy::CorsRule;

use super::{AnswerBody, CanonicalRequest};
use crate::authz::Authorizer;

/// A preflight: OPTIONS without a body, with one `Origin` and one `Access-Control-Request-Method` that a browser could
/// send. Everything else, a plain OPTIONS too, is a request like any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Preflight {
    /// The method of the request that it announces.
    pub(super) method: Method,
}

/// What a rule makes of preflights.
pub(super) enum PreflightPolicy {
    /// The route says nothing of CORS.
    Refuse,
    /// The proxy answers.
    Answer(Box<CorsRule>),
    /// The application answers, where these conditions hold; they look at no caller.
    Passthrough(Box<Authorizer>, PreflightBudget),
    /// A condition of the rule needs a caller to be judged, and may not be left out.
    Undecidable,
}

/// Why a preflight is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PreflightFault {
    /// The route allows neither this origin nor this header.
    #[error("the origin, or a header that is announced, is not among those that the route allows")]
    NotAllowed,
    /// Nobody said that the API may be called from other origins.
    #[error("the route has no CORS settings")]
    NotConfigured,
    /// Too many preflights of the route are at the application.
    #[error("too many preflights of the route wait for the application")]
    Overloaded,
    /// What the rule demands cannot be judged without a caller.
    #[error("the rule has Cedar policies or external authorization, and a preflight has no caller")]
    Undecidable,
}

/// Preflights of one route that may be at the application at a time, apart from what the route's own requests may use.
#[derive(Debug, Clone, Default)]
pub(super) struct PreflightBudget(Arc<AtomicUsize>);

/// A place within the budget; given back when dropped.
pub(super) struct PreflightPlace(Arc<AtomicUsize>);

/// Preflights of one route at the application at a time.
pub(crate) const MAX_PREFLIGHTS: usize = 8;

impl Preflight {
    /// The preflight that a request is, if it is one. The header lines must be what browsers write, each at most once.
    pub(super) fn of(request: &CanonicalRequest, has_body: bool) -> Option<Self> {
        if request.method != Method::OPTIONS || has_body {
            return None;
        }
        let one = |name: HeaderName| {
            let mut lines = request.headers.get_all(name).iter();
            lines.next().filter(|_| lines.next().is_none())
        };
        one(ORIGIN).filter(|origin| is_origin(origin.as_bytes()))?;
        let method = Method::from_bytes(one(ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()?;
        // Browsers send none of these (Fetch, "forbidden method").
        let forbidden = ["CONNECT", "TRACE", "TRACK"].iter().any(|name| method.as_str().eq_ignore_ascii_case(name));
        let announced = request.headers.contains_key(ACCESS_CONTROL_REQUEST_HEADERS);
        let names = !announced || one(ACCESS_CONTROL_REQUEST_HEADERS).is_some_and(is_list_of_names);
        (!forbidden && names).then_some(Self { method })
    }

    /// Leaves only what a preflight needs: no body, no credentials, nothing by which an application could take it for
    /// another request.
    pub(super) fn strip(headers: &mut HeaderMap) {
        let kept = |name: &HeaderName| {
            [HOST, ORIGIN, USER_AGENT].contains(name) || name.as_str().starts_with("access-control-request-")
        };
        let gone: Vec<_> = headers.keys().filter(|name| !kept(name)).cloned().collect();
        for name in gone {
            headers.remove(name);
        }
    }

    /// Leaves of the application's answer its status and what speaks of CORS.
    pub(super) fn strip_answer(answer: &Response<AnswerBody>) -> Response<AnswerBody> {
        let mut kept = Response::new(AnswerBody::full(bytes::Bytes::new()));
        *kept.status_mut() = answer.status();
        for (name, value) in answer.headers() {
            if *name == VARY || name.as_str().starts_with("access-control-") {
                kept.headers_mut().append(name, value.clone());
            }
        }
        kept
    }
}

impl PreflightBudget {
    /// `None` when every place is taken.
    pub(super) fn enter(&self) -> Option<PreflightPlace> {
        let more = |held: usize| (held < MAX_PREFLIGHTS).then(|| held.saturating_add(1));
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(PreflightPlace(Arc::clone(&self.0)))
    }
}

impl Drop for PreflightPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A serialized origin (RFC 6454 section 6.2): `null`, or scheme, host and perhaps a port.
fn is_origin(text: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(text) else { return false };
    if text == "null" {
        return true;
    }
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let mut letters = scheme.bytes();
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    letters.next().is_some_and(|b| b.is_ascii_alphabetic())
        && letters.all(legal)
        && super::canonical::parse_authority(authority).is_ok()
}

/// `1#field-name`, empty elements left out (RFC 9110 section 5.6.1.2).
fn is_list_of_names(line: &HeaderValue) -> bool {
    let names = line.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii);
    names.filter(|name| !name.is_empty()).all(|name| HeaderName::from_bytes(name).is_ok())
}

#[cfg(test)]
mod tests {
    use http::Version;
    use portreeve_policy::{CanonicalPath, Hostname};

    use super::*;
    use crate::pipeline::Scheme;

    fn of(method: &str, lines: &[(&'static str, &'static str)], has_body: bool) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let request = CanonicalRequest {
            claimed: None,
            method: method.parse().unwrap(),
            scheme: Scheme::Http,
            host: Hostname::parse("a").unwrap(),
            port: None,
            path: CanonicalPath::parse("/").unwrap(),
            query: None,
            client: "192.0.2.1:1".parse().unwrap(),
            version: Version::HTTP_11,
            headers,
            aside: crate::pipeline::fields::SetAside::default(),
        };
        Preflight::of(&request, has_body).map(|preflight| preflight.method.to_string())
    }

    #[test]
    fn c4_only_what_a_browser_sends_is_a_preflight() {
        let (origin, method) = (("origin", "https://a.test"), ("access-control-request-method", "PUT"));
        let names = |value| ("access-control-request-headers", value);
        for lines in [
            &[origin, method][..],
            &[("origin", "null"), method],
            &[("origin", "http://[::1]:8080"), method],
            &[("origin", "chrome-extension://abc"), method],
            &[origin, method, names("authorization,x-a")],
            &[origin, method, names("")],
        ] {
            assert_eq!(of("OPTIONS", lines, false).as_deref(), Some("PUT"), "{lines:?}");
            assert_eq!(of("OPTIONS", lines, true), None, "with a body: {lines:?}");
        }
        for lines in [
            &[][..],
            &[origin],
            &[method],
            &[origin, origin, method],
            &[origin, method, method],
            &[("origin", ""), method],
            &[("origin", "a.test"), method],
            &[("origin", "https://"), method],
            &[("origin", "https://a.test/"), method],
            &[("origin", "https://u@a.test"), method],
            &[("origin", "https://a.test, https://b.test"), method],
            &[("origin", "://a.test"), method],
            &[origin, ("access-control-request-method", "")],
            &[origin, ("access-control-request-method", "GET, PUT")],
            &[origin, ("access-control-request-method", "TRACE")],
            &[origin, ("access-control-request-method", "connect")],
            &[origin, method, names("a b")],
            &[origin, method, names("a"), names("b")],
        ] {
            assert_eq!(of("OPTIONS", lines, false), None, "{lines:?}");
        }
        assert_eq!(of("GET", &[origin, method], false), None);
        assert_eq!(of("options", &[origin, method], false), None, "methods are case-sensitive");
    }

    #[test]
    fn c4_places_of_a_route_are_few_and_come_back() {
        let budget = PreflightBudget::default();
        let held: Vec<_> = std::iter::from_fn(|| budget.enter()).take(MAX_PREFLIGHTS * 2).collect();
        assert_eq!(held.len(), MAX_PREFLIGHTS);
        drop(held);
        assert!(budget.enter().is_some());
    }
}
