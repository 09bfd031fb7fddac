//! HTTP as a caller from outside speaks it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::{Client, Method, RequestBuilder, header::HeaderMap, redirect::Policy};
use serde_json::Value;

/// A client that opens a connection for each request, so that every request finds its own way through the Service.
#[derive(Debug, Clone)]
pub(crate) struct Web {
    client: Client,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Web {
    pub(crate) fn new() -> Result<Self> {
        let client = Client::builder()
            .pool_max_idle_per_host(0)
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_secs(2))
            .timeout(Duration::from_secs(10))
            .build()?;
        Ok(Self { client })
    }

    pub(crate) fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.client.request(method, url)
    }

    pub(crate) async fn get(&self, url: &str, token: Option<&str>) -> Result<Answer> {
        let request = self.request(Method::GET, url);
        let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
        send(request).await.with_context(|| format!("GET {url}"))
    }
}

/// Sends, and reads to the end.
pub(crate) async fn send(request: RequestBuilder) -> Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, body: response.text().await? })
}

impl Answer {
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("not JSON: {:?}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Status, and the reason of a refusal: `503 no_policy`.
    pub(crate) fn outcome(&self) -> String {
        let reason = self.json().ok().and_then(|body| body.get("reason").and_then(Value::as_str).map(str::to_owned));
        match reason {
            Some(reason) => format!("{} {reason}", self.status),
            None => self.status.to_string(),
        }
    }
}
