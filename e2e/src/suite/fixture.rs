//! What every stage stands on: the cluster, the callers, and common questions.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    kubectl::{Kubectl, condition, items, text, told},
    report::eventually,
    web::{Answer, Web},
};

/// Where the operator is.
pub(super) const SYSTEM: &str = "portreeve-system";
/// The namespace of the samples.
pub(super) const TEAM: &str = "portreeve-e2e";
/// Another team's namespace.
pub(super) const OTHER: &str = "portreeve-e2e-other";
/// What the tokens are for.
pub(super) const AUDIENCE: &str = "https://orders.example.com";

/// For what takes a round trip or two.
pub(super) const SOON: Duration = Duration::from_secs(30);
/// For what starts pods.
pub(super) const LATER: Duration = Duration::from_mins(2);

/// The fixture.
pub(super) struct Fixture {
    pub(super) kubectl: Kubectl,
    pub(super) web: Web,
    pub(super) issuer: String,
    pub(super) initial_access_token: String,
    /// With which the gateway's own client is registered.
    pub(super) gateway_access_token: String,
}

/// A pod that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodAddress {
    pub(super) name: String,
    pub(super) ip: String,
}

impl Fixture {
    pub(super) fn new(issuer: String, initial_access_token: String, gateway_access_token: String) -> Result<Self> {
        Ok(Self { kubectl: Kubectl::new(), web: Web::new()?, issuer, initial_access_token, gateway_access_token })
    }

    /// A file of `manifests/`, moved to the team's namespace and to the token service of this run.
    pub(super) fn manifest(&self, file: &str) -> Result<String> {
        let path = format!("manifests/{file}");
        let text = fs::read_to_string(&path).with_context(|| format!("{path}: run from the root of the repository"))?;
        let text = text.replace("namespace: default", &format!("namespace: {TEAM}"));
        Ok(text.replace("http://127.0.0.1:9410", &self.issuer))
    }

    pub(super) async fn apply(&self, yaml: &str) -> Result<String> {
        self.kubectl.feed(&["apply", "-f", "-"], yaml).await
    }

    /// Replaces parts of an object of the team.
    pub(super) async fn patch(&self, object: &str, patch: &str) -> Result<String> {
        self.kubectl.run(&["patch", object, "-n", TEAM, "--type=merge", "-p", patch]).await
    }

    pub(super) async fn object(&self, object: &str, namespace: &str) -> Result<Value> {
        self.kubectl.json(&["get", object, "-n", namespace]).await
    }

    /// Waits for a condition, of the present generation, to be as wanted; gives its message.
    pub(super) async fn awaited(
        &self,
        object: &str,
        namespace: &str,
        (kind, status): (&str, &str),
        limit: Duration,
    ) -> Result<(String, Duration)> {
        let probe = async || {
            let held = self.object(object, namespace).await?;
            let found = condition(&held, kind).filter(|found| found.status == status);
            let found = found.with_context(|| format!("{object}: {kind} is not {status}: {}", told(&held)))?;
            Ok(format!("{}: {}", found.reason, found.message))
        };
        eventually(limit, probe).await
    }

    /// Waits for `status.programmed` of a route of the team to be as wanted, with Programmed and Ready true.
    pub(super) async fn programmed(&self, route: &str, wanted: &str) -> Result<Duration> {
        let object = format!("apiroute/{route}");
        let probe = async || {
            let held = self.object(&object, TEAM).await?;
            let (count, is) = (text(&held, "/status/programmed"), |kind| condition(&held, kind).map(|c| c.status));
            let both = [is("Programmed"), is("Ready")].iter().all(|status| status.as_deref() == Some("True"));
            ensure!(count == wanted && both, "{object} is programmed {count:?}, not {wanted}: {}", told(&held));
            Ok(())
        };
        Ok(eventually(LATER, probe).await?.1)
    }

    /// The pods of the application that are Ready and stay.
    pub(super) async fn pods(&self) -> Result<Vec<PodAddress>> {
        let list = self.kubectl.json(&["get", "pods", "-n", TEAM, "-l", "app=orders"]).await?;
        let stays = |pod: &&Value| pod.pointer("/metadata/deletionTimestamp").is_none();
        let ready = |pod: &&Value| condition_of_pod(pod, "Ready");
        let address = |pod: &Value| PodAddress {
            name: text(pod, "/metadata/name").to_owned(),
            ip: text(pod, "/status/podIP").to_owned(),
        };
        Ok(items(&list).iter().filter(stays).filter(ready).map(address).collect())
    }

    /// Waits for so many Ready pods of the application, and for none on its way out.
    pub(super) async fn pods_to_be(&self, count: usize) -> Result<Vec<PodAddress>> {
        let probe = async || {
            let all = self.kubectl.json(&["get", "pods", "-n", TEAM, "-l", "app=orders"]).await?;
            let ready = self.pods().await?;
            ensure!(ready.len() == count, "{} pods are Ready, not {count}: {}", ready.len(), pods_told(&all));
            Ok(ready)
        };
        Ok(eventually(LATER, probe).await?.0)
    }

    /// Asks a URL until the outcome is as wanted; the last one is told otherwise.
    pub(super) async fn outcome(
        &self,
        url: &str,
        token: Option<&str>,
        wanted: &str,
        limit: Duration,
    ) -> Result<(Answer, Duration)> {
        let probe = async || {
            let answer = self.web.get(url, token).await?;
            let found = answer.outcome();
            ensure!(found == wanted, "GET {url} answered {found}, not {wanted}");
            Ok(answer)
        };
        eventually(limit, probe).await
    }

    /// Waits until every Ready pod, asked directly, answers as wanted; gives the number of pods and the longest time.
    pub(super) async fn on_every_pod(&self, path: &str, token: &str, wanted: &str) -> Result<(usize, Duration)> {
        let mut longest = Duration::ZERO;
        let pods = self.pods().await?;
        ensure!(!pods.is_empty(), "no pod of the application is Ready");
        for PodAddress { name, ip } in &pods {
            let url = format!("http://{ip}:8081{path}");
            let (_, took) =
                self.outcome(&url, Some(token), wanted, SOON).await.with_context(|| format!("pod {name}"))?;
            longest += took;
        }
        Ok((pods.len(), longest))
    }
}

/// Whether a condition of a pod is true; a pod's conditions have no generation of their own in every version.
pub(super) fn condition_of_pod(pod: &Value, kind: &str) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).map(Vec::as_slice);
    let is = |c: &&Value| text(c, "/type") == kind && text(c, "/status") == "True";
    conditions.unwrap_or_default().iter().any(|c| is(&c))
}

/// Names, phases and what containers wait for, for messages.
pub(super) fn pods_told(list: &Value) -> String {
    let of_containers = |pod: &Value, part: &str| -> Vec<String> {
        let statuses = pod.pointer(&format!("/status/{part}")).and_then(Value::as_array).map(Vec::as_slice);
        let line = |c: &Value| {
            let state = c.pointer("/state").map(Value::to_string).unwrap_or_default();
            format!("{} ready={} {state}", text(c, "/name"), c.pointer("/ready").unwrap_or(&Value::Null))
        };
        statuses.unwrap_or_default().iter().map(line).collect()
    };
    let line = |pod: &Value| {
        let mut containers = of_containers(pod, "initContainerStatuses");
        containers.extend(of_containers(pod, "containerStatuses"));
        format!("{} {} [{}]", text(pod, "/metadata/name"), text(pod, "/status/phase"), containers.join(", "))
    };
    items(list).iter().map(line).collect::<Vec<_>>().join("; ")
}
