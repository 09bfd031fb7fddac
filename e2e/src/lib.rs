//! End-to-end tests on real parts: a sample application, and the suite that runs on a real Kubernetes node.

pub mod failpoints;
pub mod hostile;
pub mod mutations;
pub mod sample_api;
pub mod suite;

mod kubectl;
mod report;
mod tokens;
mod traffic;
mod web;

use std::io::{Write as _, stdout};

/// One line on standard output. A reader that went away is no reason to end.
pub fn say(line: &str) {
    drop(writeln!(stdout(), "{line}"));
}
