//! Tokens of partners, exchanged at the own token service (RFC 8693, RFC 7523, RFC 7522). The partner's token never counts
//! by itself, and never goes upstream.

mod issued;

use std::{sync::Arc, time::Duration};

use issued::read;
use portreeve_policy::{ExchangeGrant, ExchangeRule, ExchangeSubject, JwtType, NamespacedName};
use quick_cache::sync::Cache;

use super::{
    AnswerFault, CacheState, CredentialContext, JwtFault, LookupFault, TokenDigest, TokenDigester, TokenServiceClient,
    TokenShape, VerificationError, VerifiedCredential,
    authorization::AuthorizationField,
    caller::{AcceptedCredential, CredentialKind},
    client_authentication::form_encode,
    introspect::ClientEndpoint,
    jwt,
    presentation::{AuthenticationError, Presentation, TokenFault},
    single_flight::SingleFlight,
    token::{SeenToken, unproven},
    token_service_client::Asker,
};
use crate::{
    bounded_cache::{BoundedCache, Held},
    bulkhead::Place,
    clock::{SharedClock, UnixMillis},
};

/// A rule for a partner's tokens, ready. What it remembers belongs to this rule alone: grant, audience, scope and actor
/// are the same for all of it, so that the digest of the subject token is the whole key.
pub(super) struct Exchanger {
    rule: ExchangeRule,
    partner: Option<Arc<TokenServiceClient>>,
    own: Option<Arc<TokenServiceClient>>,
    state: Arc<ExchangeState>,
}

struct ExchangeState {
    /// Subject tokens that the token service refused, until when.
    refused: Cache<TokenDigest, UnixMillis>,
    exchanged: BoundedCache<TokenDigest, Arc<VerifiedCredential>>,
    flights: Arc<SingleFlight<Result<Arc<VerifiedCredential>, ExchangeFault>>>,
}

/// Why there is no exchanged token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExchangeFault {
    /// The token service said no: the partner's token does not count.
    Refused,
    Verification(VerificationError),
}

/// Bytes of exchanged tokens that one rule holds at the most.
const MAX_BYTES: u64 = 8 << 20;

/// How long the token service's refusal of a subject token is remembered, and how many refusals.
const REFUSED: Duration = Duration::from_secs(5);
const MAX_REFUSED: usize = 4096;

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

impl Exchanger {
    pub(super) fn new(
        rule: &ExchangeRule,
        partner: Option<Arc<TokenServiceClient>>,
        own: Option<Arc<TokenServiceClient>>,
        previous: &[Arc<Self>],
    ) -> Arc<Self> {
        let fresh = || {
            let flights = Arc::new(SingleFlight::new());
            Arc::new(ExchangeState {
                refused: Cache::new(MAX_REFUSED),
                exchanged: BoundedCache::new(MAX_BYTES),
                flights,
            })
        };
        let issuer =
            |authority: &Option<Arc<TokenServiceClient>>| authority.as_ref().map(|known| known.issuer().to_owned());
        let same = |held: &&Arc<Self>| {
            held.rule == *rule && issuer(&held.own) == issuer(&own) && issuer(&held.partner) == issuer(&partner)
        };
        let state = previous.iter().find(same).map_or_else(fresh, |held| Arc::clone(&held.state));
        Arc::new(Self { rule: rule.clone(), partner, own, state })
    }

    /// What its memory takes.
    pub(super) fn held(&self) -> Held {
        self.state.exchanged.held()
    }

    /// The token service whose keys verify what is brought; its own where that is done by asking.
    pub(super) fn keys_of(&self) -> &NamespacedName {
        self.rule.subject.partner().unwrap_or(&self.rule.token_service)
    }

