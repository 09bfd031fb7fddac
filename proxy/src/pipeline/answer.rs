//! The application's answer on its way to the client, and what goes on when the protocol was switched.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderValue, Response, StatusCode, Version, header::VIA};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes},
    time::Instant,
};

use super::{AnswerBody, hop, stages::upgrade::Switch};

/// The answer as it goes to the client; after 101, both sides are joined.
pub(super) fn finish(
    mut response: Response<AnswerBody>,
    client_side: Option<(Switch, Option<OnUpgrade>)>,
) -> Response<AnswerBody> {
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    // The gateway's own, whatever the application speaks (RFC 9110 section 2.5).
    *response.version_mut() = Version::HTTP_11;
    hop::strip(response.headers_mut());
    response.headers_mut().append(VIA, HeaderValue::from_static("1.1 portreeve"));
    if let (true, Some((switch, Some(client)))) = (switching, client_side) {
        switch.announce(response.headers_mut());
        let at_end = response.body_mut().take_end();
        if let Some(upstream) = response.extensions_mut().remove::<OnUpgrade>() {
            drop(tokio::task::spawn_local(async move {
                join(client, upstream).await;
                if let Some(at_end) = at_end {
                    at_end(false);
                }
            }));
        }
    }
    response
}

/// Time without a byte from either side, after which a connection of another protocol is closed: several times what
/// WebSocket peers ping at.
pub(crate) const UPGRADED_IDLE: Duration = Duration::from_mins(5);

/// Bytes of each direction that wait for the other side.
pub(crate) const UPGRADED_BUFFER: usize = 8 * 1024;

async fn join(client: OnUpgrade, upstream: OnUpgrade) {
    if let (Ok(client), Ok(upstream)) = tokio::join!(client, upstream) {
        carry(TokioIo::new(client), TokioIo::new(upstream)).await;
    }
}

/// Either side may leave at any time; then the other one is closed with it. So is one where both are silent.
async fn carry(client: impl AsyncRead + AsyncWrite + Unpin, mut upstream: impl AsyncRead + AsyncWrite + Unpin) {
    let seen = Rc::new(Cell::new(Instant::now()));
    let mut client = Watched { io: client, seen: Rc::clone(&seen) };
    let copying = copy_bidirectional_with_sizes(&mut client, &mut upstream, UPGRADED_BUFFER, UPGRADED_BUFFER);
    let silence = async {
        while seen.get() + UPGRADED_IDLE > Instant::now() {
            tokio::time::sleep_until(seen.get() + UPGRADED_IDLE).await;
        }
    };
    tokio::select! {
        biased;
        _ = copying => {}
        () = silence => tracing::debug!("neither side of an upgraded connection said anything for too long"),
    }
}

/// Bytes to and from the client, with the moment of the last one: what the application says is written here.
struct Watched<S> {
    io: S,
    seen: Rc<Cell<Instant>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.seen.set(Instant::now());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(Pin::new(&mut this.io).poll_write(cx, bytes))?;
        this.seen.set(Instant::now());
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn p1_an_upgraded_connection_ends_when_both_sides_are_silent_and_not_before() {
        let ((mut client, ours), (theirs, mut app)) = (duplex(64), duplex(64));
        let carrying = carry(ours, theirs);
        let start = Instant::now();
        let talking = async {
            for said in 1..=6_u8 {
                tokio::time::sleep(UPGRADED_IDLE.mul_f64(0.99)).await;
                let (from, to) = if said % 2 == 0 { (&mut client, &mut app) } else { (&mut app, &mut client) };
                from.write_u8(said).await.unwrap();
                assert_eq!(to.read_u8().await.unwrap(), said);
            }
            assert!(client.read_u8().await.is_err(), "closed");
        };
        tokio::join!(carrying, talking);
        assert!(start.elapsed() >= UPGRADED_IDLE * 6 && start.elapsed() < UPGRADED_IDLE * 8, "{:?}", start.elapsed());
    }
}
