//! The proof that a request may go on.

use portreeve_policy::Authorization;

use super::scopes::{self, InsufficientScope};
use crate::authn::Fact;

/// Proof that [`authorize`] said yes.
#[derive(Debug)]
pub struct Permit(());

/// A value that may go upstream. Only this file can make one.
#[derive(Debug)]
pub struct Permitted<T> {
    inner: T,
    _permit: Permit,
}

/// Decides. `fact` is `None` for a caller who is nobody.
pub fn authorize(authorization: &Authorization, fact: Option<&Fact>) -> Result<Permit, InsufficientScope> {
    match authorization {
        Authorization::Anyone => {}
        Authorization::Scopes(rule) => scopes::check(rule, fact)?,
    }
    Ok(Permit(()))
}

/// A CORS preflight carries no credentials and asks only whether a request may be sent; the application answers it. The
/// request itself is decided like any other.
pub fn permit_preflight() -> Permit {
    Permit(())
}

impl Permit {
    /// Binds the proof to what it was given for.
    pub fn bind<T>(self, inner: T) -> Permitted<T> {
        Permitted { inner, _permit: self }
    }
}

impl<T> Permitted<T> {
    /// The value, at the door of the upstream.
    pub fn into_inner(self) -> T {
        self.inner
    }
}
