//! Stage: which rule applies.

use http::{
    HeaderName, Method,
    header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
};

use crate::pipeline::{
    CanonicalRequest, Denial, Runtime,
    router::{Routed, Wanted},
    runtime::{RuleRuntime, Target},
};

/// The method that a CORS preflight asks for (Fetch standard, section "CORS-preflight fetch"): OPTIONS with `Origin` and
/// `Access-Control-Request-Method`, each once. Only that is a preflight; a plain OPTIONS is a request like any other.
pub(in crate::pipeline) fn preflight_method(request: &CanonicalRequest) -> Option<Method> {
    if request.method != Method::OPTIONS {
        return None;
    }
    let one = |name: HeaderName| {
        let mut lines = request.headers.get_all(name).iter();
        lines.next().filter(|_| lines.next().is_none())
    };
    one(ORIGIN)?;
    Method::from_bytes(one(ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()
}

/// Finds the rule of a request; that of a preflight is the one of the request that it announces.
pub(in crate::pipeline) fn route<'a>(
    runtime: &'a Runtime,
    request: &CanonicalRequest,
    preflight: Option<&Method>,
) -> Result<(Target, &'a RuleRuntime), Denial> {
    if !runtime.is_ready() {
        return Err(Denial::NotReady);
    }
    let method = preflight.unwrap_or(&request.method).as_str();
    let wanted = Wanted { host: &request.host, path: &request.path, method, headers: &request.headers };
    match runtime.router.route(&wanted) {
        Routed::Found(target) => runtime.rules.get(target.0).map(|rule| (target, rule)).ok_or(Denial::RouteNotFound),
        Routed::MethodNotAllowed(methods) => Err(Denial::MethodNotAllowed(methods.join(", "))),
        Routed::NotFound => Err(Denial::RouteNotFound),
    }
}
