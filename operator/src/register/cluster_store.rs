//! Journals and credentials as Secrets in the object's namespace; the end of an object is noticed by a finalizer.
//!
//! INVARIANT: a Secret is written only when it is new, or when label and owner say that it was made for this object.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::{
        core::v1::{ObjectReference, Pod, Secret},
        events::v1::Event,
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
};
use portreeve_crds::{API_VERSION, v1alpha1::ClientRegistration};
use portreeve_policy::NamespacedName;
use portreeve_registration::{JournalEntry, JournalError, JournalFault};
use serde_json::json;

use super::{
    credentials::{ClientCredentials, identity_names},
    pods::holds_old,
    store::{HeldIdentity, StoreFault},
};
use crate::{
    clock::{Clock, SystemClock},
    inventory::explain,
};

/// Keeps an object, and the journal of its client, until the client is dealt with.
const FINALIZER: &str = "portreeve.dev/registration";

/// Names the registration of a Secret whose object is gone and whose client was retained.
const RETAINED: &str = "portreeve.dev/registration";

/// Names the registration of a Secret of credentials.
const WRITTEN_FOR: &str = "portreeve.dev/registration";

const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "portreeve");

/// Bounds of an Event's name and note.
const MAX_EVENT_NAME: usize = 200;
const MAX_NOTE: usize = 1000;

/// Key of the journal within its Secret.
const ENTRY: &str = "entry.json";

/// Secrets of a cluster.
#[derive(Clone)]
pub(crate) struct ClusterStore {
    client: Client,
}

/// The journal of one registration, with the version that was last seen (compare and swap).
pub(super) struct SecretJournal {
    api: Api<Secret>,
    name: String,
    registration: NamespacedName,
    owner: OwnerReference,
    version: Option<String>,
}

impl ClusterStore {
    /// A store in a cluster.
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(super) async fn claim(&self, registration: &ClientRegistration) -> Result<(), StoreFault> {
        let mut finalizers = registration.metadata.finalizers.clone().unwrap_or_default();
        if finalizers.iter().any(|held| held == FINALIZER) {
            return Ok(());
        }
        finalizers.push(FINALIZER.to_owned());
        self.set_finalizers(registration, &finalizers).await
    }

    /// Lets the object go.
    pub(super) async fn unclaim(&self, registration: &ClientRegistration) -> Result<(), StoreFault> {
        let finalizers = registration.metadata.finalizers.clone().unwrap_or_default();
        let rest: Vec<_> = finalizers.into_iter().filter(|held| held != FINALIZER).collect();
        self.set_finalizers(registration, &rest).await
    }

    /// Whether we asked for the object to be kept.
    pub(super) fn is_claimed(registration: &ClientRegistration) -> bool {
        registration.metadata.finalizers.iter().flatten().any(|held| held == FINALIZER)
    }

