//! The turn of a shard: what happened goes in, what it wants done is done.
//!
//! ```text
//!  leave?, notices, tick? → accept → events → read → mail → asks → end of turn → write some of what is due
//!  → close, hand over → post → sleep?
//! ```
//!
//! Promises: one look at the clock per turn, and one per batch of writes; every step is bounded, so that none starves the next; past the shard's
//! peak nothing new is taken in until what is due is written. It never sleeps over work.
//! Must never: decide anything about people, rooms or bytes.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::Receiver;

use super::accept::{self, Door};
use super::alarm::Alarm;
use super::asks::Tell;
use super::clock::Clock;
use super::engine::Engine;
use super::given::{Give, Given};
use super::mailbox::{Bell, Mailbox};
use super::notice::Notices;
use super::phase::Phase;
use super::places::Places;
use super::scrape::{RuntimeCounts, ShardCounts};
use super::shortage::Shortages;
use super::sockets::{Next, ReadEvent, SocketEvent, Sockets};
use super::spare::Spare;
use super::turn::{Part, Turn, TurnTimes};
use crate::base::{ConnKey, Now, ShardId};
use crate::shard::{Ask, Batch, CloseHow, Effect, Fate, Input, Mail, Rules, Shard, Write};
use crate::wire::CloseReason;

/// Everything a pump is made of; it is made on the thread it will run on.
pub(super) struct Parts {
    pub(super) engine: Engine,
    pub(super) shard: Shard,
    pub(super) listener: TcpListener,
    pub(super) slots_per_ring: u16,
    pub(super) tick_ms: u64,
    pub(super) slow_turn_ms: Option<u64>,
    pub(super) shards: u16,
    pub(super) mailbox: Mailbox<Mail>,
    pub(super) asks: Receiver<Ask>,
    pub(super) notices: Notices<Rules>,
    pub(super) places: Places,
    pub(super) bell: Arc<Bell>,
    pub(super) clock: Clock,
    pub(super) give: Give,
    pub(super) tell: Tell,
    pub(super) counts: Arc<ShardCounts>,
    pub(super) phase: Arc<Phase>,
}

/// One shard, its sockets and its mail.
pub(super) struct Pump {
    shard: Shard,
    sockets: Sockets,
    door: Door,
    mailbox: Mailbox<Mail>,
    asks: Receiver<Ask>,
    notices: Notices<Rules>,
    places: Places,
    /// How many of the places are this shard's.
    places_held: u64,
    others: Vec<ShardId>,
    bell: Arc<Bell>,
    clock: Clock,
    tick_ms: u64,
    /// When the next tick is due, on the monotonic clock.
    tick_due_ms: u64,
    /// When it must be awake; an executor's timer reads it.
    alarm: Rc<Alarm>,
    give: Give,
    tell: Tell,
    batch: Batch,
    fates: Vec<(usize, Fate)>,
    effects: Vec<Effect>,
    homeless: Vec<ConnKey>,
    shortages: Shortages,
    counts: RuntimeCounts,
    times: TurnTimes,
    spare: Spare,
    slow_turn_us: u64,
    /// A slow turn of this tick is in the log already.
    slow_told: bool,
    shared: Arc<ShardCounts>,
    phase: Arc<Phase>,
    /// Since the data plane leaves: when its time is over.
    leaves_at_ms: Option<u64>,
    /// Nobody is left here, and the others know.
    said_empty: bool,
}

impl Pump {
    /// # Errors
    /// What engine and door may lack: see [`Sockets::new`], [`Door::new`].
    pub(super) fn new(parts: Parts) -> io::Result<Self> {
        let mut sockets = Sockets::new(parts.engine, parts.slots_per_ring, Arc::clone(parts.bell.eventfd()))?;
        let door = Door::new(parts.listener, &mut sockets)?;
        let me = parts.shard.id();
        parts.counts.begin(super::sys::this_thread(), parts.clock.now());
        let tick_due_ms = parts.clock.now().mono_ms + parts.tick_ms;
        let mut pump = Self {
            shard: parts.shard,
            sockets,
            door,
            mailbox: parts.mailbox,
            asks: parts.asks,
            notices: parts.notices,
            places: parts.places,
            places_held: 0,
            others: (0..parts.shards).map(ShardId).filter(|other| *other != me).collect(),
            bell: parts.bell,
            clock: parts.clock,
            tick_ms: parts.tick_ms,
            tick_due_ms,
            alarm: Rc::new(Alarm::new(tick_due_ms)),
            give: parts.give,
            tell: parts.tell,
            batch: Batch::default(),
            fates: Vec::new(),
            effects: Vec::new(),
            homeless: Vec::new(),
            shortages: Shortages::default(),
            counts: RuntimeCounts::default(),
            times: TurnTimes::default(),
            spare: Spare::default(),
            slow_turn_us: parts.slow_turn_ms.map_or(u64::MAX, |ms| ms.saturating_mul(1_000)),
            slow_told: false,
            shared: parts.counts,
            phase: parts.phase,
            leaves_at_ms: None,
            said_empty: false,
        };
        // Whoever asks before the first tick shall not hear of a shard without places.
        pump.publish_counts();
        Ok(pump)
    }

