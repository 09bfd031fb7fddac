//! Honest clients: a steady rate from an address of their own, each request with its own patience.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// Clients at the same time, and their pace.
const CLIENTS: u32 = 4;
const PACE: Duration = Duration::from_millis(20);

/// Requests on one connection.
const PER_CONNECTION: u32 = 25;

/// Time for one request, after which it counts as failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Address of honest clients.
const HOME: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

pub(super) struct Honest {
    seen: Arc<Mutex<Vec<(Instant, Duration, bool)>>>,
    tasks: Vec<JoinHandle<()>>,
    /// From when on the next figures count.
    since: Mutex<Instant>,
}

/// How honest requests fared in one stretch of time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    pub(super) requests: usize,
    pub(super) failed: usize,
    pub(super) p99: Duration,
}

impl Honest {
    pub(super) fn begin(server: SocketAddr, head: &str) -> Self {
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        let client = |number: u32| {
            let (seen, head) = (Arc::clone(&seen), head.to_owned());
            tokio::spawn(async move {
                sleep(PACE / CLIENTS * number).await;
                client(server, &head, |begun, whole| {
                    lock(&seen).push((begun, begun.elapsed(), whole));
                })
                .await;
            })
        };
        Self { tasks: (0..CLIENTS).map(client).collect(), seen, since: Mutex::new(Instant::now()) }
    }

    /// Figures since the last call.
    pub(super) fn figures(&self) -> Figures {
        let from = std::mem::replace(&mut *lock(&self.since), Instant::now());
        figures(lock(&self.seen).iter().filter(|(begun, ..)| *begun >= from))
    }

    /// Time until a whole row of requests is about as quick as before, `None` if it takes longer than this.
    pub(super) async fn recovers(&self, p99: Duration, within: Duration) -> Option<Duration> {
        let begun = Instant::now();
        let quick = p99.max(Duration::from_millis(2)) * 3;
        while begun.elapsed() < within {
            sleep(Duration::from_millis(100)).await;
            let held = lock(&self.seen);
            let last: Vec<_> = held.iter().filter(|(at, ..)| *at >= begun).rev().take(20).collect();
            if last.len() == 20 && last.iter().all(|(_, took, whole)| *whole && *took <= quick) {
                return Some(begun.elapsed());
            }
        }
        None
    }

    /// The figures of the rest.
    pub(super) async fn end(self) -> Figures {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            // Aborted, or over.
            drop(task.await);
        }
        let from = *lock(&self.since);
        figures(lock(&self.seen).iter().filter(|(begun, ..)| *begun >= from))
    }
}

fn lock<T>(held: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

fn figures<'a>(seen: impl Iterator<Item = &'a (Instant, Duration, bool)>) -> Figures {
    let (mut times, mut failed) = (Vec::new(), 0);
    for (_, took, whole) in seen {
        times.push(*took);
        failed += usize::from(!whole);
    }
    times.sort_unstable();
    let p99 = times.get(times.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default();
    Figures { requests: times.len(), failed, p99 }
}

async fn client(server: SocketAddr, head: &str, told: impl Fn(Instant, bool)) {
    let mut connection = None;
    let mut left = 0;
    loop {
        let begun = Instant::now();
        let answered = timeout(PATIENCE, async {
            if left == 0 {
                connection = Some(connect(server).await?);
                left = PER_CONNECTION;
            }
            left -= 1;
            let Some(stream) = &mut connection else { return Ok(false) };
            ask(stream, head).await
        })
        .await;
        let whole = matches!(answered, Ok(Ok(true)));
        told(begun, whole);
        if !whole {
            left = 0;
        }
        sleep(PACE).await;
    }
}

async fn connect(server: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((HOME, 0).into())?;
    let stream = socket.connect(server).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether the answer is 200 and whole.
async fn ask(stream: &mut TcpStream, head: &str) -> std::io::Result<bool> {
    stream.write_all(head.as_bytes()).await?;
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(false);
        }
        seen.extend_from_slice(buffer.get(..count).unwrap_or_default());
        // The application's file is these bytes.
        if seen.ends_with(b"\r\n\r\nhello") {
            return Ok(seen.starts_with(b"HTTP/1.1 200 "));
        }
    }
}
