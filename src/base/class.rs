//! Room classes: how rooms behave, by the pattern of their names.
//!
//! Promises: plain data; a room's class is looked up by name once, when the room is opened (and again when the patterns
//! change), and then known by its [`ClassId`]; an id means the same pattern for as long as the process lives.

use std::sync::Arc;

use super::pattern;
use super::{Limits, Verbs};

/// When a reader is written to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Flush {
    /// At the end of the turn while this tick's budget lasts, else on the tick.
    #[default]
    Eager,
    /// Only on the tick: a flat wait of up to one tick, for the fewest writes.
    Tick,
}

/// What becomes of what is published.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Delivery {
    /// It gets an offset and is kept: everybody gets it, or a gap says what is missing.
    #[default]
    Reliable,
    /// The last value of each key is kept; it has no offset, and a slow reader misses what was overtaken.
    Latest,
    /// It is kept nowhere and has no offset; a slow reader misses it.
    Ephemeral,
}

/// What can be known of who is in a room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Presence {
    /// Nothing: `presence` is refused.
    Off,
    /// Who is here for those who ask; those who watch are told only how many, at most once per tick.
    Counted,
    /// Who comes and goes, merged per tick, for those who watch; nobody hears it unasked.
    #[default]
    Announced,
}

impl Presence {
    pub const ALL: [Self; 3] = [Self::Off, Self::Counted, Self::Announced];

    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Counted => "counted",
            Self::Announced => "announced",
        }
    }

    /// The mode of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// Bounds of one room's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogBounds {
    /// Messages it keeps; at least 1, because the log is the queue.
    pub messages_max: usize,
    /// Bytes of frames it keeps (one message is always kept).
    pub bytes_max: usize,
    /// How long a message stays.
    pub age_ms: u64,
}

/// How often somebody may do something, in virtual time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// In the long run. 0: not limited.
    pub per_minute: u32,
    /// At once, after a pause.
    pub burst: u32,
}

/// For how long a room remembers by which keys was published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyWindow {
    /// Keys a room remembers; the oldest goes first. 0: keys are refused as `unsupported`.
    pub keys_max: usize,
    /// For how long.
    pub ms: u64,
}

/// How the rooms of one pattern behave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoomClass {
    /// The pattern, or `default`: the label of its metrics.
    pub name: Arc<str>,
    pub log: LogBounds,
    /// `None`: as the whole server does.
    pub flush: Option<Flush>,
    pub delivery: Delivery,
    pub presence: Presence,
    /// How long somebody whose connections were all lost is `away` before having left. 0: at once.
    pub leave_delay_ms: u64,
    /// How long a typing key lives. 0: typing is refused as `unsupported`.
    pub typing_ms: u64,
    /// Whether it is kept and told how far everybody has read.
    pub receipts: bool,
    /// Connections that may sit in one room; another join is refused as `room_full`. 0: not limited.
    pub seats_max: u32,
    /// Bytes of a published payload; more is refused as `too_long`. Never above [`Limits::message_bytes_max`].
    pub message_bytes_max: usize,
    /// Of one user in one room, over all connections.
    pub publish_rate: Rate,
    /// What people may do there at most; their grants narrow it further. Backends are not asked.
    pub can: Verbs,
    pub idempotency: KeyWindow,
}

impl RoomClass {
    /// What holds for rooms that no pattern fits: what the limits say.
    pub fn of(limits: &Limits) -> Self {
        Self {
            name: Arc::from(Self::DEFAULT_NAME),
            log: LogBounds {
                messages_max: limits.log_messages_max,
                bytes_max: limits.log_bytes_max,
                age_ms: limits.log_age_ms,
            },
            flush: None,
            delivery: Delivery::default(),
            presence: Presence::default(),
            leave_delay_ms: 10_000,
            typing_ms: 5_000,
            receipts: true,
            seats_max: 0,
            message_bytes_max: limits.message_bytes_max,
            publish_rate: Rate { per_minute: 0, burst: 20 },
            can: Verbs::all(),
            idempotency: KeyWindow { keys_max: 1_000, ms: 600_000 },
        }
    }

    /// Whether its rooms keep how far people have read: where messages have no offsets there is nothing to have read to.
    pub fn keeps_reads(&self) -> bool {
        self.receipts && self.delivery == Delivery::Reliable
    }

    /// The name of the class of rooms that no pattern fits.
    pub const DEFAULT_NAME: &str = "default";

