//! Stage: what the caller may do.

use crate::{
    authn::Caller,
    authz::{AuthorizationInput, Authorizer, PathParameters, Permit, Refusal},
    clock::UnixMillis,
    pipeline::{CanonicalRequest, Challenge, ClientSide, Denial, Scheme, runtime::RuleRuntime},
};

/// Decides.
pub(in crate::pipeline) async fn authorize(
    authorizer: &Authorizer,
    input: &AuthorizationInput<'_>,
    challenge: &Challenge,
) -> Result<Permit, Denial> {
    authorizer.authorize(input).await.map_err(|refusal| match refusal {
        Refusal::NoCaller => Denial::NoCredentials(challenge.clone()),
        Refusal::DecisionPointUnavailable => Denial::DecisionPointUnavailable,
        Refusal::InsufficientScope => Denial::InsufficientScope(challenge.clone()),
        Refusal::Forbidden(why) => Denial::Forbidden(why),
    })
}

/// What conditions look at.
pub(in crate::pipeline) fn authorization_input<'a>(
    request: &'a CanonicalRequest,
    side: &'a ClientSide,
    (rule, position): (&'a RuleRuntime, usize),
    caller: &'a Caller,
    now: UnixMillis,
) -> AuthorizationInput<'a> {
    let matched = rule.rule().and_then(|rule| rule.matches.get(position)).map(|matched| &matched.path);
    AuthorizationInput {
        caller: caller.verified().map(AsRef::as_ref),
        address: side.address,
        tls: side.scheme.map(|scheme| scheme == Scheme::Https),
        method: request.method.as_str(),
        host: side.authority.as_ref().map(|(host, _)| host.as_str()),
        path: request.path.as_str(),
        parameters: PathParameters::new(&request.path, matched),
        headers: &request.headers,
        now,
    }
}