    pub(super) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// When it must be awake; each turn may move it.
    pub(super) fn alarm(&self) -> Rc<Alarm> {
        Rc::clone(&self.alarm)
    }

    /// Whether anything was done.
    pub(super) fn turn(&mut self) -> bool {
        #[cfg(feature = "planted-bugs")]
        self.shared.stall_if_planted();
        let mut turn = Turn::begin(self.clock, &self.counts);
        let now = self.clock.now();
        self.counts.turns += 1;
        self.leave_if_told(now);
        let mut busy = self.read_notices(now);
        busy |= turn.end_of(Part::Tick, self.tick_if_due(now));
        if self.shard.wants_input() {
            busy |= turn.end_of(Part::Accept, self.accept(now));
        }
        busy |= turn.end_of(Part::Events, self.take_events(now));
        self.give_back_places();
        if self.shard.wants_input() {
            busy |= turn.end_of(Part::Read, self.read(now));
            busy |= turn.end_of(Part::Mail, self.take_mail(now));
            busy |= turn.end_of(Part::Mail, self.take_asks(now));
        }
        self.shard.end_turn(now);
        busy |= turn.end_of(Part::Write, self.write(now));
        busy |= self.carry_out();
        busy |= self.post();
        self.sockets.submit();
        self.alarm.set(self.tick_due_ms, self.tick_ms, self.shard.next_write_mono_ms());
        turn.end_of(Part::Post, busy);
        let took_us = turn.end(&mut self.times);
        if took_us >= self.slow_turn_us {
            self.counts.slow_turns += 1;
            // One a tick is enough to see what happens.
            if !std::mem::replace(&mut self.slow_told, true) {
                turn.tell(self.shard.id().0, took_us, &self.counts);
            }
        }
        busy
    }

    /// Whether this pump has nothing more to do, ever.
    pub(super) fn is_over(&self) -> bool {
        let out_of_time = self.leaves_at_ms.is_some_and(|at_ms| self.clock.now().mono_ms >= at_ms);
        self.phase.is_stopping() || self.said_empty && self.phase.all_are_empty() || out_of_time
    }

    /// Leaves when the data plane does: the door closes, the shard sends everybody away, and says when nobody is left.
    fn leave_if_told(&mut self, now: Now) {
        let Some(budget_ms) = self.phase.leaving() else { return };
        if self.leaves_at_ms.is_none() {
            self.leaves_at_ms = Some(now.mono_ms + budget_ms);
            self.door.close(now, budget_ms / 2);
            self.shard.handle(now, Input::Drain { budget_ms });
        } else if !self.said_empty && self.door.is_closed() && self.shard.is_drained() {
            self.said_empty = true;
            self.phase.one_is_empty();
        }
    }

    /// Mail that is here is taken in, everybody is told; who cannot take that now sees the socket close all the same.
    pub(super) fn say_goodbye(&mut self) {
        let now = self.clock.now();
        self.take_mail(now);
        self.shard.end_turn(now);
        self.shard.handle(now, Input::Stop);
        while self.write(now) {}
        self.carry_out();
        self.sockets.submit();
        // No tick comes any more, and what was counted since the last one is asked for after the end, too.
        self.publish_counts();
    }

    fn read_notices(&mut self, now: Now) -> bool {
        let Some(rules) = self.notices.take() else { return false };
        self.shard.handle(now, Input::Rules(rules));
        true
    }

    fn tick_if_due(&mut self, now: Now) -> bool {
        let due_ms = self.tick_due_ms;
        if now.mono_ms < due_ms {
            return false;
        }
        let late_ms = now.mono_ms - due_ms;
        self.shared.beat(now);
        self.slow_told = false;
        self.counts.ticks += 1;
        self.counts.late_ticks += u64::from(late_ms > self.tick_ms / 2);
        self.counts.late_ticks_ms += late_ms;
        // Missed ticks are not made up for: one tick does the work of all.
        self.tick_due_ms = due_ms + (late_ms / self.tick_ms + 1) * self.tick_ms;
        self.door.on_tick(now, &mut self.sockets);
        self.shard.handle(now, Input::Tick);
        self.sockets.drop_rings_above(self.shard.rings_wanted());
        self.spare.on_tick(now, &mut self.batch);
        let (door, not_handed) = (self.door.totals(), self.counts.hand_over_failed);
        let refused = (door.refused_no_files + not_handed, door.refused_engine);
        self.shared.shortage.store(self.shortages.on_tick(now, self.shard.places(), refused));
        self.publish_counts();
        true
    }

