//! The part of ApiPolicy that says who calls, into [`AuthenticationDraft`]: every field understood, references still
//! names.

use std::collections::{BTreeMap, BTreeSet};

use portreeve_crds::{
    CaBundleRef, LocalRef, SecretKeyRef, TokenServiceRef,
    v1alpha1::{
        ApiKeyPlace, ApiKeySpec, AuthenticationSpec, AuthenticatorSpec, BindingMethodSpec, CertificateNameSpec,
        CertificateNameType, ClientCertificateSpec, CredentialSpec, DigestAlgorithmSpec, JwtTypeSpec, MintSpec,
        SenderConstraintSpec, UpstreamIdentitySpec, UpstreamTokenSpec,
    },
};
use portreeve_policy::{
    ApiKeyLocation, Audiences, BindingMethod, CertificateName, ClaimSource, DigestAlgorithm, JwtType, MaxTokenAge,
    Millis, ProofRule, UpstreamToken,
};

use super::{
    Faults,
    exchange::{ExchangeDraft, exchange_draft},
};
use crate::duration::parse_duration;

/// Authentication whose references are not looked up yet.
#[derive(Debug, Clone)]
pub(crate) enum AuthenticationDraft {
    Anonymous,
    AnyOf(Vec<AuthenticatorDraft>),
}

/// One alternative of it.
#[derive(Debug, Clone)]
pub(crate) enum AuthenticatorDraft {
    AllOf(Vec<CredentialDraft>),
    Anonymous,
}

/// One credential, with the path of its field.
#[derive(Debug, Clone)]
pub(crate) struct CredentialDraft {
    pub(crate) path: String,
    pub(crate) kind: CredentialKind,
    pub(crate) upstream: UpstreamDraft,
}

/// What each kind of credential needs.
#[derive(Debug, Clone)]
pub(crate) enum CredentialKind {
    ApiKey { location: ApiKeyLocation, source: KeySourceDraft },
    Basic { realm: String, users: SecretKeyRef },
    ClientCertificate { ca: CaBundleRef, crl: Option<CaBundleRef>, names: Vec<CertificateName>, forward: bool },
    Digest { realm: String, users: SecretKeyRef, algorithms: BTreeSet<DigestAlgorithm> },
    Exchange(ExchangeDraft),
    Introspection { token: TokenDraft },
    Jwt { token: TokenDraft, token_type: JwtType },
}

/// How API keys are known.
#[derive(Debug, Clone)]
pub(crate) enum KeySourceDraft {
    Digests(Vec<LocalRef>),
    Signed { key_set: CaBundleRef, audience: String },
}

/// What the two kinds of bearer token have in common.
#[derive(Debug, Clone)]
pub(crate) struct TokenDraft {
    pub(crate) token_service: TokenServiceRef,
    pub(crate) audiences: Audiences,
    pub(crate) max_age: MaxTokenAge,
    pub(crate) proof: ProofRule,
}

/// What the upstream gets; the signing key is not looked up yet.
#[derive(Debug, Clone)]
pub(crate) enum UpstreamDraft {
    Given(UpstreamToken),
    Minted { only_without_jwt: bool, mint: MintDraft },
}

/// How a token is minted.
#[derive(Debug, Clone)]
pub(crate) struct MintDraft {
    pub(crate) audience: String,
    pub(crate) lifetime: Millis,
    pub(crate) claims: BTreeMap<String, ClaimSource>,
}

/// Claims of a minted token that nobody may set.
const RESERVED_CLAIMS: [&str; 6] = ["iss", "aud", "exp", "iat", "nbf", "jti"];

/// Claims that are copied from the caller where the policy says nothing else.
const COPIED_CLAIMS: [&str; 3] = ["sub", "client_id", "scope"];

/// Reads `spec.authentication`.
pub(crate) fn validate_authentication(
    faults: &mut Faults<'_>,
    spec: &AuthenticationSpec,
) -> Option<AuthenticationDraft> {
    let path = "spec.authentication";
    match (&spec.anonymous, &spec.any_of) {
        (Some(_), None) => Some(AuthenticationDraft::Anonymous),
        (None, Some(list)) if !list.is_empty() => {
            let read = |(i, one)| authenticator(faults, &format!("{path}.anyOf[{i}]"), one);
            let drafts: Vec<_> = list.iter().enumerate().filter_map(read).collect();
            let end = drafts.len().saturating_sub(1);
            let early =
                |(i, draft): (usize, &AuthenticatorDraft)| matches!(draft, AuthenticatorDraft::Anonymous) && i != end;
            if drafts.iter().enumerate().any(early) {
                let message = "anonymous is the last entry: it takes every request without credentials";
                faults.add(format!("{path}.anyOf"), message);
            }
            Some(AuthenticationDraft::AnyOf(drafts))
        }
        _ => {
            faults.add(path, "say exactly one of anonymous: {} and a non-empty anyOf");
            None
        }
    }
}

