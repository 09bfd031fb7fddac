//! What `helm install --wait` left behind.

use anyhow::{Result, ensure};

use super::fixture::{Fixture, LATER, SYSTEM};
use crate::{
    kubectl::{items, text},
    report::{Report, eventually},
};

pub(super) async fn stage(fixture: &Fixture, report: &mut Report) -> Option<()> {
    let ready = report.check("the chart is installed and every operator replica is Ready", replicas(fixture)).await;
    report.check("one replica holds the Lease", async { Ok(leader(fixture).await?.0) }).await;
    report.check("the operator's rights are those that it needs", rights(fixture)).await;
    report.check("the chart installed the definitions of crds/", definitions(fixture)).await;
    ready.then_some(())
}

async fn replicas(fixture: &Fixture) -> Result<String> {
    let probe = async || {
        let held = fixture.object("deployment/portreeve-operator", SYSTEM).await?;
        let count = |pointer| held.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or_default();
        let (wanted, ready) = (count("/spec/replicas"), count("/status/readyReplicas"));
        ensure!(wanted > 1 && ready == wanted, "{ready} of {wanted} replicas are Ready");
        Ok(format!("{ready} of {wanted}"))
    };
    Ok(eventually(LATER, probe).await?.0)
}

/// The pod that holds the Lease, and the holder as it calls itself.
pub(super) async fn leader(fixture: &Fixture) -> Result<(String, String)> {
    let probe = async || {
        let lease = fixture.object("lease/portreeve-operator", SYSTEM).await?;
        let holder = text(&lease, "/spec/holderIdentity").to_owned();
        let selector = "app.kubernetes.io/component=operator";
        let pods = fixture.kubectl.json(&["get", "pods", "-n", SYSTEM, "-l", selector]).await?;
        let names: Vec<_> = items(&pods).iter().map(|pod| text(pod, "/metadata/name")).collect();
        let pod = names.iter().find(|name| !name.is_empty() && holder.starts_with(**name));
        ensure!(pod.is_some(), "the holder is {holder:?}, none of {names:?}");
        Ok((pod.map(|pod| (*pod).to_owned()).unwrap_or_default(), holder))
    };
    Ok(eventually(LATER, probe).await?.0)
}

async fn rights(fixture: &Fixture) -> Result<String> {
    let account = format!("--as=system:serviceaccount:{SYSTEM}:portreeve-operator");
    let asked = [
        ("list", "apiroutes.portreeve.dev", "--all-namespaces", true),
        ("patch", "clientregistrations.portreeve.dev/status", "--all-namespaces", true),
        ("create", "secrets", "--all-namespaces", true),
        ("create", "tokenreviews.authentication.k8s.io", "--all-namespaces", true),
        ("delete", "apiroutes.portreeve.dev", "--all-namespaces", false),
        ("update", "apipolicies.portreeve.dev", "--all-namespaces", false),
        ("delete", "pods", "--all-namespaces", false),
        ("create", "pods/exec", "--all-namespaces", false),
        ("create", "deployments.apps", "--all-namespaces", false),
        ("update", "leases.coordination.k8s.io", "--namespace=default", false),
        ("bind", "clusterroles.rbac.authorization.k8s.io", "--all-namespaces", false),
    ];
    for (verb, resource, place, wanted) in asked {
        let arguments = ["auth", "can-i", verb, resource, place, &account];
        let may = match fixture.kubectl.run(&arguments).await {
            Ok(_) => true,
            Err(fault) if format!("{fault}").contains("can-i") => false,
            Err(fault) => return Err(fault),
        };
        ensure!(may == wanted, "{verb} {resource} ({place}): allowed is {may}, expected {wanted}");
    }
    Ok(format!("{} questions", asked.len()))
}

/// Server-side apply under another name: a value that differs would be a conflict.
async fn definitions(fixture: &Fixture) -> Result<String> {
    let mut arguments = vec!["apply", "--server-side", "--dry-run=server", "--field-manager=e2e"];
    let files = ["apipolicies", "apiroutes", "clientregistrations", "tokenservices"].map(|f| format!("crds/{f}.yaml"));
    for file in &files {
        arguments.extend(["-f", file]);
    }
    fixture.kubectl.run(&arguments).await?;
    Ok("4 of them, no field differs".to_owned())
}
