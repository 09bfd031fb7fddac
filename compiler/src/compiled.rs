//! The compiler itself: the passes in order, and what they leave.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portreeve_crds::{
    ConditionReason, Object, ObjectKind, ObjectRef, Unreadable,
    v1alpha1::{ApiPolicy, ApiRoute, OwnedScopes, PolicyMode},
};
use portreeve_policy::{Authorization, Condition, NamespacedName, Refusal, RefusalReason, Route, Snapshot};

use crate::{
    Diagnostic, Inventory, Options, Severity,
    attach::{BlockKind, BlockSet, Blocks, PolicyIndex, PolicyState, unreadable_policy},
    cedar::resolve_cedar,
    collide::collisions,
    emit::emit_route,
    external::resolve_external,
    references::{self, Reference, references},
    resolve::{References, Services, Unresolved},
    scopes::ScopeOwners,
    strays::free_name,
    validate::{
        PolicyAge, Selector, ValidPolicy, ValidRoute, generation, unreadable_route, validate_policy, validate_route,
    },
};

/// Everything that follows from an inventory.
#[derive(Clone, Default)]
pub struct Compiled {
    /// What each pod shall run. Pods with the same routes share one value.
    pub snapshots: BTreeMap<NamespacedName, Arc<Snapshot>>,
    /// Every route as a resource, also those that no pod carries.
    pub routes: BTreeMap<NamespacedName, Arc<Route>>,
    /// Which Ready pods are to run a route.
    pub ready_pods: BTreeMap<NamespacedName, BTreeSet<NamespacedName>>,
    /// What is to be told of each object.
    pub findings: BTreeMap<ObjectRef, Findings>,
    /// Whose scopes are whose, for whoever registers.
    pub scope_owners: Arc<ScopeOwners>,
    /// Every finding of every pass, in the order of objects and fields.
    pub diagnostics: Vec<Diagnostic>,
}

/// What is known of one object before any proxy answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// The generation that was compiled.
    pub generation: u64,
    /// Why it was not accepted.
    pub not_accepted: Option<Unresolved>,
    /// Which reference does not hold.
    pub unresolved: Option<Unresolved>,
    /// Why something of it is refused although it is valid itself.
    pub refusing: Option<Unresolved>,
    /// The routes whose acknowledgement makes it programmed.
    pub routes: BTreeSet<NamespacedName>,
    /// Signing keys in use, for a TokenService.
    pub keys: Option<usize>,
    /// What became of the scopes that an ApiRoute names, if it names some.
    pub scopes: Option<Result<(), Unresolved>>,
    /// The scopes that an ApiRoute owns.
    pub owned_scopes: Vec<OwnedScopes>,
}

/// Compiles an inventory. Total and deterministic.
pub fn compile(inventory: &Inventory, options: Options) -> Compiled {
    compile_with(inventory, options, &())
}

/// Learns which object is being compiled, so that one that takes long can be named.
pub trait Progress {
    /// The compiler turns to this object.
    fn object(&self, object: &ObjectRef);
}

impl Progress for () {
    fn object(&self, _: &ObjectRef) {}
}

/// The same as [`compile`], and says how far it is.
pub fn compile_with(inventory: &Inventory, options: Options, progress: &dyn Progress) -> Compiled {
    let referred = references(inventory);
    let within;
    let inventory = if referred.over.is_empty() {
        inventory
    } else {
        within = within_bounds(inventory, &referred);
        &within
    };
    let mut compiler = Compiler { inventory, options, progress, compiled: Compiled::default() };
    let (services, mut emitted) = compiler.token_services();
    let routes = compiler.routes();
    let policies = compiler.policies(&services);
    let groups = compiler.group_pods(&routes);
    let distinct: BTreeSet<_> = groups.values().cloned().collect();
    let valid: BTreeMap<_, _> = routes.iter().map(|(name, (route, _))| (name.clone(), route.clone())).collect();
    let collided = collisions(&distinct, &valid);
    let mut index = PolicyIndex::new(&policies, &valid, compiler.closures());
    for (name, (route, fault)) in &routes {
        let resource = emit_route(name, route, fault.as_deref(), &collided, &mut index);
        compiler.compiled.routes.insert(name.clone(), Arc::new(resource));
    }
    compiler.report_routes(&collided);
    compiler.report_policies(index.into_attachments());
    compiler.report_missing(&mut emitted);
    let owners = ScopeOwners::of(inventory);
    compiler.report_scopes(&owners);
    compiler.registrations(&owners);
    compiler.compiled.scope_owners = Arc::new(owners);
    compiler.bypasses(&valid);
    for (object, message) in referred.over {
        let fault = Diagnostic::error(&object, "", ConditionReason::LimitExceeded, message);
        compiler.findings(&object).not_accepted = None;
        compiler.reject(&object, vec![fault]);
    }
    let mut shared: BTreeMap<Vec<NamespacedName>, Arc<Snapshot>> = BTreeMap::new();
    for (pod, names) in groups {
        let make = |names: &Vec<_>| Arc::new(emitted.snapshot(names, &compiler.compiled.routes));
        let snapshot = shared.entry(names.clone()).or_insert_with_key(make);
        compiler.compiled.snapshots.insert(pod, Arc::clone(snapshot));
    }
    compiler.compiled.diagnostics.sort();
    compiler.compiled.diagnostics.dedup();
    compiler.compiled
}