fn authenticator(faults: &mut Faults<'_>, path: &str, spec: &AuthenticatorSpec) -> Option<AuthenticatorDraft> {
    let single = CredentialSpec::from(spec.clone());
    let single = (single != CredentialSpec::default()).then_some(single);
    match (&spec.all_of, &spec.anonymous, single) {
        (None, Some(_), None) => Some(AuthenticatorDraft::Anonymous),
        (None, None, Some(one)) => credential(faults, path, &one).map(|one| AuthenticatorDraft::AllOf(vec![one])),
        (Some(list), None, None) if list.len() >= 2 => {
            let read = |(i, one)| credential(faults, &format!("{path}.allOf[{i}]"), one);
            let all: Vec<_> = list.iter().enumerate().filter_map(read).collect();
            let authorization = all.iter().filter(|one| in_authorization(&one.kind)).count();
            if authorization > 1 {
                let message = "two credentials of one request cannot both stand in Authorization";
                faults.add(format!("{path}.allOf"), message);
            }
            Some(AuthenticatorDraft::AllOf(all))
        }
        (Some(_), None, None) => {
            faults.add(format!("{path}.allOf"), "name at least two credentials");
            None
        }
        _ => {
            let message = "say exactly one of allOf, anonymous, apiKey, basic, clientCertificate, digest, exchange, \
                           introspection and jwt";
            faults.add(path, message);
            None
        }
    }
}

fn in_authorization(kind: &CredentialKind) -> bool {
    match kind {
        CredentialKind::ApiKey { location, .. } => {
            matches!(location, ApiKeyLocation::Header(name) if name == "authorization")
        }
        CredentialKind::ClientCertificate { .. } => false,
        CredentialKind::Basic { .. }
        | CredentialKind::Digest { .. }
        | CredentialKind::Exchange(_)
        | CredentialKind::Introspection { .. }
        | CredentialKind::Jwt { .. } => true,
    }
}

fn credential(faults: &mut Faults<'_>, path: &str, spec: &CredentialSpec) -> Option<CredentialDraft> {
    let CredentialSpec { api_key, basic, client_certificate, digest, exchange, introspection, jwt } = spec;
    let at = |name: &str| format!("{path}.{name}");
    match (api_key, basic, client_certificate, digest, exchange, introspection, jwt) {
        (Some(spec), None, None, None, None, None, None) => api_key_draft(faults, at("apiKey"), spec),
        (None, Some(spec), None, None, None, None, None) => {
            let path = at("basic");
            let kind = CredentialKind::Basic { realm: spec.realm.clone(), users: spec.users_ref.clone() };
            check_realm(faults, &path, &spec.realm);
            let upstream = identity(faults, &path, spec.upstream_token, spec.mint.as_ref())?;
            Some(CredentialDraft { path, kind, upstream })
        }
        (None, None, Some(spec), None, None, None, None) => certificate_draft(faults, at("clientCertificate"), spec),
        (None, None, None, Some(spec), None, None, None) => {
            let path = at("digest");
            let algorithm = |spec: &DigestAlgorithmSpec| match spec {
                DigestAlgorithmSpec::Md5 => DigestAlgorithm::Md5,
                DigestAlgorithmSpec::Sha256 => DigestAlgorithm::Sha256,
            };
            let algorithms: BTreeSet<_> = spec.algorithms.iter().map(algorithm).collect();
            if algorithms.is_empty() {
                faults.add(format!("{path}.algorithms"), "name SHA-256");
            }
            check_realm(faults, &path, &spec.realm);
            let upstream = identity(faults, &path, spec.upstream_token, spec.mint.as_ref())?;
            let kind = CredentialKind::Digest { realm: spec.realm.clone(), users: spec.users_ref.clone(), algorithms };
            Some(CredentialDraft { path, kind, upstream })
        }
        (None, None, None, None, Some(spec), None, None) => exchange_draft(faults, at("exchange"), spec),
        (None, None, None, None, None, Some(spec), None) => {
            let path = at("introspection");
            let (proof, max_age) = (spec.sender_constraint.as_ref(), spec.max_token_age.as_deref());
            let token = token(faults, &path, &spec.token_service_ref, &spec.audiences, proof, max_age);
            let upstream = upstream(faults, &path, spec.upstream_token, spec.mint.as_ref(), true);
            Some(CredentialDraft { kind: CredentialKind::Introspection { token: token? }, upstream: upstream?, path })
        }
        (None, None, None, None, None, None, Some(spec)) => {
            let path = at("jwt");
            let (proof, max_age) = (spec.sender_constraint.as_ref(), spec.max_token_age.as_deref());
            let token = token(faults, &path, &spec.token_service_ref, &spec.audiences, proof, max_age);
            let upstream = upstream(faults, &path, spec.upstream_token, spec.mint.as_ref(), false);
            let kind = CredentialKind::Jwt { token: token?, token_type: token_type(spec.token_type) };
            Some(CredentialDraft { kind, upstream: upstream?, path })
        }
        _ => {
            let message =
                "say exactly one of apiKey, basic, clientCertificate, digest, exchange, introspection and jwt";
            faults.add(path, message);
            None
        }
    }
}

