//! Objects go, and what they brought goes with them. Other teams cannot borrow what is not theirs.

use anyhow::{Result, ensure};

use super::{
    fixture::{AUDIENCE, Fixture, OTHER, SOON, TEAM},
    registration::Callers,
};
use crate::{
    report::{Report, eventually, shown},
    tokens,
};

/// An API of another team, with a policy that names the first team's token service.
const BORROWER: &str = "apiVersion: portreeve.dev/v1alpha1
kind: ApiRoute
metadata: {name: stock, namespace: OTHER}
spec:
  workloadSelector: {matchLabels: {app: stock}}
  upstream: {port: 9420}
  rules: [{name: all, matches: [{path: {type: PathPrefix, value: /stock}}]}]
---
apiVersion: portreeve.dev/v1alpha1
kind: ApiPolicy
metadata: {name: stock, namespace: OTHER}
spec:
  targetRefs: [{group: portreeve.dev, kind: ApiRoute, name: stock}]
  authentication:
    anyOf: [{introspection: {tokenServiceRef: {name: login, namespace: TEAM}, audiences: [a], upstreamToken: Jwt}}]
";

pub(super) async fn stage(fixture: &Fixture, report: &mut Report, callers: &Callers, address: &str) {
    report.check("another team cannot use the TokenService, and is told why", borrowed(fixture)).await;
    let (token, url) = (callers.accounts_token.as_str(), format!("{address}/invoices/1"));
    report.check("without its policy a route refuses everything", policy(fixture, token, &url)).await;
    report.check("without its ApiRoute a path is unknown", route(fixture, token, &url)).await;
    report
        .check("a deleted application is gone at the token service, and its Secret too", client(fixture, callers))
        .await;
}

async fn borrowed(fixture: &Fixture) -> Result<String> {
    fixture.apply(&BORROWER.replace("OTHER", OTHER).replace("TEAM", TEAM)).await?;
    let (said, _) = fixture.awaited("apipolicy/stock", OTHER, ("ResolvedRefs", "False"), SOON).await?;
    ensure!(said.starts_with("NotPermitted") && said.contains("allowedNamespaces"), "it says: {said}");
    fixture.awaited("apipolicy/stock", OTHER, ("Ready", "False"), SOON).await?;
    Ok(said)
}

async fn policy(fixture: &Fixture, token: &str, url: &str) -> Result<String> {
    fixture.kubectl.run(&["delete", "apipolicy/invoices", "-n", TEAM]).await?;
    let (pods, _) = fixture.on_every_pod("/invoices/1", token, "503 no_policy").await?;
    fixture.outcome(url, Some(token), "503 no_policy", SOON).await?;
    let (said, _) = fixture.awaited("apiroute/invoices", TEAM, ("Ready", "False"), SOON).await?;
    ensure!(said.starts_with("NoPolicy"), "the route says: {said}");
    Ok(format!("on {pods} pods; {said}"))
}

async fn route(fixture: &Fixture, token: &str, url: &str) -> Result<String> {
    fixture.kubectl.run(&["delete", "apiroute/invoices", "-n", TEAM]).await?;
    let (pods, _) = fixture.on_every_pod("/invoices/1", token, "404 route_not_found").await?;
    fixture.outcome(url, Some(token), "404 route_not_found", SOON).await?;
    fixture.on_every_pod("/orders/1", token, "200").await?;
    Ok(format!("on {pods} pods"))
}

async fn client(fixture: &Fixture, callers: &Callers) -> Result<String> {
    let deletion = ["delete", "clientregistration/accounts", "-n", TEAM, "--timeout=60s"];
    let (_, took) = eventually(SOON, async || fixture.kubectl.run(&deletion).await).await?;
    let gone = async || {
        let said = fixture.kubectl.refused(&["get", "secret/accounts-oauth", "-n", TEAM], "").await?;
        ensure!(said.contains("NotFound"), "{said}");
        Ok(())
    };
    eventually(SOON, gone).await?;
    let answer = tokens::ask(&fixture.web, &callers.accounts, "orders:read", AUDIENCE).await?;
    let said = answer.body.contains("invalid_client");
    ensure!(answer.status == 401 && said, "the token endpoint answered {}: {}", answer.status, answer.body);
    Ok(format!("after {}; the token endpoint says invalid_client", shown(took)))
}
