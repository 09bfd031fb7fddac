//! What follows from the inventory: compiled policy for proxies, statuses for people.

mod compile;
mod fleet_view;
mod status;
mod status_cluster;
mod status_file;
mod status_loop;
mod status_sink;
mod stored;
mod watchdog;

pub(crate) use compile::{Compilation, CompileLoop, Inputs};
pub(crate) use status_cluster::ClusterStatuses;
pub(crate) use status_file::StatusFiles;
pub(crate) use status_loop::{StatusInputs, run as run_statuses};
pub(crate) use status_sink::StatusSink;
use stored::Verdict;
pub(crate) use watchdog::Watchdog;
