//! A tiny owner of sockets: gives out rows, echoes what comes, closes what ends. No shard, no executor.

#[path = "../support/engine.rs"]
mod engine;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use throng::base::ConnKey;
use throng::runtime::EventFd;
use throng::runtime::accept::{Door, bind};
use throng::runtime::engine::Engine;
use throng::runtime::sockets::{Next, ReadEvent, SocketEvent, Sockets};
use throng::shard::{CloseHow, Fate, Write};
use throng::wire::CloseReason;

/// What the tests run on.
pub(crate) fn engine() -> Engine {
    Engine::ALL.into_iter().find(|one| one.name() == engine::asked()).unwrap()
}

pub(crate) struct Owner {
    pub(crate) sockets: Sockets,
    pub(crate) door: Door,
    pub(crate) address: SocketAddr,
    pub(crate) bell: Arc<EventFd>,
    /// Bytes of each open connection that are still to be written; empty for most.
    pub(crate) rows: BTreeMap<ConnKey, Row>,
    pub(crate) read_budget: usize,
    /// Who was released, in order.
    pub(crate) released: Vec<ConnKey>,
    pub(crate) opened: usize,
    last_opened: Option<ConnKey>,
    pub(crate) ended: usize,
    /// Rows whose ring could not be made, where that may be.
    pub(crate) homeless: Vec<ConnKey>,
    pub(crate) may_lack_rings: bool,
    /// What somebody is told for whom there is no row.
    pub(crate) refuses_as: CloseReason,
    /// Who may have something to be written.
    dirty: BTreeSet<ConnKey>,
    free: VecDeque<(u16, u16)>,
    generations: BTreeMap<(u16, u16), u16>,
}

#[derive(Default)]
pub(crate) struct Row {
    pub(crate) unsent: Vec<u8>,
    pub(crate) received: Vec<u8>,
    pub(crate) stalled: bool,
    pub(crate) closing: bool,
    /// Its first bytes are all the owner wants of it.
    pub(crate) leaves_the_rest: bool,
}

