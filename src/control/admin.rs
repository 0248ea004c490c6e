//! The admin listener: what the public must not see.
//!
//! Promises: it stands apart from the public listener, with connections of its own, so that a crowd at the front door
//! keeps nobody from looking; what is on it is mounted here and nowhere else; at no time does nobody listen: a server that
//! leaves steps back when the next one has the address, and not before.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use tokio::sync::{Semaphore, watch};

use super::api::{Api, Problem};
use super::keys::ApiKey;
use super::{DEFAULT_ADMIN_PORT, Requests, serve_connection};
use crate::runtime::accept;

/// What an operator says about the admin listener.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// Where; `None`: there is no such listener. Port 0 picks a free one.
    pub listen: Option<SocketAddr>,
    /// Its routes stand on the public listener, too.
    pub on_public: bool,
    /// Who may use the API.
    pub keys: Vec<ApiKey>,
}

impl Default for AdminSettings {
    fn default() -> Self {
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_ADMIN_PORT);
        Self { listen: Some(listen), on_public: false, keys: Vec::new() }
    }
}

/// What of them may change while the server runs. Replaced as a whole by `Desk::set_rules`.
#[derive(Clone, Debug)]
pub struct AdminRules {
    pub keys: Vec<ApiKey>,
    /// Bytes of `data`; the same as on the wire.
    pub message_bytes_max: usize,
    /// Nesting of `data`; the same as on the wire.
    pub depth_max: usize,
    /// Revocations of tokens and users that are remembered for the next server; the same as in each shard.
    pub revocations_max: usize,
    /// How long, in seconds; likewise.
    pub revocation_life_s: u64,
}

impl AdminRules {
    /// Bytes of a body: a batch, or one message and what stands around it.
    pub(super) fn body_bytes_max(&self) -> usize {
        BATCH_BYTES_MAX.max(self.message_bytes_max + (64 << 10))
    }
}

/// All routes: what operators look at, and the API.
pub(super) fn router(operations: Router, api: Api) -> Router {
    Router::new().merge(operations).nest("/api/v1", api.router()).fallback(async || {
        let sentence = "there is nothing here; there are /readyz, /metrics and /api/v1";
        Problem::new(StatusCode::NOT_FOUND, "not_found", sentence)
    })
}

/// Takes connections until another server does, once this one is `leaving`.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    permits: Arc<Semaphore>,
    leaving: watch::Receiver<bool>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let replaced = replaced(listener.try_clone()?, leaving);
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tokio::select! {
        () = take(&listener, router, permits) => {}
        () = replaced => tracing::info!("operators are left to the server that has taken over"),
    }
    Ok(())
}

async fn take(listener: &tokio::net::TcpListener, router: Router, permits: Arc<Semaphore>) {
    loop {
        // One more waits in the backlog: here are operators, not crowds.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, peer)) => {
                let connection = serve_connection(socket, peer.ip(), router.clone(), Requests::Any);
                tokio::spawn(async move {
                    let _permit = permit;
                    if tokio::time::timeout(CONNECTION_AGE_MAX, connection).await.is_err() {
                        tracing::debug!(%peer, "an admin connection reached its age");
                    }
                });
            }
            Err(error) => {
                // No descriptor left, most likely; it must not spin.
                tracing::warn!(%error, "the admin listener took no connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Comes true when this server leaves, another has its address, and whoever was on the way has arrived.
async fn replaced(listener: TcpListener, mut leaving: watch::Receiver<bool>) {
    if leaving.wait_for(|leaving| *leaving).await.is_err() {
        return std::future::pending().await;
    }
    loop {
        match accept::is_shared(&listener) {
            Ok(true) => break,
            Ok(false) => tokio::time::sleep(LOOK_AGAIN).await,
            Err(error) => {
                tracing::warn!(%error, "whether another server has the admin address is not to be seen: this one stays");
                return std::future::pending().await;
            }
        }
    }
    accept::hold_newcomers_off(&listener);
    tokio::time::sleep(Duration::from_millis(accept::LINGER_MS_MAX)).await;
}

/// Connections served at once.
pub(super) const CONNECTIONS_MAX: usize = 128;
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(3_600);
/// A successor that comes late is noticed so late.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const BATCH_BYTES_MAX: usize = 4 << 20;
