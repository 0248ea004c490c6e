//! Where a server of a test may listen.

use std::hash::{BuildHasher, RandomState};
use std::net::{SocketAddr, TcpListener};

/// An address nobody listens at, below the ports that the kernel hands out: a client of somebody else's had one of those
/// before we listened. Somebody might listen there before we do; the server says so then.
pub(crate) fn free_address() -> SocketAddr {
    let random = RandomState::new();
    let listens = |n: u32| TcpListener::bind(("127.0.0.1", 10_000 + (random.hash_one(n) % 20_000) as u16)).ok();
    let listener = (0..1_000).find_map(listens).expect("a free port");
    listener.local_addr().expect("it is bound")
}
