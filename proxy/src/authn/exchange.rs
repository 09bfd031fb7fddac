//! Tokens of partners, exchanged at the own token service (RFC 8693, RFC 7523). The partner's token never counts by
//! itself, and never goes upstream.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode};
use portreeve_policy::{Audiences, ExchangeGrant, ExchangeRule, JwtType};
use serde_json::Value;

use super::{
    AnswerFault, Authority, CacheState, Fact, FactFault, JwtFault, LookupFault, TokenDigest, TokenDigester, TokenShape,
    answer::{bearer_value, is},
    client_authentication::form_encode,
    flight::Flights,
    introspect::ClientEndpoint,
    json, jwt,
    presentation::{Presentation, Proven, TokenFault, Unproven},
    token::{SeenToken, unproven},
};
use crate::{
    bounded_cache::{BoundedCache, Held},
    clock::{SharedClock, UnixMillis},
};

/// A rule for a partner's tokens, ready. What it remembers belongs to this rule alone: grant, audience, scope and actor
/// are the same for all of it, so that the digest of the subject token is the whole key.
pub(super) struct Exchanger {
    rule: ExchangeRule,
    partner: Option<Arc<Authority>>,
    own: Option<Arc<Authority>>,
    state: Arc<ExchangeState>,
}

struct ExchangeState {
    exchanged: BoundedCache<TokenDigest, Arc<Fact>>,
    flights: Arc<Flights<Result<Arc<Fact>, ExchangeFault>>>,
}

/// Why there is no exchanged token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExchangeFault {
    /// The token service said no: the partner's token does not count.
    Refused,
    Fact(FactFault),
}

/// Bytes of exchanged tokens that one rule holds at the most.
const MAX_BYTES: u64 = 8 << 20;

/// Longest use of one, so that a revocation at the own token service takes effect.
const MAX_TTL: Duration = Duration::from_mins(1);

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

