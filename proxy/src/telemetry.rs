//! The process's own log: JSON lines on standard error, apart from decision records.

use tracing_subscriber::EnvFilter;

/// Starts the log. A second call in one process changes nothing.
pub fn start(filter: &str) {
    let filter = EnvFilter::try_new(filter)
        .unwrap_or_else(|_ignored: tracing_subscriber::filter::ParseError| EnvFilter::new("info"));
    // Fails only where a subscriber is installed already.
    drop(tracing_subscriber::fmt().json().with_writer(std::io::stderr).with_env_filter(filter).try_init());
}
