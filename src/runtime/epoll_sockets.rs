//! The sockets of one shard as plain descriptors in one epoll, for hosts where io_uring is forbidden.
//!
//! ```text
//!  adopt ─► live ─► closing ─► released        closed at once; the slot is free when its owner has taken the release
//!            │ input, room, end
//! ```
//!
//! Promises: those of [`Sockets`](super::sockets::Sockets); an event under a generation that is not the slot's own is
//! dropped and counted; an idle connection costs 8 bytes here, its slot. Each read, send and close is a system call.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::sockets::{NO_ROOM, Next, READ_BYTES, ReadEvent, SocketEvent, SocketTotals};
use super::sys::{self, Epoll, EventFd};
use crate::base::ConnKey;
use crate::shard::{CloseHow, Fate, Write};

/// The descriptors, and what was told of them.
pub struct EpollSockets {
    slots_per_chunk: u16,
    epoll: Epoll,
    chunks: Vec<Chunk>,
    events: VecDeque<SocketEvent>,
    /// Who may have something to read, oldest first. An entry counts only while its slot says `READY` under the same
    /// generation.
    ready: VecDeque<ConnKey>,
    /// The last sleep has asked the kernel already: the next turn need not.
    asked: bool,
    /// The kernel had more to tell than was asked for.
    more: bool,
    scratch: Box<[u8]>,
    stale: u64,
}

/// The slots of one chunk of rows.
struct Chunk {
    slots: Box<[Slot]>,
    /// Slots that are not free: live or closing.
    used: u32,
}

#[derive(Default)]
struct Slot {
    socket: Option<OwnedFd>,
    generation: u16,
    state: u8,
}

/// Adopted and not closing.
const LIVE: u8 = 1;
/// Room is waited for.
const STALLED: u8 = 1 << 1;
/// Given up; its release stands among the events.
const CLOSING: u8 = 1 << 2;
/// Stands in the list of those who may have something to read.
const READY: u8 = 1 << 3;
/// The peer has ended or broken: read until that shows, a short read is not the last.
const HUNG: u8 = 1 << 4;
/// The end was said; nothing more is.
const ENDED: u8 = 1 << 5;

