//! One record for each decision: what was asked, by whom, what was decided, by which rule, and why.

use std::{borrow::Cow, time::Duration};

use jiff::Timestamp;
use portreeve_policy::{PolicyOrigin, Reason};
use serde::Serialize;

use crate::{
    authn::{CacheState, CredentialKind, Fingerprint},
    clock::UnixMillis,
};

/// A decision, as a line of JSON; where policies are in dry run, with a last member `shadow` that lists what they would
/// have decided. Its texts are bounded. Holds no credential and no header of the caller.
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
    pub method: Option<Cow<'a, str>>,
    /// Host, if the request was understood.
    pub host: Option<Cow<'a, str>>,
    /// Canonical path without query, if the request was understood.
    pub path: Option<Cow<'a, str>>,
    /// `namespace/name` of the ApiRoute.
    pub route: Option<String>,
    /// Rule within it.
    pub rule: Option<&'a str>,
    /// Policies that applied, with their generations.
    pub policies: &'a [PolicyOrigin],
    /// Revision of the snapshot that decided.
    pub revision: u64,
    /// `permit`, `deny`, or `abandoned` when the client left before there was a decision.
    pub outcome: &'static str,
    /// One of a closed set; `permitted` for a permit, `client_left` with no status when the client left before the answer.
    pub reason: Reason,
    /// More about the reason.
    pub detail: Option<Cow<'a, str>>,
    /// Status of the answer.
    pub status: Option<u16>,
    /// Issuer of the token that was accepted.
    pub issuer: Option<Cow<'a, str>>,
    /// `sub` of the token that was accepted.
    pub subject: Option<Cow<'a, str>>,
    /// `client_id` of the token that was accepted.
    pub client_id: Option<Cow<'a, str>>,
    /// Kind of the credential that names the caller, as ApiPolicy spells it.
    pub credential_kind: Option<CredentialKind>,
    /// Recognises a credential without being one.
    pub credential_fingerprint: Option<Fingerprint>,
    /// Where the facts about the token came from.
    pub token_cache: Option<CacheState>,
    /// Time to the head of the answer.
    pub duration_ms: f64,
}

/// Bytes of one text of a record at the most: a longer one is cut, and says so by its last character.
pub(crate) const MAX_TEXT: usize = 1024;

/// The text as a record holds it.
pub(super) fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_TEXT {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}…", text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default()))
}

/// Milliseconds, to the microsecond: more digits say nothing.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a request fit a double")]
    let micros = duration.as_micros() as f64;
    micros / 1000.0
}

/// RFC 3339 in UTC with milliseconds.
pub(super) fn rfc3339(time: UnixMillis) -> String {
    let moment = i64::try_from(time.0).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    format!("{:.3}", moment.unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m6_a_long_text_is_cut_between_characters_and_says_so() {
        let long = format!("{}ää", "x".repeat(MAX_TEXT - 1));
        assert_eq!(cut(&long), format!("{}…", "x".repeat(MAX_TEXT - 1)));
        let fits = "x".repeat(MAX_TEXT);
        assert_eq!(cut(&fits), fits);
    }

    #[test]
    fn durations_have_three_decimals_at_the_most() {
        for (nanos, text) in [(160_977_999, "160.977"), (999, "0.0"), (1_500_000, "1.5"), (698_674, "0.698")] {
            assert_eq!(serde_json::to_string(&milliseconds(Duration::from_nanos(nanos))).unwrap(), text);
        }
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
