//! What is told of each object after its pass: findings for its status, diagnostics for people.

use std::collections::{BTreeMap, BTreeSet};

use portreeve_crds::{ConditionReason, ObjectKind};
use portreeve_policy::{NamespacedName, Refusal, RefusalReason, RuleState};

use crate::{
    Diagnostic, Severity,
    attach::Attachment,
    collide::Collision,
    compiled::{Compiler, reference},
    validate::{Selector, ValidRoute},
};

impl Compiler<'_> {
    pub(crate) fn report_routes(&mut self, collided: &BTreeSet<Collision>) {
        for Collision { route, rule, position, winner, remainder: _ } in collided {
            let object = reference(ObjectKind::ApiRoute, route);
            if !self.inventory.routes.contains_key(route) && !self.inventory.unreadable.contains_key(&object) {
                // A document that is no object has a fault with a place, and no status.
                continue;
            }
            let path = format!("spec.rules[{rule}].matches[{position}]");
            let message = format!(
                "ApiRoute {winner} is older and has the same host, path and method on the same pods; it keeps them"
            );
            let told = (ConditionReason::Conflicted, format!("{path}: {message}"));
            self.findings(&object).not_accepted.get_or_insert(told);
            self.compiled.diagnostics.push(Diagnostic::error(&object, path, ConditionReason::Conflicted, message));
        }
        for (name, route) in self.compiled.routes.clone() {
            let object = reference(ObjectKind::ApiRoute, &name);
            for rule in &route.rules {
                let RuleState::Refusing(Refusal { reason, message }) = &rule.state else { continue };
                let reason = match reason {
                    RefusalReason::InvalidRoute | RefusalReason::Conflicted => continue,
                    RefusalReason::Closed => ConditionReason::Closed,
                    RefusalReason::NoPolicy => ConditionReason::NoPolicy,
                    RefusalReason::InvalidPolicy => ConditionReason::InvalidPolicy,
                    RefusalReason::UnresolvedReference => ConditionReason::UnresolvedReference,
                };
                let told = format!("rule {:?} refuses everything: {message}", rule.name);
                self.findings(&object).refusing.get_or_insert_with(|| (reason, told.clone()));
                let position = self.position_of_rule(&name, &rule.name);
                let mut diagnostic = Diagnostic::error(&object, position, reason, told);
                if reason == ConditionReason::Closed {
                    // Whoever closed it meant to: somebody should know, nothing is to be corrected.
                    diagnostic.severity = Severity::Warning;
                }
                self.compiled.diagnostics.push(diagnostic);
            }
        }
    }

    fn position_of_rule(&self, route: &NamespacedName, rule: &str) -> String {
        let rules = self.inventory.routes.get(route).map(|route| route.spec.rules.as_slice()).unwrap_or_default();
        rules.iter().position(|known| known.name == rule).map_or(String::new(), |i| format!("spec.rules[{i}]"))
    }

    pub(crate) fn report_policies(&mut self, attachments: BTreeMap<NamespacedName, Attachment>) {
        for (name, Attachment { routes, missing, conflicts }) in attachments {
            let object = reference(ObjectKind::ApiPolicy, &name);
            if !self.inventory.policies.contains_key(&name) && !self.inventory.unreadable.contains_key(&object) {
                // A document that is no object has a fault with a place, and no status.
                continue;
            }
            self.findings(&object).routes = routes;
            let missing = missing.into_iter().map(|(i, message)| (i, ConditionReason::TargetNotFound, message));
            let conflicts = conflicts.into_iter().map(|(i, winner)| {
                let message = format!("ApiPolicy {winner} is older and targets the same; it applies there");
                (i, ConditionReason::Conflicted, message)
            });
            for (position, reason, message) in missing.chain(conflicts) {
                let path = format!("spec.targetRefs[{position}]");
                self.findings(&object).not_accepted.get_or_insert_with(|| (reason, format!("{path}: {message}")));
                self.compiled.diagnostics.push(Diagnostic::error(&object, path, reason, message));
            }
        }
    }

    /// Services that send traffic past the proxy (O9).
    pub(crate) fn bypasses(&mut self, routes: &BTreeMap<NamespacedName, ValidRoute>) {
        for (name, route) in routes {
            let port = i32::from(route.upstream.port.get());
            for (service, facts) in &self.inventory.services {
                let same_pods = service.namespace() == name.namespace()
                    && !facts.selector.is_empty()
                    && matches!(&route.selector, Selector::Labels(labels)
                        if facts.selector.iter().all(|(key, value)| labels.get(key) == Some(value)));
                if same_pods && facts.target_ports.contains(&port) {
                    let object = reference(ObjectKind::ApiRoute, name);
                    let message = format!(
                        "Service {service} sends traffic to port {port} of the application, past the proxy; let its targetPort be the proxy's"
                    );
                    let warning = Diagnostic::warning(&object, "spec.upstream.port", ConditionReason::Invalid, message);
                    self.compiled.diagnostics.push(warning);
                }
            }
        }
    }
}
