//! The process: threads, sockets and signals, wired together here and nowhere else.

use std::{
    collections::BTreeSet,
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    rc::Rc,
    sync::Arc,
    thread::JoinHandle,
};

use arc_swap::ArcSwap;
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::LocalSet,
    time::Instant,
};

use crate::{
    admin::{self, Admin, Exposure},
    authn::{CredentialContext, CredentialMemory, TokenDigester},
    bootstrap::{Bootstrap, RecordTarget},
    clock::{SharedClock, SystemClock},
    outbound::Network,
    pipeline::{
        BuildContext, DecisionIds, Metrics, Pseudonym, Records, Rejection, RequestHandler, RequestHandlerConfig,
        Runtime, SharedRuntime, build,
    },
    pressure::{self, Pressure},
    sync::{self, OperatorLink, Session, Store, StoreFault},
    transport::{self, Acceptors, BindError, Drain, Entrance, InvalidTls, Limits, Listener, TlsSource, UpstreamPool},
};

/// Why the proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is taken or not allowed.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A file or thread cannot be had.
    #[error("{what}: {error}")]
    Io {
        /// What was to be opened.
        what: String,
        /// What the system says.
        error: io::Error,
    },
    /// A metric cannot be registered.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// The listener's certificate is not usable.
    #[error(transparent)]
    Tls(#[from] InvalidTls),
}

/// What every worker shares.
#[derive(Clone)]
struct Shared {
    runtime: SharedRuntime,
    metrics: Metrics,
    records: Records,
    clock: SharedClock,
    credentials: CredentialContext,
    dry_run_credentials: CredentialContext,
    limits: Limits,
    tls: Option<Acceptors>,
    access_log: crate::pipeline::AccessLog,
    unknown_keys: mpsc::Sender<String>,
    pseudonym: Pseudonym,
    own_ports: BTreeSet<u16>,
    pressure: Pressure,
    drain: Drain,
}

/// Runs until SIGTERM or SIGINT, then drains.
pub fn run(bootstrap: &Bootstrap) -> Result<(), StartError> {
    // Fails only where one is installed already.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let metrics = Metrics::new()?;
    let records = Records::start(record_sink(&bootstrap.records)?, metrics.records_dropped.clone());
    let clock: SharedClock = Arc::new(SystemClock);
    let tls = bootstrap.tls.clone().map(TlsSource::open).transpose()?;
    let sockets = transport::bind_all(bootstrap.listen, bootstrap.workers.get())?;
    let admin_socket = transport::bind_all(bootstrap.admin, 1)?;
    let probe_socket = bootstrap.probes.map(|address| transport::bind_all(address, 1)).transpose()?.unwrap_or_default();
    let bound = sockets.iter().chain(&admin_socket).chain(&probe_socket);
    let own_ports = bound.filter_map(|socket| socket.local_addr().ok()).map(|address| address.port()).collect();
    let mut instance = [0; 4];
    random(&mut instance)?;
    let (drain_at, drain) = watch::channel(None);
    let (unknown_keys, reports) = mpsc::channel(16);
    let (credentials, dry_run_credentials) = credential_contexts(&clock)?;
    let shared = Shared {
        runtime: Arc::new(ArcSwap::from_pointee(Runtime::refusing())),
        records: records.map_err(|error| StartError::Io { what: "thread for records".to_owned(), error })?,
        clock: Arc::clone(&clock),
        credentials,
        dry_run_credentials,
        limits: Limits::new(bootstrap.head, bootstrap.connections.get(), bootstrap.workers.get()),
        tls: tls.as_ref().map(TlsSource::acceptors),
        access_log: bootstrap.access_log,
        unknown_keys,
        pseudonym: Pseudonym::new(u32::from_le_bytes(instance)),
        own_ports,
        pressure: Pressure::default(),
        drain,
        metrics,
    };
    // The last known good is in force before the first connection is taken.
    let (link, session) = link(bootstrap, &shared, reports)?;
    let mut workers = Vec::new();
    for (number, socket) in sockets.into_iter().enumerate() {
        workers.push(start_worker(number, socket, shared.clone())?);
    }
    let control = runtime::Builder::new_current_thread().enable_all().build();
    let control = control.map_err(|error| StartError::Io { what: "runtime".to_owned(), error })?;
    LocalSet::new().block_on(&control, async {
        let admin_sockets = admin_socket.into_iter().map(|socket| (socket, Exposure::Everything));
        let probe_sockets = probe_socket.into_iter().map(|socket| (socket, Exposure::Probes));
        serve_admin(admin_sockets.chain(probe_sockets), &shared)?;
        if let Some(tls) = tls {
            drop(tokio::spawn(tls.watch()));
        }
        drop(tokio::spawn(sync::run(link, session)));
        if let Some(limit) = pressure::limit(bootstrap.memory) {
            let shedding = shared.metrics.shedding.clone();
            drop(tokio::spawn(pressure::watch(shared.pressure.clone(), limit, shedding)));
        }
        tracing::info!(listen = %bootstrap.listen, admin = %bootstrap.admin, workers = workers.len(), "proxy started");
        stop_signal().await?;
        tracing::info!(seconds = bootstrap.drain.as_secs(), "draining");
        drain_at.send_replace(Some(Instant::now() + bootstrap.drain));
        // The control runtime goes on turning, so that probes are answered while workers finish.
        while workers.iter().any(|worker| !worker.is_finished()) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        shared.records.drain();
        Ok(())
    })
}

