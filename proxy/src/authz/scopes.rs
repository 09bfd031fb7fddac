//! Scopes (RFC 6749 section 3.3).

use portreeve_policy::ScopeRule;

use crate::authn::Fact;

/// The caller lacks a scope that the rule demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InsufficientScope;

/// Nobody carries no scope.
pub(super) fn check(rule: &ScopeRule, fact: Option<&Fact>) -> Result<(), InsufficientScope> {
    let has = |scope: &str| fact.is_some_and(|fact| fact.claims().has_scope(scope));
    if rule.satisfied_by(has) { Ok(()) } else { Err(InsufficientScope) }
}
