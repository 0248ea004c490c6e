//! What a shard counts. Plain numbers with one writer; the runtime copies them out for the scrape.

use crate::base::{ClassId, Classes, Identity, Offset};
use crate::room::Keys;
use crate::wire::{CloseReason, Command, Event, Refusal};

use super::latency::Latency;
use super::{BYTES_PER_HOME_ROOM, BYTES_PER_LOCAL_ROOM, BYTES_PER_SEAT, Shard};

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
    Echoes "throng_connections_echo" "Handshakes at /echo that became WebSockets",
    HandedOver "throng_connections_handed_over" "Requests given to the control plane",
    MessagesIn "throng_messages_in" "WebSocket messages received",
    Echoed "throng_messages_echoed" "Messages sent back at /echo",
    BytesIn "throng_bytes_in" "Bytes received",
    BytesOut "throng_bytes_out" "Bytes the kernel took",
    DeflateAgreed "throng_deflate_agreed" "Handshakes that agreed on deflated messages (permessage-deflate)",
    Deflated "throng_messages_deflated" "Messages deflated, each once for all who are sent it",
    DeflateSaved "throng_deflate_bytes_saved" "Bytes that were not sent because messages were deflated",
    DeflatePassedOver "throng_deflate_passed_over" "Answers sent as they are because enough was deflated since the tick",
    Inflated "throng_messages_inflated" "Deflated messages of clients that were inflated",
    BombsRefused "throng_deflate_bombs" "Connections closed because a deflated message would have become longer than the limit",
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
    PresenceDropped "throng_presence_dropped" "News of people not sent to a reader with a full outbox, who is told so later",
    PresenceCounted "throng_presence_counted" "Ticks at which more came and went in a room than are named: only the number was told",
    TypingDropped "throng_typing_dropped" "Typing not shown to a reader with a filled outbox",
    TypingFull "throng_typing_full" "Typing not noted because as many type in the room as can be",
    ReadsForgotten "throng_reads_forgotten" "Read positions given up because a room, or all together, keep no more",
    AwayFull "throng_away_full" "People who were lost and counted as having left at once, because as many are away as can be",
    Asks "throng_asks" "Letters of the control plane taken in",
    Announced "throng_announced" "Announcements appended for connections that do not sit in their room",
    PassedOver "throng_announcements_passed_over" "Announcements not sent to a connection that reads too slowly",
    Pings "throng_pings" "Heartbeats sent to the silent",
    PingsPutOff "throng_pings_put_off" "Heartbeats that waited for a later round because the tick's share was spent",
    LeftUnread "throng_messages_left_unread" "Messages of connections whose slot had come while the server left: not carried out",
    TicksStretched "throng_ticks_stretched" "Ticks at which the last tick's writing was not done yet",
    BudgetSpent "throng_send_budget_spent" "Of the send budgets of all ticks so far, what was spent",
    BudgetExhausted "throng_send_budget_exhausted" "Ticks whose send budget was spent before they ended",
    RoomsForgotten "throng_rooms_forgotten" "Empty rooms whose log was given up",
    RoomsPushedOut "throng_rooms_pushed_out" "Of those, rooms given up before their time: there were too many, or all logs together were full",
    LogsFull "throng_logs_full" "Publishes that cost their room half of its log because all logs together were full",
    KeysFull "throng_idempotency_keys_full" "Keys of publishes forgotten before their time because rooms remember as many as they may",
    LettersFull "throng_letters_full" "Commands refused because too many letters wait for the shard that they concern",
    Holes "throng_delivers_missing" "Messages that did not come from their home in order, so that their readers pulled them. Stays 0",
    GrantSetsFull "throng_grant_sets_full" "Tokens not taken because the different sets of grants of a shard take as much as they may",
    Refreshes "throng_token_refreshes" "Tokens replaced by a newer one on an open connection",
    TicketsFull "throng_tickets_full" "Tickets not made because a shard keeps as many as it may",
    JoinsTooOften "throng_joins_too_often" "Joins refused because their user joins too often",
    MessagesTooOften "throng_messages_too_often" "Publishes refused because their user says too much in all rooms together",
    BytesTooOften "throng_bytes_too_often" "Publishes refused because their user publishes too many bytes",
    CommandsTooOften "throng_commands_too_often" "Commands refused before they were looked at because their user sends too many",
    RefreshesTooOften "throng_refreshes_too_often" "Refreshes refused because the connection tried one a moment ago",
    StruckOut "throng_strikes_exceeded" "Connections closed because they went on after having been refused as too_often, malformed, too_deep or too_long",
    InflatedTooMuch "throng_inflated_too_much" "Connections closed because more was made of their deflated messages within a tick than may be",
    RatesUncounted "throng_rates_uncounted" "What was not counted by itself because the table of rates was full, but together with others of its cells",
    Unseated "throng_seats_taken" "Seats taken because the token, the default grants or the class of the room do not grant it any more",
    UnknownKeys "throng_token_keys_unknown" "Tokens of a key that is fetched and not there yet",
    Revocations "throng_revocations" "Revocations taken in, each once per shard",
    RevocationsFull "throng_revocations_full" "Revocations that ended connections and could not be remembered",
    SessionsKept "throng_sessions_kept_for_resume" "Sessions whose connection was lost and that could be resumed from then on",
    SessionsForgotten "throng_sessions_forgotten" "Kept sessions given up early because there were too many",
    Resumed "throng_sessions_resumed" "Sessions that went on with another connection",
    NotResumed "throng_sessions_not_resumed" "Resumes of a session that was not there (any more)",
    TakenOver "throng_sessions_taken_over" "Sessions taken from a connection that still had them",
    StaleKeys "throng_stale_keys" "Letters and completions for connections that were gone",
}

