//! The sockets of one shard as direct descriptors of k rings behind one bell.
//!
//! Promises: those of [`Sockets`](super::sockets::Sockets); rings and their memory come and go with the connections.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::socket_ring::{Parting, ReadScratch, SocketRing};
use super::sockets::{NO_ROOM, Next, READ_BYTES, ReadEvent, SocketEvent, SocketTotals};
use super::sys::{EventFd, RingSize, SlotSend};
use crate::base::ConnKey;
use crate::shard::{CloseHow, Fate, Write};

/// The rings, and what they said.
pub struct RingSockets {
    size: RingSize,
    bell: Arc<EventFd>,
    rings: Vec<SocketRing>,
    events: VecDeque<SocketEvent>,
    /// Which ring is looked at first; moves on each turn so that none is always last.
    first: usize,
    scratch: ReadScratch,
    /// Oddities of rings that are gone.
    past: [u64; 3],
    by_ring: Vec<Vec<u32>>,
    sends: Vec<SlotSend>,
    failed: Vec<(u32, i32)>,
}

impl RingSockets {
    /// Ring 0 is there from the start. `bell` is what everything of this shard rings.
    ///
    /// # Errors
    /// `EMFILE` when `slots_per_ring` exceeds `RLIMIT_NOFILE` (raise it first), `EPERM`/`ENOSYS` where io_uring is
    /// forbidden, `EINVAL` on kernels before 6.1, `ENOMEM`.
    pub fn new(slots_per_ring: u16, bell: Arc<EventFd>) -> io::Result<Self> {
        let size = RingSize { submissions: SUBMISSIONS, completions: COMPLETIONS, slots: slots_per_ring };
        let mut sockets = Self {
            size,
            bell,
            rings: Vec::new(),
            events: VecDeque::new(),
            first: 0,
            scratch: ReadScratch::new(READ_PIECES, READ_BYTES),
            past: [0; 3],
            by_ring: Vec::new(),
            sends: Vec::new(),
            failed: Vec::new(),
        };
        sockets.ensure_ring(0)?;
        Ok(sockets)
    }

    /// Makes the rings up to `number`.
    ///
    /// # Errors
    /// As [`RingSockets::new`]; the rings made before stay.
    pub fn ensure_ring(&mut self, number: u16) -> io::Result<()> {
        while self.rings.len() <= usize::from(number) {
            let mut ring = SocketRing::new(self.rings.len() as u16, self.size, &self.bell)?;
            ring.set_bell(false);
            self.rings.push(ring);
            self.by_ring.push(Vec::new());
        }
        Ok(())
    }

    /// Gives back the topmost rings that nobody lives in, down to `count` (ring 0 stays).
    pub fn drop_rings_above(&mut self, count: u16) {
        while self.rings.len() > usize::from(count).max(1) && self.rings.last_mut().is_some_and(SocketRing::is_idle) {
            if let Some(ring) = self.rings.pop() {
                self.past = add(self.past, ring.oddities());
            }
            self.by_ring.pop();
        }
    }

    /// Tells by [`SocketEvent::Acceptable`] when somebody waits (edge-like: accept until nobody does).
    pub fn watch_listener(&mut self, listener: BorrowedFd<'_>) {
        self.rings[0].watch_listener(listener);
    }

    /// Ends [`RingSockets::watch_listener`]; one last [`SocketEvent::Acceptable`] may still come.
    pub fn unwatch_listener(&mut self) {
        self.rings[0].unwatch_listener();
    }

    /// Takes a socket in under `conn`, whose ring is made if it is not there. The ring has it from then on; its number is
    /// free again.
    ///
    /// # Errors
    /// When there is no ring for it; the socket comes back.
    pub fn adopt(&mut self, socket: OwnedFd, conn: ConnKey) -> Result<(), (OwnedFd, io::Error)> {
        assert!(conn.slot() < self.size.slots, "the shard and its rings agree on slots per ring");
        let made = self.ensure_ring(conn.ring());
        let adopted = made.and_then(|()| self.rings[usize::from(conn.ring())].adopt(socket.as_fd(), conn));
        adopted.map_err(|error| (socket, error))
    }

    /// Lets the rings say what happened. Some 1,280 events a ring at most; the rest stays for the next turn.
    pub fn turn(&mut self) {
        self.first = if self.first + 1 < self.rings.len() { self.first + 1 } else { 0 };
        let (before, after) = self.rings.split_at_mut(self.first);
        for ring in after.iter_mut().chain(before) {
            ring.turn(ENTERS_PER_TURN, &mut self.events);
        }
    }

    /// The next thing that happened.
    pub fn take_event(&mut self) -> Option<SocketEvent> {
        self.events.pop_front()
    }

