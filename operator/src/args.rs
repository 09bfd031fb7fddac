//! Settings, from the command line and the environment. All faults are told together, before any socket is bound.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};
use portreeve_compiler::Options;
use portreeve_policy::{AddressRange, NamespacedName};

/// Watches Portreeve's objects, compiles them, publishes the result to proxies, and registers applications as OAuth
/// clients. With --source it reads the objects from a folder of YAML files; without, from the Kubernetes cluster that
/// the environment or KUBECONFIG names.
#[derive(Debug, Clone, Parser)]
#[command(name = "portreeve-operator", version, max_term_width = 100)]
pub struct Args {
    /// Folder of manifests (*.yaml, *.yml, *.json), watched; turns the file mode on.
    #[arg(long, value_name = "DIR", env = "PORTREEVE_SOURCE", help_heading = "File mode")]
    source: Option<PathBuf>,
    /// Folder for statuses, credentials and registrations; made with mode 0700.
    #[arg(long, value_name = "DIR", env = "PORTREEVE_STATE", help_heading = "File mode")]
    state: Option<PathBuf>,
    /// Unix socket for proxies, mode 0600 [default: STATE/operator.sock].
    #[arg(long, value_name = "PATH", env = "PORTREEVE_SOCKET", help_heading = "File mode")]
    socket: Option<PathBuf>,
    /// Address for proxies, gRPC over TLS [default: 0.0.0.0:8443].
    #[arg(long, value_name = "ADDRESS", env = "PORTREEVE_LISTEN", help_heading = "Cluster mode")]
    listen: Option<String>,
    /// Namespace that the operator runs in [default: the one of its ServiceAccount].
    #[arg(long, value_name = "NAME", env = "PORTREEVE_NAMESPACE", help_heading = "Cluster mode")]
    namespace: Option<String>,
    /// Service by which proxies reach the operator, for its certificate [default: portreeve-operator].
    #[arg(long, value_name = "NAME", env = "PORTREEVE_SERVICE_NAME", help_heading = "Cluster mode")]
    service_name: Option<String>,
    /// Lease that says which replica writes [default: portreeve-operator].
    #[arg(long, value_name = "NAME", env = "PORTREEVE_LEASE_NAME", help_heading = "Cluster mode")]
    lease_name: Option<String>,
    /// Namespaces whose objects are watched, separated by commas; all when left out. Then Roles in these namespaces are
    /// enough, but for TokenReviews, and labels of namespaces select nothing.
    #[arg(long, value_name = "NAMES", env = "PORTREEVE_WATCH_NAMESPACES", help_heading = "Cluster mode")]
    watch_namespaces: Option<String>,
    /// Address of /healthz, /livez, /readyz and /metrics.
    #[arg(long, value_name = "ADDRESS", env = "PORTREEVE_ADMIN", default_value = "127.0.0.1:9443")]
    admin: String,
    /// Lets token services be reached over http. For development.
    #[arg(long, env = "PORTREEVE_ALLOW_HTTP")]
    allow_http: bool,
    /// Lets token services be at loopback, private and cluster addresses; link-local and metadata addresses never.
    #[arg(long, env = "PORTREEVE_ALLOW_PRIVATE_ADDRESSES")]
    allow_private_addresses: bool,
    /// How often metadata and keys of token services are read again, e.g. 300s or 5m.
    #[arg(long, value_name = "TIME", env = "PORTREEVE_DISCOVERY_INTERVAL", default_value = "300s")]
    discovery_interval: String,
    /// How long the keys of a token service that cannot be read still count, e.g. 24h.
    #[arg(long, value_name = "TIME", env = "PORTREEVE_KEYS_MAX_AGE", default_value = "24h")]
    keys_max_age: String,
    /// How often the keys with which the gateway mints tokens are replaced, e.g. 24h.
    #[arg(long, value_name = "TIME", env = "PORTREEVE_SIGNING_ROTATION", default_value = "24h")]
    signing_rotation: String,
    /// How often token services are asked how they describe our clients, e.g. 30m.
    #[arg(long, value_name = "TIME", env = "PORTREEVE_DRIFT_INTERVAL", default_value = "30m")]
    drift_interval: String,
    /// Most clients that are registered, read or deleted at the same time.
    #[arg(long, value_name = "COUNT", env = "PORTREEVE_REGISTRATION_CONCURRENCY", default_value_t = 4,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    registration_concurrency: u16,
    /// Form of the log on standard error; RUST_LOG sets its level.
    #[arg(long, value_enum, env = "PORTREEVE_LOG_FORMAT", default_value = "json")]
    log_format: LogFormat,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Settings that make sense together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where objects come from and where results go.
    pub mode: Mode,
    /// Address of health and metrics.
    pub admin: SocketAddr,
    /// What is accepted of token services.
    pub options: Options,
    /// How often token services are read again.
    pub discovery_interval: Duration,
    /// How long keys that cannot be read again still count.
    pub keys_max_age: Duration,
    /// How often signing keys are replaced.
    pub signing_rotation: Duration,
    /// How often drift of our clients is looked for.
    pub drift_interval: Duration,
    /// Most registrations that are worked on at the same time.
    pub registration_concurrency: usize,
    /// Form of the log.
    pub log_format: LogFormat,
}

