//! Stage: who calls. The first authenticator that finds its own kind of credential decides; its refusal is final.

use std::sync::Arc;

use http::HeaderMap;
use portreeve_policy::{Audiences, Authentication, Authenticator, NamespacedName, UpstreamToken};

use crate::{
    authn::{
        AnswerFault, Authority, Bearer, CacheState, Fact, FactFault, Fingerprint, JwtFault, LookupFault, TokenDigest,
        TokenDigester, TokenShape, bearer, shape,
    },
    pipeline::{Challenge, Denial, Runtime, denial::TokenFault},
};

/// The caller, as far as known.
#[derive(Default)]
pub(in crate::pipeline) struct Authenticated {
    /// `None`: nobody.
    pub(in crate::pipeline) fact: Option<Arc<Fact>>,
    pub(in crate::pipeline) issuer: Option<Arc<Authority>>,
    pub(in crate::pipeline) fingerprint: Option<Fingerprint>,
    pub(in crate::pipeline) cache: Option<CacheState>,
    pub(in crate::pipeline) upstream_token: Option<UpstreamToken>,
}

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

/// What the two kinds of bearer token have in common.
struct TokenRule<'a> {
    name: &'a NamespacedName,
    audiences: &'a Audiences,
    upstream_token: UpstreamToken,
}

/// Who to ask about a token.
enum Asked<'a> {
    Introspect(TokenRule<'a>),
    Verify(TokenRule<'a>),
}

pub(in crate::pipeline) async fn authenticate(
    runtime: &Runtime,
    authentication: &Authentication,
    challenge: &Challenge,
    headers: &HeaderMap,
    digester: &TokenDigester,
) -> Result<Authenticated, Refused> {
    let list = match authentication {
        Authentication::Anonymous => return Ok(Authenticated::default()),
        Authentication::AnyOf(list) => list,
    };
    let token = match bearer(headers) {
        Err(fault) => return Err(Denial::BrokenCredentials(fault, challenge.clone()).into()),
        Ok(Bearer::Absent) if list.contains(&Authenticator::Anonymous) => return Ok(Authenticated::default()),
        Ok(Bearer::Absent | Bearer::OtherScheme) => return Err(Denial::NoCredentials(challenge.clone()).into()),
        Ok(Bearer::Token(token)) => token,
    };
    let digest = digester.digest(token);
    let refuse = |denial| Refused { denial, fingerprint: Some(digest.fingerprint()), unknown_key_at: None };
    let asked = choose(runtime, list, token).map_err(|fault| refuse(Denial::InvalidToken(fault, challenge.clone())))?;
    let (rule, found) = look_up(runtime, asked, token, digest).await;
    let (fact, cache, authority) = found.map_err(|fault| {
        let unknown = matches!(
            fault,
            FactFault::Jwt(JwtFault::UnknownKey)
                | FactFault::Lookup(LookupFault::Answer(AnswerFault::Token(JwtFault::UnknownKey)))
        );
        Refused { unknown_key_at: unknown.then(|| rule.name.clone()), ..refuse(denial_of(fault, challenge)) }
    })?;
    // The verdict is made anew on every use of a fact (I1).
    if !rule.audiences.accept(fact.claims().audiences()) {
        return Err(refuse(Denial::InvalidToken(TokenFault::Audience, challenge.clone())));
    }
    if rule.upstream_token == UpstreamToken::Jwt && fact.upstream_jwt().is_none() {
        return Err(refuse(Denial::InvalidToken(TokenFault::NoUpstreamJwt, challenge.clone())));
    }
    Ok(Authenticated {
        fact: Some(fact),
        issuer: Some(authority),
        fingerprint: Some(digest.fingerprint()),
        cache: Some(cache),
        upstream_token: Some(rule.upstream_token),
    })
}

/// Opaque tokens go to the first introspection; structured ones only to the token service that they name, so that no
/// stranger ever sees them.
fn choose<'a>(runtime: &Runtime, list: &'a [Authenticator], token: &str) -> Result<Asked<'a>, TokenFault> {
    let shape = shape(token);
    let named = |name: &NamespacedName| match &shape {
        TokenShape::Opaque => true,
        TokenShape::Structured { issuer } => {
            runtime.authorities.get(name).is_some_and(|known| issuer.as_deref() == Some(known.issuer()))
        }
    };
    for authenticator in list {
        match authenticator {
            Authenticator::Introspection(rule) if named(&rule.token_service) => {
                return Ok(Asked::Introspect(TokenRule {
                    name: &rule.token_service,
                    audiences: &rule.audiences,
                    upstream_token: rule.upstream_token,
                }));
            }
            Authenticator::Jwt(rule) if shape != TokenShape::Opaque && named(&rule.token_service) => {
                return Ok(Asked::Verify(TokenRule {
                    name: &rule.token_service,
                    audiences: &rule.audiences,
                    upstream_token: rule.upstream_token,
                }));
            }
            Authenticator::Anonymous | Authenticator::Introspection(_) | Authenticator::Jwt(_) => {}
        }
    }
    let fault = if shape == TokenShape::Opaque { JwtFault::Malformed } else { JwtFault::Issuer };
    Err(TokenFault::Fact(FactFault::Jwt(fault)))
}

type Found = Result<(Arc<Fact>, CacheState, Arc<Authority>), FactFault>;

async fn look_up<'a>(runtime: &Runtime, asked: Asked<'a>, token: &str, digest: TokenDigest) -> (TokenRule<'a>, Found) {
    let (rule, introspect) = match asked {
        Asked::Introspect(rule) => (rule, true),
        Asked::Verify(rule) => (rule, false),
    };
    let Some(authority) = runtime.authorities.get(rule.name).map(Arc::clone) else {
        return (rule, Err(FactFault::Lookup(LookupFault::Unavailable)));
    };
    let found = if introspect { authority.introspect(token, digest).await } else { authority.verify(token, digest) };
    (rule, found.map(|(fact, cache)| (fact, cache, authority)))
}

fn denial_of(fault: FactFault, challenge: &Challenge) -> Denial {
    match fault {
        FactFault::Inactive | FactFault::Jwt(_) => Denial::InvalidToken(TokenFault::Fact(fault), challenge.clone()),
        FactFault::KeysUnavailable | FactFault::Lookup(_) => Denial::TokenServiceUnavailable(fault),
    }
}
