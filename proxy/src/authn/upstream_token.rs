//! What the upstream gets for a credential.

use std::sync::Arc;

use http::HeaderValue;

use super::{Minter, VerifiedCredential};
use crate::clock::UnixMillis;

/// What the upstream gets for a credential.
#[derive(Clone)]
pub(super) enum UpstreamTokenMode {
    Jwt,
    JwtOrMinted(Arc<Minter>),
    Minted(Arc<Minter>),
    None,
    Original,
}

/// What stands in Authorization towards the upstream.
#[derive(Clone, Default)]
pub enum UpstreamCredential {
    /// What the caller sent.
    Passthrough,
    /// A token that is minted for the caller.
    Mint(Arc<Minter>),
    /// Nothing.
    #[default]
    Remove,
    /// This value.
    Set(HeaderValue),
}

impl UpstreamTokenMode {
    pub(super) fn credential(&self, credential: &VerifiedCredential, now: UnixMillis) -> UpstreamCredential {
        match self {
            Self::Jwt => {
                credential.upstream_jwt(now).cloned().map_or(UpstreamCredential::Remove, UpstreamCredential::Set)
            }
            Self::JwtOrMinted(minter) => match credential.upstream_jwt(now) {
                Some(jwt) => UpstreamCredential::Set(jwt.clone()),
                None => UpstreamCredential::Mint(Arc::clone(minter)),
            },
            Self::Minted(minter) => UpstreamCredential::Mint(Arc::clone(minter)),
            Self::None => UpstreamCredential::Remove,
            Self::Original => UpstreamCredential::Passthrough,
        }
    }
}
