//! The line to the token service: real sockets, and faults of the network.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use portreeve_registration::{Delivery, Transport, TransportError};

use super::{Sabotage, failpoint::Failpoint, random::Random, server::TokenService};

/// The line as one process sees it.
pub(super) struct FaultyTransport {
    pub(super) server: Arc<TokenService>,
    pub(super) failpoint: Arc<Failpoint>,
    pub(super) random: Mutex<Random>,
    /// Faults that may still happen.
    pub(super) budget: AtomicUsize,
    /// Faults that did.
    pub(super) faults: AtomicUsize,
    pub(super) sabotage: Sabotage,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The request is lost on the way; the caller cannot know.
    DropRequest,
    /// The server acts; its answer is lost.
    DropAnswer,
    /// The answer comes late.
    Delay,
    /// A proxy in between answers 503 without asking the server.
    Refused,
    /// A proxy in between answers 502 after the server acted.
    Garbled,
}

const FAULTS: [Fault; 5] = [Fault::DropRequest, Fault::DropAnswer, Fault::Delay, Fault::Refused, Fault::Garbled];

impl FaultyTransport {
    fn fault(&self) -> Option<Fault> {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let drawn = random.in_hundred(25).then(|| random.below(5));
        let drawn = drawn.and_then(|at| FAULTS.get(usize::try_from(at).ok()?).copied())?;
        let spend = |left: usize| left.checked_sub(1);
        self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).ok()?;
        self.faults.fetch_add(1, Ordering::Relaxed);
        Some(drawn)
    }
}

fn lost() -> TransportError {
    TransportError::new(Delivery::Unknown, "the connection broke")
}

fn bare(status: u16) -> Response<Vec<u8>> {
    let mut response = Response::new(Vec::new());
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response
}

impl Transport for FaultyTransport {
    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, TransportError> {
        let method = request.method().clone();
        self.failpoint.pass(&format!("before {method}")).await;
        let fault = self.fault();
        let hollow = self.sabotage == Sabotage::HollowUpdates && method == http::Method::PUT;
        let response = match fault {
            Some(Fault::DropRequest) => Err(lost()),
            Some(Fault::Refused) => Ok(bare(503)),
            _ if hollow => {
                // What a server would say, without having done it.
                let mut answer = Response::new(request.into_body());
                *answer.status_mut() = http::StatusCode::OK;
                Ok(answer)
            }
            Some(Fault::DropAnswer) => self.server.send(request).await.and(Err(lost())),
            Some(Fault::Garbled) => self.server.send(request).await.map(|_acted| bare(502)),
            Some(Fault::Delay) => {
                let response = self.server.send(request).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                response
            }
            None => self.server.send(request).await,
        };
        self.failpoint.pass(&format!("after {method}")).await;
        response
    }
}
