//! Floor 3: one core's whole world as a plain value: connections, seats, homes, mail, outboxes.
//!
//! The runtime (or a simulation) calls, in this order, turn after turn:
//! [`Shard::handle`] and [`Shard::handle_parcel`] for everything that came; [`Shard::end_turn`]; then
//! [`Shard::fill_batch`] / [`Shard::finish_batch`] until there is nothing to write; [`Shard::take_effects`];
//! and posts what lies in [`Shard::outgoing_mut`].
//!
//! Promises: deterministic in its inputs; every unsent byte is owned here; whatever is accepted is delivered or
//! announced as a gap. It must never read a clock, draw randomness that no seed gave, or touch a socket.

mod addresses;
mod answers;
mod arrival;
mod ask;
#[cfg(test)]
mod ask_tests;
mod batch;
mod catch_up;
#[cfg(test)]
mod ceiling_tests;
#[cfg(test)]
mod class_tests;
mod close;
mod commands;
mod config;
mod connections;
mod counters;
#[cfg(test)]
mod deflate_tests;
mod doings;
mod door;
#[cfg(test)]
mod door_tests;
mod drain;
mod due;
mod echo;
#[cfg(test)]
mod echo_tests;
mod errands;
mod flush;
#[cfg(test)]
mod flush_tests;
mod gather;
mod grants;
mod greeting;
mod hearers;
mod history;
mod home;
#[cfg(test)]
mod house;
mod input;
mod invariants;
mod laid;
mod latency;
mod mail;
mod marks;
#[cfg(test)]
mod memory_tests;
mod news;
#[cfg(test)]
mod own_tests;
mod patrol;
mod people;
mod rates;
mod refresh;
mod replies;
mod resume;
mod revocation;
mod round;
mod row;
mod rules;
mod seat;
mod seats;
mod sessions;
#[cfg(test)]
mod slow_tests;
mod tally;
mod tickets;
#[cfg(test)]
mod token_tests;
mod unseat;
mod users;
#[cfg(test)]
mod users_tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::base::{ClassId, ConnAddress, ConnKey, HomePlace, Limits, LocalPlace, Now, RoomClass, Seed, ShardId};
use crate::room::{Own, Rooms};
use crate::wire::{CloseReason, Inflater, Press};

pub use ask::{
    Announcement, Answer, Ask, AskId, Audience, Closed, ConnectionFacts, HistoryFrom, HistoryPage, HistoryQuestion,
    Homes, Notice, Question, RoomFacts,
};
pub use batch::{Batch, Fate, Write};
#[cfg(feature = "planted-bugs")]
pub use config::PlantedBug;
pub use config::{Flush, ShardConfig};
pub use counters::{ClassCount, Count, Counters, Gauges, Tables};
pub use history::{AskHistory, HistoryTold};
pub use input::{CloseHow, Effect, Input};
pub use latency::LATENCY_BUCKETS_MS;
pub use mail::{Ack, Deliver, Join, Joined, Mail, Parcel, Publish, RoomRef};
pub use revocation::{Revocation, Revoked};
pub use rules::Rules;
pub use sessions::{SessionCode, Taken};
pub use tickets::TicketCode;
pub use users::{UserMoved, UserNews};

use addresses::Addresses;
use answers::Follower;
use connections::Connections;
use doings::LocalDoings;
use drain::Leaving;
use errands::Errands;
use flush::FlushQueues;
use grants::GrantTable;
use marks::Marks;
use patrol::Patrol;
use rates::Rates;
use revocation::Revocations;
use round::Round;
use row::Work;
use seats::Seats;
use sessions::Sessions;
use tally::Tally;
use tickets::Tickets;
use users::TakeOvers;

/// What one idle connection owns of its shard, by struct; printed by the memory bench.
pub const BYTES_PER_ROW: usize = size_of::<row::Row>();
/// See [`BYTES_PER_ROW`].
pub const BYTES_PER_SEAT: usize = size_of::<seat::Seat>();
/// What a room costs at a shard that has seats in it.
pub const BYTES_PER_LOCAL_ROOM: usize = size_of::<seats::LocalRoom>();
/// What a room costs at its home.
pub const BYTES_PER_HOME_ROOM: usize = size_of::<crate::room::Room>();
/// What is lent while something is incomplete.
pub const BYTES_PER_WORK: usize = size_of::<Work>();

