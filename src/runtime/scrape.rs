//! What a shard's runtime counts, readable from outside: one writer, copied once a tick, summed by who asks.
//!
//! Promises: the hot path touches plain numbers only; a reader sees values at most one tick old, each whole, though
//! not all of one instant.

use std::sync::atomic::{AtomicU64, Ordering};

/// Defines the counters once: as plain numbers for the writer, as atomics for the reader.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts of one shard, or of all of them added up. Those that are not totals say so.
        #[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
        pub struct RuntimeCounts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl RuntimeCounts {
            /// Adds another shard's.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }

        /// Where one shard leaves its counts.
        #[derive(Default, Debug)]
        pub struct SharedCounts {
            $($name: AtomicU64,)*
        }

        impl SharedCounts {
            /// Only the shard itself writes.
            pub fn store(&self, counts: &RuntimeCounts) {
                $(self.$name.store(counts.$name, Ordering::Relaxed);)*
            }

            /// Anybody reads.
            pub fn load(&self) -> RuntimeCounts {
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
    /// Connections answered 503 for want of a descriptor.
    refused_no_files,
    /// Other failures of accept.
    accept_failed,
    /// Sockets handed to the control plane.
    handed_over,
    /// Sockets that should have been handed over and were closed: no descriptor left.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_is_read_and_added() {
        let shared = SharedCounts::default();
        shared.store(&RuntimeCounts { sockets: 3, late_ticks_ms: 5, ..RuntimeCounts::default() });
        let mut sum = RuntimeCounts { sockets: 1, ..RuntimeCounts::default() };
        sum.add(&shared.load());
        assert_eq!(sum, RuntimeCounts { sockets: 4, late_ticks_ms: 5, ..RuntimeCounts::default() });
    }
}