    /// Reads from those who have something, at most `budget` times 8 KiB, fairly over rings. Returns how many reads
    /// were made; who was not served is remembered.
    pub fn read(&mut self, budget: usize, sink: &mut impl FnMut(ReadEvent<'_>) -> Next) -> usize {
        let mut made = 0;
        loop {
            let made_before = made;
            for nth in 0..self.rings.len() {
                let ring = (self.first + nth) % self.rings.len();
                made += self.rings[ring].read(budget - made, &mut self.scratch, sink);
            }
            if made == made_before || made >= budget {
                return made;
            }
        }
    }

    /// Writes each piece of `arena` to its connection, ring by ring. What did not go out whole stands in `fates`,
    /// in order of the index into `writes`; the room of the stalled is watched.
    pub fn write(&mut self, arena: &[u8], writes: &[Write], fates: &mut Vec<(usize, Fate)>) {
        let reported = fates.len();
        for (index, write) in writes.iter().enumerate() {
            if !self.holds(write.conn) {
                fates.push((index, Fate::Broken));
            } else if write.len > 0 {
                self.by_ring[usize::from(write.conn.ring())].push(index as u32);
            }
        }
        for number in 0..self.rings.len() {
            if !self.by_ring[number].is_empty() {
                self.write_to_ring(number, arena, writes, fates);
            }
        }
        fates[reported..].sort_unstable_by_key(|(index, _)| *index);
    }

    /// Lets go of a connection; [`SocketEvent::Released`] follows, at once if there is no socket (any more).
    pub fn close(&mut self, conn: ConnKey, how: CloseHow) {
        let how = match how {
            CloseHow::Quietly => Parting::Quietly,
            CloseHow::Abruptly => Parting::Abruptly,
        };
        self.part(conn, how);
    }

    /// Takes the socket out under a descriptor of its own; [`SocketEvent::Released`] follows. The peer notices nothing.
    ///
    /// # Errors
    /// `EMFILE`: the connection is still held here and should be closed. `EBADF`: there is no such connection.
    pub fn hand_over(&mut self, conn: ConnKey) -> io::Result<OwnedFd> {
        if !self.holds(conn) {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        let socket = self.rings[usize::from(conn.ring())].install(conn.slot())?;
        self.part(conn, Parting::HandedOver);
        Ok(socket)
    }

    /// Gives the kernel what was asked for (closes, polls) since the last turn.
    pub fn submit(&mut self) {
        for ring in &mut self.rings {
            ring.submit();
        }
    }

    /// What everything of this shard rings.
    pub(super) fn bell(&self) -> &EventFd {
        &self.bell
    }

    /// Whether a turn or a read would do anything.
    pub fn has_work(&mut self) -> bool {
        !self.events.is_empty() || self.rings.iter_mut().any(SocketRing::has_work)
    }

    /// From here on events ring the bell. False: there is work already, the bell stays silent, do not sleep.
    ///
    /// While awake the kernel need not ring: one write to an eventfd per enter is saved.
    pub fn prepare_sleep(&mut self) -> bool {
        for ring in &mut self.rings {
            ring.set_bell(true);
        }
        // Either the kernel sees the bell switched on, or we see its work: it looks in the opposite order.
        fence(Ordering::SeqCst);
        let sleep = !self.has_work();
        if !sleep {
            self.wake();
        }
        sleep
    }

    /// Silences the bell after sleep.
    pub fn wake(&mut self) {
        for ring in &mut self.rings {
            ring.set_bell(false);
        }
    }

    /// What is worth exporting.
    pub fn totals(&self) -> SocketTotals {
        let [overflows, rearmed, stale] = self.rings.iter().map(SocketRing::oddities).fold(self.past, add);
        let sockets = self.rings.iter().map(|ring| u64::from(ring.used())).sum();
        SocketTotals { rings: self.rings.len() as u64, sockets, overflows, rearmed, stale }
    }

    fn write_to_ring(&mut self, number: usize, arena: &[u8], writes: &[Write], fates: &mut Vec<(usize, Fate)>) {
        let ring = &mut self.rings[number];
        self.sends.clear();
        self.failed.clear();
        self.sends.extend(self.by_ring[number].iter().map(|&index| {
            let write = &writes[index as usize];
            SlotSend { slot: write.conn.slot(), start: write.start, len: write.len }
        }));
        ring.send(arena, &self.sends, &mut self.failed);
        for &(nth, result) in &self.failed {
            let sent = self.sends[nth as usize];
            let fate = match result {
                taken if taken > 0 => Fate::Stalled { taken: taken as u32 },
                errno if NO_ROOM.contains(&-errno) => Fate::Stalled { taken: 0 },
                _ => Fate::Broken,
            };
            match fate {
                Fate::Stalled { .. } => ring.watch_room(sent.slot),
                Fate::Broken => ring.silence(sent.slot),
            }
            fates.push((self.by_ring[number][nth as usize] as usize, fate));
        }
        self.by_ring[number].clear();
    }

    fn part(&mut self, conn: ConnKey, how: Parting) {
        if self.holds(conn) {
            self.rings[usize::from(conn.ring())].part(conn.slot(), how);
        } else if self.rings.get(usize::from(conn.ring())).is_none_or(|ring| ring.is_free(conn.slot())) {
            self.events.push_back(SocketEvent::Released { conn });
        }
    }

    fn holds(&self, conn: ConnKey) -> bool {
        self.rings.get(usize::from(conn.ring())).is_some_and(|ring| ring.holds(conn))
    }
}

fn add(a: [u64; 3], b: [u64; 3]) -> [u64; 3] {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// 512 × 64 B. More per `enter` measured no faster.
const SUBMISSIONS: u32 = 512;
/// 4,096 × 16 B: one `enter` posts at most 512 + the ~20 deferred events it runs.
const COMPLETIONS: u32 = 4_096;
/// 16 × 8 KiB = 128 KiB a shard. With 64 of them 19,000 connections on two shards would pay 41 bytes each for nothing but this.
const READ_PIECES: usize = 16;
/// An enter runs about 20 deferred events. Fewer than come in while a full batch is written would let them pile up: 64 enters
/// are as many events as a turn reads.
const ENTERS_PER_TURN: u32 = 64;
