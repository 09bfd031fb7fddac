//! Hostile peers, each at full speed beside honest clients: what they cost, and what the honest ones notice.
//!
//! A class is a way to behave ([`classes`]); it is driven from one address against the proxy, and where it needs no
//! credentials against nginx beside it, in the same run and before the same application. Honest clients come from another
//! address, at a steady rate.

mod attack;
mod classes;
mod frames;
mod honest;
mod process;
mod verdict;

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use attack::Attack;
use classes::{Class, Target};
use honest::Honest;
use process::Process;
use verdict::{Measured, Verdict};

use crate::say;

/// What is attacked: given on the command line as JSON by `e2e/hostile/run`.
pub struct Fixture {
    proxy: Server,
    nginx: Server,
    target: Target,
    seconds: Duration,
    only: Option<String>,
}

struct Server {
    http1: SocketAddr,
    http2: SocketAddr,
    process: Process,
}

/// Time in which the memory has to come back.
const REST: Duration = Duration::from_mins(1);

/// Time in which honest requests have to be as before.
const RECOVERY: Duration = Duration::from_secs(5);

impl Fixture {
    /// Reads what is attacked.
    pub fn read(told: &Value) -> Result<Self> {
        let text = |name: &str| told[name].as_str().with_context(|| format!("{name} is missing"));
        let number = |name: &str| told[name].as_u64().with_context(|| format!("{name} is missing"));
        let server = |name: &str, http2: &str, pid: &str| -> Result<Server> {
            let process = Process::new(u32::try_from(number(pid)?)?);
            Ok(Server { http1: text(name)?.parse()?, http2: text(http2)?.parse()?, process })
        };
        Ok(Self {
            proxy: server("proxy", "proxy", "proxy_pid")?,
            nginx: server("nginx", "nginx_http2", "nginx_pid")?,
            target: Target { token: text("token")?.to_owned(), password: text("password")?.to_owned() },
            seconds: Duration::from_secs(number("seconds")?),
            only: told["only"].as_str().map(ToOwned::to_owned),
        })
    }

    /// Drives every class; how many hold and how many do not.
    pub async fn run(&self) -> Result<(usize, usize)> {
        let plain = self.plain_cost().await?;
        say(&format!("a plain request costs {:.0} microseconds of processor time", plain * 1e6));
        say(Verdict::HEAD);
        let (mut passed, mut failed) = (0, 0);
        for class in classes::all(&self.target) {
            if self.only.as_deref().is_some_and(|only| !class.name.contains(only)) {
                continue;
            }
            let ours = self.measure(&self.proxy, &class, REST).await?;
            // What comes back to nginx is not asked.
            let theirs =
                if class.credentials { None } else { Some(self.measure(&self.nginx, &class, Duration::ZERO).await?) };
            let verdict = Verdict { class: &class, ours, theirs, plain };
            say(&verdict.line());
            let faults = verdict.faults();
            for fault in &faults {
                say(&format!("    {}: {fault}", class.name));
            }
            if faults.is_empty() { passed += 1 } else { failed += 1 }
        }
        Ok((passed, failed))
    }

    /// Processor time of a request that is like all others, in seconds.
    async fn plain_cost(&self) -> Result<f64> {
        let before = self.proxy.process.cpu()?;
        let class = classes::plain();
        let attack = Attack::begin(&class, self.proxy.http1);
        sleep(Duration::from_secs(3)).await;
        let sent = attack.end().await;
        let after = self.proxy.process.cpu()?;
        #[expect(clippy::cast_precision_loss, reason = "requests of some seconds")]
        Ok((after - before) / sent.requests.max(1) as f64)
    }

    async fn measure(&self, server: &Server, class: &Class, rest: Duration) -> Result<Measured> {
        let honest = Honest::begin(server.http1, &class.honest);
        sleep(Duration::from_secs(2)).await;
        let before = honest.figures();
        let (memory_before, cpu_before) = (server.process.memory()?, server.process.cpu()?);
        let attack = Attack::begin(class, if class.http2 { server.http2 } else { server.http1 });
        let (end, mut peak) = (Instant::now() + self.seconds, memory_before);
        while Instant::now() < end {
            sleep(Duration::from_millis(100)).await;
            peak = peak.max(server.process.memory()?);
        }
        let during = honest.figures();
        let cpu = server.process.cpu()? - cpu_before;
        let sent = attack.end().await;
        let recovered = honest.recovers(before.p99, RECOVERY * 2).await;
        let after = honest.end().await;
        let memory_after = memory_after(server, memory_before, rest).await?;
        Ok(Measured { before, during, after, recovered, sent, cpu, memory: (memory_before, peak, memory_after) })
    }
}

/// What is held once there was time to give it back, or as soon as it was.
async fn memory_after(server: &Server, before: u64, rest: Duration) -> Result<u64> {
    let end = Instant::now() + rest;
    loop {
        let now = server.process.memory()?;
        if now <= before / 100 * 110 || Instant::now() >= end {
            return Ok(now);
        }
        sleep(Duration::from_millis(250)).await;
    }
}
