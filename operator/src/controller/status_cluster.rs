//! Statuses by server-side apply, and an Event when Ready turns.

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use portreeve_compiler::Inventory;
use portreeve_crds::{API_VERSION, GROUP, ObjectKind, ObjectRef};
use portreeve_policy::NamespacedName;
use serde::Serialize;
use serde_json::{Value, json};

use super::stored::{StoredCondition, StoredStatus};
use crate::{clock::SharedClock, inventory::explain};

/// Owns the fields of the status, and nothing else.
const FIELD_MANAGER: &str = "portreeve-status";

/// The API's bound on the text of an Event.
const MAX_NOTE: usize = 1024;

/// What a name may take of an Event's name, beside what the API server adds.
const MAX_EVENT_NAME: usize = 240;

/// The status subresources.
pub(crate) struct ClusterStatuses {
    client: Client,
    /// Name of this replica.
    me: String,
    clock: SharedClock,
}

impl ClusterStatuses {
    /// Statuses in a cluster, written by the replica of that name.
    pub(crate) fn new(client: Client, me: String, clock: SharedClock) -> Self {
        Self { client, me, clock }
    }

    /// The status as the object holds it.
    pub(super) fn present(inventory: &Inventory, object: &ObjectRef) -> Option<StoredStatus> {
        if let Some(unreadable) = inventory.unreadable.get(object) {
            return serde_json::from_value(unreadable.value.get("status")?.clone()).ok();
        }
        let name = NamespacedName::new(&object.namespace, &object.name).ok()?;
        match object.kind {
            ObjectKind::ApiPolicy => read(inventory.policies.get(&name)?.status.as_ref()),
            ObjectKind::ApiRoute => read(inventory.routes.get(&name)?.status.as_ref()),
            ObjectKind::ClientRegistration => read(inventory.registrations.get(&name)?.status.as_ref()),
            ObjectKind::TokenService => read(inventory.token_services.get(&name)?.status.as_ref()),
        }
    }

    /// Applies a status. An object that is gone needs none.
    pub(super) async fn write(
        &self,
        object: &ObjectRef,
        uid: &str,
        status: &StoredStatus,
        turned: &[StoredCondition],
    ) -> Result<(), String> {
        let ObjectRef { kind, namespace, name } = object;
        let kind = kind.as_str();
        let plural = match object.kind {
            ObjectKind::ApiPolicy => "apipolicies",
            ObjectKind::ApiRoute => "apiroutes",
            ObjectKind::ClientRegistration => "clientregistrations",
            ObjectKind::TokenService => "tokenservices",
        };
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1alpha1", kind), plural);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        // With the uid it is this object or none: one that was created anew is not told its predecessor's status.
        let patch = json!({
            "apiVersion": API_VERSION, "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "uid": uid}, "status": status,
        });
        match api.patch_status(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(patch)).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(fault) => return Err(explain(&fault, &format!("{plural}/status in namespace {namespace}"))),
        }
        for condition in turned {
            self.tell(object, uid, condition).await;
        }
        Ok(())
    }

    /// An Event helps people; the status is what counts, so a failure is only logged.
    async fn tell(&self, object: &ObjectRef, uid: &str, turned: &StoredCondition) {
        let StoredCondition { kind, status, reason, message, .. } = turned;
        let good = status == "True";
        let note = if message.is_empty() { format!("{kind} is {status}") } else { message.clone() };
        let action = match (kind.as_str(), good) {
            ("Ready", true) => "BecameReady",
            ("Ready", false) => "BecameUnready",
            _ => "DecideAccess",
        };
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", object.name.chars().take(MAX_EVENT_NAME).collect::<String>())),
                namespace: Some(object.namespace.clone()),
                ..ObjectMeta::default()
            },
            action: Some(action.to_owned()),
            event_time: Some(MicroTime(self.clock.now().timestamp())),
            note: Some(note.chars().take(MAX_NOTE / 4).collect()),
            reason: Some(reason.clone()),
            regarding: Some(ObjectReference {
                api_version: Some(API_VERSION.to_owned()),
                kind: Some(object.kind.as_str().to_owned()),
                name: Some(object.name.clone()),
                namespace: Some(object.namespace.clone()),
                uid: Some(uid.to_owned()),
                ..ObjectReference::default()
            }),
            reporting_controller: Some("portreeve.dev/operator".to_owned()),
            reporting_instance: Some(self.me.clone()),
            type_: Some(if good { "Normal" } else { "Warning" }.to_owned()),
            ..Event::default()
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), &object.namespace);
        if let Err(fault) = api.create(&PostParams::default(), &event).await {
            let fault = explain(&fault, &format!("events in namespace {}", object.namespace));
            tracing::warn!(%object, fault, "event not written");
        }
    }
}

/// From the typed status of a kind to the common form.
fn read(status: Option<&impl Serialize>) -> Option<StoredStatus> {
    let value: Value = serde_json::to_value(status?).ok()?;
    serde_json::from_value(value).ok()
}

#[cfg(test)]
mod tests {
    use portreeve_crds::v1alpha1::ApiRouteStatus;

    use super::*;

    #[test]
    fn reads_what_the_api_server_holds() {
        let status: ApiRouteStatus = serde_json::from_value(json!({
            "observedGeneration": 3, "programmed": "1/2",
            "conditions": [{
                "type": "Ready", "status": "False", "reason": "Pending", "message": "m", "observedGeneration": 3,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        }))
        .unwrap();
        let read = read(Some(&status)).unwrap();
        assert_eq!((read.observed_generation, read.programmed.as_deref()), (Some(3), Some("1/2")));
        let ready = read.condition("Ready").unwrap();
        assert_eq!((ready.status.as_str(), ready.last_transition_time.as_str()), ("False", "2026-01-01T00:00:00Z"));
    }
}