/// What is counted by class of rooms.
macro_rules! class_counts {
    ($($variant:ident $name:literal $help:literal,)*) => {
        /// What is counted for each class of rooms.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum ClassCount { $(#[doc = $help] $variant,)* }

        impl ClassCount {
            /// All of them, in the order of the cells of one class.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Metric name (without the `_total` suffix) and help text.
            pub fn describe(self) -> (&'static str, &'static str) {
                match self { $(Self::$variant => ($name, $help),)* }
            }
        }
    };
}

class_counts! {
    Joins "throng_class_joins" "Seats given, by class of rooms",
    Publishes "throng_class_publishes" "Messages accepted, by class of rooms",
    PublishedBytes "throng_class_published_bytes" "Bytes of their payloads, by class of rooms",
    Duplicates "throng_class_duplicates" "Publishes whose key was known: answered, not said again, by class of rooms",
    TooOften "throng_class_too_often" "Publishes refused because their user published too often, by class of rooms",
    Overtaken "throng_class_overtaken" "Values that were replaced or pushed out, by class of rooms",
    Dropped "throng_class_dropped" "Ephemeral messages that a slow reader or a full inbox missed, by class of rooms",
}

impl ClassCount {
    pub const LEN: usize = Self::ALL.len();
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
    /// By `Command::index`; behind them those that were none.
    commands: [u64; Command::NAMES.len() + 1],
    /// By `Event::index`.
    events: [u64; Event::NAMES.len()],
    latency: Latency,
    /// By `ClassId::index`.
    classes: [[u64; ClassCount::LEN]; Classes::MAX],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            counts: [0; Count::LEN],
            refusals: [0; Refusal::ALL.len()],
            closes: [0; CloseReason::ALL.len()],
            commands: [0; Command::NAMES.len() + 1],
            events: [0; Event::NAMES.len()],
            latency: Latency::default(),
            classes: [[0; ClassCount::LEN]; Classes::MAX],
        }
    }
}

impl Counters {
    /// Where each kind of cell begins in [`Counters::cells`].
    pub const REFUSALS_AT: usize = Count::LEN;
    pub const CLOSES_AT: usize = Self::REFUSALS_AT + Refusal::ALL.len();
    pub const COMMANDS_AT: usize = Self::CLOSES_AT + CloseReason::ALL.len();
    pub const EVENTS_AT: usize = Self::COMMANDS_AT + Command::NAMES.len() + 1;
    pub const LATENCY_AT: usize = Self::EVENTS_AT + Event::NAMES.len();
    pub const CLASSES_AT: usize = Self::LATENCY_AT + Latency::CELLS;
    pub const CELLS: usize = Self::CLASSES_AT + Classes::MAX * ClassCount::LEN;

