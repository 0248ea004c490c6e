//! What comes into a shard and what it wants done.

use std::sync::Arc;

use core::net::IpAddr;

use bytes::Bytes;

use super::{Answer, Ask, AskId, Revocation, Rules};
use crate::base::{ConnKey, Identity};
use crate::wire::CloseReason;

/// One thing that happened. The runtime (or a simulation) makes them, `Shard::handle` takes them in.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes came. They may be changed in place (unmasking). Before more are read, `Shard::reads` is asked.
    Received { conn: ConnKey, bytes: &'a mut [u8] },
    /// The peer closed its side, or the socket broke. Comes at most once per connection.
    Ended { conn: ConnKey },
    /// A stalled socket has room again.
    Writable { conn: ConnKey },
    /// The runtime has let go of the socket after `Effect::Close` or `Effect::HandOver`: the row may be used again.
    Released { conn: ConnKey },
    /// The control plane asks; `Effect::Answer` answers.
    Ask(Ask),
    /// A tick is due.
    Tick,
    /// The operator changed the rules: these hold from now on.
    Rules(Arc<Rules>),
    /// Tokens are revoked: from now on, and for those who are here.
    Revoke(Arc<Revocation>),
    /// The server leaves: everybody gets a slot within this time and is sent away when it has come. Said once; what is left
    /// when the time is over ends by `Stop`.
    Drain { budget_ms: u64 },
    /// The server stops: everybody is told. `fill_batch` follows until it says that nothing is left.
    Stop,
}

/// How the runtime lets go of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseHow {
    /// All we had to say is written: close, the peer sees FIN.
    Quietly,
    /// The peer is not listening: reset, so that the kernel forgets what is unsent.
    Abruptly,
}

/// What the shard wants the runtime to do. Taken by `Shard::take_effects` after each turn, in order.
#[derive(Debug)]
pub enum Effect {
    /// Let go of the socket and answer `Input::Released`. No batch names this connection any more.
    Close { conn: ConnKey, how: CloseHow },
    /// Not ours: give the socket, and the bytes read so far, to the control plane; answer `Input::Released`.
    /// `client`: whom a trusted proxy's PROXY header named, or the proxy itself; `None` where the peer is no trusted proxy.
    HandOver { conn: ConnKey, read: Bytes, client: Option<IpAddr> },
    /// For the log: a session began.
    Opened { conn: ConnKey, identity: Identity },
    /// For the log: a connection ended, and why. `identity` is `None` if it never became a session.
    Closed { conn: ConnKey, identity: Option<Identity>, reason: CloseReason },
    /// For the control plane.
    Answer { id: AskId, answer: Answer },
}
