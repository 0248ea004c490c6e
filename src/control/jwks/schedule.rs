//! When to fetch: at first, then now and then, sooner when a token names a key that is not known, later when it fails.
//!
//! Promises: a value without a clock; between two tries lies at least the shortest interval, whoever sends what; after a
//! failure the breaker is open for a time that doubles with each, and nothing but time closes it.

use super::JwksRules;

/// When the next try is due.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Schedule {
    refresh_ms: u64,
    between_ms: u64,
    backoff_max_ms: u64,
    due_ms: u64,
    tried_ms: Option<u64>,
    failures: u32,
}

impl Schedule {
    /// The first try is due at once.
    pub(super) fn new(rules: &JwksRules, now_ms: u64) -> Self {
        Self {
            refresh_ms: rules.refresh_s * 1_000,
            between_ms: rules.between_s * 1_000,
            backoff_max_ms: rules.backoff_max_s * 1_000,
            due_ms: now_ms,
            tried_ms: None,
            failures: 0,
        }
    }

    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        now_ms >= self.due_ms
    }

    /// How long until the next try, if nothing happens before.
    pub(super) fn wait_ms(&self, now_ms: u64) -> u64 {
        self.due_ms.saturating_sub(now_ms)
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn on_success(&mut self, now_ms: u64) {
        self.tried_ms = Some(now_ms);
        self.failures = 0;
        self.due_ms = now_ms.saturating_add(self.refresh_ms);
    }

    /// `chance` is any number: it spreads the tries of many servers over the second half of the wait.
    pub(super) fn on_failure(&mut self, now_ms: u64, chance: u64) {
        self.tried_ms = Some(now_ms);
        let doubled = FIRST_BACKOFF_MS.saturating_mul(1 << self.failures.min(20));
        let backoff_ms = doubled.min(self.backoff_max_ms);
        self.failures = self.failures.saturating_add(1);
        self.due_ms = now_ms.saturating_add(backoff_ms / 2 + chance % (backoff_ms / 2 + 1));
    }

    /// Somebody brought a token of a key that is not known.
    pub(super) fn on_unknown_key(&mut self, now_ms: u64) {
        if self.failures == 0 {
            let soonest_ms = self.tried_ms.map_or(now_ms, |tried_ms| tried_ms.saturating_add(self.between_ms));
            self.due_ms = self.due_ms.min(soonest_ms.max(now_ms));
        }
    }
}

const FIRST_BACKOFF_MS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> Schedule {
        Schedule::new(&JwksRules { refresh_s: 600, between_s: 30, backoff_max_s: 60, ..JwksRules::default() }, 5)
    }

    #[test]
    fn what_works_is_fetched_at_once_and_then_at_leisure() {
        let mut schedule = schedule();
        assert!(schedule.is_due(5));
        schedule.on_success(10);
        assert!(!schedule.is_due(600_009) && schedule.is_due(600_010));
        assert_eq!(schedule.wait_ms(10), 600_000);
    }

    #[test]
    fn unknown_keys_hurry_it_but_never_below_the_shortest_interval() {
        let mut schedule = schedule();
        schedule.on_success(10);
        for at in 11..1_000 {
            schedule.on_unknown_key(at);
            assert!(!schedule.is_due(at));
        }
        assert_eq!(schedule.wait_ms(10), 30_000);
        schedule.on_success(30_010);
        schedule.on_unknown_key(500_000);
        assert!(schedule.is_due(500_000), "long after the last try at once");
        schedule.on_success(500_000);
        schedule.on_unknown_key(1_099_999);
        assert!(schedule.is_due(1_100_000), "never later than without");
    }

    #[test]
    fn each_failure_doubles_the_wait_and_unknown_keys_do_not_shorten_it() {
        let mut schedule = schedule();
        let (mut now, mut waits) = (0, Vec::new());
        for chance in [0, u64::MAX, 7, 8, 9, 10, 11, 12, 13] {
            schedule.on_failure(now, chance);
            schedule.on_unknown_key(now);
            let wait = schedule.wait_ms(now);
            waits.push(wait);
            assert!(!schedule.is_due(now + wait - 1) && schedule.is_due(now + wait));
            now += wait;
        }
        for (number, wait) in waits.iter().enumerate() {
            let most = (1_000 << number).min(60_000);
            assert!((most / 2..=most).contains(wait), "{number}: {wait}");
        }
        assert_eq!(schedule.failures(), 9);
        schedule.on_success(now);
        schedule.on_failure(now, 0);
        assert_eq!(schedule.wait_ms(now), 500, "a success closes the breaker");
    }
}
