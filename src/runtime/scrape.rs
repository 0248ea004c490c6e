//! What a shard's runtime counts, readable from outside: one writer, copied once a tick, summed by who asks.
//!
//! Promises: the hot path touches plain numbers only; a reader sees values at most one tick old, each whole, though
//! not all of one instant.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::shard::{Counters, Gauges};

/// Defines the counters once: as plain numbers for the writer, as atomics for the reader.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts of one shard, or of all of them added up. Those that are not totals say so.
        #[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
        pub struct RuntimeCounts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl RuntimeCounts {
            /// Each count by its name, for the scrape.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }

            fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }

        /// The same, shared.
        #[derive(Default, Debug)]
        struct SharedCounts {
            $($name: AtomicU64,)*
        }

        impl SharedCounts {
            /// Only the shard itself writes.
            fn store(&self, counts: &RuntimeCounts) {
                $(self.$name.store(counts.$name, Ordering::Relaxed);)*
            }

            /// Anybody reads.
            fn load(&self) -> RuntimeCounts {
                RuntimeCounts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Sockets in rings now, closing ones included: no tool of the system shows them.
    sockets,
    /// Rings now.
    rings,
    /// Connections taken in.
    accepted,
    /// Connections answered 503 for want of a place.
    refused_full,
    /// Connections answered 429 because of how many come from their address.
    refused_address,
    /// Connections answered 503 for want of a descriptor.
    refused_no_files,
    /// Other failures of accept.
    accept_failed,
    /// Sockets handed to the control plane.
    handed_over,
    /// Sockets that should have been handed over and were answered 503: no descriptor left.
    hand_over_failed,
    /// Reads that brought bytes.
    reads,
    received_bytes,
    /// Writes asked of the kernel; each is one connection's turn, of one frame or many.
    writes,
    /// Bytes asked to be written; those of stalled writes count again when they are asked for again.
    written_bytes,
    /// Writes the socket did not take whole.
    stalled,
    /// Writes to sockets that turned out dead.
    broken,
    /// Parcels of mail taken in.
    parcels,
    /// Posts that found the other inbox full and wait here.
    posts_refused,
    turns,
    /// Turns after which there was nothing to do.
    sleeps,
    ticks,
    /// Ticks that came more than half a tick late.
    late_ticks,
    /// By how much ticks came late, in sum.
    late_ticks_ms,
    /// Completions that outgrew their queue. Stays 0.
    overflows,
    /// Polls the kernel ended by itself.
    rearmed,
    /// Completions for a former owner of a slot. Stays 0.
    stale,
}

/// Where one shard leaves its counts for others to read.
#[derive(Debug)]
pub(super) struct ShardCounts {
    runtime: SharedCounts,
    /// In the order of [`Counters::cells`].
    cells: Box<[AtomicU64]>,
    gauges: [AtomicU64; 7],
}

impl Default for ShardCounts {
    fn default() -> Self {
        let cells = (0..Counters::CELLS).map(|_| AtomicU64::new(0)).collect();
        Self { runtime: SharedCounts::default(), cells, gauges: Default::default() }
    }
}

impl ShardCounts {
    /// Only the shard itself writes.
    pub(super) fn store(&self, runtime: &RuntimeCounts, counters: &Counters, gauges: &Gauges) {
        self.runtime.store(runtime);
        for (cell, count) in self.cells.iter().zip(counters.cells()) {
            cell.store(count, Ordering::Relaxed);
        }
        for (cell, gauge) in self.gauges.iter().zip(gauges_to_array(gauges)) {
            cell.store(gauge, Ordering::Relaxed);
        }
    }
}

/// A way to all shards' counts, from any thread.
#[derive(Clone, Debug)]
pub struct Counts(Arc<[Arc<ShardCounts>]>);

/// All shards added up, each as of its last tick.
#[derive(Clone, Debug)]
pub struct Totals {
    pub runtime: RuntimeCounts,
    /// In the order of [`Counters::cells`].
    pub cells: Vec<u64>,
    pub gauges: Gauges,
}

impl Counts {
    pub(super) fn new(shards: Arc<[Arc<ShardCounts>]>) -> Self {
        Self(shards)
    }

    /// Reads and adds. Never waits.
    pub fn totals(&self) -> Totals {
        let (mut runtime, mut cells, mut gauges) = (RuntimeCounts::default(), vec![0; Counters::CELLS], [0; 7]);
        for shard in self.0.iter() {
            runtime.add(&shard.runtime.load());
            for (sum, cell) in cells.iter_mut().zip(&shard.cells) {
                *sum += cell.load(Ordering::Relaxed);
            }
            for (sum, cell) in gauges.iter_mut().zip(&shard.gauges) {
                *sum += cell.load(Ordering::Relaxed);
            }
        }
        Totals { runtime, cells, gauges: gauges_from_array(gauges) }
    }
}

fn gauges_to_array(gauges: &Gauges) -> [u64; 7] {
    let Gauges { connections, sessions, rooms_home, rooms_seated, behind_readers, unsent_bytes, letters_waiting } =
        *gauges;
    [connections, sessions, rooms_home, rooms_seated, behind_readers, unsent_bytes, letters_waiting]
}

fn gauges_from_array(values: [u64; 7]) -> Gauges {
    let [connections, sessions, rooms_home, rooms_seated, behind_readers, unsent_bytes, letters_waiting] = values;
    Gauges { connections, sessions, rooms_home, rooms_seated, behind_readers, unsent_bytes, letters_waiting }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::Count;

    #[test]
    fn what_the_shards_stored_is_read_and_added() {
        let shards: Arc<[Arc<ShardCounts>]> = (0..2).map(|_| Arc::default()).collect();
        let mut counters = Counters::default();
        counters.add(Count::Publishes, 5);
        for shard in shards.iter() {
            let runtime = RuntimeCounts { sockets: 3, late_ticks_ms: 5, ..RuntimeCounts::default() };
            shard.store(&runtime, &counters, &Gauges { rooms_home: 7, letters_waiting: 1, ..Gauges::default() });
        }
        let totals = Counts::new(shards).totals();
        assert_eq!(totals.runtime, RuntimeCounts { sockets: 6, late_ticks_ms: 10, ..RuntimeCounts::default() });
        assert_eq!((totals.cells[Count::Publishes.index()], totals.cells.iter().sum::<u64>()), (10, 10));
        assert_eq!((totals.gauges.rooms_home, totals.gauges.letters_waiting), (14, 2));
        assert!(totals.runtime.named().any(|named| named == ("late_ticks_ms", 10)));
    }
}
