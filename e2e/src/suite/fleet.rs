//! Many pods, new pods, and edits that reach all of them.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    fixture::{Fixture, LATER, PodAddress, SOON, TEAM},
    registration::Callers,
};
use crate::{
    kubectl::{condition, items, text},
    report::{Report, eventually, shown},
    traffic::Traffic,
};

/// `reed` instead of `read`.
const ASTRAY: &str = "apiVersion: portreeve.dev/v1alpha1
kind: ApiPolicy
metadata: {name: astray, namespace: default}
spec:
  targetRefs: [{group: portreeve.dev, kind: ApiRoute, name: orders, sectionName: reed}]
  authentication: {anonymous: {}}
";

pub(super) async fn stage(fixture: &Fixture, report: &mut Report, callers: &Callers, address: &str) {
    let first = "a new pod is served from its first moment, while traffic runs";
    report.check(first, grow(fixture, callers, address)).await;
    report
        .check("routes are Programmed 3/3 with the third pod", async {
            Ok(format!("after {}", shown(fixture.programmed("orders", "3/3").await?)))
        })
        .await;
    let edit = |scope: &'static str, wanted| edit(fixture, callers, scope, wanted);
    report.check("a policy edit goes live on every pod", edit("orders:audit", "403 insufficient_scope")).await;
    report.check("and so does the edit that takes it back", edit("orders:read", "200")).await;
    report.check("a target that does not exist is told in the status", unknown_target(fixture)).await;
    report.check("a broken policy closes its own route and no other", broken(fixture, callers, address)).await;
    report.check("it heals when it is corrected", corrected(fixture, callers, address)).await;
    report.check("Events tell the story", events(fixture)).await;
    report.check("every pod is replaced and traffic does not notice", replace(fixture, callers, address)).await;
}

async fn grow(fixture: &Fixture, callers: &Callers, address: &str) -> Result<String> {
    let before = fixture.pods().await?;
    let traffic = Traffic::start(&fixture.web, &format!("{address}/orders/1"), &callers.shop_token);
    fixture.kubectl.run(&["scale", "deployment/orders", "-n", TEAM, "--replicas=3"]).await?;
    let found = new_pod(fixture, &before, &callers.shop_token).await;
    // The Service sends callers to the new pod, too, before the traffic ends.
    let served = match &found {
        Ok((pod, _)) => reached(&traffic, &pod.name).await,
        Err(_) => Ok(()),
    };
    let tally = traffic.stop().await?;
    let (pod, first) = found?;
    served?;
    ensure!(first == "200", "the first answer of pod {} was {first}", pod.name);
    Ok(format!("first answer {first}; {}", tally.spotless()?))
}

/// Waits for a pod that was not there, and asks it as soon as it is Ready.
async fn new_pod(fixture: &Fixture, before: &[PodAddress], token: &str) -> Result<(PodAddress, String)> {
    let probe =
        async || fixture.pods().await?.into_iter().find(|pod| !before.contains(pod)).context("no new pod is Ready");
    let (pod, _) = eventually(LATER, probe).await?;
    let first = fixture.web.get(&format!("http://{}:8081/orders/1", pod.ip), Some(token)).await?.outcome();
    Ok((pod, first))
}

async fn reached(traffic: &Traffic, pod: &str) -> Result<()> {
    let probe = async || {
        ensure!(traffic.reached(pod), "no caller of the Service reached pod {pod}");
        Ok(())
    };
    eventually(SOON, probe).await?;
    Ok(())
}

