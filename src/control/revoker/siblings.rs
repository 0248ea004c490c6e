//! The other servers of this user at this address: finding them, being found, and knowing who of them cannot be told.
//!
//! Promises: whoever lives and cannot be told is *missing* until it has ended or talks, and while somebody is missing no
//! revocation is complete; a server that cannot be found, or that finds nobody, starts all the same and says so.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use super::line::Line;
use super::link;
use super::list::Remembered;
use super::place::{Names, Place};
use super::sharing::Fault;
use super::{Link, Revoker};
use crate::runtime::accept;

/// With whom a server shares what is revoked.
#[derive(Clone, Copy, Debug)]
pub struct Sharing {
    /// Where it listens for the public. With port 0 nobody knows it beforehand, and nothing is shared.
    pub address: SocketAddr,
    /// Others may be there, and have revoked before this one was.
    pub takeover: bool,
}

impl Revoker {
    /// Finds the siblings, takes in what they remember, and is found by those who come later. `begun` is dropped when all
    /// of that is here, or after [`EXCHANGE_WITHIN`]. Never returns, unless this server cannot be found.
    pub(in crate::control) async fn share(self, sharing: Sharing, begun: std::sync::mpsc::Sender<()>) {
        let Sharing { address, takeover } = sharing;
        if address.port() == 0 {
            return;
        }
        // Before this server listens there itself.
        let others_listen = takeover && accept::claim(address).is_err_and(|error| error.kind() == ErrorKind::AddrInUse);
        let (own, listener) = match self.take_place(address) {
            Ok(taken) => taken,
            Err(fault) => {
                self.on_fault(fault);
                self.lock().not_found = others_listen;
                return;
            }
        };
        let others = async {
            if takeover {
                self.call_siblings(own, others_listen).await;
            }
            drop(begun);
        };
        // Two that begin at once wait for each other.
        tokio::join!(others, self.be_called(listener, own));
    }

    fn take_place(&self, address: SocketAddr) -> Result<(Place, UnixListener), Fault> {
        let broken = |error: io::Error| {
            tracing::debug!(%error, "no socket for other servers of this address");
            Fault::NoPlace
        };
        let names = Names::of(address).map_err(broken)?;
        let (own, listener) = names.take_place().map_err(broken)?.ok_or(Fault::NoPlace)?;
        listener.set_nonblocking(true).map_err(broken)?;
        // Once per process.
        let _was_empty = self.0.names.set(names);
        Ok((own, UnixListener::from_std(listener).map_err(broken)?))
    }

    /// Calls everybody at this address. `others_listen`: somebody must be there.
    async fn call_siblings(&self, own: Place, others_listen: bool) {
        let Some(names) = self.0.names.get() else { return };
        let mut exchanges = Vec::new();
        for place in Place::all().filter(|place| *place != own) {
            match names.connect(place).await {
                Ok(None) => {}
                // Nobody who could share the address.
                Ok(Some(stream)) if !names.is_ours(&stream) => self.on_fault(Fault::Stranger),
                Ok(Some(stream)) => {
                    let (tell, exchanged) = oneshot::channel();
                    tokio::spawn(self.clone().keep_link(stream, own, Some(place), Some(tell)));
                    exchanges.push(exchanged);
                }
                Err(error) => {
                    tracing::debug!(%error, "another server of this address cannot be connected to");
                    self.on_fault(Fault::Unreachable);
                    self.miss(place);
                }
            }
        }
        if exchanges.is_empty() && others_listen && self.lock().missing.is_empty() {
            self.on_fault(Fault::NotFound);
            self.lock().not_found = true;
        }
        let until = Instant::now() + EXCHANGE_WITHIN;
        for exchanged in exchanges {
            if !matches!(timeout_at(until, exchanged).await, Ok(Ok(()))) {
                tracing::error!(
                    "a server that this one takes over from has not said all that it revoked: until it does, who was \
                     revoked there may come in here"
                );
            }
        }
    }

    /// Takes in whoever calls. Never returns.
    async fn be_called(&self, listener: UnixListener, own: Place) {
        let permits = Arc::new(Semaphore::new(LINKS_MAX));
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // No descriptor left, most likely; it must not spin.
                    tracing::warn!(%error, "another server of this address could not be taken in");
                    sleep(LOOK_AGAIN).await;
                    continue;
                }
            };
            if !self.0.names.get().is_some_and(|names| names.is_ours(&stream)) {
                self.on_fault(Fault::Stranger);
                continue;
            }
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                self.on_fault(Fault::TooMany);
                continue;
            };
            let link = self.clone().keep_link(stream, own, None, None);
            tokio::spawn(async move {
                link.await;
                drop(permit);
            });
        }
    }

    async fn keep_link(
        self,
        stream: UnixStream,
        own: Place,
        to: Option<Place>,
        exchanged: Option<oneshot::Sender<()>>,
    ) {
        if let Err(fault) = link::talk(&self, stream, own, to, exchanged).await {
            self.on_fault(fault);
        }
    }

    /// A link begins: its number, what the other is to be given, and what it is to be told behind that.
    pub(super) fn enter(&self, place: Place) -> (u64, Vec<Remembered>, mpsc::Receiver<Line>) {
        let (queue, lines) = mpsc::channel(QUEUE_LINES_MAX);
        let mut state = self.lock();
        let number = state.next_number();
        state.links.insert(number, Link { place, queue, waiting: HashMap::new() });
        state.missing.remove(&place);
        tracing::info!(place = place.number(), "another server is at this address: what is revoked is shared with it");
        (number, state.list.all(), lines)
    }

    /// It has ended; whoever waits for its answers is told by that.
    pub(super) fn leave(&self, number: u64, place: Place, ended: Result<(), Fault>) {
        let has_another = {
            let mut state = self.lock();
            state.links.remove(&number);
            state.links.values().any(|link| link.place == place)
        };
        match (has_another, ended) {
            (false, Ok(())) if self.has_ended(place) => {
                tracing::info!(place = place.number(), "another server of this address has ended");
            }
            (false, _) => self.miss(place),
            (true, _) => {}
        }
    }

    /// Somebody is there and cannot be told: until it has ended or has called, no revocation is complete.
    fn miss(&self, place: Place) {
        if !self.lock().missing.insert(place) {
            return;
        }
        tracing::warn!(place = place.number(), "another server is at this address and cannot be told what is revoked");
        let revoker = self.clone();
        tokio::spawn(async move {
            while revoker.lock().missing.contains(&place) {
                if revoker.has_ended(place) {
                    revoker.lock().missing.remove(&place);
                    tracing::info!(place = place.number(), "another server of this address has ended");
                    return;
                }
                sleep(LOOK_AGAIN).await;
            }
        });
    }

    fn on_fault(&self, fault: Fault) {
        self.0.counts.add_fault(fault);
        tracing::warn!(why = %fault, "what is revoked is not shared with another server of this address");
    }

    pub(super) fn has_ended(&self, place: Place) -> bool {
        self.0.names.get().is_none_or(|names| names.is_free(place))
    }
}

/// How long a server that begins waits for what its siblings remember. After that it serves, and takes the rest in as it
/// comes.
const EXCHANGE_WITHIN: Duration = Duration::from_secs(10);
/// A sibling that cannot be told, and has ended, is noticed so late.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Links that others began, those among them that have not said yet who they are.
pub(super) const LINKS_MAX: usize = 16;
/// As many as the API takes at once.
const QUEUE_LINES_MAX: usize = 256;
