//! A peer that behaves as its class says, at full speed, from one address.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Builder,
    time::{sleep, timeout},
};

use super::classes::{Class, Reads, Say};

/// Address of the hostile peer.
const HOME: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// What was said in all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) bytes: u64,
    pub(super) requests: u64,
}

#[derive(Default)]
struct Counts {
    bytes: AtomicU64,
    requests: AtomicU64,
    over: AtomicBool,
}

/// An attack that goes on, on a thread of its own.
pub(super) struct Attack {
    counts: Arc<Counts>,
    thread: std::thread::JoinHandle<()>,
}

impl Attack {
    pub(super) fn begin(class: &Class, server: SocketAddr) -> Self {
        let counts: Arc<Counts> = Arc::default();
        let (class, shared) = (class.clone(), Arc::clone(&counts));
        let thread = std::thread::spawn(move || {
            // One thread, so that the peer takes one processor at the most.
            let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(async {
                let mut peers = Vec::new();
                for number in 0..class.connections {
                    let (class, counts) = (class.clone(), Arc::clone(&shared));
                    peers.push(tokio::spawn(async move { peer(&class, server, number, &counts).await }));
                }
                while !shared.over.load(Ordering::Relaxed) {
                    sleep(Duration::from_millis(20)).await;
                }
                for peer in peers {
                    peer.abort();
                }
            });
            // Connections end with the runtime.
            runtime.shutdown_timeout(Duration::from_secs(1));
        });
        Self { counts, thread }
    }

    pub(super) async fn end(self) -> Sent {
        self.counts.over.store(true, Ordering::Relaxed);
        let thread = self.thread;
        // A thread that panicked has said what it said.
        drop(tokio::task::spawn_blocking(move || drop(thread.join())).await);
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Sent { bytes: read(&self.counts.bytes), requests: read(&self.counts.requests) }
    }
}

/// Connects again and again.
async fn peer(class: &Class, server: SocketAddr, number: usize, counts: &Counts) {
    loop {
        if let Ok(Ok(stream)) = timeout(Duration::from_secs(2), connect(server)).await {
            // Whatever ends a connection, there is a next one.
            drop(converse(class, stream, number, counts).await);
        }
        tokio::task::yield_now().await;
        sleep(class.pause).await;
    }
}

async fn connect(server: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((HOME, 0).into())?;
    socket.connect(server).await
}

async fn converse(class: &Class, stream: TcpStream, number: usize, counts: &Counts) -> std::io::Result<()> {
    let (read, write) = stream.into_split();
    let reading = reads(read, class.reads);
    let writing = writes(class, write, number, counts);
    // The side that ends ends both: a peer that was closed comes back.
    tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    }
}

async fn writes(class: &Class, mut write: OwnedWriteHalf, number: usize, counts: &Counts) -> std::io::Result<()> {
    let mut turn = 0_u32;
    loop {
        let said = match (&class.say, turn) {
            (Say::Once(bytes), 0) => bytes.as_ref().clone(),
            (Say::Once(_), _) => return std::future::pending().await,
            (Say::Turns(make), turn) => make(number, turn),
        };
        write.write_all(&said).await?;
        counts.bytes.fetch_add(said.len() as u64, Ordering::Relaxed);
        counts.requests.fetch_add(class.requests, Ordering::Relaxed);
        turn = turn.wrapping_add(1);
        if turn >= class.turns {
            return std::future::pending().await;
        }
        if class.pace.is_zero() {
            tokio::task::yield_now().await;
        } else {
            sleep(class.pace).await;
        }
    }
}

async fn reads(mut read: OwnedReadHalf, reads: Reads) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    match reads {
        Reads::Nothing => std::future::pending().await,
        Reads::All => while read.read(&mut buffer).await? > 0 {},
        Reads::Slowly => {
            // Some five kilobytes a second.
            buffer.truncate(512);
            while read.read(&mut buffer).await? > 0 {
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    Ok(())
}
