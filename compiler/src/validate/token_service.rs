//! TokenService into [`ValidTokenService`].

use std::{collections::BTreeMap, num::NonZeroU32};

use portreeve_crds::{
    ObjectRef,
    v1alpha1::{
        Answer, ClientMethod, Discovery, GatewayClientSpec, IntrospectionSpec, JwtMemberSpec, MemberAcceptSpec,
        NamespacesFrom, RegistrationLimit, TokenService,
    },
};
use portreeve_policy::{Dialect, MemberAccept, Millis, StaleAnswers, TokenCacheLimits};
use url::Url;

use super::Faults;
use crate::{Diagnostic, Options, duration::parse_duration, pattern::Pattern};

/// A token service whose every field is understood.
#[derive(Debug, Clone)]
pub(crate) struct ValidTokenService {
    pub(crate) issuer: String,
    pub(crate) scope_claim: String,
    pub(crate) introspection: Option<ValidIntrospection>,
}

/// How opaque tokens are looked up.
#[derive(Debug, Clone)]
pub(crate) struct ValidIntrospection {
    pub(crate) dialect: Dialect,
    pub(crate) timeout: Millis,
    pub(crate) cache: TokenCacheLimits,
}

/// Less is room for hardly more than one large answer.
const MIN_CACHE_BYTES: u32 = 65_536;

/// The token service, or every fault.
pub(crate) fn validate_token_service(
    object: &ObjectRef,
    service: &TokenService,
    options: Options,
) -> Result<ValidTokenService, Vec<Diagnostic>> {
    let mut faults = Faults::new(object);
    let spec = &service.spec;
    faults.take("spec.issuer", check_url(&spec.issuer, options));
    if spec.issuer.contains(['?', '#']) {
        faults.add("spec.issuer", "an issuer has neither query nor fragment (RFC 8414 section 2)");
    }
    if let Some(claim) = &spec.scope_claim {
        let is_name = (1..=128).contains(&claim.len()) && claim.bytes().all(|byte| byte.is_ascii_graphic());
        // What these say is read for itself, and none of them is a scope.
        let is_taken =
            ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "cnf", "active", "client_id"].contains(&claim.as_str());
        if !is_name || is_taken {
            faults.add("spec.scopeClaim", "the name of the claim that holds scopes, e.g. scp");
        }
    }
    let endpoints = spec.endpoints.clone().unwrap_or_default();
    for (field, endpoint) in [
        ("introspection", &endpoints.introspection),
        ("registration", &endpoints.registration),
        ("token", &endpoints.token),
        ("jwks", &endpoints.jwks),
    ] {
        if let Some(endpoint) = endpoint {
            faults.take(&format!("spec.endpoints.{field}"), check_url(endpoint, options));
        }
    }
    if spec.discovery == Discovery::None && endpoints.jwks.is_none() && endpoints.introspection.is_none() {
        faults.add("spec.endpoints", "discovery None needs endpoints.jwks or endpoints.introspection");
    }
    if let Some(client) = &spec.client {
        validate_client(&mut faults, client);
    }
    for (i, grant) in spec.scopes.iter().enumerate() {
        faults.take(&format!("spec.scopes[{i}].pattern"), Pattern::parse(&grant.pattern));
        if grant.namespaces.is_empty() && grant.match_labels.as_ref().is_none_or(BTreeMap::is_empty) {
            faults.add(format!("spec.scopes[{i}]"), "specify namespaces or matchLabels");
        }
    }
    let limits = spec.registration.as_ref().map(|registration| registration.limits.as_slice()).unwrap_or_default();
    for (i, limit) in limits.iter().enumerate() {
        validate_limit(&mut faults, &format!("spec.registration.limits[{i}]"), limit);
    }
    if (spec.allowed_namespaces.from == NamespacesFrom::Selector) != spec.allowed_namespaces.match_labels.is_some() {
        faults.add("spec.allowedNamespaces", "matchLabels goes with from: Selector, and only with it");
    }
    let introspection = spec.introspection.as_ref().map(|spec| validate_introspection(&mut faults, spec));
    if introspection.is_some() && spec.client.is_none() {
        faults.add("spec.client", "introspection needs client: the gateway has to authenticate at the endpoint");
    }
    if !faults.found.is_empty() {
        return Err(faults.found);
    }
    let scope_claim = spec.scope_claim.clone().unwrap_or_else(|| "scope".to_owned());
    Ok(ValidTokenService { issuer: spec.issuer.clone(), scope_claim, introspection: introspection.flatten() })
}

