//! What callers meet, through the Service, and what reaches the application.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::Value;

use super::{
    fixture::{AUDIENCE, Fixture, LATER, SOON, TEAM},
    registration::Callers,
};
use crate::{
    kubectl::{items, text},
    report::{Report, eventually, shown},
    tokens,
    web::{Answer, send},
};

/// Starts the application with its sidecars; gives the address of its Service.
pub(super) async fn rollout(fixture: &Fixture, report: &mut Report) -> Option<String> {
    report.check("the operator's authority is published to the namespace", authority(fixture)).await;
    let check = "two pods with sidecars become Ready and are reached through the Service";
    let address = report.need(check, start(fixture)).await?;
    report.check("every route is Programmed 2/2 and Ready", programmed(fixture)).await;
    report.check("kubectl get apiroute tells it in a line", table(fixture)).await;
    Some(address)
}

async fn authority(fixture: &Fixture) -> Result<String> {
    let probe = async || {
        let held = fixture.object("configmap/portreeve-ca", TEAM).await?;
        ensure!(text(&held, "/data/ca.crt").contains("BEGIN CERTIFICATE"), "ConfigMap portreeve-ca has no ca.crt");
        ensure!(!held.to_string().contains("PRIVATE KEY"), "ConfigMap portreeve-ca holds a private key");
        Ok(())
    };
    let ((), took) = eventually(SOON, probe).await?;
    Ok(format!("after {}", shown(took)))
}

async fn start(fixture: &Fixture) -> Result<(String, String)> {
    fixture.apply(&fixture.manifest("cluster/orders-app.yaml")?).await?;
    fixture.pods_to_be(2).await?;
    let service = fixture.object("service/orders", TEAM).await?;
    let address: IpAddr = text(&service, "/spec/clusterIP").parse().context("the Service has no ClusterIP")?;
    let address = format!("http://{address}");
    fixture.outcome(&format!("{address}/health"), None, "200", SOON).await?;
    Ok((String::new(), address))
}

async fn programmed(fixture: &Fixture) -> Result<String> {
    let mut longest = Duration::ZERO;
    for route in ["orders", "status", "invoices"] {
        longest = longest.max(fixture.programmed(route, "2/2").await?);
    }
    for policy in ["orders", "orders-write", "status", "invoices"] {
        fixture.awaited(&format!("apipolicy/{policy}"), TEAM, ("Ready", "True"), SOON).await?;
    }
    Ok(format!("after {}", shown(longest)))
}

async fn table(fixture: &Fixture) -> Result<String> {
    let table = fixture.kubectl.run(&["get", "apiroute", "orders", "-n", TEAM]).await?;
    let line = table.lines().nth(1).unwrap_or_default();
    let words: Vec<_> = line.split_whitespace().collect();
    ensure!(words.starts_with(&["orders", "True", "Ready", "2/2"]), "it says: {table}");
    Ok(words.join(" "))
}

pub(super) async fn stage(fixture: &Fixture, report: &mut Report, callers: &Callers, address: &str) {
    let get = |path: &str, token: Option<&str>| {
        let (url, token) = (format!("{address}{path}"), token.map(str::to_owned));
        async move { fixture.web.get(&url, token.as_deref()).await }
    };
    let shop = Some(callers.shop_token.as_str());
    report.check("an opaque token becomes a verified JWT at the application", phantom(fixture, callers, address)).await;
    report.check("what a caller writes into Forwarded is not believed", forwarded(fixture, callers, address)).await;
    report
        .check("401 without a token, with a Bearer challenge", async {
            refused(&get("/orders/42", None).await?, "401 no_credentials", &["Bearer"])
        })
        .await;
    report
        .check("401 for a token that nobody issued", async {
            let wanted = ["Bearer", "error=\"invalid_token\""];
            refused(&get("/orders/42", Some("nobody-issued-this")).await?, "401 invalid_token", &wanted)
        })
        .await;
    report
        .check("403 for a missing scope, and the challenge names it", async {
            let request =
                fixture.web.request(Method::POST, &format!("{address}/orders")).bearer_auth(&callers.shop_token);
            let wanted = ["Bearer", "error=\"insufficient_scope\"", "scope=\"", "orders:write"];
            refused(&send(request.body("{}")).await?, "403 insufficient_scope", &wanted)
        })
        .await;
    report.check("a body reaches the application whole", body(fixture, callers, address)).await;
    report.check("200 without a token where the policy says open", is(get("/health", None), "200")).await;
    report.check("404 for a path that no route answers", is(get("/stock/1", shop), "404 route_not_found")).await;
    let post = async { send(fixture.web.request(Method::POST, &format!("{address}/health"))).await };
    report.check("405 for a method that no rule answers", is(post, "405 method_not_allowed")).await;
    report.check("pods show health and metrics, and no snapshot, to others", admin(fixture)).await;
}

