//! The control plane: one thread, tokio. What is not an upgrade of `/ws` ends up here, and what operators ask.
//!
//! Promises: a shard that hands a socket over never waits; connections here are bounded in number and in time, and what
//! does not fit is answered 503. It must never touch a room: it asks the shards by letters.

mod admin;
mod api;
mod desk;
mod front;
mod guests;
mod hangup;
mod idempotency;
pub mod jwks;
mod keys;
mod metrics;
mod notify;
mod page;
mod ready;
mod revoker;
mod rewind;
mod routes;
mod signals;
#[cfg(test)]
mod tests;
mod thresholds;
pub mod token_keys;

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc, watch};
use tower_service::Service;

pub use admin::{AdminRules, AdminSettings};
pub use api::{document as api_document, families as api_families};
pub use desk::Desk;
pub use front::FrontDoor;
pub use hangup::Hangups;
pub use keys::{ApiKey, NewKey};
pub use metrics::{Family, HTTP_REFUSED, Histogram, Kind, Sample, Scrape, Value};
pub use notify::{Notify, Watchdog};
pub use ready::{Life, Look, Reason, STALLED_MS, Standing};
pub use revoker::{Remembered, Sharing, families as sharing_families};
pub use signals::Signals;

use guests::Guests;
use revoker::Revoker;
use rewind::Rewind;

use crate::runtime::Given;

/// Makes a token for a user, or says why not.
pub type Mint = Arc<dyn Fn(&str) -> Result<String, String> + Send + Sync>;

/// What the control plane answers with.
pub struct ControlConfig {
    pub scrape: Scrape,
    /// Bound already, so that an address in use is said before anything runs; `None`: no admin listener.
    pub admin: Option<TcpListener>,
    /// What is on the admin listener is on the public one, too.
    pub admin_on_public: bool,
    pub admin_rules: AdminRules,
    /// Whom to believe about who asks, and whose pages may read the answers.
    pub front: FrontDoor,
    /// How the house is, for `/healthz`, `/readyz` and the watchdog.
    pub look: Look,
    /// A supervisor that wants to hear that all shards turn.
    pub watchdog: Option<Watchdog>,
    /// `--dev`: the page at `/`, and tokens for whoever asks from this host.
    pub dev: Option<Mint>,
    /// With which other servers what is revoked is shared; `None`: with none.
    pub sharing: Option<Sharing>,
}

/// The control plane at work. Its thread ends when every [`HandOver`] is gone and the last answer is given.
#[derive(Debug)]
pub struct Control {
    thread: JoinHandle<()>,
    leaving: watch::Sender<bool>,
    revoker: Revoker,
    /// Ends when what other servers remember is here.
    begun: std::sync::mpsc::Receiver<()>,
}

/// The way to the control plane. A clone is a pointer; every shard has one.
#[derive(Clone, Debug)]
pub struct HandOver {
    queue: mpsc::Sender<Given>,
    refused: Arc<AtomicU64>,
}

impl Control {
    /// Starts the thread.
    pub fn start(config: ControlConfig) -> io::Result<(Self, HandOver, Desk)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (queue, handed) = mpsc::channel(HANDED_WAITING_MAX);
        let handover = HandOver { queue, refused: Arc::new(AtomicU64::new(0)) };
        let refused = Arc::clone(&handover.refused);
        let (desk, answers) = Desk::new(config.admin_rules.clone());
        let (at_work, (leaving, told)) = (desk.clone(), watch::channel(false));
        let (revoker, (begin, begun)) = (Revoker::new(desk.clone()), std::sync::mpsc::channel());
        let shares = revoker.clone();
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::spawn(at_work.clone().listen(answers));
                serve(config, handed, refused, at_work, (shares, begin), told).await;
            });
        })?;
        Ok((Self { thread, leaving, revoker, begun }, handover, desk))
    }

    /// What the servers that this one takes over from have revoked, to be known before anybody is let in; waits until they
    /// have said so, for some seconds at most. Once, before the shards are made.
    pub fn inherit(&self) -> Vec<Remembered> {
        // Nothing is ever sent: its other end is dropped.
        let _begun = self.begun.recv();
        self.revoker.inherit()
    }

    /// The server leaves. The admin listener goes on, and says so, unless another server has its address, too: then
    /// operators are left to that one.
    pub fn leave(&self) {
        self.leaving.send_replace(true);
    }

    /// Blocks until the last answer is given. Every [`HandOver`] must be gone, or this never returns.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the control plane's thread had panicked");
        }
    }
}

impl HandOver {
    /// Gives a socket away, with the bytes already read from it. Never waits: if too many are waiting, the peer is
    /// answered 503 with one write and the socket is closed.
    pub fn give(&self, given: Given) {
        if let Err(refused) = self.queue.try_send(given) {
            let handed = match refused {
                mpsc::error::TrySendError::Full(handed) | mpsc::error::TrySendError::Closed(handed) => handed,
            };
            refuse(&handed.socket, &self.refused);
        }
    }
}

