//! The snapshot protocol between operator and proxy.
//!
//! In at the operator: a [`portreeve_policy::Snapshot`]. Out at the proxy: the same value, or every fault by resource
//! name. A resource travels as `{kind, name, digest, payload}`; an update is the delta to a named set whose digest both
//! ends compute, so that they can tell that they agree.
//!
//! INVARIANT: encoding cannot fail; decoding trusts nothing, not even the sender's digest.

mod decode;
mod digest;
mod encode;
#[doc(hidden)]
pub mod fuzz;
mod update;

/// Messages and service stubs made from `proto/snapshot.proto`. They stop at the two ends of the stream.
#[allow(
    clippy::allow_attributes,
    unused_qualifications,
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::nursery,
    clippy::restriction,
    reason = "generated code"
)]
pub mod proto {
    tonic::include_proto!("portreeve.snapshot.v1");
}

pub use decode::{DecodedResource, InvalidResource, decode_resource, refusing_route};
pub use digest::{Digest, InvalidDigest, SetDigest, set_digest};
pub use encode::{EncodedResource, encode_route, encode_secret, encode_token_service};
pub use update::{InvalidUpdate, ResourceSet, Update};

/// Longest payload after decompression, in bytes.
pub const MAX_PAYLOAD: usize = 8 * 1024 * 1024;

/// Audience of the ServiceAccount token that a proxy presents.
pub const TOKEN_AUDIENCE: &str = "portreeve";

/// Longest message on the stream, in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024 * 1024;
