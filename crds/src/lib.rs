//! The objects of Portreeve in `portreeve.dev/v1alpha1`: what people write, what status tells them.
//!
//! In: JSON as the API server or a file holds it. Out: typed objects, or an [`Unreadable`] that names the place.
//! The types say shape and bounds; what needs a second object to judge is the compiler's.
//!
//! INVARIANT: no reference to a Secret or ConfigMap names a namespace.

#![expect(unreachable_pub, reason = "the schema derive writes helper types into function bodies")]
#![expect(
    clippy::duplicated_attributes,
    clippy::derive_partial_eq_without_eq,
    reason = "the words of the resource derive"
)]

mod conditions;
mod object;
mod refs;
pub mod v1alpha1;

pub use conditions::{ConditionReason, ConditionType};
pub use object::{FieldFault, Object, ObjectKind, ObjectRef, Unreadable, read_object, read_strictly};
pub use refs::{CaBundleRef, CaBundleRefKind, ConfigMapKeyRef, LocalRef, SecretKeyRef, TokenServiceRef};

/// API group of every kind.
pub const GROUP: &str = "portreeve.dev";

/// Group and version as they stand in manifests.
pub const API_VERSION: &str = "portreeve.dev/v1alpha1";
