//! Wires the parts together. Nothing else knows more than its neighbours.

mod cluster;
mod core;
mod files;
mod gateway_clients;
mod memory;
mod targets;

use tokio::{
    net::TcpListener,
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    admin,
    args::{Mode, Settings},
    controller::Watchdog,
    readiness::Readiness,
    signing::SigningKeys,
    telemetry::Metrics,
};

/// Why the operator cannot start, with what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl StartError {
    fn new(what: &str, fault: &dyn std::fmt::Display) -> Self {
        Self(format!("{what}: {fault}"))
    }
}

/// What every part may need.
#[derive(Clone)]
struct Base {
    metrics: Metrics,
    readiness: Readiness,
    /// Watches the compiler.
    watchdog: Watchdog,
    /// Keys with which the gateway mints tokens.
    signing: watch::Sender<SigningKeys>,
    /// True once the process is to end.
    stopping: watch::Receiver<bool>,
}

/// Runs until SIGTERM or SIGINT.
pub fn run(settings: Settings) -> Result<(), StartError> {
    let runtime = Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|fault| StartError::new("cannot start threads", &fault))?;
    let result = runtime.block_on(serve(settings));
    // Whatever still runs holds nothing that has to be kept.
    runtime.shutdown_timeout(std::time::Duration::from_millis(300));
    result
}

async fn serve(settings: Settings) -> Result<(), StartError> {
    // Fails only where a provider is installed already.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let metrics = Metrics::new().map_err(|fault| StartError::new("metrics", &fault))?;
    let readiness = Readiness::default();
    // Before anybody can ask: an API server that hangs must not look like one that was read.
    readiness.block("source", "nothing was read yet");
    readiness.block("compiler", "nothing is compiled yet");
    let listener = TcpListener::bind(settings.admin).await;
    let listener = listener.map_err(|fault| StartError::new(&format!("--admin {}", settings.admin), &fault))?;
    let (stop, stopping) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).map_err(|fault| StartError::new("SIGTERM", &fault))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|fault| StartError::new("SIGINT", &fault))?;
    let signing = watch::Sender::new(SigningKeys::default());
    let watchdog = Watchdog::default();
    tokio::spawn(admin::serve(listener, metrics.clone(), readiness.clone(), signing.subscribe(), watchdog.clone()));
    let base = Base { metrics, readiness, watchdog, signing, stopping };
    let running = async {
        match settings.mode.clone() {
            Mode::Cluster(cluster) => cluster::run(&settings, cluster, base).await,
            Mode::Files(files) => files::run(&settings, files, base).await,
        }
    };
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return ended,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    stop.send_replace(true);
    // Streams are ended and the lease is given back within this time, or not at all.
    match tokio::time::timeout(std::time::Duration::from_millis(700), running).await {
        Ok(ended) => ended,
        Err(_late) => Ok(()),
    }
}
