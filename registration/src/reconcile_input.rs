//! What is true of one run: the time, and what people allow or ask for now.

use crate::{ReadBack, Secret};

/// Circumstances of one run; [`crate::Desired`] is what does not change with the hour.
#[derive(Clone, Copy)]
pub struct ReconcileInput<'a> {
    /// Seconds since 1970. This crate asks no clock.
    pub now: u64,
    /// Initial access token (RFC 7591 section 3); `None` where registration is open.
    pub initial_access_token: Option<&'a Secret>,
    /// Whether the server shall be asked how it describes the client now.
    pub read_back: ReadBack,
    /// The client_id that people allow to be given up, when it can no longer be managed. It names the client, so that a
    /// consent that was forgotten speaks of no later one.
    pub consent: Option<&'a str>,
    /// Any text; another one than the last asks for new credentials now.
    pub rotation_request: Option<&'a str>,
    /// Whether somebody still works with the credentials before the present ones; they are then kept past their time.
    pub old_in_use: bool,
}

impl<'a> ReconcileInput<'a> {
    /// Nothing but the time, and the initial access token if there is one.
    pub fn at(now: u64, initial_access_token: Option<&'a Secret>) -> Self {
        Self {
            now,
            initial_access_token,
            read_back: ReadBack::No,
            consent: None,
            rotation_request: None,
            old_in_use: false,
        }
    }
}