/// The inventory with no more Secrets and ConfigMaps than are read: what refers to too many gets none.
fn within_bounds(inventory: &Inventory, referred: &references::References) -> Inventory {
    let mut within = inventory.clone();
    within.secrets.retain(|name, _| referred.wanted.contains(&Reference::Secret(name.clone())));
    within.config_maps.retain(|name, _| referred.wanted.contains(&Reference::ConfigMap(name.clone())));
    within
}

/// The passes' common state.
pub(crate) struct Compiler<'a> {
    pub(crate) inventory: &'a Inventory,
    pub(crate) options: Options,
    progress: &'a dyn Progress,
    pub(crate) compiled: Compiled,
}

impl Compiler<'_> {
    pub(crate) fn findings(&mut self, object: &ObjectRef) -> &mut Findings {
        self.compiled.findings.entry(object.clone()).or_default()
    }

    pub(crate) fn begin(&self, kind: ObjectKind, name: &NamespacedName) -> ObjectRef {
        let object = reference(kind, name);
        self.progress.object(&object);
        object
    }

    /// Notes the faults of an object; the first one becomes its condition.
    pub(crate) fn reject(&mut self, object: &ObjectRef, faults: Vec<Diagnostic>) {
        if let Some(first) = faults.first() {
            let told = (first.reason, summary(&faults));
            self.findings(object).not_accepted.get_or_insert(told);
        }
        self.compiled.diagnostics.extend(faults);
    }

    /// Objects of a kind that could not be read, each rejected on the way.
    pub(crate) fn unreadable(&mut self, kind: ObjectKind) -> Vec<Arc<Unreadable>> {
        let of_kind = |(_, unreadable): &(&ObjectRef, &Arc<Unreadable>)| unreadable.object.kind == kind;
        let found: Vec<_> = self.inventory.unreadable.iter().filter(of_kind).map(|(_, u)| Arc::clone(u)).collect();
        for unreadable in &found {
            let Unreadable { object, path, message, value, others: _, understood: _ } = unreadable.as_ref();
            let generation = value.pointer("/metadata/generation").and_then(serde_json::Value::as_u64).unwrap_or(0);
            self.findings(object).generation = generation;
            let fault = Diagnostic::error(object, path, ConditionReason::UnsupportedField, message);
            self.reject(object, vec![fault]);
        }
        found
    }

    /// Every route that can be matched at all, with what is wrong with it.
    fn routes(&mut self) -> BTreeMap<NamespacedName, (ValidRoute, Option<String>)> {
        let mut routes = BTreeMap::new();
        for unreadable in self.unreadable(ObjectKind::ApiRoute) {
            let Some(name) = name_of(&unreadable.object) else { continue };
            if let Some(Object::ApiRoute(route)) = &unreadable.understood {
                self.route(name.clone(), route);
            }
            self.findings(&unreadable.object).routes.insert(name.clone());
            routes.insert(name, (unreadable_route(&unreadable.value), Some(unreadable.place_and_message())));
        }
        for (name, route) in &self.inventory.routes {
            routes.insert(name.clone(), self.route(name.clone(), route));
        }
        for (namespace, stray) in self.strays(ObjectKind::ApiRoute) {
            let Some(name) = free_name(&namespace, |name| routes.contains_key(name)) else { continue };
            let route = ValidRoute { age: PolicyAge::oldest(), ..unreadable_route(&stray.value) };
            routes.insert(name, (route, Some(stray.message.clone())));
        }
        routes
    }

    /// The route, and the faults that refuse it.
    fn route(&mut self, name: NamespacedName, route: &ApiRoute) -> (ValidRoute, Option<String>) {
        let object = self.begin(ObjectKind::ApiRoute, &name);
        let (valid, faults) = validate_route(&object, route);
        let fault = (!faults.is_empty()).then(|| summary(&faults));
        let findings = self.findings(&object);
        findings.generation = generation(&route.metadata);
        findings.routes.insert(name);
        self.reject(&object, faults);
        (valid, fault)
    }

    fn policies(&mut self, services: &Services) -> Vec<PolicyState> {
        let mut states = Vec::new();
        for unreadable in self.unreadable(ObjectKind::ApiPolicy) {
            let Some(name) = name_of(&unreadable.object) else { continue };
            let message = unreadable.to_string();
            let refusal = Refusal { reason: RefusalReason::InvalidPolicy, message };
            states.push(unreadable_policy(name, &unreadable.value, refusal));
        }
        for (name, policy) in &self.inventory.policies {
            states.extend(self.policy(name, policy, services));
        }
        for (namespace, stray) in self.strays(ObjectKind::ApiPolicy) {
            let taken = |name: &NamespacedName| states.iter().any(|state: &PolicyState| state.name == *name);
            let Some(name) = free_name(&namespace, taken) else { continue };
            let refusal = Refusal { reason: RefusalReason::InvalidPolicy, message: stray.message.clone() };
            let state = unreadable_policy(name, &stray.value, refusal);
            // It may take the place of any policy, so that it stands for all that one may have said.
            states.push(PolicyState { age: PolicyAge::oldest(), blocks: state.blocks.of_any_kind(), ..state });
        }
        states
    }

    fn policy(&mut self, name: &NamespacedName, policy: &ApiPolicy, services: &Services) -> Vec<PolicyState> {
        let object = self.begin(ObjectKind::ApiPolicy, name);
        self.findings(&object).generation = generation(&policy.metadata);
        let (targets, valid) = validate_policy(&object, policy);
        let valid = valid.and_then(|valid| self.add_resolved(&object, policy, valid));
        let mut in_dry_run = None;
        let blocks = match valid {
            Err(faults) => self.faulty(&object, (name, policy), faults),
            Ok(valid) => {
                let references = References { inventory: self.inventory, services, namespace: name.namespace() };
                match valid.authentication.map(|draft| references.authentication(draft)).transpose() {
                    Ok(authentication)
                        if valid.authorization_mode == PolicyMode::Shadow
                            && policy.spec.mode == PolicyMode::Enforce =>
                    {
                        in_dry_run =
                            Some(Blocks::Valid(BlockSet { authorization: valid.authorization, ..BlockSet::default() }));
                        Blocks::Valid(BlockSet { authentication, authorization: None, limits: valid.limits })
                    }
                    Ok(authentication) => {
                        let (authorization, limits) = (valid.authorization, valid.limits);
                        Blocks::Valid(BlockSet { authentication, authorization, limits })
                    }
                    Err((path, (reason, message))) => {
                        let findings = self.findings(&object);
                        if reason == ConditionReason::Invalid {
                            findings.not_accepted = Some((reason, format!("{path}: {message}")));
                        } else {
                            findings.unresolved = Some((reason, format!("{path}: {message}")));
                        }
                        let refused = broken(name, RefusalReason::UnresolvedReference, &message, policy);
                        self.compiled.diagnostics.push(Diagnostic::error(&object, path, reason, message));
                        refused
                    }
                }
            }
        };
        let state = PolicyState {
            name: name.clone(),
            generation: generation(&policy.metadata),
            age: PolicyAge::of(&policy.metadata),
            precedence: policy.spec.precedence,
            mode: policy.spec.mode,
            targets,
            blocks,
        };
        let shadow = |blocks| PolicyState { mode: PolicyMode::Shadow, blocks, ..state.clone() };
        let in_dry_run = in_dry_run.map(shadow);
        // With nothing in force it must not hold a place that another policy could have.
        let says_nothing = matches!(&state.blocks, Blocks::Valid(set) if *set == BlockSet::default());
        (!says_nothing).then_some(state).into_iter().chain(in_dry_run).collect()
    }

    /// A policy with faults; where only references are at fault it is accepted, and cannot be enforced.
    fn faulty(
        &mut self,
        object: &ObjectRef,
        (name, policy): (&NamespacedName, &ApiPolicy),
        faults: Vec<Diagnostic>,
    ) -> Blocks {
        let Some(fault) = faults.iter().find(|fault| fault.reason == ConditionReason::UnresolvedReference) else {
            let blocks = broken(name, RefusalReason::InvalidPolicy, &summary(&faults), policy);
            self.reject(object, faults);
            return blocks;
        };
        let (reason, message) = (fault.reason, summary(&faults));
        let blocks = broken(name, RefusalReason::UnresolvedReference, &message, policy);
        self.findings(object).unresolved = Some((reason, message));
        self.compiled.diagnostics.extend(faults);
        blocks
    }

    /// The blocks that refer to other objects join the others.
    fn add_resolved(
        &self,
        object: &ObjectRef,
        policy: &ApiPolicy,
        mut valid: ValidPolicy,
    ) -> Result<ValidPolicy, Vec<Diagnostic>> {
        let (Some(spec), Some(Authorization::AllOf(conditions))) =
            (&policy.spec.authorization, &mut valid.authorization)
        else {
            return Ok(valid);
        };
        if let Some(spec) = &spec.cedar {
            conditions.push(Condition::Cedar(Box::new(resolve_cedar(self.inventory, object, spec)?)));
        }
        if let Some(spec) = &spec.external {
            let rule = resolve_external(self.inventory, self.options, object, spec)?;
            conditions.push(Condition::External(Box::new(rule)));
        }
        Ok(valid)
    }

    /// Which routes each pod carries.
    fn group_pods(
        &mut self,
        routes: &BTreeMap<NamespacedName, (ValidRoute, Option<String>)>,
    ) -> BTreeMap<NamespacedName, Vec<NamespacedName>> {
        let mut by_namespace: BTreeMap<&str, Vec<(&NamespacedName, &ValidRoute)>> = BTreeMap::new();
        for (name, (route, _)) in routes {
            by_namespace.entry(name.namespace()).or_default().push((name, route));
        }
        let mut by_labels: BTreeMap<(&str, &BTreeMap<String, String>), Vec<NamespacedName>> = BTreeMap::new();
        let mut groups = BTreeMap::new();
        for (pod, facts) in &self.inventory.pods {
            let namespace = pod.namespace();
            let names = by_labels.entry((namespace, &facts.labels)).or_insert_with(|| {
                let here = by_namespace.get(namespace).map(Vec::as_slice).unwrap_or_default();
                here.iter()
                    .filter(|(_, route)| selects(&route.selector, &facts.labels))
                    .map(|(n, _)| (*n).clone())
                    .collect()
            });
            if facts.ready {
                for name in names.iter() {
                    self.compiled.ready_pods.entry(name.clone()).or_default().insert(pod.clone());
                }
            }
            groups.insert(pod.clone(), names.clone());
        }
        groups
    }
}

