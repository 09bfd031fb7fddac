//! Applications become OAuth clients.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::fixture::{AUDIENCE, Fixture, LATER, TEAM};
use crate::{
    kubectl::text,
    report::{Report, eventually, shown},
    tokens::{self, Credentials},
};

/// A second application, which may do more than `shop` of the samples.
const ACCOUNTS: &str = "apiVersion: portreeve.dev/v1alpha1
kind: ClientRegistration
metadata: {name: accounts, namespace: default}
spec:
  tokenServiceRef: {name: login}
  metadata: {clientName: accounts, grantTypes: [client_credentials], scope: \"orders:read orders:write invoices:read\"}
  authentication: {method: ClientSecretBasic}
  credentialsSecretName: accounts-oauth
";

/// What the two applications hold.
pub(super) struct Callers {
    pub(super) accounts: Credentials,
    /// May read orders.
    pub(super) shop_token: String,
    /// May read and write orders and read invoices.
    pub(super) accounts_token: String,
}

pub(super) async fn stage(fixture: &Fixture, report: &mut Report) -> Option<Callers> {
    report.need("the samples are taken", async { Ok((apply(fixture).await?, ())) }).await?;
    report.check("the TokenService is Ready", service(fixture)).await;
    for name in ["gateway", "shop", "accounts"] {
        let check = format!("application {name} is registered and its Secret has the documented keys");
        report.need(&check, async { Ok((registered(fixture, name).await?, ())) }).await?;
    }
    report.need("applications get opaque tokens with their credentials", callers(fixture)).await
}

async fn apply(fixture: &Fixture) -> Result<String> {
    // Not through arguments: a process's arguments can be read by everybody.
    for (name, token) in [("dcr", &fixture.initial_access_token), ("dcr-gateway", &fixture.gateway_access_token)] {
        let uses = serde_json::json!({"portreeve.dev/use": "initial-access-token"});
        let secret = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "namespace": TEAM, "annotations": uses}, "stringData": {"token": token},
        });
        fixture.apply(&secret.to_string()).await?;
    }
    let mut count = 0;
    for file in ["token-service", "clients", "orders", "status", "invoices"] {
        count += fixture.apply(&fixture.manifest(&format!("samples/{file}.yaml"))?).await?.lines().count();
    }
    fixture.apply(&ACCOUNTS.replace("namespace: default", &format!("namespace: {TEAM}"))).await?;
    Ok(format!("{count} objects"))
}

async fn service(fixture: &Fixture) -> Result<String> {
    let (_, took) = fixture.awaited("tokenservice/login", TEAM, ("Ready", "True"), LATER).await?;
    let held = fixture.object("tokenservice/login", TEAM).await?;
    let keys = held.pointer("/status/keys").and_then(Value::as_u64).unwrap_or_default();
    ensure!(keys > 0, "status.keys is {keys}");
    Ok(format!("{keys} keys, after {}", shown(took)))
}

async fn registered(fixture: &Fixture, name: &str) -> Result<String> {
    let object = format!("clientregistration/{name}");
    let (_, took) = fixture.awaited(&object, TEAM, ("Ready", "True"), LATER).await?;
    let held = fixture.object(&object, TEAM).await?;
    let secret = secret(fixture, &format!("{name}-oauth")).await?;
    let keys: Vec<_> = secret.keys().map(String::as_str).collect();
    let documented = [".env", "client_id", "client_secret", "issuer", "token_endpoint", "token_endpoint_auth_method"];
    ensure!(keys == documented, "the Secret has {keys:?}");
    let id = secret.get("client_id").cloned().unwrap_or_default();
    ensure!(text(&held, "/status/clientId") == id && !id.is_empty(), "status.clientId is not the Secret's client_id");
    ensure!(secret.get("issuer") == Some(&fixture.issuer), "the Secret's issuer is {:?}", secret.get("issuer"));
    for part in ["/metadata", "/status"] {
        let part = held.pointer(part).map(Value::to_string).unwrap_or_default();
        ensure!(
            !secret.get("client_secret").is_some_and(|value| part.contains(value)),
            "the secret stands in {object}"
        );
    }
    Ok(format!("after {}", shown(took)))
}

/// A Secret's values by key.
pub(super) async fn secret(fixture: &Fixture, name: &str) -> Result<BTreeMap<String, String>> {
    secret_in(fixture, TEAM, name).await
}

/// The same of a namespace.
pub(super) async fn secret_in(fixture: &Fixture, namespace: &str, name: &str) -> Result<BTreeMap<String, String>> {
    let held = fixture.object(&format!("secret/{name}"), namespace).await?;
    let data = held.pointer("/data").and_then(Value::as_object).context("the Secret is empty")?;
    let decoded = data.iter().map(|(key, value)| {
        let bytes = STANDARD.decode(value.as_str().unwrap_or_default())?;
        Ok((key.clone(), String::from_utf8(bytes)?))
    });
    decoded.collect()
}

async fn credentials(fixture: &Fixture, name: &str) -> Result<Credentials> {
    let mut secret = secret(fixture, name).await?;
    let mut take = |key: &str| secret.remove(key).with_context(|| format!("Secret {name} has no {key}"));
    Ok(Credentials {
        client_id: take("client_id")?,
        client_secret: take("client_secret")?,
        token_endpoint: take("token_endpoint")?,
    })
}

async fn callers(fixture: &Fixture) -> Result<(String, Callers)> {
    let shop = credentials(fixture, "shop-oauth").await?;
    let accounts = credentials(fixture, "accounts-oauth").await?;
    let ask = async || {
        let shop_token = tokens::token(&fixture.web, &shop, "orders:read", AUDIENCE).await?;
        let scope = "orders:read orders:write invoices:read";
        Ok((shop_token, tokens::token(&fixture.web, &accounts, scope, AUDIENCE).await?))
    };
    let ((shop_token, accounts_token), _) = eventually(LATER, ask).await?;
    ensure!(!shop_token.contains('.') && !accounts_token.contains('.'), "a token has dots: it looks like a JWT");
    Ok((String::new(), Callers { accounts, shop_token, accounts_token }))
}
