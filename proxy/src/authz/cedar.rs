//! Attribute rules in Cedar. The policies of a rule are parsed before the swap and stand alone: what other rules hold
//! costs nothing here. The principal is built once and kept with the caller's facts; of context and resource only that
//! is built which the text reads.
//!
//! Decisions are remembered only under everything that the text can see: the principal as it was built, the action, and
//! the value of every attribute that the compiler found in the text. A text that reads the time is decided anew.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    str::FromStr,
};

use aws_lc_rs::digest::{SHA256, digest};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression,
};
use portreeve_policy::{CEDAR_ACTIONS, CedarRead, CedarRule, gate};

use super::{
    AuthorizationInput, Forbidden, Refusal,
    principal::{Principal, uid},
    values::{self, Constructors},
};
use crate::{
    authn::Derived,
    bounded_cache::{BoundedCache, Held},
    heap_size::{HeapSize, allocation},
};

/// Policies of one rule, ready.
pub(super) struct CedarCheck {
    policies: PolicySet,
    authorizer: Authorizer,
    rule: CedarRule,
    /// Digest of everything that decides how a principal is built.
    recipe: [u8; 32],
    actions: HashMap<&'static str, (u8, EntityUid)>,
    resource: EntityUid,
    route: EntityUid,
    names: Names,
    constructors: Constructors,
    /// Decisions by everything that they were made from; `None` where the time is read.
    remembered: Option<BoundedCache<Seen, Decision>>,
}

/// Type names, parsed once.
#[derive(Clone)]
pub(super) struct Names {
    pub(super) user: EntityTypeName,
    pub(super) role: EntityTypeName,
    pub(super) group: EntityTypeName,
    pub(super) client: EntityTypeName,
}

/// Everything that a text can see of a request.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Seen {
    /// Number of the principal; no two that were built ever had the same.
    principal: u64,
    action: u8,
    address: Option<IpAddr>,
    tls: Option<bool>,
    /// Host, path, headers and path parameters, as far as they are read, each led by its length.
    texts: Box<[u8]>,
}

/// Texts that are no Cedar policies, which the compiler would not have let through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the Cedar policies cannot be read: {0}")]
pub struct InvalidCedar(String);

/// Bytes of decisions that one rule remembers at the most.
const MAX_BYTES: u64 = 1 << 20;

impl HeapSize for Seen {
    fn heap_bytes(&self) -> usize {
        allocation(self.texts.len())
    }
}

