//! Third pass: policies meet their targets. Precedence follows GEP-713: a namespace's overrides beat a rule's policy,
//! which beats the route's, which beats the namespace's defaults. Of two policies of one rank the older one wins.
//!
//! Precedence is settled for each block (authentication, authorization) by itself; a block is taken whole, never merged.

mod dangling;
mod unreadable;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use dangling::Dangling;

use portreeve_crds::v1alpha1::{PolicyMode, Precedence};
use portreeve_policy::{
    Access, Authentication, Authorization, NamespacedName, PolicyOrigin, Refusal, RefusalReason, Shadow,
};

pub(crate) use unreadable::unreadable_policy;

use crate::validate::{PolicyAge, Target, ValidRoute};

/// A policy, settled or broken, with what it points to.
#[derive(Debug, Clone)]
pub(crate) struct PolicyState {
    pub(crate) name: NamespacedName,
    pub(crate) generation: u64,
    pub(crate) seniority: PolicyAge,
    pub(crate) precedence: Precedence,
    pub(crate) mode: PolicyMode,
    pub(crate) targets: Vec<Target>,
    pub(crate) blocks: Blocks,
}

/// What a policy says.
#[derive(Debug, Clone)]
pub(crate) enum Blocks {
    /// It cannot be run, so wherever it would have a say, everything is refused.
    Broken(Refusal),
    /// What it says, block by block.
    Settled { authentication: Option<Authentication>, authorization: Option<Authorization> },
}

/// What became of one policy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attachment {
    /// Routes with a rule that it governs or was meant to govern.
    pub(crate) routes: BTreeSet<NamespacedName>,
    /// Targets that do not exist, by position.
    pub(crate) missing: Vec<(usize, String)>,
    /// Older policies of the same rank that hold a target, by position.
    pub(crate) conflicts: Vec<(usize, NamespacedName)>,
}

/// The settled access of one rule.
#[derive(Debug, Clone)]
pub(crate) struct EffectiveAccess {
    pub(crate) access: Access,
    pub(crate) policies: Vec<PolicyOrigin>,
    pub(crate) shadows: Vec<Shadow>,
}

type AttachmentPoint = (String, Target, bool);

/// What is refused whatever the policies say, since what was to govern there cannot be told.
/// By namespace; `None` stands for every one.
pub(crate) type Closures = BTreeMap<Option<String>, Refusal>;

/// Policies by what they point to; in each slot only the established one.
pub(crate) struct PolicyIndex<'a> {
    slots: BTreeMap<AttachmentPoint, &'a PolicyState>,
    closures: Closures,
    /// Policies with a target that cannot be read, by namespace and perhaps the route that it names.
    closing: BTreeMap<(String, Option<String>), &'a PolicyState>,
    /// Policies with a target that does not exist, by namespace: those of one cost the others nothing.
    dangling: BTreeMap<&'a str, Vec<Dangling<'a>>>,
    /// Policies on trial: every one of a slot, for none of them takes part in anything.
    on_trial: BTreeMap<AttachmentPoint, Vec<&'a PolicyState>>,
    attachments: BTreeMap<NamespacedName, Attachment>,
}

impl<'a> PolicyIndex<'a> {
    pub(crate) fn new(
        policies: &'a [PolicyState],
        routes: &BTreeMap<NamespacedName, ValidRoute>,
        closures: Closures,
    ) -> Self {
        let mut ranked: Vec<_> = policies.iter().collect();
        ranked.sort_by_key(|policy| (&policy.seniority, &policy.name));
        let mut index = Self {
            slots: BTreeMap::new(),
            closures,
            closing: BTreeMap::new(),
            dangling: BTreeMap::new(),
            on_trial: BTreeMap::new(),
            attachments: BTreeMap::new(),
        };
        for policy in ranked {
            let attachment = index.attachments.entry(policy.name.clone()).or_default();
            for (position, target) in policy.targets.iter().enumerate() {
                if let Target::Unclear(named) = target {
                    if policy.mode == PolicyMode::Enforce {
                        let place = unclear_place(policy.name.namespace(), named.as_deref(), routes);
                        index.closing.entry(place).or_insert(policy);
                    }
                    continue;
                }
                if let Some(missing) = missing_target(policy.name.namespace(), target, routes) {
                    let dangling = Dangling::new(policy, target, &missing, routes);
                    index.dangling.entry(policy.name.namespace()).or_default().extend(dangling);
                    attachment.missing.push((position, missing));
                    continue;
                }
                let overrides = policy.precedence == Precedence::Overrides && *target == Target::Namespace;
                let slot = (policy.name.namespace().to_owned(), target.clone(), overrides);
                if policy.mode == PolicyMode::Shadow {
                    index.on_trial.entry(slot).or_default().push(policy);
                    continue;
                }
                let holder = *index.slots.entry(slot).or_insert(policy);
                if holder.name != policy.name {
                    attachment.conflicts.push((position, holder.name.clone()));
                }
            }
        }
        index
    }