fn validate_client(faults: &mut Faults<'_>, client: &GatewayClientSpec) {
    match (&client.registration_ref, &client.secret_ref, &client.per_namespace) {
        (Some(_), Some(_), _) => faults.add("spec.client", "specify at most one of registrationRef and secretRef"),
        (None, None, None) => faults.add("spec.client", "specify registrationRef, secretRef or perNamespace"),
        (Some(_) | None, _, _) => {}
    }
    let Some(spec) = &client.per_namespace else { return };
    let spoken = matches!(
        spec.method,
        ClientMethod::PrivateKeyJwt
            | ClientMethod::ClientSecretBasic
            | ClientMethod::ClientSecretPost
            | ClientMethod::SelfSignedTlsClientAuth
    );
    if !spoken {
        faults.add(
            "spec.client.perNamespace.method",
            "the gateway authenticates by PrivateKeyJwt, ClientSecretBasic, ClientSecretPost or SelfSignedTlsClientAuth",
        );
    }
    if spec.grant_types.is_empty() {
        faults.add("spec.client.perNamespace.grantTypes", "at least one");
    }
}

fn validate_limit(faults: &mut Faults<'_>, path: &str, limit: &RegistrationLimit) {
    let RegistrationLimit {
        namespaces: _,
        match_labels,
        grant_types,
        software_ids,
        scopes,
        redirect_hosts,
        max_clients,
    } = limit;
    let hosts = redirect_hosts.as_deref().unwrap_or_default();
    for (field, list) in [("softwareIds", software_ids.as_slice()), ("scopes", scopes), ("redirectHosts", hosts)] {
        for (i, pattern) in list.iter().enumerate() {
            faults.take(&format!("{path}.{field}[{i}]"), Pattern::parse(pattern));
        }
    }
    if match_labels.as_ref().is_some_and(BTreeMap::is_empty) {
        faults.add(format!("{path}.matchLabels"), "leave it out, or specify a label");
    }
    if grant_types.as_ref().is_some_and(Vec::is_empty) {
        faults.add(format!("{path}.grantTypes"), "leave it out, or specify at least one");
    }
    if max_clients.is_some_and(|most| most < 0) {
        faults.add(format!("{path}.maxClients"), "0 or more");
    }
}

fn validate_introspection(faults: &mut Faults<'_>, spec: &IntrospectionSpec) -> Option<ValidIntrospection> {
    let mut duration = |field: &str, text: &str| {
        let parsed = parse_duration(text);
        if parsed.is_none() {
            faults.add(
                format!("spec.introspection.{field}"),
                format!("{text:?} is not a duration such as 60s, above zero"),
            );
        }
        parsed
    };
    let timeout = duration("timeout", &spec.timeout);
    let max_ttl = duration("cache.maxTtl", &spec.cache.max_ttl);
    let negative_ttl = duration("cache.negativeTtl", &spec.cache.negative_ttl);
    let stale = spec.cache.stale_while_unavailable.as_ref().map(|text| duration("cache.staleWhileUnavailable", text));
    let stale = match stale {
        None => StaleAnswers::Never,
        Some(window) => StaleAnswers::For(window?),
    };
    let max_bytes = u32::try_from(spec.cache.max_bytes).ok().filter(|bytes| *bytes >= MIN_CACHE_BYTES);
    let max_bytes = max_bytes.and_then(NonZeroU32::new);
    if max_bytes.is_none() {
        faults.add("spec.introspection.cache.maxBytes", "at least 65536");
    }
    let dialect = match spec.answer {
        Answer::Json => Dialect::Json,
        Answer::JwtBody => Dialect::JwtBody,
        Answer::JwtMember => {
            let JwtMemberSpec { name, accept } = spec.jwt_member.clone().unwrap_or_default();
            if name.is_empty() || name == "active" {
                faults.add("spec.introspection.jwtMember.name", "name the member that holds the JWT, such as jwt");
            }
            let accept = match accept {
                MemberAcceptSpec::Json => MemberAccept::Json,
                MemberAcceptSpec::Jwt => MemberAccept::Jwt,
            };
            Dialect::JwtMember { member: name, accept }
        }
        Answer::SignedEnvelope => Dialect::SignedEnvelope,
    };
    if spec.jwt_member.is_some() && spec.answer != Answer::JwtMember {
        faults.add("spec.introspection.jwtMember", "jwtMember goes with answer: JwtMember");
    }
    let cache = TokenCacheLimits { max_ttl: max_ttl?, negative_ttl: negative_ttl?, max_bytes: max_bytes?, stale };
    Some(ValidIntrospection { dialect, timeout: timeout?, cache })
}

/// Whether a URL may be called at all: absolute, https (http by leave of the installation), no userinfo, no fragment.
pub(crate) fn check_url(text: &str, options: Options) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} is not a URL: {error}"))?;
    match url.scheme() {
        "https" => {}
        "http" if options.allow_http => {}
        "http" => return Err(format!("{text:?} is not https; for development the operator has --allow-http")),
        _ => return Err(format!("{text:?} is not https")),
    }
    if url.host_str().is_none() || !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(format!("{text:?} needs a host and has neither user information nor fragment"));
    }
    Ok(())
}
