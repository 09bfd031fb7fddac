//! Stage: what policies on trial would have decided. Nothing here can permit or refuse: what comes of it is words for the
//! record and a count.

use portreeve_policy::{Access, RefusalReason};
use serde::Serialize;

use super::{
    authenticate::{Shown, authenticate},
    authorize::{asked, authorize},
};
use crate::{
    authn::{Caller, CredentialContext},
    clock::UnixMillis,
    pipeline::{
        Denial,
        runtime::{RuleRuntime, ShadowRuntime},
    },
};

/// What one policy on trial would have done.
#[derive(Debug, Clone, Serialize)]
pub struct ShadowDecision {
    /// `namespace/name` of the ApiPolicy.
    pub policy: String,
    /// `permit` or `deny`.
    pub would: &'static str,
    /// One of the reasons of decisions; `permitted` for a permit.
    pub reason: &'static str,
}

/// A request on its way, as far as policies on trial need it.
pub(in crate::pipeline) struct OnTrial<'a> {
    pub(in crate::pipeline) shown: &'a Shown<'a>,
    pub(in crate::pipeline) rule: (&'a RuleRuntime, usize),
    pub(in crate::pipeline) context: &'a CredentialContext,
    pub(in crate::pipeline) now: UnixMillis,
    /// What the authentication in force found.
    pub(in crate::pipeline) caller: &'a Result<Caller, Denial>,
}

impl OnTrial<'_> {
    /// Judges every policy on trial.
    pub(in crate::pipeline) async fn judge(&self) -> Vec<ShadowDecision> {
        let mut told = Vec::with_capacity(self.rule.0.shadows.len());
        for shadow in &self.rule.0.shadows {
            let verdict = self.verdict(shadow).await;
            let (would, reason, count) = match &verdict {
                Ok(()) => ("permit", "permitted", &shadow.would_permit),
                Err(denial) => ("deny", denial.reason(), &shadow.would_deny),
            };
            count.inc();
            told.push(ShadowDecision { policy: shadow.policy.clone(), would, reason });
        }
        told
    }

    async fn verdict(&self, shadow: &ShadowRuntime) -> Result<(), Denial> {
        let authentication = match &shadow.access {
            Access::Refused(refusal) => return Err(Denial::RuleRefuses(refusal.reason)),
            Access::Guarded { authentication, authorization: _ } => authentication,
        };
        let authorizer = shadow.authorizer.as_ref();
        let authorizer = authorizer.map_err(|_ignored| Denial::RuleRefuses(RefusalReason::InvalidPolicy))?;
        let in_force = self.rule.0.rule().and_then(|rule| match &rule.access {
            Access::Guarded { authentication, .. } => Some(authentication),
            Access::Refused(_) => None,
        });
        let found;
        let caller = if in_force == Some(authentication) {
            self.caller.as_ref().map_err(Clone::clone)?
        } else {
            let asked = authenticate(&shadow.gate, &shadow.challenge, self.shown, self.context).await;
            found = asked.map_err(|refused| refused.denial)?;
            &found
        };
        let asked = asked(self.shown.request, self.shown.side, self.rule, caller, self.now);
        authorize(authorizer, &asked, &shadow.challenge).await.map(drop)
    }
}
