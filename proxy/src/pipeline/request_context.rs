//! What is to be written about a request, gathered on its way.

use std::{rc::Rc, sync::Arc, time::Duration};

use http::StatusCode;
use portreeve_policy::Reason;
use tokio::time::Instant;

use super::{
    CanonicalRequest, ClientSide, Connection, DecisionRecord, Denial, Dispatch, RequestHandler, Runtime,
    access::AccessEntry,
    cors::CorsAnswer,
    record::{self, cut},
    runtime::RuleRuntime,
    stages::shadow::DryRunRecord,
};
use crate::{
    authn::{CacheState, Caller, CredentialKind, Fingerprint, VerifiedCredential},
    clock::UnixMillis,
};

/// What is to be written about a request; written when dropped, so that a client who leaves leaves a record too.
pub(super) struct RequestContext<D: Dispatch> {
    handler: Rc<RequestHandler<D>>,
    runtime: Arc<Runtime>,
    pub(super) id: String,
    pub(super) taken_in: UnixMillis,
    pub(super) started: Instant,
    client: String,
    peer: Option<String>,
    request: Option<(String, String, String)>,
    pub(super) target: Option<usize>,
    /// Metadata of a protected resource was asked for.
    pub(super) metadata: bool,
    pub(super) preflight: bool,
    /// What the answer says to browsers, whatever it is.
    pub(super) cors: Option<CorsAnswer>,
    issuer: Option<Arc<str>>,
    credential: Option<Arc<VerifiedCredential>>,
    kind: Option<CredentialKind>,
    pub(super) fingerprint: Option<Fingerprint>,
    cache: Option<CacheState>,
    permitted: bool,
    dry_run: Option<Rc<DryRunRecord>>,
    pub(super) denial: Option<Denial>,
    pub(super) detail: Option<String>,
    status: Option<StatusCode>,
}

impl<D: Dispatch> RequestContext<D> {
    pub(super) fn open(handler: Rc<RequestHandler<D>>, runtime: Arc<Runtime>, connection: &Connection) -> Self {
        Self {
            id: handler.0.ids.draw(),
            taken_in: handler.0.clock.now(),
            started: Instant::now(),
            client: connection.peer.ip().to_canonical().to_string(),
            peer: None,
            handler,
            runtime,
            request: None,
            target: None,
            metadata: false,
            preflight: false,
            cors: None,
            issuer: None,
            credential: None,
            kind: None,
            fingerprint: None,
            cache: None,
            permitted: false,
            dry_run: None,
            denial: None,
            detail: None,
            status: None,
        }
    }

    pub(super) fn understood(&mut self, request: &CanonicalRequest) {
        self.request = Some((request.method.to_string(), request.host.to_string(), request.path.to_string()));
    }

    /// The client is another than the peer where the route trusts the proxies in between.
    pub(super) fn client_side(&mut self, side: &ClientSide) {
        let client = side.address.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
        if client != self.client {
            self.peer = Some(std::mem::replace(&mut self.client, client));
        }
    }

    pub(super) fn caller(&mut self, caller: &Caller) {
        let Some(first) = caller.verified.first() else { return };
        self.issuer.clone_from(&first.issuer);
        self.credential = Some(Arc::clone(&first.credential));
        self.kind = Some(first.kind);
        self.fingerprint = Some(first.digest.fingerprint());
        self.cache = caller.verified.iter().find_map(|verified| verified.cache);
    }

    /// The record waits for dry runs that are under way; the answer does not.
    pub(super) fn begin_dry_run(&mut self) -> Rc<DryRunRecord> {
        let record = DryRunRecord::new(self.handler.0.records.clone());
        self.dry_run = Some(Rc::clone(&record));
        record
    }

    pub(super) fn permitted(&mut self) {
        self.permitted = true;
    }

    pub(super) fn access_entry(&self, status: StatusCode) -> AccessEntry {
        let asked = self.request.clone().unwrap_or_default();
        AccessEntry::new(self.taken_in, self.started, self.id.clone(), asked, status.as_u16())
    }

    pub(super) fn close(mut self, status: StatusCode) {
        self.status = Some(status);
    }

    fn outcome(&self) -> (&'static str, Reason) {
        match (&self.denial, self.status) {
            // The application may have got it and done what was asked.
            (_, None) if self.permitted => ("permit", Reason::ClientLeft),
            (_, None) => ("abandoned", Reason::ClientLeft),
            // The decision was made; what failed after it is the reason.
            (Some(denial), _) if self.permitted => ("permit", denial.reason()),
            (Some(denial), _) => ("deny", denial.reason()),
            (None, Some(_)) if self.metadata => ("permit", Reason::Metadata),
            (None, Some(_)) if self.preflight => ("permit", Reason::CorsPreflight),
            (None, Some(_)) => ("permit", Reason::Permitted),
        }
    }
}

impl<D: Dispatch> Drop for RequestContext<D> {
    fn drop(&mut self) {
        let target = self.target.and_then(|target| self.runtime.rules.get(target));
        let rule = target.and_then(RuleRuntime::rule);
        let (outcome, reason) = self.outcome();
        let (route_label, rule_label) = (target.map_or("", |t| t.label.as_str()), rule.map_or("", |r| r.name.as_str()));
        let elapsed: Duration = self.started.elapsed();
        let handler = &self.handler.0;
        match (outcome, target) {
            ("permit", Some(target)) => target.metrics.permitted.inc(),
            _ => handler.metrics.denied(route_label, rule_label, reason),
        }
        match (self.status, target) {
            (Some(StatusCode::OK), Some(target)) => target.metrics.ok.observe(elapsed.as_secs_f64()),
            (Some(status), _) => {
                handler.metrics.answered(route_label, rule_label, status.as_u16(), elapsed.as_secs_f64());
            }
            (None, _) => {}
        }
        let detail = self.detail.take().or_else(|| self.denial.as_ref().and_then(Denial::detail));
        let record = DecisionRecord {
            log: "decision",
            time: record::rfc3339(self.taken_in),
            decision_id: &self.id,
            client_address: std::mem::take(&mut self.client),
            peer_address: self.peer.take(),
            method: self.request.as_ref().map(|(method, ..)| cut(method)),
            host: self.request.as_ref().map(|(_, host, _)| cut(host)),
            path: self.request.as_ref().map(|(.., path)| cut(path)),
            route: target.map(|target| target.name.to_string()),
            rule: rule.map(|rule| rule.name.as_str()),
            policies: rule.map(|rule| rule.policies.as_slice()).unwrap_or_default(),
            revision: self.runtime.revision(),
            outcome,
            reason,
            detail: detail.as_deref().map(cut),
            status: self.status.map(|status| status.as_u16()),
            issuer: self.issuer.as_deref().map(cut),
            subject: self.credential.as_ref().and_then(|credential| credential.claims().subject()).map(cut),
            client_id: self.credential.as_ref().and_then(|credential| credential.claims().client_id()).map(cut),
            credential_kind: self.kind,
            credential_fingerprint: self.fingerprint,
            token_cache: self.cache,
            duration_ms: record::milliseconds(elapsed),
        };
        match self.dry_run.take() {
            None => handler.records.put(&record),
            Some(dry_run) => serde_json::to_string(&record).map_or((), |line| dry_run.close(line)),
        }
    }
}