    /// Settles one rule; notes the route with every policy on the way.
    pub(crate) fn settle(&mut self, route: &NamespacedName, rule: &str) -> EffectiveAccess {
        if let Some(closed) = self.closed(route) {
            return closed;
        }
        let namespace = route.namespace().to_owned();
        let on_route = || Target::Route(route.name().to_owned());
        let places = [
            (Target::Namespace, true),
            (Target::Rule(route.name().to_owned(), rule.to_owned()), false),
            (on_route(), false),
            (Target::Namespace, false),
        ]
        .map(|(target, overrides)| (namespace.clone(), target, overrides));
        let chain: Vec<&PolicyState> = places.iter().filter_map(|slot| self.slots.get(slot).copied()).collect();
        let mut settled = settle_chain(&chain);
        let specific: Vec<_> = places.iter().map(|slot| self.slots.get(slot).copied()).collect();
        let mut dangling = self.dangling.get(route.namespace()).into_iter().flatten();
        if let Some(dangling) = dangling.find(|dangling| dangling.may_mean(route, rule, &specific)) {
            settled = refused(RefusalReason::UnresolvedReference, &dangling.message, &[dangling.policy]);
        }
        let mut attached = chain;
        for (rank, slot) in places.iter().enumerate() {
            for policy in self.on_trial.get(slot).into_iter().flatten().copied() {
                // What would be in force: it goes before the holder of its place, which keeps what it does not say.
                let (above, below) = places.split_at(rank);
                let in_force =
                    |slots: &[AttachmentPoint]| slots.iter().filter_map(|slot| self.slots.get(slot).copied()).collect();
                let (above, below): (Vec<_>, Vec<_>) = (in_force(above), in_force(below));
                let trial: Vec<_> = above.into_iter().chain([policy]).chain(below).collect();
                settled.shadows.push(Shadow { policy: origin(policy), access: settle_chain(&trial).access });
                attached.push(policy);
            }
        }
        for policy in attached {
            self.attachments.entry(policy.name.clone()).or_default().routes.insert(route.clone());
        }
        settled
    }

    /// The refusal of a route that is closed, or in a closed namespace.
    fn closed(&mut self, route: &NamespacedName) -> Option<EffectiveAccess> {
        let namespace = route.namespace().to_owned();
        let in_namespace = self.closures.get(&Some(namespace.clone()));
        if let Some(refusal) = self.closures.get(&None).or(in_namespace) {
            let access = Access::Refused(refusal.clone());
            return Some(EffectiveAccess { access, policies: Vec::new(), shadows: Vec::new() });
        }
        let of_route = (namespace.clone(), Some(route.name().to_owned()));
        let policy = *self.closing.get(&(namespace, None)).or_else(|| self.closing.get(&of_route))?;
        self.attachments.entry(policy.name.clone()).or_default().routes.insert(route.clone());
        Some(settle_chain(&[policy]))
    }

    /// What became of every policy.
    pub(crate) fn into_attachments(self) -> BTreeMap<NamespacedName, Attachment> {
        self.attachments
    }
}

