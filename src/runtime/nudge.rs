//! Wakes a shard that sleeps over its tick.
//!
//! A shard sleeps in the kernel until something comes or its timer fires. Once, on a host that had taken both cores away
//! for seconds, a shard slept on for good with bytes waiting (docs/decisions/0012): its thread had missed a wake-up. A
//! signal gets such a thread out of the system call it sleeps in, whatever it missed; every system call here takes that as
//! a wake-up. Nothing else depends on it, so a nudge too many costs nothing.
//!
//! Must never: decide that a shard is dead. That is the supervisor's, by the watchdog.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender};

use super::clock::Clock;
use super::scrape::{ShardCounts, silence_ms_max};
use super::sys;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);
/// A shard that is silent for as long, and for four ticks, is nudged at each look.
const SILENT_MS: u64 = 2_000;

/// The watch over the shards of one data plane; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Nudger {
    _stop: Sender<()>,
}

impl Nudger {
    /// # Errors
    /// The signal cannot be caught, or there is no thread to be had.
    pub(super) fn start(shards: Arc<[Arc<ShardCounts>]>, clock: Clock, tick_ms: u64) -> io::Result<Self> {
        sys::catch_nudges()?;
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let silent_ms = silence_ms_max(SILENT_MS, tick_ms);
        std::thread::Builder::new().name("nudge".to_owned()).spawn(move || {
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                for (shard, counts) in shards.iter().enumerate() {
                    look(shard, counts, clock, silent_ms);
                }
            }
        })?;
        Ok(Self { _stop: stop })
    }
}

fn look(shard: usize, counts: &ShardCounts, clock: Clock, silent_ms: u64) {
    let Some((thread, beat_mono_ms)) = counts.thread() else { return };
    let silent_for_ms = clock.now().since(beat_mono_ms);
    if silent_for_ms < silent_ms {
        return;
    }
    // Between the end of its thread and the end of this one there is nobody to nudge.
    if sys::nudge(thread).is_ok() && counts.nudges.fetch_add(1, Ordering::Relaxed).is_multiple_of(NUDGES_PER_LINE) {
        tracing::warn!(shard, silent_for_ms, "a shard has not turned and was nudged");
    }
}

/// One line in the log for as many nudges.
const NUDGES_PER_LINE: u64 = 10;
