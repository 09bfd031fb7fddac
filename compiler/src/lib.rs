//! Compiles Portreeve's objects into policy snapshots.
//!
//! In: an [`Inventory`], an immutable view of the objects. Out: [`Compiled`], one snapshot for each pod, findings for
//! each object, diagnostics. The passes are validate, resolve, attach, emit, in this order.
//!
//! INVARIANTS
//! - [`compile`] is total: it never fails, never panics, does no IO, reads no clock, and gives the same value for the
//!   same input in any order.
//! - Broken input gives a diagnostic *and* a refusal for just the rules that it touches, never silence.
//! - A namespace's objects change no other namespace's snapshots, unless a grant of the owner says so.

mod access;
mod attach;
mod cedar;
mod collide;
mod compiled;
mod diagnostic;
mod duration;
mod emit;
mod external;
#[doc(hidden)]
pub mod fuzz;
mod inventory;
pub mod manifest;
mod pem;
mod report;
mod resolve;
mod status;
mod validate;

pub use access::{Access, decide_access};
pub use compiled::{Compiled, Findings, Progress, compile, compile_with};
pub use diagnostic::{Diagnostic, Severity};
pub use inventory::{
    Discovered, DiscoveredEndpoints, Inventory, MtlsAliases, Options, Pod, PortService, SigningKey, SkippedObject,
    Stray,
};
pub use resolve::{
    RegistrationTarget, ResolvedRegistration, ResolvedRotation, ca_certificates, gateway_credentials,
    minting_namespaces, registration_target,
};
pub use status::{Condition, ConditionStatus, FleetView, ObjectStatus, PodView, statuses};
