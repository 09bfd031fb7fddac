//! Settings that are fixed for a process's life, read once from the environment. All faults are told together, before
//! any socket is bound.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use portreeve_policy::NamespacedName;

use crate::{pipeline::AccessLog, sync::OperatorAddress, transport::TlsFiles};

/// The settings.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    /// `PORTREEVE_LISTEN`: where clients connect.
    pub listen: SocketAddr,
    /// `PORTREEVE_PROBES`: health alone, for probes from outside the pod.
    pub probes: Option<SocketAddr>,
    /// `PORTREEVE_ADMIN`: health, metrics, snapshot.
    pub admin: SocketAddr,
    /// `PORTREEVE_TLS_CERT` and `PORTREEVE_TLS_KEY`: both or neither.
    pub tls: Option<TlsFiles>,
    /// `PORTREEVE_OPERATOR`, with what goes with it.
    pub operator: OperatorAddress,
    /// `PORTREEVE_STATE`: memory-backed folder of the last known good.
    pub state: Option<PathBuf>,
    /// `PORTREEVE_STATE_MAX_AGE`, in seconds.
    pub state_max_age: Duration,
    /// `PORTREEVE_WORKERS`.
    pub workers: NonZeroUsize,
    /// `PORTREEVE_DRAIN_SECONDS`.
    pub drain: Duration,
    /// `PORTREEVE_HEAD_SECONDS`: time for the head of a request, and for an idle connection.
    pub head: Duration,
    /// `PORTREEVE_MAX_CONNECTIONS`: open connections of clients, of the process.
    pub connections: NonZeroUsize,
    /// `PORTREEVE_MEMORY_LIMIT`, in bytes; without it that of the container.
    pub memory: Option<u64>,
    /// `PORTREEVE_RECORDS`.
    pub records: RecordTarget,
    /// `PORTREEVE_ACCESS_LOG`.
    pub access_log: AccessLog,
    /// `PORTREEVE_LOG`: filter of the process's own log.
    pub log: String,
}

/// Where decision records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordTarget {
    /// Appended to a file, made with mode 0600.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// Everything that is wrong with the environment.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct InvalidBootstrap(Vec<String>);

/// Names and meanings, for `--help`.
pub const HELP: &str = "\
portreeve-proxy: the policy enforcement point beside a pod. Settings are environment variables:

  PORTREEVE_LISTEN         address for clients                        0.0.0.0:8081
  PORTREEVE_ADMIN          address for health, metrics, keys, routes  127.0.0.1:9901
  PORTREEVE_PROBES         address for /livez and /readyz alone       (none)
  PORTREEVE_TLS_CERT, _KEY PEM files; given, clients speak TLS; read again when they change
  PORTREEVE_OPERATOR       https://HOST:PORT or unix:/PATH            (required)
  PORTREEVE_OPERATOR_CA    the operator's authority, for https        /var/run/portreeve/ca/ca.crt
  PORTREEVE_TOKEN_FILE     ServiceAccount token, for https            /var/run/portreeve/token/token
  PORTREEVE_WORKLOAD       NAMESPACE/NAME, for unix                   (required with unix)
  PORTREEVE_LABELS         key=value,..., for unix
  PORTREEVE_STATE          memory-backed folder for the last snapshot (none)
  PORTREEVE_STATE_MAX_AGE  seconds that it counts                     86400
  PORTREEVE_WORKERS        threads that serve                         number of processors
  PORTREEVE_DRAIN_SECONDS  time to finish after SIGTERM               20
  PORTREEVE_HEAD_SECONDS   time for a request head, idle connections  30
  PORTREEVE_MAX_CONNECTIONS  open connections; one address gets half  10000
  PORTREEVE_MEMORY_LIMIT   bytes; near them requests get 503          the container's
  PORTREEVE_RECORDS        stdout or a file                           stdout
  PORTREEVE_ACCESS_LOG     off or 1/N                                 off
  PORTREEVE_LOG            error, warn, info, debug                   info

Exit codes: 0 after a drain, 64 for unusable settings, 71 when a socket or file cannot be opened.
";

struct Reader<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    faults: Vec<String>,
}

