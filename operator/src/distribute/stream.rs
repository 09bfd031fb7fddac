//! The task of one stream: messages in, updates out, around the pure [`Session`].

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use portreeve_policy::{NamespacedName, ResourceName};
use portreeve_wire::{proto, proto::proxy_message::Message};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tonic::{Status, Streaming};

use super::{
    PodState, ProvenPod, Published, Workload,
    fleet::Membership,
    server::Shared,
    session::{Answered, Session},
};

/// Time for the first message.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// How often one pod may have the keys of a token service read again.
const UNKNOWN_KEY_EVERY: Duration = Duration::from_secs(1);

/// How often one pod may have a token reviewed; kubelets rotate them every hour.
const PRESENT_EVERY: Duration = Duration::from_secs(5);

/// Time for an answer; building a large snapshot takes a proxy far less.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);

pub(super) struct Stream {
    shared: Arc<Shared>,
    incoming: Streaming<proto::ProxyMessage>,
    outgoing: mpsc::Sender<Result<proto::Update, Status>>,
    /// `None` over the Unix socket, where Hello is believed.
    proven: Option<ProvenPod>,
}

/// A stream after Hello.
struct Live {
    stream: Stream,
    session: Session,
    pod: NamespacedName,
    membership: Membership,
    published: watch::Receiver<Arc<Published>>,
    /// Nothing is sent before.
    hold_until: Option<Instant>,
    /// An answer is due until then.
    answer_until: Option<Instant>,
    /// When keys were last asked for.
    asked_at: Option<Instant>,
    /// When a fresh token was last looked at.
    presented_at: Option<Instant>,
}

impl Stream {
    pub(super) fn new(
        shared: Arc<Shared>,
        incoming: Streaming<proto::ProxyMessage>,
        outgoing: mpsc::Sender<Result<proto::Update, Status>>,
        proven: Option<ProvenPod>,
    ) -> Self {
        Self { shared, incoming, outgoing, proven }
    }

    /// Serves the stream to its end, and tells the proxy why it ends.
    pub(super) async fn run(self) {
        let outgoing = self.outgoing.clone();
        let end = match self.serve().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        tracing::info!(reason = end.message(), "stream ended");
        // Nobody is left to be told when this fails.
        drop(outgoing.try_send(Err(end)));
    }

    async fn serve(mut self) -> Result<Infallible, Status> {
        let first = tokio::time::timeout(HELLO_WITHIN, self.incoming.message()).await;
        let late = |_late: tokio::time::error::Elapsed| Status::deadline_exceeded("no Hello within 10 s");
        let hello = match first.map_err(late)??.and_then(|message| message.message) {
            Some(Message::Hello(hello)) => hello,
            Some(Message::Answer(_) | Message::Credentials(_) | Message::UnknownKey(_)) | None => {
                return Err(Status::invalid_argument("the first message has to be Hello"));
            }
        };
        let (pod, labels) = if let Some(proven) = &self.proven {
            (proven.name.clone(), None)
        } else {
            let Workload { name, labels } = workload(&hello)?;
            (name, Some(labels))
        };
        tracing::info!(%pod, version = %hello.version.escape_debug(), held = hello.held.len(), "stream began");
        let membership = self.shared.fleet.join(pod.clone(), labels);
        let session = Session::new(&hello);
        let published = self.shared.published.clone();
        let live = Live {
            stream: self,
            session,
            pod,
            membership,
            published,
            hold_until: None,
            answer_until: None,
            asked_at: None,
            presented_at: None,
        };
        live.follow().await
    }
}

impl Live {
    async fn follow(mut self) -> Result<Infallible, Status> {
        let mut closed = self.stream.shared.closed.clone();
        loop {
            self.send().await?;
            let next = [self.hold_until, self.answer_until, self.expiry()].into_iter().flatten().min();
            tokio::select! {
                message = self.stream.incoming.message() => {
                    let message = message?.ok_or_else(|| Status::ok("the proxy closed the stream"))?;
                    self.take(message).await?;
                }
                changed = self.published.changed() => {
                    changed.map_err(|_closed| Status::unavailable("the operator is stopping"))?;
                }
                reason = closing(&mut closed) => return Err(Status::unavailable(reason)),
                () = until(next) => self.time_passed()?,
            }
        }
    }

    /// Sends what is due, if anything is.
    async fn send(&mut self) -> Result<(), Status> {
        if self.hold_until.is_some() {
            return Ok(());
        }
        let published = Arc::clone(&self.published.borrow_and_update());
        let uid = self.stream.proven.as_ref().map_or("", |proven| proven.uid.as_str());
        // A pod that is not in the inventory yet waits; an empty set would throw its last known good away.
        let Some(set) = published.set(&self.pod, uid) else { return Ok(()) };
        let shared = Arc::clone(&self.stream.shared);
        if let Some(update) = self.session.update(set, |floor| shared.next_revision(floor)) {
            tracing::debug!(
                pod = %self.pod, revision = update.revision, upserts = update.upserts.len(),
                removals = update.removals.len(), "update sent"
            );
            self.answer_until = Some(Instant::now() + ANSWER_WITHIN);
            let gone = |_closed| Status::ok("the proxy closed the stream");
            return self.stream.outgoing.send(Ok(update)).await.map_err(gone);
        }
        if self.answer_until.is_none() {
            self.report();
        }
        Ok(())
    }