impl Compiled {
    /// Whether anything is refused because of a fault.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

fn selects(selector: &Selector, labels: &BTreeMap<String, String>) -> bool {
    match selector {
        Selector::Labels(wanted) => wanted.iter().all(|(key, value)| labels.get(key) == Some(value)),
        Selector::Unreadable => true,
    }
}

pub(crate) fn reference(kind: ObjectKind, name: &NamespacedName) -> ObjectRef {
    ObjectRef::new(kind, name.namespace(), name.name())
}

fn name_of(object: &ObjectRef) -> Option<NamespacedName> {
    NamespacedName::new(&object.namespace, &object.name).ok()
}

/// Who may call is always among the blocks that a broken policy keeps from others; limits are where it sets some, or
/// where it sets nothing.
fn broken(name: &NamespacedName, reason: RefusalReason, message: &str, policy: &ApiPolicy) -> Blocks {
    let spec = &policy.spec;
    let limits = spec.limits.is_some() || (spec.authentication.is_none() && spec.authorization.is_none());
    let blocks = BlockKind::ALL.into_iter().filter(|kind| *kind != BlockKind::Limits || limits).collect();
    Blocks::Broken(Refusal { reason, message: format!("ApiPolicy {name}: {message}") }, blocks)
}

/// All faults of an object in one line.
fn summary(faults: &[Diagnostic]) -> String {
    let one = |fault: &Diagnostic| {
        if fault.path.is_empty() { fault.message.clone() } else { format!("{}: {}", fault.path, fault.message) }
    };
    faults.iter().map(one).collect::<Vec<_>>().join("; ")
}
