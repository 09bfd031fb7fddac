//! What the tests of several modules share.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::{ClientKey, ClientMetadata, Deletion, Desired, Endpoint, InsecureHttp, KeyFault, KeyPurpose, Keys, Secret};

/// Keys that sign nothing; their names count up.
#[derive(Default)]
pub(crate) struct FakeKeys(AtomicUsize);

impl FakeKeys {
    pub(crate) fn key(kid: &str, until: Option<u64>) -> ClientKey {
        let public = json!({"kty": "EC", "crv": "P-256", "x": kid, "y": "y", "kid": kid});
        ClientKey {
            kid: kid.to_owned(),
            public,
            private: Secret::new(format!("private {kid}")),
            certificate: None,
            until,
        }
    }
}

impl Keys for FakeKeys {
    fn make(&self, _: KeyPurpose) -> Result<ClientKey, KeyFault> {
        Ok(Self::key(&format!("k{}", self.0.fetch_add(1, Ordering::Relaxed) + 1), None))
    }

    fn assertion(&self, key: &ClientKey, client_id: &str, _: &str) -> Option<Secret> {
        Some(Secret::new(format!("{client_id} {}", key.kid)))
    }
}

/// A client with keys of its own.
pub(crate) fn own_keys() -> Desired {
    desired_with(|metadata| {
        metadata.token_endpoint_auth_method = Some("private_key_jwt".to_owned());
        metadata.own_keys = true;
    })
}

pub(crate) fn endpoint() -> Endpoint {
    Endpoint::parse("https://login.example.com/reg", InsecureHttp::Refused).unwrap()
}

pub(crate) fn desired_as(deletion: Deletion, change: impl FnOnce(&mut ClientMetadata)) -> Desired {
    let mut metadata = ClientMetadata {
        client_name: Some("shop".to_owned()),
        grant_types: vec!["client_credentials".to_owned()],
        ..ClientMetadata::default()
    };
    change(&mut metadata);
    Desired::new(&metadata.validate().unwrap(), endpoint(), "uid-1", 1, deletion)
}

pub(crate) fn desired_with(change: impl FnOnce(&mut ClientMetadata)) -> Desired {
    desired_as(Deletion::Keep, change)
}
