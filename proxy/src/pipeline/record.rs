//! One record for each decision: what was asked, by whom, what was decided, by which rule, and why.

use std::{
    io::Write,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use portreeve_policy::PolicyOrigin;
use prometheus::IntCounter;
use serde::Serialize;

use crate::{
    authn::{CacheState, Fingerprint},
    clock::UnixMillis,
};

/// A decision, as a line of JSON; where policies are on trial, with a last member `shadow` that lists what they would
/// have decided. Holds no credential and no header of the caller.
#[derive(Debug, Serialize)]
pub struct DecisionRecord<'a> {
    /// Always `decision`, to be told from other lines of the same stream.
    pub log: &'static str,
    /// When the request was taken in, RFC 3339.
    pub time: String,
    /// Stands in the answer too.
    pub decision_id: &'a str,
    /// Address of the client.
    pub client_address: String,
    /// Address of the peer, where trusted proxies stand between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_address: Option<String>,
    /// Method, if the request was understood.
    pub method: Option<&'a str>,
    /// Host, if the request was understood.
    pub host: Option<&'a str>,
    /// Canonical path without query, if the request was understood.
    pub path: Option<&'a str>,
    /// `namespace/name` of the ApiRoute.
    pub route: Option<String>,
    /// Rule within it.
    pub rule: Option<&'a str>,
    /// Policies that had the say, with their generations.
    pub policies: &'a [PolicyOrigin],
    /// Revision of the snapshot that decided.
    pub revision: u64,
    /// `permit`, `deny`, or `abandoned` when the client left before there was a decision.
    pub outcome: &'static str,
    /// One of a closed set; `permitted` for a permit, `client_left` with no status when the client left before the answer.
    pub reason: &'static str,
    /// More about the reason.
    pub detail: Option<String>,
    /// Status of the answer.
    pub status: Option<u16>,
    /// Issuer of the token that was accepted.
    pub issuer: Option<&'a str>,
    /// `sub` of the token that was accepted.
    pub subject: Option<&'a str>,
    /// `client_id` of the token that was accepted.
    pub client_id: Option<&'a str>,
    /// Recognises a credential without being one.
    pub credential_fingerprint: Option<Fingerprint>,
    /// Where the facts about the token came from.
    pub token_cache: Option<CacheState>,
    /// Time to the head of the answer.
    pub duration_ms: f64,
}

/// Takes lines to a thread of its own, so that no request waits for a disk or a pipe.
#[derive(Clone)]
pub struct Records {
    lines: SyncSender<String>,
    dropped: IntCounter,
}

/// Lines that wait at the most.
const QUEUE: usize = 16_384;

impl Records {
    /// Starts the thread that writes to `sink`; it ends when the last `Records` is gone.
    pub fn start(mut sink: impl Write + Send + 'static, dropped: IntCounter) -> std::io::Result<Self> {
        let (lines, waiting): (_, Receiver<String>) = sync_channel(QUEUE);
        std::thread::Builder::new().name("records".to_owned()).spawn(move || {
            while let Ok(line) = waiting.recv() {
                let more = std::iter::from_fn(|| waiting.try_recv().ok());
                for line in std::iter::once(line).chain(more.take(256)) {
                    // A sink that is gone (a closed pipe) must not stop the proxy.
                    drop(writeln!(sink, "{line}"));
                }
                drop(sink.flush());
            }
        })?;
        Ok(Self { lines, dropped })
    }

    /// Hands a record over. With no room left it is counted as dropped: traffic is never held up by its own log.
    pub fn put(&self, record: &impl Serialize) {
        match serde_json::to_string(record) {
            Ok(line) => self.put_line(line),
            Err(_) => self.dropped.inc(),
        }
    }

    /// The same for a record that is a line already.
    pub(super) fn put_line(&self, line: String) {
        if self.lines.try_send(shown(line)).is_err() {
            self.dropped.inc();
        }
    }
}

/// A line of JSON in which nothing but text stands: JSON leaves DEL and the controls above it as they are, and whoever looks
/// at a log looks at it on a terminal (S2).
fn shown(line: String) -> String {
    let plain = |c: char| !matches!(c, '\u{7f}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if (line.is_ascii() && !line.contains('\u{7f}')) || line.chars().all(plain) {
        return line;
    }
    let mut text = String::with_capacity(line.len().saturating_mul(2));
    for character in line.chars() {
        if plain(character) {
            text.push(character);
        } else {
            text.push_str(&format!("\\u{:04x}", u32::from(character)));
        }
    }
    text
}

/// RFC 3339 in UTC with milliseconds.
pub(super) fn rfc3339(time: UnixMillis) -> String {
    let (seconds, millis) = (time.0 / 1000, time.0 % 1000);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 1970 to a date, counted in years that begin on 1 March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s2_a_line_holds_no_control_character_and_says_the_same() {
        let hostile = "a\r\n\u{0}\u{1b}[2J\u{7f}\u{85}\u{9b}31m\u{2028}\u{202e}\u{2066}\u{e4}\"\\";
        let line = shown(serde_json::json!({ "subject": hostile }).to_string());
        assert!(!line.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{202e}' | '\u{2066}')), "{line:?}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["subject"], hostile);
    }

    #[test]
    fn writes_rfc_3339() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_001, "2000-02-29T00:00:00.001Z"),
            (1_795_392_000_000, "2026-11-23T00:00:00.000Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(UnixMillis(millis)), text);
        }
    }
}
