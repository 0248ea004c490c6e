//! All sockets of one shard, addressed by [`ConnKey`], whatever engine holds them.
//!
//! ```text
//!  Sockets ─┬─ RingSockets    k io_urings of direct descriptors behind one bell
//!           └─ EpollSockets   plain descriptors in one epoll, where io_uring is forbidden
//! ```
//!
//! What both promise: every socket they were given is said to be released exactly once, after its owner gave it up; what
//! does not go out whole is reported with the exact number of bytes taken; a socket that still has something to read is
//! remembered across budgets, since its readiness is said only once; what they keep comes and goes with the connections.
//! Must never: read a clock, decide who may connect, or keep a byte that came or goes.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::engine::Engine;
use super::epoll_sockets::EpollSockets;
use super::ring_sockets::RingSockets;
use super::sys::EventFd;
use crate::base::ConnKey;
use crate::shard::{CloseHow, Fate, Write};

/// What the engine says beside bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SocketEvent {
    /// Somebody waits at the listener. Without `watching` the kernel has stopped telling: ask again.
    Acceptable { watching: bool },
    /// A stalled socket has room again.
    Writable { conn: ConnKey },
    /// The socket broke without a word. At most one end per connection.
    Ended { conn: ConnKey },
    /// Nothing of this connection is left in the kernel; its row and slot may be used again.
    Released { conn: ConnKey },
}

/// What reading brings. The bytes are lent for the call.
#[derive(Debug)]
pub enum ReadEvent<'a> {
    Received {
        conn: ConnKey,
        bytes: &'a mut [u8],
    },
    /// The peer closed its side, or the socket broke. At most one end per connection.
    Ended {
        conn: ConnKey,
    },
}

/// What the owner of a connection says when it was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// More may be read, as long as there is more.
    ReadOn,
    /// It is about to be handed over, or closed: what still lies in the socket stays there, for whoever has it next.
    Leave,
}

/// What is worth exporting: sockets in rings are invisible to `ss -p`, lsof and `/proc`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct SocketTotals {
    /// Chunks of sockets: as many rings, or tables.
    pub rings: u64,
    /// Slots in use, closing ones included.
    pub sockets: u64,
    /// Completions that outgrew their queue. Stays 0.
    pub overflows: u64,
    /// Polls the kernel ended by itself and that were armed again.
    pub rearmed: u64,
    /// Completions for a former owner of a slot. Stays 0.
    pub stale: u64,
}

/// The shard's sockets. Lives and dies on the thread that made it.
pub enum Sockets {
    Rings(RingSockets),
    Epoll(EpollSockets),
}

/// Asks whichever engine it is.
macro_rules! either {
    ($self:ident, $sockets:ident => $asked:expr) => {
        match $self {
            Self::Rings($sockets) => $asked,
            Self::Epoll($sockets) => $asked,
        }
    };
}

impl Sockets {
    /// `bell` is what everything of this shard rings; `slots_per_ring` the size of a chunk of rows.
    ///
    /// # Errors
    /// See [`RingSockets::new`], [`EpollSockets::new`].
    pub fn new(engine: Engine, slots_per_ring: u16, bell: Arc<EventFd>) -> io::Result<Self> {
        Ok(match engine {
            Engine::IoUring => Self::Rings(RingSockets::new(slots_per_ring, bell)?),
            Engine::Epoll => Self::Epoll(EpollSockets::new(slots_per_ring, &bell)?),
        })
    }

    /// Gives back the topmost chunks that nobody lives in, down to `count` (the first stays).
    pub fn drop_rings_above(&mut self, count: u16) {
        either!(self, sockets => sockets.drop_rings_above(count));
    }

    /// Tells by [`SocketEvent::Acceptable`] when somebody waits (edge-like: accept until nobody does).
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn watch_listener(&mut self, listener: BorrowedFd<'_>) -> io::Result<()> {
        match self {
            Self::Rings(rings) => rings.watch_listener(listener),
            Self::Epoll(epoll) => return epoll.watch_listener(listener),
        }
        Ok(())
    }

    /// The same, after an event that said that the kernel had stopped telling.
    pub fn watch_listener_again(&mut self, listener: BorrowedFd<'_>) {
        match self {
            Self::Rings(rings) => rings.watch_listener(listener),
            // It never stops.
            Self::Epoll(_) => {}
        }
    }