    /// Says what contradicts each other.
    pub fn check(&self, limits: &Limits) -> Result<(), String> {
        if self.log.messages_max == 0 {
            return Err("`log_messages_max` must be at least 1: the log is the queue".to_owned());
        }
        if self.message_bytes_max > limits.message_bytes_max {
            return Err(format!(
                "`message_bytes_max` is {} and no message has more than {} bytes: raise `message_bytes_max` in [limits]",
                self.message_bytes_max, limits.message_bytes_max
            ));
        }
        Ok(())
    }
}

impl Default for RoomClass {
    fn default() -> Self {
        Self::of(&Limits::default())
    }
}

/// Which class. Small enough to lie in every room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ClassId(u8);

impl ClassId {
    /// Of rooms that no pattern fits.
    pub const DEFAULT: Self = Self(0);

    /// A place in a table of [`Classes::MAX`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// All classes. A clone is a pointer.
///
/// **Which class a room has:** the longest pattern that fits its name; of a literal and a prefix of the same length the
/// literal. The pattern `*` fits every name and is the shortest: it says how rooms behave that nothing else fits.
#[derive(Clone, Debug)]
pub struct Classes(Arc<Table>);

#[derive(PartialEq, Eq, Debug)]
struct Table {
    /// In the order they are tried.
    patterns: Box<[(Box<str>, ClassId)]>,
    /// By id. Those of patterns that are no more are never given to another.
    classes: Box<[RoomClass]>,
}

impl Classes {
    /// Classes there can be while a process lives, the default one included.
    pub const MAX: usize = 32;

    /// One class for all rooms.
    pub fn of(limits: &Limits) -> Self {
        Self(Arc::new(Table { patterns: Box::from([]), classes: Box::from([RoomClass::of(limits)]) }))
    }

    /// A class for each of these patterns, and the default one for what they do not fit. `former` are those that held
    /// until now: a pattern keeps its id. The error says what a person has to mend.
    pub fn new(limits: &Limits, given: &[(&str, RoomClass)], former: Option<&Self>) -> Result<Self, String> {
        let mut classes: Vec<RoomClass> = former.map_or_else(Vec::new, |former| former.0.classes.to_vec());
        if classes.is_empty() {
            classes.push(RoomClass::of(limits));
        }
        classes[0] = RoomClass::of(limits);
        let mut patterns: Vec<(Box<str>, ClassId)> = Vec::new();
        for (text, class) in given {
            Self::check(text, class, limits)?;
            if patterns.iter().any(|(pattern, _)| **pattern == **text) {
                return Err(format!("[rooms] names {text} twice"));
            }
            let known = classes.iter().skip(1).position(|class| &*class.name == *text).map(|at| at + 1);
            let at = known.unwrap_or(classes.len());
            if at == Self::MAX {
                return Err(format!(
                    "[rooms] has more than {} patterns, those counted that were taken away since the start: write fewer, \
                     or start anew",
                    Self::MAX - 1
                ));
            }
            let class = RoomClass { name: Arc::from(*text), ..class.clone() };
            if at == classes.len() {
                classes.push(class)
            } else {
                classes[at] = class
            }
            patterns.push(((*text).into(), ClassId(at as u8)));
        }
        // A literal of the length of a prefix is one shorter than the prefix with its star.
        patterns.sort_by_key(|(text, _)| {
            let prefix = text.strip_suffix('*');
            (std::cmp::Reverse(prefix.map_or(text.len(), str::len)), prefix.is_some())
        });
        Ok(Self(Arc::new(Table { patterns: patterns.into(), classes: classes.into() })))
    }

    /// The class of a room of this name. Never asked for each message: rooms remember it.
    pub fn of_room(&self, room: &str) -> ClassId {
        let fits = self.0.patterns.iter().find(|(pattern, _)| pattern::matches(pattern, room, ""));
        fits.map_or(ClassId::DEFAULT, |(_, id)| *id)
    }

    /// `id` must be one of these classes'.
    pub fn class(&self, id: ClassId) -> &RoomClass {
        &self.0.classes[id.index()]
    }

    /// All there are, former ones included.
    pub fn ids(&self) -> impl Iterator<Item = ClassId> + use<> {
        (0..self.0.classes.len() as u8).map(ClassId)
    }

    /// The names of all, by id, former ones included: a closed set of labels.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.classes.iter().map(|class| &*class.name)
    }

