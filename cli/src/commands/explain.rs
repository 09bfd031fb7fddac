//! `portreeve explain`.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write, stdin},
    path::Path,
};

use anyhow::Context;
use serde_json::Value;

use crate::{args::Outcome, printable::printable};

/// Finds a decision and says in words what was decided, by whom, and why.
pub(crate) fn run(id: &str, records: &Path, out: &mut impl Write) -> anyhow::Result<Outcome> {
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
    let mut story = format!(
        "decision   {} at {}\nrequest    {} {}{} from {}\n",
        get("decision_id"),
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
    story.push_str(&format!("snapshot   revision {}\n", number("revision")));
    if let Some(issuer) = text(record, "issuer") {
        let cache = match text(record, "token_cache") {
            Some("hit") => "remembered",
            _ => "looked up for this request",
        };
        story.push_str(&format!(
            "caller     subject {}, client {}, token of {} ({cache})\n",
            get("subject"),
            get("client_id"),
            printable(issuer),
        ));
    } else if text(record, "credential_fingerprint").is_some() {
        story.push_str("caller     a token was shown, but not accepted\n");
    } else {
        story.push_str("caller     nobody: no token was accepted or needed\n");
    }
    story.push_str(&format!("outcome    {}: {}", get("outcome"), in_words(&get("reason"))));
    if let Some(detail) = text(record, "detail") {
        story.push_str(&format!(" ({})", printable(detail)));
    }
    let shadow = record.get("shadow").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for trial in shadow {
        let get = |member: &str| printable(text(trial, member).unwrap_or("-"));
        let (policy, would, reason) = (get("policy"), get("would"), get("reason"));
        let why = in_words(&reason);
        story.push_str(&format!("\non trial   ApiPolicy {policy} would {would}: {why}"));
    }
    story.push_str(&format!("\nanswer     {} after {} ms\n", number("status"), number("duration_ms")));
    story
}

/// The reasons of a decision record; docs/decisions.md has the same list.
fn in_words(reason: &str) -> &str {
    match reason {
        "permitted" => "authentication and authorization let it through",
        "slow_request_body" => "the client did not send its body in the rule's time",
        "target_too_long" => "the path or the request line is longer than the gateway takes",
        "no_credentials" => "the rule needs a token and none was shown",
        "broken_credentials" => "the Authorization header is malformed",
        "invalid_token" => "the token is not valid",
        "token_too_long_lived" => "the token lives longer than the API allows, or does not say how long",
        "wrong_audience" => "the token was made for another API",
        "insufficient_scope" => "the token lacks a scope that the rule demands",
        "address_not_allowed" => "the client's address is not one that the policy allows",
        "cedar_denied" => "no Cedar policy permits it, or one forbids it",
        "cedar_undecidable" => "a claim does not fit what the policy declares, or a Cedar policy failed",
        "claim_not_satisfied" => "a claim that the policy demands is missing or has another value",
        "claim_undecidable" => "a claim has another type than the policy speaks of",
        "decision_point_denied" => "the decision point refused it",
        "decision_point_unavailable" => "the decision point gave no usable answer",
        "decision_undecidable" => "an attribute of the request cannot be told to the decision point",
        "obligation_unknown" => "the decision point set an obligation that the policy does not let through",
        "outside_hours" => "the policy allows no calls at this time",
        "request_not_allowed" => "method, path parameter or header is not what the policy allows",
        "request_undecidable" => "the path parameter or claim that the policy compares is not there",
        "closed" => "the route was closed at once, by its annotation",
        "no_upstream_token" => "the token service gave no JWT for the application",
        "token_service_unavailable" => "the token service could not be asked",
        "route_not_found" => "no route claims this host and path",
        "method_not_allowed" => "the path is known, the method is not allowed",
        "ambiguous_fields" => {
            "a header field name that applications read in different ways, or one taken away by Connection"
        }
        "cors_preflight" => "a CORS preflight that the route leaves to the application",
        "cors_not_configured" => "a CORS preflight, and the route has no CORS settings",
        "cors_overloaded" => "too many CORS preflights of the route waited for the application",
        "cors_undecidable" => "a CORS preflight, and the rule's attribute rules or decision point need a caller",
        "trial_timeout" => "nobody knows, for it took too long",
        "trial_overloaded" => "nobody knows, for too many were on trial at once",
        "loop_detected" => "the request came back to the proxy that had sent it on",
        "not_ready" => "the proxy had no snapshot yet",
        "no_policy" => "no ApiPolicy says who may call the rule",
        "invalid_policy" => "an ApiPolicy that governs the rule is broken",
        "invalid_route" => "the ApiRoute itself is broken",
        "unresolved_reference" => "something that the policy refers to is missing",
        "upgrade_not_allowed" => "the rule does not allow to switch protocols",
        "upstream_timeout" => "the application did not answer within the rule's timeout",
        "upstream_unreachable" => "no connection to the application",
        "upstream_protocol_error" => "the application's answer was no valid HTTP",
        "upstream_overloaded" => "every connection to the application was in use",
        "incomplete_request_body" => "the client's body broke off",
        "client_left" => "the client left before there was an answer",
        other => other,
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
            "on trial   ApiPolicy default/next would deny: the policy allows no calls at this time",
        ] {
            assert!(story.contains(part), "{part}: {story}");
        }
    }
}
