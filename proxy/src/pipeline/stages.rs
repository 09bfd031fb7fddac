//! The stages in their fixed order, one file each.

pub(super) mod authenticate;
pub(super) mod authorize;
pub(super) mod credentials;
pub(super) mod route;
pub(super) mod shadow;
pub(super) mod upgrade;
