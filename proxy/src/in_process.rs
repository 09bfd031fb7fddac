//! The pipeline without sockets, for whoever wants to know what policies decide: one client, one connection, an application
//! that answers everything. Requests are bytes on the way, as they are from any other client.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    convert::Infallible,
    io::{self, Write},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1::SendRequest, service::service_fn};
use hyper_util::rt::TokioIo;
use portreeve_policy::{Snapshot, Upstream};
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    authn::{CredentialContext, CredentialMemory, PeerCertificates, TokenDigester},
    authz::Permitted,
    clock::SharedClock,
    outbound::Network,
    pipeline::{
        AccessLog, AnswerBody, BuildContext, Connection, DecisionIds, Dispatch, Lane, Metrics, Pseudonym, Records,
        Rejection, RequestBody, RequestHandler, RequestHandlerConfig, Runtime, Scheme, SharedRuntime, Upload,
        UpstreamFault, build,
    },
    pressure::Pressure,
};

/// Who connects, and what the process sees around it.
pub struct Surroundings {
    /// The time.
    pub clock: SharedClock,
    /// Where token services and decision points are asked.
    pub network: Network,
    /// Address of the client.
    pub peer: SocketAddr,
    /// What the client speaks.
    pub scheme: Scheme,
    /// Certificates of the client, if it showed any.
    pub certificates: Option<PeerCertificates>,
}

/// A proxy's pipeline, and a client of it.
pub struct InProcess {
    runtime: SharedRuntime,
    context: BuildContext,
    client: SendRequest<Full<Bytes>>,
    seen: Seen,
    records: Records,
    tasks: [JoinHandle<()>; 2],
}

/// Why the client got no answer.
#[derive(Debug, thiserror::Error)]
pub enum InProcessFault {
    /// The connection ended.
    #[error("the pipeline closed the connection: {0}")]
    Closed(#[from] hyper::Error),
    /// A thread or a metric could not be made.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// The answer broke off.
    #[error("the answer broke off: {0}")]
    Answer(#[from] crate::pipeline::BodyFault),
    /// Metrics could not be registered.
    #[error("cannot start: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// The head of the last request that reached the application.
type Seen = Rc<RefCell<Option<Parts>>>;

/// An application that answers 200 to everything, and keeps what it saw.
struct Application(Seen);

impl Dispatch for Application {
    async fn send(
        &self,
        _: &Upstream,
        _: Lane,
        request: Permitted<Request<RequestBody>>,
        _: Instant,
    ) -> Result<Response<AnswerBody>, UpstreamFault> {
        let (parts, _) = request.into_inner().into_parts();
        *self.0.borrow_mut() = Some(parts);
        Ok(Response::new(AnswerBody::full(Bytes::new())))
    }
}

impl InProcess {
    /// Starts both, with a policy that refuses everything. Decision records go to `records`. Must run within a `LocalSet`.
    pub async fn start(
        surroundings: Surroundings,
        records: impl Write + Send + 'static,
    ) -> Result<Self, InProcessFault> {
        let Surroundings { clock, network, peer, scheme, certificates } = surroundings;
        let metrics = Metrics::new()?;
        let records = Records::start(records, metrics.records_dropped.clone())?;
        let context = BuildContext { clock: Arc::clone(&clock), metrics, own_ports: BTreeSet::new(), network };
        let runtime: SharedRuntime = Arc::new(ArcSwap::from_pointee(Runtime::refusing()));
        let seen = Seen::default();
        let handler = handler(&runtime, &context, &records, Application(Rc::clone(&seen)));
        let connection = Rc::new(Connection {
            peer,
            local: SocketAddr::from(([127, 0, 0, 1], 80)),
            scheme,
            certificates,
            framing: Arc::default(),
            upload: Upload::default(),
            interim: Arc::default(),
        });
        let (near, far) = tokio::io::duplex(64 * 1024);
        let service = service_fn(move |request: Request<Incoming>| {
            let (handler, connection) = (Rc::clone(&handler), Rc::clone(&connection));
            async move { Ok::<_, Infallible>(handler.handle(request, connection).await) }
        });
        let serving = async {
            let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service);
            // The client learns of the end by itself.
            drop(serving.await);
        };
        let server = tokio::task::spawn_local(serving);
        let (client, driver) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await?;
        let driver = tokio::task::spawn_local(async { drop(driver.await) });
        Ok(Self { runtime, context, client, seen, records, tasks: [server, driver] })
    }

    /// Puts a snapshot in force, without anything of the one before it.
    pub fn load(&self, snapshot: &Snapshot) -> Vec<Rejection> {
        let (runtime, rejections) = build(snapshot, 1, &Runtime::refusing(), &self.context);
        self.runtime.store(Arc::new(runtime));
        rejections
    }

    /// Sends a request. Given back: its answer, and what the application saw if it was forwarded.
    pub async fn send(&mut self, request: Request<Bytes>) -> Result<(Response<Bytes>, Option<Parts>), InProcessFault> {
        self.seen.take();
        self.client.ready().await?;
        let (parts, body) = self.client.send_request(request.map(Full::new)).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok((Response::from_parts(parts, body), self.seen.take()))
    }

    /// Ends the connection, and waits until every record is written.
    pub async fn finish(self) {
        drop(self.client);
        for task in self.tasks {
            drop(task.await);
        }
        self.records.drain();
    }
}

fn handler(
    runtime: &SharedRuntime,
    context: &BuildContext,
    records: &Records,
    application: Application,
) -> Rc<RequestHandler<Application>> {
    let credentials = || CredentialContext {
        memory: Arc::new(CredentialMemory::new(&[1; 32])),
        digester: TokenDigester::new(&[3; 64]),
        clock: Arc::clone(&context.clock),
    };
    Rc::new(RequestHandler::new(RequestHandlerConfig {
        runtime: Arc::clone(runtime),
        dispatch: application,
        records: records.of_worker(),
        metrics: context.metrics.clone(),
        clock: Arc::clone(&context.clock),
        credentials: credentials(),
        dry_run_credentials: credentials(),
        ids: DecisionIds::new(0),
        pseudonym: Pseudonym::new(0),
        access_log: AccessLog::Off,
        pressure: Pressure::default(),
        unknown_keys: tokio::sync::mpsc::channel(16).0,
    }))
}