impl Bootstrap {
    /// Reads the settings through `get`, which looks a variable up.
    pub fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, InvalidBootstrap> {
        let mut reader = Reader { get, faults: Vec::new() };
        let listen = reader.parsed("PORTREEVE_LISTEN", "0.0.0.0:8081", "an address such as 0.0.0.0:8081");
        let admin = reader.parsed("PORTREEVE_ADMIN", "127.0.0.1:9901", "an address such as 127.0.0.1:9901");
        let probes: Option<SocketAddr> = match reader.text("PORTREEVE_PROBES") {
            None => None,
            Some(_) => reader.parsed("PORTREEVE_PROBES", "", "an address such as 0.0.0.0:9902"),
        };
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).to_string();
        let workers = reader.parsed("PORTREEVE_WORKERS", &processors, "a number above 0");
        let age = reader.parsed("PORTREEVE_STATE_MAX_AGE", "86400", "a number of seconds");
        let drain = reader.parsed("PORTREEVE_DRAIN_SECONDS", "20", "a number of seconds");
        let head: Option<NonZeroU64> = reader.parsed("PORTREEVE_HEAD_SECONDS", "30", "a number of seconds above 0");
        let connections = reader.parsed("PORTREEVE_MAX_CONNECTIONS", "10000", "a number above 0");
        let memory: Option<NonZeroU64> = match reader.text("PORTREEVE_MEMORY_LIMIT") {
            None => None,
            Some(_) => reader.parsed("PORTREEVE_MEMORY_LIMIT", "", "a number of bytes above 0"),
        };
        let access_log = reader.parsed("PORTREEVE_ACCESS_LOG", "off", "off or 1/N");
        let operator = reader.operator();
        let tls = reader.tls();
        let records = match get("PORTREEVE_RECORDS").as_deref() {
            None | Some("" | "stdout") => RecordTarget::Stdout,
            Some(file) => RecordTarget::File(file.into()),
        };
        let unknown = reader.faults;
        let (
            Some(listen),
            Some(admin),
            Some(workers),
            Some(age),
            Some(drain),
            Some(head),
            Some(connections),
            Some(access_log),
            Some(operator),
        ) = (listen, admin, workers, age, drain, head, connections, access_log, operator)
        else {
            return Err(InvalidBootstrap(unknown));
        };
        if !unknown.is_empty() {
            return Err(InvalidBootstrap(unknown));
        }
        Ok(Self {
            listen,
            probes,
            admin,
            tls,
            operator,
            state: get("PORTREEVE_STATE").filter(|folder| !folder.is_empty()).map(Into::into),
            state_max_age: Duration::from_secs(age),
            workers,
            drain: Duration::from_secs(drain),
            head: Duration::from_secs(head.get()),
            connections,
            memory: memory.map(NonZeroU64::get),
            records,
            access_log,
            log: get("PORTREEVE_LOG").unwrap_or_else(|| "info".to_owned()),
        })
    }
}

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.get)(name).filter(|text| !text.is_empty())
    }

    fn parsed<T: std::str::FromStr>(&mut self, name: &str, default: &str, expected: &str) -> Option<T> {
        let text = self.text(name).unwrap_or_else(|| default.to_owned());
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.faults.push(format!("{name}={text:?}: expected {expected}"));
        }
        parsed
    }

    fn tls(&mut self) -> Option<TlsFiles> {
        match (self.text("PORTREEVE_TLS_CERT"), self.text("PORTREEVE_TLS_KEY")) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate: certificate.into(), key: key.into() }),
            (None, None) => None,
            _ => {
                self.faults.push("PORTREEVE_TLS_CERT and PORTREEVE_TLS_KEY: give both or neither".to_owned());
                None
            }
        }
    }

    fn operator(&mut self) -> Option<OperatorAddress> {
        let name = "PORTREEVE_OPERATOR";
        let Some(text) = self.text(name) else {
            self.faults.push(format!("{name} is missing: expected https://HOST:PORT or unix:/PATH"));
            return None;
        };
        if let Some(socket) = text.strip_prefix("unix:") {
            return Some(OperatorAddress::Unix {
                socket: socket.into(),
                workload: self.workload()?,
                labels: self.labels()?,
            });
        }
        if !text.starts_with("https://") {
            self.faults.push(format!("{name}={text:?}: expected https://HOST:PORT or unix:/PATH"));
            return None;
        }
        let file = |name: &str, default: &str| self.text(name).unwrap_or_else(|| default.to_owned()).into();
        Some(OperatorAddress::Tls {
            url: text,
            ca_file: file("PORTREEVE_OPERATOR_CA", "/var/run/portreeve/ca/ca.crt"),
            token_file: file("PORTREEVE_TOKEN_FILE", "/var/run/portreeve/token/token"),
        })
    }

    fn workload(&mut self) -> Option<NamespacedName> {
        let name = "PORTREEVE_WORKLOAD";
        let text = self.text(name).unwrap_or_default();
        let parsed = text.parse::<NamespacedName>();
        parsed.map_err(|error| self.faults.push(format!("{name}: {error}"))).ok()
    }

    fn labels(&mut self) -> Option<BTreeMap<String, String>> {
        let text = self.text("PORTREEVE_LABELS").unwrap_or_default();
        let pair = |pair: &str| pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        let labels: Option<BTreeMap<_, _>> = text.split(',').filter(|pair| !pair.is_empty()).map(pair).collect();
        if labels.is_none() {
            self.faults.push(format!("PORTREEVE_LABELS={text:?}: expected key=value,key=value"));
        }
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Bootstrap, String> {
        let get = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Bootstrap::read(&get).map_err(|fault| fault.to_string())
    }

    #[test]
    fn defaults_are_enough_but_for_the_operator() {
        let unix = [("PORTREEVE_OPERATOR", "unix:/run/o.sock"), ("PORTREEVE_WORKLOAD", "default/orders")];
        assert_eq!(read(&unix).unwrap().listen.port(), 8081);
        assert!(read(&[("PORTREEVE_OPERATOR", "https://operator:8443")]).is_ok());
    }

    #[test]
    fn all_faults_are_told_together() {
        let told = read(&[
            ("PORTREEVE_LISTEN", "nowhere"),
            ("PORTREEVE_WORKERS", "0"),
            ("PORTREEVE_TLS_KEY", "key.pem"),
            ("PORTREEVE_ACCESS_LOG", "1/0"),
            ("PORTREEVE_OPERATOR", "http://operator"),
        ])
        .unwrap_err();
        assert_eq!(told.lines().count(), 5, "{told}");
        for name in ["LISTEN", "WORKERS", "TLS_CERT", "ACCESS_LOG", "OPERATOR"] {
            assert!(told.contains(&format!("PORTREEVE_{name}")), "{name}: {told}");
        }
    }
}
