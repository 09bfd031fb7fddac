//! Tokens of a token service as a credential: who is to verify which token, and what the rule asks of the facts.

use std::sync::{Arc, OnceLock};

use portreeve_policy::{Audiences, JwtType, MaxTokenAge, NamespacedName, ProofRule, UpstreamToken};

use super::{
    LookupFault, TokenDigest, TokenDigester, TokenServiceClient, TokenShape, VerificationError,
    authorization::AuthorizationField,
    binding::ProofFault,
    caller::{AcceptedCredential, CredentialKind},
    dpop,
    memory::CredentialMemory,
    presentation::{AuthenticationError, Presentation, TokenFault},
    saml::Assertion,
    shape,
    verified_credential::{Found, VerifiedCredential},
};
use crate::clock::UnixMillis;

/// How the facts of a token are found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenSource {
    /// The token service is asked.
    Introspection,
    /// The signature is verified.
    Signature(JwtType),
}

/// The token of a request, looked at as little as possible.
pub(super) struct SeenToken<'a> {
    pub(super) text: &'a str,
    pub(super) digest: TokenDigest,
    shape: OnceLock<TokenShape>,
    assertion: OnceLock<Option<Assertion>>,
}

impl<'a> SeenToken<'a> {
    pub(super) fn new(text: &'a str, digester: &TokenDigester) -> Self {
        Self { text, digest: digester.digest(text), shape: OnceLock::new(), assertion: OnceLock::new() }
    }

    /// Found out on first need.
    pub(super) fn shape(&self) -> &TokenShape {
        self.shape.get_or_init(|| shape(self.text))
    }

    /// What it says as a SAML assertion, if it is one; found out on first need.
    pub(super) fn assertion(&self) -> Option<&Assertion> {
        self.assertion.get_or_init(|| Assertion::read(self.text)).as_ref()
    }
}

/// A rule for tokens of one token service, ready.
pub(super) struct TokenVerifier {
    pub(super) source: TokenSource,
    /// For a token service that could not be built: refused with 503.
    pub(super) authority: Option<Arc<TokenServiceClient>>,
    pub(super) name: NamespacedName,
    pub(super) audiences: Audiences,
    pub(super) max_age: MaxTokenAge,
    pub(super) proof: ProofRule,
    pub(super) needs_jwt: bool,
}

impl TokenVerifier {
    pub(super) fn new(
        source: TokenSource,
        authority: Option<Arc<TokenServiceClient>>,
        name: &NamespacedName,
        audiences: &Audiences,
        max_age: MaxTokenAge,
        proof: &ProofRule,
        upstream: &UpstreamToken,
    ) -> Self {
        Self {
            source,
            authority,
            name: name.clone(),
            audiences: audiences.clone(),
            max_age,
            proof: proof.clone(),
            needs_jwt: Self::needs_jwt(upstream),
        }
    }

    fn needs_jwt(upstream: &UpstreamToken) -> bool {
        match upstream {
            UpstreamToken::Jwt => true,
            UpstreamToken::JwtOrMinted(_)
            | UpstreamToken::Minted(_)
            | UpstreamToken::None
            | UpstreamToken::Original => false,
        }
    }

    /// Whether this rule is the one to look at a token. Opaque tokens go to the first introspection; structured ones
    /// only to the token service that they name, so that no stranger ever sees them (I5).
    pub(super) fn is_for(&self, token: &SeenToken<'_>) -> bool {
        match (token.shape(), self.source) {
            (TokenShape::Opaque, TokenSource::Introspection) => true,
            (TokenShape::Opaque, TokenSource::Signature(_)) => false,
            (TokenShape::Structured { issuer }, _) => {
                self.authority.as_ref().is_some_and(|known| issuer.as_deref() == Some(known.issuer()))
            }
        }
    }

    /// Facts that are held of a token: it was found to be for this rule before, and is not taken apart again.
    pub(super) fn lookup(&self, token: &SeenToken<'_>, now: UnixMillis) -> Option<Arc<VerifiedCredential>> {
        let authority = self.authority.as_ref()?;
        match self.source {
            TokenSource::Introspection => authority.cached_answer(&token.digest, now),
            TokenSource::Signature(_) => authority.cached_signature(&token.digest, now),
        }
    }

