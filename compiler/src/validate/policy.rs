//! ApiPolicy into [`ValidPolicy`].

use std::collections::BTreeSet;

use portreeve_crds::{
    GROUP, ObjectRef, TokenServiceRef,
    v1alpha1::{
        ApiPolicy, AuthenticationSpec, AuthenticatorSpec, PolicyMode, Precedence, TargetRef, UpstreamTokenSpec,
    },
};
use portreeve_policy::{Audiences, Authorization, UpstreamToken};

use super::{Faults, authorization::validate_authorization};
use crate::Diagnostic;

/// A policy whose every field is understood; references are still names.
#[derive(Debug, Clone)]
pub(crate) struct ValidPolicy {
    pub(crate) authentication: Option<AuthenticationDraft>,
    pub(crate) authorization: Option<Authorization>,
    /// Whether the authorization alone is on trial.
    pub(crate) authorization_mode: PolicyMode,
}

/// What a policy points to, in its own namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Namespace,
    Route(String),
    Rule(String, String),
}

/// Authentication whose token services are not looked up yet.
#[derive(Debug, Clone)]
pub(crate) enum AuthenticationDraft {
    Anonymous,
    AnyOf(Vec<AuthenticatorDraft>),
}

/// One authenticator of it.
#[derive(Debug, Clone)]
pub(crate) enum AuthenticatorDraft {
    Anonymous,
    Introspection(TokenRule),
    Jwt(TokenRule),
}

/// What the two kinds of bearer token have in common.
#[derive(Debug, Clone)]
pub(crate) struct TokenRule {
    pub(crate) path: String,
    pub(crate) token_service: TokenServiceRef,
    pub(crate) audiences: Audiences,
    pub(crate) upstream_token: UpstreamToken,
}

/// The policy, or every fault. Its targets are told in either case, so that a broken policy can refuse them.
pub(crate) fn validate_policy(
    object: &ObjectRef,
    policy: &ApiPolicy,
) -> (Vec<Target>, Result<ValidPolicy, Vec<Diagnostic>>) {
    let mut faults = Faults::new(object);
    let spec = &policy.spec;
    let mut targets = Vec::new();
    for (i, target) in spec.target_refs.iter().enumerate() {
        targets.extend(validate_target(&mut faults, &format!("spec.targetRefs[{i}]"), object, target));
    }
    if targets.is_empty() {
        faults.add("spec.targetRefs", "name at least one target");
    }
    if spec.precedence == Precedence::Overrides && targets.iter().any(|target| *target != Target::Namespace) {
        faults.add("spec.precedence", "Overrides is for policies that target a Namespace");
    }
    if spec.authentication.is_none() && spec.authorization.is_none() {
        faults.add("spec", "say at least one of authentication and authorization");
    }
    let authentication = spec.authentication.as_ref().and_then(|spec| validate_authentication(&mut faults, spec));
    let authorization = spec.authorization.as_ref().and_then(|spec| validate_authorization(&mut faults, spec));
    let later = spec.authorization.as_ref().is_some_and(|spec| spec.cedar.is_some() || spec.external.is_some());
    let needs_caller = later || authorization.as_ref().is_some_and(Authorization::needs_caller);
    if matches!(authentication, Some(AuthenticationDraft::Anonymous)) && needs_caller {
        faults.add(
            "spec.authorization",
            "contradicts authentication.anonymous: nobody carries a scope or claim; drop one of the two",
        );
    }
    if !faults.found.is_empty() {
        return (targets, Err(faults.found));
    }
    let authorization_mode = spec.authorization.as_ref().map(|spec| spec.mode).unwrap_or_default();
    (targets, Ok(ValidPolicy { authentication, authorization, authorization_mode }))
}

fn validate_target(faults: &mut Faults<'_>, path: &str, object: &ObjectRef, target: &TargetRef) -> Option<Target> {
    match (target.group.as_str(), target.kind.as_str(), &target.section_name) {
        (GROUP, "ApiRoute", None) => Some(Target::Route(target.name.clone())),
        (GROUP, "ApiRoute", Some(rule)) => Some(Target::Rule(target.name.clone(), rule.clone())),
        ("", "Namespace", None) if target.name == object.namespace => Some(Target::Namespace),
        ("", "Namespace", None) => {
            let message =
                format!("a policy governs its own namespace {:?} only, not {:?}", object.namespace, target.name);
            faults.add(format!("{path}.name"), message);
            None
        }
        _ => {
            faults.add(path, "a target is an ApiRoute of group portreeve.dev, perhaps with sectionName, or a Namespace of group \"\"");
            None
        }
    }
}

fn validate_authentication(faults: &mut Faults<'_>, spec: &AuthenticationSpec) -> Option<AuthenticationDraft> {
    let path = "spec.authentication";
    match (&spec.anonymous, &spec.any_of) {
        (Some(_), None) => Some(AuthenticationDraft::Anonymous),
        (None, Some(list)) if !list.is_empty() => {
            let read = |(i, one)| validate_authenticator(faults, &format!("{path}.anyOf[{i}]"), one);
            let drafts: Vec<_> = list.iter().enumerate().filter_map(read).collect();
            let end = drafts.len().saturating_sub(1);
            let early =
                |(i, draft): (usize, &AuthenticatorDraft)| matches!(draft, AuthenticatorDraft::Anonymous) && i != end;
            if drafts.iter().enumerate().any(early) {
                faults.add(
                    format!("{path}.anyOf"),
                    "anonymous is the last entry: it takes every request without credentials",
                );
            }
            Some(AuthenticationDraft::AnyOf(drafts))
        }
        _ => {
            faults.add(path, "say exactly one of anonymous: {} and a non-empty anyOf");
            None
        }
    }
}

fn validate_authenticator(faults: &mut Faults<'_>, path: &str, spec: &AuthenticatorSpec) -> Option<AuthenticatorDraft> {
    match (&spec.anonymous, &spec.introspection, &spec.jwt) {
        (Some(_), None, None) => Some(AuthenticatorDraft::Anonymous),
        (None, Some(rule), None) => {
            let path = format!("{path}.introspection");
            token_rule(faults, path, &rule.token_service_ref, &rule.audiences, rule.upstream_token)
                .map(AuthenticatorDraft::Introspection)
        }
        (None, None, Some(rule)) => {
            let path = format!("{path}.jwt");
            if rule.upstream_token == UpstreamTokenSpec::Jwt {
                faults
                    .add(format!("{path}.upstreamToken"), "the caller's token is a JWT already; say Original or None");
            }
            token_rule(faults, path, &rule.token_service_ref, &rule.audiences, rule.upstream_token)
                .map(AuthenticatorDraft::Jwt)
        }
        _ => {
            faults.add(path, "say exactly one of anonymous, introspection and jwt");
            None
        }
    }
}

fn token_rule(
    faults: &mut Faults<'_>,
    path: String,
    token_service: &TokenServiceRef,
    audiences: &[String],
    upstream_token: UpstreamTokenSpec,
) -> Option<TokenRule> {
    let set: BTreeSet<_> = audiences.iter().cloned().collect();
    let audiences = faults.take(&format!("{path}.audiences"), Audiences::try_from(set));
    let upstream_token = match upstream_token {
        UpstreamTokenSpec::Jwt => UpstreamToken::Jwt,
        UpstreamTokenSpec::None => UpstreamToken::None,
        UpstreamTokenSpec::Original => UpstreamToken::Original,
    };
    audiences.map(|audiences| TokenRule { path, token_service: token_service.clone(), audiences, upstream_token })
}
