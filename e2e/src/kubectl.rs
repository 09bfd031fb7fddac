//! The cluster, by kubectl: what a test sees is what people see.

use std::{env, process::Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, process::Command};

/// Runs kubectl with the `KUBECONFIG` of the environment.
#[derive(Debug, Clone)]
pub(crate) struct Kubectl {
    program: String,
}

/// One condition of an object's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Kubectl {
    pub(crate) fn new() -> Self {
        Self { program: env::var("PORTREEVE_E2E_KUBECTL").unwrap_or_else(|_| "kubectl".to_owned()) }
    }

    /// What it printed, or what it said when it failed.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<String> {
        self.feed(arguments, "").await
    }

    /// As `run`, with a text on standard input: a secret in an argument could be read by everybody.
    pub(crate) async fn feed(&self, arguments: &[&str], input: &str) -> Result<String> {
        let (done, out, told) = self.start(arguments, input).await?;
        if !done {
            bail!("kubectl {}: {}", arguments.join(" "), told.trim());
        }
        Ok(out)
    }

    /// Why kubectl refused; an error when it did not.
    pub(crate) async fn refused(&self, arguments: &[&str], input: &str) -> Result<String> {
        let (done, out, told) = self.start(arguments, input).await?;
        if done {
            bail!("kubectl {} was expected to fail and said: {}", arguments.join(" "), out.trim());
        }
        Ok(told)
    }

    pub(crate) async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.run(&[arguments, &["-o", "json"]].concat()).await?;
        serde_json::from_str(&text).with_context(|| format!("kubectl {}: not JSON", arguments.join(" ")))
    }

    async fn start(&self, arguments: &[&str], input: &str) -> Result<(bool, String, String)> {
        let mut child = Command::new(&self.program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{}: install it, or name it in PORTREEVE_E2E_KUBECTL", self.program))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await?;
        }
        let output = child.wait_with_output().await?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok((output.status.success(), text(output.stdout), text(output.stderr)))
    }
}

/// The text at a place, empty where there is none.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a list.
pub(crate) fn items(list: &Value) -> &[Value] {
    list.pointer("/items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A condition, when it speaks of the generation that is in force now.
pub(crate) fn condition(object: &Value, kind: &str) -> Option<Condition> {
    let generation = object.pointer("/metadata/generation");
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|condition| text(condition, "/type") == kind)?;
    if generation.is_some() && found.pointer("/observedGeneration") != generation {
        return None;
    }
    let part = |pointer| text(found, pointer).to_owned();
    Some(Condition { status: part("/status"), reason: part("/reason"), message: part("/message") })
}

/// All conditions in one line, for messages.
pub(crate) fn told(object: &Value) -> String {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array).map(Vec::as_slice);
    let line = |c: &Value| {
        let part = |pointer| text(c, pointer);
        format!("{}={} {} {:?}", part("/type"), part("/status"), part("/reason"), part("/message"))
    };
    let lines: Vec<_> = conditions.unwrap_or_default().iter().map(line).collect();
    if lines.is_empty() { "no conditions at all".to_owned() } else { lines.join("; ") }
}
