//! Stage: protocol switches (RFC 9110 section 7.8). Only a rule can let one through; nothing is relayed before 101.

use std::collections::BTreeSet;

use http::{
    HeaderMap, HeaderValue, Method, Version,
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
    let asks = |name, token: &str| {
        let lines = request.headers.get_all(name).iter();
        let mut tokens = lines.flat_map(|line| line.to_str().unwrap_or_default().split(','));
        tokens.any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    if request.version != Version::HTTP_11 || !asks(UPGRADE, "websocket") || !asks(CONNECTION, "upgrade") {
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