fn api_key_draft(faults: &mut Faults<'_>, path: String, spec: &ApiKeySpec) -> Option<CredentialDraft> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if spec.name.is_empty() || spec.name.len() > 128 || !spec.name.bytes().all(legal) {
        faults.add(format!("{path}.name"), "a name has 1 to 128 letters, digits, '-', '_' and '.'");
    }
    let location = match spec.place {
        ApiKeyPlace::Cookie => ApiKeyLocation::Cookie(spec.name.clone()),
        ApiKeyPlace::Header => ApiKeyLocation::Header(spec.name.to_ascii_lowercase()),
        ApiKeyPlace::Query => ApiKeyLocation::Query(spec.name.clone()),
    };
    if matches!(&location, ApiKeyLocation::Header(name) if ["authorization", "cookie", "host"].contains(&name.as_str()))
    {
        faults.add(format!("{path}.name"), "an API key has a header of its own, such as X-API-Key");
    }
    let source = match (&spec.secret_refs, &spec.signed) {
        (Some(list), None) if !list.is_empty() => KeySourceDraft::Digests(list.clone()),
        (None, Some(signed)) => {
            KeySourceDraft::Signed { key_set: signed.key_set_ref.clone(), audience: signed.audience.clone() }
        }
        _ => {
            faults.add(&path, "say exactly one of secretRefs and signed");
            return None;
        }
    };
    let upstream = identity(faults, &path, spec.upstream_token, spec.mint.as_ref())?;
    Some(CredentialDraft { path, kind: CredentialKind::ApiKey { location, source }, upstream })
}

fn certificate_draft(faults: &mut Faults<'_>, path: String, spec: &ClientCertificateSpec) -> Option<CredentialDraft> {
    let mut names = Vec::with_capacity(spec.names.len());
    for (i, CertificateNameSpec { kind, value }) in spec.names.iter().enumerate() {
        let name = match kind {
            CertificateNameType::Dns => CertificateName::Dns(value.clone()),
            CertificateNameType::Email => CertificateName::Email(value.clone()),
            CertificateNameType::SpiffeTrustDomain => CertificateName::SpiffeTrustDomain(value.clone()),
            CertificateNameType::Subject => CertificateName::Subject(value.clone()),
            CertificateNameType::Thumbprint => CertificateName::Thumbprint(value.to_ascii_lowercase()),
            CertificateNameType::Uri => CertificateName::Uri(value.clone()),
        };
        faults.take(&format!("{path}.names[{i}].value"), name.check());
        names.push(name);
    }
    let upstream = identity(faults, &path, spec.upstream_token, spec.mint.as_ref())?;
    let kind = CredentialKind::ClientCertificate {
        ca: spec.ca_ref.clone(),
        crl: spec.crl_ref.clone(),
        names,
        forward: spec.forward,
    };
    Some(CredentialDraft { path, kind, upstream })
}

fn token(
    faults: &mut Faults<'_>,
    path: &str,
    token_service: &TokenServiceRef,
    list: &[String],
    proof: Option<&SenderConstraintSpec>,
    max_age: Option<&str>,
) -> Option<TokenDraft> {
    let proof = proof.cloned().unwrap_or_default();
    let method = |spec: &BindingMethodSpec| match spec {
        BindingMethodSpec::Certificate => BindingMethod::Certificate,
        BindingMethodSpec::Dpop => BindingMethod::Dpop,
    };
    let proof = ProofRule { required: proof.required.iter().map(method).collect(), dpop_nonce: proof.dpop_nonce };
    let audiences = audiences(faults, &format!("{path}.audiences"), list);
    let max_age = max_token_age(faults, path, max_age);
    Some(TokenDraft { token_service: token_service.clone(), audiences: audiences?, max_age: max_age?, proof })
}

/// `None` for a fault, so that what cannot be read never lifts the ceiling.
fn max_token_age(faults: &mut Faults<'_>, path: &str, text: Option<&str>) -> Option<MaxTokenAge> {
    let Some(text) = text else { return Some(MaxTokenAge::Unlimited) };
    let age = parse_duration(text);
    if age.is_none() {
        faults.add(format!("{path}.maxTokenAge"), format!("{text:?} is not a duration such as 30m, above zero"));
    }
    age.map(MaxTokenAge::AtMost)
}