/// Where objects come from and where results go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// A Kubernetes cluster.
    Cluster(ClusterSettings),
    /// A folder of files.
    Files(FileSettings),
}

/// Settings of the cluster mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Address for proxies.
    pub listen: SocketAddr,
    /// Own namespace; `None`: that of the ServiceAccount.
    pub namespace: Option<String>,
    /// Name of the Service in front of us.
    pub service_name: String,
    /// Name of the Lease.
    pub lease_name: String,
    /// Namespaces that are watched; empty: all.
    pub watch_namespaces: Vec<String>,
}

/// Settings of the file mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// Folder of manifests.
    pub source: PathBuf,
    /// Folder of results.
    pub state: PathBuf,
    /// Socket for proxies.
    pub socket: PathBuf,
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct InvalidArgs(Vec<String>);

// === impl Args ===

impl Args {
    /// Checks the settings together.
    #[expect(clippy::too_many_lines, reason = "one step for each argument")]
    pub fn settings(self) -> Result<Settings, InvalidArgs> {
        let Self {
            source,
            state,
            socket,
            listen,
            namespace,
            service_name,
            lease_name,
            watch_namespaces,
            admin,
            allow_http,
            allow_private_addresses,
            discovery_interval,
            keys_max_age,
            signing_rotation,
            drift_interval,
            registration_concurrency,
            log_format,
        } = self;
        let mut faults = Vec::new();
        let admin = address("--admin", &admin, &mut faults);
        let interval = time("--discovery-interval", &discovery_interval, &mut faults);
        let max_age = time("--keys-max-age", &keys_max_age, &mut faults);
        let rotation = time("--signing-rotation", &signing_rotation, &mut faults);
        let drift = time("--drift-interval", &drift_interval, &mut faults);
        let mode = if let Some(source) = source {
            for (flag, given) in [
                ("--listen", listen.is_some()),
                ("--namespace", namespace.is_some()),
                ("--service-name", service_name.is_some()),
                ("--lease-name", lease_name.is_some()),
                ("--watch-namespaces", watch_namespaces.is_some()),
            ] {
                if given {
                    faults.push(format!("{flag} is for a cluster; leave it out, or leave --source out"));
                }
            }
            if !source.is_dir() {
                faults.push(format!("--source {}: no such folder; create it", source.display()));
            }
            if state.is_none() {
                faults.push("--source needs --state DIR, where statuses and credentials are written".to_owned());
            }
            let state = state.unwrap_or_default();
            if !state.as_os_str().is_empty() && state.starts_with(&source) {
                faults
                    .push("--state may not lie inside --source, or credentials would be read as manifests".to_owned());
            }
            let socket = socket.unwrap_or_else(|| state.join("operator.sock"));
            Some(Mode::Files(FileSettings { source, state, socket }))
        } else {
            for (flag, given) in [("--state", state.is_some()), ("--socket", socket.is_some())] {
                if given {
                    faults.push(format!("{flag} goes with --source DIR"));
                }
            }
            let listen = address("--listen", listen.as_deref().unwrap_or("0.0.0.0:8443"), &mut faults);
            let or = |name: Option<String>| name.unwrap_or_else(|| "portreeve-operator".to_owned());
            let (service_name, lease_name) = (or(service_name), or(lease_name));
            let watch_namespaces = names("--watch-namespaces", watch_namespaces.as_deref(), &mut faults);
            listen.map(|listen| {
                Mode::Cluster(ClusterSettings { listen, namespace, service_name, lease_name, watch_namespaces })
            })
        };
        let addresses = if allow_private_addresses { AddressRange::PrivateAndPublic } else { AddressRange::Public };
        let times = interval.zip(max_age).zip(rotation.zip(drift));
        match (mode, admin, times) {
            (
                Some(mode),
                Some(admin),
                Some(((discovery_interval, keys_max_age), (signing_rotation, drift_interval))),
            ) if faults.is_empty() => {
                let options = Options { allow_http, addresses };
                let registration_concurrency = usize::from(registration_concurrency);
                Ok(Settings {
                    mode,
                    admin,
                    options,
                    discovery_interval,
                    keys_max_age,
                    signing_rotation,
                    drift_interval,
                    registration_concurrency,
                    log_format,
                })
            }
            _ => Err(InvalidArgs(faults)),
        }
    }
}