    /// Whether all rooms are of the default class.
    pub fn is_plain(&self) -> bool {
        self.0.patterns.is_empty()
    }

    /// Whether people may do less than by `former` in some room, as far as can be said without looking at every name.
    pub fn may_narrow(&self, former: &Self) -> bool {
        let loses = |(now, before): (&RoomClass, &RoomClass)| before.can.iter().any(|verb| !now.can.has(verb));
        !self.same_patterns(former) || self.0.classes.iter().zip(&former.0.classes).any(loses)
    }

    /// Whether every room has the class it had.
    pub fn same_patterns(&self, other: &Self) -> bool {
        self.0.patterns == other.0.patterns
    }

    fn check(text: &str, class: &RoomClass, limits: &Limits) -> Result<(), String> {
        let here = |why: &str| format!("[rooms.{text:?}]: {why}");
        pattern::check(text).map_err(|why| here(&why.replace("`match`", "the pattern")))?;
        if text.contains(pattern::USER) {
            return Err(here("a pattern of rooms cannot hold {user}: it does not depend on who asks"));
        }
        if text == RoomClass::DEFAULT_NAME {
            return Err(here("a class cannot be called default: write \"*\" for rooms that nothing else fits"));
        }
        class.check(limits).map_err(|why| here(&why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(patterns: &[&'static str]) -> Vec<(&'static str, RoomClass)> {
        patterns.iter().map(|pattern| (*pattern, RoomClass::default())).collect()
    }

    fn name(classes: &Classes, room: &str) -> String {
        classes.class(classes.of_room(room)).name.to_string()
    }

    #[test]
    fn the_longest_pattern_wins_and_a_literal_before_a_prefix() {
        let patterns = given(&["chat:*", "*", "chat:vip:*", "chat:vip:", "lobby"]);
        let classes = Classes::new(&Limits::default(), &patterns, None).unwrap();
        let cases = [
            ("chat:a", "chat:*"),
            ("chat:vip:a", "chat:vip:*"),
            ("chat:vip:", "chat:vip:"),
            ("lobby", "lobby"),
            ("lobby2", "*"),
        ];
        for (room, expected) in cases {
            assert_eq!(name(&classes, room), expected, "{room}");
        }
        let bare = Classes::of(&Limits::default());
        assert_eq!((bare.of_room("chat:a"), name(&bare, "x")), (ClassId::DEFAULT, "default".to_owned()));
    }

    #[test]
    fn a_pattern_keeps_its_id_and_nobody_inherits_one() {
        let limits = Limits::default();
        let first = Classes::new(&limits, &given(&["a*", "b*"]), None).unwrap();
        let second = Classes::new(&limits, &given(&["c*", "b*"]), Some(&first)).unwrap();
        assert_eq!(second.of_room("b1"), first.of_room("b1"));
        assert_eq!(second.of_room("a1"), ClassId::DEFAULT);
        assert_eq!(second.names().collect::<Vec<_>>(), ["default", "a*", "b*", "c*"]);
        assert!(!first.same_patterns(&second) && first.same_patterns(&first.clone()));
        let third = Classes::new(&limits, &given(&["a*"]), Some(&second)).unwrap();
        assert_eq!(third.of_room("a1"), first.of_room("a1"));
    }

    #[test]
    fn what_cannot_be_a_class_is_refused_in_a_sentence() {
        let limits = Limits { message_bytes_max: 10, ..Limits::default() };
        let class = RoomClass::of(&limits);
        let long = RoomClass { message_bytes_max: 11, ..class.clone() };
        let bad = [
            ("a*b", class.clone(), "one `*`, at its end"),
            ("@{user}", class.clone(), "does not depend on who asks"),
            ("default", class.clone(), "cannot be called default"),
            ("a", long, "raise `message_bytes_max` in [limits]"),
        ];
        for (pattern, class, expected) in bad {
            let error = Classes::new(&limits, &[(pattern, class)], None).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let names: Vec<String> = (0..Classes::MAX).map(|n| format!("r{n}")).collect();
        let many: Vec<(&str, RoomClass)> = names.iter().map(|name| (name.as_str(), class.clone())).collect();
        assert!(Classes::new(&limits, &many[1..], None).is_ok());
        assert!(Classes::new(&limits, &many, None).unwrap_err().contains("more than 31 patterns"));
    }
}
