//! Where signing keys are kept: a Secret of the operator's namespace, or a file of mode 0600.

use std::path::PathBuf;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use super::SigningSet;
use crate::{atomic_file, inventory::explain};

/// Files or Secrets.
#[derive(Clone)]
pub(crate) enum SigningStore {
    Cluster { client: Client, namespace: String },
    Files(PathBuf),
}

const KEY: &str = "keys.json";

impl SigningStore {
    pub(super) async fn read(&self, of: &str) -> Result<Option<SigningSet>, String> {
        let bytes = match self {
            Self::Files(folder) => match std::fs::read(folder.join(format!("{of}.json"))) {
                Ok(bytes) => bytes,
                Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(fault) => return Err(format!("{}: {fault}", folder.display())),
            },
            Self::Cluster { client, namespace } => {
                let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
                let found = api.get_opt(&name(of)).await;
                let found = found.map_err(|fault| explain(&fault, &format!("secrets in namespace {namespace}")))?;
                match found.and_then(|secret| secret.data?.remove(KEY)) {
                    Some(ByteString(bytes)) => bytes,
                    None => return Ok(None),
                }
            }
        };
        // What cannot be read is not overwritten: somebody else may have put it there.
        let unreadable =
            |_: serde_json::Error| format!("what is stored for namespace {of} is not a set of signing keys");
        serde_json::from_slice(&bytes).map(Some).map_err(unreadable)
    }

    /// Stores the set; one that somebody else changed meanwhile is left alone.
    pub(super) async fn write(&self, of: &str, set: &SigningSet) -> Result<(), String> {
        let bytes = serde_json::to_vec(set).map_err(|fault| fault.to_string())?;
        match self {
            Self::Files(folder) => atomic_file::write(&folder.join(format!("{of}.json")), &bytes)
                .map_err(|fault| format!("{}: {fault}", folder.display())),
            Self::Cluster { client, namespace } => {
                let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
                let told = |fault: kube::Error| explain(&fault, &format!("secrets in namespace {namespace}"));
                let held = api.get_opt(&name(of)).await.map_err(told)?;
                let secret = Secret {
                    metadata: ObjectMeta {
                        name: Some(name(of)),
                        // With a resourceVersion, replacing fails when another operator was faster.
                        resource_version: held.as_ref().and_then(|held| held.metadata.resource_version.clone()),
                        labels: Some([("app.kubernetes.io/managed-by".to_owned(), "portreeve".to_owned())].into()),
                        ..ObjectMeta::default()
                    },
                    data: Some([(KEY.to_owned(), ByteString(bytes))].into()),
                    ..Secret::default()
                };
                let params =
                    PostParams { field_manager: Some("portreeve-signing".to_owned()), ..PostParams::default() };
                let written = match held {
                    None => api.create(&params, &secret).await,
                    Some(_) => api.replace(&name(of), &params, &secret).await,
                };
                written.map(drop).map_err(told)
            }
        }
    }
}

fn name(of: &str) -> String {
    format!("portreeve-signing-{of}")
}