async fn is(answer: impl Future<Output = Result<Answer>>, wanted: &str) -> Result<String> {
    let found = answer.await?.outcome();
    ensure!(found == wanted, "answered {found}, not {wanted}");
    Ok(String::new())
}

fn refused(answer: &Answer, wanted: &str, in_challenge: &[&str]) -> Result<String> {
    let (found, challenge) = (answer.outcome(), answer.header("www-authenticate"));
    ensure!(found == wanted, "answered {found}, not {wanted}");
    for part in in_challenge {
        ensure!(challenge.contains(part), "{part} expected in WWW-Authenticate: {challenge}");
    }
    ensure!(answer.header("content-type") == "application/problem+json", "it is no problem details");
    Ok(challenge.to_owned())
}

/// The design's phantom token: opaque outside, a JWT of the same issuer inside.
async fn phantom(fixture: &Fixture, callers: &Callers, address: &str) -> Result<String> {
    let token = &callers.shop_token;
    let answer = fixture.web.get(&format!("{address}/orders/42?page=2"), Some(token)).await?;
    ensure!(answer.status == 200, "answered {}", answer.outcome());
    let told = answer.json()?;
    ensure!(text(&told, "/path") == "/orders/42" && text(&told, "/query") == "page=2", "another target: {told}");
    ensure!(!answer.body.contains(token.as_str()), "the caller's own token reached the application");
    let authorization = text(&told, "/headers/authorization");
    let jwt = authorization.strip_prefix("Bearer ").context("the application got no Bearer token")?;
    let claims = tokens::verify(&fixture.web, &fixture.issuer, AUDIENCE, jwt).await?;
    let scope = text(&claims, "/scope");
    ensure!(scope.split(' ').any(|one| one == "orders:read"), "scope is {scope:?}");
    Ok(format!("signature, iss, aud and exp are good, scope {scope:?}"))
}

async fn forwarded(fixture: &Fixture, callers: &Callers, address: &str) -> Result<String> {
    let request = fixture.web.request(Method::GET, &format!("{address}/orders/42")).bearer_auth(&callers.shop_token);
    let claimed = ["forwarded", "x-forwarded-for", "x-real-ip"];
    let request = claimed.iter().fold(request, |request, name| request.header(*name, "for=203.0.113.66"));
    let told = send(request).await?.json()?;
    ensure!(!told.to_string().contains("203.0.113.66"), "a claimed address reached the application: {told}");
    let forwarded = text(&told, "/headers/forwarded");
    ensure!(forwarded.contains("for=") && forwarded.contains("proto=http"), "Forwarded is {forwarded:?}");
    Ok(forwarded.to_owned())
}

async fn body(fixture: &Fixture, callers: &Callers, address: &str) -> Result<String> {
    let request = fixture.web.request(Method::POST, &format!("{address}/orders")).bearer_auth(&callers.accounts_token);
    let answer = send(request.body(vec![b'x'; 200_000])).await?;
    ensure!(answer.status == 200, "answered {}", answer.outcome());
    let count = answer.json()?.pointer("/body_bytes").and_then(Value::as_u64).unwrap_or_default();
    ensure!(count == 200_000, "{count} bytes arrived, not 200000");
    Ok(format!("{count} bytes"))
}

async fn admin(fixture: &Fixture) -> Result<String> {
    let pods = fixture.pods().await?;
    for pod in &pods {
        let base = format!("http://{}:9902", pod.ip);
        let ready = fixture.web.get(&format!("{base}/readyz"), None).await?;
        ensure!(ready.status == 200, "{}: /readyz answered {}", pod.name, ready.status);
        for path in ["/metrics", "/jwks", "/snapshot"] {
            let told = fixture.web.get(&format!("{base}{path}"), None).await?;
            ensure!(told.status == 404, "{}: {path} answered {} to another", pod.name, told.status);
        }
        // O9: what else the admin port tells is for callers in the pod. A connection that is refused is the answer.
        let other = fixture.web.get(&format!("http://{}:9901/metrics", pod.ip), None).await;
        ensure!(other.is_err(), "{}: the admin port answers to another pod", pod.name);
    }
    let list = fixture.kubectl.json(&["get", "endpointslices", "-n", TEAM]).await?;
    ensure!(!items(&list).is_empty(), "the Service has no endpoints");
    fixture.outcome(&format!("http://{}:9902/livez", pods.first().context("no pods")?.ip), None, "200", LATER).await?;
    Ok(format!("{} pods", pods.len()))
}
