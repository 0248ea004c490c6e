//! The only reader of clocks: each turn of a shard asks once and hands the answer on as [`Now`].

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::base::Now;

/// A clock with one zero for the whole process. Copies agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
}

impl Clock {
    /// The zero of `Now::mono_ms` is here.
    pub fn start() -> Self {
        Self { began: instant() }
    }

    /// Microseconds since this clock's zero, for measuring how long something takes.
    pub fn mono_us(self) -> u64 {
        instant().duration_since(self.began).as_micros() as u64
    }

    /// The present moment.
    pub fn now(self) -> Now {
        let mono_ms = instant().duration_since(self.began).as_millis() as u64;
        Now { mono_ms, unix_ms: since_1970().as_millis() as u64 }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the module that reads clocks")]
fn instant() -> Instant {
    Instant::now()
}

/// Zero on a machine whose clock stands before 1970, as far behind as it gets: a token that says when it was made (`iat`)
/// or begins (`nbf`) is then asked to come again; one that says neither seems to live too long, which is final.
#[expect(clippy::disallowed_methods, reason = "this is the module that reads clocks")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
