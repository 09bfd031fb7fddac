//! Stage: who calls. Finds the caller, or says why there is none.

use portreeve_policy::{NamespacedName, RefusalReason};

use crate::{
    authn::{
        AuthenticationError, Caller, CredentialContext, Fingerprint, PeerCertificates, Presentation, Unauthenticated,
    },
    clock::UnixMillis,
    pipeline::{CanonicalRequest, Challenge, ClientSide, Denial, Scheme, runtime::RuleAuthenticator},
};

/// Why there is no caller.
pub(in crate::pipeline) struct Refused {
    pub(in crate::pipeline) denial: Denial,
    pub(in crate::pipeline) fingerprint: Option<Fingerprint>,
    /// The token service whose key set lacks the token's key.
    pub(in crate::pipeline) unknown_key_at: Option<NamespacedName>,
}

impl From<Denial> for Refused {
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
    gate: &RuleAuthenticator,
    challenge: &Challenge,
    shown: &PresentedCredentials<'_>,
    context: &CredentialContext,
) -> Result<Caller, Refused> {
    let authenticators = match gate {
        RuleAuthenticator::Anonymous => return Ok(Caller::default()),
        RuleAuthenticator::Authenticators(authenticators) => authenticators,
        RuleAuthenticator::Broken(_) => return Err(Denial::RuleRefuses(RefusalReason::InvalidPolicy).into()),
    };
    let PresentedCredentials { request, side, now, certificates } = shown;
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
    authenticators.prove(&presentation, context).await.map_err(|refused| match refused {
        Unauthenticated::NoCredentials => Denial::NoCredentials(challenge.clone()).into(),
        Unauthenticated::AuthenticationError { fault, fingerprint, unknown_key_at } => {
            Refused { denial: denial(fault, challenge), fingerprint, unknown_key_at }
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
