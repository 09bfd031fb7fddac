//! ApiPolicy into [`ValidPolicy`].

use portreeve_crds::{
    GROUP, ObjectRef,
    v1alpha1::{ApiPolicy, PolicyMode, Precedence, SAYS_NOTHING, TargetRef},
};
use portreeve_policy::{Authorization, LimitRules, Limits, NamespacedName};

use super::{
    AuthenticationDraft, Faults, authentication::validate_authentication, authorization::validate_authorization,
    limits::validate_limits,
};
use crate::Diagnostic;

/// A policy whose every field is understood; references are still names.
#[derive(Debug, Clone)]
pub(crate) struct ValidPolicy {
    pub(crate) authentication: Option<AuthenticationDraft>,
    pub(crate) authorization: Option<Authorization>,
    /// Whether the authorization alone is in dry run.
    pub(crate) authorization_mode: PolicyMode,
    pub(crate) limits: Option<LimitRules>,
}

/// What a policy points to, in its own namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Namespace,
    Route(String),
    Rule(String, String),
    /// It cannot be read, but perhaps for its name. It closes the route of that name, or the namespace.
    Unclear(Option<String>),
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
        targets.push(validate_target(&mut faults, &format!("spec.targetRefs[{i}]"), object, target));
    }
    if targets.is_empty() {
        faults.add("spec.targetRefs", "name at least one target");
        targets.push(Target::Unclear(None));
    }
    let elsewhere = |target: &Target| !matches!(target, Target::Namespace | Target::Unclear(_));
    if spec.precedence == Precedence::Overrides && targets.iter().any(elsewhere) {
        faults.add("spec.precedence", "Overrides is for policies that target a Namespace");
    }
    if spec.authentication.is_none() && spec.authorization.is_none() && spec.limits.is_none() {
        faults.add("spec", SAYS_NOTHING);
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
    let name = NamespacedName::new(&object.namespace, &object.name).ok();
    let limits = spec.limits.as_ref().and_then(|spec| validate_limits(&mut faults, name, spec));
    let of_caller = limits.as_ref().is_some_and(|rules| Limits::Limited(rules.clone()).needs_caller());
    if matches!(authentication, Some(AuthenticationDraft::Anonymous)) && of_caller {
        faults.add(
            "spec.limits.rateLimits",
            "contradicts authentication.anonymous: nobody has a client id, subject or claim; count by another key, or \
             set absentKey: Share",
        );
    }
    if !faults.found.is_empty() {
        return (targets, Err(faults.found));
    }
    let authorization_mode = spec.authorization.as_ref().map(|spec| spec.mode).unwrap_or_default();
    (targets, Ok(ValidPolicy { authentication, authorization, authorization_mode, limits }))
}

fn validate_target(faults: &mut Faults<'_>, path: &str, object: &ObjectRef, target: &TargetRef) -> Target {
    match (target.group.as_str(), target.kind.as_str(), &target.section_name) {
        (GROUP, "ApiRoute", None) => Target::Route(target.name.clone()),
        (GROUP, "ApiRoute", Some(rule)) => Target::Rule(target.name.clone(), rule.clone()),
        ("", "Namespace", None) if target.name == object.namespace => Target::Namespace,
        ("", "Namespace", None) => {
            let message =
                format!("a policy governs its own namespace {:?} only, not {:?}", object.namespace, target.name);
            faults.add(format!("{path}.name"), message);
            Target::Unclear(None)
        }
        _ => {
            faults.add(path, "a target is an ApiRoute of group portreeve.dev, perhaps with sectionName, or a Namespace of group \"\"");
            Target::Unclear(Some(target.name.clone()))
        }
    }
}
