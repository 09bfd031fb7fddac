//! The gRPC service: proves who calls, then hands the stream to its own task.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use portreeve_policy::NamespacedName;
use portreeve_wire::{
    MAX_MESSAGE, proto,
    proto::snapshot_service_server::{SnapshotService, SnapshotServiceServer},
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{AuthenticationError, Credentials, Fleet, ProvenPod, Published, stream::Stream};
use crate::{clock::SharedClock, telemetry::Metrics};

/// Serves streams.
#[derive(Clone)]
pub(crate) struct SnapshotServer(Arc<Shared>);

/// What every stream needs.
pub(super) struct Shared {
    pub(super) credentials: Credentials,
    pub(super) published: watch::Receiver<Arc<Published>>,
    pub(super) fleet: Fleet,
    pub(super) unknown_keys: mpsc::Sender<NamespacedName>,
    /// Why streams end now, if they do: another replica leads, or we stop.
    pub(super) closed: watch::Receiver<Option<&'static str>>,
    pub(super) metrics: Metrics,
    pub(super) clock: SharedClock,
    revision: AtomicU64,
}

impl SnapshotServer {
    /// A server; nothing listens yet.
    pub(crate) fn new(
        credentials: Credentials,
        published: watch::Receiver<Arc<Published>>,
        fleet: Fleet,
        unknown_keys: mpsc::Sender<NamespacedName>,
        closed: watch::Receiver<Option<&'static str>>,
        metrics: Metrics,
        clock: SharedClock,
    ) -> Self {
        // Above every revision of an earlier process, unless that one sent more than one in a millisecond for its life.
        let revision = AtomicU64::new(clock.now().0);
        Self(Arc::new(Shared { credentials, published, fleet, unknown_keys, closed, metrics, clock, revision }))
    }

    /// As a service for tonic.
    pub(crate) fn into_service(self) -> SnapshotServiceServer<Self> {
        SnapshotServiceServer::new(self).max_encoding_message_size(MAX_MESSAGE)
    }
}

impl Shared {
    /// A number above `floor` and above all that were given out before.
    pub(super) fn next_revision(&self, floor: u64) -> u64 {
        self.revision.fetch_max(floor, Ordering::Relaxed);
        let revision = self.revision.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.metrics.snapshot_revision.set(i64::try_from(revision).unwrap_or(i64::MAX));
        revision
    }

    /// Looks at a token.
    pub(super) async fn review(&self, token: &str) -> Result<Option<ProvenPod>, Status> {
        match &self.credentials {
            Credentials::Socket => Ok(None),
            Credentials::Token(review) => review(token.to_owned()).await.map(Some).map_err(|unproven| match unproven {
                AuthenticationError::Refused(message) => Status::unauthenticated(message),
                AuthenticationError::Unavailable(message) => Status::unavailable(message),
            }),
        }
    }
}

#[tonic::async_trait]
impl SnapshotService for SnapshotServer {
    type SubscribeStream = ReceiverStream<Result<proto::Update, Status>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<proto::ProxyMessage>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let Self(shared) = self;
        if let Some(reason) = *shared.closed.borrow() {
            return Err(Status::unavailable(reason));
        }
        let proven = match &shared.credentials {
            Credentials::Socket => None,
            Credentials::Token(_) => {
                let header = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
                let token = header.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(|| {
                    Status::unauthenticated(
                        "no Bearer token in the metadata `authorization`; present a projected ServiceAccount token of \
                         audience portreeve",
                    )
                })?;
                shared.review(token).await?
            }
        };
        let (outgoing, updates) = mpsc::channel(1);
        let stream = Stream::new(Arc::clone(shared), request.into_inner(), outgoing, proven);
        tokio::spawn(stream.run());
        Ok(Response::new(ReceiverStream::new(updates)))
    }
}
