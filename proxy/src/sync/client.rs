//! The stream to the operator. It may be away for hours: what is held goes on running.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use portreeve_policy::NamespacedName;
use portreeve_wire::{
    MAX_MESSAGE, proto,
    proto::{proxy_message::Message, snapshot_service_client::SnapshotServiceClient},
};
use tokio::{net::UnixStream, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request,
    metadata::MetadataValue,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::{Session, Store, backoff::Backoff};
use crate::{
    clock::SharedClock,
    pipeline::{Metrics, Rejection},
};

/// Where the operator is, and how we prove who we are.
#[derive(Debug, Clone)]
pub enum OperatorAddress {
    /// On this machine; who can open the socket is trusted.
    Unix {
        /// The socket.
        socket: PathBuf,
        /// Who we say we are.
        workload: NamespacedName,
        /// Labels of the workload.
        labels: BTreeMap<String, String>,
    },
    /// In the cluster.
    Tls {
        /// `https://host:port`.
        url: String,
        /// The operator's certificate authority, in PEM; read for each attempt, since it may come later or change.
        ca_file: PathBuf,
        /// Projected ServiceAccount token of audience `portreeve`; read for each attempt, since it rotates.
        token_file: PathBuf,
    },
}

/// Builds a runtime from what is held and puts it in force; tells what could not be built.
pub type Publish = Box<dyn Fn(&Session) -> Vec<Rejection> + Send + Sync>;

/// What the stream needs.
pub struct OperatorLink {
    /// The operator.
    pub address: OperatorAddress,
    /// Last known good.
    pub store: Option<Store>,
    /// How snapshots go live.
    pub publish: Publish,
    /// Token services with a key that is not known.
    pub unknown_keys: mpsc::Receiver<String>,
    /// What is counted.
    pub metrics: Metrics,
    /// The time.
    pub clock: SharedClock,
    /// Any number, for waits that should not be in step.
    pub random: Box<dyn FnMut() -> u64 + Send + Sync>,
}

#[derive(Debug, thiserror::Error)]
enum LinkFault {
    #[error("cannot read {}: {error}", .file.display())]
    File { file: PathBuf, error: std::io::Error },
    #[error("the token in {} is no header value", .0.display())]
    Token(PathBuf),
    #[error("cannot connect: {}", root_cause(.0))]
    Connect(#[from] tonic::transport::Error),
    #[error("the operator ended the stream: {}", .0.message())]
    Status(Box<tonic::Status>),
    #[error("the operator closed the stream")]
    Closed,
}

/// How often a rotated token is looked for.
const TOKEN_INTERVAL: Duration = Duration::from_secs(30);

/// Follows the operator for ever.
pub async fn run(mut link: OperatorLink, mut session: Session) {
    let mut backoff = Backoff::default();
    loop {
        let before = session.revision();
        let fault = link.follow(&mut session).await;
        link.metrics.operator_connected.set(0);
        if session.revision() > before {
            backoff.reset();
        }
        // A replica that stands by is no outage: the next attempt may meet the leader.
        let wait = if fault.is_standby() { standby_wait((link.random)()) } else { backoff.next((link.random)()) };
        tracing::warn!(
            fault = %fault, retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            revision = session.revision(), "no stream to the operator; what is held goes on running"
        );
        tokio::time::sleep(wait).await;
    }
}

impl LinkFault {
    fn is_standby(&self) -> bool {
        matches!(self, Self::Status(status) if status.code() == tonic::Code::Unavailable)
    }
}

/// Between 150 and 300 ms.
fn standby_wait(random: u64) -> Duration {
    Duration::from_millis(150 + random % 151)
}

impl OperatorLink {
    async fn follow(&mut self, session: &mut Session) -> LinkFault {
        match self.stream(session).await {
            Ok(never) => match never {},
            Err(fault) => fault,
        }
    }

    async fn stream(&mut self, session: &mut Session) -> Result<std::convert::Infallible, LinkFault> {
        let channel = self.connect().await?;
        let mut client = SnapshotServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let (outgoing, messages) = mpsc::channel(8);
        let mut token = self.token()?;
        let hello = proto::ProxyMessage { message: Some(Message::Hello(self.hello(session))) };
        outgoing.send(hello).await.map_err(|_ignored: mpsc::error::SendError<_>| LinkFault::Closed)?;
        let mut request = Request::new(ReceiverStream::new(messages));
        if let (Some(token), OperatorAddress::Tls { token_file, .. }) = (&token, &self.address) {
            let unusable = |_: tonic::metadata::errors::InvalidMetadataValue| LinkFault::Token(token_file.clone());
            let mut value = MetadataValue::try_from(format!("Bearer {token}")).map_err(unusable)?;
            value.set_sensitive(true);
            request.metadata_mut().insert("authorization", value);
        }
        let status = |status: tonic::Status| LinkFault::Status(Box::new(status));
        let mut updates = client.subscribe(request).await.map_err(status)?.into_inner();
        tracing::info!(revision = session.revision(), "stream to the operator is up");
        self.metrics.operator_connected.set(1);
        let mut look = tokio::time::interval(TOKEN_INTERVAL);
        let contact = self.store.as_ref().map_or(TOKEN_INTERVAL, Store::contact_interval);
        let mut contact = tokio::time::interval(contact);
        loop {
            let message = tokio::select! {
                update = updates.message() => {
                    let update = update.map_err(status)?.ok_or(LinkFault::Closed)?;
                    Some(Message::Answer(self.take(session, update)))
                }
                Some(token_service) = self.unknown_keys.recv() => {
                    Some(Message::UnknownKey(proto::UnknownKey { token_service }))
                }
                _ = look.tick() => self.rotated(&mut token)?,
                _ = contact.tick() => {
                    self.note_contact(session);
                    None
                }
            };
            if let Some(message) = message {
                let message = proto::ProxyMessage { message: Some(message) };
                outgoing.send(message).await.map_err(|_ignored: mpsc::error::SendError<_>| LinkFault::Closed)?;
            }
        }
    }

    /// What is stored is as good as new while the operator is there.
    fn note_contact(&self, session: &Session) {
        if let Some(store) = &self.store
            && session.revision() > 0
            && let Err(fault) = store.touch(session.revision(), self.clock.now())
        {
            tracing::warn!(%fault, "cannot note the contact with the operator");
        }
    }

    /// Applies an update, puts it in force, stores it, and says what became of it.
    fn take(&self, session: &mut Session, update: proto::Update) -> proto::Answer {
        let (revision, set_digest) = (update.revision, update.set_digest.clone());
        if let Err(refused) = session.apply(update) {
            tracing::error!(revision, reason = %refused, "update refused; the last known good goes on running");
            return proto::Answer { revision, set_digest, rejections: Vec::new(), refused: refused.to_string() };
        }
        let mut rejections = session.rejections();
        rejections.extend((self.publish)(session));
        for Rejection { resource, reason } in &rejections {
            tracing::error!(revision, %resource, %reason, "resource rejected");
        }
        tracing::info!(revision, rejected = rejections.len(), "snapshot in force");
        self.metrics.rejected_resources.set(i64::try_from(rejections.len()).unwrap_or(i64::MAX));
        if let Some(store) = &self.store {
            let stored = session.to_stored(self.clock.now().0 / 1000);
            if let Err(fault) = store.save(&stored) {
                tracing::error!(%fault, "cannot store the snapshot; a restart will wait for the operator");
            }
        }
        let rejection = |Rejection { resource, reason }: Rejection| proto::Rejection {
            kind: resource.kind.as_str().to_owned(),
            name: resource.name,
            reason,
        };
        let rejections = rejections.into_iter().map(rejection).collect();
        proto::Answer { revision, set_digest, rejections, refused: String::new() }
    }

    fn hello(&self, session: &mut Session) -> proto::Hello {
        use portreeve_policy::ResourceKind::{Route, Secret, TokenService};
        let workload = match &self.address {
            OperatorAddress::Unix { workload, labels, .. } => Some(proto::Workload {
                namespace: workload.namespace().to_owned(),
                name: workload.name().to_owned(),
                labels: labels.clone().into_iter().collect(),
            }),
            OperatorAddress::Tls { .. } => None,
        };
        proto::Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: [Route, Secret, TokenService].map(|kind| kind.as_str().to_owned()).to_vec(),
            workload,
            held_revision: session.revision(),
            held: session.hello(),
        }
    }

    async fn connect(&self) -> Result<Channel, LinkFault> {
        match &self.address {
            OperatorAddress::Unix { socket, .. } => {
                let socket = Arc::new(socket.clone());
                let connector = tower::service_fn(move |_: http::Uri| {
                    let socket = Arc::clone(&socket);
                    async move { UnixStream::connect(socket.as_path()).await.map(TokioIo::new) }
                });
                Ok(Endpoint::from_static("http://operator").connect_with_connector(connector).await?)
            }
            OperatorAddress::Tls { url, ca_file, .. } => {
                let ca = Certificate::from_pem(read(ca_file)?);
                let endpoint = Endpoint::from_shared(url.clone())?
                    .connect_timeout(Duration::from_secs(2))
                    .http2_keep_alive_interval(Duration::from_secs(10))
                    .keep_alive_timeout(Duration::from_secs(5))
                    .keep_alive_while_idle(true)
                    .tls_config(ClientTlsConfig::new().ca_certificate(ca))?;
                Ok(endpoint.connect().await?)
            }
        }
    }

    fn token(&self) -> Result<Option<String>, LinkFault> {
        match &self.address {
            OperatorAddress::Unix { .. } => Ok(None),
            OperatorAddress::Tls { token_file, .. } => {
                let text = String::from_utf8(read(token_file)?);
                let text = text.map_err(|_ignored: std::string::FromUtf8Error| LinkFault::Token(token_file.clone()))?;
                Ok(Some(text.trim().to_owned()))
            }
        }
    }

    /// The token, if it was rotated since it was last presented.
    fn rotated(&self, presented: &mut Option<String>) -> Result<Option<Message>, LinkFault> {
        let now = self.token()?;
        if now == *presented {
            return Ok(None);
        }
        presented.clone_from(&now);
        Ok(now.map(|token| Message::Credentials(proto::Credentials { token })))
    }
}

fn read(file: &PathBuf) -> Result<Vec<u8>, LinkFault> {
    std::fs::read(file).map_err(|error| LinkFault::File { file: file.clone(), error })
}

/// The last cause says what went wrong; the first one only that something did.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