/// What a target that cannot be read closes: the route that it names, if there is one, or the namespace.
fn unclear_place(
    namespace: &str,
    named: Option<&str>,
    routes: &BTreeMap<NamespacedName, ValidRoute>,
) -> (String, Option<String>) {
    let known = |name: &&str| {
        *name != namespace && NamespacedName::new(namespace, name).is_ok_and(|name| routes.contains_key(&name))
    };
    (namespace.to_owned(), named.filter(known).map(str::to_owned))
}

fn missing_target(namespace: &str, target: &Target, routes: &BTreeMap<NamespacedName, ValidRoute>) -> Option<String> {
    let find = |route: &str| NamespacedName::new(namespace, route).ok().and_then(|name| routes.get(&name));
    match target {
        Target::Namespace | Target::Unclear(_) => None,
        Target::Route(route) => find(route)
            .is_none()
            .then(|| format!("ApiRoute {namespace}/{route} does not exist; create it or correct the name")),
        Target::Rule(route, rule) => match find(route) {
            None => Some(format!("ApiRoute {namespace}/{route} does not exist; create it or correct the name")),
            Some(found) if found.rules.iter().any(|known| known.name == *rule) => None,
            Some(_) => Some(format!("ApiRoute {namespace}/{route} has no rule {rule:?}; correct sectionName")),
        },
    }
}

/// `chain` is in falling order of rank.
fn settle_chain(chain: &[&PolicyState]) -> EffectiveAccess {
    let mut authentication = None;
    let mut authorization = None;
    for (rank, policy) in chain.iter().enumerate() {
        match &policy.blocks {
            Blocks::Broken(refusal) if authentication.is_none() || authorization.is_none() => {
                return EffectiveAccess {
                    access: Access::Refused(refusal.clone()),
                    policies: vec![origin(policy)],
                    shadows: Vec::new(),
                };
            }
            Blocks::Broken(_) => {}
            Blocks::Settled { authentication: who, authorization: what } => {
                if let (None, Some(who)) = (&authentication, who) {
                    authentication = Some((rank, *policy, who.clone()));
                }
                if let (None, Some(what)) = (&authorization, what) {
                    authorization = Some((rank, *policy, what.clone()));
                }
            }
        }
    }
    let Some((rank, source, who)) = authentication else {
        let message = "no ApiPolicy on the rule, its route or its namespace says who may call; attach one \
                       (authentication: {anonymous: {}} is how one says \"open\")";
        return refused(RefusalReason::NoPolicy, message, chain);
    };
    let mut policies = vec![source];
    let authorization = match authorization {
        // A more specific "open" lifts what less specific policies ask of a caller, for there is none; what they ask of
        // request, place and time stays.
        Some((below, policy, what)) if who == Authentication::Anonymous && below > rank && what.needs_caller() => {
            let kept = what.without_caller();
            if kept != Authorization::Anyone {
                policies.push(policy);
            }
            kept
        }
        Some((_, above, what)) if who == Authentication::Anonymous && what.needs_caller() => {
            let message = format!(
                "ApiPolicy {} says \"open\", but ApiPolicy {} demands something of the caller and ranks higher",
                source.name, above.name
            );
            return refused(RefusalReason::InvalidPolicy, &message, &[source, above]);
        }
        Some((place, policy, what)) => {
            match place.cmp(&rank) {
                Ordering::Less => policies.insert(0, policy),
                Ordering::Equal => {}
                Ordering::Greater => policies.push(policy),
            }
            what
        }
        None => Authorization::Anyone,
    };
    EffectiveAccess {
        access: Access::Guarded { authentication: who, authorization },
        policies: policies.into_iter().map(origin).collect(),
        shadows: Vec::new(),
    }
}

fn refused(reason: RefusalReason, message: &str, policies: &[&PolicyState]) -> EffectiveAccess {
    let refusal = Refusal { reason, message: message.to_owned() };
    EffectiveAccess {
        access: Access::Refused(refusal),
        policies: policies.iter().map(|policy| origin(policy)).collect(),
        shadows: Vec::new(),
    }
}

fn origin(policy: &PolicyState) -> PolicyOrigin {
    PolicyOrigin { name: policy.name.clone(), generation: policy.generation }
}

#[cfg(test)]
mod tests;
