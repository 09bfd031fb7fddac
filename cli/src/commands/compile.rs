//! `portreeve compile`.

use std::{collections::BTreeMap, io::Write, path::PathBuf};

use anyhow::Context;
use portreeve_compiler::{Pod, compile};
use portreeve_policy::NamespacedName;
use serde_json::{Map, json};

use super::read::{manifests, options};
use crate::args::Outcome;

/// Prints the snapshot of one pod.
pub(crate) fn run(
    paths: &[PathBuf],
    namespace: &str,
    labels: BTreeMap<String, String>,
    allow_http: bool,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let (mut manifests, unreadable) = manifests(paths);
    if let Some(fault) = unreadable.into_iter().next() {
        return Err(fault.into());
    }
    let pod = NamespacedName::new(namespace, "pod").context("--namespace")?;
    manifests.inventory.pods.insert(pod.clone(), Pod { labels, ready: true, uid: String::new() });
    let compiled = compile(&manifests.inventory, options(allow_http));
    let snapshot = compiled.snapshots.get(&pod).cloned().unwrap_or_default();
    let routes: Map<_, _> = snapshot.routes.iter().map(|(name, route)| (name.to_string(), json!(route))).collect();
    let services: Map<_, _> =
        snapshot.token_services.iter().map(|(name, service)| (name.to_string(), json!(service))).collect();
    let secrets: Vec<_> = snapshot.secrets.keys().map(ToString::to_string).collect();
    let value = json!({ "routes": routes, "tokenServices": services, "secrets": secrets });
    writeln!(out, "{}", serde_json::to_string_pretty(&value)?)?;
    Ok(if compiled.has_errors() || !manifests.faults.is_empty() { Outcome::Findings } else { Outcome::Clean })
}