async fn serve(
    config: ControlConfig,
    mut handed: mpsc::Receiver<Given>,
    refused: Arc<AtomicU64>,
    desk: Desk,
    (revoker, begin): (Revoker, std::sync::mpsc::Sender<()>),
    leaving: watch::Receiver<bool>,
) {
    let sharing = config.sharing.map(|sharing| tokio::spawn(revoker.clone().share(sharing, begin)));
    let counts = Arc::new(api::ApiCounts::default());
    let operations = routes::operations(&config, Arc::clone(&refused), Arc::clone(&counts), &desk, &revoker);
    let admin = admin::router(operations, api::Api::new(desk, revoker, counts));
    let router = routes::public(&config, &admin);
    tokio::spawn(thresholds::watch(metrics::complete(Arc::clone(&config.scrape), Arc::clone(&refused))));
    if let Some(watchdog) = config.watchdog {
        tokio::spawn(notify::feed(watchdog, Arc::clone(&config.look)));
    }
    let operators = Arc::new(Semaphore::new(admin::CONNECTIONS_MAX));
    if let Some(listener) = config.admin {
        let served = admin::serve(listener, admin, Arc::clone(&operators), leaving);
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::error!(%error, "the admin listener ended");
            }
        });
    }
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let guests = Guests::default();
    while let Some(Given { socket, read, client }) = handed.recv().await {
        let peer = client.or_else(|| socket.peer_addr().ok().map(|peer| peer.ip()));
        // Whose peer is not known any more is gone: that is found out below, and is no refusal.
        let guest = peer.map(|peer| guests.take_in(&config.front, peer)).transpose();
        let (Ok(permit), Ok(guest)) = (Arc::clone(&permits).try_acquire_owned(), guest) else {
            refuse(&socket, &refused);
            continue;
        };
        match adopt(socket) {
            Ok((socket, peer)) => {
                let peer = client.unwrap_or(peer);
                let connection = serve_connection(Rewind::new(read, socket), peer, router.clone(), Requests::One);
                tokio::spawn(async move {
                    let _held = (permit, guest);
                    if tokio::time::timeout(CONNECTION_AGE_MAX, connection).await.is_err() {
                        tracing::debug!(%peer, "an http connection reached its age");
                    }
                });
            }
            Err(error) => tracing::debug!(%error, "a socket broke while it was handed over"),
        }
    }
    // The shards have ended. Other servers find out by the name that nobody is here any more, so it goes before the links.
    if let Some(sharing) = sharing {
        sharing.abort();
        let _aborted = sharing.await;
    }
    // Answers under way are given before the runtime, and with it their sockets, goes.
    let all = u32::try_from(CONNECTIONS_MAX).expect("a few hundred fit 32 bits");
    let _ended = tokio::time::timeout(GRACE, permits.acquire_many(all)).await;
    operators.close();
}

fn adopt(socket: TcpStream) -> io::Result<(tokio::net::TcpStream, IpAddr)> {
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    let peer = socket.peer_addr()?.ip();
    Ok((tokio::net::TcpStream::from_std(socket)?, peer))
}

/// How many requests a connection may bring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Requests {
    /// On the public listener. A connection that was handed over never goes back to a shard; a proxy that kept it for the
    /// next request would send somebody's upgrade of `/ws` where nobody can grant it. Whatever the first request was: with
    /// the API on that listener, too, the proxy sends its calls and the upgrades by the same connections. Who calls often
    /// has the admin listener.
    One,
    /// On the admin listener, where nothing is upgraded.
    Any,
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: IpAddr,
    router: axum::Router,
    requests: Requests,
) {
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(routes::Peer(peer));
        router.clone().call(request.map(Body::new))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        // `printf … | nc -N` closes its side before it reads.
        .half_close(true)
        .keep_alive(requests == Requests::Any)
        .serve_connection(TokioIo::new(stream), service)
        .without_shutdown()
        .await;
    match served {
        Ok(parts) => linger(parts.io.into_inner()).await,
        Err(error) => tracing::debug!(%peer, %error, "an http connection ended badly"),
    }
}

/// Closes behind the last answer. What the peer sent and nobody read, the next request or the rest of a body, is taken from
/// the socket until the peer ends, too: else it would turn the close into a reset that may overtake the answer (RFC 9112,
/// 9.6).
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let until_it_ends = async {
        let (mut unread, mut taken) = (vec![0; 4 << 10], 0);
        stream.shutdown().await?;
        while taken < LINGER_BYTES_MAX {
            match stream.read(&mut unread).await? {
                0 => break,
                some => taken += some,
            }
        }
        io::Result::Ok(())
    };
    // However it ends: the answer is written, and more was not promised.
    let _ended = tokio::time::timeout(LINGER, until_it_ends).await;
}

/// One write, whatever becomes of it: a shard may be the one who calls.
fn refuse(mut socket: &TcpStream, refused: &AtomicU64) {
    refused.fetch_add(1, Ordering::Relaxed);
    if socket.set_nonblocking(true).is_ok() {
        // A peer that cannot take 150 bytes is not owed an answer. What lies unread would turn the close into a reset
        // that overtakes the answer, so one gulp is taken.
        let _written = socket.write(BUSY);
        let _read = socket.read(&mut [0; 4 << 10]);
    }
}

/// Where operators look by default, beside 8080.
const DEFAULT_ADMIN_PORT: u16 = 8081;
/// Sockets waiting for the thread; with those served, at most 512 descriptors are open here.
const HANDED_WAITING_MAX: usize = 256;
/// Connections served at once, on the public side.
const CONNECTIONS_MAX: usize = 256;
/// From the first byte of a head to its last; where there are several, between two requests.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 64 << 10;
/// No connection lives longer than this, however it trickles.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(120);
/// How long a peer may take to end after the last answer, and what it may send meanwhile: the longest body there is.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 4 << 20;
/// What answers under way are given when the server stops.
const GRACE: Duration = Duration::from_millis(500);

const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 57\r\n\r\n\
    {\"error\":\"busy\",\"message\":\"too many requests at a time\"}\n";