fn serve_admin(
    sockets: impl Iterator<Item = (std::net::TcpListener, Exposure)>,
    shared: &Shared,
) -> Result<(), StartError> {
    for (socket, exposure) in sockets {
        let listener = TcpListener::from_std(socket);
        let listener = listener.map_err(|error| StartError::Io { what: "admin port".to_owned(), error })?;
        let admin = Admin {
            runtime: Arc::clone(&shared.runtime),
            metrics: shared.metrics.clone(),
            drain: shared.drain.clone(),
            exposure,
        };
        drop(tokio::task::spawn_local(admin::serve(listener, admin)));
    }
    Ok(())
}

/// What is remembered of credentials in force, and apart from it for policies in dry run.
fn credential_contexts(clock: &SharedClock) -> Result<(CredentialContext, CredentialContext), StartError> {
    let (mut key, mut nonce_key) = ([0; 64], [0; 32]);
    random(&mut key)?;
    random(&mut nonce_key)?;
    let digester = TokenDigester::new(&key);
    let context = || CredentialContext {
        memory: Arc::new(CredentialMemory::new(&nonce_key)),
        digester: digester.clone(),
        clock: Arc::clone(clock),
    };
    Ok((context(), context()))
}

/// Builds what is stored before the first stream, so that a restarted container serves at once.
fn link(
    bootstrap: &Bootstrap,
    shared: &Shared,
    unknown_keys: mpsc::Receiver<String>,
) -> Result<(OperatorLink, Session), StartError> {
    let (metrics, own_ports) = (shared.metrics.clone(), shared.own_ports.clone());
    let context = BuildContext { clock: Arc::clone(&shared.clock), metrics, own_ports, network: Network::Sockets };
    let (runtime, metrics, clock) = (Arc::clone(&shared.runtime), shared.metrics.clone(), Arc::clone(&shared.clock));
    let publish = move |session: &Session| -> Vec<Rejection> {
        let (fresh, rejections) = build(session.snapshot(), session.revision(), &runtime.load(), &context);
        runtime.store(Arc::new(fresh));
        metrics.snapshot_revision.set(i64::try_from(session.revision()).unwrap_or(i64::MAX));
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit a double for ages to come")]
        metrics.snapshot_time.set(clock.now().0 as f64 / 1000.0);
        rejections
    };
    let store = bootstrap.state.as_deref().map(|folder| Store::new(folder, bootstrap.state_max_age));
    let mut session = Session::default();
    if let Some(store) = &store {
        match store.load(shared.clock.now()).map(Session::restore) {
            Ok(Ok(restored)) => {
                publish(&restored);
                tracing::info!(revision = restored.revision(), "serving the last known good");
                session = restored;
            }
            Ok(Err(refused)) => tracing::warn!(reason = %refused, "the stored snapshot is not usable"),
            Err(StoreFault::Absent) => {}
            Err(fault) => tracing::warn!(%fault, "the stored snapshot is not usable"),
        }
    }
    let mut seed = [0; 8];
    random(&mut seed)?;
    let mut state = u64::from_le_bytes(seed);
    let random = Box::new(move || {
        // A step of xorshift: good enough to keep a fleet out of step.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    });
    let link = OperatorLink {
        address: bootstrap.operator.clone(),
        store,
        publish: Box::new(publish),
        unknown_keys,
        metrics: shared.metrics.clone(),
        clock: Arc::clone(&shared.clock),
        random,
    };
    Ok((link, session))
}

fn start_worker(number: usize, socket: std::net::TcpListener, shared: Shared) -> Result<JoinHandle<()>, StartError> {
    let io = |error| StartError::Io { what: format!("worker {number}"), error };
    let mut seed = [0; 8];
    random(&mut seed)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(io)?;
    let work = move || {
        let local = LocalSet::new();
        local.block_on(&runtime, async move {
            let listener = match Listener::new(socket) {
                Ok(listener) => listener,
                Err(error) => return tracing::error!(%error, number, "worker cannot listen"),
            };
            let records = shared.records.of_worker();
            drop(tokio::task::spawn_local(records.hand_over_in_time()));
            let handler = RequestHandler::new(RequestHandlerConfig {
                runtime: shared.runtime,
                dispatch: UpstreamPool::default(),
                records,
                metrics: shared.metrics.clone(),
                clock: shared.clock,
                credentials: shared.credentials,
                dry_run_credentials: shared.dry_run_credentials,
                ids: DecisionIds::new(u64::from_le_bytes(seed)),
                pseudonym: shared.pseudonym,
                access_log: shared.access_log,
                pressure: shared.pressure.clone(),
                unknown_keys: shared.unknown_keys,
            });
            let entrance =
                Entrance { tls: shared.tls, limits: shared.limits, pressure: shared.pressure, drain: shared.drain };
            transport::serve(listener, entrance, Rc::new(handler), shared.metrics).await;
        });
    };
    std::thread::Builder::new().name(format!("worker-{number}")).spawn(work).map_err(io)
}

async fn stop_signal() -> Result<(), StartError> {
    let io = |error| StartError::Io { what: "signals".to_owned(), error };
    let (mut term, mut int) =
        (signal(SignalKind::terminate()).map_err(io)?, signal(SignalKind::interrupt()).map_err(io)?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

fn record_sink(target: &RecordTarget) -> Result<Box<dyn Write + Send>, StartError> {
    match target {
        RecordTarget::Stdout => Ok(Box::new(io::BufWriter::new(io::stdout()))),
        RecordTarget::File(file) => {
            let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(file);
            let opened = opened.map_err(|error| StartError::Io { what: file.display().to_string(), error })?;
            Ok(Box::new(io::BufWriter::new(opened)))
        }
    }
}

fn random(bytes: &mut [u8]) -> Result<(), StartError> {
    aws_lc_rs::rand::fill(bytes).map_err(|_ignored: aws_lc_rs::error::Unspecified| StartError::Random)
}
