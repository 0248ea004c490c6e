//! What the worlds lived through, so that a run that saw nothing cannot pass.

use throng::base::{Limits, RoomClass};
use throng::shard::{ClassCount, Count, Counters};

use crate::fleeting;

macro_rules! lived {
    ($($variant:ident $name:literal,)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Lived { $($variant,)* }
        const NAMES: &[&str] = &[$($name,)*];
    };
}

lived! {
    Joins "joins",
    Messages "messages heard",
    Acks "acks",
    Gaps "gaps",
    Busy "busy",
    TooOften "too often",
    RoomFull "room full",
    Flooding "closed for going on",
    LogsFull "logs all full",
    KeysFull "keys all full",
    RoomsPushedOut "rooms pushed out",
    PresenceNews "presence news",
    WentAway "went away",
    CameBack "came back",
    Counted "counted only",
    ListsStale "lists gone stale",
    Typing "typing told",
    Reads "reads told",
    ReadsForgotten "reads forgotten",
    ReadPages "reads beside history",
    PeopleDropped "news of people dropped",
    Pings "pings",
    Closes "close frames",
    Cuts "cuts",
    TurnedAway "turned away",
    HandedOver "handed over",
    Bounced "bounced delivers",
    Stretched "stretched ticks",
    HalfWritten "half-written sends",
    FellBehind "fell behind",
    CaughtUp "caught up",
    Pages "pages",
    Stale "stale keys",
    Forgotten "rooms forgotten",
    Slow "closed as slow",
    Silent "closed as silent",
    Expired "tokens expired",
    Slots "slots told",
    SentAway "sent away in their slot",
    Dups "publishes known by their key",
    Histories "history pages",
    PagedOn "pages on from a position",
    PagedOverGaps "of them over a gap",
    OwnHistory "own words of before the join heard",
    OwnValues "own values of before the join heard",
    FleetingRefused "asked for offsets where there are none",
    WentForAWhile "said goodbye for a while",
    SatInBroadcasts "sat down where everybody is spoken to",
    Overtaken "values overtaken",
    Dropped "ephemeral messages dropped",
    Refreshed "tokens refreshed",
    RefreshedAlike "of them as wide as before",
    RefreshedOtherwise "wider or narrower",
    RefreshesRefused "refreshes refused",
    Removed "put out of a room",
    RulesChanged "rules taken in",
    Revocations "revocations remembered",
    RevocationsNotKept "not remembered",
    Revoked "closed as revoked",
    UserFull "one too many of a user",
    AddressFull "one too many of an address",
    AddressRate "too soon from an address",
    ApiPublishes "published by the API",
    Announced "announcements heard",
    ApiCloses "closed by the API",
    ApiLooks "looks into rooms and tables",
    ApiHistory "messages of history pages",
    Letters "letters heard",
    LettersWaited "inboxes opened in which some had waited",
    Inflated "deflated messages heard",
    InflatedByServer "deflated messages said",
    LeftUnread "commands of those whose slot had come",
    Resumed "sessions resumed",
    NotResumed "resumes of no session",
    TakenOver "taken over",
    SessionsForgotten "sessions forgotten",
    Recovered "rooms recovered by resume",
    UnknownGaps "rooms resumed without a position",
}

/// Counts by name.
#[derive(Clone, Debug)]
pub(crate) struct Tally([u64; NAMES.len()]);

impl Default for Tally {
    fn default() -> Self {
        Self([0; NAMES.len()])
    }
}

impl Tally {
    pub(crate) fn add(&mut self, lived: Lived, n: u64) {
        self.0[lived as usize] += n;
    }

    pub(crate) fn of(&self, lived: Lived) -> u64 {
        self.0[lived as usize]
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// What only a shard itself can count.
    pub(crate) fn take_counters(&mut self, counters: &Counters) {
        use throng::wire::CloseReason;
        let counts = [
            (Lived::Bounced, Count::Bounced),
            (Lived::Stretched, Count::TicksStretched),
            (Lived::HalfWritten, Count::WritesStalled),
            (Lived::FellBehind, Count::FellBehind),
            (Lived::CaughtUp, Count::CaughtUp),
            (Lived::Pages, Count::Pages),
            (Lived::Stale, Count::StaleKeys),
            (Lived::Forgotten, Count::RoomsForgotten),
            (Lived::LogsFull, Count::LogsFull),
            (Lived::KeysFull, Count::KeysFull),
            (Lived::RoomsPushedOut, Count::RoomsPushedOut),
            (Lived::LeftUnread, Count::LeftUnread),
            (Lived::ReadsForgotten, Count::ReadsForgotten),
            (Lived::PeopleDropped, Count::PresenceDropped),
            (Lived::InflatedByServer, Count::Inflated),
            (Lived::Resumed, Count::Resumed),
            (Lived::NotResumed, Count::NotResumed),
            (Lived::TakenOver, Count::TakenOver),
            (Lived::SessionsForgotten, Count::SessionsForgotten),
        ];
        counts.into_iter().for_each(|(lived, count)| self.add(lived, counters.count(count)));
        for class in fleeting::classes(&Limits::default(), &RoomClass::default()).ids() {
            self.add(Lived::Overtaken, counters.count_of(class, ClassCount::Overtaken));
            self.add(Lived::Dropped, counters.count_of(class, ClassCount::Dropped));
        }
        self.add(Lived::Slow, counters.closes(CloseReason::Slow));
        self.add(Lived::Silent, counters.closes(CloseReason::Silent));
        self.add(Lived::SentAway, counters.closes(CloseReason::Restart));
        self.add(Lived::Expired, counters.closes(CloseReason::Expired));
        self.add(Lived::Revoked, counters.closes(CloseReason::Revoked));
        self.add(Lived::Flooding, counters.closes(CloseReason::Flooding));
        self.add(Lived::UserFull, counters.closes(CloseReason::UserFull));
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<String> = NAMES.iter().zip(&self.0).map(|(name, n)| format!("{n} {name}")).collect();
        f.write_str(&parts.join(", "))
    }
}