/// Demands another scope of readers, and looks at each pod until it obeys.
pub(super) async fn edit(fixture: &Fixture, callers: &Callers, scope: &str, wanted: &str) -> Result<String> {
    let patch = format!(r#"{{"spec":{{"authorization":{{"scopes":{{"allOf":["{scope}"]}}}}}}}}"#);
    fixture.patch("apipolicy/orders", &patch).await?;
    let from = Instant::now();
    let (pods, _) = fixture.on_every_pod("/orders/7", &callers.shop_token, wanted).await?;
    let live = from.elapsed();
    fixture.awaited("apipolicy/orders", TEAM, ("Programmed", "True"), SOON).await?;
    let (live, told) = (shown(live), shown(from.elapsed()));
    Ok(format!("{live} after kubectl returned on {pods} pods, Programmed after {told}"))
}

async fn unknown_target(fixture: &Fixture) -> Result<String> {
    let policy = ASTRAY.replace("namespace: default", &format!("namespace: {TEAM}"));
    fixture.apply(&policy).await?;
    let found = fixture.awaited("apipolicy/astray", TEAM, ("Accepted", "False"), SOON).await;
    fixture.kubectl.run(&["delete", "apipolicy/astray", "-n", TEAM]).await?;
    let (said, _) = found?;
    ensure!(said.starts_with("TargetNotFound") && said.contains("reed"), "it says: {said}");
    Ok(said)
}

/// A scope with a blank passes the schema; the compiler finds it.
async fn broken(fixture: &Fixture, callers: &Callers, address: &str) -> Result<String> {
    let traffic = Traffic::start(&fixture.web, &format!("{address}/orders/2"), &callers.shop_token);
    let found = close(fixture, callers).await;
    let tally = traffic.stop().await?;
    let said = found?;
    Ok(format!("{}; on the other route {}", said, tally.spotless()?))
}

async fn close(fixture: &Fixture, callers: &Callers) -> Result<String> {
    let token = &callers.accounts_token;
    fixture.on_every_pod("/invoices/1", token, "200").await?;
    let patch = r#"{"spec":{"authorization":{"scopes":{"allOf":["invoices read"]}}}}"#;
    fixture.patch("apipolicy/invoices", patch).await?;
    fixture.on_every_pod("/invoices/1", token, "503 invalid_policy").await?;
    fixture.on_every_pod("/orders/1", token, "200").await?;
    let (said, _) = fixture.awaited("apipolicy/invoices", TEAM, ("Ready", "False"), SOON).await?;
    ensure!(said.contains("spec.authorization.scopes.allOf[0]"), "the message names no field: {said}");
    fixture.awaited("apipolicy/invoices", TEAM, ("Stalled", "True"), SOON).await?;
    fixture.awaited("apiroute/invoices", TEAM, ("Ready", "False"), SOON).await?;
    fixture.awaited("apiroute/orders", TEAM, ("Ready", "True"), SOON).await?;
    Ok(said)
}

async fn corrected(fixture: &Fixture, callers: &Callers, address: &str) -> Result<String> {
    let patch = r#"{"spec":{"authorization":{"scopes":{"allOf":["invoices:read"]}}}}"#;
    fixture.patch("apipolicy/invoices", patch).await?;
    let from = Instant::now();
    let (pods, _) = fixture.on_every_pod("/invoices/1", &callers.accounts_token, "200").await?;
    let live = from.elapsed();
    let url = format!("{address}/invoices/1");
    fixture.outcome(&url, Some(&callers.shop_token), "403 insufficient_scope", SOON).await?;
    fixture.awaited("apipolicy/invoices", TEAM, ("Ready", "True"), SOON).await?;
    fixture.awaited("apiroute/invoices", TEAM, ("Ready", "True"), SOON).await?;
    let held = fixture.object("apipolicy/invoices", TEAM).await?;
    ensure!(condition(&held, "Stalled").is_none_or(|c| c.status != "True"), "it is still Stalled");
    Ok(format!("live after {} on {pods} pods", shown(live)))
}

async fn events(fixture: &Fixture) -> Result<String> {
    let probe = async || {
        let list = fixture.kubectl.json(&["get", "events.events.k8s.io", "-n", TEAM]).await?;
        let of = |event: &&Value| {
            text(event, "/regarding/kind") == "ApiPolicy" && text(event, "/regarding/name") == "invoices"
        };
        let told: Vec<_> = items(&list).iter().filter(of).map(|event| text(event, "/note")).collect();
        let named = told.iter().any(|note| note.contains("spec.authorization.scopes.allOf[0]"));
        ensure!(named, "no Event of ApiPolicy invoices names the field that was wrong, of {told:?}");
        Ok(format!("{} of ApiPolicy invoices", told.len()))
    };
    Ok(eventually(SOON, probe).await?.0)
}

async fn replace(fixture: &Fixture, callers: &Callers, address: &str) -> Result<String> {
    let before = fixture.pods().await?;
    let traffic = Traffic::start(&fixture.web, &format!("{address}/orders/5"), &callers.shop_token);
    let done = restart(fixture, before.len()).await;
    let tally = traffic.stop().await?;
    let after = done?;
    ensure!(!after.iter().any(|pod| before.contains(pod)), "a pod of before is still there");
    let took = fixture.programmed("orders", "3/3").await?;
    Ok(format!("{}; 3/3 after {}", tally.spotless()?, shown(took)))
}

async fn restart(fixture: &Fixture, count: usize) -> Result<Vec<PodAddress>> {
    fixture.kubectl.run(&["rollout", "restart", "deployment/orders", "-n", TEAM]).await?;
    fixture.kubectl.run(&["rollout", "status", "deployment/orders", "-n", TEAM, "--timeout=120s"]).await?;
    fixture.pods_to_be(count).await
}
