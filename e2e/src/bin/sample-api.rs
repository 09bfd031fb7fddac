//! `sample-api`: the application behind the proxy in the demo and in the end-to-end tests.
//!
//! `SAMPLE_API_LISTEN` says where it listens (default 127.0.0.1:9420: only the proxy of its own pod reaches it),
//! `SAMPLE_API_INSTANCE` how it calls itself.

use std::env;

use anyhow::Context as _;
use portreeve_e2e::{sample_api, say};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let address = env::var("SAMPLE_API_LISTEN").unwrap_or_else(|_| "127.0.0.1:9420".to_owned());
    let instance = env::var("SAMPLE_API_INSTANCE").unwrap_or_else(|_| "sample-api".to_owned());
    let listener = TcpListener::bind(&address)
        .await
        .with_context(|| format!("SAMPLE_API_LISTEN={address}: choose a free address such as 127.0.0.1:9420"))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    say(&format!("{instance} listens on {}", listener.local_addr()?));
    let end = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(sample_api::serve(listener, instance, end).await?)
}
