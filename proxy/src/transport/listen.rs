//! Listening sockets: one for each worker on the same port, so that the kernel spreads connections.

use std::{io, net::SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// A bound socket of one worker.
pub struct Listener {
    pub(super) socket: TcpListener,
}

/// Why a port cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}{}", if .error.kind() == io::ErrorKind::AddrInUse { "; another program has the port, choose another with PORTREEVE_LISTEN" } else { "" })]
pub struct BindError {
    address: SocketAddr,
    error: io::Error,
}

/// Binds a port once for each worker. The first bind is made without sharing and given up again, so that a port that
/// another proxy has is noticed.
pub fn bind_all(address: SocketAddr, workers: usize) -> Result<Vec<std::net::TcpListener>, BindError> {
    let alone = std::net::TcpListener::bind(address).map_err(|error| BindError { address, error })?;
    // Port 0 asks for any free port; all workers then share the one that was found.
    let address = alone.local_addr().map_err(|error| BindError { address, error })?;
    drop(alone);
    (0..workers).map(|_| bind(address)).collect()
}

fn bind(address: SocketAddr) -> Result<std::net::TcpListener, BindError> {
    let make = || -> io::Result<std::net::TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        // Inherited by the connections.
        socket.set_tcp_notsent_lowat(MAX_UNSENT)?;
        socket.listen(1024)?;
        Ok(socket.into())
    };
    make().map_err(|error| BindError { address, error })
}

/// Bytes of an answer that the kernel takes for a client before they can be sent.
pub(crate) const MAX_UNSENT: u32 = 128 * 1024;

impl Listener {
    /// Takes a bound socket over into the running worker.
    pub fn new(socket: std::net::TcpListener) -> io::Result<Self> {
        Ok(Self { socket: TcpListener::from_std(socket)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p3_the_kernel_takes_no_more_than_it_may_for_a_client() {
        let sockets = bind_all(SocketAddr::from(([127, 0, 0, 1], 0)), 1).unwrap();
        let _client = std::net::TcpStream::connect(sockets[0].local_addr().unwrap()).unwrap();
        sockets[0].set_nonblocking(false).unwrap();
        let (accepted, _) = sockets[0].accept().unwrap();
        assert_eq!(socket2::SockRef::from(&accepted).tcp_notsent_lowat().unwrap(), MAX_UNSENT);
    }
}
