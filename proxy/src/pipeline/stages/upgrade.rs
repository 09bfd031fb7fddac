//! Stage: protocol switches (RFC 9110 section 7.8). Only a rule can let one through; nothing is relayed before 101.

use std::collections::BTreeSet;

use http::{
    HeaderMap, HeaderValue, Method,
    header::{CONNECTION, UPGRADE},
};
use portreeve_policy::Upgrade;

use crate::pipeline::{CanonicalRequest, Denial};

/// A switch that the rule allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) struct Switch(Upgrade);

/// The switch that a request asks for. Switches other than WebSocket are left unheard, as the RFC allows.
pub(in crate::pipeline) fn upgrade(
    request: &CanonicalRequest,
    allowed: &BTreeSet<Upgrade>,
) -> Result<Option<Switch>, Denial> {
    if !request.aside.asks_for_websocket {
        return Ok(None);
    }
    if request.method == Method::GET && allowed.contains(&Upgrade::WebSocket) {
        Ok(Some(Switch(Upgrade::WebSocket)))
    } else {
        Err(Denial::UpgradeNotAllowed)
    }
}

impl Switch {
    /// Names the switch in a message, after the hop-by-hop fields were removed.
    pub(in crate::pipeline) fn announce(self, headers: &mut HeaderMap) {
        let Self(Upgrade::WebSocket) = self;
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
}
