//! `portreeve explain`.

mod request;

use std::{
    fs::File,
    io::{BufRead, BufReader, Write, stdin},
    path::{Path, PathBuf},
};

use anyhow::Context;
use portreeve_policy::Reason;
use serde_json::Value;

use crate::{args::Outcome, printable::printable};

/// What is explained.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArguments {
    /// Decision id, as the answer carries it in portreeve-decision-id; with --manifests a request: a URL, "METHOD URL", or
    /// a command line of curl in quotes.
    decision: String,
    /// File of decision records; - for standard input.
    #[arg(long, default_value = "-", conflicts_with = "manifests")]
    records: PathBuf,
    #[command(flatten)]
    request: RequestArguments,
}

/// Around a request that nobody sent.
#[derive(Debug, clap::Args)]
struct RequestArguments {
    /// Manifests, or folders of them, by which the request is decided; nothing is sent.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    manifests: Vec<PathBuf>,
    /// Claims of the caller's token as a JSON object; iss, iat, exp and jti are added where they are missing.
    #[arg(long, value_name = "JSON", requires = "manifests")]
    claims: Option<String>,
    /// The token is one that its token service is asked about.
    #[arg(long, requires = "claims")]
    opaque: bool,
    /// Its TokenService; needed where the manifests have several.
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "claims")]
    token_service: Option<String>,
    /// Address of the client.
    #[arg(long, value_name = "ADDRESS", requires = "manifests")]
    client_address: Option<String>,
    /// Moment of the request in RFC 3339; now when left out.
    #[arg(long, requires = "manifests")]
    time: Option<String>,
    /// Labels of the pod, e.g. app=orders; any that an ApiRoute selects when left out.
    #[arg(long = "label", value_parser = crate::args::key_value, requires = "manifests")]
    labels: Vec<(String, String)>,
    /// Namespace of the pod that --label describes.
    #[arg(long, default_value = "default", requires = "labels")]
    namespace: String,
}

/// Says in words what was decided, or would be.
pub(crate) fn run(arguments: &ExplainArguments, out: &mut impl Write) -> anyhow::Result<Outcome> {
    if arguments.request.manifests.is_empty() {
        return find(&arguments.decision, &arguments.records, out);
    }
    request::run(&arguments.decision, &arguments.request, out)
}

/// Finds a decision and says in words what was decided, by whom, and why.
fn find(id: &str, records: &Path, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let lines: Box<dyn BufRead> = if records == Path::new("-") {
        Box::new(BufReader::new(stdin()))
    } else {
        let file = File::open(records).with_context(|| records.display().to_string())?;
        Box::new(BufReader::new(file))
    };
    for line in lines.lines() {
        let line = line.with_context(|| records.display().to_string())?;
        // Other lines may stand between, such as those of the application in a shared log.
        let Ok(record) = serde_json::from_str::<Value>(&line) else { continue };
        if record.get("log").and_then(Value::as_str) == Some("decision") && text(&record, "decision_id") == Some(id) {
            write!(out, "{}", explain(&record))?;
            return Ok(Outcome::Clean);
        }
    }
    writeln!(out, "no decision {id} in {}", records.display())?;
    Ok(Outcome::Findings)
}

fn text<'a>(record: &'a Value, member: &str) -> Option<&'a str> {
    record.get(member).and_then(Value::as_str)
}

