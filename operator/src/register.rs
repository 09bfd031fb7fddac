//! ClientRegistrations as OAuth clients: Secrets or files, and the journal, around `portreeve-registration`.
//!
//! INVARIANTS
//! - Only the leader calls a registration endpoint; one registration is worked on once at a time.
//! - A Secret that is not ours is never overwritten.
//! - An object is taken to be gone only when the source is known to be complete.

mod cluster_store;
mod conditions;
mod credentials;
mod desired;
mod end;
mod file_store;
mod grant;
mod keys;
mod pods;
mod registrar;
mod report;
mod store;
mod work;

pub(crate) use cluster_store::ClusterStore;
pub(crate) use file_store::FileStore;
pub(crate) use registrar::{DesiredState, Registrar, RegistrarSettings};
pub(crate) use report::{RegistrationFacts, RegistrationReport};
pub(crate) use store::Store;
