//! The link itself: a thread that accepts connections and passes their bytes on, later and slower.

use super::conditions::{Conditions, Fault};
use super::pace::{Pace, Window};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Bytes taken from a socket at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes that pass at a time on a link with a rate: connections share it piece by piece. 0.65 ms at 200 Mbit/s.
const QUANTUM_BYTES: usize = 16 << 10;
/// Pieces that wait for a slow receiver, in one direction of a connection.
const QUEUE_PIECES: usize = 64;
/// How long one byte takes with [`Fault::Trickle`].
const TRICKLE: Duration = Duration::from_secs(1);

/// A link to a server; dropped, it ends, and every connection through it.
pub struct SlowLink {
    address: SocketAddr,
    conditions: watch::Sender<Conditions>,
    shared: Arc<Shared>,
    ended: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What has passed through a link since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Connections that were accepted.
    pub connections: u64,
    /// Bytes to the server.
    pub up_bytes: u64,
    /// Bytes from the server.
    pub down_bytes: u64,
}

/// What all connections have in common.
#[derive(Default)]
struct Shared {
    connections: AtomicU64,
    up: Lane,
    down: Lane,
}

/// One direction: its rate is shared by all connections.
#[derive(Default)]
struct Lane {
    passed: AtomicU64,
    pace: Mutex<Pace>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

impl SlowLink {
    /// Starts a link to the server at `to`, on a free port of the loopback interface.
    pub fn start(to: SocketAddr, conditions: Conditions) -> SlowLink {
        let (conditions, seen) = watch::channel(conditions);
        let shared = Arc::new(Shared::default());
        let (told, listens) = std::sync::mpsc::channel();
        let (ended, end) = tokio::sync::oneshot::channel();
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                told.send(listener.local_addr().expect("an address"))
                    .expect("somebody waits");
                tokio::select! {
                    () = accept(listener, to, seen, of_thread) => {}
                    _ = end => {}
                }
            });
        });
        SlowLink {
            address: listens.recv().expect("the link listens"),
            conditions,
            shared,
            ended: Some(ended),
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, for clients of an HTTP server.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes what the link is like, for connections that are open too.
    pub fn change(&self, change: impl FnOnce(&mut Conditions)) {
        self.conditions.send_modify(change);
    }

    /// From now on has this fault, or none.
    pub fn fail(&self, fault: Option<Fault>) {
        self.change(|conditions| conditions.fault = fault);
    }

    /// What has passed so far.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            connections: self.shared.connections.load(Ordering::Relaxed),
            up_bytes: self.shared.up.passed.load(Ordering::Relaxed),
            down_bytes: self.shared.down.passed.load(Ordering::Relaxed),
        }
    }
}

impl Drop for SlowLink {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            let _ = ended.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(
    listener: TcpListener,
    to: SocketAddr,
    conditions: watch::Receiver<Conditions>,
    shared: Arc<Shared>,
) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let (seen, shared) = (conditions.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let mut refused = seen.clone();
            tokio::select! {
                _ = refused.wait_for(|now| now.fault == Some(Fault::Refuse)) => {}
                _ = connect(client, to, seen, &shared) => {}
            }
        });
    }
}

/// One connection, until both directions ended or one failed: dropped, its sockets close.
async fn connect(
    client: TcpStream,
    to: SocketAddr,
    seen: watch::Receiver<Conditions>,
    shared: &Shared,
) -> std::io::Result<()> {
    // The handshake is the kernel's here; on a distant server it takes a round trip before the first byte goes.
    let round_trip = seen.borrow().round_trip;
    tokio::time::sleep(round_trip).await;
    let server = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let gate = |direction| Gate {
        direction,
        lane: match direction {
            Direction::Up => &shared.up,
            Direction::Down => &shared.down,
        },
        conditions: seen.clone(),
        passed_since_change: 0,
        own_pace: Pace::default(),
    };
    tokio::try_join!(
        carry(from_client, to_server, gate(Direction::Up)),
        carry(from_server, to_client, gate(Direction::Down)),
    )?;
    Ok(())
}

/// A piece and when it arrives.
type Piece = (Instant, Vec<u8>);

