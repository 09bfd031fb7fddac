//! Stage: what the caller may do.

use portreeve_policy::Authorization;

use super::authenticate::Authenticated;
use crate::{
    authz::{Permit, authorize as decide},
    pipeline::{Challenge, Denial},
};

/// Decides. Nobody, where a scope is demanded, is asked for a token rather than told that it lacks a scope.
pub(in crate::pipeline) fn authorize(
    authorization: &Authorization,
    caller: &Authenticated,
    challenge: &Challenge,
) -> Result<Permit, Denial> {
    let fact = caller.fact.as_deref();
    decide(authorization, fact).map_err(|crate::authz::InsufficientScope| match fact {
        None => Denial::NoCredentials(challenge.clone()),
        Some(_) => Denial::InsufficientScope(challenge.clone()),
    })
}
