//! The log and the metrics.

use std::io::IsTerminal;

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};
use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

/// Starts the log on standard error. A second call in one process changes nothing.
pub fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_: tracing_subscriber::filter::FromEnvError| EnvFilter::new("info,kube=warn,tower=warn"));
    let ansi = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(ansi).with_env_filter(filter);
    // Fails only where a subscriber is installed already.
    drop(match format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.try_init(),
    });
}

/// What is counted. Label sets are closed: kinds and results, never names.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Time of one compilation.
    pub(crate) compile_duration: Histogram,
    /// Time of one object within a compilation, by kind.
    pub(crate) compile_objects: HistogramVec,
    /// Live streams of proxies.
    pub(crate) sessions: IntGauge,
    /// Highest revision sent.
    pub(crate) snapshot_revision: IntGauge,
    /// Resources that proxies cannot run, over all streams.
    pub(crate) rejected_resources: IntGauge,
    /// Updates that a proxy refused whole.
    pub(crate) refused_updates: IntCounter,
    /// Statuses written, by kind.
    pub(crate) statuses_written: IntCounterVec,
    /// Failed reads of metadata or keys.
    pub(crate) discovery_failures: IntCounter,
    /// When the oldest keys that count were read, in seconds since 1970; 0 when there are none.
    pub(crate) oldest_keys: IntGauge,
    /// Rounds of work, by controller and result.
    pub(crate) reconcile_total: IntCounterVec,
    /// 1 on the replica that writes.
    pub(crate) leader: IntGauge,
}

impl Metrics {
    /// Registers every metric.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok(counters)
        };
        let buckets = vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
        let compile_duration = Histogram::with_opts(
            HistogramOpts::new("portreeve_operator_compile_duration_seconds", "Time of one compilation")
                .buckets(buckets.clone()),
        )?;
        registry.register(Box::new(compile_duration.clone()))?;
        let help = "Time of one object within a compilation";
        let options = HistogramOpts::new("portreeve_operator_compile_object_seconds", help).buckets(buckets);
        let compile_objects = HistogramVec::new(options, &["kind"])?;
        registry.register(Box::new(compile_objects.clone()))?;
        Ok(Self {
            compile_duration,
            compile_objects,
            sessions: gauge("portreeve_operator_sessions", "Live streams of proxies")?,
            snapshot_revision: gauge("portreeve_operator_snapshot_revision", "Highest revision sent to a proxy")?,
            rejected_resources: gauge("portreeve_operator_rejected_resources", "Resources that proxies cannot run")?,
            refused_updates: counter("portreeve_operator_refused_updates_total", "Updates that a proxy refused whole")?,
            statuses_written: counters("portreeve_operator_statuses_written_total", "Statuses written", &["kind"])?,
            discovery_failures: counter(
                "portreeve_operator_discovery_failures_total",
                "Failed reads of metadata or keys of token services",
            )?,
            oldest_keys: gauge(
                "portreeve_operator_oldest_keys_timestamp_seconds",
                "When the oldest keys that count were read",
            )?,
            reconcile_total: counters(
                "controller_runtime_reconcile_total",
                "Rounds of work by controller and result",
                &["controller", "result"],
            )?,
            leader: gauge("portreeve_operator_leader", "1 on the replica that writes")?,
            registry,
        })
    }

    /// Counts one round of work.
    pub(crate) fn reconciled(&self, controller: &str, good: bool) {
        let result = if good { "success" } else { "error" };
        self.reconcile_total.with_label_values(&[controller, result]).inc();
    }

    /// The text format of Prometheus.
    pub(crate) fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Writing to memory fails only for a metric without a name, and ours have one.
        drop(TextEncoder::new().encode(&self.registry.gather(), &mut text));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_rendered() {
        let metrics = Metrics::new().unwrap();
        metrics.reconciled("registration", true);
        metrics.statuses_written.with_label_values(&["ApiRoute"]).inc();
        let text = String::from_utf8(metrics.render()).unwrap();
        for name in ["compile_duration_seconds", "sessions", "leader", "statuses_written_total"] {
            assert!(text.contains(&format!("portreeve_operator_{name}")), "{name}");
        }
        assert!(text.contains(r#"controller_runtime_reconcile_total{controller="registration",result="success"} 1"#));
    }
}
