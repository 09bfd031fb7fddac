//! The alternatives of one rule, ready: which of them a request is for, and whether it proves what they ask.

use std::sync::Arc;

use portreeve_policy::{
    ApiKeyLocation, Authentication, Authenticator, Credential, IntrospectionRule, JwtRule, NamespacedName, Secret,
    SecretName, UpstreamToken,
};

use super::{
    AnswerFault, JwtFault, LookupFault, Minter, TokenDigester, TokenShape, VerificationError, VerifiedCredential,
    api_key::ApiKeys,
    authorization::AuthorizationField,
    basic::BasicUsers,
    build_inputs::{BuildInputs, CarriedState, keep},
    caller::{AcceptedCredential, Caller, Unauthenticated},
    certificate::CertificateVerifier,
    digest::DigestUsers,
    exchange::Exchanger,
    memory::CredentialMemory,
    presentation::{AuthenticationError, Presentation, TokenFault},
    token::{SeenToken, TokenSource, TokenVerifier},
    upstream_token::{UpstreamCredential, UpstreamTokenMode},
};
use crate::clock::{SharedClock, UnixMillis};

/// What is the same for every request.
#[derive(Clone)]
pub struct CredentialContext {
    /// Used proofs, failed passwords.
    pub memory: Arc<CredentialMemory>,
    /// Digests of credentials.
    pub digester: TokenDigester,
    /// The time.
    pub clock: SharedClock,
}

/// The alternatives of one rule.
#[derive(Default)]
pub struct Authenticators {
    alternatives: Vec<Vec<Verifier>>,
    anonymous: bool,
    /// Where API keys are taken out before the upstream, whichever alternative decides.
    key_locations: Vec<ApiKeyLocation>,
}

struct Verifier {
    kind: Kind,
    upstream: UpstreamTokenMode,
}

enum Kind {
    ApiKey(Box<ApiKeys>),
    Basic(Arc<BasicUsers>),
    Certificate(Arc<CertificateVerifier>),
    Digest(Box<DigestUsers>),
    Exchange(Arc<Exchanger>),
    Token(Box<TokenVerifier>),
}

/// Whether a request brings the credential that a verifier looks at.
enum Presented {
    No,
    Yes,
    /// A token of which facts are held.
    Cached(Arc<VerifiedCredential>),
}

impl Authenticators {
    /// Makes everything that can fail. The fault names what is wrong and no secret.
    pub fn new(
        authentication: &Authentication,
        inputs: &BuildInputs<'_>,
        kept: &mut CarriedState,
    ) -> Result<Self, String> {
        let list = match authentication {
            Authentication::Anonymous => return Ok(Self { anonymous: true, ..Self::default() }),
            Authentication::AnyOf(list) => list,
        };
        let mut this = Self::default();
        for authenticator in list {
            match authenticator {
                Authenticator::Anonymous => this.anonymous = true,
                Authenticator::AllOf(all) if all.is_empty() => return Err("an alternative asks for nothing".to_owned()),
                Authenticator::AllOf(all) => {
                    let made = all.iter().map(|credential| Verifier::new(credential, inputs, kept));
                    let made = made.collect::<Result<Vec<_>, _>>()?;
                    this.key_locations.extend(made.iter().filter_map(Verifier::key_location).cloned());
                    this.alternatives.push(made);
                }
            }
        }
        Ok(this)
    }

    /// Where API keys are taken out before the upstream.
    pub fn key_locations(&self) -> &[ApiKeyLocation] {
        &self.key_locations
    }

