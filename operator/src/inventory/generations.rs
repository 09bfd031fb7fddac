//! Generations and uids of objects in files, which have neither.
//!
//! INVARIANT: a generation rises whenever a spec changes, and never falls, not even over a restart or a removal.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_compiler::Inventory;
use portreeve_crds::{Object, ObjectKind, ObjectRef, Unreadable};
use portreeve_policy::NamespacedName;
use portreeve_wire::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{atomic_file, clock::any_number};

#[derive(Default, Serialize, Deserialize)]
struct Stored {
    /// Makes uids of one installation differ from those of another.
    installation: String,
    objects: BTreeMap<String, Counted>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Counted {
    generation: i64,
    spec: String,
}

/// The counters, kept in a file.
pub(super) struct Generations {
    file: PathBuf,
    stored: Stored,
    changed: bool,
}

impl Generations {
    /// Reads the counters, or begins anew where there are none.
    pub(super) fn load(file: &Path) -> Self {
        let text = std::fs::read(file).ok();
        let stored = text.and_then(|text| serde_json::from_slice::<Stored>(&text).ok());
        let stored = stored.filter(|stored| !stored.installation.is_empty()).unwrap_or_else(|| Stored {
            installation: format!("{:016x}{:016x}", any_number(), any_number()),
            objects: BTreeMap::new(),
        });
        Self { file: file.to_owned(), stored, changed: false }
    }

    /// Gives every object its generation and uid.
    pub(super) fn stamp(&mut self, inventory: &mut Inventory) {
        for (name, object) in &mut inventory.token_services {
            let object = Arc::make_mut(object);
            self.stamp_one(ObjectKind::TokenService, name, &object.spec, &mut object.metadata);
        }
        for (name, object) in &mut inventory.routes {
            let object = Arc::make_mut(object);
            self.stamp_one(ObjectKind::ApiRoute, name, &object.spec, &mut object.metadata);
        }
        for (name, object) in &mut inventory.policies {
            let object = Arc::make_mut(object);
            self.stamp_one(ObjectKind::ApiPolicy, name, &object.spec, &mut object.metadata);
        }
        for (name, object) in &mut inventory.registrations {
            let object = Arc::make_mut(object);
            self.stamp_one(ObjectKind::ClientRegistration, name, &object.spec, &mut object.metadata);
        }
        for (reference, unreadable) in &mut inventory.unreadable {
            self.stamp_unreadable(reference, Arc::make_mut(unreadable));
        }
    }

    /// Writes the counters, if any rose. A failure is told and tried again with the next change.
    pub(super) fn save(&mut self) {
        if !self.changed {
            return;
        }
        let text = serde_json::to_vec_pretty(&self.stored).unwrap_or_default();
        match atomic_file::write(&self.file, &text) {
            Ok(()) => self.changed = false,
            Err(fault) => tracing::error!(file = %self.file.display(), %fault, "cannot store generations"),
        }
    }

    fn stamp_one(&mut self, kind: ObjectKind, name: &NamespacedName, spec: &impl Serialize, metadata: &mut ObjectMeta) {
        let reference = ObjectRef::new(kind, name.namespace(), name.name());
        let (generation, uid) = self.count(&reference, &serde_json::to_vec(spec).unwrap_or_default());
        metadata.generation = Some(generation);
        metadata.uid = Some(uid);
    }

    fn stamp_unreadable(&mut self, reference: &ObjectRef, unreadable: &mut Unreadable) {
        let spec = unreadable.value.get("spec").map(Value::to_string).unwrap_or_default();
        let (generation, uid) = self.count(reference, spec.as_bytes());
        if let Some(metadata) = unreadable.value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("generation".to_owned(), generation.into());
            metadata.insert("uid".to_owned(), uid.clone().into());
        }
        let metadata = match &mut unreadable.understood {
            None => return,
            Some(Object::ApiPolicy(object)) => &mut object.metadata,
            Some(Object::ApiRoute(object)) => &mut object.metadata,
            Some(Object::ClientRegistration(object)) => &mut object.metadata,
            Some(Object::TokenService(object)) => &mut object.metadata,
        };
        metadata.generation = Some(generation);
        metadata.uid = Some(uid);
    }

    fn count(&mut self, reference: &ObjectRef, spec: &[u8]) -> (i64, String) {
        let key = reference.to_string();
        let spec = Digest::of(spec).to_string();
        let known = self.stored.objects.get(&key);
        let generation = match known {
            Some(counted) if counted.spec == spec => counted.generation,
            Some(counted) => counted.generation.saturating_add(1),
            None => 1,
        };
        let counted = Counted { generation, spec };
        if known != Some(&counted) {
            self.changed = true;
            self.stored.objects.insert(key.clone(), counted);
        }
        (generation, uid(&self.stored.installation, &key))
    }
}

/// In the form of a UUID, the same as long as the folder of state is kept.
fn uid(installation: &str, key: &str) -> String {
    let text = Digest::of(format!("{installation} {key}").as_bytes()).to_string();
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}