    async fn set_finalizers(&self, registration: &ClientRegistration, finalizers: &[String]) -> Result<(), StoreFault> {
        let (namespace, name) = place(registration);
        let api: Api<ClientRegistration> = Api::namespaced(self.client.clone(), namespace);
        // With the version, nobody else's finalizer is lost.
        let version = &registration.metadata.resource_version;
        let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers, "resourceVersion": version}}));
        match api.patch(name, &PatchParams::default(), &patch).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(fault) => Err(unavailable(&fault, "clientregistrations", namespace)),
        }
    }

    pub(super) async fn check_credentials(
        &self,
        registration: &ClientRegistration,
    ) -> Result<HeldIdentity, StoreFault> {
        let (namespace, _) = place(registration);
        let Some(found) = self.secret(namespace, &registration.spec.credentials_secret_name).await? else {
            return Ok(HeldIdentity::default());
        };
        ours(&found, registration)?;
        let text = |name: &String| {
            let value = found.data.as_ref().and_then(|data| data.get(name));
            value.and_then(|value| String::from_utf8(value.0.clone()).ok())
        };
        let [client_id, key_id] = identity_names(&registration.spec.credentials_keys);
        Ok(HeldIdentity { client_id: text(&client_id), key_id: text(&key_id) })
    }

    pub(super) async fn holders(
        &self,
        registration: &ClientRegistration,
        since: u64,
    ) -> Result<Vec<String>, StoreFault> {
        let (namespace, _) = place(registration);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let secret = &registration.spec.credentials_secret_name;
        let found = pods.list(&ListParams::default()).await.map_err(|f| unavailable(&f, "pods", namespace))?;
        let old = found.items.into_iter().filter(|pod| holds_old(pod, secret, since));
        Ok(old.filter_map(|pod| pod.metadata.name).collect())
    }

    /// An Event about an object that may be gone soon; it outlives the object.
    pub(super) async fn tell(
        &self,
        registration: &ClientRegistration,
        reason: &str,
        note: &str,
    ) -> Result<(), StoreFault> {
        let (namespace, name) = place(registration);
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", name.chars().take(MAX_EVENT_NAME).collect::<String>())),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            action: Some("Register".to_owned()),
            event_time: Some(MicroTime(SystemClock.now().timestamp())),
            note: Some(note.chars().take(MAX_NOTE).collect()),
            reason: Some(reason.to_owned()),
            regarding: Some(ObjectReference {
                api_version: Some(API_VERSION.to_owned()),
                kind: Some("ClientRegistration".to_owned()),
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                uid: registration.metadata.uid.clone(),
                ..ObjectReference::default()
            }),
            reporting_controller: Some("portreeve.dev/operator".to_owned()),
            reporting_instance: Some("registrar".to_owned()),
            type_: Some("Warning".to_owned()),
            ..Event::default()
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => Ok(()),
            // A namespace that is being deleted takes no Event; the log has it.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(()),
            Err(fault) => Err(unavailable(&fault, "events", namespace)),
        }
    }

    pub(super) async fn write_credentials(
        &self,
        registration: &ClientRegistration,
        credentials: &ClientCredentials,
    ) -> Result<(), StoreFault> {
        let (namespace, _) = place(registration);
        let name = &registration.spec.credentials_secret_name;
        let data = credentials.data(&registration.spec.credentials_keys);
        let bytes = |(key, value): (String, portreeve_registration::Secret)| (key, ByteString(value.expose().into()));
        let data: BTreeMap<_, _> = data.into_iter().map(bytes).collect();
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let told = |fault: kube::Error| unavailable(&fault, "secrets", namespace);
        let Some(held) = self.secret(namespace, name).await? else {
            let mut metadata = metadata(name, namespace, owner(registration));
            metadata.annotations.get_or_insert_default().extend(written_for(registration));
            let type_ = Some("Opaque".to_owned());
            let secret = Secret { metadata, data: Some(data), type_, ..Secret::default() };
            return api.create(&PostParams::default(), &secret).await.map(drop).map_err(told);
        };
        ours(&held, registration)?;
        let mut metadata = held.metadata.clone();
        metadata.annotations.get_or_insert_default().extend(written_for(registration));
        if held.data.as_ref() == Some(&data) && metadata == held.metadata {
            return Ok(());
        }
        let secret = Secret { data: Some(data), metadata, ..held };
        api.replace(name, &PostParams::default(), &secret).await.map(drop).map_err(told)
    }

    /// Keeps the journal of a client that outlives its object.
    pub(super) async fn retain(&self, registration: &ClientRegistration) -> Result<(), StoreFault> {
        let (namespace, name) = place(registration);
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let patch = Patch::Merge(json!({"metadata": {
            "ownerReferences": [], "finalizers": null, "annotations": {RETAINED: name},
        }}));
        match api.patch(&journal_name(name), &PatchParams::default(), &patch).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(fault) => Err(unavailable(&fault, "secrets", namespace)),
        }
    }

    pub(super) fn journal(&self, name: &NamespacedName, registration: &ClientRegistration) -> SecretJournal {
        SecretJournal {
            api: Api::namespaced(self.client.clone(), name.namespace()),
            name: journal_name(name.name()),
            registration: name.clone(),
            owner: owner(registration),
            version: None,
        }
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, StoreFault> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        api.get_opt(name).await.map_err(|fault| unavailable(&fault, "secrets", namespace))
    }
}

impl SecretJournal {
    pub(super) async fn load(&mut self) -> Result<JournalEntry, JournalError> {
        let found = self.api.get_opt(&self.name).await.map_err(|fault| self.fault(&fault))?;
        let Some(secret) = found else {
            self.version = None;
            return Ok(JournalEntry::default());
        };
        let foreign = || {
            let message = format!(
                "Secret {}/{} exists and was not written for this object; remove it",
                self.registration.namespace(),
                self.name
            );
            JournalError::new(JournalFault::Refused, &message)
        };
        if !is_managed(&secret.metadata) || !self.is_own(&secret.metadata) {
            return Err(foreign());
        }
        self.version = secret.metadata.resource_version;
        let Some(bytes) = secret.data.and_then(|mut data| data.remove(ENTRY)) else {
            return Ok(JournalEntry::default());
        };
        JournalEntry::from_bytes(&bytes.0)
            .map_err(|fault| JournalError::new(JournalFault::Corrupt, &format!("Secret {}: {fault}", self.name)))
    }

    pub(super) async fn store(&mut self, entry: &JournalEntry) -> Result<(), JournalError> {
        let data = BTreeMap::from([(ENTRY.to_owned(), ByteString(entry.to_bytes().to_vec()))]);
        let mut metadata = metadata(&self.name, self.registration.namespace(), self.owner.clone());
        metadata.resource_version.clone_from(&self.version);
        // A namespace that is being deleted takes its Secrets first; without the journal the client would be lost.
        metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        let secret = Secret { metadata, data: Some(data), type_: Some("Opaque".to_owned()), ..Secret::default() };
        let stored = match &self.version {
            None => self.api.create(&PostParams::default(), &secret).await,
            Some(_) => self.api.replace(&self.name, &PostParams::default(), &secret).await,
        };
        self.version = stored.map_err(|fault| self.fault(&fault))?.metadata.resource_version;
        Ok(())
    }

