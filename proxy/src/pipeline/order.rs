//! The only list of stages: those of a request, those of its answer, and the shorter list of a CORS preflight. Each line
//! says why it stands where it stands.

use std::{ops::ControlFlow, rc::Rc, sync::Arc, time::Duration};

use http::{Response, StatusCode, Version, request::Parts};
use hyper::upgrade::OnUpgrade;

use super::{
    AnswerBody, CanonicalRequest, ClientSide, Connection, Denial, Dispatch, Lane, PreflightFault, RequestBody,
    RequestHandler, Runtime, UpstreamFault,
    answer::finish,
    cors::{CorsAnswer, answer_preflight},
    preflight::{Preflight, PreflightPolicy},
    request_body::Unread,
    request_context::RequestContext,
    runtime::RuleRuntime,
    stages::{
        arrival::arrival,
        authorize::{authorization_input, authorize},
        credentials::{UpstreamRequestContext, credentials, upstream_request},
        decide::{Decided, guard_of},
        fields::remove_decided_fields,
        limit::{arrest_spike, limit},
        route::route,
        upgrade::upgrade,
    },
};
use crate::authn::Caller;

/// Time that the application has for a preflight, if the rule's own is not shorter.
pub(crate) const PREFLIGHT_TIMEOUT: Duration = Duration::from_secs(5);

