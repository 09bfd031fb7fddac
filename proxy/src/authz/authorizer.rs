//! A rule's conditions, ready to be judged.

use jiff::tz::TimeZone;
use portreeve_policy::{
    AddressRule, Authorization, ClaimRule, Condition, Hours, InvalidHours, Judgement, RequestRule, ScopeRule,
};

use super::{
    AuthorizationInput, Forbidden, InvalidCedar, Permit, Refusal, cedar::CedarCheck, external::DecisionPoint, request,
};
use crate::{authn::InvalidEndpoint, bounded_cache::Held, outbound::Network};

/// Conditions of one rule, with everything that can fail done.
#[derive(Debug)]
pub struct Authorizer {
    checks: Vec<Check>,
    /// Asked last, when every other condition holds.
    external: Option<DecisionPoint>,
}

/// One condition.
#[derive(Debug)]
enum Check {
    Addresses(AddressRule),
    Cedar(Box<CedarCheck>),
    Claims(Vec<ClaimRule>),
    Hours(Hours, TimeZone),
    Request(RequestRule),
    Scopes(ScopeRule),
}

/// Conditions that cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub enum InvalidAuthorizer {
    /// Not Cedar.
    #[error(transparent)]
    Cedar(#[from] InvalidCedar),
    /// A decision point that can never be asked.
    #[error("decision point: {0}")]
    External(#[from] InvalidEndpoint),
    /// This build knows no such zone.
    #[error(transparent)]
    Hours(#[from] InvalidHours),
}

impl Authorizer {
    /// Makes the conditions of a rule ready. `route` is `namespace/name`; decision points are asked through `network`.
    pub fn new(
        authorization: &Authorization,
        (route, rule): (&str, &str),
        network: &Network,
    ) -> Result<Self, InvalidAuthorizer> {
        let (mut checks, mut external) = (Vec::new(), None);
        for condition in authorization.conditions() {
            checks.push(match condition {
                Condition::Addresses(rule) => Check::Addresses(rule.clone()),
                Condition::Cedar(policies) => Check::Cedar(Box::new(CedarCheck::new(policies, route, rule)?)),
                Condition::Claims(rules) => Check::Claims(rules.clone()),
                Condition::External(point) => {
                    external = Some(DecisionPoint::new(point, (route, rule), network)?);
                    continue;
                }
                Condition::Hours(hours) => Check::Hours(hours.clone(), hours.zone()?),
                Condition::Request(rule) => Check::Request(rule.clone()),
                Condition::Scopes(rule) => Check::Scopes(rule.clone()),
            });
        }
        Ok(Self { checks, external })
    }

    /// Fields that only a decision point may set for the upstream, in lower case.
    pub fn owned_fields(&self) -> impl Iterator<Item = &str> {
        self.external.iter().flat_map(DecisionPoint::owned_fields)
    }

    /// What remembered Cedar decisions take.
    pub(crate) fn held(&self) -> Held {
        let cedar = |check: &Check| match check {
            Check::Cedar(check) => check.held(),
            Check::Addresses(_) | Check::Claims(_) | Check::Hours(..) | Check::Request(_) | Check::Scopes(_) => {
                Held::default()
            }
        };
        self.checks.iter().map(cedar).sum()
    }

    /// Decides: the first condition that does not hold refuses.
    pub async fn authorize(&self, asked: &AuthorizationInput<'_>) -> Result<Permit, Refusal> {
        self.checks.iter().try_for_each(|check| check.judge(asked))?;
        match &self.external {
            None => Ok(Permit::new(Vec::new(), false)),
            Some(point) => point.consult(asked).await.map(|told| Permit::new(told.headers, told.failed_open)),
        }
    }
}

impl Check {
    fn judge(&self, asked: &AuthorizationInput<'_>) -> Result<(), Refusal> {
        let (judgement, fails, fault) = match self {
            Self::Request(rule) => {
                (request::judge(rule, asked), Forbidden::RequestNotAllowed, Forbidden::RequestUndecidable)
            }
            Self::Addresses(rule) => {
                let judgement = asked.address.map_or(Judgement::Fault, |address| Judgement::of(rule.admits(address)));
                (judgement, Forbidden::Address, Forbidden::Address)
            }
            Self::Hours(hours, zone) => {
                (hours.judge(zone, asked.now.0), Forbidden::OutsideHours, Forbidden::OutsideHours)
            }
            Self::Scopes(rule) => return scopes(rule, asked),
            Self::Cedar(check) => return check.judge(asked),
            Self::Claims(rules) => {
                let credential = asked.caller.ok_or(Refusal::NoCaller)?;
                let claims = credential.claims().object();
                let judgement = Judgement::all(rules.iter().map(|rule| rule.judge(&claims)));
                (judgement, Forbidden::ClaimMissing, Forbidden::ClaimUndecidable)
            }
        };
        match judgement {
            Judgement::Holds => Ok(()),
            Judgement::Fails => Err(Refusal::Forbidden(fails)),
            Judgement::Fault => Err(Refusal::Forbidden(fault)),
        }
    }
}

/// Nobody carries no scope, and is asked for a token rather than told that it lacks a scope.
fn scopes(rule: &ScopeRule, asked: &AuthorizationInput<'_>) -> Result<(), Refusal> {
    let credential = asked.caller.ok_or(Refusal::NoCaller)?;
    let holds = rule.satisfied_by(|scope| credential.claims().has_scope(scope));
    if holds { Ok(()) } else { Err(Refusal::InsufficientScope) }
}
