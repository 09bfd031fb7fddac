//! Stage: what the caller may do.

use portreeve_policy::Authorization;

use crate::{
    authn::Caller,
    authz::{Permit, authorize as decide},
    pipeline::{Challenge, Denial},
};

/// Decides. Nobody, where a scope is demanded, is asked for a token rather than told that it lacks a scope.
pub(in crate::pipeline) fn authorize(
    authorization: &Authorization,
    caller: &Caller,
    challenge: &Challenge,
) -> Result<Permit, Denial> {
    let fact = caller.fact().map(AsRef::as_ref);
    decide(authorization, fact).map_err(|crate::authz::InsufficientScope| match fact {
        None => Denial::NoCredentials(challenge.clone()),
        Some(_) => Denial::InsufficientScope(challenge.clone()),
    })
}
