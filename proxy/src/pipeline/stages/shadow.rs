//! Stage: what policies on trial would have decided. Nothing here can permit or refuse, and nobody waits for it: trials are
//! judged beside the exchange, a few at a time and within a time of their own, with a memory of their own. What comes of
//! one is words for the record and a count (M2).

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use portreeve_policy::{Access, RefusalReason};
use serde::Serialize;

use super::{
    authenticate::{PresentedCredentials, authenticate},
    authorize::{asked, authorize},
};
use crate::{
    authn::{Caller, CredentialContext},
    clock::UnixMillis,
    pipeline::{
        CanonicalRequest, ClientSide, Connection, Denial, Records, Runtime,
        runtime::{RuleRuntime, ShadowRuntime, Target},
    },
};

/// What one policy on trial would have done.
#[derive(Debug, Clone, Serialize)]
pub struct ShadowDecision {
    /// `namespace/name` of the ApiPolicy.
    pub policy: String,
    /// `permit`, `deny` or `unknown`.
    pub would: &'static str,
    /// One of the reasons of decisions; `permitted` for a permit, `trial_timeout` or `trial_overloaded` for neither.
    pub reason: &'static str,
}

/// Time for all trials of one request.
pub(crate) const TRIAL_TIME: Duration = Duration::from_secs(5);

/// Requests of one worker whose trials are judged at the same time.
pub(crate) const MAX_TRIALS: usize = 64;

/// Trials of one worker that are under way.
#[derive(Default)]
pub(in crate::pipeline) struct Trials(Rc<Cell<usize>>);

/// A place among them; given back when dropped.
struct Place(Rc<Cell<usize>>);

/// A request on its way, as far as policies on trial need it: a copy of their own.
pub(in crate::pipeline) struct ShadowEvaluation {
    pub(in crate::pipeline) runtime: Arc<Runtime>,
    pub(in crate::pipeline) target: Target,
    pub(in crate::pipeline) request: CanonicalRequest,
    pub(in crate::pipeline) side: ClientSide,
    pub(in crate::pipeline) connection: Rc<Connection>,
    pub(in crate::pipeline) context: CredentialContext,
    pub(in crate::pipeline) now: UnixMillis,
    /// What the authentication in force found.
    pub(in crate::pipeline) caller: Result<Caller, Denial>,
}

/// The record of a request with trials. It is written when the exchange has its answer and every trial is judged or out
/// of time, whichever comes last.
pub(in crate::pipeline) struct TrialRecord {
    records: Records,
    line: RefCell<Option<String>>,
    told: RefCell<Vec<ShadowDecision>>,
}

impl TrialRecord {
    pub(in crate::pipeline) fn new(records: Records) -> Rc<Self> {
        Rc::new(Self { records, line: RefCell::default(), told: RefCell::default() })
    }

    /// The exchange has its answer; `line` is the record but for the trials.
    pub(in crate::pipeline) fn close(&self, line: String) {
        self.line.replace(Some(line));
    }
}

impl Drop for TrialRecord {
    fn drop(&mut self) {
        let told = serde_json::to_string(&*self.told.borrow()).unwrap_or_else(|_| "[]".to_owned());
        if let Some(mut line) = self.line.take()
            && line.pop() == Some('}')
        {
            line.push_str(&format!(",\"shadow\":{told}}}"));
            self.records.put_line(line);
        }
    }
}

impl Trials {
    fn enter(&self) -> Option<Place> {
        let held = self.0.get();
        if held >= MAX_TRIALS {
            return None;
        }
        self.0.set(held.saturating_add(1));
        Some(Place(Rc::clone(&self.0)))
    }

    /// Has every policy on trial judged beside what goes on.
    pub(in crate::pipeline) fn begin(&self, trial: ShadowEvaluation, record: Rc<TrialRecord>) {
        match self.enter() {
            None => trial.undecided(0, "trial_overloaded", &record),
            Some(place) => drop(tokio::task::spawn_local(async move {
                let judged = Cell::new(0);
                if tokio::time::timeout(TRIAL_TIME, trial.judge(&judged, &record)).await.is_err() {
                    trial.undecided(judged.get(), "trial_timeout", &record);
                }
                drop(place);
            })),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl ShadowEvaluation {
    fn rule(&self) -> Option<&RuleRuntime> {
        self.runtime.rules.get(self.target.0)
    }

    fn shadows(&self) -> &[ShadowRuntime] {
        self.rule().map(|rule| rule.shadows.as_slice()).unwrap_or_default()
    }

    /// Judges every policy on trial, counting how many are done.
    async fn judge(&self, judged: &Cell<usize>, record: &TrialRecord) {
        for shadow in self.shadows() {
            let verdict = self.verdict(shadow).await;
            let (would, reason, count) = match &verdict {
                Ok(()) => ("permit", "permitted", &shadow.would_permit),
                Err(denial) => ("deny", denial.reason(), &shadow.would_deny),
            };
            count.inc();
            judged.set(judged.get().saturating_add(1));
            record.told.borrow_mut().push(ShadowDecision { policy: shadow.policy.clone(), would, reason });
        }
    }

    /// Nobody knows what the others would have done.
    fn undecided(&self, judged: usize, reason: &'static str, record: &TrialRecord) {
        for shadow in self.shadows().iter().skip(judged) {
            shadow.undecided.inc();
            let told = ShadowDecision { policy: shadow.policy.clone(), would: "unknown", reason };
            record.told.borrow_mut().push(told);
        }
    }

    async fn verdict(&self, shadow: &ShadowRuntime) -> Result<(), Denial> {
        let rule = self.rule().ok_or(Denial::RouteNotFound)?;
        let authentication = match &shadow.access {
            Access::Refused(refusal) => return Err(Denial::RuleRefuses(refusal.reason)),
            Access::Guarded { authentication, authorization: _ } => authentication,
        };
        let authorizer = shadow.authorizer.as_ref();
        let authorizer = authorizer.map_err(|_ignored| Denial::RuleRefuses(RefusalReason::InvalidPolicy))?;
        let in_force = rule.rule().and_then(|rule| match &rule.access {
            Access::Guarded { authentication, .. } => Some(authentication),
            Access::Refused(_) => None,
        });
        let found;
        let caller = if in_force == Some(authentication) {
            self.caller.as_ref().map_err(Clone::clone)?
        } else {
            let certificates = self.connection.certificates.as_ref();
            let shown = PresentedCredentials { request: &self.request, side: &self.side, now: self.now, certificates };
            let asked = authenticate(&shadow.gate, &shadow.challenge, &shown, &self.context).await;
            found = asked.map_err(|refused| refused.denial)?;
            &found
        };
        let asked = asked(&self.request, &self.side, (rule, self.target.1), caller, self.now);
        authorize(authorizer, &asked, &shadow.challenge).await.map(drop)
    }
}