    /// Whether a token is one of the partner's.
    pub(super) fn is_for(&self, token: &SeenToken<'_>) -> bool {
        match (&self.rule.subject, token.shape()) {
            (ExchangeSubject::Jwt { .. }, TokenShape::Structured { issuer }) => {
                self.partner.as_ref().is_some_and(|known| issuer.as_deref() == Some(known.issuer()))
            }
            (ExchangeSubject::Saml { issuer, .. }, TokenShape::Opaque) => {
                token.assertion().is_some_and(|assertion| assertion.issuer() == issuer)
            }
            (ExchangeSubject::Jwt { .. }, TokenShape::Opaque)
            | (ExchangeSubject::Saml { .. }, TokenShape::Structured { .. }) => false,
        }
    }

    pub(super) async fn verify(
        &self,
        presentation: &Presentation<'_>,
        seen: &SeenToken<'_>,
        context: &CredentialContext,
    ) -> Result<AcceptedCredential, AuthenticationError> {
        let CredentialContext { memory, digester, clock } = context;
        let (digest, now) = (seen.digest, clock.now());
        let missing = AuthenticationError::Unavailable(VerificationError::Lookup(LookupFault::Unavailable));
        let own = self.own.as_ref().ok_or(missing)?;
        let endpoint = own.exchange().ok_or(missing)?;
        let expires_at = self.check_subject(presentation, seen, now)?;
        let found = match self.state.exchanged.get(&digest).filter(|credential| credential.is_usable(now)) {
            Some(credential) => Ok((credential, CacheState::Hit)),
            None if self.state.refused.get(&digest).is_some_and(|until| now < until) => Err(ExchangeFault::Refused),
            None => {
                let asker = memory.asker(presentation.client);
                self.exchange(endpoint, own, expires_at, seen, (digester, clock, &asker)).await
            }
        };
        let (credential, cache) = found.map_err(|fault| match fault {
            ExchangeFault::Refused => AuthenticationError::Token(TokenFault::Exchange),
            ExchangeFault::Verification(fault) => unproven(fault),
        })?;
        jwt::check_times(credential.claims(), now)
            .map_err(|fault| AuthenticationError::Token(TokenFault::Verification(fault.into())))?;
        if !credential.claims().audiences().any(|audience| audience == self.rule.audience) {
            return Err(AuthenticationError::Token(TokenFault::Audience));
        }
        Ok(AcceptedCredential {
            kind: CredentialKind::Exchange,
            credential,
            digest,
            cache: Some(cache),
            issuer: Some(own.issuer_shared()),
        })
    }

    /// Everything that can be checked before anybody is asked: nobody can make us ask with a token that the partner did
    /// not sign, or with an assertion that says another issuer, audience or time. Gives the end of what was brought.
    fn check_subject(
        &self,
        presentation: &Presentation<'_>,
        seen: &SeenToken<'_>,
        now: UnixMillis,
    ) -> Result<Option<UnixMillis>, AuthenticationError> {
        // A binding would end at the gateway without ever having been proven.
        let bound = AuthenticationError::Token(TokenFault::Proof(super::ProofFault::Scheme));
        if !matches!(presentation.authorization(), AuthorizationField::Bearer(_)) {
            return Err(bound);
        }
        match &self.rule.subject {
            ExchangeSubject::Jwt { audiences, token_type, .. } => {
                let missing = AuthenticationError::Unavailable(VerificationError::Lookup(LookupFault::Unavailable));
                let partner = self.partner.as_ref().ok_or(missing)?;
                let (subject, _) = partner.verify(seen.text, seen.digest).map_err(unproven)?;
                if !subject.is_of(*token_type) {
                    return Err(AuthenticationError::Token(TokenFault::Verification(JwtFault::Type.into())));
                }
                if !audiences.accept(subject.claims().audiences()) {
                    return Err(AuthenticationError::Token(TokenFault::Audience));
                }
                let binding = subject.claims().binding();
                if binding.certificate().is_some() || binding.dpop().is_some() {
                    return Err(bound);
                }
                Ok(subject.claims().expires_at())
            }
            ExchangeSubject::Saml { audiences, .. } => {
                let malformed = AuthenticationError::Token(TokenFault::Verification(JwtFault::Malformed.into()));
                let assertion = seen.assertion().ok_or(malformed)?;
                assertion.check(audiences, now).map_err(AuthenticationError::Token)?;
                Ok(Some(assertion.expires_at()))
            }
        }
    }

