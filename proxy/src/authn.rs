//! Who calls. In: the credential of a request. Out: verified facts about its owner, or the reason why there are none.
//!
//! INVARIANTS
//! - [`Verified`] is made only here, by the JWT verifier or from an introspection answer with `active: true`.
//! - Caches hold facts, never verdicts: audience, scope and expiry are looked at on every request.
//! - A fault of the token service is never taken for a fact about a token.

mod answer;
mod bearer;
mod claims;
mod derived;
mod flight;
mod introspect;
use crate::strict_json as json;
mod jwt;
mod key_ring;
mod provider;
mod token_cache;

pub use crate::outbound::InvalidEndpoint;
pub use answer::AnswerFault;
pub use bearer::{Bearer, CredentialFault, bearer};
pub use claims::{Claims, Verified};
pub use introspect::LookupFault;
pub use jwt::{JwtFault, TokenShape, shape};
pub use provider::{Authority, CacheState, Fact, FactFault};
pub use token_cache::{Fingerprint, TokenDigest, TokenDigester};