    fn accept(&mut self, now: Now) -> bool {
        let busy = self.door.has_work();
        let (shard, places, held, short) = (&mut self.shard, &self.places, &mut self.places_held, &mut self.shortages);
        let mut open = |peer| {
            if !places.take() {
                shard.note_full();
                return Err(CloseReason::Full);
            }
            *held += 1;
            // A place that found no row is given back with those of the connections that went.
            shard.open(now, peer).inspect_err(|reason| short.note_refused(*reason))
        };
        self.door.turn(ACCEPTS_PER_TURN, &mut self.sockets, &mut open, &mut self.homeless);
        for conn in self.homeless.drain(..) {
            self.shard.turn_back(conn);
        }
        busy
    }

    /// What this shard has fewer of than it took: rows are free again some turns after their connections ended.
    fn give_back_places(&mut self) {
        let needed = self.shard.connections() as u64;
        if needed < self.places_held {
            self.places.give_back(self.places_held - needed);
            self.places_held = needed;
        }
    }

    fn take_events(&mut self, now: Now) -> bool {
        self.sockets.turn();
        let mut busy = false;
        while let Some(event) = self.sockets.take_event() {
            busy = true;
            let input = match event {
                SocketEvent::Acceptable { watching } => {
                    self.door.on_acceptable(watching, &mut self.sockets);
                    continue;
                }
                SocketEvent::Writable { conn } => Input::Writable { conn },
                SocketEvent::Ended { conn } => Input::Ended { conn },
                SocketEvent::Released { conn } => Input::Released { conn },
            };
            self.shard.handle(now, input);
        }
        busy
    }

    fn read(&mut self, now: Now) -> bool {
        let (shard, counts) = (&mut self.shard, &mut self.counts);
        let made = self.sockets.read(READS_PER_TURN, &mut |event| match event {
            ReadEvent::Received { conn, bytes } => {
                counts.reads += 1;
                counts.received_bytes += bytes.len() as u64;
                shard.handle(now, Input::Received { conn, bytes });
                if shard.reads(conn) { Next::ReadOn } else { Next::Leave }
            }
            ReadEvent::Ended { conn } => {
                shard.handle(now, Input::Ended { conn });
                Next::Leave
            }
        });
        made > 0
    }

    fn take_mail(&mut self, now: Now) -> bool {
        let mut taken = 0;
        while taken < PARCELS_PER_TURN
            && let Some((from, mut parcel)) = self.mailbox.take()
        {
            taken += 1;
            self.counts.letters += parcel.len() as u64;
            self.shard.handle_parcel(now, from, &mut parcel);
            self.mailbox.keep(parcel);
        }
        self.counts.parcels += taken;
        taken > 0
    }

    fn take_asks(&mut self, now: Now) -> bool {
        let mut taken = 0;
        while taken < ASKS_PER_TURN
            && let Ok(ask) = self.asks.try_recv()
        {
            taken += 1;
            self.shard.handle(now, Input::Ask(ask));
        }
        taken > 0
    }

    /// Some thousand writes: what comes in meanwhile is taken in before the next ones, so that rooms that wait for their turn
    /// are written more at once.
    fn write(&mut self, mut now: Now) -> bool {
        let mut made = 0;
        while made < WRITES_PER_TURN && self.shard.fill_batch(now, &mut self.batch) {
            made += self.batch.writes().iter().map(Write::cost).sum::<u32>();
            self.write_batch();
            // Later than the turn began: what the writing itself took is part of how long messages wait, and a room rests
            // since it was really written.
            now = self.clock.now();
            self.shard.finish_batch(now, &mut self.batch, &self.fates);
        }
        made > 0
    }

    fn write_batch(&mut self) {
        self.fates.clear();
        self.sockets.write(self.batch.arena(), self.batch.writes(), &mut self.fates);
        self.counts.writes += self.batch.writes().len() as u64;
        self.counts.written_bytes += self.batch.writes().iter().map(|write| u64::from(write.len)).sum::<u64>();
        for (_, fate) in &self.fates {
            match fate {
                Fate::Stalled { .. } => self.counts.stalled += 1,
                Fate::Broken => self.counts.broken += 1,
            }
        }
    }

