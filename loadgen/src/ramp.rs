//! How far a crowd comes: in waves of workers, so many connecting at once in all, and no further than host and server bear.
//!
//! Promises: the last memory of a host is never taken; a ramp that stops says by what it was stopped; who sits by then stays.

use std::fmt::{self, Display, Formatter};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::plan::mib;
use crate::proc;

/// By what a ramp was limited.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LimitedBy {
    /// The memory of the generator's host, which may be the server's, too.
    Memory,
    /// Files, ports or socket buffers of the generator's host.
    Generator,
    /// The server lets nobody in any more.
    Server,
}

/// A ramp that ended before everybody sat.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Stopped {
    pub(crate) by: LimitedBy,
    /// What was read of it.
    pub(crate) sentence: String,
}

impl Display for Stopped {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// Memory must not fall below a floor; looked at a few times a second.
pub(crate) struct Floor {
    bytes: u64,
    look_ns: u64,
}

/// At 10,000 connections a second less than 10 MB pass between two looks.
const LOOK_APART_NS: u64 = 100_000_000;

impl Floor {
    /// 0: there is none.
    pub(crate) fn new(bytes: u64) -> Self {
        Self { bytes, look_ns: 0 }
    }

    /// That it is reached, if it is time to look and it is.
    pub(crate) fn reached(&mut self, now_ns: u64) -> Option<Stopped> {
        if now_ns < self.look_ns {
            return None;
        }
        self.look_ns = now_ns + LOOK_APART_NS;
        below(self.bytes)
    }
}

/// That this host has less memory left than `floor_bytes`, if that is so. Where the kernel does not say, nobody knows.
pub(crate) fn below(floor_bytes: u64) -> Option<Stopped> {
    let free = proc::free_memory_bytes().filter(|free| *free < floor_bytes)?;
    let sentence =
        format!("this host has {} of memory left, and {} are to stay (--memory-floor)", mib(free), mib(floor_bytes));
    Some(Stopped { by: LimitedBy::Memory, sentence })
}

/// Which workers come in together: so few that each may have a connection under way, and that every core or machine has one.
pub(crate) fn waves(workers: usize, connecting: usize, agents: usize) -> impl Iterator<Item = Range<usize>> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let together = cores.max(agents).max(2).min(connecting.max(1));
    (0..workers).step_by(together).map(move |first| first..(first + together).min(workers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_is_in_one_wave_and_none_is_without_a_connection() {
        for (workers, connecting, agents) in [(1, 12, 0), (126, 12, 0), (126, 1, 0), (7, 3, 40), (0, 12, 0)] {
            let waves: Vec<Range<usize>> = waves(workers, connecting, agents).collect();
            assert!(waves.iter().all(|wave| !wave.is_empty() && wave.len() <= connecting), "{waves:?}");
            assert_eq!(waves.into_iter().flatten().collect::<Vec<_>>(), (0..workers).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_floor_above_all_memory_is_reached_and_none_never_is() {
        let stopped = Floor::new(u64::MAX).reached(0).expect("no host has that much");
        assert_eq!(stopped.by, LimitedBy::Memory);
        assert!(stopped.to_string().contains("--memory-floor"), "{stopped}");
        assert_eq!(Floor::new(0).reached(0), None);
        let mut floor = Floor::new(u64::MAX);
        floor.reached(5).expect("the first look");
        assert_eq!(floor.reached(LOOK_APART_NS), None, "not looked at yet");
        assert!(floor.reached(LOOK_APART_NS + 5).is_some());
    }
}
