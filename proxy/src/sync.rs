//! The proxy's end of the snapshot protocol: what it holds, the stream to the operator, last known good.

mod backoff;
mod client;
mod session;
mod store;

pub use client::{OperatorAddress, OperatorLink, Publish, run};
pub use session::{Refused, Session};
pub use store::{Store, StoreFault};
