//! How often somebody may do something: by user and room at the room's home, by user at the shard of the connection, and
//! what becomes of those who do not listen.
//!
//! What a user publishes into a room is counted at the room's home, over all its connections and shards. Joins and bytes
//! are counted at each shard for itself, by its share of the limit (see [`Limits::share`]). Promises: who is refused is told
//! for how long; only who goes on again and again is closed; every table is bounded, and a full one lets people through.

use std::hash::BuildHasher;

use super::{ClassCount, Count, Shard};
use crate::base::{ClassId, ConnKey, Epoch, Limits, Meter, Now, Rate, Seed, Verdict};
use crate::wire::{CloseReason, Event, Refusal};

/// Virtual times of what is limited.
#[derive(Debug)]
pub(crate) struct Rates {
    publishes: Meter,
    joins: Meter,
    bytes: Meter,
    strikes: Meter,
}

impl Rates {
    pub(crate) fn new(seed: &Seed) -> Self {
        let meter = || Meter::new(seed);
        Self { publishes: meter(), joins: meter(), bytes: meter(), strikes: meter() }
    }

    /// Keys in all tables.
    pub(crate) fn len(&self) -> usize {
        self.publishes.len() + self.joins.len() + self.bytes.len() + self.strikes.len()
    }
}

impl Shard {
    /// At the home: whether this user may publish into this room now; else how long to wait.
    pub(super) fn may_publish(&mut self, now: Now, class: ClassId, room: Epoch, user: &str) -> Result<(), u32> {
        let rate = self.config.rules.classes.class(class).publish_rate;
        if rate.per_minute == 0 {
            return Ok(());
        }
        let (key, keys_max) = (self.seed.state().hash_one((room.0, user)), self.limits().rate_keys_max);
        let verdict = self.rates.publishes.admit(now, key, rate, 1, keys_max);
        let outcome = self.judge(verdict);
        self.counters.add_of(class, ClassCount::TooOften, u64::from(outcome.is_err()));
        outcome
    }

    /// At the connection's shard: whether its user may join one more room now.
    pub(super) fn may_join(&mut self, now: Now, user: &str) -> Result<(), u32> {
        let rate = self.share_of(self.limits().joins_per_user_per_minute);
        if rate.per_minute == 0 {
            return Ok(());
        }
        let (key, keys_max) = (self.seed.state().hash_one(user), self.limits().rate_keys_max);
        let verdict = self.rates.joins.admit(now, key, rate, 1, keys_max);
        self.judge(verdict)
    }

    /// Likewise, whether it may publish so many bytes.
    pub(super) fn may_send(&mut self, now: Now, user: &str, bytes: usize) -> Result<(), u32> {
        let rate = self.share_of(self.limits().bytes_per_user_per_minute);
        if rate.per_minute == 0 {
            return Ok(());
        }
        let (key, keys_max) = (self.seed.state().hash_one(user), self.limits().rate_keys_max);
        let verdict = self.rates.bytes.admit(now, key, rate, bytes as u64, keys_max);
        self.judge(verdict)
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

    /// It was told once more.
    pub(super) fn strike(&mut self, now: Now, conn: ConnKey) {
        let strikes = self.limits().strikes_per_minute;
        // Of 0 a minute nothing is limited.
        let rate = Rate { per_minute: strikes, burst: strikes };
        let key = u64::from(conn.index()) << 16 | u64::from(conn.generation());
        let keys_max = self.limits().rate_keys_max;
        match self.rates.strikes.admit(now, key, rate, 1, keys_max) {
            Verdict::Passes => {}
            Verdict::Uncounted => self.counters.add(Count::RatesUncounted, 1),
            Verdict::Wait(_) => self.fail(now, conn, CloseReason::Flooding),
        }
    }

    /// Gives back what the quiet took.
    pub(super) fn sweep_rates(&mut self, now: Now) {
        let Rates { publishes, joins, bytes, strikes } = &mut self.rates;
        [publishes, joins, bytes, strikes].into_iter().for_each(|meter| meter.sweep(now, SWEEP_MS));
    }

    fn share_of(&self, per_minute: u32) -> Rate {
        let share = Limits::share(per_minute, self.config.shards);
        Rate { per_minute: share, burst: share }
    }

    fn judge(&mut self, verdict: Verdict) -> Result<(), u32> {
        match verdict {
            Verdict::Passes => Ok(()),
            Verdict::Uncounted => {
                self.counters.add(Count::RatesUncounted, 1);
                Ok(())
            }
            Verdict::Wait(ms) => Err(ms),
        }
    }
}

/// Between two looks through a table.
const SWEEP_MS: u64 = 10_000;
