//! One ring and its sockets: the slot is the socket, from adoption to release.
//!
//! ```text
//!  adopt ─► live ─► closing ─► released        a slot is released when its close *and* its polls have completed,
//!            │ input, room, end                so that a completion can never meet the slot's next owner
//! ```
//!
//! Promises: a completion whose generation is not the slot's own is dropped and counted; the end of a connection is
//! said at most once. Polls are ended before the slot is closed: an armed poll would keep the socket open.
//! Must never: decide who is served next, or know what the bytes mean.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::sockets::{Next, ReadEvent, SocketEvent};
use super::sys::{Completion, EventFd, Ring, RingSize, SlotSend};
use crate::base::ConnKey;

/// What becomes of the socket when its slot is given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Parting {
    /// Closed; the peer sees FIN after all we wrote.
    Quietly,
    /// Closed; the peer sees RST, what is unsent is forgotten.
    Abruptly,
    /// It lives on under a descriptor somewhere else.
    HandedOver,
}

/// A ring, and what is known of the socket in each slot.
pub(super) struct SocketRing {
    number: u16,
    ring: Ring,
    slots: Box<[Slot]>,
    /// Slots that are not free: live or closing.
    used: u32,
    /// Who may have something to read, oldest first. An entry counts only while its slot says `READY` under the same
    /// generation.
    ready: VecDeque<Ready>,
    rearmed: u64,
    stale: u64,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    generation: u16,
    state: u8,
}

#[derive(Clone, Copy)]
struct Ready {
    slot: u16,
    generation: u16,
}

/// Adopted and not closing.
const LIVE: u8 = 1;
/// The poll for input is armed.
const POLLING: u8 = 1 << 1;
/// The poll for room is armed.
const STALLED: u8 = 1 << 2;
/// Given up; waits for its completions.
const CLOSING: u8 = 1 << 3;
/// The close itself has not completed.
const CLOSE_SENT: u8 = 1 << 4;
/// Stands in the list of those who may have something to read.
const READY: u8 = 1 << 5;
/// The peer has ended or broken: read until that shows, a short read is not the last.
const HUNG: u8 = 1 << 6;
/// The end was said; nothing more is.
const ENDED: u8 = 1 << 7;

impl SocketRing {
    /// # Errors
    /// As [`Ring::new`].
    pub(super) fn new(number: u16, size: RingSize, bell: &EventFd) -> io::Result<Self> {
        let ring = Ring::new(size, bell)?;
        let slots = vec![Slot::default(); usize::from(size.slots)].into_boxed_slice();
        Ok(Self { number, ring, slots, used: 0, ready: VecDeque::new(), rearmed: 0, stale: 0 })
    }

    /// Takes a socket in. The caller closes its own descriptor afterwards.
    ///
    /// # Errors
    /// What the kernel says; the slot is then still free.
    pub(super) fn adopt(&mut self, socket: BorrowedFd<'_>, conn: ConnKey) -> io::Result<()> {
        let slot = conn.slot();
        assert!(self.slots[usize::from(slot)].state == 0, "a row is used again only after its release");
        self.ring.put_file(slot, socket)?;
        self.slots[usize::from(slot)] = Slot { generation: conn.generation(), state: LIVE | POLLING };
        self.used += 1;
        self.ring.poll_input(slot, tag(Kind::Input, conn.generation(), slot));
        Ok(())
    }

    /// Tells each time somebody waits at the listener.
    pub(super) fn watch_listener(&mut self, listener: BorrowedFd<'_>) {
        self.ring.poll_listener(listener, tag(Kind::Listener, 0, 0));
    }

    /// Tells no more of it; the listener is the caller's alone again.
    pub(super) fn unwatch_listener(&mut self) {
        self.ring.cancel(tag(Kind::Listener, 0, 0), tag(Kind::Note, 0, 0));
    }

    /// Lets the ring work and says what came of it.
    pub(super) fn turn(&mut self, enters: u32, events: &mut VecDeque<SocketEvent>) {
        self.ring.turn(enters);
        while let Some(done) = self.ring.take() {
            events.extend(self.on_completion(done));
        }
    }