    /// Finds the alternative that the request is for, and has it prove everything. Its refusal is final.
    pub async fn verify(
        &self,
        presentation: &Presentation<'_>,
        context: &CredentialContext,
    ) -> Result<Caller, Unauthenticated> {
        let token = presentation.authorization.token().filter(|_| self.takes_tokens());
        let token = token.map(|text| SeenToken::new(text, &context.digester));
        let mut something = presentation.authorization != AuthorizationField::Absent;
        let now = presentation.now;
        for alternative in &self.alternatives {
            let (mut all, mut cached) = (true, None);
            for verifier in alternative {
                let shown = match verifier.is_shown(presentation, token.as_ref(), now)? {
                    Presented::No => false,
                    Presented::Yes => true,
                    Presented::Cached(credential) => {
                        cached = Some((verifier, credential));
                        true
                    }
                };
                something |= shown && !matches!(verifier.kind, Kind::Certificate(_));
                all &= shown;
            }
            if all {
                return decide(alternative, presentation, token.as_ref(), cached, context, now).await;
            }
        }
        match token {
            Some(token) if !self.verifiers().any(|verifier| verifier.is_for_token(&token)) => {
                let fault = match token.shape() {
                    TokenShape::Opaque => JwtFault::Malformed,
                    TokenShape::Structured { .. } => JwtFault::Issuer,
                };
                Err(Unauthenticated::AuthenticationError {
                    fault: AuthenticationError::Token(TokenFault::Verification(fault.into())),
                    fingerprint: Some(token.digest.fingerprint()),
                    unknown_key_at: None,
                })
            }
            _ if self.anonymous && !something => Ok(Caller::default()),
            _ => Err(Unauthenticated::NoCredentials),
        }
    }

    fn takes_tokens(&self) -> bool {
        self.verifiers().any(|verifier| matches!(verifier.kind, Kind::Token(_) | Kind::Exchange(_)))
    }

    fn verifiers(&self) -> impl Iterator<Item = &Verifier> {
        self.alternatives.iter().flatten()
    }
}

async fn decide(
    alternative: &[Verifier],
    presentation: &Presentation<'_>,
    token: Option<&SeenToken<'_>>,
    mut cached: Option<(&Verifier, Arc<VerifiedCredential>)>,
    context: &CredentialContext,
    now: UnixMillis,
) -> Result<Caller, Unauthenticated> {
    let mut caller = Caller::default();
    for verifier in alternative {
        let known = cached.take_if(|(by, _)| std::ptr::eq(*by, verifier)).map(|(_, credential)| credential);
        let verified = verifier.verify(presentation, token, known, context, now).await?;
        if matches!(caller.upstream, UpstreamCredential::Remove) {
            caller.upstream = verifier.upstream.credential(&verified.credential, now);
        }
        caller.forwards_certificate |= matches!(&verifier.kind, Kind::Certificate(rule) if rule.forwards());
        caller.verified.push(verified);
    }
    Ok(caller)
}

fn secret_of<'a>(inputs: &BuildInputs<'a>, name: &SecretName) -> Result<&'a Secret, String> {
    inputs.secrets.get(name).ok_or_else(|| format!("secret {name} did not come with it"))
}