/// One core's world.
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    connections: Connections,
    seats: Seats,
    rooms: Rooms,
    grants: GrantTable,
    marks: Marks,
    revocations: Revocations,
    /// After other default grants came, or (of everybody) classes whose rooms allow less.
    unseating: Round,
    unseats_everybody: bool,
    /// Work spaces nobody needs at the moment.
    #[expect(clippy::vec_box, reason = "they move in and out of rows as boxes")]
    spare_work: Vec<Box<Work>>,
    /// Letters of this turn, by addressee.
    outgoing: Vec<Parcel>,
    /// Bytes of messages in them.
    outgoing_bytes: Vec<usize>,
    /// Local rooms whose home must be told who left.
    untold: Vec<u32>,
    /// (room, shard) pairs at this home whose `Deliver` did not fit.
    owed: VecDeque<(HomePlace, ShardId)>,
    /// Joins that found their room at this home full, until their shard has given the seat back.
    turned_away: BTreeSet<(ShardId, ConnKey, u16)>,
    /// Home rooms with news for those who watch.
    news: Vec<u32>,
    /// What people here did since the last tick.
    doings: LocalDoings,
    /// Seats (local room, connection) that were not told everything about the people, because they read too slowly.
    missed: BTreeMap<(u32, u32), LocalPlace>,
    flush: FlushQueues,
    patrol: Patrol,
    /// Questions that wait for a message.
    followers: Vec<Follower>,
    errands: Errands,
    /// Since `Input::Drain`.
    leaving: Option<Box<Leaving>>,
    effects: Vec<Effect>,
    counters: Counters,
    sessions: usize,
    /// Those that have no connection.
    sessions_kept: Sessions,
    addresses: Addresses,
    /// Connections of the users whose home is here.
    users: Tally,
    /// What their homes have not been told yet, by home.
    user_news: Vec<Vec<UserNews>>,
    take_overs: TakeOvers,
    tickets: Tickets,
    rates: Rates,
    /// Handshakes under way.
    pending: usize,
    /// Bytes of all incomplete request heads, and of what came behind those that are parked.
    heads_bytes: usize,
    /// Seats in all rooms.
    seated: usize,
    /// Work spaces that are lent.
    works_lent: usize,
    /// The largest an outbox may have been under any rules so far.
    outbox_bytes_ever_max: usize,
    /// Made of what is said: frames, and their deflated forms.
    scratch: Press,
    /// Lent to whoever reads deflated messages.
    inflater: Inflater,
    /// Bytes made of the deflated messages of each connection (by its index) since the tick.
    inflated: BTreeMap<u32, u64>,
    /// Bytes of answers to single connections deflated since the tick.
    answers_deflated: usize,
    seed: Seed,
    homes: Homes,
}

impl Shard {
    pub fn new(mut config: ShardConfig) -> Self {
        config.rules = config.rules.for_one_shard();
        let own = Seed::new([
            config.seed[0],
            config.seed[1] ^ (u64::from(config.id.0) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        ]);
        let limits = &config.rules.limits;
        Self {
            outbox_bytes_ever_max: limits.outbox_bytes_max().1,
            connections: Connections::new(limits.slots_per_ring, limits.connections_per_shard_max),
            seats: Seats::new(&own),
            rooms: new_rooms(&own, &config),
            grants: GrantTable::new(&own, config.rules.default_grants.clone()),
            marks: Marks::default(),
            revocations: Revocations::new(Seed::new(config.seed)),
            unseating: Round::default(),
            unseats_everybody: false,
            spare_work: Vec::new(),
            outgoing: (0..config.shards).map(|_| Parcel::new()).collect(),
            outgoing_bytes: vec![0; usize::from(config.shards)],
            untold: Vec::new(),
            owed: VecDeque::new(),
            turned_away: BTreeSet::new(),
            news: Vec::new(),
            doings: LocalDoings::default(),
            missed: BTreeMap::new(),
            flush: FlushQueues::default(),
            patrol: Patrol::default(),
            followers: Vec::new(),
            errands: Errands::default(),
            leaving: None,
            effects: Vec::new(),
            counters: Counters::default(),
            sessions: 0,
            sessions_kept: Sessions::new(&own),
            addresses: Addresses::default(),
            users: Tally::default(),
            user_news: (0..config.shards).map(|_| Vec::new()).collect(),
            take_overs: TakeOvers::default(),
            tickets: Tickets::new(&own),
            rates: Rates::new(&own),
            pending: 0,
            heads_bytes: 0,
            seated: 0,
            works_lent: 0,
            scratch: Press::new(config.rules.compression),
            inflater: Inflater::default(),
            inflated: BTreeMap::new(),
            answers_deflated: 0,
            homes: Homes::new(config.seed, config.shards),
            seed: own,
            config,
        }
    }

    /// Somebody was turned away because the whole process is full.
    pub fn note_full(&mut self) {
        self.counters.closed(CloseReason::Full);
    }

    /// Takes in one thing that happened.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        self.flush.note_time(now);
        match input {
            Input::Received { conn, bytes } => self.on_received(now, conn, bytes),
            Input::Ended { conn } => self.on_ended(now, conn),
            Input::Writable { conn } => self.on_writable(conn),
            Input::Released { conn } => {
                if !self.connections.release(conn) {
                    self.counters.add(Count::StaleKeys, 1);
                }
            }
            Input::Ask(ask) => self.on_ask(now, ask),
            Input::Tick => self.on_tick(now),
            Input::Rules(rules) => self.on_rules(&rules),
            Input::Revoke(revocation) => {
                self.revoke(now, &revocation);
            }
            Input::Drain { budget_ms } => self.on_drain(now, budget_ms),
            Input::Stop => self.on_stop(now),
        }
        self.settle(now);
    }

