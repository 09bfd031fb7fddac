//! The port for proxies, which every pod of the cluster can reach: a clock for the handshake, and a cap on connections of
//! one address and of all.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Instant, Sleep},
};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Connections of one address. A pod has one proxy, which has one stream; a rollout may double that.
const MAX_OF_ADDRESS: usize = 32;

/// Connections of all.
const MAX_OF_ALL: usize = 8192;

/// Time for the handshake: for a client's hello, its end of the handshake and the preface of HTTP/2, which together are
/// never shorter than these bytes.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
const HANDSHAKE_BYTES: usize = 300;

/// Accepted connections within the caps. Others are closed at once.
pub(crate) struct Incoming {
    listener: TcpListener,
    counts: Counts,
    /// After a failure to accept, e.g. for want of descriptors.
    pause: Option<Pin<Box<Sleep>>>,
}

type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// One connection, which must speak soon.
pub(crate) struct Connection {
    stream: TcpStream,
    _place: Place,
    /// Bytes that are still to come, and until when; `None` once the handshake is over.
    handshake: Option<(usize, Pin<Box<Sleep>>)>,
}

/// A place among the connections, given up when dropped.
struct Place {
    address: IpAddr,
    counts: Counts,
}

impl Incoming {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self { listener, counts: Counts::default(), pause: None }
    }
}

impl Place {
    fn take(counts: &Counts, address: IpAddr) -> Option<Self> {
        let mut held = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = held.values().sum();
        let count = held.entry(address).or_default();
        if *count >= MAX_OF_ADDRESS || all >= MAX_OF_ALL {
            return None;
        }
        *count += 1;
        Some(Self { address, counts: Arc::clone(counts) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                held.remove(&self.address);
            }
        }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(pause) = &mut this.pause {
                std::task::ready!(pause.as_mut().poll(context));
                this.pause = None;
            }
            match std::task::ready!(this.listener.poll_accept(context)) {
                Ok((stream, peer)) => {
                    let Some(place) = Place::take(&this.counts, peer.ip()) else { continue };
                    let clock = Box::pin(tokio::time::sleep_until(Instant::now() + HANDSHAKE_WITHIN));
                    let handshake = Some((HANDSHAKE_BYTES, clock));
                    return Poll::Ready(Some(Ok(Connection { stream, _place: place, handshake })));
                }
                Err(fault) => {
                    tracing::warn!(%fault, "cannot accept a connection");
                    this.pause = Some(Box::pin(tokio::time::sleep(Duration::from_millis(100))));
                }
            }
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let Some((missing, clock)) = &mut this.handshake else { return read };
        *missing = missing.saturating_sub(buffer.filled().len().saturating_sub(before));
        if *missing == 0 {
            this.handshake = None;
            return read;
        }
        if clock.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no handshake within 10 s")));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn incoming() -> (Incoming, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Incoming::new(listener), address)
    }

    #[tokio::test]
    async fn k10_one_address_has_so_many_connections_and_gets_its_place_back() {
        let (mut incoming, address) = incoming().await;
        let mut clients = Vec::new();
        let mut held = Vec::new();
        for _ in 0..MAX_OF_ADDRESS {
            clients.push(TcpStream::connect(address).await.unwrap());
            held.push(incoming.next().await.unwrap().unwrap());
        }
        let mut surplus = TcpStream::connect(address).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), incoming.next()).await.is_err());
        assert_eq!(surplus.read(&mut [0]).await.unwrap_or(0), 0, "it is closed at once");
        drop(held.pop());
        clients.push(TcpStream::connect(address).await.unwrap());
        assert!(incoming.next().await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn k10_who_says_nothing_is_closed_and_who_speaks_is_not() {
        let (mut incoming, address) = incoming().await;
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut connection = incoming.next().await.unwrap().unwrap();
        let fault = connection.read(&mut [0; 16]).await.unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::TimedOut);
        let mut speaking = TcpStream::connect(address).await.unwrap();
        let mut connection = incoming.next().await.unwrap().unwrap();
        speaking.write_all(&[7; HANDSHAKE_BYTES]).await.unwrap();
        let mut buffer = [0; HANDSHAKE_BYTES];
        connection.read_exact(&mut buffer).await.unwrap();
        let later = tokio::time::timeout(2 * HANDSHAKE_WITHIN, connection.read(&mut buffer)).await;
        assert!(later.is_err(), "a stream may be quiet for as long as it likes");
    }
}
