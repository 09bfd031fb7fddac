//! Asking a token service about a token (RFC 7662 section 2.1).

use bytes::Bytes;
use http::{
    Request, Response,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use portreeve_policy::{Dialect, EndpointAccess, MemberAccept, Secret};

use super::{
    AnswerFault, InvalidEndpoint,
    client_authentication::{GatewayClient, form_encode},
};
use crate::{
    bulkhead::Place,
    clock::UnixMillis,
    outbound::{CallFault, Network, Outbound},
    peer::Peer,
};

/// Why nothing is known of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum LookupFault {
    /// The answer makes no sense.
    #[error(transparent)]
    Answer(#[from] AnswerFault),
    /// No connection, or it broke.
    #[error("the token service cannot be reached")]
    Connect,
    /// The one who asks had many tokens lately that are not active.
    #[error("too many tokens from this address are not active")]
    Braked,
    /// The worker that asked went away.
    #[error("the look-up was interrupted")]
    Interrupted,
    /// As many questions as may be are under way and wait.
    #[error("too many questions to the token service at once")]
    Overloaded,
    /// More than 256 KiB.
    #[error("the answer of the token service is too large")]
    TooLarge,
    /// No answer in time.
    #[error("the token service did not answer in time")]
    Timeout,
    /// Endpoint or credentials are not known yet.
    #[error("the endpoint of the token service is not set up yet")]
    Unavailable,
}

/// An endpoint of a token service that takes forms from an authenticated client.
pub(super) struct ClientEndpoint {
    outbound: Outbound,
    client: GatewayClient,
}

/// A configured introspection endpoint.
pub(super) struct Introspector {
    endpoint: ClientEndpoint,
    dialect: Dialect,
}

impl LookupFault {
    /// Whether the token service was not there to answer, as opposed to having answered wrongly.
    pub(super) fn is_outage(self) -> bool {
        match self {
            Self::Connect | Self::Timeout | Self::Interrupted | Self::Answer(AnswerFault::Status) => true,
            // Nor is a flood of ours: it would let a caller keep an answer that is not true any more.
            Self::Answer(_) | Self::Braked | Self::Overloaded | Self::TooLarge | Self::Unavailable => false,
        }
    }
}

impl From<CallFault> for LookupFault {
    fn from(fault: CallFault) -> Self {
        match fault {
            CallFault::Connect => Self::Connect,
            CallFault::Timeout => Self::Timeout,
            CallFault::TooLarge => Self::TooLarge,
        }
    }
}

impl ClientEndpoint {
    pub(super) fn new(access: &EndpointAccess, secret: &Secret, network: &Network) -> Result<Self, InvalidEndpoint> {
        let outbound = Outbound::new(access, secret, network)?;
        Ok(Self { outbound, client: GatewayClient::new(&access.client, secret)? })
    }

    pub(super) fn client_id(&self) -> &str {
        self.client.client_id()
    }

    /// Takes a place among the questions to this endpoint.
    pub(super) fn enter(&self, asker: Peer) -> Option<Place> {
        self.outbound.enter(asker)
    }

    /// Sends a form; `members` are encoded already.
    pub(super) async fn post(
        &self,
        place: Place,
        members: &str,
        accept: &'static str,
        now: UnixMillis,
    ) -> Result<Response<Bytes>, LookupFault> {
        let turn = self.outbound.turn(place).await.ok_or(LookupFault::Overloaded)?;
        let (authorization, credentials) = self.client.verify(now).ok_or(LookupFault::Unavailable)?;
        let mut request =
            Request::builder().header(CONTENT_TYPE, "application/x-www-form-urlencoded").header(ACCEPT, accept);
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        Ok(self.outbound.post(&turn, request, format!("{members}{}", *credentials)).await?)
    }
}

impl Introspector {
    pub(super) fn new(endpoint: ClientEndpoint, dialect: &Dialect) -> Self {
        Self { endpoint, dialect: dialect.clone() }
    }

    pub(super) fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// Takes a place among the questions.
    pub(super) fn enter(&self, asker: Peer) -> Option<Place> {
        self.endpoint.enter(asker)
    }

    /// As whom the gateway asks; the audience of a signed answer.
    pub(super) fn client_id(&self) -> &str {
        self.endpoint.client_id()
    }

    /// Asks; the token is encoded, so that it cannot add form members of its own.
    pub(super) async fn ask(&self, place: Place, token: &str, now: UnixMillis) -> Result<Response<Bytes>, LookupFault> {
        let accept = match &self.dialect {
            Dialect::Json | Dialect::JwtMember { accept: MemberAccept::Json, .. } => "application/json",
            Dialect::JwtBody | Dialect::JwtMember { accept: MemberAccept::Jwt, .. } => "application/jwt",
            Dialect::SignedEnvelope => "application/token-introspection+jwt",
        };
        let members =
            zeroize::Zeroizing::new(format!("token={}&token_type_hint=access_token", *form_encode(token.as_bytes())));
        self.endpoint.post(place, &members, accept, now).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h4_what_a_flood_brings_about_is_no_outage_and_makes_no_stale_answer_good() {
        for fault in [LookupFault::Overloaded, LookupFault::Braked] {
            assert!(!fault.is_outage(), "{fault}");
        }
        for fault in [LookupFault::Connect, LookupFault::Timeout, LookupFault::Answer(AnswerFault::Status)] {
            assert!(fault.is_outage(), "{fault}");
        }
    }
}