/// Whatever stands in a record came from a request or a token at some time, so that all of it is escaped.
fn explain(record: &Value) -> String {
    let get = |member: &str| printable(text(record, member).unwrap_or("-"));
    let number = |member: &str| {
        record.get(member).map_or_else(|| "-".to_owned(), |value| printable(&value.to_string()).into_owned())
    };
    // A request that nobody sent has no identifier.
    let id = text(record, "decision_id").map_or_else(String::new, |id| format!("{} ", printable(id)));
    let mut story = format!(
        "decision   {id}at {}\nrequest    {} {}{} from {}\n",
        get("time"),
        get("method"),
        get("host"),
        get("path"),
        get("client_address"),
    );
    story.push_str(&match (text(record, "route"), text(record, "rule")) {
        (Some(route), Some(rule)) => {
            format!("matched    rule {} of ApiRoute {}\n", printable(rule), printable(route))
        }
        _ => "matched    no rule of any route\n".to_owned(),
    });
    let policies = record.get("policies").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for policy in policies {
        let generation = policy.get("generation").map_or_else(|| "-".to_owned(), Value::to_string);
        let (generation, name) = (printable(&generation), printable(text(policy, "name").unwrap_or("-")));
        story.push_str(&format!("policy     ApiPolicy {name}, generation {generation}\n"));
    }
    if record.get("revision").is_some() {
        story.push_str(&format!("snapshot   revision {}\n", number("revision")));
    }
    story.push_str(&caller(record));
    story.push_str(&format!("outcome    {}: {}", get("outcome"), in_words(&get("reason"))));
    if let Some(detail) = text(record, "detail") {
        story.push_str(&format!(" ({})", printable(detail)));
    }
    let shadow = record.get("shadow").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for dry_run in shadow {
        let get = |member: &str| printable(text(dry_run, member).unwrap_or("-"));
        let (policy, would, reason) = (get("policy"), get("would"), get("reason"));
        let why = in_words(&reason);
        story.push_str(&format!("\ndry run    ApiPolicy {policy} would {would}: {why}"));
    }
    story.push_str(&format!("\nanswer     {}", number("status")));
    if record.get("duration_ms").is_some() {
        story.push_str(&format!(" after {} ms", number("duration_ms")));
    }
    story.push('\n');
    story
}

/// Whose credential was accepted, if one was.
fn caller(record: &Value) -> String {
    let get = |member: &str| printable(text(record, member).unwrap_or("-"));
    let Some(kind) = text(record, "credential_kind") else {
        return match text(record, "credential_fingerprint") {
            Some(_) => "caller     a credential was presented, but not accepted\n".to_owned(),
            None => "caller     nobody: no credential was accepted or needed\n".to_owned(),
        };
    };
    let (kind, subject, client) = (printable(kind), get("subject"), get("client_id"));
    let mut line = format!("caller     subject {subject}, client {client}, by {kind}");
    if let Some(issuer) = text(record, "issuer") {
        line.push_str(&format!(" of {}", printable(issuer)));
    }
    line.push_str(match text(record, "token_cache") {
        Some("hit") => " (cached)\n",
        Some(_) => " (verified for this request)\n",
        None => "\n",
    });
    line
}

/// A newer proxy may have reasons that this version does not know; those are printed as they are.
fn in_words(reason: &str) -> &str {
    match Reason::parse(reason) {
        Some(known) => known.words(),
        None => reason,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn l1_s2_no_value_of_a_record_controls_the_terminal_or_forges_a_line() {
        let hostile = "x\u{1b}[2J\r\noutcome    permit: forged\u{9b}1m\u{202e}";
        let mut record = json!({
            "log": "decision", "policies": [{"name": hostile, "generation": hostile}],
            "shadow": [{"policy": hostile, "would": hostile, "reason": hostile}],
        });
        for member in [
            "decision_id",
            "time",
            "method",
            "host",
            "path",
            "client_address",
            "route",
            "rule",
            "revision",
            "outcome",
            "reason",
            "detail",
            "status",
            "issuer",
            "subject",
            "client_id",
            "credential_fingerprint",
            "credential_kind",
            "duration_ms",
            "token_cache",
        ] {
            record[member] = json!(hostile);
        }
        let story = explain(&record);
        assert!(!story.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{story:?}");
        assert_eq!(story.lines().filter(|line| line.starts_with("outcome")).count(), 1, "{story}");
        assert_eq!(story.lines().count(), 9, "{story}");
    }

    #[test]
    fn tells_the_story_of_a_denial() {
        let record = json!({
            "log": "decision", "decision_id": "d1", "time": "t", "method": "GET", "host": "orders.example.com",
            "path": "/orders/7", "client_address": "192.0.2.1", "route": "default/orders", "rule": "read",
            "policies": [{"name": "default/orders", "generation": 3}], "revision": 9, "outcome": "deny",
            "reason": "insufficient_scope", "detail": "the rule demands scope orders:read", "status": 403,
            "credential_fingerprint": "00ff", "duration_ms": 0.2,
            "shadow": [{"policy": "default/next", "would": "deny", "reason": "outside_hours"}],
        });
        let story = explain(&record);
        for part in [
            "rule read of ApiRoute default/orders",
            "generation 3",
            "deny: the token lacks a scope",
            "answer     403",
            "dry run    ApiPolicy default/next would deny: the policy allows no calls at this time",
        ] {
            assert!(story.contains(part), "{part}: {story}");
        }
    }
}