impl<D: Dispatch> RequestHandler<D> {
    /// From the head of a request to the head of its answer.
    pub(super) async fn exchange(
        &self,
        runtime: &Arc<Runtime>,
        (mut parts, unread): (Parts, &mut Unread),
        connection: &Rc<Connection>,
        context: &mut RequestContext<D>,
    ) -> Result<Response<AnswerBody>, Denial> {
        // Request half.
        // Before anything is read: framing, memory, what the request is, and requests for the proxy itself.
        let mut request = match arrival(&self.0, runtime, &mut parts, connection, context)? {
            ControlFlow::Continue(request) => request,
            ControlFlow::Break(answer) => return Ok(answer),
        };
        // Before routing: a field that Connection takes away must not be one that any rule looks at.
        request.aside.check_named(&runtime.watched).map_err(Denial::InvalidRequest)?;
        // Before routing: a preflight goes where the request goes that it announces.
        let preflight = Preflight::of(&request, !unread.is_empty());
        // Before everything that a policy says: the rule names the policy.
        let (target, rule) = route(runtime, &request, preflight.as_ref())?;
        context.target = Some(target.0);
        let compiled = rule.rule().ok_or(Denial::RouteNotFound)?;
        // Before any credential or condition is read: they see the fields that the application will see.
        let passed = &rule.route.pass_headers;
        request.aside.settle(&mut request.headers, passed).map_err(Denial::InvalidRequest)?;
        remove_decided_fields(&mut request.headers, rule);
        // After routing, since the route names the proxies that it trusts; before whoever looks at the address.
        let side = ClientSide::of(&request, &rule.route.client_address);
        context.client_side(&side);
        request.check_scheme(&side, &rule.route.client_address).map_err(Denial::InvalidRequest)?;
        // Before anything that a policy refuses: scripts may read refusals too. A preflight says all of it by itself.
        context.cors = CorsAnswer::of(&rule.route.cors, &request.headers).filter(|_| preflight.is_none());
        // Before authentication: what comes in a burst costs nothing more, whoever sends it.
        arrest_spike(rule, &side, context.taken_in)?;
        // Before authentication: a preflight never has credentials.
        if let Some(preflight) = preflight {
            context.preflight = true;
            return self.preflight(preflight, request, &side, (rule, target.1), context).await;
        }
        // Authentication, then authorization, in the rule's time. Dry runs begin here, with a copy of what was seen.
        let Decided { caller, permit } = self.decide(runtime, target, (&request, &side), connection, context).await?;
        // After the decision: whether a switch is allowed is told only to those who may call.
        let switch = upgrade(&request, &compiled.upgrades)?;
        // After everything that may refuse: only requests that go on are counted.
        let limits = limit(rule, &authorization_input(&request, &side, (rule, target.1), &caller, context.taken_in))?;
        context.permitted();
        // Last before dispatch: what the upstream is told of the caller follows from the decision.
        let upstream = &rule.route.upstream;
        let told = UpstreamRequestContext {
            caller: &caller,
            key_locations: rule.key_locations(),
            certificates: connection.certificates.as_ref(),
            side: &side,
            now: self.0.clock.now(),
            pseudonym: &self.0.pseudonym,
        };
        let mut headers = credentials(&mut request, &told, upstream.forwarded, switch, &context.id)?;
        headers.extend(permit.headers().iter().cloned());
        let client_side = switch.map(|switch| (switch, parts.extensions.remove::<OnUpgrade>()));
        // A permit is spent on one request: without it, nothing can be sent.
        let mut sending = upstream_request(&request, headers, unread.take())?;
        // Others do not know interim answers, or have a parser that cannot say them.
        if request.version == Version::HTTP_11 {
            connection.interim.expect(&mut sending);
        }
        let deadline = context.started + compiled.timeout.duration();
        let permitted = permit.bind(sending);
        let sent = self.0.dispatch.send(upstream, Lane::Exchange(side.share()), permitted, deadline).await;
        connection.interim.end();

        // Response half.
        // First: who is to blame for a fault decides the status.
        let response = sent.map_err(|fault| unread.blame(fault, connection))?;
        // Before the answer goes out: after 101 the bytes of the client are no HTTP.
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            connection.framing.switch();
        }
        // Last: hop-by-hop fields go, Via comes, both sides of a switch are joined; then what is left of limits.
        let mut answer = finish(response, client_side);
        limits.set(answer.headers_mut());
        Ok(answer)
    }

    /// Answers a CORS preflight, or has the application answer where the route says so and every condition holds that
    /// looks at no caller. The request that it announces is decided like any other.
    async fn preflight(
        &self,
        preflight: Preflight,
        mut request: CanonicalRequest,
        side: &ClientSide,
        (rule, position): (&RuleRuntime, usize),
        context: &mut RequestContext<D>,
    ) -> Result<Response<AnswerBody>, Denial> {
        let guard = guard_of(rule, context)?;
        let refused = |fault| Err(Denial::Preflight(fault));
        let (authorizer, budget) = match &rule.preflight {
            PreflightPolicy::Refuse => return refused(PreflightFault::NotConfigured),
            PreflightPolicy::Answer(cors) => {
                let answer = answer_preflight(cors, &preflight, &request.headers);
                return answer.ok_or(Denial::Preflight(PreflightFault::NotAllowed));
            }
            PreflightPolicy::Undecidable => return refused(PreflightFault::Undecidable),
            PreflightPolicy::Passthrough(authorizer, budget) => (authorizer, budget),
        };
        let nobody = Caller::default();
        let mut input = authorization_input(&request, side, (rule, position), &nobody, context.taken_in);
        // As for the route, the method that counts is the announced one.
        input.method = preflight.method.as_str();
        let permit = authorize(authorizer, &input, &guard.challenge).await?;
        // After the conditions: who is refused takes no place from others.
        let Some(_place) = budget.enter() else { return refused(PreflightFault::Overloaded) };
        context.permitted();
        // Last before dispatch: nothing of the caller but what the preflight is about.
        Preflight::strip(&mut request.headers);
        request.query = None;
        let told = UpstreamRequestContext {
            caller: &nobody,
            key_locations: &[],
            certificates: None,
            side,
            now: self.0.clock.now(),
            pseudonym: &self.0.pseudonym,
        };
        let upstream = &rule.route.upstream;
        let headers = credentials(&mut request, &told, upstream.forwarded, None, &context.id)?;
        let permitted = permit.bind(upstream_request(&request, headers, RequestBody::Empty)?);
        let timeout = rule.rule().map_or(PREFLIGHT_TIMEOUT, |rule| rule.timeout.duration());
        let deadline = context.started + timeout.min(PREFLIGHT_TIMEOUT);
        let sent = self.0.dispatch.send(upstream, Lane::Preflight(side.share()), permitted, deadline).await;
        let answer = sent.map_err(|fault| {
            let overloaded = fault == UpstreamFault::Overloaded;
            if overloaded { Denial::Preflight(PreflightFault::Overloaded) } else { Denial::Upstream(fault) }
        })?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Denial::Upstream(UpstreamFault::Protocol));
        }
        Ok(finish(Preflight::strip_answer(&answer), None))
    }
}