    async fn exchange(
        &self,
        endpoint: &Arc<ClientEndpoint>,
        own: &Arc<TokenServiceClient>,
        expires_at: Option<UnixMillis>,
        seen: &SeenToken<'_>,
        (digester, clock, asker): (&TokenDigester, &SharedClock, &Asker),
    ) -> Result<(Arc<VerifiedCredential>, CacheState), ExchangeFault> {
        let (form, digest) = (self.form(seen.text), seen.digest);
        let (endpoint, own, state) = (Arc::clone(endpoint), Arc::clone(own), Arc::clone(&self.state));
        let (digester, clock, asker) = (digester.clone(), Arc::clone(clock), asker.clone());
        let (entrance, peer) = (Arc::clone(&endpoint), asker.peer);
        let question = |place: Place| async move {
            let asked_at = clock.now();
            let answer = endpoint.post(place, &form, "application/json", asked_at).await;
            let answer = answer.map_err(|fault| ExchangeFault::Verification(fault.into()))?;
            let issued = read(&answer).inspect_err(|fault| {
                if *fault == ExchangeFault::Refused {
                    state.refused.insert(digest, asked_at.plus(REFUSED));
                }
            })?;
            let inner = digester.digest(&issued.token);
            let verified = match jwt::shape(&issued.token) {
                TokenShape::Structured { .. } => own.verify(&issued.token, inner),
                TokenShape::Opaque => own.introspect(&issued.token, inner, &asker).await,
            };
            let (credential, _) = verified.map_err(ExchangeFault::Verification)?;
            let malformed =
                ExchangeFault::Verification(VerificationError::Lookup(LookupFault::Answer(AnswerFault::Malformed)));
            let until = issued.until(expires_at, &credential, asked_at);
            let credential = Arc::new(credential.exchanged(&issued.token, (asked_at, until)).ok_or(malformed)?);
            state.exchanged.insert(digest, Arc::clone(&credential));
            Ok(credential)
        };
        let ask = move || {
            let place = entrance.enter(peer);
            place.map(question).ok_or(Err(ExchangeFault::Verification(LookupFault::Overloaded.into())))
        };
        let found = Arc::clone(&self.state.flights).join(digest, ask).await;
        let interrupted = ExchangeFault::Verification(LookupFault::Interrupted.into());
        found.unwrap_or(Err(interrupted)).map(|credential| (credential, CacheState::Miss))
    }

    fn form(&self, token: &str) -> zeroize::Zeroizing<String> {
        let encode = |text: &str| form_encode(text.as_bytes());
        let ExchangeRule { subject, audience, scope, .. } = &self.rule;
        let assertion = |grant: &str| {
            format!("grant_type={}&assertion={}&resource={}", *encode(grant), *encode(token), *encode(audience))
        };
        let mut form = zeroize::Zeroizing::new(match subject {
            ExchangeSubject::Saml { .. } => assertion("urn:ietf:params:oauth:grant-type:saml2-bearer"),
            ExchangeSubject::Jwt { grant: ExchangeGrant::JwtBearer, .. } => {
                assertion("urn:ietf:params:oauth:grant-type:jwt-bearer")
            }
            ExchangeSubject::Jwt { grant: ExchangeGrant::TokenExchange, token_type, .. } => {
                let kind = if *token_type == JwtType::AccessToken { ACCESS_TOKEN } else { JWT };
                format!(
                    "grant_type={}&subject_token={}&subject_token_type={}&requested_token_type={}&audience={}",
                    *encode("urn:ietf:params:oauth:grant-type:token-exchange"),
                    *encode(token),
                    *encode(kind),
                    *encode(ACCESS_TOKEN),
                    *encode(audience)
                )
            }
        });
        if !scope.is_empty() {
            form.push_str(&format!("&scope={}", *encode(scope)));
        }
        form
    }
}
