//! What a server that a test started as a process says of itself: that it serves, where, and on the engine that was asked
//! for. The module that has this one has `engine`, too.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::engine::{asked, assert_carried};

/// Waits until it serves; then where, and where operators look. `None`: nowhere.
pub(crate) fn serves_at(process: &mut Child) -> (SocketAddr, Option<SocketAddr>) {
    let lines = Lines::of(process.stdout.take().expect("stdout is piped"));
    let after = |words: &str| {
        let line = std::iter::from_fn(|| lines.next(words)).find(|line| line.contains(words));
        let line = line.unwrap_or_else(|| panic!("the server ended without having said {words:?}"));
        line.split_once(words).expect("it is in there").1.trim().to_owned()
    };
    let address = after(" serves at ").parse().expect("an address stands last");
    let runs_on = after("  runs on ");
    assert!(runs_on.split(", ").any(|part| part == asked()), "{} was asked for, and this runs on {runs_on}", asked());
    assert_carried(&process.id().to_string());
    let admin = after("  admin ");
    let admin = admin.strip_prefix("http://").and_then(|url| url.strip_suffix("/metrics"));
    (address, admin.map(|address| address.parse().expect("an address")))
}

/// What a process says, line by line. A thread reads it for as long as it is said, whoever listens: a full pipe would stop
/// the process.
pub(crate) struct Lines(Receiver<String>);

impl Lines {
    pub(crate) fn of(said: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        let read = move || {
            for line in BufReader::new(said).lines() {
                // Nobody may listen any more.
                let _unheard = sender.send(line.expect("a process says text"));
            }
        };
        std::thread::Builder::new().spawn(read).expect("a thread starts");
        Self(lines)
    }

    /// The next line. `None`: it has ended.
    ///
    /// # Panics
    /// With what was awaited, when nothing was said for two minutes.
    pub(crate) fn next(&self, awaited: &str) -> Option<String> {
        match self.0.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("{} s without a word: no {awaited:?}", PATIENCE.as_secs()),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(120);
