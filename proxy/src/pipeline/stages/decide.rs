//! Stage: who calls and whether it may, within the time of the rule; and beside it what policies in dry run would say.

use std::{
    future::{Future, poll_fn},
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use super::{
    authenticate::{PresentedCredentials, Unauthenticated, authenticate},
    authorize::{authorization_input, authorize},
    shadow::ShadowEvaluation,
};
use crate::{
    authn::Caller,
    authz::Permit,
    pipeline::{
        CanonicalRequest, ClientSide, Connection, Denial, Dispatch, RequestHandler, Runtime,
        guard::{Guard, RuleState},
        request_context::RequestContext,
        runtime::{RuleRuntime, Target},
    },
};

/// A request that may go on, with what follows from that.
pub(in crate::pipeline) struct Decided {
    pub(in crate::pipeline) caller: Caller,
    pub(in crate::pipeline) permit: Permit,
}

impl<D: Dispatch> RequestHandler<D> {
    pub(in crate::pipeline) async fn decide(
        &self,
        runtime: &Arc<Runtime>,
        (index, position): Target,
        (request, side): (&CanonicalRequest, &ClientSide),
        connection: &Rc<Connection>,
        context: &mut RequestContext<D>,
    ) -> Result<Decided, Denial> {
        let rule = runtime.rules.get(index).ok_or(Denial::RouteNotFound)?;
        let timeout = rule.rule().ok_or(Denial::RouteNotFound)?.timeout;
        let deadline = context.started + timeout.duration();
        let certificates = connection.certificates.as_ref();
        let presented = PresentedCredentials { request, side, now: context.taken_in, certificates };
        // Whatever is asked of others, and however long it waits for its turn.
        let (caller, permit) = {
            let deciding = async {
                let caller = self.identify(rule, &presented, context).await;
                let permit = permit(request, side, (rule, position), &caller, context).await;
                (caller, permit)
            };
            let mut deciding = std::pin::pin!(deciding);
            let late = |_: tokio::time::error::Elapsed| (Err(Denial::Undecided), Err(Denial::Undecided));
            // Most requests are decided at once, and need no timer.
            match poll_fn(|cx| Poll::Ready(deciding.as_mut().poll(cx))).await {
                Poll::Ready(decided) => decided,
                Poll::Pending => tokio::time::timeout_at(deadline, deciding).await.unwrap_or_else(late),
            }
        };
        if !rule.shadows.is_empty() {
            let evaluation = ShadowEvaluation {
                runtime: Arc::clone(runtime),
                target: (index, position),
                request: request.clone(),
                side: side.clone(),
                connection: Rc::clone(connection),
                context: self.0.dry_run_credentials.clone(),
                now: context.taken_in,
                caller: caller.clone(),
            };
            self.1.begin(evaluation, context.begin_dry_run());
        }
        Ok(Decided { caller: caller?, permit: permit? })
    }

    /// Who calls, as far as the rule in force asks.
    async fn identify(
        &self,
        rule: &RuleRuntime,
        presented: &PresentedCredentials<'_>,
        context: &mut RequestContext<D>,
    ) -> Result<Caller, Denial> {
        let guard = guard_of(rule, context)?;
        let Unauthenticated { denial, fingerprint, unknown_key_at } =
            match authenticate(guard, presented, &self.0.credentials).await {
                Ok(caller) => return Ok(caller),
                Err(refused) => refused,
            };
        context.fingerprint = fingerprint;
        // A key that is not in the set may be new: the operator is asked to look, and the token is refused for now.
        if let Some(name) = unknown_key_at {
            // With the queue full, enough reports are under way.
            drop(self.0.unknown_keys.try_send(name.to_string()));
        }
        Err(denial)
    }
}

/// The blocks of a rule, or the refusal of one that refuses everything.
pub(in crate::pipeline) fn guard_of<'a, D: Dispatch>(
    rule: &'a RuleRuntime,
    context: &mut RequestContext<D>,
) -> Result<&'a Guard, Denial> {
    match &rule.state {
        RuleState::Ready(guard) => Ok(guard),
        RuleState::Refusing(refusal) => {
            context.detail = Some(refusal.message.clone());
            Err(Denial::RuleRefuses(refusal.reason))
        }
    }
}

/// The decision in force.
async fn permit<D: Dispatch>(
    request: &CanonicalRequest,
    side: &ClientSide,
    rule: (&RuleRuntime, usize),
    caller: &Result<Caller, Denial>,
    context: &mut RequestContext<D>,
) -> Result<Permit, Denial> {
    let caller = caller.as_ref().map_err(Clone::clone)?;
    context.caller(caller);
    let guard = guard_of(rule.0, context)?;
    let input = authorization_input(request, side, rule, caller, context.taken_in);
    let permit = authorize(&guard.authorizer, &input, &guard.challenge).await?;
    if permit.failed_open() {
        context.detail = Some("the decision point gave no usable answer; failureMode Permit let it through".to_owned());
    }
    Ok(permit)
}
