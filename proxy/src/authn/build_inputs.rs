//! What verifiers are made of, and what of them outlives a snapshot.

use std::{collections::BTreeMap, sync::Arc};

use portreeve_policy::{NamespacedName, Secret, SecretName};
use prometheus::Gauge;

use super::{Minter, TokenServiceClient, basic::BasicUsers, certificate::CertificateVerifier, exchange::Exchanger};
use crate::bounded_cache::Held;

/// What verifiers are made of.
#[derive(Clone, Copy)]
pub struct BuildInputs<'a> {
    /// Secrets of the snapshot.
    pub secrets: &'a BTreeMap<SecretName, Secret>,
    /// Token services that could be built.
    pub token_services: &'a BTreeMap<NamespacedName, Arc<TokenServiceClient>>,
    /// What may be taken over.
    pub previous: &'a CarriedState,
    /// Metric of the last use of a consumer's key.
    pub api_key_use: &'a dyn Fn(&str, &str) -> Gauge,
}

/// State that outlives a snapshot while its configuration stays the same.
#[derive(Default, Clone)]
pub struct CarriedState {
    pub(super) minters: Vec<Arc<Minter>>,
    pub(super) basics: Vec<Arc<BasicUsers>>,
    pub(super) certificates: Vec<Arc<CertificateVerifier>>,
    pub(super) exchangers: Vec<Arc<Exchanger>>,
}

impl CarriedState {
    /// Minters in force: their public keys are published.
    pub fn minters(&self) -> &[Arc<Minter>] {
        &self.minters
    }

    /// What is held, table by table.
    pub(crate) fn held(&self) -> [(&'static str, Held); 4] {
        [
            ("certificates", self.certificates.iter().map(|verifier| verifier.held()).sum()),
            ("exchanged", self.exchangers.iter().map(|exchanger| exchanger.held()).sum()),
            ("minted", self.minters.iter().map(|minter| minter.held()).sum()),
            ("passwords", self.basics.iter().map(|users| users.held()).sum()),
        ]
    }

    /// Whether a rule looks at client certificates, so that the handshake asks for them.
    pub fn wants_certificates(&self) -> bool {
        !self.certificates.is_empty()
    }
}

pub(super) fn keep<T>(kept: &mut Vec<Arc<T>>, value: &Arc<T>) {
    if !kept.iter().any(|held| Arc::ptr_eq(held, value)) {
        kept.push(Arc::clone(value));
    }
}
