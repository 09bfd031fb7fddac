//! Who stands at the other end, when there are proxies in between.

use std::{collections::BTreeSet, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::Cidr;

/// Whose word is taken for the client's address, scheme and host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum ClientAddress {
    /// Nobody's: the client is the peer of the connection.
    #[default]
    Peer,
    /// That of these proxies, one after the other from the nearest on.
    Forwarded {
        /// Where they write it.
        header: ForwardingHeader,
        /// Further fields of theirs that are believed; each is believed only where it stands here.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        additional_headers: BTreeSet<AdditionalHeader>,
        /// Who they are.
        trusted_proxies: BTreeSet<Cidr>,
    },
}

/// Where a proxy writes whom it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ForwardingHeader {
    /// `Forwarded` (RFC 7239), which tells scheme and host too.
    Forwarded,
    /// `X-Forwarded-For`, which tells the address alone.
    XForwardedFor,
}

/// What a proxy may write beside [`ForwardingHeader::XForwardedFor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AdditionalHeader {
    /// `X-Forwarded-Host`: the host that the client named.
    XForwardedHost,
    /// `X-Forwarded-Proto`: the scheme that the client used.
    XForwardedProto,
}

impl ClientAddress {
    /// Whether this is the only case in which nothing needs to be said.
    pub fn is_peer(&self) -> bool {
        matches!(self, Self::Peer)
    }

    /// Whether what this hop says is believed.
    pub fn trusts(&self, hop: IpAddr) -> bool {
        match self {
            Self::Peer => false,
            Self::Forwarded { trusted_proxies, .. } => trusted_proxies.iter().any(|range| range.contains(hop)),
        }
    }
}
