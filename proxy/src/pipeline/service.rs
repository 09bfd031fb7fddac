//! One request from beginning to end, and its record.

use std::{
    future::{Future, poll_fn},
    ops::ControlFlow,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, request::Parts};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use portreeve_policy::{Access, RefusalReason};
use tokio::{sync::mpsc::Sender, time::Instant};

use super::{
    AccessLog, AnswerBody, CanonicalRequest, ClientSide, Connection, DecisionIds, Denial, Dispatch, InvalidRequest,
    Lane, Metrics, PreflightFault, Pseudonym, Records, RequestBody, Runtime, SharedRuntime, UpstreamFault,
    answer::finish,
    canonical::check_authority,
    options::{about_the_server, forwards, is_of_the_server},
    preflight::{Preflight, PreflightPolicy},
    request_body::Unread,
    request_context::RequestContext,
    respond,
    runtime::{RuleAuthenticator, RuleRuntime, Target},
    stages::{
        authenticate::{PresentedCredentials, Refused, authenticate},
        authorize::{asked, authorize},
        credentials::{UpstreamRequestContext, credentials},
        route::route,
        shadow::{ShadowEvaluation, Trials},
        upgrade::upgrade,
    },
};
use crate::{
    authn::{Caller, CredentialContext},
    authz::Permit,
    clock::SharedClock,
    pressure::Pressure,
};

/// Time that the application has for a preflight, if the rule's own is not shorter.
pub(crate) const PREFLIGHT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the gate is made of.
pub struct RequestHandlerConfig<D> {
    /// Policy in force.
    pub runtime: SharedRuntime,
    /// Way to the application.
    pub dispatch: D,
    /// Where decisions are written.
    pub records: Records,
    /// What is counted.
    pub metrics: Metrics,
    /// The time.
    pub clock: SharedClock,
    /// What credentials are checked with.
    pub credentials: CredentialContext,
    /// The same for policies on trial, with a memory of their own: what they use up is not used up in force.
    pub on_trial: CredentialContext,
    /// Identifiers of decisions.
    pub ids: DecisionIds,
    /// Name of the process in `Via`.
    pub pseudonym: Pseudonym,
    /// Which exchanges are logged to their end.
    pub access_log: AccessLog,
    /// Whether work is turned away.
    pub pressure: Pressure,
    /// Where token services with an unknown key are reported.
    pub unknown_keys: Sender<String>,
}

/// Decides requests of one worker.
pub struct RequestHandler<D>(pub(super) RequestHandlerConfig<D>, Trials);

impl<D: Dispatch> RequestHandler<D> {
    /// A gate.
    pub fn new(parts: RequestHandlerConfig<D>) -> Self {
        Self(parts, Trials::default())
    }

    /// Whether the TLS handshake asks for client certificates.
    pub fn wants_certificates(&self) -> bool {
        self.0.runtime.load().wants_certificates()
    }

    /// Answers a request, in any case, and leaves a record, in any case.
    pub async fn handle(
        self: Rc<Self>,
        request: Request<Incoming>,
        connection: Rc<Connection>,
    ) -> Response<AnswerBody> {
        // Held to the end of the request: a swap in between changes nothing for it.
        let runtime = self.0.runtime.load_full();
        let mut account = RequestContext::open(Rc::clone(&self), Arc::clone(&runtime), &connection);
        let (parts, body) = request.into_parts();
        let mut unread = Unread::new(body, &parts, &connection);
        let outcome = self.decide(&runtime, (parts, &mut unread), &connection, &mut account).await;
        let mut response = match outcome {
            Ok(response) => response,
            Err(denial) => {
                let response = respond::respond(&denial, &account.id, &self.0.credentials.memory, self.0.clock.now());
                account.denial = Some(denial);
                response
            }
        };
        unread.settle(&mut response);
        if let Ok(id) = HeaderValue::from_str(&account.id) {
            response.headers_mut().insert(respond::DECISION_ID, id);
        }
        if self.0.access_log.takes(account.id.as_str()) {
            let entry = account.access_entry(response.status());
            let records = self.0.records.clone();
            response.body_mut().observe(Box::new(move |bytes, whole| records.put(&entry.ended(bytes, whole))));
        }
        account.close(response.status());
        response
    }