pub(super) fn audiences(faults: &mut Faults<'_>, path: &str, list: &[String]) -> Option<Audiences> {
    let set: BTreeSet<_> = list.iter().cloned().collect();
    faults.take(path, Audiences::try_from(set))
}

pub(super) fn token_type(spec: JwtTypeSpec) -> JwtType {
    match spec {
        JwtTypeSpec::AccessToken => JwtType::AccessToken,
        JwtTypeSpec::Any => JwtType::Any,
    }
}

pub(super) fn upstream(
    faults: &mut Faults<'_>,
    path: &str,
    spec: UpstreamTokenSpec,
    mint: Option<&MintSpec>,
    has_answer: bool,
) -> Option<UpstreamDraft> {
    let mint =
        mint.map(|spec| mint_draft(faults, &format!("{path}.mint"), spec)).map_or(Some(None), |m| m.map(Some))?;
    let field = format!("{path}.upstreamToken");
    match (spec, mint) {
        (UpstreamTokenSpec::Jwt, _) if !has_answer => {
            faults.add(field, "the caller's token is a JWT already; say Original, Minted or None");
            None
        }
        (UpstreamTokenSpec::Jwt, None) => Some(UpstreamDraft::Given(UpstreamToken::Jwt)),
        (UpstreamTokenSpec::Jwt, Some(mint)) => Some(UpstreamDraft::Minted { only_without_jwt: true, mint }),
        (UpstreamTokenSpec::Minted, Some(mint)) => Some(UpstreamDraft::Minted { only_without_jwt: false, mint }),
        (UpstreamTokenSpec::None, None) => Some(UpstreamDraft::Given(UpstreamToken::None)),
        (UpstreamTokenSpec::Original, None) => Some(UpstreamDraft::Given(UpstreamToken::Original)),
        (UpstreamTokenSpec::Minted, None) => {
            faults.add(format!("{path}.mint"), "upstreamToken Minted needs mint: at least its audience");
            None
        }
        (UpstreamTokenSpec::None | UpstreamTokenSpec::Original, Some(_)) => {
            faults.add(format!("{path}.mint"), "mint goes with upstreamToken Minted or Jwt");
            None
        }
    }
}

/// For credentials that are no token.
fn identity(
    faults: &mut Faults<'_>,
    path: &str,
    spec: UpstreamIdentitySpec,
    mint: Option<&MintSpec>,
) -> Option<UpstreamDraft> {
    let spec = match spec {
        UpstreamIdentitySpec::Minted => UpstreamTokenSpec::Minted,
        UpstreamIdentitySpec::None => UpstreamTokenSpec::None,
    };
    upstream(faults, path, spec, mint, false)
}

/// Longest life of a minted token.
const MAX_LIFETIME: std::time::Duration = std::time::Duration::from_hours(1);

fn mint_draft(faults: &mut Faults<'_>, path: &str, spec: &MintSpec) -> Option<MintDraft> {
    let lifetime = parse_duration(&spec.lifetime);
    if lifetime.is_none() {
        faults
            .add(format!("{path}.lifetime"), format!("{:?} is not a duration such as 60s, above zero", spec.lifetime));
    }
    if lifetime.is_some_and(|lifetime| lifetime.duration() > MAX_LIFETIME) {
        faults.add(format!("{path}.lifetime"), "at most 1h: what a token says of the caller is not looked at again");
    }
    let mut claims: BTreeMap<_, _> =
        COPIED_CLAIMS.iter().map(|name| ((*name).to_owned(), ClaimSource::Claim((*name).to_owned()))).collect();
    for (name, source) in &spec.claims {
        let field = format!("{path}.claims.{name}");
        if RESERVED_CLAIMS.contains(&name.as_str()) || name.is_empty() {
            faults.add(&field, "the gateway sets this claim itself; choose another name");
        }
        match (&source.claim, &source.text) {
            (Some(claim), None) => drop(claims.insert(name.clone(), ClaimSource::Claim(claim.clone()))),
            (None, Some(text)) => drop(claims.insert(name.clone(), ClaimSource::Text(text.clone()))),
            _ => faults.add(&field, "say exactly one of claim and text"),
        }
    }
    Some(MintDraft { audience: spec.audience.clone(), lifetime: lifetime?, claims })
}

fn check_realm(faults: &mut Faults<'_>, path: &str, realm: &str) {
    let legal = |b: u8| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\';
    if realm.is_empty() || realm.len() > 128 || !realm.bytes().all(legal) {
        faults.add(
            format!("{path}.realm"),
            "a realm has 1 to 128 printable ASCII characters without quote and backslash",
        );
    }
}