    pub(super) async fn verify(
        &self,
        presentation: &Presentation<'_>,
        token: &SeenToken<'_>,
        cached: Option<Arc<VerifiedCredential>>,
        memory: &CredentialMemory,
        now: UnixMillis,
    ) -> Result<AcceptedCredential, AuthenticationError> {
        let (token, digest) = (token.text, token.digest);
        let Some(authority) = &self.authority else {
            return Err(AuthenticationError::Unavailable(VerificationError::Lookup(LookupFault::Unavailable)));
        };
        let found: Found = match (cached, self.source) {
            (Some(credential), TokenSource::Introspection) => TokenServiceClient::reuse_answer(credential, now),
            (Some(credential), TokenSource::Signature(_)) => TokenServiceClient::reuse_signature(credential, now),
            // Boxed: only a question needs the room.
            (None, TokenSource::Introspection) => {
                let client = memory.asker(presentation.client);
                Box::pin(authority.introspect(token, digest, &client)).await
            }
            (None, TokenSource::Signature(_)) => authority.verify(token, digest),
        };
        let (credential, cache) = found.map_err(unproven)?;
        // The verdict is made anew on every use of a fact (I1).
        self.check(&credential, now)?;
        check_possession(&credential, presentation, token, &self.proof, memory, now)?;
        let kind = match self.source {
            TokenSource::Introspection => CredentialKind::Introspection,
            TokenSource::Signature(_) => CredentialKind::Jwt,
        };
        let issuer = Some(authority.issuer_shared());
        Ok(AcceptedCredential { kind, credential, digest, cache: Some(cache), issuer })
    }

    fn check(&self, credential: &VerifiedCredential, now: UnixMillis) -> Result<(), AuthenticationError> {
        if let TokenSource::Signature(wanted) = self.source
            && !credential.is_of(wanted)
        {
            return Err(AuthenticationError::Token(TokenFault::Verification(VerificationError::Jwt(
                super::JwtFault::Type,
            ))));
        }
        if !self.audiences.accept(credential.claims().audiences()) {
            return Err(AuthenticationError::Token(TokenFault::Audience));
        }
        let claims = credential.claims();
        if !self.max_age.allows(claims.issued_at().map(|at| at.0), claims.expires_at().map(|at| at.0)) {
            return Err(AuthenticationError::Token(TokenFault::TooLongLived));
        }
        if self.needs_jwt && credential.upstream_jwt(now).is_none() {
            return Err(AuthenticationError::Token(TokenFault::NoUpstreamJwt));
        }
        Ok(())
    }
}

/// A fault of the token service is told apart from one of the token.
pub(super) fn unproven(fault: VerificationError) -> AuthenticationError {
    match fault {
        VerificationError::Inactive | VerificationError::Jwt(_) => {
            AuthenticationError::Token(TokenFault::Verification(fault))
        }
        VerificationError::Lookup(LookupFault::Braked) => AuthenticationError::TooManyAttempts(1),
        VerificationError::KeysUnavailable | VerificationError::Lookup(_) => AuthenticationError::Unavailable(fault),
    }
}

/// Whether the sender is the one to whom the token is bound (RFC 8705 section 3, RFC 9449 section 7.1).
fn check_possession(
    credential: &VerifiedCredential,
    presentation: &Presentation<'_>,
    token: &str,
    rule: &ProofRule,
    memory: &CredentialMemory,
    now: UnixMillis,
) -> Result<(), AuthenticationError> {
    let fault = |fault| Err(AuthenticationError::Token(TokenFault::Proof(fault)));
    let binding = credential.claims().binding();
    if !binding.satisfies(rule) {
        return fault(ProofFault::Unbound);
    }
    if let Some(wanted) = binding.certificate()
        && presentation.certificates.is_none_or(|shown| shown.thumbprint() != wanted)
    {
        return fault(ProofFault::Certificate);
    }
    match (binding.dpop(), presentation.authorization) {
        (Some(key), AuthorizationField::Dpop(_)) => dpop::check(presentation, token, key, rule, memory, now),
        // A bound token must not pass as a plain one (section 7.2), nor an unbound one as bound.
        (Some(_), _) | (None, AuthorizationField::Dpop(_)) => fault(ProofFault::Scheme),
        (None, _) => Ok(()),
    }
}
