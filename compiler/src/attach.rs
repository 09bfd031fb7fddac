//! Third pass: policies meet their targets. Precedence follows GEP-713: a namespace's overrides beat a rule's policy,
//! which beats the route's, which beats the namespace's defaults. Of two policies of one rank the older one wins.
//!
//! Precedence is decided for each block (authentication, authorization, limits) by itself; a block is taken whole.

mod blocks;
mod dangling;
mod unreadable;

use std::collections::{BTreeMap, BTreeSet};

use dangling::Dangling;

use portreeve_crds::v1alpha1::{PolicyMode, Precedence};
use portreeve_policy::{
    Authentication, Authorization, Guard, Limits, NamespacedName, PolicyOrigin, Refusal, RefusalReason, RuleState,
    Shadow,
};

pub(crate) use blocks::{BlockKind, BlockSet, Blocks};
pub(crate) use unreadable::unreadable_policy;

use crate::validate::{PolicyAge, Target, ValidRoute};

/// A policy, valid or broken, with what it points to.
#[derive(Debug, Clone)]
pub(crate) struct PolicyState {
    pub(crate) name: NamespacedName,
    pub(crate) generation: u64,
    pub(crate) age: PolicyAge,
    pub(crate) precedence: Precedence,
    pub(crate) mode: PolicyMode,
    pub(crate) targets: Vec<Target>,
    pub(crate) blocks: Blocks,
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

/// What is in force for one rule.
#[derive(Debug, Clone)]
pub(crate) struct EffectiveRule {
    pub(crate) state: RuleState,
    pub(crate) policies: Vec<PolicyOrigin>,
    pub(crate) shadows: Vec<Shadow>,
}

type AttachmentPoint = (String, Target, bool);

/// What is refused whatever the policies say, since what was to govern there cannot be told.
/// By namespace; `None` stands for every one.
pub(crate) type Closures = BTreeMap<Option<String>, Refusal>;

/// Policies by what they point to; at each attachment point only the oldest.
pub(crate) struct PolicyIndex<'a> {
    points: BTreeMap<AttachmentPoint, &'a PolicyState>,
    closures: Closures,
    /// Policies with a target that cannot be read, by namespace and perhaps the route that it names.
    closing: BTreeMap<(String, Option<String>), &'a PolicyState>,
    /// Policies with a target that does not exist, by namespace: those of one cost the others nothing.
    dangling: BTreeMap<&'a str, Vec<Dangling<'a>>>,
    /// Policies in dry run: every one of a point, for none of them takes part in anything.
    in_dry_run: BTreeMap<AttachmentPoint, Vec<&'a PolicyState>>,
    attachments: BTreeMap<NamespacedName, Attachment>,
}

