//! Stage: which rule applies.

use crate::pipeline::{
    CanonicalRequest, Denial, Runtime,
    preflight::Preflight,
    router::{RouteQuery, Routed},
    runtime::{RuleRuntime, Target},
};

/// Finds the rule of a request; that of a preflight is the one of the request that it announces.
pub(in crate::pipeline) fn route<'a>(
    runtime: &'a Runtime,
    request: &CanonicalRequest,
    preflight: Option<&Preflight>,
) -> Result<(Target, &'a RuleRuntime), Denial> {
    if !runtime.is_ready() {
        return Err(Denial::NotReady);
    }
    let method = preflight.map_or(&request.method, |preflight| &preflight.method).as_str();
    let (headers, withheld) = (&request.headers, &request.aside.withheld);
    let wanted = RouteQuery { host: &request.host, path: &request.path, method, headers, withheld };
    match runtime.router.route(&wanted) {
        Routed::Found(target) => runtime.rules.get(target.0).map(|rule| (target, rule)).ok_or(Denial::RouteNotFound),
        Routed::MethodNotAllowed(methods) => Err(Denial::MethodNotAllowed(methods.join(", "))),
        Routed::NotFound => Err(Denial::RouteNotFound),
    }
}