impl Exchanger {
    pub(super) fn new(
        rule: &ExchangeRule,
        partner: Option<Arc<Authority>>,
        own: Option<Arc<Authority>>,
        previous: &[Arc<Self>],
    ) -> Arc<Self> {
        let fresh = || {
            let flights = Arc::new(Flights::new());
            Arc::new(ExchangeState { exchanged: BoundedCache::new(MAX_BYTES), flights })
        };
        let issuer = |authority: &Option<Arc<Authority>>| authority.as_ref().map(|known| known.issuer().to_owned());
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

    /// Whose tokens are brought.
    pub(super) fn partner(&self) -> &portreeve_policy::NamespacedName {
        &self.rule.partner
    }

    /// Whether a token is one of the partner's.
    pub(super) fn is_for(&self, token: &SeenToken<'_>) -> bool {
        match token.shape() {
            TokenShape::Opaque => false,
            TokenShape::Structured { issuer } => {
                self.partner.as_ref().is_some_and(|known| issuer.as_deref() == Some(known.issuer()))
            }
        }
    }

    pub(super) async fn prove(
        &self,
        presentation: &Presentation<'_>,
        token: &SeenToken<'_>,
        digester: &TokenDigester,
        clock: &SharedClock,
    ) -> Result<Proven, Unproven> {
        let (token, digest) = (token.text, token.digest);
        let missing = Unproven::Unavailable(FactFault::Lookup(LookupFault::Unavailable));
        let (Some(partner), Some(own)) = (&self.partner, &self.own) else { return Err(missing) };
        let endpoint = own.exchange().ok_or(missing)?;
        // The partner's keys first: nobody can make us ask with a token that the partner did not sign.
        let (subject, _) = partner.verify(token, digest).map_err(unproven)?;
        check_subject(&subject, &self.rule.partner_audiences, self.rule.token_type)?;
        if subject.claims().binding().certificate().is_some()
            || subject.claims().binding().dpop().is_some()
            || presentation.authorization().token() != Some(token)
        {
            // A binding would end at the gateway without ever having been proven.
            return Err(Unproven::Token(TokenFault::Proof(super::ProofFault::Scheme)));
        }
        let now = clock.now();
        let found = match self.state.exchanged.get(&digest).filter(|fact| now < fact.usable_until()) {
            Some(fact) => Ok((fact, CacheState::Hit)),
            None => self.exchange(endpoint, own, subject, token, digest, digester, clock).await,
        };
        let (fact, cache) = found.map_err(|fault| match fault {
            ExchangeFault::Refused => Unproven::Token(TokenFault::Exchange),
            ExchangeFault::Fact(fault) => unproven(fault),
        })?;
        jwt::check_times(fact.claims(), now).map_err(|fault| Unproven::Token(TokenFault::Fact(fault.into())))?;
        if !fact.claims().audiences().any(|audience| audience == self.rule.audience) {
            return Err(Unproven::Token(TokenFault::Audience));
        }
        Ok(Proven { fact, digest, cache: Some(cache), issuer: Some(own.issuer_shared()) })
    }

    #[expect(clippy::too_many_arguments, reason = "each is a different part of one question")]
    async fn exchange(
        &self,
        endpoint: &Arc<ClientEndpoint>,
        own: &Arc<Authority>,
        subject: Arc<Fact>,
        token: &str,
        digest: TokenDigest,
        digester: &TokenDigester,
        clock: &SharedClock,
    ) -> Result<(Arc<Fact>, CacheState), ExchangeFault> {
        let form = self.form(token);
        let (endpoint, own, state) = (Arc::clone(endpoint), Arc::clone(own), Arc::clone(&self.state));
        let (digester, clock) = (digester.clone(), Arc::clone(clock));
        let ask = move || async move {
            let asked_at = clock.now();
            let answer = endpoint.post(&form, "application/json", asked_at).await;
            let answer = answer.map_err(|fault| ExchangeFault::Fact(fault.into()))?;
            let issued = read(&answer)?;
            let inner = digester.digest(&issued.token);
            let verified = match jwt::shape(&issued.token) {
                TokenShape::Structured { .. } => own.verify(&issued.token, inner),
                TokenShape::Opaque => own.introspect(&issued.token, inner).await,
            };
            let (fact, _) = verified.map_err(ExchangeFault::Fact)?;
            let malformed = ExchangeFault::Fact(FactFault::Lookup(LookupFault::Answer(AnswerFault::Malformed)));
            let until = issued.until(&subject, &fact, asked_at);
            let fact = Arc::new(fact.exchanged(&issued.token, until).ok_or(malformed)?);
            state.exchanged.insert(digest, Arc::clone(&fact));
            Ok(fact)
        };
        let found = Arc::clone(&self.state.flights).join(digest, ask).await;
        let interrupted = ExchangeFault::Fact(LookupFault::Interrupted.into());
        found.unwrap_or(Err(interrupted)).map(|fact| (fact, CacheState::Miss))
    }

    fn form(&self, token: &str) -> zeroize::Zeroizing<String> {
        let encode = |text: &str| form_encode(text.as_bytes());
        let ExchangeRule { grant, audience, scope, token_type, .. } = &self.rule;
        let mut form = zeroize::Zeroizing::new(match grant {
            ExchangeGrant::JwtBearer => format!(
                "grant_type={}&assertion={}",
                *encode("urn:ietf:params:oauth:grant-type:jwt-bearer"),
                *encode(token)
            ),
            ExchangeGrant::TokenExchange => {
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
        if *grant == ExchangeGrant::JwtBearer {
            form.push_str(&format!("&resource={}", *encode(audience)));
        }
        if !scope.is_empty() {
            form.push_str(&format!("&scope={}", *encode(scope)));
        }
        form
    }
}

fn check_subject(subject: &Fact, audiences: &Audiences, wanted: JwtType) -> Result<(), Unproven> {
    if !subject.is_of(wanted) {
        return Err(Unproven::Token(TokenFault::Fact(JwtFault::Type.into())));
    }
    if !audiences.accept(subject.claims().audiences()) {
        return Err(Unproven::Token(TokenFault::Audience));
    }
    Ok(())
}

/// What the token endpoint issued.
struct Issued {
    token: zeroize::Zeroizing<String>,
    expires_in: Option<Duration>,
}

impl Issued {
    /// Never longer than the subject token, the issued token, what `expires_in` says, and our own cap.
    fn until(&self, subject: &Fact, fact: &Fact, asked_at: UnixMillis) -> UnixMillis {
        let mut until = asked_at.plus(MAX_TTL);
        until = self.expires_in.map_or(until, |length| asked_at.plus(length).min(until));
        for bound in [subject.claims().expires_at(), fact.claims().expires_at()].into_iter().flatten() {
            until = until.min(bound);
        }
        until.min(fact.usable_until())
    }
}

/// RFC 8693 section 2.2, RFC 6749 section 5.
fn read(answer: &Response<Bytes>) -> Result<Issued, ExchangeFault> {
    let fault = |fault: AnswerFault| ExchangeFault::Fact(LookupFault::Answer(fault).into());
    let malformed = || fault(AnswerFault::Malformed);
    let members = json::parse_object(answer.body());
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::BAD_REQUEST => {
            let error = members.as_ref().and_then(|members| members.get("error")).and_then(Value::as_str);
            // Only these speak of the token that was brought; the others speak of us (RFC 6749 section 5.2).
            return Err(match error {
                Some("invalid_grant" | "invalid_request" | "invalid_target" | "invalid_scope" | "access_denied") => {
                    ExchangeFault::Refused
                }
                _ => fault(AnswerFault::Credentials),
            });
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(fault(AnswerFault::Credentials)),
        _ => return Err(fault(AnswerFault::Status)),
    }
    if !is(answer, "application/json") {
        return Err(fault(AnswerFault::ContentType));
    }
    let members = members.ok_or_else(malformed)?;
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let token = text("access_token").filter(|token| !token.is_empty()).ok_or_else(malformed)?;
    if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err(malformed());
    }
    if text("issued_token_type").is_some_and(|kind| kind != ACCESS_TOKEN && kind != JWT) {
        return Err(malformed());
    }
    bearer_value(token).map_err(fault)?;
    let expires_in = members.get("expires_in").and_then(Value::as_u64).map(Duration::from_secs);
    Ok(Issued { token: zeroize::Zeroizing::new(token.to_owned()), expires_in })
}