impl Verifier {
    fn new(credential: &Credential, inputs: &BuildInputs<'_>, kept: &mut CarriedState) -> Result<Self, String> {
        let secret = |name: &SecretName| secret_of(inputs, name);
        let authority = |name: &NamespacedName| inputs.token_services.get(name).map(Arc::clone);
        let text = |fault: &dyn std::fmt::Display, what: &str| format!("{what}: {fault}");
        let kind = match credential {
            Credential::ApiKey(rule) => {
                let secrets = match &rule.source {
                    portreeve_policy::ApiKeySource::Digests(names) => {
                        names.iter().map(secret).collect::<Result<Vec<_>, _>>()?
                    }
                    portreeve_policy::ApiKeySource::Signed { .. } => Vec::new(),
                };
                let keys = ApiKeys::new(rule, &secrets, inputs.api_key_use);
                Kind::ApiKey(Box::new(keys.map_err(|fault| text(&fault, "API keys"))?))
            }
            Credential::Basic(rule) => {
                let users = BasicUsers::new(rule, secret(&rule.users)?, &inputs.previous.basics);
                let users = users.map_err(|fault| text(&fault, "users"))?;
                keep(&mut kept.basics, &users);
                Kind::Basic(users)
            }
            Credential::ClientCertificate(rule) => {
                let verifier = CertificateVerifier::new(rule, &inputs.previous.certificates);
                let verifier = verifier.map_err(|fault| text(&fault, "client certificates"))?;
                keep(&mut kept.certificates, &verifier);
                Kind::Certificate(verifier)
            }
            Credential::Digest(rule) => {
                let users = DigestUsers::new(rule, secret(&rule.users)?);
                Kind::Digest(Box::new(users.map_err(|fault| text(&fault, "users"))?))
            }
            Credential::Exchange(rule) => {
                let partner = rule.subject.partner().and_then(authority);
                let own = authority(&rule.token_service);
                let exchanger = Exchanger::new(rule, partner, own, &inputs.previous.exchangers);
                keep(&mut kept.exchangers, &exchanger);
                Kind::Exchange(exchanger)
            }
            Credential::Introspection(rule) => {
                let IntrospectionRule { token_service: name, audiences, max_token_age, proof, upstream_token } = rule;
                let (source, service) = (TokenSource::Introspection, authority(name));
                let verifier =
                    TokenVerifier::new(source, service, name, audiences, *max_token_age, proof, upstream_token);
                Kind::Token(Box::new(verifier))
            }
            Credential::Jwt(rule) => {
                let JwtRule { token_service: name, audiences, token_type, max_token_age, proof, upstream_token } = rule;
                let (source, service) = (TokenSource::Signature(*token_type), authority(name));
                let verifier =
                    TokenVerifier::new(source, service, name, audiences, *max_token_age, proof, upstream_token);
                Kind::Token(Box::new(verifier))
            }
        };
        let upstream = Self::upstream(credential, &kind, inputs, kept)?;
        Ok(Self { kind, upstream })
    }

    fn upstream(
        credential: &Credential,
        kind: &Kind,
        inputs: &BuildInputs<'_>,
        kept: &mut CarriedState,
    ) -> Result<UpstreamTokenMode, String> {
        let mut minter = |rule: &portreeve_policy::MintRule| {
            let minter = Minter::new(rule, secret_of(inputs, &rule.signing_key)?, &inputs.previous.minters);
            let minter = minter.map_err(|fault| format!("signing key: {fault}"))?;
            keep(&mut kept.minters, &minter);
            Ok::<_, String>(minter)
        };
        Ok(match credential.upstream_token() {
            UpstreamToken::Jwt => UpstreamTokenMode::Jwt,
            UpstreamToken::JwtOrMinted(rule) => UpstreamTokenMode::JwtOrMinted(minter(rule)?),
            UpstreamToken::Minted(rule) => UpstreamTokenMode::Minted(minter(rule)?),
            UpstreamToken::None => UpstreamTokenMode::None,
            // The caller's own token is the partner's; what goes on is the one that it was exchanged for.
            UpstreamToken::Original if matches!(kind, Kind::Exchange(_)) => UpstreamTokenMode::Jwt,
            UpstreamToken::Original => UpstreamTokenMode::Original,
        })
    }

    fn key_location(&self) -> Option<&ApiKeyLocation> {
        match &self.kind {
            Kind::ApiKey(keys) => Some(keys.location()),
            Kind::Basic(_) | Kind::Certificate(_) | Kind::Digest(_) | Kind::Exchange(_) | Kind::Token(_) => None,
        }
    }