    async fn decide(
        &self,
        runtime: &Arc<Runtime>,
        (mut parts, unread): (Parts, &mut Unread),
        connection: &Rc<Connection>,
        account: &mut RequestContext<D>,
    ) -> Result<Response<AnswerBody>, Denial> {
        let mut request = match self.understand(runtime, &mut parts, connection, account)? {
            ControlFlow::Continue(request) => request,
            ControlFlow::Break(answer) => return Ok(answer),
        };
        request.aside.check_named(&runtime.watched).map_err(Denial::InvalidRequest)?;
        let preflight = Preflight::of(&request, !unread.is_empty());
        let ((position, clause), target) = route(runtime, &request, preflight.as_ref())?;
        let rule = target.rule().ok_or(Denial::RouteNotFound)?;
        account.target = Some(position);
        let passed = &target.route.pass_headers;
        request.aside.settle(&mut request.headers, passed).map_err(Denial::InvalidRequest)?;
        remove_decided_fields(&mut request.headers, target);
        let side = ClientSide::of(&request, &target.route.client_address);
        account.client_side(&side);
        request.check_scheme(&side, &target.route.client_address).map_err(Denial::InvalidRequest)?;
        if let Some(preflight) = preflight {
            account.preflight = true;
            return self.preflight(preflight, request, &side, (target, clause), account).await;
        }
        let certificates = connection.certificates.as_ref();
        let deadline = account.started + rule.timeout.duration();
        let (caller, permit) =
            self.judge(runtime, (position, clause), (&request, &side), connection, (account, deadline)).await?;
        let key_locations = match &target.gate {
            RuleAuthenticator::Authenticators(authenticators) => authenticators.key_locations(),
            RuleAuthenticator::Anonymous | RuleAuthenticator::Broken(_) => &[],
        };
        let switch = upgrade(&request, &rule.upgrades)?;
        account.permitted();
        let upstream = &target.route.upstream;
        let passport = UpstreamRequestContext {
            caller: &caller,
            key_locations,
            certificates,
            side: &side,
            now: self.0.clock.now(),
            pseudonym: &self.0.pseudonym,
        };
        let mut headers = credentials(&mut request, &passport, upstream.forwarded, switch, &account.id)?;
        headers.extend(permit.headers().iter().cloned());
        let client_side = switch.map(|switch| (switch, parts.extensions.remove::<OnUpgrade>()));
        let onward = permit.bind(onward(&request, headers, unread.take())?);
        let sent = self.0.dispatch.send(upstream, Lane::Exchange(side.share()), onward, deadline).await;
        let response = sent.map_err(|fault| unread.blame(fault, connection))?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            connection.framing.switch();
        }
        Ok(finish(response, client_side))
    }

    /// What the request is, or the answer to one that is for the gateway itself.
    fn understand(
        &self,
        runtime: &Runtime,
        parts: &mut Parts,
        connection: &Connection,
        account: &mut RequestContext<D>,
    ) -> Result<ControlFlow<Response<AnswerBody>, CanonicalRequest>, Denial> {
        if let Some(fault) = connection.framing.of_next_request() {
            return Err(Denial::of_framing(fault));
        }
        if self.0.pressure.is_high() {
            return Err(Denial::Overloaded);
        }
        if is_of_the_server(parts) {
            check_authority(parts).map_err(Denial::InvalidRequest)?;
            account.metadata = true;
            return Ok(ControlFlow::Break(about_the_server()));
        }
        let mut request = CanonicalRequest::parse(parts, connection).map_err(Denial::InvalidRequest)?;
        account.understood(&request);
        if self.0.pseudonym.is_in(&request.headers) {
            return Err(Denial::Loop);
        }
        if !forwards(&mut request) {
            account.metadata = true;
            return Ok(ControlFlow::Break(about_the_server()));
        }
        if let Some(document) = runtime.resources.find(&request) {
            account.metadata = true;
            return Ok(ControlFlow::Break(document));
        }
        Ok(ControlFlow::Continue(request))
    }

    /// Who calls and whether it may, within the time of the rule; and beside it what policies on trial would say.
    async fn judge(
        &self,
        runtime: &Arc<Runtime>,
        (position, clause): Target,
        (request, side): (&CanonicalRequest, &ClientSide),
        connection: &Rc<Connection>,
        (account, deadline): (&mut RequestContext<D>, Instant),
    ) -> Result<(Caller, Permit), Denial> {
        let target = runtime.rules.get(position).ok_or(Denial::RouteNotFound)?;
        let certificates = connection.certificates.as_ref();
        let shown = PresentedCredentials { request, side, now: account.taken_in, certificates };
        // Whatever is asked of others, and however long it waits for its turn.
        let (caller, permit) = {
            let deciding = async {
                let caller = self.identify(target, &shown, account).await;
                let permit = decision(request, side, (target, clause), &caller, account).await;
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
        if !target.shadows.is_empty() {
            let trial = ShadowEvaluation {
                runtime: Arc::clone(runtime),
                target: (position, clause),
                request: request.clone(),
                side: side.clone(),
                connection: Rc::clone(connection),
                context: self.0.on_trial.clone(),
                now: account.taken_in,
                caller: caller.clone(),
            };
            self.1.begin(trial, account.on_trial());
        }
        Ok((caller?, permit?))
    }

    /// Answers a CORS preflight, or has the application answer where the route says so and every condition holds that
    /// looks at no caller. The request that it announces is decided like any other.
    async fn preflight(
        &self,
        preflight: Preflight,
        mut request: CanonicalRequest,
        side: &ClientSide,
        (target, clause): (&RuleRuntime, usize),
        account: &mut RequestContext<D>,
    ) -> Result<Response<AnswerBody>, Denial> {
        if let Some(denial) = refusal_of(target, account) {
            return Err(denial);
        }
        let refused = |fault| Err(Denial::Preflight(fault));
        let (authorizer, budget) = match &target.preflight {
            PreflightPolicy::Refuse => return refused(PreflightFault::NotConfigured),
            PreflightPolicy::Undecidable => return refused(PreflightFault::Undecidable),
            PreflightPolicy::Passthrough(authorizer, budget) => (authorizer, budget),
        };
        let nobody = Caller::default();
        let mut asked = asked(&request, side, (target, clause), &nobody, account.taken_in);
        // As for the route, the method that counts is the announced one.
        asked.method = preflight.method.as_str();
        let permit = authorize(authorizer, &asked, &target.challenge).await?;
        let Some(_place) = budget.enter() else { return refused(PreflightFault::Overloaded) };
        account.permitted();
        Preflight::strip(&mut request.headers);
        request.query = None;
        let passport = UpstreamRequestContext {
            caller: &nobody,
            key_locations: &[],
            certificates: None,
            side,
            now: self.0.clock.now(),
            pseudonym: &self.0.pseudonym,
        };
        let upstream = &target.route.upstream;
        let headers = credentials(&mut request, &passport, upstream.forwarded, None, &account.id)?;
        let onward = permit.bind(onward(&request, headers, RequestBody::Empty)?);
        let timeout = target.rule().map_or(PREFLIGHT_TIMEOUT, |rule| rule.timeout.duration());
        let deadline = account.started + timeout.min(PREFLIGHT_TIMEOUT);
        let sent = self.0.dispatch.send(upstream, Lane::Preflight(side.share()), onward, deadline).await;
        let answer = sent.map_err(|fault| {
            let overloaded = fault == UpstreamFault::Overloaded;
            if overloaded { Denial::Preflight(PreflightFault::Overloaded) } else { Denial::Upstream(fault) }
        })?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Denial::Upstream(UpstreamFault::Protocol));
        }
        Ok(finish(Preflight::strip_answer(&answer), None))
    }

    /// Who calls, as far as the rule in force asks.
    async fn identify(
        &self,
        target: &RuleRuntime,
        shown: &PresentedCredentials<'_>,
        account: &mut RequestContext<D>,
    ) -> Result<Caller, Denial> {
        if let Some(denial) = refusal_of(target, account) {
            return Err(denial);
        }
        let found = authenticate(&target.gate, &target.challenge, shown, &self.0.credentials).await;
        found.map_err(|refused| self.refused(refused, account))
    }

    /// A key that is not in the set may be new: the operator is asked to look, and the token is refused for now.
    fn refused(&self, refused: Refused, account: &mut RequestContext<D>) -> Denial {
        account.fingerprint = refused.fingerprint;
        if let Some(name) = refused.unknown_key_at {
            // With the queue full, enough reports are under way.
            drop(self.0.unknown_keys.try_send(name.to_string()));
        }
        refused.denial
    }
}

