//! Stage: how often callers may call. The first half stands before authentication, the second after the decision.

use crate::{
    authz::AuthorizationInput,
    clock::UnixMillis,
    limits::{LimitHeaders, LimitRefusal, Limiter},
    peer::Peer,
    pipeline::{ClientSide, Denial, runtime::RuleRuntime},
};

/// Refuses what comes in a burst. A rule that refuses everything has no limits.
pub(in crate::pipeline) fn arrest_spike(rule: &RuleRuntime, side: &ClientSide, now: UnixMillis) -> Result<(), Denial> {
    rule.state.guard().map_or(Ok(()), |guard| spike(&guard.limiter, side, now))
}

/// The same for the limits of a guard, in force or in dry run.
pub(in crate::pipeline) fn spike(limiter: &Limiter, side: &ClientSide, now: UnixMillis) -> Result<(), Denial> {
    limiter.arrest_spike(side.address.map(Peer::of), now).map_err(Denial::SpikeArrested)
}

/// Counts a request that may go on, or refuses it.
pub(in crate::pipeline) fn limit(rule: &RuleRuntime, input: &AuthorizationInput<'_>) -> Result<LimitHeaders, Denial> {
    rule.state.guard().map_or_else(|| Ok(LimitHeaders::default()), |guard| count(&guard.limiter, input))
}

/// The same for the limits of a guard, in force or in dry run.
pub(in crate::pipeline) fn count(limiter: &Limiter, input: &AuthorizationInput<'_>) -> Result<LimitHeaders, Denial> {
    limiter.admit(input).map_err(|refusal| match refusal {
        LimitRefusal::KeyMissing(limit) => Denial::LimitKeyMissing(limit),
        LimitRefusal::Limited(too_soon) => Denial::RateLimited(too_soon),
    })
}
