//! Stage: who calls. Finds the caller, or says why there is none.

use portreeve_policy::NamespacedName;

use crate::{
    authn::{self, AuthenticationError, Caller, CredentialContext, Fingerprint, PeerCertificates, Presentation},
    clock::UnixMillis,
    pipeline::{
        CanonicalRequest, Challenge, ClientSide, Denial, Scheme,
        guard::{Authenticator, Guard},
    },
};

/// Why there is no caller.
pub(in crate::pipeline) struct Unauthenticated {
    pub(in crate::pipeline) denial: Denial,
    pub(in crate::pipeline) fingerprint: Option<Fingerprint>,
    /// The token service whose key set lacks the token's key.
    pub(in crate::pipeline) unknown_key_at: Option<NamespacedName>,
}

impl From<Denial> for Unauthenticated {
    fn from(denial: Denial) -> Self {
        Self { denial, fingerprint: None, unknown_key_at: None }
    }
}

/// What proofs are read from.
pub(in crate::pipeline) struct PresentedCredentials<'a> {
    pub(in crate::pipeline) request: &'a CanonicalRequest,
    pub(in crate::pipeline) side: &'a ClientSide,
    /// When the request was taken in.
    pub(in crate::pipeline) now: UnixMillis,
    pub(in crate::pipeline) certificates: Option<&'a PeerCertificates>,
}

pub(in crate::pipeline) async fn authenticate(
    guard: &Guard,
    presented: &PresentedCredentials<'_>,
    context: &CredentialContext,
) -> Result<Caller, Unauthenticated> {
    let challenge = &guard.challenge;
    let authenticators = match &guard.authenticator {
        Authenticator::Anonymous => return Ok(Caller::default()),
        Authenticator::AnyOf(authenticators) => authenticators,
    };
    let PresentedCredentials { request, side, now, certificates } = presented;
    // A scheme or host that nobody knows is that of no proof (RFC 9449 section 4.3).
    let scheme = match side.scheme.filter(|_| side.authority.is_some()) {
        Some(Scheme::Http) => "http",
        Some(Scheme::Https) => "https",
        None => "unknown",
    };
    let (host, port) = side.authority.as_ref().map_or((&request.host, request.port), |(host, port)| (host, *port));
    let presentation = Presentation::new(
        &request.method,
        scheme,
        host,
        port,
        &request.path,
        request.query.as_deref(),
        &request.headers,
        side.address.unwrap_or(side.peer),
        *now,
        *certificates,
    );
    let presentation = presentation.map_err(|fault| Denial::BrokenCredentials(fault, challenge.clone()))?;
    authenticators.verify(&presentation, context).await.map_err(|refused| match refused {
        authn::Unauthenticated::NoCredentials => Denial::NoCredentials(challenge.clone()).into(),
        authn::Unauthenticated::AuthenticationError { fault, fingerprint, unknown_key_at } => {
            Unauthenticated { denial: denial(fault, challenge), fingerprint, unknown_key_at }
        }
    })
}

fn denial(fault: AuthenticationError, challenge: &Challenge) -> Denial {
    match fault {
        AuthenticationError::Busy => Denial::Overloaded,
        AuthenticationError::Broken(fault) => Denial::BrokenCredentials(fault, challenge.clone()),
        AuthenticationError::Overloaded => Denial::ProofsOverloaded,
        AuthenticationError::Refused(refusal) => Denial::CredentialsRefused(refusal, challenge.clone()),
        AuthenticationError::Token(fault) => Denial::InvalidToken(fault, challenge.clone()),
        AuthenticationError::TooManyAttempts(seconds) => Denial::TooManyAttempts(seconds),
        AuthenticationError::Unavailable(fault) => Denial::TokenServiceUnavailable(fault),
    }
}
