//! What a caller may do. In: a rule's authorization and the caller's facts. Out: a permit or a denial.

mod permit;
mod scopes;

pub use permit::{Permit, Permitted, authorize, permit_preflight};
pub use scopes::InsufficientScope;