    /// Ends [`Sockets::watch_listener`]; one last [`SocketEvent::Acceptable`] may still come.
    pub fn unwatch_listener(&mut self, listener: BorrowedFd<'_>) {
        match self {
            Self::Rings(rings) => rings.unwatch_listener(),
            Self::Epoll(epoll) => epoll.unwatch_listener(listener),
        }
    }

    /// Takes a socket in under `conn`, whose chunk is made if it is not there.
    ///
    /// # Errors
    /// When there is no room for it; the socket comes back.
    pub fn adopt(&mut self, socket: OwnedFd, conn: ConnKey) -> Result<(), (OwnedFd, io::Error)> {
        either!(self, sockets => sockets.adopt(socket, conn))
    }

    /// Lets the kernel say what happened, as far as it is told at once; the rest stays for the next turn.
    pub fn turn(&mut self) {
        either!(self, sockets => sockets.turn());
    }

    /// The next thing that happened.
    pub fn take_event(&mut self) -> Option<SocketEvent> {
        either!(self, sockets => sockets.take_event())
    }

    /// Reads from those who have something, at most `budget` times 8 KiB, in turns. Returns how many reads were made;
    /// who was not served is remembered. `sink` says whether the connection is to be read on; what it says to an end does
    /// not matter.
    pub fn read(&mut self, budget: usize, sink: &mut impl FnMut(ReadEvent<'_>) -> Next) -> usize {
        either!(self, sockets => sockets.read(budget, sink))
    }

    /// Writes each piece of `arena` to its connection. What did not go out whole stands in `fates`, in order of the index
    /// into `writes`; the room of the stalled is watched.
    pub fn write(&mut self, arena: &[u8], writes: &[Write], fates: &mut Vec<(usize, Fate)>) {
        either!(self, sockets => sockets.write(arena, writes, fates));
    }

    /// Lets go of a connection; [`SocketEvent::Released`] follows, at once if there is no socket (any more).
    pub fn close(&mut self, conn: ConnKey, how: CloseHow) {
        either!(self, sockets => sockets.close(conn, how));
    }

    /// Takes the socket out under a descriptor of its own; [`SocketEvent::Released`] follows. The peer notices nothing.
    ///
    /// # Errors
    /// `EMFILE`: the connection is still held here and should be closed. `EBADF`: there is no such connection.
    pub fn hand_over(&mut self, conn: ConnKey) -> io::Result<OwnedFd> {
        either!(self, sockets => sockets.hand_over(conn))
    }

    /// Gives the kernel what was asked for (closes, polls) since the last turn, where that was not done at once.
    pub fn submit(&mut self) {
        match self {
            Self::Rings(rings) => rings.submit(),
            Self::Epoll(_) => {}
        }
    }

    /// Whether a turn or a read would do anything, as far as is known without asking the kernel.
    pub fn has_work(&mut self) -> bool {
        either!(self, sockets => sockets.has_work())
    }

    /// From here on a sleep is ended by events. False: there is work already, do not sleep.
    pub fn prepare_sleep(&mut self) -> bool {
        match self {
            Self::Rings(rings) => rings.prepare_sleep(),
            Self::Epoll(epoll) => !epoll.has_work(),
        }
    }

    /// Sleeps on this very thread, `most_ms` at most; a signal handler ends it, too. For who has no executor that could
    /// sleep on the bell.
    ///
    /// # Errors
    /// When the bell cannot be waited for: the shard could never be woken.
    pub fn sleep(&mut self, most_ms: u64) -> io::Result<()> {
        let most_ms = i32::try_from(most_ms).unwrap_or(i32::MAX);
        match self {
            // Whatever its rings have to tell rings the bell, if they were asked to.
            Self::Rings(rings) => rings.bell().wait(most_ms),
            Self::Epoll(epoll) => {
                epoll.sleep(most_ms);
                Ok(())
            }
        }
    }

    /// Silences what rings for sleepers only.
    pub fn wake(&mut self) {
        match self {
            Self::Rings(rings) => rings.wake(),
            Self::Epoll(_) => {}
        }
    }

    /// What is worth exporting.
    pub fn totals(&self) -> SocketTotals {
        either!(self, sockets => sockets.totals())
    }
}

/// The socket is full, or the kernel short of memory for it just now.
pub(super) const NO_ROOM: [i32; 4] = [libc::EAGAIN, libc::ENOBUFS, libc::ENOMEM, libc::EINTR];
/// The most that is read at once from one socket.
pub(super) const READ_BYTES: usize = 8 << 10;