impl EpollSockets {
    /// `bell` is what everything of this shard rings.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new(slots_per_chunk: u16, bell: &EventFd) -> io::Result<Self> {
        let epoll = Epoll::new(EVENTS_AT_ONCE)?;
        epoll.watch(bell.as_fd(), libc::EPOLLIN, BELL)?;
        let scratch = vec![0; READ_BYTES].into_boxed_slice();
        let (events, ready) = (VecDeque::new(), VecDeque::new());
        let chunks = vec![Chunk::new(slots_per_chunk)];
        Ok(Self { slots_per_chunk, epoll, chunks, events, ready, asked: false, more: false, scratch, stale: 0 })
    }

    /// Gives back the topmost chunks that nobody lives in, down to `count` (the first stays).
    pub fn drop_rings_above(&mut self, count: u16) {
        let fewest = usize::from(count).max(1);
        while self.chunks.len() > fewest && self.chunks.last().is_some_and(|chunk| chunk.used == 0) {
            self.chunks.pop();
        }
    }

    /// Tells by [`SocketEvent::Acceptable`] when somebody waits.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn watch_listener(&self, listener: BorrowedFd<'_>) -> io::Result<()> {
        self.epoll.watch(listener, libc::EPOLLIN, LISTENER)
    }

    /// Ends [`EpollSockets::watch_listener`].
    pub fn unwatch_listener(&self, listener: BorrowedFd<'_>) {
        // It is about to be closed, and a closed file is not watched either.
        let _was_watched = self.epoll.forget(listener);
    }

    /// Takes a socket in under `conn`, whose chunk is made if it is not there.
    ///
    /// # Errors
    /// `ENOSPC` above `fs.epoll.max_user_watches`, `ENOMEM`; the socket comes back.
    pub fn adopt(&mut self, socket: OwnedFd, conn: ConnKey) -> Result<(), (OwnedFd, io::Error)> {
        assert!(conn.slot() < self.slots_per_chunk, "the shard and its chunks agree on slots");
        if let Err(error) = self.epoll.watch(socket.as_fd(), INPUT, tag(conn)) {
            return Err((socket, error));
        }
        while self.chunks.len() <= usize::from(conn.ring()) {
            self.chunks.push(Chunk::new(self.slots_per_chunk));
        }
        let chunk = &mut self.chunks[usize::from(conn.ring())];
        let slot = &mut chunk.slots[usize::from(conn.slot())];
        assert!(slot.state == 0, "a row is used again only after its release");
        *slot = Slot { socket: Some(socket), generation: conn.generation(), state: LIVE };
        chunk.used += 1;
        Ok(())
    }

    /// Asks the kernel what happened, unless a sleep has just done so.
    pub fn turn(&mut self) {
        if !mem::take(&mut self.asked) {
            self.ask(0);
        }
    }

    /// The next thing that happened.
    pub fn take_event(&mut self) -> Option<SocketEvent> {
        let event = self.events.pop_front()?;
        if let SocketEvent::Released { conn } = event {
            self.free(conn);
        }
        Some(event)
    }

    /// Reads once from each who has something, oldest first, at most `budget` times. Returns how many reads were made.
    pub fn read(&mut self, budget: usize, sink: &mut impl FnMut(ReadEvent<'_>) -> Next) -> usize {
        let mut made = 0;
        while made < budget
            && let Some(conn) = self.ready.pop_front()
        {
            let Some(slot) = slot_of(&mut self.chunks, conn).filter(|slot| slot.state & READY != 0) else { continue };
            let Some(socket) = &slot.socket else { continue };
            made += 1;
            let received = sys::receive(socket.as_fd(), &mut self.scratch);
            let mut again = matches!(received, Ok(1..) if slot.state & HUNG != 0)
                || received.as_ref().is_ok_and(|len| *len == self.scratch.len());
            match received {
                Ok(len @ 1..) => {
                    let next = sink(ReadEvent::Received { conn, bytes: &mut self.scratch[..len] });
                    again &= next == Next::ReadOn;
                }
                // A hang-up that turns out to be nothing to read is told again by the next event.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => slot.state &= !HUNG,
                Ok(0) | Err(_) => {
                    slot.state |= ENDED;
                    let _nothing_follows = sink(ReadEvent::Ended { conn });
                }
            }
            if again {
                self.ready.push_back(conn);
            } else {
                slot.state &= !READY;
            }
        }
        made
    }

    /// Writes each piece of `arena` to its connection. What did not go out whole stands in `fates`, in order of the index
    /// into `writes`; the room of the stalled is watched.
    pub fn write(&mut self, arena: &[u8], writes: &[Write], fates: &mut Vec<(usize, Fate)>) {
        for (index, write) in writes.iter().enumerate() {
            let bytes = &arena[write.start as usize..][..write.len as usize];
            let live = slot_of(&mut self.chunks, write.conn).filter(|slot| slot.state & LIVE != 0);
            let fate = match live {
                None => Some(Fate::Broken),
                Some(_) if bytes.is_empty() => None,
                Some(slot) => slot.send(&self.epoll, write.conn, bytes),
            };
            fates.extend(fate.map(|fate| (index, fate)));
        }
    }

    /// Lets go of a connection; [`SocketEvent::Released`] follows, at once if there is no socket (any more).
    pub fn close(&mut self, conn: ConnKey, how: CloseHow) {
        match self.part(conn) {
            Some(socket) => match how {
                CloseHow::Quietly => sys::discard_input(socket.as_fd()),
                // What cannot be reset is closed all the same.
                CloseHow::Abruptly => drop(sys::reset_on_close(socket.as_fd())),
            },
            None if self.is_free(conn) => self.events.push_back(SocketEvent::Released { conn }),
            None => {}
        }
    }

    /// Takes the socket out; [`SocketEvent::Released`] follows. The peer notices nothing.
    ///
    /// # Errors
    /// `EBADF`: there is no such connection.
    pub fn hand_over(&mut self, conn: ConnKey) -> io::Result<OwnedFd> {
        let socket = self.part(conn).ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
        self.epoll.forget(socket.as_fd())?;
        Ok(socket)
    }

    /// Whether something is known to be done already.
    pub fn has_work(&self) -> bool {
        !self.events.is_empty() || !self.ready.is_empty() || self.more
    }

    /// Sleeps until something happens, the bell rings, or the time is over.
    pub(super) fn sleep(&mut self, most_ms: i32) {
        self.ask(most_ms);
        self.asked = true;
    }

    /// What is worth exporting.
    pub fn totals(&self) -> SocketTotals {
        let sockets = self.chunks.iter().map(|chunk| u64::from(chunk.used)).sum();
        SocketTotals { rings: self.chunks.len() as u64, sockets, stale: self.stale, ..SocketTotals::default() }
    }

    fn ask(&mut self, most_ms: i32) {
        self.more = self.epoll.wait(most_ms);
        for nth in 0.. {
            let Some((tag, mask)) = self.epoll.found(nth) else { break };
            match tag {
                // The sleep is over, and that is all it says.
                BELL => {}
                LISTENER => self.events.push_back(SocketEvent::Acceptable { watching: true }),
                _ => self.on_socket(untag(tag), mask),
            }
        }
    }

    fn on_socket(&mut self, conn: ConnKey, mask: i32) {
        let Some(slot) = slot_of(&mut self.chunks, conn).filter(|slot| slot.state & LIVE != 0) else {
            self.stale += 1;
            return;
        };
        if slot.state & ENDED != 0 {
            return;
        }
        if mask & (libc::EPOLLOUT | BROKEN) != 0 && slot.state & STALLED != 0 {
            slot.state &= !STALLED;
            self.events.push_back(SocketEvent::Writable { conn });
        }
        if mask & (INPUT | BROKEN) == 0 {
            return;
        }
        if mask & (libc::EPOLLRDHUP | BROKEN) != 0 {
            slot.state |= HUNG;
        }
        if slot.state & READY == 0 {
            slot.state |= READY;
            self.ready.push_back(conn);
        }
    }

    /// The socket of a connection that is given up. Closing it ends its being watched.
    fn part(&mut self, conn: ConnKey) -> Option<OwnedFd> {
        let slot = slot_of(&mut self.chunks, conn).filter(|slot| slot.state & LIVE != 0)?;
        slot.state = CLOSING;
        self.events.push_back(SocketEvent::Released { conn });
        slot.socket.take()
    }

    fn free(&mut self, conn: ConnKey) {
        let Some(slot) = slot_of(&mut self.chunks, conn).filter(|slot| slot.state & CLOSING != 0) else { return };
        slot.state = 0;
        self.chunks[usize::from(conn.ring())].used -= 1;
    }

    fn is_free(&self, conn: ConnKey) -> bool {
        let chunk = self.chunks.get(usize::from(conn.ring()));
        chunk.is_none_or(|chunk| chunk.slots.get(usize::from(conn.slot())).is_none_or(|slot| slot.state == 0))
    }
}

