//! What a caller may do. In: a rule's conditions, made ready before the swap, and the facts of a request. Out: a permit,
//! or why not.
//!
//! INVARIANTS
//! - Only [`Judgement::Holds`](portreeve_policy::Judgement) of every condition makes a [`Permit`]; a fault refuses.
//! - A verdict is made for each request; nothing here remembers one but under everything that it was made from.

mod authorizer;
mod cedar;
mod external;
mod parameters;
mod permit;
mod principal;
mod protocol;
mod request;
mod values;

pub use authorizer::{Authorizer, InvalidAuthorizer};
pub use cedar::InvalidCedar;
pub use parameters::PathParameters;
pub use permit::{Forbidden, Permit, Permitted, Refusal};

use std::net::IpAddr;

use http::HeaderMap;

use crate::{authn::VerifiedCredential, clock::UnixMillis};

/// A request, as far as conditions look at it.
#[derive(Clone)]
pub struct AuthorizationInput<'a> {
    /// The caller; `None` for nobody.
    pub caller: Option<&'a VerifiedCredential>,
    /// The real client's address; `None` where a trusted proxy does not tell it. Nothing that looks at it holds then.
    pub address: Option<IpAddr>,
    /// Whether the client spoke TLS; `None` where a trusted proxy cannot be understood.
    pub tls: Option<bool>,
    /// Method.
    pub method: &'a str,
    /// Host as the client named it, without port; `None` where a trusted proxy cannot be understood.
    pub host: Option<&'a str>,
    /// Canonical path.
    pub path: &'a str,
    /// Parameters of the template that matched.
    pub parameters: PathParameters<'a>,
    /// Header fields, as they are matched and forwarded.
    pub headers: &'a HeaderMap,
    /// When it was taken in.
    pub now: UnixMillis,
}
