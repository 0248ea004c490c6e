//! What is not an upgrade: a socket that a shard gives away with what it read of it.

use std::net::{IpAddr, TcpStream};
use std::sync::Arc;

use bytes::Bytes;

/// A socket that is not ours.
#[derive(Debug)]
pub struct Given {
    pub socket: TcpStream,
    /// What was read from it so far, a PROXY header left out.
    pub read: Bytes,
    /// Whom a trusted proxy's PROXY header named, or the proxy itself; `None` where the peer is no trusted proxy. What
    /// `X-Forwarded-For` says is for each request to say.
    pub client: Option<IpAddr>,
}

/// Takes a socket that is not ours. Must not wait.
pub type Give = Arc<dyn Fn(Given) + Send + Sync>;
