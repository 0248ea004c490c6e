//! The seam between the command and the data plane: a config becomes running shards.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use throng::control::{HandOver, Scrape};
use throng::wire::TokenVerifier;

use super::Failure;
use super::serve::ServeConfig;

/// Where the shards leave what they count, and the scrape finds it.
#[derive(Default)]
pub(crate) struct Scrapes;

impl Scrapes {
    pub(crate) fn reader(&self) -> Scrape {
        Arc::new(Vec::new)
    }
}

/// A started data plane.
pub(crate) struct Running {
    listen: SocketAddr,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Starts it.
pub(crate) fn start(
    config: &ServeConfig,
    _verifier: &Arc<TokenVerifier>,
    handover: HandOver,
    _scrape: &Scrapes,
) -> Result<Running, Failure> {
    let broken = |error| Failure::Broken(format!("cannot listen at {}: {error}", config.listen));
    let listener = TcpListener::bind(config.listen).map_err(broken)?;
    let listen = listener.local_addr().map_err(broken)?;
    let stopping = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopping);
    let thread = std::thread::Builder::new().spawn(move || {
        for socket in listener.incoming().flatten() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            handover.give(socket, Bytes::new());
        }
    });
    Ok(Running { listen, stopping, thread: thread.map_err(broken)? })
}

impl Running {
    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen
    }

    pub(crate) fn capacity(&self) -> String {
        "serves plain HTTP only".to_owned()
    }

    pub(crate) fn stop(self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _woken = std::net::TcpStream::connect(self.listen);
        let _ended = self.thread.join();
    }
}
