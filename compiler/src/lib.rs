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
mod consent;
mod diagnostic;
pub mod diff;
mod duration;
mod emit;
mod external;
#[doc(hidden)]
pub mod fuzz;
mod gateway_client;
mod inventory;
mod limits;
pub mod manifest;
mod namespaces;
mod pattern;
mod pem;
mod references;
mod registration;
mod report;
mod report_token_service;
mod resolve;
mod scopes;
mod status;
mod strays;
mod token_services;
mod validate;

pub use access::Access;
pub use compiled::{Compiled, Findings, Progress, compile, compile_with};
pub use diagnostic::{Diagnostic, Severity};
pub use gateway_client::{GATEWAY_CLIENT_LABEL, gateway_clients, gateway_credentials, is_undecided};
pub use inventory::{
    Discovered, DiscoveredEndpoints, Inventory, MtlsAliases, Options, Pod, PortService, SigningKey, SkippedObject,
    Stray, uses_of_secret,
};
pub use references::{MAX_OF_NAMESPACE, MAX_OF_OBJECT, Reference, References, references};
pub use registration::{RegistrationTarget, ResolvedRegistration, ResolvedRotation, access_of, registration_target};
pub use resolve::{ca_certificates, minting_namespaces};
pub use scopes::ScopeOwners;
pub use status::{Condition, ConditionStatus, FleetView, ObjectStatus, PodView, statuses};
pub use token_services::dependencies;