fn address(flag: &str, text: &str, faults: &mut Vec<String>) -> Option<SocketAddr> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        faults.push(format!("{flag} {text}: expected an address and a port, such as 127.0.0.1:9443"));
    }
    parsed
}

/// Names of namespaces, each once.
fn names(flag: &str, text: Option<&str>, faults: &mut Vec<String>) -> Vec<String> {
    let mut found: Vec<String> = text.unwrap_or_default().split(',').map(|name| name.trim().to_owned()).collect();
    found.retain(|name| !name.is_empty());
    found.sort();
    found.dedup();
    if text.is_some() && found.is_empty() {
        faults.push(format!("{flag}: name at least one namespace, or leave it out to watch all"));
    }
    for name in &found {
        if NamespacedName::new(name, "any").is_err() {
            faults.push(format!("{flag} {name}: not the name of a namespace"));
        }
    }
    found
}

fn time(flag: &str, text: &str, faults: &mut Vec<String>) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match text.strip_prefix(digits) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some(_) | None => 0,
    };
    let seconds = digits.parse::<u64>().ok().map(|count| count.saturating_mul(scale));
    let parsed = seconds.filter(|seconds| (1..=86_400).contains(seconds)).map(Duration::from_secs);
    if parsed.is_none() {
        faults.push(format!("{flag} {text}: expected 1s to 24h, such as 300s"));
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &[&str]) -> Args {
        Args::try_parse_from([&["portreeve-operator"], line].concat()).unwrap()
    }

    #[test]
    fn reads_both_modes() {
        let Mode::Files(files) = args(&["--source", "/tmp", "--state", "/var/x"]).settings().unwrap().mode else {
            panic!()
        };
        assert_eq!(files.socket, PathBuf::from("/var/x/operator.sock"));
        let Mode::Cluster(cluster) = args(&[]).settings().unwrap().mode else { panic!() };
        assert_eq!(cluster.listen.port(), 8443);
        assert!(cluster.watch_namespaces.is_empty());
        let Mode::Cluster(cluster) = args(&["--watch-namespaces", "b, a,,b"]).settings().unwrap().mode else {
            panic!()
        };
        assert_eq!(cluster.watch_namespaces, ["a", "b"], "M9");
    }

    #[test]
    fn tells_all_faults_together() {
        let told = |line: &[&str]| args(line).settings().unwrap_err().0;
        assert_eq!(told(&["--admin", "x", "--discovery-interval", "5", "--listen", "y", "--state", "z"]).len(), 4);
        assert_eq!(told(&["--source", "/nowhere", "--namespace", "a"]).len(), 3);
        assert_eq!(told(&["--source", "/tmp", "--state", "/tmp/state"]).len(), 1);
        assert_eq!(told(&["--discovery-interval", "0s"]).len(), 1);
        assert_eq!(told(&["--watch-namespaces", ","]).len(), 1, "nothing must not mean everything");
        assert_eq!(told(&["--watch-namespaces", "a b,C"]).len(), 2);
    }
}