impl Owner {
    pub(crate) fn new(slots_per_ring: u16, rings_max: u16) -> Self {
        let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 4_096).unwrap();
        let address = listener.local_addr().unwrap();
        let bell = Arc::new(EventFd::new().unwrap());
        let mut sockets = Sockets::new(engine(), slots_per_ring, Arc::clone(&bell)).unwrap();
        engine::assert_carried("self");
        let door = Door::new(listener, &mut sockets).unwrap();
        let free = (0..rings_max).flat_map(|ring| (0..slots_per_ring).map(move |slot| (ring, slot))).collect();
        let rows = BTreeMap::new();
        let (generations, dirty) = (BTreeMap::new(), BTreeSet::new());
        Self {
            sockets,
            door,
            address,
            bell,
            rows,
            read_budget: 64,
            released: Vec::new(),
            opened: 0,
            last_opened: None,
            homeless: Vec::new(),
            may_lack_rings: false,
            refuses_as: CloseReason::Full,
            ended: 0,
            dirty,
            free,
            generations,
        }
    }

    /// One turn as the pump makes it, without tick or mail.
    pub(crate) fn turn(&mut self) {
        let homeless_before = self.homeless.len();
        let (free, generations, rows) = (&mut self.free, &mut self.generations, &mut self.rows);
        let (opened, last_opened, refuses_as) = (&mut self.opened, &mut self.last_opened, self.refuses_as);
        let mut open = |_| {
            let (ring, slot) = free.pop_front().ok_or(refuses_as)?;
            let generation = generations.entry((ring, slot)).or_default();
            *generation = generation.wrapping_add(1);
            let conn = ConnKey::new(ring, slot, *generation);
            rows.insert(conn, Row::default());
            *opened += 1;
            *last_opened = Some(conn);
            Ok(conn)
        };
        self.door.turn(64, &mut self.sockets, &mut open, &mut self.homeless);
        assert!(self.may_lack_rings || self.homeless.is_empty(), "every row had its ring");
        for conn in &self.homeless[homeless_before..] {
            self.rows.remove(conn).expect("a place was given before its ring was looked for");
            self.free.push_front((conn.ring(), conn.slot()));
        }
        self.sockets.turn();
        self.take_events();
        self.read();
        self.flush();
        self.sockets.submit();
    }

    /// Turns until `fact` holds. Bounded by idle turns, not by time.
    pub(crate) fn run_until(&mut self, what: &str, mut fact: impl FnMut(&mut Self) -> bool) {
        for _ in 0..TURNS_MAX {
            if fact(self) {
                return;
            }
            self.turn();
            if !self.sockets.has_work() {
                std::thread::yield_now();
            }
        }
        panic!("never came true: {what}; {:?} {:?}", self.sockets.totals(), self.door.totals());
    }

    /// Sleeps as a pump would, unless there is work.
    pub(crate) fn sleep(&mut self) {
        if !self.door.has_work() && self.sockets.prepare_sleep() {
            self.sockets.sleep(u64::MAX).unwrap();
            self.sockets.wake();
        }
    }

    pub(crate) fn close(&mut self, conn: ConnKey, how: CloseHow) {
        let row = self.rows.get_mut(&conn).unwrap();
        if !row.closing {
            row.closing = true;
            row.unsent.clear();
            self.sockets.close(conn, how);
        }
    }

    /// The connection opened last.
    pub(crate) fn newest(&self) -> ConnKey {
        self.last_opened.unwrap()
    }

    fn take_events(&mut self) {
        while let Some(event) = self.sockets.take_event() {
            match event {
                SocketEvent::Acceptable { watching } => self.door.on_acceptable(watching, &mut self.sockets),
                SocketEvent::Writable { conn } => {
                    let row = self.rows.get_mut(&conn).unwrap();
                    assert!(row.stalled, "room is only announced to the stalled");
                    row.stalled = false;
                    self.dirty.insert(conn);
                }
                SocketEvent::Ended { conn } => self.on_ended(conn),
                SocketEvent::Released { conn } => {
                    self.rows.remove(&conn).expect("released once, and only after it was closed");
                    self.free.push_front((conn.ring(), conn.slot()));
                    self.released.push(conn);
                }
            }
        }
    }

    fn read(&mut self) {
        let (rows, dirty) = (&mut self.rows, &mut self.dirty);
        let mut ended = Vec::new();
        self.sockets.read(self.read_budget, &mut |event| match event {
            ReadEvent::Received { conn, bytes } => {
                let row = rows.get_mut(&conn).expect("bytes only for rows that are open");
                assert!(!row.closing, "a closed connection hears nothing more");
                row.received.extend_from_slice(bytes);
                row.unsent.extend_from_slice(bytes);
                dirty.insert(conn);
                if row.leaves_the_rest { Next::Leave } else { Next::ReadOn }
            }
            ReadEvent::Ended { conn } => {
                ended.push(conn);
                Next::Leave
            }
        });
        for conn in ended {
            self.on_ended(conn);
        }
    }

    fn on_ended(&mut self, conn: ConnKey) {
        self.ended += 1;
        self.close(conn, CloseHow::Quietly);
    }

    fn flush(&mut self) {
        let (mut arena, mut writes, mut fates) = (Vec::new(), Vec::new(), Vec::new());
        for conn in std::mem::take(&mut self.dirty) {
            let Some(row) = self.rows.get(&conn).filter(|row| !row.unsent.is_empty() && !row.stalled) else {
                continue;
            };
            writes.push(Write { conn, start: arena.len() as u32, len: row.unsent.len() as u32 });
            arena.extend_from_slice(&row.unsent);
        }
        self.sockets.write(&arena, &writes, &mut fates);
        let mut fates = fates.into_iter().peekable();
        for (index, write) in writes.iter().enumerate() {
            let row = self.rows.get_mut(&write.conn).unwrap();
            match fates.next_if(|(of, _)| *of == index).map(|(_, fate)| fate) {
                None => row.unsent.clear(),
                Some(Fate::Stalled { taken }) => {
                    assert!(taken < write.len, "what went out whole is no stall");
                    row.unsent.drain(..taken as usize);
                    row.stalled = true;
                }
                Some(Fate::Broken) => self.close(write.conn, CloseHow::Abruptly),
            }
        }
        assert_eq!(fates.next(), None, "fates come in order, one per write");
    }
}

/// Far above what any test needs (a few thousand); an endless wait fails instead of hanging.
const TURNS_MAX: usize = 20_000_000;
