//! No secret of this run stands where people and machines read along.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    fixture::{Fixture, OTHER, SYSTEM, TEAM},
    registration::Callers,
};
use crate::{
    kubectl::{items, text},
    report::Report,
};

/// Keys of the credentials that are no secrets.
const PUBLIC: [&str; 6] = ["client_id", "issuer", "key_id", "token_endpoint", "ca.crt", "tls.crt"];

/// Shorter texts would be found by chance.
const SHORTEST: usize = 16;

pub(super) async fn stage(fixture: &Fixture, report: &mut Report, callers: &Callers, when: &str) {
    let check = format!("no secret stands in a log, a status or an event, {when}");
    report.check(&check, look(fixture, callers)).await;
}

async fn look(fixture: &Fixture, callers: &Callers) -> Result<String> {
    let secrets = gather(fixture, callers).await?;
    ensure!(secrets.len() > 5, "only {} secrets to look for", secrets.len());
    let places = places(fixture).await?;
    for (place, text) in &places {
        for (secret, name) in &secrets {
            ensure!(!text.contains(secret.as_str()), "{name} stands in {place}");
        }
    }
    let bytes: usize = places.values().map(String::len).sum();
    Ok(format!("{} secrets, {} places, {} kB", secrets.len(), places.len(), bytes / 1024))
}

/// By value, with what it is called.
async fn gather(fixture: &Fixture, callers: &Callers) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for (value, name) in [
        (&callers.shop_token, "an access token"),
        (&callers.accounts_token, "an access token"),
        (&callers.accounts.client_secret, "a client secret"),
        (&fixture.initial_access_token, "the initial access token"),
    ] {
        found.insert(value.clone(), name.to_owned());
    }
    for namespace in [TEAM, SYSTEM] {
        let list = fixture.kubectl.json(&["get", "secrets", "-n", namespace]).await?;
        for secret in items(&list).iter().filter(|secret| !text(secret, "/type").starts_with("helm.sh/")) {
            let name = text(secret, "/metadata/name");
            for (key, value) in secret.pointer("/data").and_then(Value::as_object).into_iter().flatten() {
                let value = STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
                let value = String::from_utf8_lossy(&value).into_owned();
                if !PUBLIC.contains(&key.as_str()) {
                    parts(&value, &format!("{key} of Secret {namespace}/{name}"), &mut found);
                }
            }
        }
    }
    Ok(found)
}

/// A value as a whole, and, where it is JSON or PEM, what in it is a secret of its own.
fn parts(value: &str, name: &str, found: &mut BTreeMap<String, String>) {
    let mut keep = |part: &str| {
        if part.len() >= SHORTEST && !part.starts_with("-----BEGIN CERTIFICATE") {
            found.insert(part.to_owned(), name.to_owned());
        }
    };
    if let Ok(json) = serde_json::from_str::<Value>(value) {
        let mut open = vec![(String::new(), &json)];
        while let Some((key, part)) = open.pop() {
            match part {
                Value::Array(list) => open.extend(list.iter().map(|one| (key.clone(), one))),
                Value::Object(map) => open.extend(map.iter().map(|(key, one)| (key.clone(), one))),
                Value::String(text) if key.contains("secret") || key.contains("token") => {
                    // Names of methods and places are no secrets.
                    if !text.contains("://") && !text.starts_with("client_") {
                        keep(text);
                    }
                }
                Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
            }
        }
    } else if value.contains("PRIVATE KEY") {
        value.lines().filter(|line| !line.starts_with("---")).for_each(keep);
    } else {
        keep(value);
    }
}

/// Everything that is read along, by what it is called.
async fn places(fixture: &Fixture) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let ours = "apipolicies,apiroutes,clientregistrations,tokenservices,configmaps,deployments,pods,events";
    for namespace in [TEAM, OTHER, SYSTEM] {
        let text = fixture.kubectl.run(&["get", ours, "-n", namespace, "-o", "yaml"]).await?;
        found.insert(format!("objects and events of {namespace}"), text);
    }
    for namespace in [TEAM, SYSTEM] {
        let pods = fixture.kubectl.json(&["get", "pods", "-n", namespace]).await?;
        for pod in items(&pods) {
            let name = text(pod, "/metadata/name");
            let logs = ["logs", name, "-n", namespace, "--all-containers"];
            match fixture.kubectl.run(&logs).await {
                Ok(text) => drop(found.insert(format!("the log of {name}"), text)),
                // A pod that was being replaced may go between the list and its log; any other fault counts.
                Err(fault) if gone(&fault.to_string(), name) => continue,
                Err(fault) => return Err(fault),
            }
            // There is one only where a container was restarted.
            if let Ok(text) = fixture.kubectl.run(&[&logs[..], &["--previous"]].concat()).await {
                found.insert(format!("the earlier log of {name}"), text);
            }
        }
    }
    Ok(found)
}

/// Whether the API server says that this very pod is not there any more.
fn gone(fault: &str, pod: &str) -> bool {
    fault.contains("(NotFound)") && fault.contains(&format!("pods \"{pod}\" not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pod_that_went_is_gone() {
        assert!(gone("Error from server (NotFound): pods \"a-1\" not found", "a-1"));
        assert!(!gone("Error from server (NotFound): pods \"b-1\" not found", "a-1"));
        assert!(!gone("Error from server (Forbidden): pods \"a-1\" is forbidden", "a-1"));
    }

    #[test]
    fn finds_what_is_secret_inside_a_value() {
        let found = |value: &str| {
            let mut found = BTreeMap::new();
            parts(value, "x", &mut found);
            found.into_keys().collect::<Vec<_>>()
        };
        let journal = r#"{"registration": {"registration_access_token": "0123456789abcdef", "client_id": "fedcba9876543210",
            "registration_client_uri": "https://a.example/reg/0123456789", "token_endpoint_auth_method": "client_secret_basic"}}"#;
        assert_eq!(found(journal), ["0123456789abcdef"]);
        assert_eq!(found("short"), Vec::<String>::new());
        assert_eq!(found("-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqG\n-----END"), ["MIGHAgEAMBMGByqG"]);
        assert_eq!(found("a-secret-of-its-own"), ["a-secret-of-its-own"]);
    }
}