impl<'a> PolicyIndex<'a> {
    pub(crate) fn new(
        policies: &'a [PolicyState],
        routes: &BTreeMap<NamespacedName, ValidRoute>,
        closures: Closures,
    ) -> Self {
        let mut ranked: Vec<_> = policies.iter().collect();
        ranked.sort_by_key(|policy| (&policy.age, &policy.name));
        let mut index = Self {
            points: BTreeMap::new(),
            closures,
            closing: BTreeMap::new(),
            dangling: BTreeMap::new(),
            in_dry_run: BTreeMap::new(),
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
                let point = (policy.name.namespace().to_owned(), target.clone(), overrides);
                if policy.mode == PolicyMode::Shadow {
                    index.in_dry_run.entry(point).or_default().push(policy);
                    continue;
                }
                let winner = *index.points.entry(point).or_insert(policy);
                if winner.name != policy.name {
                    attachment.conflicts.push((position, winner.name.clone()));
                }
            }
        }
        index
    }

    /// Merges the policies of one rule; notes the route with every policy on the way.
    pub(crate) fn merge(&mut self, route: &NamespacedName, rule: &str) -> EffectiveRule {
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
        let chain: Vec<&PolicyState> = places.iter().filter_map(|point| self.points.get(point).copied()).collect();
        let mut merged = merge_chain(&chain);
        let specific: Vec<_> = places.iter().map(|point| self.points.get(point).copied()).collect();
        let mut dangling = self.dangling.get(route.namespace()).into_iter().flatten();
        if let Some(dangling) = dangling.find(|dangling| dangling.may_mean(route, rule, &specific)) {
            merged = refused(RefusalReason::UnresolvedReference, &dangling.message, &[dangling.policy]);
        }
        let mut attached = chain;
        for (rank, point) in places.iter().enumerate() {
            for policy in self.in_dry_run.get(point).into_iter().flatten().copied() {
                // What would be in force: it goes before the winner of its point, which keeps what it does not say.
                let (above, below) = places.split_at(rank);
                let in_force = |points: &[AttachmentPoint]| {
                    points.iter().filter_map(|point| self.points.get(point).copied()).collect()
                };
                let (above, below): (Vec<_>, Vec<_>) = (in_force(above), in_force(below));
                let chain: Vec<_> = above.into_iter().chain([policy]).chain(below).collect();
                merged.shadows.push(Shadow { policy: origin(policy), state: merge_chain(&chain).state });
                attached.push(policy);
            }
        }
        for policy in attached {
            self.attachments.entry(policy.name.clone()).or_default().routes.insert(route.clone());
        }
        merged
    }

    /// The refusal of a route that is closed, or in a closed namespace.
    fn closed(&mut self, route: &NamespacedName) -> Option<EffectiveRule> {
        let namespace = route.namespace().to_owned();
        let in_namespace = self.closures.get(&Some(namespace.clone()));
        if let Some(refusal) = self.closures.get(&None).or(in_namespace) {
            let state = RuleState::Refusing(refusal.clone());
            return Some(EffectiveRule { state, policies: Vec::new(), shadows: Vec::new() });
        }
        let of_route = (namespace.clone(), Some(route.name().to_owned()));
        let policy = *self.closing.get(&(namespace, None)).or_else(|| self.closing.get(&of_route))?;
        self.attachments.entry(policy.name.clone()).or_default().routes.insert(route.clone());
        Some(merge_chain(&[policy]))
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
fn merge_chain(chain: &[&PolicyState]) -> EffectiveRule {
    for (rank, policy) in chain.iter().enumerate() {
        let above = || chain.iter().take(rank);
        if let Blocks::Broken(refusal, blocks) = &policy.blocks
            && blocks.iter().any(|kind| !above().any(|policy| policy.blocks.says(*kind)))
        {
            let state = RuleState::Refusing(refusal.clone());
            return EffectiveRule { state, policies: vec![origin(policy)], shadows: Vec::new() };
        }
    }
    let authentication = first(chain, |set| set.authentication.as_ref());
    let Some((rank, source, who)) = authentication else {
        let message = "no ApiPolicy on the rule, its route or its namespace says who may call; attach one \
                       (authentication: {anonymous: {}} is how one says \"open\")";
        return refused(RefusalReason::NoPolicy, message, chain);
    };
    let open = who == Authentication::Anonymous;
    let mut sources = vec![(rank, source)];
    let contradicts = |above: &PolicyState| {
        let message = format!(
            "ApiPolicy {} says \"open\", but ApiPolicy {} demands something of the caller and ranks higher",
            source.name, above.name
        );
        refused(RefusalReason::InvalidPolicy, &message, &[source, above])
    };
    // A more specific "open" lifts what less specific policies ask of a caller, for there is none; what they ask of
    // request, place and time stays.
    let authorization = match first(chain, |set| set.authorization.as_ref()) {
        Some((place, policy, what)) => {
            if open && what.needs_caller() && place <= rank {
                return contradicts(policy);
            }
            let kept = if open { what.without_caller() } else { what };
            sources.extend((kept != Authorization::Anyone).then_some((place, policy)));
            kept
        }
        None => Authorization::Anyone,
    };
    let limits = match first(chain, |set| set.limits.as_ref()) {
        Some((place, policy, rules)) => {
            let limits = Limits::Limited(rules);
            if open && limits.needs_caller() && place <= rank {
                return contradicts(policy);
            }
            let kept = if open { limits.without_caller() } else { limits };
            sources.extend((kept != Limits::None).then_some((place, policy)));
            kept
        }
        None => Limits::None,
    };
    sources.sort_by_key(|(rank, _)| *rank);
    sources.dedup_by_key(|(rank, _)| *rank);
    EffectiveRule {
        state: RuleState::Ready(Guard { authentication: who, authorization, limits }),
        policies: sources.into_iter().map(|(_, policy)| origin(policy)).collect(),
        shadows: Vec::new(),
    }
}

/// The most specific policy that sets a block, with its rank.
fn first<'a, T: Clone>(
    chain: &[&'a PolicyState],
    block: fn(&BlockSet) -> Option<&T>,
) -> Option<(usize, &'a PolicyState, T)> {
    chain.iter().enumerate().find_map(|(rank, policy)| match &policy.blocks {
        Blocks::Broken(..) => None,
        Blocks::Valid(set) => block(set).map(|set| (rank, *policy, set.clone())),
    })
}

fn refused(reason: RefusalReason, message: &str, policies: &[&PolicyState]) -> EffectiveRule {
    let refusal = Refusal { reason, message: message.to_owned() };
    EffectiveRule {
        state: RuleState::Refusing(refusal),
        policies: policies.iter().map(|policy| origin(policy)).collect(),
        shadows: Vec::new(),
    }
}

fn origin(policy: &PolicyState) -> PolicyOrigin {
    PolicyOrigin { name: policy.name.clone(), generation: policy.generation }
}

#[cfg(test)]
mod tests;
