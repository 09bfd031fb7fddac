//! The token service: as its clients reach it, and as its control port tells.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail};
use http::{Request, Response};
use portreeve_registration::{Delivery, Registration, Secret, TransportError};
use reqwest::{Client, redirect::Policy};
use serde_json::{Value, json};

/// A running server.
pub(super) struct TokenService {
    client: Client,
    control: String,
    pub(super) issuer: String,
    pub(super) registration_endpoint: String,
    pub(super) token_endpoint: String,
    pub(super) initial_access_token: Secret,
}

/// A client as the server holds it.
pub(super) struct LiveClient {
    pub(super) client_id: String,
    pub(super) scope: BTreeSet<String>,
}

/// Seconds since 1970.
pub(super) fn unix_seconds() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "client assertions are checked against the real time")]
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

impl TokenService {
    /// The server that told `line` when it started.
    pub(super) async fn new(line: &str) -> Result<Self> {
        let told: Value = serde_json::from_str(line).context("the first line of the token service")?;
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let client = Client::builder().redirect(Policy::none()).no_proxy().timeout(Duration::from_secs(20)).build()?;
        let issuer = text(&told, "issuer");
        let metadata: Value =
            client.get(format!("{issuer}/.well-known/openid-configuration")).send().await?.json().await?;
        Ok(Self {
            client,
            control: text(&told, "control"),
            registration_endpoint: text(&metadata, "registration_endpoint"),
            token_endpoint: text(&metadata, "token_endpoint"),
            initial_access_token: Secret::new(text(&told, "initial_access_token")),
            issuer,
        })
    }

    /// Sends a request over a real socket.
    pub(super) async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, TransportError> {
        let unknown = |fault: reqwest::Error| {
            let delivery = if fault.is_connect() { Delivery::NotSent } else { Delivery::Unknown };
            TransportError::new(delivery, "no answer")
        };
        let (parts, body) = request.into_parts();
        let request = self.client.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body);
        let answer = request.send().await.map_err(unknown)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut response = Response::new(answer.bytes().await.map_err(unknown)?.to_vec());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    async fn command(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self.client.post(format!("{}{path}", self.control)).json(body).send().await?;
        if !answer.status().is_success() {
            bail!("control {path}: {}", answer.status());
        }
        Ok(answer.json().await?)
    }

    /// The clients that are really there, by their marker.
    pub(super) async fn clients(&self, software_id: &str) -> Result<Vec<LiveClient>> {
        let told = self.command("/clients", &json!({"software_id": software_id})).await?;
        let client = |client: &Value| {
            let text = |name: &str| client.get(name).and_then(Value::as_str).unwrap_or_default();
            LiveClient {
                client_id: text("client_id").to_owned(),
                scope: text("scope").split_ascii_whitespace().map(str::to_owned).collect(),
            }
        };
        Ok(told.as_array().context("a list of clients")?.iter().map(client).collect())
    }

    /// Deletes a client behind our back.
    pub(super) async fn delete(&self, client_id: &str) -> Result<()> {
        self.command("/delete-client", &json!({"client_id": client_id})).await.map(drop)
    }

    /// Whether our token opens the management address.
    pub(super) async fn opens(&self, registration: &Registration) -> Result<bool> {
        let (Some(address), Some(token)) =
            (&registration.registration_client_uri, &registration.registration_access_token)
        else {
            return Ok(false);
        };
        let answer = self.client.get(address.clone()).bearer_auth(token.expose()).send().await?;
        Ok(answer.status().is_success())
    }

    /// Whether the token endpoint gives a token to these form fields.
    pub(super) async fn gives_token(&self, basic: Option<(&str, &str)>, form: &[(&str, &str)]) -> Result<bool> {
        let request = self.client.post(&self.token_endpoint).form(form);
        let request = match basic {
            Some((id, secret)) => request.basic_auth(id, Some(secret)),
            None => request,
        };
        Ok(request.send().await?.status().is_success())
    }
}
