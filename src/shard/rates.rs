//! How often somebody may do something: by user and room at the room's home, by user at the shard of the connection, and
//! what becomes of those who do not listen.
//!
//! What a user publishes into a room is counted at the room's home, over all its connections and shards. Joins, messages in
//! all rooms together, their bytes, and commands of whatever kind are counted at each shard for the connections that it has: so a user has what the
//! limit says wherever it connects, and never more than the limit times its connections, or times the shards if those are
//! fewer. Promises: who is refused is told
//! for how long; only who goes on again and again is closed; every table is bounded, and whoever finds one full is counted by
//! its user in cells that others share: many rooms are no way round a rate.

use std::hash::BuildHasher;

use super::row::Stage;
use super::{ClassCount, Count, Shard};
use crate::base::{ConnKey, Meter, Now, Rate, Seed, Verdict};
use crate::wire::{CloseReason, Event, Refusal};

/// Virtual times of what is limited.
#[derive(Debug)]
pub(crate) struct Rates {
    publishes: Meter,
    joins: Meter,
    messages: Meter,
    bytes: Meter,
    commands: Meter,
    strikes: Meter,
}

impl Rates {
    pub(crate) fn new(seed: &Seed) -> Self {
        let meter = || Meter::new(seed);
        let (publishes, joins, messages, bytes) = (meter(), meter(), meter(), meter());
        Self { publishes, joins, messages, bytes, commands: meter(), strikes: meter() }
    }

    /// Keys in all tables.
    pub(crate) fn len(&self) -> usize {
        self.meters().map(Meter::len).sum()
    }

    /// What they take.
    pub(crate) fn bytes(&self) -> usize {
        self.meters().map(Meter::bytes).sum()
    }

    fn meters(&self) -> impl Iterator<Item = &Meter> {
        let Self { publishes, joins, messages, bytes, commands, strikes } = self;
        [publishes, joins, messages, bytes, commands, strikes].into_iter()
    }
}

impl Shard {
    /// At the home: whether this user may publish into this room now; else how long to wait.
    /// A room that nobody sits in may have another life with each message: it is known by its name.
    pub(super) fn may_publish(&mut self, now: Now, at: u32, user: &str) -> Result<(), u32> {
        let Some(room) = self.rooms.room_mut(at) else { return Ok(()) };
        let (class, name) = (room.class(), room.name().as_str());
        let rate = self.config.rules.classes.class(class).publish_rate;
        if rate.per_minute == 0 {
            return Ok(());
        }
        let state = self.seed.state();
        let (key, by_user, keys_max) =
            (state.hash_one((name, user)), state.hash_one(user), self.limits().rate_keys_max);
        let verdict = match self.rates.publishes.admit(now, key, rate, 1, keys_max) {
            Verdict::Uncounted => {
                self.counters.add(Count::RatesUncounted, 1);
                self.rates.publishes.admit_in_crowd(now, by_user, rate, 1)
            }
            counted @ (Verdict::Passes | Verdict::Wait(_)) => counted,
        };
        let outcome = judge(verdict);
        self.counters.add_of(class, ClassCount::TooOften, u64::from(outcome.is_err()));
        outcome
    }

    /// At the connection's shard: whether its user may join one more room now.
    pub(super) fn may_join(&mut self, now: Now, user: &str) -> Result<(), u32> {
        let per_minute = self.limits().joins_per_user_per_minute;
        let outcome = self.spend(now, |rates| &mut rates.joins, per_minute, user, 1);
        self.counters.add(Count::JoinsTooOften, u64::from(outcome.is_err()));
        outcome
    }

    /// Likewise, whether it may publish one more message, of so many bytes, into whatever room.
    pub(super) fn may_send(&mut self, now: Now, user: &str, bytes: usize) -> Result<(), u32> {
        let limits = self.limits();
        let (messages, most_bytes) = (limits.publishes_per_user_per_minute, limits.bytes_per_user_per_minute);
        if (messages, most_bytes) == (0, 0) {
            return Ok(());
        }
        let outcome = self.spend(now, |rates| &mut rates.messages, messages, user, 1);
        self.counters.add(Count::MessagesTooOften, u64::from(outcome.is_err()));
        outcome?;
        let outcome = self.spend(now, |rates| &mut rates.bytes, most_bytes, user, bytes as u64);
        self.counters.add(Count::BytesTooOften, u64::from(outcome.is_err()));
        outcome
    }

