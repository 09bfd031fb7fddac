//! Stage: which rule applies.

use crate::pipeline::{
    CanonicalRequest, Denial, Runtime,
    router::{Routed, Wanted},
    runtime::{RuleRuntime, Target},
};

/// Finds the rule of a request.
pub(in crate::pipeline) fn route<'a>(
    runtime: &'a Runtime,
    request: &CanonicalRequest,
) -> Result<(Target, &'a RuleRuntime), Denial> {
    if !runtime.is_ready() {
        return Err(Denial::NotReady);
    }
    let wanted =
        Wanted { host: &request.host, path: &request.path, method: request.method.as_str(), headers: &request.headers };
    match runtime.router.route(&wanted) {
        Routed::Found(target) => runtime.rules.get(target.0).map(|rule| (target, rule)).ok_or(Denial::RouteNotFound),
        Routed::MethodNotAllowed(methods) => Err(Denial::MethodNotAllowed(methods.join(", "))),
        Routed::NotFound => Err(Denial::RouteNotFound),
    }
}
