//! The access log: sampled, and written when an exchange has ended, with its bytes. Apart from the decision record,
//! which is written for every request as soon as there is an answer.

use std::str::FromStr;

use serde::Serialize;
use tokio::time::Instant;

use super::record;
use crate::clock::UnixMillis;

/// One exchange in how many is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    Off,
    /// One in this many.
    OneIn(u64),
}

/// A text that is neither `off` nor `1/N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected off, or 1/N such as 1/100")]
pub struct InvalidAccessLog;

/// A line of the access log.
#[derive(Debug, Serialize)]
pub(super) struct AccessEntry {
    log: &'static str,
    time: String,
    decision_id: String,
    method: String,
    host: String,
    path: String,
    status: u16,
    bytes: u64,
    whole: bool,
    duration_ms: f64,
    #[serde(skip)]
    started: Instant,
}

impl AccessLog {
    /// Whether this exchange is one to log; decided by its number, which ends its decision id.
    pub(super) fn takes(self, decision_id: &str) -> bool {
        match self {
            Self::Off => false,
            Self::OneIn(many) => {
                let number = decision_id.get(16..).and_then(|digits| u64::from_str_radix(digits, 16).ok());
                number.unwrap_or(0).is_multiple_of(many)
            }
        }
    }
}

impl FromStr for AccessLog {
    type Err = InvalidAccessLog;

    fn from_str(text: &str) -> Result<Self, InvalidAccessLog> {
        match text.split_once('/') {
            None if text == "off" => Ok(Self::Off),
            Some(("1", many)) => many.parse().ok().filter(|many| *many > 0).map(Self::OneIn).ok_or(InvalidAccessLog),
            _ => Err(InvalidAccessLog),
        }
    }
}

impl AccessEntry {
    pub(super) fn new(
        taken_in: UnixMillis,
        started: Instant,
        decision_id: String,
        (method, host, path): (String, String, String),
        status: u16,
    ) -> Self {
        let time = record::rfc3339(taken_in);
        Self {
            log: "access",
            time,
            decision_id,
            method,
            host,
            path: record::cut(&path).into_owned(),
            status,
            bytes: 0,
            whole: false,
            duration_ms: 0.0,
            started,
        }
    }

    /// The exchange has ended.
    pub(super) fn ended(self, bytes: u64, whole: bool) -> Self {
        Self { bytes, whole, duration_ms: record::milliseconds(self.started.elapsed()), ..self }
    }
}