    /// Likewise, whether it may send one more command, whatever it is.
    pub(super) fn may_command(&mut self, now: Now, conn: ConnKey) -> Result<(), u32> {
        let per_minute = self.limits().commands_per_user_per_minute;
        if per_minute == 0 {
            return Ok(());
        }
        let Some(identity) = self.connections.row(conn).and_then(|row| row.identity.clone()) else { return Ok(()) };
        let outcome = self.spend(now, |rates| &mut rates.commands, per_minute, identity.user(), 1);
        self.counters.add(Count::CommandsTooOften, u64::from(outcome.is_err()));
        outcome
    }

    /// Whether a user may have this much more of something of which it may have so much in a minute, and at once.
    fn spend(
        &mut self,
        now: Now,
        of: impl FnOnce(&mut Rates) -> &mut Meter,
        per_minute: u32,
        user: &str,
        cost: u64,
    ) -> Result<(), u32> {
        if per_minute == 0 {
            return Ok(());
        }
        let (key, keys_max) = (self.seed.state().hash_one(user), self.limits().rate_keys_max);
        let rate = Rate { per_minute, burst: per_minute };
        let meter = of(&mut self.rates);
        let verdict = match meter.admit(now, key, rate, cost, keys_max) {
            Verdict::Uncounted => {
                self.counters.add(Count::RatesUncounted, 1);
                meter.admit_in_crowd(now, key, rate, cost)
            }
            counted @ (Verdict::Passes | Verdict::Wait(_)) => counted,
        };
        judge(verdict)
    }

    /// "No" to a command, and a strike where it is one.
    pub(super) fn refuse_command(
        &mut self,
        now: Now,
        conn: ConnKey,
        id: Option<u64>,
        refusal: Refusal,
        detail: Option<&str>,
    ) {
        self.refuse(conn, id, refusal, detail);
        if refusal.is_strike() {
            self.strike(now, conn);
        }
    }

    /// "Too often", and for how long. Whoever has heard it more often than anybody can who listens is sent away.
    pub(super) fn refuse_too_often(&mut self, now: Now, conn: ConnKey, id: Option<u64>, retry_after_ms: u32) {
        self.tell_too_often(conn, id, retry_after_ms);
        self.strike(now, conn);
    }

    pub(super) fn tell_too_often(&mut self, conn: ConnKey, id: Option<u64>, retry_after_ms: u32) {
        self.counters.refused(Refusal::TooOften);
        self.answer(conn, &Event::TooOften { id, retry_after_ms });
    }

    /// It was refused once more.
    pub(super) fn strike(&mut self, now: Now, conn: ConnKey) {
        if self.stage_of(conn) != Some(Stage::Open) {
            // Who says goodbye already is not cut off in the middle of it.
            return;
        }
        let strikes = self.limits().strikes_per_minute;
        // Of 0 a minute nothing is limited.
        let rate = Rate { per_minute: strikes, burst: strikes };
        let key = u64::from(conn.index()) << 16 | u64::from(conn.generation());
        let keys_max = self.limits().rate_keys_max;
        match self.rates.strikes.admit(now, key, rate, 1, keys_max) {
            Verdict::Passes => {}
            // Nobody is closed for what others did.
            Verdict::Uncounted => self.counters.add(Count::RatesUncounted, 1),
            Verdict::Wait(_) => {
                self.counters.add(Count::StruckOut, 1);
                self.fail(now, conn, CloseReason::Flooding);
            }
        }
    }

    /// Gives back what the quiet took.
    pub(super) fn sweep_rates(&mut self, now: Now) {
        let Rates { publishes, joins, messages, bytes, commands, strikes } = &mut self.rates;
        let all = [publishes, joins, messages, bytes, commands, strikes];
        all.into_iter().for_each(|meter| meter.sweep(now, SWEEP_MS));
    }
}

fn judge(verdict: Verdict) -> Result<(), u32> {
    match verdict {
        Verdict::Passes | Verdict::Uncounted => Ok(()),
        Verdict::Wait(ms) => Err(ms),
    }
}

/// Between two looks through a table.
const SWEEP_MS: u64 = 10_000;