    pub(super) async fn clear(&mut self) -> Result<(), JournalError> {
        let Some(version) = self.version.take() else { return Ok(()) };
        let release = Patch::Merge(json!({"metadata": {"finalizers": null, "resourceVersion": version}}));
        let released = match self.api.patch(&self.name, &PatchParams::default(), &release).await {
            Ok(secret) => secret.metadata,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(fault) => return Err(self.fault(&fault)),
        };
        let only = Preconditions { resource_version: released.resource_version, uid: released.uid };
        let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
        match self.api.delete(&self.name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(fault) => Err(self.fault(&fault)),
        }
    }

    /// Made for this object, or left behind by one of the same name whose client was retained.
    fn is_own(&self, metadata: &ObjectMeta) -> bool {
        let owners = metadata.owner_references.as_deref().unwrap_or_default();
        let retained = metadata.annotations.as_ref().and_then(|annotations| annotations.get(RETAINED));
        owners.iter().any(|owner| owner.uid == self.owner.uid)
            || owners.is_empty() && retained.is_some_and(|name| name == self.registration.name())
    }

    fn fault(&self, fault: &kube::Error) -> JournalError {
        let code = if let kube::Error::Api(status) = fault { status.code } else { 0 };
        let kind = match code {
            409 => JournalFault::Conflict,
            400 | 403 | 422 => JournalFault::Refused,
            _ => JournalFault::Unavailable,
        };
        let place = format!("secrets in namespace {}", self.registration.namespace());
        JournalError::new(kind, &explain(fault, &place))
    }
}

fn journal_name(registration: &str) -> String {
    format!("portreeve-registration-{registration}")
}

fn ours(secret: &Secret, registration: &ClientRegistration) -> Result<(), StoreFault> {
    let owners = secret.metadata.owner_references.as_deref().unwrap_or_default();
    let uid = registration.metadata.uid.as_deref();
    if is_managed(&secret.metadata) && owners.iter().any(|owner| Some(owner.uid.as_str()) == uid) {
        return Ok(());
    }
    let (namespace, _) = place(registration);
    Err(StoreFault::Foreign(format!(
        "Secret {namespace}/{} exists and was not written for this object; remove it, or choose another \
         credentialsSecretName",
        registration.spec.credentials_secret_name
    )))
}

/// Says for whom a Secret of credentials was written, so that the gateway takes no other one for it.
fn written_for(registration: &ClientRegistration) -> Option<(String, String)> {
    Some((WRITTEN_FOR.to_owned(), registration.metadata.name.clone()?))
}

fn is_managed(metadata: &ObjectMeta) -> bool {
    let (label, value) = MANAGED_BY;
    metadata.labels.as_ref().and_then(|labels| labels.get(label)).is_some_and(|found| found == value)
}

fn owner(registration: &ClientRegistration) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: "ClientRegistration".to_owned(),
        name: registration.metadata.name.clone().unwrap_or_default(),
        uid: registration.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

fn metadata(name: &str, namespace: &str, owner: OwnerReference) -> ObjectMeta {
    let (label, value) = MANAGED_BY;
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(BTreeMap::from([(label.to_owned(), value.to_owned())])),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    }
}

fn place(registration: &ClientRegistration) -> (&str, &str) {
    let metadata = &registration.metadata;
    (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

fn unavailable(fault: &kube::Error, plural: &str, namespace: &str) -> StoreFault {
    StoreFault::Unavailable(explain(fault, &format!("{plural} in namespace {namespace}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_made_for_the_object_is_ours_o3() {
        let registration: ClientRegistration = serde_json::from_value(json!({
            "apiVersion": API_VERSION, "kind": "ClientRegistration",
            "metadata": {"name": "shop", "namespace": "shop", "uid": "u-1"},
            "spec": {
                "tokenServiceRef": {"name": "login"}, "credentialsSecretName": "oauth",
                "metadata": {"clientName": "a", "grantTypes": ["client_credentials"]},
            },
        }))
        .unwrap();
        let good = Secret { metadata: metadata("oauth", "shop", owner(&registration)), ..Secret::default() };
        assert!(ours(&good, &registration).is_ok());
        let mut unlabelled = good.clone();
        unlabelled.metadata.labels = None;
        let mut anothers = good.clone();
        anothers.metadata.owner_references.as_mut().unwrap()[0].uid = "u-2".to_owned();
        let mut orphaned = good;
        orphaned.metadata.owner_references = None;
        for secret in [unlabelled, anothers, orphaned, Secret::default()] {
            assert!(matches!(ours(&secret, &registration), Err(StoreFault::Foreign(_))));
        }
    }
}