    /// Takes in what another shard had to say; empties the parcel.
    pub fn handle_parcel(&mut self, now: Now, from: ShardId, parcel: &mut Parcel) {
        self.flush.note_time(now);
        for mail in parcel.drain(..) {
            self.on_mail(now, from, mail);
        }
        self.settle(now);
    }

    /// Runs errands a little further, tells homes who left and sends shards what they are owed.
    pub fn end_turn(&mut self, now: Now) {
        self.run_errands(now);
        self.tell_homes();
        self.tell_users();
        self.settle(now);
        self.send_owed();
        self.settle(now);
        self.counters.add(Count::Deflated, self.scratch.take_pressed());
        self.counters.add(Count::Inflated, self.inflater.take_messages());
    }

    /// Moves what the runtime must do to the end of `into`, in order.
    pub fn take_effects(&mut self, into: &mut Vec<Effect>) {
        into.append(&mut self.effects);
    }

    /// The letters for one shard; the runtime takes all of them or, if the inbox is full, none.
    pub fn outgoing_mut(&mut self, to: ShardId) -> &mut Parcel {
        &mut self.outgoing[to.index()]
    }

    /// Whether more input may be taken. False past the peak: what is accepted is written first.
    pub fn wants_input(&self) -> bool {
        !self.flush.is_overdue()
    }

    /// Whether what this connection sends is for this shard. To be asked after each `Input::Received`: a request that is for
    /// somebody else is handed over only at the end of the turn, and what lies behind it in the socket is the other's.
    pub fn reads(&self, conn: ConnKey) -> bool {
        self.connections.row(conn).is_some()
    }

    /// Whether the next turn has something to do even if nothing comes in.
    pub fn has_work(&self) -> bool {
        self.may_write() || self.errands_can_go_on()
    }

    /// When there is something to write even if nothing comes in and no tick, in ms of the monotonic clock.
    pub fn next_write_mono_ms(&self) -> Option<u64> {
        self.flush.rested_mono_ms()
    }