/// Why a rule refuses everything, if it does.
fn refusal_of<D: Dispatch>(target: &RuleRuntime, account: &mut RequestContext<D>) -> Option<Denial> {
    let (message, reason) = match (target.rule().map(|rule| &rule.access), &target.gate) {
        (Some(Access::Refused(refusal)), _) => (&refusal.message, refusal.reason),
        (_, RuleAuthenticator::Broken(fault)) => (fault, RefusalReason::InvalidPolicy),
        (Some(Access::Guarded { .. }), RuleAuthenticator::Anonymous | RuleAuthenticator::Authenticators(_)) => {
            return None;
        }
        (None, _) => return Some(Denial::RouteNotFound),
    };
    account.detail = Some(message.clone());
    Some(Denial::RuleRefuses(reason))
}

/// The decision in force.
async fn decision<D: Dispatch>(
    request: &CanonicalRequest,
    side: &ClientSide,
    rule: (&RuleRuntime, usize),
    caller: &Result<Caller, Denial>,
    account: &mut RequestContext<D>,
) -> Result<Permit, Denial> {
    let caller = caller.as_ref().map_err(Clone::clone)?;
    account.caller(caller);
    let authorizer = rule.0.authorizer.as_ref().map_err(|fault| {
        account.detail = Some(fault.clone());
        Denial::RuleRefuses(RefusalReason::InvalidPolicy)
    })?;
    let asked = asked(request, side, rule, caller, account.taken_in);
    let permit = authorize(authorizer, &asked, &rule.0.challenge).await?;
    if permit.is_unheard() {
        account.detail = Some("the decision point gave no usable answer; failureMode Permit let it through".to_owned());
    }
    Ok(permit)
}

/// Takes out the caller's copies of fields that only a decision point sets, before anybody looks at them (H3).
fn remove_decided_fields(headers: &mut HeaderMap, target: &RuleRuntime) {
    let Ok(authorizer) = &target.authorizer else { return };
    authorizer.owned_fields().for_each(|name| drop(headers.remove(name)));
}

/// The request as it goes upstream: the canonical one, nothing else.
fn onward(request: &CanonicalRequest, headers: HeaderMap, body: RequestBody) -> Result<Request<RequestBody>, Denial> {
    let target = match &request.query {
        Some(query) => format!("{}?{query}", request.path),
        None => request.path.to_string(),
    };
    // A canonical path and a checked query always make a target.
    let target = Uri::try_from(target)
        .map_err(|_ignored: http::uri::InvalidUri| Denial::InvalidRequest(InvalidRequest::Query))?;
    let mut onward = Request::new(body);
    *onward.method_mut() = request.method.clone();
    *onward.uri_mut() = target;
    *onward.headers_mut() = headers;
    Ok(onward)
}
