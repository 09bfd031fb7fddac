//! The operator: from objects to snapshots in proxies, and back to statuses.
//!
//! In: Portreeve's objects, from a cluster or from a folder of files. Out: one stream of updates for each proxy,
//! statuses, and OAuth clients at token services.
//!
//! ```text
//! inventory ──▶ controller::compile ──▶ distribute ──▶ proxies
//!     ▲              │       ▲              │ acks
//! outbound      register     └── workloads ─┤
//! (keys)             └──▶ controller::status ◀
//! ```
//!
//! INVARIANTS
//! - Nothing is compiled before every source has been read once, so absence is never acted on by mistake.
//! - Every replica compiles and serves; only the leader writes and talks to registration endpoints.
//! - Secrets are in no log, status, event or metric.

mod admin;
pub mod app;
pub mod args;
mod atomic_file;
mod clock;
mod controller;
mod distribute;
mod inventory;
mod lease;
mod outbound;
mod readiness;
mod register;
mod signing;
pub mod telemetry;
