//! What a server that a test started as a process says of itself: that it serves, where, and on the engine that was asked
//! for. The module that has this one has `engine`, too.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::Child;

use super::engine::{asked, assert_carried};

/// Waits until it serves; then where, and where operators look. `None`: nowhere.
pub(crate) fn serves_at(process: &mut Child) -> (SocketAddr, Option<SocketAddr>) {
    let mut lines = BufReader::new(process.stdout.take().expect("stdout is piped")).lines();
    let mut after = |words: &str| {
        let mut line = lines.by_ref().map(|line| line.expect("the banner is text")).find(|line| line.contains(words));
        let line = line.take().unwrap_or_else(|| panic!("the server ended without having said {words:?}"));
        line.split_once(words).expect("it is in there").1.trim().to_owned()
    };
    let address = after(" serves at ").parse().expect("an address stands last");
    let runs_on = after("  runs on ");
    assert!(runs_on.split(", ").any(|part| part == asked()), "{} was asked for, and this runs on {runs_on}", asked());
    assert_carried(&process.id().to_string());
    let admin = after("  admin ");
    let admin = admin.strip_prefix("http://").and_then(|url| url.strip_suffix("/metrics"));
    // The rest of the banner must find a reader.
    std::thread::Builder::new().spawn(move || lines.for_each(drop)).expect("a thread starts");
    (address, admin.map(|address| address.parse().expect("an address")))
}