    /// Whether the request brings this kind of credential at all.
    fn is_shown(
        &self,
        presentation: &Presentation<'_>,
        token: Option<&SeenToken<'_>>,
        now: UnixMillis,
    ) -> Result<Presented, AuthenticationError> {
        if let (Kind::Token(verifier), Some(token)) = (&self.kind, token)
            && let Some(credential) = verifier.lookup(token, now)
        {
            return Ok(Presented::Cached(credential));
        }
        let shown = match &self.kind {
            Kind::ApiKey(keys) => keys.find(presentation).map_err(AuthenticationError::Broken)?.is_some(),
            Kind::Basic(_) => matches!(presentation.authorization, AuthorizationField::Basic(_)),
            Kind::Certificate(_) => presentation.certificates.is_some(),
            Kind::Digest(_) => matches!(presentation.authorization, AuthorizationField::Digest(_)),
            Kind::Exchange(_) | Kind::Token(_) => token.is_some_and(|token| self.is_for_token(token)),
        };
        Ok(if shown { Presented::Yes } else { Presented::No })
    }

    /// Whether a token is one that this verifier looks at.
    fn is_for_token(&self, seen: &SeenToken<'_>) -> bool {
        match &self.kind {
            Kind::Exchange(exchange) => exchange.is_for(seen),
            Kind::Token(token) => token.is_for(seen),
            Kind::ApiKey(_) | Kind::Basic(_) | Kind::Certificate(_) | Kind::Digest(_) => false,
        }
    }

    async fn verify(
        &self,
        presentation: &Presentation<'_>,
        token: Option<&SeenToken<'_>>,
        cached: Option<Arc<VerifiedCredential>>,
        context: &CredentialContext,
        now: UnixMillis,
    ) -> Result<AcceptedCredential, Unauthenticated> {
        let CredentialContext { memory, digester, clock: _ } = context;
        let absent = Unauthenticated::NoCredentials;
        let unproven = |fault, seen: &SeenToken<'_>, name: &NamespacedName| Unauthenticated::AuthenticationError {
            fault,
            fingerprint: Some(seen.digest.fingerprint()),
            unknown_key_at: is_unknown_key(fault).then(|| name.clone()),
        };
        match (&self.kind, presentation.authorization) {
            (Kind::Token(verifier), _) => {
                let seen = token.ok_or(absent)?;
                let accepted = verifier.verify(presentation, seen, cached, memory, now).await;
                accepted.map_err(|fault| unproven(fault, seen, &verifier.name))
            }
            (Kind::Exchange(exchange), _) => {
                let seen = token.ok_or(absent)?;
                // Boxed, so that requests with other credentials do not carry room for it.
                let verified = Box::pin(exchange.verify(presentation, seen, context)).await;
                verified.map_err(|fault| unproven(fault, seen, exchange.keys_of()))
            }
            (Kind::Basic(users), AuthorizationField::Basic(credential)) => {
                Ok(users.verify(presentation, credential, context, now).await?)
            }
            (Kind::Digest(users), AuthorizationField::Digest(text)) => {
                Ok(users.verify(presentation, text, digester, memory, now)?)
            }
            (Kind::ApiKey(keys), _) => {
                let key = keys.find(presentation).map_err(AuthenticationError::Broken)?.ok_or(absent)?;
                keys.verify(key, digester, now).map_err(|fault| Unauthenticated::AuthenticationError {
                    fault,
                    fingerprint: Some(digester.digest(key).fingerprint()),
                    unknown_key_at: None,
                })
            }
            (Kind::Certificate(verifier), _) => {
                let shown = presentation.certificates.ok_or(absent)?;
                Ok(verifier.verify(shown, digester, now)?)
            }
            (Kind::Basic(_) | Kind::Digest(_), _) => Err(absent),
        }
    }
}

fn is_unknown_key(fault: AuthenticationError) -> bool {
    let (AuthenticationError::Token(TokenFault::Verification(fault)) | AuthenticationError::Unavailable(fault)) = fault
    else {
        return false;
    };
    matches!(
        fault,
        VerificationError::Jwt(JwtFault::UnknownKey)
            | VerificationError::Lookup(LookupFault::Answer(AnswerFault::Token(JwtFault::UnknownKey)))
    )
}

#[cfg(test)]
mod tests;
