//! One request from beginning to end, and its record.

use std::{rc::Rc, sync::Arc};

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use tokio::sync::mpsc::Sender;

use super::{
    AccessLog, AnswerBody, Connection, DecisionIds, Dispatch, Metrics, Pseudonym, SharedRuntime, WorkerRecords,
    request_body::Unread, request_context::RequestContext, respond, stages::shadow::DryRuns,
};
use crate::{authn::CredentialContext, clock::SharedClock, pressure::Pressure};

/// What requests are handled with.
pub struct RequestHandlerConfig<D> {
    /// Policy in force.
    pub runtime: SharedRuntime,
    /// Way to the application.
    pub dispatch: D,
    /// Where decisions are written.
    pub records: WorkerRecords,
    /// What is counted.
    pub metrics: Metrics,
    /// The time.
    pub clock: SharedClock,
    /// What credentials are checked with.
    pub credentials: CredentialContext,
    /// The same for policies in dry run, with a memory of their own: what they use up is not used up in force.
    pub dry_run_credentials: CredentialContext,
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
pub struct RequestHandler<D>(pub(super) RequestHandlerConfig<D>, pub(super) DryRuns);

impl<D: Dispatch> RequestHandler<D> {
    /// A handler for one worker.
    pub fn new(config: RequestHandlerConfig<D>) -> Self {
        Self(config, DryRuns::default())
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
        let mut context = RequestContext::open(Rc::clone(&self), Arc::clone(&runtime), &connection);
        let (parts, body) = request.into_parts();
        let mut unread = Unread::new(body, &parts, &connection);
        let outcome = self.exchange(&runtime, (parts, &mut unread), &connection, &mut context).await;
        let mut response = match outcome {
            Ok(response) => response,
            Err(denial) => {
                let response = respond::respond(&denial, &context.id, &self.0.credentials.memory, self.0.clock.now());
                context.denial = Some(denial);
                response
            }
        };
        unread.settle(&mut response);
        if let Some(cors) = context.cors.take() {
            cors.set(response.headers_mut());
        }
        if let Ok(id) = HeaderValue::from_str(&context.id) {
            response.headers_mut().insert(respond::DECISION_ID, id);
        }
        if self.0.access_log.takes(context.id.as_str()) {
            let entry = context.access_entry(response.status());
            let records = self.0.records.clone();
            response.body_mut().observe(Box::new(move |bytes, whole| records.put(&entry.ended(bytes, whole))));
        }
        context.close(response.status());
        response
    }
}
