//! What goes on when parts of Portreeve are away.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use super::{
    fixture::{Fixture, LATER, PodAddress, SOON, SYSTEM, TEAM, pods_told},
    fleet,
    install::leader,
    registration::Callers,
};
use crate::{
    kubectl::{items, text},
    report::{Report, eventually, shown},
    traffic::Traffic,
};

const OPERATOR: &str = "app.kubernetes.io/component=operator";
const SIDECAR: &str = "portreeve-proxy";

pub(super) async fn stage(fixture: &Fixture, report: &mut Report, callers: &Callers, address: &str) {
    report.check("both operator pods are killed and traffic does not notice", killed(fixture, callers, address)).await;
    report
        .check("after that a policy edit goes live on every pod", async {
            let there = fleet::edit(fixture, callers, "orders:audit", "403 insufficient_scope").await?;
            fleet::edit(fixture, callers, "orders:read", "200").await?;
            Ok(there)
        })
        .await;
    let check = "a killed proxy comes back from its last known good, without an operator";
    match sidecar_process(fixture).await {
        Ok((pod, pid)) => {
            report.check(check, restarted(fixture, callers, &pod, &pid)).await;
        }
        Err(why) => report.skip(check, &format!("{why:#}")),
    }
    report.check("when the operator is back an edit reaches every pod again", back(fixture, callers)).await;
}

async fn killed(fixture: &Fixture, callers: &Callers, address: &str) -> Result<String> {
    let (_, before) = leader(fixture).await?;
    let traffic = Traffic::start(&fixture.web, &format!("{address}/orders/3"), &callers.shop_token);
    let done = replaced(fixture, &before).await;
    let tally = traffic.stop().await?;
    let (next, took) = done?;
    Ok(format!("{}; {next} leads after {}", tally.spotless()?, shown(took)))
}

async fn replaced(fixture: &Fixture, before: &str) -> Result<(String, std::time::Duration)> {
    fixture.kubectl.run(&["delete", "pods", "-n", SYSTEM, "-l", OPERATOR, "--grace-period=0", "--force"]).await?;
    let probe = async || {
        let (pod, holder) = leader(fixture).await?;
        ensure!(holder != before, "{holder} still holds the Lease");
        Ok(pod)
    };
    let led = eventually(LATER, probe).await?;
    fixture
        .kubectl
        .run(&["rollout", "status", "deployment/portreeve-operator", "-n", SYSTEM, "--timeout=120s"])
        .await?;
    Ok(led)
}

async fn scale_operator(fixture: &Fixture, count: usize) -> Result<()> {
    let replicas = format!("--replicas={count}");
    fixture.kubectl.run(&["scale", "deployment/portreeve-operator", "-n", SYSTEM, &replicas]).await?;
    let probe = async || {
        let pods = fixture.kubectl.json(&["get", "pods", "-n", SYSTEM, "-l", OPERATOR]).await?;
        let found = items(&pods).len();
        ensure!(found == count, "{found} operator pods, not {count}: {}", pods_told(&pods));
        Ok(())
    };
    eventually(LATER, probe).await?;
    Ok(())
}

/// A proxy's process on this machine. Its containers have no shell, so this is the only way to end it from outside.
async fn sidecar_process(fixture: &Fixture) -> Result<(PodAddress, String)> {
    let pod = fixture.pods().await?.into_iter().next().context("no pod of the application is Ready")?;
    let hostname = format!("HOSTNAME={}", pod.name);
    for entry in fs::read_dir("/proc")?.flatten() {
        let read = |part: &str| fs::read(entry.path().join(part)).unwrap_or_default();
        let is_proxy = read("cmdline").starts_with(b"/portreeve-proxy");
        if is_proxy && read("environ").split(|byte| *byte == 0).any(|variable| variable == hostname.as_bytes()) {
            return Ok((pod, entry.file_name().to_string_lossy().into_owned()));
        }
    }
    Err(anyhow::anyhow!("the node is not on this machine, or its processes are not ours to see"))
}

async fn restarted(fixture: &Fixture, callers: &Callers, pod: &PodAddress, pid: &str) -> Result<String> {
    scale_operator(fixture, 0).await?;
    let before = restarts(fixture, pod).await?;
    let ended = Command::new("kill").args(["-KILL", pid]).status().await?;
    ensure!(ended.success(), "kill -KILL {pid}: {ended}");
    let probe = async || {
        let count = restarts(fixture, pod).await?;
        ensure!(count > before, "the proxy of {} was started {count} times, as before", pod.name);
        let ready = fixture.pods().await?.contains(pod);
        ensure!(ready, "pod {} is not Ready", pod.name);
        Ok(())
    };
    let ((), took) = eventually(LATER, probe).await?;
    let url = format!("http://{}:8081/orders/4", pod.ip);
    fixture.outcome(&url, Some(&callers.shop_token), "200", SOON).await?;
    fixture.outcome(&url, None, "401 no_credentials", SOON).await?;
    Ok(format!("Ready after {}", shown(took)))
}

async fn restarts(fixture: &Fixture, pod: &PodAddress) -> Result<u64> {
    let held = fixture.object(&format!("pod/{}", pod.name), TEAM).await?;
    let statuses = held.pointer("/status/initContainerStatuses").and_then(Value::as_array);
    let sidecar = statuses.and_then(|all| all.iter().find(|one| text(one, "/name") == SIDECAR));
    sidecar.and_then(|one| one.pointer("/restartCount")).and_then(Value::as_u64).context("the pod has no sidecar")
}

/// The status alone would not do: it is latched, and says what was true before.
async fn back(fixture: &Fixture, callers: &Callers) -> Result<String> {
    scale_operator(fixture, 2).await?;
    fixture
        .kubectl
        .run(&["rollout", "status", "deployment/portreeve-operator", "-n", SYSTEM, "--timeout=120s"])
        .await?;
    let count = fixture.pods_to_be(3).await?.len();
    let there = fleet::edit(fixture, callers, "orders:audit", "403 insufficient_scope").await?;
    fleet::edit(fixture, callers, "orders:read", "200").await?;
    fixture.programmed("orders", &format!("{count}/{count}")).await?;
    Ok(there)
}
