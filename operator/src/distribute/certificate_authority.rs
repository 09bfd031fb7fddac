//! The operator's own certificate authority, by which proxies know it.
//!
//! Authority and key are in one Secret of the operator's namespace, made once by whichever replica comes first; each
//! replica issues its own server certificate in memory.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use portreeve_wire::Digest;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;
use tonic::transport::Identity;

use crate::inventory::explain;

/// Name of the Secret, and of the ConfigMaps that proxies mount.
const NAME: &str = "portreeve-ca";
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "portreeve");

/// The authority. It holds the key, so it has no `Debug`.
pub(crate) struct CertificateAuthority {
    certificate: String,
    key: KeyPair,
}

impl CertificateAuthority {
    /// Reads the authority, or makes it where there is none.
    pub(crate) async fn ensure(client: &Client, namespace: &str) -> Result<Self, String> {
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let told = |fault: kube::Error| explain(&fault, &format!("secrets in namespace {namespace}"));
        if let Some(secret) = api.get_opt(NAME).await.map_err(told)? {
            return Self::read(secret, namespace);
        }
        let (certificate, key) = make()?;
        let data = BTreeMap::from([
            ("ca.crt".to_owned(), ByteString(certificate.into_bytes())),
            ("ca.key".to_owned(), ByteString(key.into_bytes())),
        ]);
        let secret = Secret { metadata: metadata(namespace), data: Some(data), ..Secret::default() };
        match api.create(&PostParams::default(), &secret).await {
            Ok(secret) => Self::read(secret, namespace),
            // Another replica was faster; its authority counts.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                Self::read(api.get(NAME).await.map_err(told)?, namespace)
            }
            Err(fault) => Err(told(fault)),
        }
    }

    /// A text that every replica knows and nobody else can guess.
    pub(crate) fn salt(&self) -> Vec<u8> {
        Digest::of(&[b"portreeve salt".as_slice(), &self.key.serialize_der()].concat()).as_bytes().to_vec()
    }

    /// A server certificate for these names, with its key.
    pub(crate) fn issue(&self, names: Vec<String>) -> Result<Identity, String> {
        let told = |fault: rcgen::Error| format!("cannot issue the server certificate: {fault}");
        let key = KeyPair::generate().map_err(told)?;
        let mut params = CertificateParams::new(names).map_err(told)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "portreeve-operator");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::new(authority_params(), &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(told)?;
        Ok(Identity::from_pem(certificate.pem(), key.serialize_pem()))
    }

    /// Puts the certificate, without its key, where pods of a namespace can mount it. A ConfigMap that is not ours is
    /// left alone.
    pub(crate) async fn publish(&self, client: &Client, namespace: &str) -> Result<(), String> {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let told = |fault: kube::Error| explain(&fault, &format!("configmaps in namespace {namespace}"));
        match api.get_opt(NAME).await.map_err(told)? {
            None => {
                let data = BTreeMap::from([("ca.crt".to_owned(), self.certificate.clone())]);
                let map = ConfigMap { metadata: metadata(namespace), data: Some(data), ..ConfigMap::default() };
                match api.create(&PostParams::default(), &map).await {
                    Ok(_) => Ok(()),
                    Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                    Err(fault) => Err(told(fault)),
                }
            }
            Some(map) if !is_ours(&map.metadata) => Err(format!(
                "ConfigMap {namespace}/{NAME} exists and is not ours (label {}={}); pods there cannot trust the operator \
                 until it is renamed",
                MANAGED_BY.0, MANAGED_BY.1
            )),
            Some(map) if map.data.as_ref().and_then(|data| data.get("ca.crt")) == Some(&self.certificate) => Ok(()),
            Some(_) => {
                let patch = Patch::Merge(json!({"data": {"ca.crt": self.certificate}}));
                api.patch(NAME, &PatchParams::default(), &patch).await.map(drop).map_err(told)
            }
        }
    }

    fn read(secret: Secret, namespace: &str) -> Result<Self, String> {
        let cure = format!("Secret {namespace}/{NAME} holds no authority; delete it, and it is made anew");
        let mut data = secret.data.unwrap_or_default();
        let mut text = |key: &str| data.remove(key).and_then(|bytes| String::from_utf8(bytes.0).ok());
        let (Some(certificate), Some(key)) = (text("ca.crt"), text("ca.key")) else { return Err(cure) };
        // The library's error could quote the key.
        let key = KeyPair::from_pem(&key).map_err(|_fault| cure)?;
        Ok(Self { certificate, key })
    }
}

/// The same each time, for the issuer of a certificate is known by its name and key alone.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "portreeve-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Certificate and key in PEM.
fn make() -> Result<(String, String), String> {
    let told = |fault: rcgen::Error| format!("cannot make the authority: {fault}");
    let key = KeyPair::generate().map_err(told)?;
    let certificate = authority_params().self_signed(&key).map_err(told)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn metadata(namespace: &str) -> ObjectMeta {
    let (label, value) = MANAGED_BY;
    ObjectMeta {
        name: Some(NAME.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(BTreeMap::from([(label.to_owned(), value.to_owned())])),
        ..ObjectMeta::default()
    }
}

fn is_ours(metadata: &ObjectMeta) -> bool {
    let (label, value) = MANAGED_BY;
    metadata.labels.as_ref().and_then(|labels| labels.get(label)).is_some_and(|found| found == value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_that_was_stored_issues_certificates() {
        let (certificate, key) = make().unwrap();
        let data = BTreeMap::from([
            ("ca.crt".to_owned(), ByteString(certificate.into_bytes())),
            ("ca.key".to_owned(), ByteString(key.into_bytes())),
        ]);
        let authority =
            CertificateAuthority::read(Secret { data: Some(data), ..Secret::default() }, "ns").ok().unwrap();
        assert!(authority.issue(vec!["operator.ns.svc".to_owned()]).is_ok());
        let told = CertificateAuthority::read(Secret::default(), "ns").err().unwrap();
        assert!(told.contains("ns/portreeve-ca") && told.contains("delete"), "{told}");
    }
}
