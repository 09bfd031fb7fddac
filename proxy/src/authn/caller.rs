//! Who calls, once it is known, or why nobody does.

use std::sync::Arc;

use portreeve_policy::NamespacedName;
use serde::Serialize;

use super::{
    CacheState, Fingerprint, TokenDigest, VerifiedCredential, presentation::AuthenticationError,
    upstream_token::UpstreamCredential,
};

/// The caller, as far as known.
#[derive(Clone, Default)]
pub struct Caller {
    /// Every credential that was verified; the first names the caller. None: nobody.
    pub verified: Vec<AcceptedCredential>,
    /// What the upstream gets.
    pub upstream: UpstreamCredential,
    /// Whether the upstream gets the client's certificate.
    pub forwards_certificate: bool,
}

/// Why there is no caller.
#[derive(Debug)]
pub enum Unauthenticated {
    /// Nothing that any alternative asks for.
    NoCredentials,
    /// Something that does not count.
    AuthenticationError {
        /// Why.
        fault: AuthenticationError,
        /// Recognises the credential.
        fingerprint: Option<Fingerprint>,
        /// The token service whose key set lacks the token's key.
        unknown_key_at: Option<NamespacedName>,
    },
}

impl From<AuthenticationError> for Unauthenticated {
    fn from(fault: AuthenticationError) -> Self {
        Self::AuthenticationError { fault, fingerprint: None, unknown_key_at: None }
    }
}

/// A credential that was verified.
#[derive(Clone)]
pub struct AcceptedCredential {
    /// Its kind.
    pub kind: CredentialKind,
    /// What is known of its owner.
    pub credential: Arc<VerifiedCredential>,
    /// Recognises the credential.
    pub digest: TokenDigest,
    /// Whether what is known came from a cache, for tokens.
    pub cache: Option<CacheState>,
    /// `iss` of the token service that vouches for it.
    pub issuer: Option<Arc<str>>,
}

/// Kinds of credential, as ApiPolicy names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names of the API")]
pub enum CredentialKind {
    ApiKey,
    Basic,
    ClientCertificate,
    Digest,
    Exchange,
    Introspection,
    Jwt,
}

impl Caller {
    /// What is known of the one who calls; nothing of nobody.
    pub fn verified(&self) -> Option<&Arc<VerifiedCredential>> {
        self.verified.first().map(|verified| &verified.credential)
    }
}
