//! What is told of TokenServices, of what routes lack of them, of scopes, and of ClientRegistrations.

use portreeve_crds::{ConditionReason, ObjectKind, ObjectRef};
use portreeve_policy::Keys;

use crate::{
    Diagnostic, RegistrationTarget, ScopeOwners,
    compiled::{Compiler, reference},
    registration::{registration_target, rotation},
    resolve::{Services, find_token_service},
    scopes::ClaimReport,
    token_services::{EmittedService, TokenServices},
    validate::{generation, validate_token_service},
};

impl<'a> Compiler<'a> {
    /// Every TokenService, each told of on the way.
    pub(crate) fn token_services(&mut self) -> (Services, TokenServices<'a>) {
        self.unreadable(ObjectKind::TokenService);
        let inventory = self.inventory;
        let (mut services, mut emitted) = (Services::new(), TokenServices::new(inventory, self.options));
        for (name, service) in &inventory.token_services {
            let object = self.begin(ObjectKind::TokenService, name);
            self.findings(&object).generation = generation(&service.metadata);
            match validate_token_service(&object, service, self.options) {
                Ok(valid) => {
                    emitted.add(name.clone(), service, valid.clone());
                    if let Some(made) = emitted.of_owner(name) {
                        self.report_token_service(&object, &made);
                    }
                    services.insert(name.clone(), Some(valid));
                }
                Err(faults) => {
                    self.reject(&object, faults);
                    services.insert(name.clone(), None);
                }
            }
        }
        (services, emitted)
    }

    fn report_token_service(&mut self, object: &ObjectRef, emitted: &EmittedService) {
        let findings = self.findings(object);
        findings.keys = match &emitted.resource.keys {
            Keys::Known(set) => Some(set.keys().len()),
            Keys::Unavailable => Some(0),
        };
        let Some((reason, message)) = emitted.missing.clone() else { return };
        let of_object = matches!(
            reason,
            ConditionReason::UnresolvedReference | ConditionReason::Invalid | ConditionReason::NotPermitted
        );
        if of_object {
            findings.unresolved = Some((reason, message.clone()));
        } else {
            findings.refusing = Some((reason, message.clone()));
        }
        self.compiled.diagnostics.push(Diagnostic::error(object, "", reason, message));
    }

    /// A route whose rules lack a key set or a client of the gateway answers 503 to those who come with such tokens.
    pub(crate) fn report_missing(&mut self, emitted: &mut TokenServices<'a>) {
        for (name, route) in self.compiled.routes.clone() {
            if let Some(told) = emitted.missing(&name, &route) {
                let object = reference(ObjectKind::ApiRoute, &name);
                self.findings(&object).refusing.get_or_insert(told);
            }
        }
    }

    /// What became of the scopes that ApiRoutes name.
    pub(crate) fn report_scopes(&mut self, owners: &ScopeOwners) {
        for (name, report) in owners.reports() {
            let object = reference(ObjectKind::ApiRoute, name);
            let ClaimReport { owned: _, lost, ungranted } = report;
            let mut told = Vec::new();
            for (scope, service, winner) in lost {
                told.push(format!("{scope} belongs to ApiRoute {winner} at TokenService {service}"));
            }
            for scope in ungranted {
                told.push(format!(
                    "no TokenService grants {scope} to namespace {}; its owner can in spec.scopes",
                    name.namespace()
                ));
            }
            let reason = if lost.is_empty() { ConditionReason::NotPermitted } else { ConditionReason::Conflicted };
            let message = told.join("; ");
            let findings = self.findings(&object);
            findings.owned_scopes = report.to_status();
            findings.scopes = Some(if told.is_empty() { Ok(()) } else { Err((reason, message)) });
            let warnings =
                told.into_iter().map(|text| Diagnostic::warning(&object, "spec.access.scopes", reason, text));
            self.compiled.diagnostics.extend(warnings.collect::<Vec<_>>());
        }
    }

    pub(crate) fn registrations(&mut self, owners: &ScopeOwners) {
        self.unreadable(ObjectKind::ClientRegistration);
        let inventory = self.inventory;
        for (name, registration) in &inventory.registrations {
            let object = self.begin(ObjectKind::ClientRegistration, name);
            let number = generation(&registration.metadata);
            let found = find_token_service(inventory, name.namespace(), &registration.spec.token_service_ref);
            let findings = self.findings(&object);
            findings.generation = number;
            if let Err((reason, message)) = found {
                let path = "spec.tokenServiceRef";
                findings.unresolved = Some((reason, format!("{path}: {message}")));
                self.compiled.diagnostics.push(Diagnostic::error(&object, path, reason, message));
                continue;
            }
            if let Err((reason, message)) = rotation(registration) {
                self.reject(&object, vec![Diagnostic::error(&object, "spec.rotation", reason, message)]);
                continue;
            }
            let target = registration_target(inventory, self.options, owners, registration);
            if let RegistrationTarget::Unresolved(reason, message) = target {
                if reason == ConditionReason::LimitExceeded {
                    self.reject(&object, vec![Diagnostic::error(&object, "", reason, message)]);
                    continue;
                }
                self.findings(&object).unresolved = Some((reason, message.clone()));
                self.compiled.diagnostics.push(Diagnostic::error(&object, "spec.tokenServiceRef", reason, message));
            }
        }
    }
}