    async fn take(&mut self, message: proto::ProxyMessage) -> Result<(), Status> {
        match message.message {
            Some(Message::Answer(answer)) => self.answered(answer),
            Some(Message::Credentials(proto::Credentials { token })) => self.present(&token).await,
            Some(Message::UnknownKey(proto::UnknownKey { token_service })) => {
                self.unknown_key(&token_service);
                Ok(())
            }
            Some(Message::Hello(_)) => Err(Status::invalid_argument("Hello is said once")),
            None => Err(Status::invalid_argument("a message of a kind that this operator does not know")),
        }
    }

    /// Counts only for a token service that this pod's rules use, and now and then: one pod must not fill the queue of all.
    fn unknown_key(&mut self, token_service: &str) {
        let Ok(name) = token_service.parse() else { return };
        let uid = self.stream.proven.as_ref().map_or("", |proven| proven.uid.as_str());
        let published = Arc::clone(&self.published.borrow());
        let of_service = ResourceName::token_service(&name);
        let uses = published.set(&self.pod, uid).is_some_and(|set| set.resource_digest(&of_service).is_some());
        let now = Instant::now();
        if uses && self.asked_at.is_none_or(|at| at + UNKNOWN_KEY_EVERY <= now) {
            self.asked_at = Some(now);
            // A full queue means that enough is asked already.
            drop(self.stream.shared.unknown_keys.try_send(name));
        }
    }

    fn answered(&mut self, answer: proto::Answer) -> Result<(), Status> {
        let revision = answer.revision;
        self.answer_until = None;
        match self.session.answer(answer) {
            Answered::Acknowledged => {
                for (resource, reason) in self.session.rejected() {
                    tracing::warn!(pod = %self.pod, revision, %resource, %reason, "resource rejected by the proxy");
                }
                self.report();
                Ok(())
            }
            Answered::Retry(wait, reason) => {
                self.stream.shared.metrics.refused_updates.inc();
                tracing::warn!(pod = %self.pod, revision, %reason, "update refused; the full set follows");
                self.hold_until = Some(Instant::now() + wait);
                Ok(())
            }
            Answered::Close(reason) => {
                self.stream.shared.metrics.refused_updates.inc();
                Err(Status::failed_precondition(reason))
            }
        }
    }

    /// A fresh token has to be of the same pod.
    async fn present(&mut self, token: &str) -> Result<(), Status> {
        let now = Instant::now();
        if self.presented_at.is_some_and(|at| at + PRESENT_EVERY > now) {
            return Err(Status::resource_exhausted("a fresh token is presented at most every 5 s"));
        }
        self.presented_at = Some(now);
        let Some(proven) = self.stream.shared.review(token).await? else { return Ok(()) };
        let same = |known: &ProvenPod| known.name == proven.name && known.uid == proven.uid;
        if !self.stream.proven.as_ref().is_some_and(same) {
            return Err(Status::unauthenticated("the fresh token is of another pod than this stream"));
        }
        self.stream.proven = Some(proven);
        Ok(())
    }

    fn report(&self) {
        self.membership.report(PodState { running: self.session.running(), rejected: self.session.rejected().clone() });
    }

    fn expiry(&self) -> Option<Instant> {
        let expires_at = self.stream.proven.as_ref()?.expires_at?;
        let left = expires_at.0.saturating_sub(self.stream.shared.clock.now().0);
        Some(Instant::now() + Duration::from_millis(left))
    }

    fn time_passed(&mut self) -> Result<(), Status> {
        let now = Instant::now();
        if self.expiry().is_some_and(|at| at <= now) {
            return Err(Status::unauthenticated("the token expired and no fresh one was presented"));
        }
        if self.answer_until.is_some_and(|at| at <= now) {
            return Err(Status::deadline_exceeded("no answer to an update within 60 s"));
        }
        self.hold_until = self.hold_until.filter(|at| *at > now);
        Ok(())
    }
}

/// Waits for a reason to end.
async fn closing(closed: &mut watch::Receiver<Option<&'static str>>) -> &'static str {
    // Whoever could give a reason is gone: that is an end too.
    closed.wait_for(Option::is_some).await.ok().and_then(|reason| *reason).unwrap_or("the operator is stopping")
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn workload(hello: &proto::Hello) -> Result<Workload, Status> {
    let Some(proto::Workload { namespace, name, labels }) = &hello.workload else {
        return Err(Status::invalid_argument("Hello needs a workload: namespace, name and labels"));
    };
    let name = NamespacedName::new(namespace, name)
        .map_err(|fault| Status::invalid_argument(format!("Hello names no workload: {fault}")))?;
    let labels: BTreeMap<_, _> = labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    Ok(Workload { name, labels })
}
