//! What becomes of an application's credentials and access: rotation, pods that hold old ones, grants, a TokenService that
//! is gone before its clients.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{
    fixture::{AUDIENCE, Fixture, LATER, SOON, TEAM},
    registration::{secret, secret_in},
};
use crate::{
    kubectl::text,
    report::{Report, eventually, shown},
    tokens::{self, Credentials},
};

/// An application with a key of its own, and a pod that takes its credentials in as variables.
const ROTATING: &str = "apiVersion: portreeve.dev/v1alpha1
kind: ClientRegistration
metadata: {name: rotating, namespace: TEAM}
spec:
  tokenServiceRef: {name: login}
  metadata: {clientName: rotating, grantTypes: [client_credentials], scope: \"orders:read\"}
  credentialsSecretName: rotating-oauth
  rotation: {overlap: 3s}
";

const HOLDER: &str = "apiVersion: v1
kind: Pod
metadata: {name: holder, namespace: TEAM}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: holder
    image: registry.local/sample-api:e2e
    imagePullPolicy: Never
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    envFrom: [{secretRef: {name: rotating-oauth}}]
";

/// An API whose owner has not granted anything yet, and an application that wants it.
const VAULT: &str = "apiVersion: portreeve.dev/v1alpha1
kind: ApiRoute
metadata: {name: vault, namespace: TEAM}
spec:
  workloadSelector: {matchLabels: {app: vault}}
  upstream: {port: 9420}
  rules: [{name: all, matches: [{path: {type: PathPrefix, value: /vault}}]}]
  access: {scopes: [\"orders:vault\"]}
---
apiVersion: portreeve.dev/v1alpha1
kind: ClientRegistration
metadata: {name: visitor, namespace: TEAM}
spec:
  tokenServiceRef: {name: login}
  metadata: {clientName: visitor, grantTypes: [client_credentials], scope: \"orders:vault\"}
  access: [{apiRef: {name: vault}, scopes: [\"orders:vault\"]}]
  credentialsSecretName: visitor-oauth
";

/// A second TokenService for the same server, and an application there.
const LEAVING: &str = "apiVersion: portreeve.dev/v1alpha1
kind: TokenService
metadata: {name: leaving, namespace: TEAM}
spec:
  issuer: ISSUER
  registration: {initialAccessTokenRef: {name: dcr, key: token}}
---
apiVersion: portreeve.dev/v1alpha1
kind: ClientRegistration
metadata: {name: left, namespace: TEAM}
spec:
  tokenServiceRef: {name: leaving}
  metadata: {clientName: left, grantTypes: [client_credentials]}
  credentialsSecretName: left-oauth
";

/// The same, with a secret.
const LEAVING_SECRET: &str = "apiVersion: portreeve.dev/v1alpha1
kind: TokenService
metadata: {name: leaving, namespace: TEAM}
spec:
  issuer: ISSUER
  registration: {initialAccessTokenRef: {name: dcr, key: token}}
---
apiVersion: portreeve.dev/v1alpha1
kind: ClientRegistration
metadata: {name: left, namespace: TEAM}
spec:
  tokenServiceRef: {name: leaving}
  metadata: {clientName: left, grantTypes: [client_credentials], scope: \"orders:read\"}
  authentication: {method: ClientSecretBasic}
  credentialsSecretName: left-oauth
";

/// A namespace that comes and goes.
const LEAVER: &str = "portreeve-e2e-leaver";

pub(super) async fn stage(fixture: &Fixture, report: &mut Report) {
    report.check("an application gets a key of its own by default", own_key(fixture)).await;
    report.check("a key is rotated on demand, and kept while a pod runs with it", rotation(fixture)).await;
    report.check("the old key goes when the pod is gone", retirement(fixture)).await;
    report.check("access waits for the owner of the API, and comes with the approval", access(fixture)).await;
    report.check("a client is deleted although its TokenService is gone", left_behind(fixture)).await;
    report.check("a namespace that goes takes its clients with it", namespace(fixture)).await;
}

async fn own_key(fixture: &Fixture) -> Result<String> {
    fixture.apply(&ROTATING.replace("TEAM", TEAM)).await?;
    let (_, took) = fixture.awaited("clientregistration/rotating", TEAM, ("Ready", "True"), LATER).await?;
    let held = secret(fixture, "rotating-oauth").await?;
    let keys: Vec<_> = held.keys().map(String::as_str).collect();
    let documented =
        [".env", "client_id", "issuer", "key_id", "private_key", "token_endpoint", "token_endpoint_auth_method"];
    ensure!(keys == documented, "the Secret has {keys:?}");
    fixture.apply(&HOLDER.replace("TEAM", TEAM)).await?;
    let running = async || {
        let pod = fixture.object("pod/holder", TEAM).await?;
        ensure!(text(&pod, "/status/phase") == "Running", "the pod is {}", text(&pod, "/status/phase"));
        Ok(())
    };
    eventually(LATER, running).await?;
    Ok(format!("after {}", shown(took)))
}

async fn rotation(fixture: &Fixture) -> Result<String> {
    let before = secret(fixture, "rotating-oauth").await?;
    let request = json!({"metadata": {"annotations": {"portreeve.dev/rotate": "1"}}});
    fixture.patch("clientregistration/rotating", &request.to_string()).await?;
    let fresh = async || {
        let now = secret(fixture, "rotating-oauth").await?;
        ensure!(now.get("key_id") != before.get("key_id"), "the key is still the same");
        ensure!(now.get("client_id") == before.get("client_id"), "the client is another one");
        Ok(())
    };
    let ((), took) = eventually(SOON, fresh).await?;
    let told = async || {
        let object = fixture.object("clientregistration/rotating", TEAM).await?;
        let said = object.pointer("/status/conditions").map(Value::to_string).unwrap_or_default();
        ensure!(said.contains("still run: holder"), "the status does not name the pod: {said}");
        Ok(())
    };
    eventually(LATER, told).await?;
    Ok(format!("after {}; the status names the pod", shown(took)))
}

async fn retirement(fixture: &Fixture) -> Result<String> {
    fixture.kubectl.run(&["delete", "pod/holder", "-n", TEAM, "--now"]).await?;
    let over = async || {
        let object = fixture.object("clientregistration/rotating", TEAM).await?;
        let until = text(&object, "/status/oldCredentialsUntil").to_owned();
        ensure!(until.is_empty(), "old credentials until {until}");
        Ok(())
    };
    let ((), took) = eventually(LATER, over).await?;
    fixture.kubectl.run(&["delete", "clientregistration/rotating", "-n", TEAM, "--timeout=60s"]).await?;
    Ok(format!("after {}", shown(took)))
}

async fn access(fixture: &Fixture) -> Result<String> {
    fixture.apply(&VAULT.replace("TEAM", TEAM)).await?;
    let (said, _) = fixture.awaited("clientregistration/visitor", TEAM, ("AccessGranted", "False"), SOON).await?;
    ensure!(said.starts_with("AccessPending"), "it says: {said}");
    let (ready, _) = fixture.awaited("clientregistration/visitor", TEAM, ("Ready", "False"), SOON).await?;
    let refused = fixture.kubectl.refused(&["get", "secret/visitor-oauth", "-n", TEAM], "").await?;
    ensure!(refused.contains("NotFound"), "there are credentials without access");
    let approval = json!([{"namespace": TEAM, "name": "visitor", "decision": "Granted", "by": "alice"}]);
    fixture.patch("apiroute/vault", &json!({"spec": {"access": {"approvals": approval}}}).to_string()).await?;
    let (_, took) = fixture.awaited("clientregistration/visitor", TEAM, ("Ready", "True"), LATER).await?;
    let object = fixture.object("clientregistration/visitor", TEAM).await?;
    let by = text(&object, "/status/access/0/by").to_owned();
    ensure!(by.ends_with("by alice"), "the status says: {by}");
    fixture
        .kubectl
        .run(&["delete", "clientregistration/visitor", "apiroute/vault", "-n", TEAM, "--timeout=60s"])
        .await?;
    Ok(format!("first {ready:?}; {} after the {by}", shown(took)))
}

async fn left_behind(fixture: &Fixture) -> Result<String> {
    fixture.apply(&LEAVING.replace("TEAM", TEAM).replace("ISSUER", &fixture.issuer)).await?;
    fixture.awaited("clientregistration/left", TEAM, ("Ready", "True"), LATER).await?;
    fixture.kubectl.run(&["delete", "tokenservice/leaving", "-n", TEAM]).await?;
    let deletion = ["delete", "clientregistration/left", "-n", TEAM, "--timeout=60s"];
    let (_, took) = eventually(SOON, async || fixture.kubectl.run(&deletion).await).await?;
    Ok(format!("after {}", shown(took)))
}

async fn namespace(fixture: &Fixture) -> Result<String> {
    let dcr = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {
            "name": "dcr", "namespace": LEAVER, "annotations": {"portreeve.dev/use": "initial-access-token"},
        },
        "stringData": {"token": fixture.initial_access_token},
    });
    fixture.kubectl.run(&["create", "namespace", LEAVER]).await?;
    fixture.apply(&dcr.to_string()).await?;
    fixture.apply(&LEAVING_SECRET.replace("TEAM", LEAVER).replace("ISSUER", &fixture.issuer)).await?;
    fixture.awaited("clientregistration/left", LEAVER, ("Ready", "True"), LATER).await?;
    let held = secret_in(fixture, LEAVER, "left-oauth").await?;
    let value = |key: &str| held.get(key).cloned().unwrap_or_default();
    let (client_id, client_secret, token_endpoint) =
        (value("client_id"), value("client_secret"), value("token_endpoint"));
    let credentials = Credentials { client_id, client_secret, token_endpoint };
    tokens::token(&fixture.web, &credentials, "orders:read", AUDIENCE).await?;
    fixture.kubectl.run(&["delete", "namespace", LEAVER, "--timeout=100s"]).await?;
    let answer = tokens::ask(&fixture.web, &credentials, "orders:read", AUDIENCE).await?;
    ensure!(answer.body.contains("invalid_client"), "the token endpoint answered {}: {}", answer.status, answer.body);
    Ok("the token endpoint says invalid_client".to_owned())
}
