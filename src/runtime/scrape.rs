//! What a shard's runtime counts, readable from outside: one writer, copied once a tick, summed by who asks.
//!
//! Promises: the hot path touches plain numbers only; a reader sees values at most one tick old, each whole, though
//! not all of one instant.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use super::clock::Clock;
use super::phase::Phase;
use super::places::Places;
use super::shortage::{SharedShortage, Shortage};
use super::turn::{TURN_BUCKETS_US, TurnTimes};
use crate::base::Now;
use crate::shard::{Count, Counters, Gauges, Shard, Tables};

/// Defines the counters once: as plain numbers for the writer, as atomics for the reader, with name and help for the
/// scrape. `gauge` marks what is not a total.
macro_rules! counters {
    ($($kind:ident $name:ident $metric:literal $help:literal,)*) => {
        /// Counts of one shard, or of all of them added up. Those that are not totals say so.
        #[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
        pub struct RuntimeCounts {
            $(#[doc = $help] pub $name: u64,)*
        }

        impl RuntimeCounts {
            /// Each count as it is shown.
            pub fn shown(&self) -> impl Iterator<Item = Shown> {
                [$(Shown { name: $metric, help: $help, only_rises: stringify!($kind) == "total", value: self.$name },)*]
                    .into_iter()
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

/// One count with what is to be said of it.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// Without `_total`.
    pub name: &'static str,
    pub help: &'static str,
    pub only_rises: bool,
    pub value: u64,
}

counters! {
    gauge sockets "throng_sockets" "Sockets in use, closing ones included; with io_uring no tool of the system shows them",
    gauge rings "throng_rings" "Chunks of sockets, with io_uring a ring each",
    gauge inbox_parcels "throng_inbox_parcels" "Parcels of mail waiting in the inboxes of shards",
    total accepted "throng_io_accepted" "Connections taken in and given a place",
    total refused_full "throng_io_refused_full" "Connections answered 503 for want of a place",
    total refused_engine "throng_io_refused_engine" "Connections answered 503 because the engine could not take them in: no ring, or no memory for one",
    total refused_handshakes "throng_io_refused_handshakes" "Connections answered 503 because too many handshakes were under way",
    total refused_address "throng_io_refused_address" "Connections answered 429 because of how many come from their address",
    total refused_no_files "throng_io_refused_no_files" "Connections answered 503 for want of a descriptor",
    total accept_failed "throng_io_accept_failed" "Other failures of accept",
    total handed_over "throng_io_handed_over" "Sockets handed to the control plane",
    total hand_over_failed "throng_io_hand_over_failed" "Sockets answered 503 because no descriptor was left to hand them over",
    total reads "throng_io_reads" "Reads that brought bytes",
    total received_bytes "throng_io_received_bytes" "Bytes read from sockets",
    total writes "throng_io_writes" "Writes asked of the kernel: each is one connection's turn, of one frame or many",
    total written_bytes "throng_io_written_bytes" "Bytes asked to be written; those of stalled writes count again when they are asked for again",
    total stalled "throng_io_stalled" "Writes the socket did not take whole",
    total broken "throng_io_broken" "Writes to sockets that turned out dead",
    total parcels "throng_parcels" "Parcels of mail taken in",
    total letters "throng_letters" "Letters in them",
    total posts_refused "throng_posts_refused" "Posts that found the other inbox full and waited",
    total turns "throng_turns" "Turns of the shards",
    total slow_turns "throng_turns_slow" "Turns that took longer than the bound above which they are logged",
    total sleeps "throng_sleeps" "Turns after which there was nothing to do",
    total ticks "throng_ticks" "Ticks",
    total late_ticks "throng_ticks_late" "Ticks that came more than half a tick late",
    total late_ticks_ms "throng_ticks_late_milliseconds" "By how much ticks came late, in sum",
    total overflows "throng_ring_overflows" "Completions that outgrew their queue. Stays 0",
    total rearmed "throng_ring_rearmed" "Polls the kernel ended by itself and that were armed again",
    total stale "throng_ring_stale" "Completions for a former owner of a slot. Stays 0",
}

/// Where one shard leaves its counts for others to read.
#[derive(Debug)]
pub(super) struct ShardCounts {
    runtime: SharedCounts,
    /// In the order of [`Counters::cells`].
    cells: Box<[AtomicU64]>,
    /// In the order of [`Gauges::ALL`].
    gauges: Box<[AtomicU64]>,
    /// In the order of [`Tables::ALL`].
    tables: Box<[AtomicU64]>,
    turn_buckets: [AtomicU64; TURN_BUCKETS_US.len() + 1],
    turn_sum_us: AtomicU64,
    /// When the shard last took a tick, by the clock all shards share.
    beat_mono_ms: AtomicU64,
    /// What newcomers lack here, as of that tick.
    pub(super) shortage: SharedShortage,
    /// The number of its thread; 0 before it runs.
    thread: AtomicI32,
    /// How often it was woken from outside because it had not turned.
    pub(super) nudges: AtomicU64,
    #[cfg(feature = "planted-bugs")]
    pub(super) stalls: std::sync::atomic::AtomicBool,
}

impl Default for ShardCounts {
    fn default() -> Self {
        let cells = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            runtime: SharedCounts::default(),
            cells: cells(Counters::CELLS),
            gauges: cells(Gauges::ALL.len()),
            tables: cells(Tables::ALL.len()),
            turn_buckets: Default::default(),
            turn_sum_us: AtomicU64::new(0),
            beat_mono_ms: AtomicU64::new(0),
            shortage: SharedShortage::default(),
            thread: AtomicI32::new(0),
            nudges: AtomicU64::new(0),
            #[cfg(feature = "planted-bugs")]
            stalls: std::sync::atomic::AtomicBool::new(false),
        }
    }
}

impl ShardCounts {
    /// Only the shard itself writes: what the runtime counted, how long turns took, and what the shard says of itself.
    pub(super) fn store(&self, runtime: &RuntimeCounts, times: &TurnTimes, shard: &Shard) {
        self.runtime.store(runtime);
        store_all(&self.turn_buckets, times.buckets.into_iter());
        self.turn_sum_us.store(times.sum_us, Ordering::Relaxed);
        store_all(&self.cells, shard.counters().cells());
        store_all(&self.gauges, shard.gauges().values());
        store_all(&self.tables, shard.tables().values());
    }

    /// The shard's thread runs, and this is its number.
    pub(super) fn begin(&self, thread: i32, now: Now) {
        self.beat(now);
        self.thread.store(thread, Ordering::Release);
    }

    /// Its thread, and when it took its last tick; `None` before it runs.
    pub(super) fn thread(&self) -> Option<(i32, u64)> {
        let thread = self.thread.load(Ordering::Acquire);
        (thread != 0).then(|| (thread, self.beat_mono_ms.load(Ordering::Relaxed)))
    }

    /// What is shown of it alone.
    fn alone(&self) -> OfShard {
        let gauges = Gauges::from_values(load_all(&self.gauges));
        let cell = |count: Count| self.cells[count.index()].load(Ordering::Relaxed);
        OfShard {
            busy_us: self.turn_sum_us.load(Ordering::Relaxed),
            deliveries: cell(Count::Deliveries),
            ticks_stretched: cell(Count::TicksStretched),
            inbox_parcels: self.runtime.load().inbox_parcels,
            behind_readers: gauges.behind_readers,
        }
    }

    /// Planted bug: the shard stands still.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn stall_if_planted(&self) {
        while self.stalls.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
    }

    /// Only the shard itself says that it lives.
    pub(super) fn beat(&self, now: Now) {
        self.beat_mono_ms.store(now.mono_ms, Ordering::Relaxed);
    }
}

fn store_all(cells: &[AtomicU64], values: impl Iterator<Item = u64>) {
    for (cell, value) in cells.iter().zip(values) {
        cell.store(value, Ordering::Relaxed);
    }
}

fn load_all(cells: &[AtomicU64]) -> impl Iterator<Item = u64> {
    cells.iter().map(|cell| cell.load(Ordering::Relaxed))
}

fn add_all(sums: &mut [u64], cells: &[AtomicU64]) {
    for (sum, value) in sums.iter_mut().zip(load_all(cells)) {
        *sum += value;
    }
}

/// A way to all shards' counts, from any thread.
#[derive(Clone, Debug)]
pub struct Counts {
    shards: Arc<[Arc<ShardCounts>]>,
    tick_ms: u64,
    clock: Clock,
    phase: Arc<Phase>,
    places: Places,
}

/// How long a shard may be silent before whoever waits `least_ms` minds. It beats when it takes a tick, so that a long tick
/// makes a long silence; and four of them, so that a late one alarms nobody.
pub fn silence_ms_max(least_ms: u64, tick_ms: u64) -> u64 {
    least_ms.max(4 * tick_ms)
}

/// What is shown of one shard alone: whether the load lies on all of them alike.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct OfShard {
    /// Microseconds of all its turns.
    pub busy_us: u64,
    /// Room messages it wrote to readers.
    pub deliveries: u64,
    pub ticks_stretched: u64,
    /// Parcels that wait in its inbox.
    pub inbox_parcels: u64,
    /// Its readers that pull from a log.
    pub behind_readers: u64,
}

/// All shards added up, each as of its last tick.
#[derive(Clone, Debug)]
pub struct Totals {
    pub runtime: RuntimeCounts,
    pub turns: TurnTimes,
    /// In the order of [`Counters::cells`].
    pub cells: Vec<u64>,
    pub gauges: Gauges,
    pub tables: Tables,
    /// Milliseconds since the shard that was silent longest took its last tick.
    pub silent_ms: u64,
    /// How often shards were woken from outside.
    pub nudges: u64,
    /// Connections all shards together may hold.
    pub connections_max: u64,
    /// In the order of shards.
    pub shards: Vec<OfShard>,
}

impl Counts {
    pub(super) fn new(
        shards: Arc<[Arc<ShardCounts>]>,
        tick_ms: u64,
        clock: Clock,
        phase: Arc<Phase>,
        places: Places,
    ) -> Self {
        Self { shards, tick_ms, clock, phase, places }
    }

    /// Reads and adds. Never waits.
    pub fn totals(&self) -> Totals {
        let (mut runtime, mut turns) = (RuntimeCounts::default(), TurnTimes::default());
        let mut cells = vec![0; Counters::CELLS];
        let (mut gauges, mut tables) = ([0; Gauges::ALL.len()], [0; Tables::ALL.len()]);
        for shard in self.shards.iter() {
            runtime.add(&shard.runtime.load());
            add_all(&mut turns.buckets, &shard.turn_buckets);
            turns.sum_us += shard.turn_sum_us.load(Ordering::Relaxed);
            add_all(&mut cells, &shard.cells);
            add_all(&mut gauges, &shard.gauges);
            add_all(&mut tables, &shard.tables);
        }
        let (gauges, tables) = (Gauges::from_values(gauges.into_iter()), Tables::from_values(tables.into_iter()));
        let silent_ms = self.silent_ms().max().unwrap_or(0);
        let nudges = self.shards.iter().map(|shard| shard.nudges.load(Ordering::Relaxed)).sum();
        let (_, connections_max) = self.places.taken();
        let shards = self.shards.iter().map(|shard| shard.alone()).collect();
        Totals { runtime, turns, cells, gauges, tables, silent_ms, nudges, connections_max, shards }
    }

    /// Milliseconds since each shard took its last tick, in the order of shards.
    pub fn silent_ms(&self) -> impl Iterator<Item = u64> {
        let now = self.clock.now();
        self.shards.iter().map(move |shard| now.since(shard.beat_mono_ms.load(Ordering::Relaxed)))
    }

    /// What newcomers lack at each shard, in the order of shards.
    pub fn shortages(&self) -> impl Iterator<Item = Option<Shortage>> {
        self.shards.iter().map(|shard| shard.shortage.load())
    }

    /// How often a shard takes a tick, in milliseconds.
    pub fn tick_ms(&self) -> u64 {
        self.tick_ms
    }

    /// Places taken in the whole process, and how many there are.
    pub fn places(&self) -> (u64, u64) {
        self.places.taken()
    }

    /// Whether newcomers find none of them: see [`Places::are_full`].
    pub fn is_full(&self) -> bool {
        self.places.are_full()
    }

    /// Whether the data plane was told to leave.
    pub fn is_leaving(&self) -> bool {
        self.phase.leaving().is_some() || self.phase.is_stopping()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Limits;
    use crate::shard::{Flush, Rules, ShardConfig};
    use crate::wire::{Grants, TokenVerifier};

    #[test]
    fn what_the_shards_stored_is_read_and_added() {
        let shards: Arc<[Arc<ShardCounts>]> = (0..2).map(|_| Arc::default()).collect();
        let limits = Limits::default();
        let verifier = Arc::new(TokenVerifier::hs256(b"a secret that nobody has to keep here", &limits));
        let config = ShardConfig {
            id: crate::base::ShardId(0),
            shards: 1,
            rules: Arc::new(Rules::new(limits, verifier, Grants::nothing())),
            seed: [1, 2],
            flush: Flush::Eager,
            node: Arc::from("test"),
            #[cfg(feature = "planted-bugs")]
            planted: None,
        };
        let mut shard = Shard::new(config);
        assert!(shard.open(Now::default(), std::net::Ipv4Addr::LOCALHOST.into()).is_ok());
        let times = TurnTimes { sum_us: 4, ..TurnTimes::default() };
        for counts in shards.iter() {
            let runtime = RuntimeCounts { sockets: 3, inbox_parcels: 2, late_ticks_ms: 5, ..RuntimeCounts::default() };
            counts.store(&runtime, &times, &shard);
        }
        let totals = Counts::new(shards, 100, Clock::start(), Arc::new(Phase::new(2)), Places::new(14)).totals();
        let both = RuntimeCounts { sockets: 6, inbox_parcels: 4, late_ticks_ms: 10, ..RuntimeCounts::default() };
        assert_eq!(totals.runtime, both);
        assert_eq!(totals.shards, [OfShard { busy_us: 4, inbox_parcels: 2, ..OfShard::default() }; 2], "each alone");
        assert_eq!((totals.cells[Count::Accepted.index()], totals.cells.iter().sum::<u64>()), (2, 2));
        assert_eq!((totals.gauges.connections, totals.connections_max, totals.turns.sum_us), (2, 14, 8));
        assert!(totals.tables.rows > 0);
        let late = totals.runtime.shown().find(|shown| shown.name == "throng_ticks_late_milliseconds").unwrap();
        assert!(late.only_rises && late.value == 10);
    }

    #[test]
    fn the_longest_silence_is_told_and_a_beat_ends_it() {
        let shards: Arc<[Arc<ShardCounts>]> = (0..2).map(|_| Arc::default()).collect();
        let clock = Clock::start();
        let counts = Counts::new(Arc::clone(&shards), 100, clock, Arc::new(Phase::new(2)), Places::new(1));
        // One beats from the future, so that no slow machine makes it old.
        shards[0].beat(Now { mono_ms: 1 << 40, unix_ms: 0 });
        while counts.totals().silent_ms < 2 {
            std::thread::yield_now();
        }
        assert_eq!(counts.silent_ms().next(), Some(0));
        shards[1].beat(Now { mono_ms: 1 << 40, unix_ms: 0 });
        assert_eq!(counts.totals().silent_ms, 0);
    }
}
