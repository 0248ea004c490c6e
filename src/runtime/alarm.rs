//! When a sleeping pump must be awake again, although nothing came: its tick, or a room that has rested enough.
//!
//! The pump sets it, a timer of the executor reads it. A timer that is asleep does not see that the alarm was moved
//! forward; so while rooms rest, it looks again every few milliseconds.

use std::cell::Cell;
use std::time::Duration;

/// How late a room that rests may be woken by a timer.
const LOOK_AGAIN_MS: u64 = 5;

/// One pump's. Times are milliseconds of the monotonic clock.
#[derive(Debug)]
pub(super) struct Alarm {
    due_ms: Cell<u64>,
    /// Until then rooms may begin to rest at any time.
    restless_until_ms: Cell<u64>,
}

impl Alarm {
    pub(super) fn new(due_ms: u64) -> Self {
        Self { due_ms: Cell::new(due_ms), restless_until_ms: Cell::new(0) }
    }

    /// The next tick, and when the first of the rooms that rest is to be written.
    pub(super) fn set(&self, tick_due_ms: u64, tick_ms: u64, rested_ms: Option<u64>) {
        self.due_ms.set(rested_ms.map_or(tick_due_ms, |rested_ms| rested_ms.min(tick_due_ms)));
        if rested_ms.is_some() {
            self.restless_until_ms.set(tick_due_ms + tick_ms);
        }
    }

    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        now_ms >= self.due_ms.get()
    }

    /// How long it may be slept.
    pub(super) fn left_ms(&self, now_ms: u64) -> u64 {
        self.due_ms.get().saturating_sub(now_ms)
    }

    /// How long the timer sleeps before it looks at the alarm again.
    pub(super) fn timer(&self, now_ms: u64) -> Duration {
        let most_ms = if now_ms < self.restless_until_ms.get() { LOOK_AGAIN_MS } else { u64::MAX };
        Duration::from_millis(self.left_ms(now_ms).clamp(1, most_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_at_the_tick_or_when_a_room_has_rested_and_then_looked_at_more_often() {
        let alarm = Alarm::new(100);
        assert!(!alarm.is_due(99) && alarm.is_due(100));
        assert_eq!(alarm.timer(40), Duration::from_millis(60));
        alarm.set(200, 100, Some(150));
        assert!(!alarm.is_due(149) && alarm.is_due(150));
        assert_eq!((alarm.left_ms(110), alarm.timer(110)), (40, Duration::from_millis(LOOK_AGAIN_MS)));
        alarm.set(200, 100, None);
        assert_eq!((alarm.left_ms(150), alarm.timer(150)), (50, Duration::from_millis(LOOK_AGAIN_MS)));
        alarm.set(400, 100, None);
        assert_eq!(alarm.timer(300), Duration::from_millis(100));
        assert_eq!(alarm.timer(500), Duration::from_millis(1), "late, but never without a pause");
    }
}
