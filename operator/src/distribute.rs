//! One stream for each proxy: what it shall run goes down, what it runs comes up.
//!
//! INVARIANT: a stream is sent the resources of the pod that it was proven to come from, and nothing else.

mod certificate_authority;
mod credentials;
mod fleet;
mod listen;
mod publish;
mod review;
mod server;
mod session;
mod stream;

pub(crate) use certificate_authority::CertificateAuthority;
pub(crate) use credentials::Credentials;
use credentials::{AuthenticationError, ProvenPod};
use fleet::Workload;
pub(crate) use fleet::{Fleet, PodState, Workloads};
pub(crate) use listen::Incoming;
pub(crate) use publish::{Published, Publisher};
pub(crate) use review::by_token_review;
pub(crate) use server::SnapshotServer;
