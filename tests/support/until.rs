//! Waiting in a test: for a fact, or for what a peer says; and not for ever.
//!
//! Promises: who waits in vain is told what for. Never decides whether something was quick enough.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Nothing that is awaited takes this long; a machine that is very busy may. Whoever has waited so long fails and says
/// what it waited for, instead of hanging without a word.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until this is a fact.
///
/// # Panics
/// With `what`, when [`PATIENCE`] is over.
#[track_caller]
pub(crate) fn until(what: &str, mut fact: impl FnMut() -> bool) {
    until_some(what, || fact().then_some(()));
}

/// Waits until this gives something.
///
/// # Panics
/// As [`until`] does.
#[track_caller]
pub(crate) fn until_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    #[expect(clippy::disallowed_methods, reason = "the end of a test's patience is not a test's judgement")]
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited {} s in vain until {what}", PATIENCE.as_secs());
        std::thread::park_timeout(LOOK_AGAIN);
    }
}

/// A connection on which nobody waits for ever: reads and writes fail when [`PATIENCE`] is over.
#[track_caller]
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    patient(TcpStream::connect(address).expect("a listening server"))
}

/// The same for a connection that is there already.
#[track_caller]
pub(crate) fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a deadline");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket has a deadline");
    stream
}

/// Between two looks. Whoever is waited for may need this very core.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