    /// Reads once from each of the sockets that were ready first, at most as many as `scratch` has pieces of `each`
    /// bytes and `most`. Returns how many reads were made.
    pub(super) fn read(
        &mut self,
        most: usize,
        scratch: &mut ReadScratch,
        sink: &mut impl FnMut(ReadEvent<'_>) -> Next,
    ) -> usize {
        let most = most.min(scratch.pieces());
        scratch.slots.clear();
        while scratch.slots.len() < most {
            let Some(next) = self.ready.pop_front() else {
                break;
            };
            let slot = self.slots[usize::from(next.slot)];
            if slot.generation == next.generation && slot.state & READY != 0 {
                scratch.slots.push(next.slot);
            }
        }
        if scratch.slots.is_empty() {
            return 0;
        }
        self.ring.recv_batch(&scratch.slots, &mut scratch.bytes, scratch.each, &mut scratch.results);
        for (index, &slot) in scratch.slots.iter().enumerate() {
            let piece = &mut scratch.bytes[index * scratch.each..][..scratch.each];
            self.on_read(slot, scratch.results[index], piece, sink);
        }
        scratch.slots.len()
    }

    /// Sends; those that did not go out whole stand in `failed` with their result.
    pub(super) fn send(&mut self, arena: &[u8], sends: &[SlotSend], failed: &mut Vec<(u32, i32)>) {
        self.ring.send_batch(arena, sends, failed);
    }

    /// Says once when the socket has room again.
    pub(super) fn watch_room(&mut self, slot: u16) {
        let state = &mut self.slots[usize::from(slot)];
        if state.state & (LIVE | STALLED) == LIVE {
            state.state |= STALLED;
            self.ring.poll_room(slot, tag(Kind::Room, state.generation, slot));
        }
    }

    /// The owner knows that the socket is dead: nothing more is said of it until its release.
    pub(super) fn silence(&mut self, slot: u16) {
        let state = &mut self.slots[usize::from(slot)].state;
        *state = (*state | ENDED) & !READY;
    }

    /// Gives the slot up. The release is said when everything the kernel still does with it has ended.
    pub(super) fn part(&mut self, slot: u16, how: Parting) {
        let Slot { generation, state } = self.slots[usize::from(slot)];
        let note = tag(Kind::Note, generation, slot);
        match how {
            Parting::Quietly => self.ring.discard_input(slot, note),
            Parting::Abruptly => self.ring.reset_on_close(slot, note),
            Parting::HandedOver => {}
        }
        for (armed, kind) in [(POLLING, Kind::Input), (STALLED, Kind::Room)] {
            if state & armed != 0 {
                self.ring.cancel(tag(kind, generation, slot), note);
            }
        }
        self.ring.close(slot, tag(Kind::Close, generation, slot));
        self.slots[usize::from(slot)].state = (state & (POLLING | STALLED)) | CLOSING | CLOSE_SENT;
    }

    /// A descriptor of its own for the socket.
    ///
    /// # Errors
    /// `EMFILE`.
    pub(super) fn install(&mut self, slot: u16) -> io::Result<OwnedFd> {
        self.ring.install(slot)
    }

    /// Gives the kernel what was asked for since.
    pub(super) fn submit(&mut self) {
        self.ring.submit();
    }

    /// See [`Ring::set_bell`].
    pub(super) fn set_bell(&mut self, on: bool) {
        self.ring.set_bell(on);
    }

    /// Whether the slot's socket is this connection, adopted and not given up.
    pub(super) fn holds(&self, conn: ConnKey) -> bool {
        self.slots
            .get(usize::from(conn.slot()))
            .is_some_and(|slot| slot.generation == conn.generation() && slot.state & LIVE != 0)
    }

    /// Whether the slot belongs to nobody.
    pub(super) fn is_free(&self, slot: u16) -> bool {
        self.slots[usize::from(slot)].state == 0
    }

    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// Whether a turn or a read would do anything.
    pub(super) fn has_work(&mut self) -> bool {
        !self.ready.is_empty() || self.ring.has_work()
    }

    /// Nobody lives here and nothing is under way.
    pub(super) fn is_idle(&mut self) -> bool {
        self.used == 0 && !self.ring.has_work()
    }

    /// Completions that outgrew the queue, polls the kernel ended by itself, completions for a former owner.
    pub(super) fn oddities(&self) -> [u64; 3] {
        [self.ring.overflows(), self.rearmed, self.stale]
    }

    fn on_completion(&mut self, done: Completion) -> Option<SocketEvent> {
        let (kind, generation, slot) = untag(done.tag);
        match kind {
            Kind::Note => return None,
            Kind::Listener => {
                return Some(SocketEvent::Acceptable { watching: done.more });
            }
            Kind::Input | Kind::Room | Kind::Close => {}
        }
        let state = &mut self.slots[usize::from(slot)];
        if state.generation != generation || state.state == 0 {
            self.stale += 1;
            return None;
        }
        let conn = ConnKey::new(self.number, slot, generation);
        state.state &= match kind {
            Kind::Input if !done.more => !POLLING,
            Kind::Room => !STALLED,
            Kind::Close => !CLOSE_SENT,
            Kind::Input | Kind::Note | Kind::Listener => !0,
        };
        if state.state & CLOSING != 0 {
            return self.release_if_done(conn);
        }
        match kind {
            _ if state.state & ENDED != 0 => None,
            Kind::Room => Some(SocketEvent::Writable { conn }),
            Kind::Input => self.on_input(conn, done.result),
            Kind::Close | Kind::Note | Kind::Listener => None,
        }
    }

    fn on_input(&mut self, conn: ConnKey, result: i32) -> Option<SocketEvent> {
        let slot = &mut self.slots[usize::from(conn.slot())];
        if result < 0 {
            slot.state = (slot.state | ENDED) & !READY;
            return Some(SocketEvent::Ended { conn });
        }
        if result & HANG_UP != 0 {
            slot.state |= HUNG;
        }
        if slot.state & READY == 0 {
            slot.state |= READY;
            self.ready.push_back(Ready { slot: conn.slot(), generation: conn.generation() });
        }
        if slot.state & POLLING == 0 {
            slot.state |= POLLING;
            self.rearmed += 1;
            self.ring.poll_input(conn.slot(), tag(Kind::Input, conn.generation(), conn.slot()));
        }
        None
    }

    fn on_read(&mut self, slot: u16, result: i32, piece: &mut [u8], sink: &mut impl FnMut(ReadEvent<'_>) -> Next) {
        let state = &mut self.slots[usize::from(slot)];
        let conn = ConnKey::new(self.number, slot, state.generation);
        let mut again = match result {
            1.. => result as usize == piece.len() || state.state & HUNG != 0,
            0 => false,
            _ => -result == libc::EINTR,
        };
        match -result {
            ..=-1 => {
                let next = sink(ReadEvent::Received { conn, bytes: &mut piece[..result as usize] });
                again &= next == Next::ReadOn;
            }
            libc::EINTR => {}
            // A hang-up that turns out to be nothing to read is asked for again by the next event.
            libc::EAGAIN => state.state &= !HUNG,
            _ => {
                state.state |= ENDED;
                let _nothing_follows = sink(ReadEvent::Ended { conn });
            }
        }
        if again {
            self.ready.push_back(Ready { slot, generation: state.generation });
        } else {
            state.state &= !READY;
        }
    }

    fn release_if_done(&mut self, conn: ConnKey) -> Option<SocketEvent> {
        let slot = &mut self.slots[usize::from(conn.slot())];
        if slot.state & (POLLING | STALLED | CLOSE_SENT) != 0 {
            return None;
        }
        slot.state = 0;
        self.used -= 1;
        Some(SocketEvent::Released { conn })
    }
}

/// Where reads go: one piece per read of a batch, shared by all rings of a shard.
pub(super) struct ReadScratch {
    bytes: Box<[u8]>,
    each: usize,
    slots: Vec<u16>,
    results: Vec<i32>,
}

impl ReadScratch {
    /// `pieces` × `each` bytes.
    pub(super) fn new(pieces: usize, each: usize) -> Self {
        let (slots, results) = (Vec::with_capacity(pieces), Vec::with_capacity(pieces));
        Self { bytes: vec![0; pieces * each].into_boxed_slice(), each, slots, results }
    }

    fn pieces(&self) -> usize {
        self.bytes.len() / self.each
    }
}

/// What a completion is about. Stands in its tag: `kind << 32 | generation << 16 | slot`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// The peer sent, ended or broke.
    Input,
    /// There is room to write.
    Room,
    /// The slot is empty.
    Close,
    /// Somebody waits at the listener.
    Listener,
    /// Something went without saying, and failed: a cancellation found nothing, there was no input to discard.
    Note,
}

const KINDS: [Kind; 5] = [Kind::Input, Kind::Room, Kind::Close, Kind::Listener, Kind::Note];
const HANG_UP: i32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as i32;

fn tag(kind: Kind, generation: u16, slot: u16) -> u64 {
    (kind as u64) << 32 | u64::from(generation) << 16 | u64::from(slot)
}

fn untag(tag: u64) -> (Kind, u16, u16) {
    (KINDS[(tag >> 32) as usize], (tag >> 16) as u16, tag as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_keeps_kind_generation_and_slot_apart() {
        for kind in KINDS {
            assert_eq!(untag(tag(kind, 65_535, 18_999)), (kind, 65_535, 18_999));
            assert!(tag(kind, u16::MAX, u16::MAX) <= Ring::TAG_MAX);
        }
    }

    #[test]
    fn a_completion_for_a_former_owner_of_the_slot_is_dropped() {
        let size = RingSize { submissions: 8, completions: 64, slots: 2 };
        let mut ring = SocketRing::new(3, size, &EventFd::new().unwrap()).unwrap();
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ring.adopt(std::os::fd::AsFd::as_fd(&ours), ConnKey::new(3, 1, 8)).unwrap();
        for kind in [Kind::Input, Kind::Room, Kind::Close] {
            let late = Completion { tag: tag(kind, 7, 1), result: 1, more: false };
            assert_eq!(ring.on_completion(late), None);
            let nobodys = Completion { tag: tag(kind, 0, 0), result: 1, more: false };
            assert_eq!(ring.on_completion(nobodys), None);
        }
        assert_eq!(ring.oddities(), [0, 0, 6]);
        assert!(ring.ready.is_empty() && ring.holds(ConnKey::new(3, 1, 8)) && ring.slots[1].state == LIVE | POLLING);
    }
}
