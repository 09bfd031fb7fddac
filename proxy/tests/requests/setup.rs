//! Snapshots for tests, put together from rules, token services and secrets.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test that cannot go on shall say so by panicking, and lives in real time"
)]

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portreeve_policy::{KeySet, NamespacedName, Secret, SecretName, Snapshot};
use serde_json::{Value, json};

use crate::fixture::{Fixture, Signer, open_rule};

/// What a proxy is to run.
#[derive(Default)]
pub(crate) struct Setup {
    rules: Vec<Value>,
    services: Vec<(NamespacedName, Value)>,
    secrets: Vec<(SecretName, Secret)>,
}

impl Setup {
    /// Adds a rule below a prefix with these alternatives and no further condition.
    pub(crate) fn rule(mut self, name: &str, alternatives: &Value) -> Self {
        let mut rule = open_rule(name, &format!("/{name}"));
        rule["state"] =
            json!({"ready": {"limits": "none", "authentication": {"anyOf": alternatives}, "authorization": "anyone"}});
        self.rules.push(rule);
        self
    }

    /// Adds a rule as it is.
    pub(crate) fn raw(mut self, rule: Value) -> Self {
        self.rules.push(rule);
        self
    }

    /// Adds a token service that signs.
    pub(crate) fn signer(mut self, name: &str, issuer: &str, keys: &Signer) -> Self {
        let (set, _) = KeySet::parse(keys.key_set().to_string().as_bytes()).unwrap();
        let service =
            json!({"issuer": issuer, "keys": {"known": set}, "introspection": "disabled", "exchange": "disabled"});
        self.services.push((name.parse().unwrap(), service));
        self
    }

    /// Adds a token service as it is.
    pub(crate) fn service(mut self, name: &str, service: Value) -> Self {
        self.services.push((name.parse().unwrap(), service));
        self
    }

    pub(crate) fn secret(mut self, name: &str, text: &str) -> Self {
        self.secrets.push((name.to_owned().try_into().unwrap(), Secret::new(text.as_bytes().to_vec())));
        self
    }

    pub(crate) fn start(self) -> Fixture {
        self.start_with(&[])
    }

    pub(crate) fn start_with(self, settings: &[(&str, &str)]) -> Fixture {
        let make = |port: u16| {
            let route = json!({
                "generation": 1, "hostnames": [], "rules": self.rules,
                "upstream": {"port": port, "protocol": "Http1", "forwarded": "Forwarded", "maxConnections": 64},
                "clientAddress": "peer",
            });
            let mut snapshot = Snapshot::default();
            let name: NamespacedName = "default/orders".parse().unwrap();
            snapshot.routes.insert(name, Arc::new(serde_json::from_value(route).unwrap()));
            for (name, service) in self.services {
                snapshot.token_services.insert(name, Arc::new(serde_json::from_value(service).unwrap()));
            }
            snapshot.secrets.extend(self.secrets);
            snapshot
        };
        Fixture::start_snapshot(make, settings)
    }
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A line of an API key file for this key.
pub(crate) fn key_line(consumer: &str, key: &str, more: &str) -> String {
    let id = key.split('_').nth(1).unwrap();
    let salt = [7; 16];
    let hash = digest(&SHA256, &[&salt, key.as_bytes()].concat());
    let (salt, hash) = (URL_SAFE_NO_PAD.encode(salt), URL_SAFE_NO_PAD.encode(hash.as_ref()));
    format!("{consumer} {id} sha256 {salt} {hash} {more}\n")
}

/// What a JWT says, unverified.
pub(crate) fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}
