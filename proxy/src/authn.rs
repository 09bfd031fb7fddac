//! Who calls. In: what a request shows. Out: verified facts about its owner, or the reason why there are none.
//!
//! INVARIANTS
//! - Every credential becomes claims: whatever proved the caller, authorization sees one kind of fact.
//! - [`Verified`] is made only here: by a verifier, or from an introspection answer with `active: true`.
//! - Caches hold facts, never verdicts: audience, type, binding and expiry are looked at on every request.
//! - A fault of the token service is never taken for a fact about a token.

mod answer;
mod api_key;
mod attempts;
mod authorization;
mod basic;
mod binding;
mod budget;
mod caller;
mod certificate;
mod claim_texts;
mod claims;
mod client_authentication;
mod digest;
mod dpop;
mod exchange;
pub(crate) mod fuzz;
mod introspect;
mod memoized;
mod single_flight;
mod verified_credential;
use crate::strict_json as json;
mod build_inputs;
mod jwt;
mod key_ring;
mod memory;
mod mint;
mod presentation;
mod saml;
mod shares;
#[cfg(test)]
pub(crate) mod signed_tokens;
mod signer;
mod token;
mod token_cache;
mod token_kind;
mod token_service_client;
mod upstream_token;
mod verifier;

/// What docs/limits.md tells of.
pub(crate) mod bounds {
    pub(crate) use super::{
        attempts::{ADDRESS, PAIR, USER},
        basic::QUEUE_TIME,
        budget::{BURST, PER_SECOND},
        memory::HASHES_WAITING,
    };
    pub(crate) use crate::bulkhead::{QUESTIONS, QUESTIONS_WAITING};
}

pub use crate::outbound::InvalidEndpoint;
pub use answer::AnswerFault;
pub use api_key::remove_api_key;
pub use authorization::{AuthorizationField, CredentialFault};
pub use binding::ProofFault;
pub use build_inputs::{BuildInputs, CarriedState};
pub use caller::{AcceptedCredential, Caller, CredentialKind, Unauthenticated};
pub use claims::{Claims, Verified};
pub use introspect::LookupFault;
pub use jwt::{JwtFault, TokenShape, shape, verify_jws};
pub(crate) use memoized::Derived;
pub use memory::{CredentialMemory, NonceUse};
pub use mint::Minter;
pub use presentation::{AuthenticationError, CredentialRefusal, PeerCertificates, Presentation, TokenFault};
pub use token_cache::{Fingerprint, TokenDigest, TokenDigester};
pub use token_service_client::TokenServiceClient;
pub use upstream_token::UpstreamCredential;
pub use verified_credential::{CacheState, Origin, VerificationError, VerifiedCredential};
pub use verifier::{Authenticators, CredentialContext};
