//! How a seat was given up: what presence makes of it depends on whether somebody went or was lost.

use crate::base::{ConnKey, Identity};

/// Whether who gave up a seat meant to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parting {
    /// It left the room, said goodbye, or was sent away for good: it is gone.
    OnPurpose,
    /// Its socket died, or was closed with a code that invites it back, or it goes on by another socket: its session is
    /// kept for `Limits::resume_window_ms`, and it may be back at once.
    SocketDied,
}

/// Somebody whose seat is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gone {
    pub who: Identity,
    pub parting: Parting,
    /// It was given up before its shard had the answer to the join (of this connection, with this ticket): the home alone
    /// knows whether it ever was a seat.
    pub unanswered: Option<(ConnKey, u16)>,
}
