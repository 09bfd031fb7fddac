//! The blocks of a rule made ready to run, in force or in dry run. What cannot be made ready refuses.

use std::sync::Arc;

use portreeve_policy::{
    Authentication, BindingMethod, Credential, NamespacedName, Refusal, RefusalReason, RuleState as CompiledState,
};

use super::Challenge;
use crate::{
    authn::{Authenticators, BuildInputs, CarriedState},
    authz::Authorizer,
    limits::{LimitTables, Limiter},
    outbound::Network,
};

/// A rule as it runs.
#[derive(Clone)]
pub(super) enum RuleState {
    /// Requests that satisfy every block pass.
    Ready(Arc<Guard>),
    /// No request passes: the policy says so, or it cannot be run.
    Refusing(Refusal),
}

/// The blocks, ready.
pub(super) struct Guard {
    /// What a caller without the right credentials is told.
    pub(super) challenge: Challenge,
    pub(super) authenticator: Authenticator,
    pub(super) authorizer: Authorizer,
    pub(super) limiter: Limiter,
}

/// How a rule establishes its caller.
pub(super) enum Authenticator {
    /// Nobody is asked.
    Anonymous,
    /// One of these is asked for.
    AnyOf(Authenticators),
}

/// What blocks are made ready with.
pub(super) struct GuardInputs<'a> {
    pub(super) credentials: BuildInputs<'a>,
    /// Counts of the runtime before.
    pub(super) limits: &'a LimitTables,
    /// Where decision points are asked.
    pub(super) network: &'a Network,
}

/// What of blocks outlives a snapshot.
#[derive(Default, Clone)]
pub(super) struct Carried {
    pub(super) credentials: CarriedState,
    pub(super) limits: LimitTables,
}

impl Guard {
    /// Makes the blocks of a rule ready. The fault says why one cannot run.
    pub(super) fn new(
        guard: &portreeve_policy::Guard,
        (route, rule): (&NamespacedName, &str),
        resource_metadata: Option<Box<str>>,
        inputs: &GuardInputs<'_>,
        carried: &mut Carried,
    ) -> Result<Self, String> {
        let authenticator = match &guard.authentication {
            Authentication::Anonymous => Authenticator::Anonymous,
            authentication @ Authentication::AnyOf(_) => Authenticator::AnyOf(Authenticators::new(
                authentication,
                &inputs.credentials,
                &mut carried.credentials,
            )?),
        };
        let authorizer = Authorizer::new(&guard.authorization, (&route.to_string(), rule), inputs.network);
        Ok(Self {
            challenge: Challenge::of(guard, resource_metadata),
            authenticator,
            authorizer: authorizer.map_err(|fault| fault.to_string())?,
            limiter: Limiter::new(&guard.limits, inputs.limits, &mut carried.limits),
        })
    }
}

impl RuleState {
    /// A policy that can be read, but not be run.
    pub(super) fn unfit(message: String) -> Self {
        Self::Refusing(Refusal { reason: RefusalReason::InvalidPolicy, message })
    }

    /// The blocks, unless the rule refuses everything.
    pub(super) fn guard(&self) -> Option<&Guard> {
        match self {
            Self::Ready(guard) => Some(guard),
            Self::Refusing(_) => None,
        }
    }
}

/// Tokens that are bound to a certificate need the handshake to show one (RFC 8705 section 3).
pub(super) fn wants_bound_tokens(state: &CompiledState) -> bool {
    let credentials = state.guard().into_iter().flat_map(|guard| guard.authentication.credentials());
    let binding = credentials.filter_map(|credential| match credential {
        Credential::Introspection(rule) => Some(&rule.proof),
        Credential::Jwt(rule) => Some(&rule.proof),
        Credential::ApiKey(_)
        | Credential::Basic(_)
        | Credential::ClientCertificate(_)
        | Credential::Digest(_)
        | Credential::Exchange(_) => None,
    });
    binding.into_iter().any(|proof| proof.required.contains(&BindingMethod::Certificate))
}