    /// As many rings as the table has chunks; more are empty and can be given back.
    pub fn rings_wanted(&self) -> u16 {
        self.connections.chunks()
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Rows in use, from accept until the socket is let go of.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Places of this shard that are taken, and how many it has.
    pub fn places(&self) -> (usize, usize) {
        (self.connections.len(), self.limits().connections_per_shard_max)
    }

    pub fn id(&self) -> ShardId {
        self.config.id
    }

    fn class(&self, id: ClassId) -> &RoomClass {
        self.config.rules.classes.class(id)
    }

    fn limits(&self) -> &Limits {
        &self.config.rules.limits
    }

    /// The only writer of a room.
    fn home_of(&self, room: &str) -> ShardId {
        self.homes.of(room)
    }

    fn post(&mut self, to: ShardId, mail: Mail) {
        let (parcel, bytes) = (&mut self.outgoing[to.index()], &mut self.outgoing_bytes[to.index()]);
        // The runtime has taken what lay here.
        let before = if parcel.is_empty() { 0 } else { *bytes };
        *bytes = before + mail.bytes();
        parcel.push(mail);
    }

    /// Whether a letter that may be refused still fits among those waiting for this shard.
    fn has_room_for(&self, to: ShardId) -> bool {
        let (parcel, bytes) = (&self.outgoing[to.index()], self.outgoing_bytes[to.index()]);
        let limits = &self.config.rules.limits;
        parcel.is_empty() || parcel.len() < limits.letters_waiting_max && bytes < limits.letters_bytes_max
    }

    /// Letters to oneself are answered in the same turn.
    fn settle(&mut self, now: Now) {
        let here = self.config.id;
        while !self.outgoing[here.index()].is_empty() {
            let mut parcel = std::mem::take(&mut self.outgoing[here.index()]);
            for mail in parcel.drain(..) {
                self.on_mail(now, here, mail);
            }
            if self.outgoing[here.index()].is_empty() {
                self.outgoing[here.index()] = parcel;
            }
        }
    }

    fn on_mail(&mut self, now: Now, from: ShardId, mail: Mail) {
        match mail {
            Mail::Join(join) => self.on_join(now, from, *join),
            Mail::Leave { room, local, seats, gone } => self.on_leave(now, from, &room, local, seats, &gone),
            Mail::Users { news } => self.on_users(from, &news),
            Mail::TooManyOfUser { conns } => self.on_too_many_of_user(now, &conns),
            Mail::UserSettled { conns } => self.on_user_settled(&conns),
            Mail::Redeem { conn, ticket } => self.on_redeem(now, from, conn, ticket),
            Mail::Redeemed { conn, verified } => self.on_redeemed(now, conn, verified.map(|verified| *verified)),
            Mail::TakeOver { conn, id, session, user } => self.on_take_over(now, from, conn, id, session, &user),
            Mail::TakenOver { conn, id, taken } => self.on_taken_over(now, conn, id, taken),
            Mail::GiveBack(taken) => self.give_back_session(taken),
            Mail::Publish(publish) => self.on_publish(now, from, *publish),
            Mail::Pull { room, conn, form, cursor, own_from, bytes_max } => {
                let own = Own { reader: ConnAddress { shard: from, conn }, from: own_from };
                self.on_pull(own, room, form, cursor, bytes_max)
            }
            Mail::AskHistory(ask) => self.on_ask_history(now, from, *ask),
            Mail::AskPresence { room, conn, id } => self.on_ask_presence(from, room, conn, id),
            Mail::Joined(joined) => self.on_joined(now, *joined),
            Mail::Deliver(deliver) => self.on_deliver(deliver),
            Mail::Published { conn, ack, position, dup } => self.on_published(conn, &ack, position, dup),
            Mail::TooOften { conn, id, retry_after_ms } => self.refuse_too_often(now, conn, id, retry_after_ms),
            Mail::NoSeat { room, conn, ticket, id, refusal } => self.on_no_seat(room, conn, ticket, id, refusal),
            Mail::HistoryTold(told) => self.on_history_told(&told),
            Mail::Refused { conn, id, refusal } => self.refuse_command(now, conn, id, refusal, None),
            Mail::Page { room, conn, cursor, page } => self.on_page(now, room, conn, cursor, &page),
            Mail::Presence { room, conn, id, roll } => self.on_presence(&room, conn, id, &roll),
            Mail::AskUnread { room, conn, id, who } => self.on_ask_unread(from, room, conn, id, &who),
            Mail::Doings { room, doings } => self.on_doings(now, &room, &doings),
            Mail::Unread { room, conn, id, epoch, head, read } => self.on_unread(conn, id, &room, epoch, head, read),
            Mail::News { room, news } => self.on_news(room, &news),
            Mail::Announce(announcement) => self.on_announce(*announcement),
            Mail::Fence { fence } => self.on_fence(from, fence),
            Mail::Fenced { fence } => self.on_fenced(now, fence),
        }
    }

    fn on_tick(&mut self, now: Now) {
        self.inflated.clear();
        self.answers_deflated = 0;
        self.flush_tick(now);
        self.retry_pulls();
        self.tell_missed();
        self.tell_doings();
        self.settle(now);
        self.announce_news(now);
        self.serve_followers(now);
        self.errands.on_tick();
        self.patrol(now);
        self.sweep_revoked(now);
        self.unseat_by_default();
        self.forget_old_tickets(now);
        self.forget_old_sessions(now);
        self.leave_on(now);
        self.rooms.sweep(now, &self.config.rules.classes);
        self.sweep_rates(now);
        // Also those that made room for others since the last tick.
        let counted = self.counters.count(Count::RoomsForgotten);
        self.counters.add(Count::RoomsForgotten, self.rooms.forgotten() - counted);
        let counted = self.counters.count(Count::RoomsPushedOut);
        self.counters.add(Count::RoomsPushedOut, self.rooms.pushed_out() - counted);
    }
}

fn new_rooms(own: &Seed, config: &ShardConfig) -> Rooms {
    let rooms = Rooms::new(own.clone());
    #[cfg(feature = "planted-bugs")]
    let rooms = {
        let mut rooms = rooms;
        rooms.planted_epochs = config.planted == Some(PlantedBug::OffsetsAfterEviction);
        rooms
    };
    let _known_only_to_the_bug = config;
    rooms
}

/// Seconds of the monotonic clock, as rows keep them.
fn seconds(now: Now) -> u32 {
    (now.mono_ms / 1_000) as u32
}
