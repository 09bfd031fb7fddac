//! What the proxy counts. Handles of the request path are resolved when a snapshot is built.

use portreeve_policy::Reason;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use crate::{bounded_cache::Held, heap_size::MemoryBudget};

/// Every metric of the process.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    decisions: IntCounterVec,
    shadow: IntCounterVec,
    duration: HistogramVec,
    api_key_use: GaugeVec,
    /// Of keys that only policies in dry run accepted; shown to nobody.
    dry_run_key_use: GaugeVec,
    /// Decision records that nobody could take.
    pub records_dropped: IntCounter,
    /// Revision that runs.
    pub snapshot_revision: IntGauge,
    /// When the running snapshot was taken in, in seconds since 1970.
    pub snapshot_time: Gauge,
    /// Resources that could not be built, of the last update.
    pub rejected_resources: IntGauge,
    /// Whether the stream to the operator is up.
    pub operator_connected: IntGauge,
    connections: IntGauge,
    /// Connections that were refused at the limit.
    pub connections_refused: IntCounter,
    /// Whether work is turned away for want of memory.
    pub shedding: IntGauge,
    /// Connections on which nothing was asked, closed for a new one.
    pub connections_displaced: IntCounter,
    cache_entries: IntGaugeVec,
    cache_bytes: IntGaugeVec,
}

/// Handles of one rule.
#[derive(Clone)]
pub struct RuleMetrics {
    /// Requests that were let through.
    pub permitted: IntCounter,
    /// Duration of those that were answered 200.
    pub ok: Histogram,
}

/// An open connection of a client, counted down when dropped.
pub struct OpenConnection(IntGauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Bounds of the semantic conventions of OpenTelemetry, in seconds.
const BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

impl Metrics {
    /// Registers everything anew. The names are fixed and distinct, so that registering cannot fail.
    pub fn new() -> Result<Self, prometheus::Error> {
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
        let decisions = IntCounterVec::new(
            Opts::new("portreeve_decisions_total", "Decisions by route, rule, outcome and reason."),
            &["route", "rule", "outcome", "reason"],
        )?;
        let shadow = IntCounterVec::new(
            Opts::new("portreeve_proxy_shadow_decisions_total", "What policies in dry run would have decided."),
            &["route", "rule", "policy", "outcome"],
        )?;
        let duration = HistogramVec::new(
            HistogramOpts::new("http_server_request_duration_seconds", "Time to the head of the answer.")
                .buckets(BUCKETS.to_vec()),
            &["http_route", "http_response_status_code"],
        )?;
        let snapshot_time =
            Gauge::new("portreeve_proxy_snapshot_timestamp_seconds", "When the running snapshot was taken in.")?;
        let api_key_use = GaugeVec::new(
            Opts::new("portreeve_proxy_api_key_last_use_timestamp_seconds", "When an API key was last accepted."),
            &["consumer", "key_id"],
        )?;
        let dry_run_key_use = GaugeVec::new(Opts::new("unregistered", "never shown"), &["consumer", "key_id"])?;
        let table = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["table"]);
        let cache_entries = table("portreeve_proxy_cache_entries", "What is remembered, by table.")?;
        let cache_bytes = table("portreeve_proxy_cache_bytes", "Memory of what is remembered, by table.")?;
        registry.register(Box::new(cache_entries.clone()))?;
        registry.register(Box::new(cache_bytes.clone()))?;
        registry.register(Box::new(api_key_use.clone()))?;
        registry.register(Box::new(decisions.clone()))?;
        registry.register(Box::new(shadow.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(snapshot_time.clone()))?;
        Ok(Self {
            decisions,
            shadow,
            duration,
            api_key_use,
            dry_run_key_use,
            records_dropped: counter("portreeve_proxy_decision_records_dropped_total", "Records that found no room.")?,
            snapshot_revision: gauge("portreeve_proxy_snapshot_revision", "Revision that runs.")?,
            snapshot_time,
            rejected_resources: gauge("portreeve_proxy_rejected_resources", "Resources that cannot run.")?,
            operator_connected: gauge("portreeve_proxy_operator_connected", "1 while the stream is up.")?,
            connections: gauge("portreeve_proxy_connections", "Open connections of clients.")?,
            connections_refused: counter("portreeve_proxy_connections_refused_total", "Refused at the limit.")?,
            shedding: gauge("portreeve_proxy_shedding", "1 while memory is short and work is turned away.")?,
            connections_displaced: counter("portreeve_proxy_connections_displaced_total", "Closed for others.")?,
            cache_entries,
            cache_bytes,
            registry,
        })
    }

    /// Counts a connection of a client while it is open.
    pub fn connection(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// Handles of a rule.
    pub fn rule(&self, route: &str, rule: &str) -> RuleMetrics {
        RuleMetrics {
            permitted: self.decisions.with_label_values(&[route, rule, "permit", Reason::Permitted.code()]),
            ok: self.duration.with_label_values(&[&format!("{route}/{rule}"), "200"]),
        }
    }

    /// When a consumer's key was last accepted, in seconds since 1970; 0 for never.
    pub fn api_key_use(&self, consumer: &str, key_id: &str) -> Gauge {
        self.api_key_use.with_label_values(&[consumer, key_id])
    }

    /// The same for policies in dry run, whose use is no use.
    pub(super) fn api_key_use_in_dry_run(&self, consumer: &str, key_id: &str) -> Gauge {
        self.dry_run_key_use.with_label_values(&[consumer, key_id])
    }

    /// Handle for what a policy in dry run would decide: `permit`, `deny` or `unknown`.
    pub fn shadow(&self, route: &str, rule: &str, policy: &str, outcome: &str) -> IntCounter {
        self.shadow.with_label_values(&[route, rule, policy, outcome])
    }

    /// Counts a refusal; route and rule are empty where none was found.
    pub fn denied(&self, route: &str, rule: &str, reason: Reason) {
        self.decisions.with_label_values(&[route, rule, "deny", reason.code()]).inc();
    }

    /// Notes the duration of an answer other than 200.
    pub fn answered(&self, route: &str, rule: &str, status: u16, seconds: f64) {
        self.duration.with_label_values(&[&format!("{route}/{rule}"), &status.to_string()]).observe(seconds);
    }

    /// Notes what is remembered, table by table.
    pub(crate) fn remembers(&self, tables: impl Iterator<Item = (&'static str, Held)>) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for (table, held) in tables {
            self.cache_entries.with_label_values(&[table]).set(number(held.entries));
            self.cache_bytes.with_label_values(&[table]).set(number(held.bytes));
        }
        let derived = i64::try_from(MemoryBudget::taken()).unwrap_or(i64::MAX);
        self.cache_bytes.with_label_values(&["derived"]).set(derived);
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Writing into memory fails only for a metric without a name.
        if TextEncoder::new().encode(&self.registry.gather(), &mut text).is_err() {
            text.clear();
        }
        text
    }
}