/// Carries one direction: pieces leave as the rate allows and arrive half a round trip later.
async fn carry(from: OwnedReadHalf, to: OwnedWriteHalf, gate: Gate<'_>) -> std::io::Result<()> {
    let (leaves, arrives) = mpsc::channel(QUEUE_PIECES);
    match tokio::try_join!(send(from, leaves, gate), deliver(arrives, to))? {
        (Ending::Closed, ()) => Ok(()),
        (Ending::Cut, ()) => Err(std::io::ErrorKind::ConnectionReset.into()),
    }
}

/// Why no more is sent.
enum Ending {
    Closed,
    Cut,
}

async fn send(
    mut from: OwnedReadHalf,
    leaves: mpsc::Sender<Piece>,
    mut gate: Gate<'_>,
) -> std::io::Result<Ending> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut window = Window::default();
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return Ok(Ending::Closed);
        }
        let mut rest = &chunk[..read];
        while !rest.is_empty() {
            let passing = gate.pass(rest.len()).await?;
            if passing == 0 {
                return Ok(Ending::Cut);
            }
            let (piece, behind) = rest.split_at(passing);
            let now = Instant::now().into_std();
            sleep_until(window.leave(now, passing, gate.round_trip()), now).await;
            let arrival = Instant::now() + gate.round_trip() / 2;
            if leaves.send((arrival, piece.to_vec())).await.is_err() {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            rest = behind;
        }
    }
}

async fn deliver(
    mut arrives: mpsc::Receiver<Piece>,
    mut to: OwnedWriteHalf,
) -> std::io::Result<()> {
    while let Some((arrival, piece)) = arrives.recv().await {
        sleep_until(arrival.into_std(), std::time::Instant::now()).await;
        to.write_all(&piece).await?;
    }
    to.shutdown().await
}

/// Waits until `at` if that is after `now`: a timer that is due already ends with the next millisecond, and a piece for each
/// millisecond is a slow link.
async fn sleep_until(at: std::time::Instant, now: std::time::Instant) {
    if at > now {
        tokio::time::sleep_until(at.into()).await;
    }
}

/// What one direction of a connection waits at.
struct Gate<'a> {
    direction: Direction,
    lane: &'a Lane,
    conditions: watch::Receiver<Conditions>,
    passed_since_change: u64,
    /// What the connection itself lets pass.
    own_pace: Pace,
}

impl Gate<'_> {
    fn round_trip(&self) -> Duration {
        self.conditions.borrow().round_trip
    }

    /// Waits as the conditions of this moment ask; how many of `waiting` bytes may pass then, none if the connection is cut.
    async fn pass(&mut self, waiting: usize) -> std::io::Result<usize> {
        loop {
            if self.conditions.has_changed().unwrap_or(false) {
                self.passed_since_change = 0;
            }
            let now = *self.conditions.borrow_and_update();
            let mut piece = waiting;
            match now.fault {
                Some(Fault::Silence) => {
                    self.changed().await?;
                    continue;
                }
                Some(Fault::Trickle) if self.direction == Direction::Down => {
                    tokio::select! {
                        () = tokio::time::sleep(TRICKLE) => return Ok(self.count(1)),
                        changed = self.conditions.changed() => changed.map_err(|_| ended())?,
                    }
                    self.passed_since_change = 0;
                    continue;
                }
                Some(Fault::CutAfter(bytes)) if self.direction == Direction::Down => {
                    let left = bytes.saturating_sub(self.passed_since_change);
                    if left == 0 {
                        return Ok(0);
                    }
                    piece = piece.min(usize::try_from(left).unwrap_or(usize::MAX));
                }
                _ => {}
            }
            let at = Instant::now().into_std();
            let mut passed = at;
            if let Some(rate) = now.bytes_per_second {
                piece = piece.min(QUANTUM_BYTES);
                passed = lock(&self.lane.pace).reserve(at, piece as u64, rate);
            }
            if let Some(rate) = now.connection_bytes_per_second {
                passed = passed.max(self.own_pace.reserve(at, piece as u64, rate));
            }
            sleep_until(passed, at).await;
            return Ok(self.count(piece));
        }
    }

    async fn changed(&mut self) -> std::io::Result<()> {
        self.conditions.changed().await.map_err(|_| ended())?;
        self.passed_since_change = 0;
        Ok(())
    }

    fn count(&mut self, bytes: usize) -> usize {
        self.passed_since_change += bytes as u64;
        self.lane.passed.fetch_add(bytes as u64, Ordering::Relaxed);
        bytes
    }
}

fn ended() -> std::io::Error {
    std::io::Error::other("the link ended")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