impl HeapSize for Decision {
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl CedarCheck {
    /// Makes the policies of a rule ready. `route` is `namespace/name`.
    pub(super) fn new(rule: &CedarRule, route: &str, rule_name: &str) -> Result<Self, InvalidCedar> {
        // The operator is trusted, the text is a tenant's.
        gate::cedar(&rule.text).map_err(|(_, reason)| InvalidCedar(reason.to_string()))?;
        let policies = PolicySet::from_str(&rule.text).map_err(|error| InvalidCedar(error.to_string()))?;
        let name = |text: &str| EntityTypeName::from_str(text).map_err(|error| InvalidCedar(error.to_string()));
        let (action, rules) = (name("Action")?, name("Rule")?);
        let numbered = CEDAR_ACTIONS.iter().zip(0_u8..);
        let actions = numbered.map(|(method, number)| (*method, (number, uid(&action, method))));
        let made_of = serde_json::to_vec(&(&rule.claims, &rule.roles, &rule.groups));
        let made_of = made_of.map_err(|error| InvalidCedar(error.to_string()))?;
        let mut recipe = [0; 32];
        recipe.copy_from_slice(digest(&SHA256, &made_of).as_ref());
        let names = Names { user: name("User")?, role: name("Role")?, group: name("Group")?, client: name("Client")? };
        let remembers = !rule.reads.contains(&CedarRead::Time);
        Ok(Self {
            policies,
            authorizer: Authorizer::new(),
            recipe,
            actions: actions.collect(),
            resource: uid(&rules, &format!("{route}/{rule_name}")),
            route: uid(&name("Route")?, route),
            names,
            constructors: Constructors::new().ok_or_else(|| InvalidCedar("no extension types".to_owned()))?,
            remembered: remembers.then(|| BoundedCache::new(MAX_BYTES)),
            rule: rule.clone(),
        })
    }

    /// What its memory takes.
    pub(super) fn held(&self) -> Held {
        self.remembered.as_ref().map(BoundedCache::held).unwrap_or_default()
    }

    /// Decides.
    pub(super) fn judge(&self, asked: &AuthorizationInput<'_>) -> Result<(), Refusal> {
        let credential = asked.caller.ok_or(Refusal::NoCaller)?;
        let claims = credential.claims();
        let make = || Principal::new(&self.rule, &self.names, credential);
        let principal = claims.derived(&self.recipe, make);
        let is_kept = matches!(principal, Derived::Memoized(_));
        let undecidable = Refusal::Forbidden(Forbidden::CedarUndecidable);
        let principal = principal.as_ref().ok();
        let action = self.actions.get(asked.method);
        let (Some(principal), Some((number, action))) = (principal, action) else { return Err(undecidable) };
        // A principal that is not kept never comes again.
        let cache = self.remembered.as_ref().filter(|_| is_kept);
        let seen = cache.map(|cache| (cache, self.seen(principal, *number, asked)));
        let known = seen.as_ref().and_then(|(cache, seen)| cache.get(seen));
        let decision = known.map_or_else(|| self.decide(principal, action, asked), Some).ok_or(undecidable)?;
        if let (None, Some((cache, seen))) = (known, seen) {
            cache.insert(seen, decision);
        }
        match decision {
            Decision::Allow => Ok(()),
            Decision::Deny => Err(Refusal::Forbidden(Forbidden::CedarDenied)),
        }
    }

    /// `None` when any policy failed: Cedar would leave it out, and a `forbid` left out would permit.
    fn decide(&self, principal: &Principal, action: &EntityUid, asked: &AuthorizationInput<'_>) -> Option<Decision> {
        let context = self.context(asked)?;
        let request = Request::new(principal.uid.clone(), action.clone(), self.resource.clone(), context, None).ok()?;
        let response = if self.rule.reads.contains(&CedarRead::Resource) {
            let resource = self.resource(asked)?;
            let entity = principal.alone.get(&principal.uid)?.clone();
            let both = Entities::from_entities([entity, resource], None).ok()?;
            self.authorizer.is_authorized(&request, &self.policies, &both)
        } else {
            self.authorizer.is_authorized(&request, &self.policies, &principal.alone)
        };
        response.diagnostics().errors().next().is_none().then(|| response.decision())
    }

    /// What the text reads of the request; `None` when that cannot be told.
    fn context(&self, asked: &AuthorizationInput<'_>) -> Option<Context> {
        let mut pairs = Vec::with_capacity(self.rule.reads.len());
        for read in &self.rule.reads {
            let value = match read {
                CedarRead::Address => self.constructors.address(asked.address?)?,
                CedarRead::Headers => values::lines(self.headers(asked)?.into_iter()),
                CedarRead::Host => asked.host?.into(),
                CedarRead::Path => asked.path.into(),
                CedarRead::Time => self.constructors.moment(asked.now)?,
                CedarRead::Tls => asked.tls?.into(),
                CedarRead::Resource => continue,
            };
            pairs.push((read.context_attribute()?, value));
        }
        Some(values::context(pairs.into_iter()))
    }

    /// Lines by name; a line that is no text cannot be judged.
    fn headers<'a>(&'a self, asked: &AuthorizationInput<'a>) -> Option<Vec<(&'a str, Vec<&'a str>)>> {
        let mut found = Vec::new();
        for name in &self.rule.headers {
            let lines: Vec<_> =
                asked.headers.get_all(name).iter().map(|line| line.to_str().ok()).collect::<Option<_>>()?;
            if !lines.is_empty() {
                found.push((name.as_str(), lines));
            }
        }
        Some(found)
    }

    fn resource(&self, asked: &AuthorizationInput<'_>) -> Option<Entity> {
        let known = asked.parameters.iter().filter(|(name, _)| self.rule.path_parameters.contains(*name));
        let values = known.map(|(name, value)| (name.to_owned(), RestrictedExpression::new_string(value.into_owned())));
        let parameters = RestrictedExpression::new_record(values).ok()?;
        let attributes = HashMap::from([("parameters".to_owned(), parameters)]);
        Entity::new(self.resource.clone(), attributes, HashSet::from([self.route.clone()])).ok()
    }

    fn seen(&self, principal: &Principal, action: u8, asked: &AuthorizationInput<'_>) -> Seen {
        let mut texts = Vec::new();
        let mut note = |text: &[u8]| {
            texts.extend_from_slice(&text.len().to_le_bytes());
            texts.extend_from_slice(text);
        };
        let (mut address, mut tls) = (None, None);
        for read in &self.rule.reads {
            match read {
                CedarRead::Address => address = asked.address,
                CedarRead::Tls => tls = asked.tls,
                // Without a host nothing is decided, and so nothing is remembered.
                CedarRead::Host => note(asked.host.unwrap_or_default().as_bytes()),
                CedarRead::Path => note(asked.path.as_bytes()),
                CedarRead::Headers => {
                    for name in &self.rule.headers {
                        let lines = asked.headers.get_all(name);
                        note(&lines.iter().count().to_le_bytes());
                        lines.iter().for_each(|line| note(line.as_bytes()));
                    }
                }
                CedarRead::Resource => {
                    for name in &self.rule.path_parameters {
                        let value = asked.parameters.get(name);
                        note(&[u8::from(value.is_some())]);
                        note(value.as_deref().unwrap_or_default().as_bytes());
                    }
                }
                // Nothing is remembered of texts that read the time.
                CedarRead::Time => {}
            }
        }
        Seen { principal: principal.number, action, address, tls, texts: texts.into() }
    }
}

impl std::fmt::Debug for CedarCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CedarCheck").field("rule", &self.rule).finish_non_exhaustive()
    }
}

pub(super) fn entity_id(text: &str) -> EntityId {
    EntityId::new(text)
}

#[cfg(test)]
mod tests;