    pub fn add(&mut self, count: Count, n: u64) {
        self.counts[count.index()] += n;
    }

    pub fn add_of(&mut self, class: ClassId, count: ClassCount, n: u64) {
        self.classes[class.index()][count as usize] += n;
    }

    pub fn refused(&mut self, refusal: Refusal) {
        self.refusals[refusal.index()] += 1;
    }

    pub fn closed(&mut self, reason: CloseReason) {
        self.closes[reason.index()] += 1;
    }

    pub fn commanded(&mut self, command: &Command<'_>) {
        self.commands[command.index()] += 1;
    }

    /// A message that was no command we carry out.
    pub fn no_command(&mut self) {
        self.commands[Command::NAMES.len()] += 1;
    }

    /// `n` frames of this kind for as many connections.
    pub fn said(&mut self, event: &Event<'_>, n: u64) {
        self.events[event.index()] += n;
    }

    pub(super) fn waited(&mut self, ms: u64) {
        self.latency.add(ms);
    }

    #[cfg(test)]
    pub(super) fn latency(&self) -> &[u64] {
        self.latency.cells()
    }

    pub fn count(&self, count: Count) -> u64 {
        self.counts[count.index()]
    }

    pub fn count_of(&self, class: ClassId, count: ClassCount) -> u64 {
        self.classes[class.index()][count as usize]
    }

    pub fn closes(&self, reason: CloseReason) -> u64 {
        self.closes[reason.index()]
    }

    pub fn refusals(&self, refusal: Refusal) -> u64 {
        self.refusals[refusal.index()]
    }

    /// Every cell in one fixed order: counts, refusals, closes, commands, events, latency, classes.
    pub fn cells(&self) -> impl Iterator<Item = u64> {
        let said = self.commands.iter().chain(&self.events).chain(self.latency.cells());
        let classes = self.classes.iter().flatten();
        self.counts.iter().chain(&self.refusals).chain(&self.closes).chain(said).chain(classes).copied()
    }
}

