//! The stages, one file each. Their order is in [`order`](super::order).

pub(super) mod arrival;
pub(super) mod authenticate;
pub(super) mod authorize;
pub(super) mod credentials;
pub(super) mod decide;
pub(super) mod fields;
pub(super) mod limit;
pub(super) mod route;
pub(super) mod shadow;
pub(super) mod upgrade;