impl Chunk {
    fn new(slots: u16) -> Self {
        Self { slots: (0..slots).map(|_| Slot::default()).collect(), used: 0 }
    }
}

impl Slot {
    /// `None`: it went out whole.
    fn send(&mut self, epoll: &Epoll, conn: ConnKey, bytes: &[u8]) -> Option<Fate> {
        let socket = self.socket.as_ref()?.as_fd();
        let taken = match sys::send(socket, bytes) {
            Ok(taken) if taken == bytes.len() => return None,
            Ok(taken) => Some(taken),
            Err(error) if error.raw_os_error().is_some_and(|errno| NO_ROOM.contains(&errno)) => Some(0),
            Err(_) => None,
        };
        // Watched anew, so that room which came in between is told as well.
        let watched = taken.filter(|_| epoll.watch_again(socket, INPUT | libc::EPOLLOUT, tag(conn)).is_ok());
        match watched {
            Some(taken) => {
                self.state |= STALLED;
                Some(Fate::Stalled { taken: taken as u32 })
            }
            // The owner knows now that the socket is dead: nothing more is said of it until its release.
            None => {
                self.state = (self.state | ENDED) & !READY;
                Some(Fate::Broken)
            }
        }
    }
}

fn slot_of(chunks: &mut [Chunk], conn: ConnKey) -> Option<&mut Slot> {
    let slot = chunks.get_mut(usize::from(conn.ring()))?.slots.get_mut(usize::from(conn.slot()))?;
    (slot.generation == conn.generation()).then_some(slot)
}

/// What a file is watched by: a connection's key below these two.
const BELL: u64 = 1 << 62;
const LISTENER: u64 = 1 << 63;

fn tag(conn: ConnKey) -> u64 {
    u64::from(conn.index()) << 16 | u64::from(conn.generation())
}

fn untag(tag: u64) -> ConnKey {
    ConnKey::new((tag >> 32) as u16, (tag >> 16) as u16, tag as u16)
}

const INPUT: i32 = libc::EPOLLIN | libc::EPOLLRDHUP;
const BROKEN: i32 = libc::EPOLLHUP | libc::EPOLLERR;
/// 12 bytes each. What is not told at once is told at the next turn.
const EVENTS_AT_ONCE: usize = 512;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_slot_is_eight_bytes_and_a_tag_keeps_a_key() {
        assert_eq!(size_of::<Slot>(), 8);
        for conn in [ConnKey::new(u16::MAX, u16::MAX, u16::MAX), ConnKey::new(1, 2, 3)] {
            assert_eq!(untag(tag(conn)), conn);
            assert!(tag(conn) < BELL);
        }
    }

    #[test]
    fn an_event_for_a_former_owner_of_the_slot_is_dropped() {
        let mut sockets = EpollSockets::new(2, &EventFd::new().unwrap()).unwrap();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let conn = ConnKey::new(0, 1, 8);
        sockets.adopt(ours.into(), conn).unwrap();
        for late in [ConnKey::new(0, 1, 7), ConnKey::new(0, 0, 0), ConnKey::new(5, 0, 1)] {
            sockets.on_socket(late, libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLHUP);
        }
        assert_eq!((sockets.stale, sockets.has_work()), (3, false));
        assert_eq!(slot_of(&mut sockets.chunks, conn).unwrap().state, LIVE);
    }

    #[test]
    fn the_bell_ends_a_sleep_and_so_does_input() {
        let bell = EventFd::new().unwrap();
        let mut sockets = EpollSockets::new(1, &bell).unwrap();
        bell.signal();
        sockets.sleep(i32::MAX);
        assert!(!sockets.has_work());
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        sockets.adopt(ours.into(), ConnKey::new(0, 0, 1)).unwrap();
        io::Write::write_all(&mut theirs, b"x").unwrap();
        sockets.sleep(i32::MAX);
        assert!(sockets.has_work());
    }
}