    fn carry_out(&mut self) -> bool {
        self.shard.take_effects(&mut self.effects);
        let busy = !self.effects.is_empty();
        for effect in std::mem::take(&mut self.effects).drain(..) {
            match effect {
                Effect::Close { conn, how } => self.sockets.close(conn, how),
                Effect::HandOver { conn, read, client } => self.hand_over(conn, read, client),
                Effect::Opened { conn, identity } => {
                    tracing::debug!(shard = self.shard.id().0, ?conn, user = identity.user(), "session opened");
                }
                Effect::Closed { conn, identity, reason } => {
                    let user = identity.as_ref().map(|identity| identity.user());
                    tracing::debug!(shard = self.shard.id().0, ?conn, user, ?reason, "connection closed");
                }
                Effect::Answer { id, answer } => (self.tell)(id, answer),
            }
        }
        busy
    }

    fn hand_over(&mut self, conn: ConnKey, read: Bytes, client: Option<IpAddr>) {
        match self.sockets.hand_over(conn) {
            Ok(socket) => {
                self.counts.handed_over += 1;
                (self.give)(Given { socket: socket.into(), read, client });
            }
            // No descriptor left for it.
            Err(_) => {
                self.counts.hand_over_failed += 1;
                let answer = accept::refusal(CloseReason::Full);
                let write = Write { conn, start: 0, len: answer.len() as u32 };
                // Best effort: nothing was written to it before, so there is room.
                self.fates.clear();
                self.sockets.write(&answer, &[write], &mut self.fates);
                self.sockets.close(conn, CloseHow::Quietly);
            }
        }
    }

    fn post(&mut self) -> bool {
        let mut busy = false;
        for &to in &self.others {
            let mail = self.shard.outgoing_mut(to);
            if mail.is_empty() {
                continue;
            }
            if self.mailbox.post(to, mail) {
                busy = true;
            } else {
                // It stays with the shard; the reader rings when it has made room.
                self.counts.posts_refused += 1;
            }
        }
        busy
    }

    /// Whether mail that was refused would be taken now.
    fn can_post_after_all(&mut self) -> bool {
        let (shard, mailbox) = (&mut self.shard, &self.mailbox);
        self.others.iter().any(|&to| !shard.outgoing_mut(to).is_empty() && mailbox.has_room(to))
    }

    /// True: the bell will ring for whatever comes. False: there is work, do not sleep.
    pub(super) fn prepare_sleep(&mut self) -> bool {
        if self.shard.has_work() {
            return false;
        }
        debug_assert!(self.shard.wants_input(), "whoever is overdue has something to write");
        self.bell.say_asleep();
        let no_letters = self.mailbox.waiting() == 0 && self.asks.is_empty();
        let may_sleep = !self.notices.has_news()
            && !self.can_post_after_all()
            && !self.door.has_work()
            && no_letters
            && self.sockets.prepare_sleep();
        let told_to_leave = self.leaves_at_ms.is_none() && self.phase.leaving().is_some();
        let sleep = may_sleep && !told_to_leave && !self.phase.is_stopping();
        if sleep {
            self.counts.sleeps += 1;
        } else {
            self.wake();
        }
        sleep
    }

    /// Sleeps on this very thread, after [`Pump::prepare_sleep`], until something comes or the tick is due.
    ///
    /// # Errors
    /// The bell cannot be waited for: the shard could never be woken.
    pub(super) fn sleep(&mut self) -> io::Result<()> {
        let most_ms = self.alarm.left_ms(self.clock.now().mono_ms);
        self.sockets.sleep(most_ms)
    }

    /// It is awake, or did not go to sleep after all.
    pub(super) fn wake(&mut self) {
        self.bell.say_awake();
        self.sockets.wake();
    }

    fn publish_counts(&mut self) {
        let (sockets, door) = (self.sockets.totals(), self.door.totals());
        let counts = &mut self.counts;
        (counts.sockets, counts.rings) = (sockets.sockets, sockets.rings);
        (counts.overflows, counts.rearmed, counts.stale) = (sockets.overflows, sockets.rearmed, sockets.stale);
        (counts.accepted, counts.accept_failed) = (door.accepted, door.failed);
        (counts.refused_full, counts.refused_engine) = (door.refused_full, door.refused_engine);
        counts.refused_no_files = door.refused_no_files;
        (counts.refused_address, counts.refused_handshakes) = (door.refused_address, door.refused_handshakes);
        counts.inbox_parcels = self.mailbox.waiting() as u64;
        self.shared.store(counts, &self.times, &self.shard);
    }
}

/// Two rounds of 64: a rush of connections must not keep those who are seated waiting.
const ACCEPTS_PER_TURN: usize = 128;
/// At 8 KiB each at most 8 MiB a turn.
const READS_PER_TURN: usize = 1_024;
/// At less than 10 us each some 20 ms.
const WRITES_PER_TURN: u32 = 2_048;
const PARCELS_PER_TURN: u64 = 64;
/// Each may be a thousand messages.
const ASKS_PER_TURN: usize = 16;
