//! What a shard counts. Plain numbers with one writer; the runtime copies them out for the scrape.

use crate::wire::{CloseReason, Refusal};

macro_rules! counts {
    ($($variant:ident $name:literal $help:literal,)*) => {
        /// Everything that only rises.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Count { $(#[doc = $help] $variant,)* }

        impl Count {
            /// All of them, in the order of [`Count::index`].
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Metric name (without the `_total` suffix) and help text.
            pub fn describe(self) -> (&'static str, &'static str) {
                match self { $(Self::$variant => ($name, $help),)* }
            }
        }
    };
}

counts! {
    Accepted "throng_connections_accepted" "Sockets taken in",
    Upgraded "throng_connections_upgraded" "Handshakes with a good token that became WebSockets",
    RefusedLeaving "throng_connections_refused_leaving" "Handshakes answered 503 because the server was leaving",
    HandedOver "throng_connections_handed_over" "Requests given to the control plane",
    Full "throng_connections_refused_full" "Sockets answered 503 because no row was free",
    MessagesIn "throng_messages_in" "WebSocket messages received",
    BytesIn "throng_bytes_in" "Bytes received",
    BytesOut "throng_bytes_out" "Bytes the kernel took",
    Publishes "throng_publishes" "Messages that got an offset",
    Deliveries "throng_deliveries" "Room messages written to readers",
    Writes "throng_writes" "Sends asked of the kernel",
    WritesStalled "throng_writes_stalled" "Sends the kernel took only in part",
    WritesBroken "throng_writes_broken" "Sends to sockets that were dead",
    FellBehind "throng_readers_fell_behind" "Live readers that could not take a message and went over to pulling",
    CaughtUp "throng_readers_caught_up" "Readers that pulled everything and are live again",
    Pages "throng_pages_pulled" "Pieces of a log sent to readers that were behind",
    Gaps "throng_gaps" "Gaps announced to readers",
    Bounced "throng_delivers_bounced" "Delivers that did not fit a shard's inbox and were sent later from the log",
    PresenceDropped "throng_presence_dropped" "Presence news not sent to a reader with a full outbox",
    Pings "throng_pings" "Heartbeats sent to the silent",
    PingsPutOff "throng_pings_put_off" "Heartbeats that waited for a later round because the tick's share was spent",
    LeftUnread "throng_messages_left_unread" "Messages of connections whose slot had come while the server left: not carried out",
    TicksStretched "throng_ticks_stretched" "Ticks at which the last tick's writing was not done yet",
    RoomsForgotten "throng_rooms_forgotten" "Empty rooms whose log was given up",
    StaleKeys "throng_stale_keys" "Letters and completions for connections that were gone",
}

impl Count {
    pub const LEN: usize = Self::ALL.len();

    pub fn index(self) -> usize {
        self as usize
    }
}

/// All counters of one shard.
#[derive(Clone, Debug)]
pub struct Counters {
    counts: [u64; Count::LEN],
    refusals: [u64; Refusal::ALL.len()],
    closes: [u64; CloseReason::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self { counts: [0; Count::LEN], refusals: [0; Refusal::ALL.len()], closes: [0; CloseReason::ALL.len()] }
    }
}

impl Counters {
    pub const CELLS: usize = Count::LEN + Refusal::ALL.len() + CloseReason::ALL.len();

    pub fn add(&mut self, count: Count, n: u64) {
        self.counts[count.index()] += n;
    }

    pub fn refused(&mut self, refusal: Refusal) {
        self.refusals[refusal.index()] += 1;
    }

    pub fn closed(&mut self, reason: CloseReason) {
        self.closes[reason.index()] += 1;
    }

    pub fn count(&self, count: Count) -> u64 {
        self.counts[count.index()]
    }

    pub fn closes(&self, reason: CloseReason) -> u64 {
        self.closes[reason.index()]
    }

    pub fn refusals(&self, refusal: Refusal) -> u64 {
        self.refusals[refusal.index()]
    }

    /// Every cell in one fixed order: counts, refusals, closes.
    pub fn cells(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().chain(&self.refusals).chain(&self.closes).copied()
    }
}

/// What a shard holds right now.
#[derive(Clone, Copy, Default, Debug)]
pub struct Gauges {
    pub connections: u64,
    pub sessions: u64,
    pub rooms_home: u64,
    pub rooms_seated: u64,
    pub behind_readers: u64,
    pub unsent_bytes: u64,
    pub letters_waiting: u64,
}
