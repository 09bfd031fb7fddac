//! Stage: what policies in dry run would have decided. Nothing here can permit or refuse, and nobody waits for it: dry runs are
//! evaluated beside the exchange, a few at a time and within a time of their own, with a memory of their own. What comes of
//! one is words for the record and a count (M2).

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use portreeve_policy::Reason;
use serde::Serialize;

use super::{
    authenticate::{PresentedCredentials, authenticate},
    authorize::{authorization_input, authorize},
    limit::{count, spike},
};
use crate::{
    authn::{Caller, CredentialContext},
    clock::UnixMillis,
    pipeline::{
        CanonicalRequest, ClientSide, Connection, Denial, Runtime, WorkerRecords,
        guard::RuleState,
        runtime::{RuleRuntime, ShadowRuntime, Target},
    },
};

/// What one policy in dry run would have done.
#[derive(Debug, Clone, Serialize)]
pub struct ShadowDecision {
    /// `namespace/name` of the ApiPolicy.
    pub policy: String,
    /// `permit`, `deny` or `unknown`.
    pub would: &'static str,
    /// `dry_run_timeout` or `dry_run_overloaded` where `would` is `unknown`.
    pub reason: Reason,
}

/// Time for all dry runs of one request.
pub(crate) const DRY_RUN_TIME: Duration = Duration::from_secs(5);

/// Requests of one worker whose dry runs are evaluated at the same time.
pub(crate) const MAX_DRY_RUNS: usize = 64;

/// Dry runs of one worker that are under way.
#[derive(Default)]
pub(in crate::pipeline) struct DryRuns(Rc<Cell<usize>>);

/// A place among them; given back when dropped.
struct Place(Rc<Cell<usize>>);

/// A request on its way, as far as policies in dry run need it: a copy of their own.
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

/// The record of a request with dry runs. It is written when the exchange has its answer and every dry run is done or out
/// of time, whichever comes last.
pub(in crate::pipeline) struct DryRunRecord {
    records: WorkerRecords,
    line: RefCell<Option<String>>,
    decisions: RefCell<Vec<ShadowDecision>>,
}

impl DryRunRecord {
    pub(in crate::pipeline) fn new(records: WorkerRecords) -> Rc<Self> {
        Rc::new(Self { records, line: RefCell::default(), decisions: RefCell::default() })
    }

    /// The exchange has its answer; `line` is the record but for the dry runs.
    pub(in crate::pipeline) fn close(&self, line: String) {
        self.line.replace(Some(line));
    }
}

impl Drop for DryRunRecord {
    fn drop(&mut self) {
        let decisions = serde_json::to_string(&*self.decisions.borrow()).unwrap_or_else(|_| "[]".to_owned());
        if let Some(mut line) = self.line.take()
            && line.pop() == Some('}')
        {
            line.push_str(&format!(",\"shadow\":{decisions}}}"));
            self.records.put_line(&line);
        }
    }
}

impl DryRuns {
    fn enter(&self) -> Option<Place> {
        let held = self.0.get();
        if held >= MAX_DRY_RUNS {
            return None;
        }
        self.0.set(held.saturating_add(1));
        Some(Place(Rc::clone(&self.0)))
    }

    /// Has every policy in dry run judged beside what goes on.
    pub(in crate::pipeline) fn begin(&self, evaluation: ShadowEvaluation, record: Rc<DryRunRecord>) {
        match self.enter() {
            None => evaluation.undecided(0, Reason::DryRunOverloaded, &record),
            Some(place) => drop(tokio::task::spawn_local(async move {
                let judged = Cell::new(0);
                if tokio::time::timeout(DRY_RUN_TIME, evaluation.judge(&judged, &record)).await.is_err() {
                    evaluation.undecided(judged.get(), Reason::DryRunTimeout, &record);
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

    /// Judges every policy in dry run, counting how many are done.
    async fn judge(&self, judged: &Cell<usize>, record: &DryRunRecord) {
        for shadow in self.shadows() {
            let verdict = self.verdict(shadow).await;
            let (would, reason, count) = match &verdict {
                Ok(()) => ("permit", Reason::Permitted, &shadow.would_permit),
                Err(denial) => ("deny", denial.reason(), &shadow.would_deny),
            };
            count.inc();
            judged.set(judged.get().saturating_add(1));
            record.decisions.borrow_mut().push(ShadowDecision { policy: shadow.policy.clone(), would, reason });
        }
    }

    /// Nobody knows what the others would have done.
    fn undecided(&self, judged: usize, reason: Reason, record: &DryRunRecord) {
        for shadow in self.shadows().iter().skip(judged) {
            shadow.undecided.inc();
            let decisions = ShadowDecision { policy: shadow.policy.clone(), would: "unknown", reason };
            record.decisions.borrow_mut().push(decisions);
        }
    }

    async fn verdict(&self, shadow: &ShadowRuntime) -> Result<(), Denial> {
        let rule = self.rule().ok_or(Denial::RouteNotFound)?;
        let guard = match &shadow.state {
            RuleState::Ready(guard) => guard,
            RuleState::Refusing(refusal) => return Err(Denial::RuleRefuses(refusal.reason)),
        };
        spike(&guard.limiter, &self.side, self.now)?;
        let found;
        let caller = if shadow.same_caller {
            self.caller.as_ref().map_err(Clone::clone)?
        } else {
            let certificates = self.connection.certificates.as_ref();
            let presented =
                PresentedCredentials { request: &self.request, side: &self.side, now: self.now, certificates };
            let asked = authenticate(guard, &presented, &self.context).await;
            found = asked.map_err(|refused| refused.denial)?;
            &found
        };
        let input = authorization_input(&self.request, &self.side, (rule, self.target.1), caller, self.now);
        authorize(&guard.authorizer, &input, &guard.challenge).await?;
        count(&guard.limiter, &input).map(drop)
    }
}