/// Defines what is there now: a struct, its names and helps, and the way to and from an array.
macro_rules! gauges {
    ($(#[$doc:meta])* $type:ident { $($field:ident $name:literal $help:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
        pub struct $type { $(#[doc = $help] pub $field: u64,)* }

        impl $type {
            /// Name and help of each field, in order.
            pub const ALL: &[(&'static str, &'static str)] = &[$(($name, $help),)*];

            /// The values, in the order of `ALL`.
            pub fn values(&self) -> impl Iterator<Item = u64> {
                [$(self.$field,)*].into_iter()
            }

            /// The fields from such values; what is missing is 0.
            pub fn from_values(mut values: impl Iterator<Item = u64>) -> Self {
                Self { $($field: values.next().unwrap_or(0),)* }
            }
        }
    };
}

gauges! {
    /// What a shard holds right now.
    Gauges {
        connections "throng_connections" "Rows in use: handshakes, sessions, goodbyes",
        sessions "websocket_connections" "Sessions now",
        sessions_kept "throng_sessions_kept" "Sessions without a connection that may be resumed",
        rooms_home "throng_rooms" "Rooms with people or a log",
        rooms_seated "throng_rooms_seated" "Rooms with seats, counted once per shard",
        seats "throng_seats" "Seats: one for each room of each session",
        behind_readers "throng_readers_behind" "Readers that pull from a log",
        unsent_bytes "throng_unsent_bytes" "Bytes of messages not written to everybody yet",
        idempotency_keys "throng_idempotency_keys" "Keys of publishes that rooms remember",
        away "throng_away" "People who are away: their last connection in a room was lost a moment ago",
        receipts "throng_receipts" "Read positions that rooms keep",
        rate_keys "throng_rate_keys" "Users and rooms of which it is known how often they did something",
        letters_waiting "throng_letters_waiting" "Letters to other shards whose inbox is full",
        work_spaces "throng_work_spaces" "Connections with something unfinished: a frame, an outbox, a cursor",
        send_budget "throng_send_budget" "Writes all shards together make per tick before the rest waits",
    }
}

gauges! {
    /// Bytes a shard holds, by table: what is in use, without what the allocator adds.
    Tables {
        rows "rows" "Connections",
        seats "seats" "Seats",
        rooms_seated "rooms_seated" "Rooms at shards with seats in them",
        rooms_home "rooms_home" "Rooms at their homes",
        logs "logs" "Frames kept by logs",
        unsent "unsent" "Frames not written to everybody yet",
        letters "letters" "Messages in letters whose inbox is full",
        work "work" "Work spaces and what is in them, as of the last round over the table",
        sessions_kept "sessions_kept" "Sessions without a connection",
        idempotency_keys "idempotency_keys" "Keys of publishes that rooms remember",
        people "people" "People who are away, and read positions, by number and not by the length of names",
        rates "rates" "Who did something how often",
        tickets "tickets" "Tickets that nobody has used",
        revocations "revocations" "Revoked tokens and users",
        marks "marks" "When tokens were issued, and hashes of their names, beside the rows",
        grant_sets "grant_sets" "Different sets of grants",
        addresses "addresses" "Counters of addresses, whether their pages were touched or not",
        announcements "announcements" "Announcements that wait to be told",
    }
}

impl Shard {
    pub fn gauges(&self) -> Gauges {
        Gauges {
            connections: self.connections.len() as u64,
            sessions: self.sessions as u64,
            sessions_kept: self.sessions_kept.len() as u64,
            rooms_home: self.rooms.len() as u64,
            rooms_seated: self.seats.len() as u64,
            seats: self.seated as u64,
            behind_readers: self.flush.behind_readers as u64,
            unsent_bytes: self.flush.unsent_bytes as u64,
            idempotency_keys: self.rooms.keys() as u64,
            away: self.rooms.outlasting().away as u64,
            receipts: self.rooms.outlasting().reads as u64,
            rate_keys: self.rates.len() as u64,
            letters_waiting: self.outgoing.iter().map(|parcel| parcel.len() as u64).sum(),
            work_spaces: self.works_lent as u64,
            send_budget: u64::from(self.limits().sends_per_tick),
        }
    }

    /// Bytes by table.
    pub fn tables(&self) -> Tables {
        let letters = self.outgoing.iter().zip(&self.outgoing_bytes).filter(|(parcel, _)| !parcel.is_empty());
        Tables {
            rows: self.connections.bytes() as u64,
            seats: (self.seated * BYTES_PER_SEAT) as u64,
            rooms_seated: (self.seats.len() * BYTES_PER_LOCAL_ROOM) as u64,
            rooms_home: (self.rooms.len() * BYTES_PER_HOME_ROOM) as u64,
            logs: self.rooms.bytes() as u64,
            unsent: self.flush.unsent_bytes as u64,
            letters: letters.map(|(_, bytes)| *bytes as u64).sum(),
            work: self.patrol.work_bytes(),
            sessions_kept: self.sessions_kept.bytes() as u64,
            idempotency_keys: (self.rooms.keys() * Keys::BYTES_PER_KEY) as u64,
            people: ((self.rooms.outlasting().away + 2 * self.rooms.outlasting().reads) * BYTES_PER_PERSON) as u64,
            rates: self.rates.bytes() as u64,
            tickets: self.tickets.bytes() as u64,
            revocations: self.revocations.bytes() as u64,
            marks: self.marks.bytes() as u64,
            grant_sets: self.grants.bytes() as u64,
            addresses: self.addresses.bytes() as u64,
            announcements: self.errands.bytes() as u64,
        }
    }
}

/// Of somebody who is away, and of each of the two entries of a read position: a user and a number.
const BYTES_PER_PERSON: usize = size_of::<(Identity, Offset)>();
