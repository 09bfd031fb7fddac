//! The policy enforcement point beside every pod. It knows nothing of Kubernetes: its whole world is a snapshot and a
//! bootstrap of a few environment variables.
//!
//! A request goes bytes → [`pipeline::CanonicalRequest`] → matched rule → facts of the caller → [`authz::Permitted`] →
//! upstream → decision record; any refusal on the way is a [`pipeline::Denial`], answered in one place.
//!
//! INVARIANTS
//! - Nothing reaches the upstream without a [`authz::Permitted`].
//! - What is matched, decided and forwarded is one value.
//! - Everything that can fail is built before the swap; a request holds one immutable runtime to its end.
//! - No snapshot: not ready, and every request is refused.

mod admin;
pub mod app;
pub mod authn;
pub mod authz;
pub mod bootstrap;
mod bounded_cache;
pub mod bounds;
mod bulkhead;
pub mod clock;
#[doc(hidden)]
pub mod fuzz;
mod heap_size;
pub mod in_process;
pub mod limits;
pub mod outbound;
pub mod peer;
pub mod pipeline;
pub mod pressure;
mod strict_json;
pub mod sync;
pub mod telemetry;
pub mod transport;

/// Counts what is allocated, so that tests can hold footprints against it.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
