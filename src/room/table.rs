//! The rooms whose home is this shard.
//!
//! Promises: a room nobody sits in keeps its log until it is empty, too old, or the longest alone of too many; letters
//! that wait for people (rooms that begin with `@`) are never pushed out by what is said elsewhere; a room that was
//! forgotten comes back with a new random epoch.

use std::collections::BTreeSet;

use slab::Slab;

use super::home::Room;
use super::idle::{AllIdle, Idle, Kind};
use super::keyed::Keyed;
use super::keys::KeysHeld;
use super::news::Outlasting;
use crate::base::{Classes, Epoch, HomePlace, Limits, Now, RoomName, Seed, SeededMap};

/// Homes by name.
#[derive(Debug)]
pub struct Rooms {
    pub(super) rooms: Slab<Room>,
    by_name: SeededMap<RoomName, u32>,
    /// Empty rooms.
    idle: AllIdle,
    marks: u64,
    /// Bytes of all logs.
    bytes: usize,
    /// Keys all rooms remember.
    pub(super) keyed: Keyed,
    /// What all rooms keep of people who need not sit there.
    outlasting: Outlasting,
    /// When something ends in a room, and where: a room stands here once at most, and goes with it.
    alarms: BTreeSet<(u64, u32)>,
    seed: Seed,
    forgotten: u64,
    pushed_out: u64,
    /// Where logs were cut last.
    cut: usize,
    /// Planted bug: a room that comes back is taken for its former self.
    #[cfg(feature = "planted-bugs")]
    pub planted_epochs: bool,
}

impl Rooms {
    pub fn new(seed: Seed) -> Self {
        let by_name = SeededMap::with_hasher(seed.state());
        Self {
            rooms: Slab::new(),
            by_name,
            idle: AllIdle::default(),
            marks: 0,
            bytes: 0,
            keyed: Keyed::default(),
            outlasting: Outlasting::default(),
            alarms: BTreeSet::new(),
            seed,
            forgotten: 0,
            pushed_out: 0,
            cut: 0,
            #[cfg(feature = "planted-bugs")]
            planted_epochs: false,
        }
    }

    /// The room of this name; a new one, with a new epoch and the class of its name, if there is none.
    pub fn open(&mut self, name: &RoomName, classes: &Classes) -> (u32, &mut Room) {
        let at = match self.by_name.get(name) {
            Some(at) => *at,
            None => {
                let class = classes.of_room(name.as_str());
                let epoch = self.next_epoch(name);
                let room = Room::new(name.clone(), epoch, class, classes.class(class));
                let at = self.rooms.insert(room) as u32;
                self.by_name.insert(name.clone(), at);
                at
            }
        };
        (at, &mut self.rooms[at as usize])
    }

    /// The room of this name, if there is one.
    pub fn find_mut(&mut self, name: &str) -> Option<(u32, &mut Room)> {
        let at = *self.by_name.get(name)?;
        Some((at, &mut self.rooms[at as usize]))
    }

    /// The room at this place of the table, if it is still that room.
    pub fn room_mut(&mut self, at: u32) -> Option<&mut Room> {
        self.rooms.get_mut(at as usize)
    }

    /// The room that a letter means; `None` if that one is gone, whoever has its place now.
    pub fn at_mut(&mut self, place: HomePlace) -> Option<&mut Room> {
        self.rooms.get_mut(place.at as usize).filter(|room| room.epoch() == place.epoch)
    }

    /// To be called with the bytes a room's log had before it was written or read in another encoding.
    pub fn account(&mut self, at: u32, bytes_before: usize) {
        if let Some(room) = self.rooms.get(at as usize) {
            self.bytes = self.bytes + room.log().bytes() - bytes_before;
        }
    }

    /// Likewise, with what it kept of people.
    pub fn account_people(&mut self, at: u32, before: Outlasting) {
        if let Some(room) = self.rooms.get(at as usize) {
            let (all, now) = (&mut self.outlasting, room.outlasting());
            (all.away, all.reads) = (all.away + now.away - before.away, all.reads + now.reads - before.reads);
        }
    }

    /// What a room that keeps this much of people may keep, so that all rooms together stay within the limits.
    pub fn may_outlast(&self, own: Outlasting, limits: &Limits) -> Outlasting {
        let others = (self.outlasting.away - own.away, self.outlasting.reads - own.reads);
        Outlasting {
            away: limits.away_max.saturating_sub(others.0),
            reads: limits.receipts_kept_max.saturating_sub(others.1).min(limits.receipts_max),
        }
    }

    /// Something ends in this room then, or later.
    pub fn ring_at(&mut self, at: u32, due_mono_ms: u64) {
        let Some(room) = self.rooms.get_mut(at as usize) else { return };
        if room.alarm_mono_ms == 0 || due_mono_ms < room.alarm_mono_ms {
            self.alarms.remove(&(room.alarm_mono_ms, at));
            room.alarm_mono_ms = due_mono_ms;
            self.alarms.insert((due_mono_ms, at));
        }
    }

    /// A room in which something may have ended by now; each rings once.
    pub fn take_ringing(&mut self, now: Now) -> Option<u32> {
        let (due, at) = *self.alarms.first()?;
        if due > now.mono_ms {
            return None;
        }
        self.alarms.remove(&(due, at));
        if let Some(room) = self.rooms.get_mut(at as usize) {
            room.alarm_mono_ms = 0;
        }
        Some(at)
    }

    /// Whether something is to end in some room.
    pub fn will_ring(&self) -> bool {
        !self.alarms.is_empty()
    }

    /// Before a message is kept: whether the logs hold more than they may, so that it must cost its own room something.
    /// Rooms that nobody sits in and that are no inboxes are forgotten first. Where even that is not enough, because many
    /// rooms have too little to give, a few logs lose half of what they hold, one after the other around the table.
    pub fn is_full(&mut self, limits: &Limits) -> bool {
        while self.bytes > limits.logs_bytes_max {
            let kind = self.idle.least_missed(Kind::Visited, limits.idle_rooms_max);
            if !self.forget_longest_idle(kind) {
                break;
            }
        }
        let overrun = limits.logs_bytes_max + limits.logs_bytes_max / OVERRUN_PARTS;
        for _ in 0..CUT_PER_CALL.min(self.rooms.capacity()) {
            if self.bytes <= overrun {
                break;
            }
            self.cut = if self.cut + 1 < self.rooms.capacity() { self.cut + 1 } else { 0 };
            let Some(room) = self.rooms.get_mut(self.cut) else { continue };
            let bytes_before = room.log().bytes();
            room.halve_log();
            self.account(self.cut as u32, bytes_before);
        }
        self.bytes > limits.logs_bytes_max
    }

    /// To be called after somebody left, or was away for too long, or something was said: a room without seats is kept for
    /// its log, and for those who may be back at once.
    pub fn settle(&mut self, now: Now, at: u32, limits: &Limits) {
        let Some(room) = self.rooms.get_mut(at as usize) else { return };
        if !room.is_idle() {
            return;
        }
        if room.is_bare() {
            self.forget(at);
            return;
        }
        if room.idle_mark() != 0 {
            // It has been empty all the while and is noted.
            return;
        }
        self.marks += 1;
        room.set_idle_mark(self.marks);
        let kind = Kind::of(room);
        let idle = Idle { at, mark: self.marks, since_mono_ms: now.mono_ms };
        self.idle.of(kind).push(idle);
        let most = kind.idle_max(limits);
        if self.idle.bounded_with(kind) > most {
            self.make_room_for_idle(kind, most);
        }
    }

    /// Forgets rooms that have been empty for as long as any message or key is kept and have none left, and keys that are
    /// too old wherever they are. Bounded work per call: it goes round.
    pub fn sweep(&mut self, now: Now, classes: &Classes) {
        Kind::ALL.into_iter().for_each(|kind| self.sweep_idle(kind, now, classes));
        self.sweep_keys(now, classes);
    }

    fn sweep_idle(&mut self, kind: Kind, now: Now, classes: &Classes) {
        for _ in 0..SWEPT_PER_CALL.min(self.idle.of(kind).len()) {
            let Some(idle) = self.idle.of(kind).next_swept() else { return };
            let at = idle.at;
            let Some(room) = self.rooms.get_mut(at as usize).filter(|room| room.idle_mark() == idle.mark) else {
                self.idle.of(kind).remove(&idle);
                continue;
            };
            let class = classes.class(room.class());
            if now.since(idle.since_mono_ms) <= class.log.age_ms {
                continue;
            }
            let (bytes_before, keys_before) = (room.log().bytes(), room.keys_held());
            room.log_mut().trim(now, class.log.age_ms);
            room.trim_keys(now, class.idempotency);
            let empty = room.is_bare();
            self.account(at, bytes_before);
            self.account_keys(at, keys_before);
            if empty {
                self.idle.of(kind).remove(&idle);
                self.forgotten += 1;
                self.forget(at);
            }
        }
    }

    /// To be called when other patterns hold. Costs a look at every name.
    pub fn classify(&mut self, classes: &Classes) {
        for (_, room) in &mut self.rooms {
            let class = classes.of_room(room.name().as_str());
            room.set_class(class);
        }
    }

    /// Bytes of frames all logs keep.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What all rooms keep of people who need not sit there.
    pub fn outlasting(&self) -> Outlasting {
        self.outlasting
    }

    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    /// Rooms with a log that were forgotten because they were empty for too long or too many.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Of those, the ones that were too many or too long.
    pub fn pushed_out(&self) -> u64 {
        self.pushed_out
    }

    /// Places of the table, free ones included: every room's place is below.
    pub fn places(&self) -> u32 {
        self.rooms.capacity() as u32
    }

    /// Every room, in order of the table; for invariants.
    pub fn iter(&self) -> impl Iterator<Item = &Room> {
        self.rooms.iter().map(|(_, room)| room)
    }

    /// Stale entries go first and cost nobody anything; then a sixteenth of the longest alone, so that this is rare.
    fn make_room_for_idle(&mut self, kind: Kind, most: usize) {
        let rooms = &self.rooms;
        for bounded in Kind::ALL.into_iter().filter(|other| (*other == Kind::Inbox) == (kind == Kind::Inbox)) {
            self.idle.of(bounded).retain(|idle| !idle.is_stale(rooms));
        }
        if self.idle.bounded_with(kind) > most {
            let keep = most - most / 16;
            while self.idle.bounded_with(kind) > keep {
                let least_missed = self.idle.least_missed(kind, most);
                if !self.forget_longest_idle(least_missed) {
                    break;
                }
            }
        }
    }

    /// Forgets the room that nobody has sat or said anything in for longest, or one that is stale. False: there is none.
    fn forget_longest_idle(&mut self, kind: Kind) -> bool {
        while let Some(idle) = self.idle.of(kind).pop() {
            let room = self.rooms.get(idle.at as usize).filter(|room| room.is_idle() && room.idle_mark() == idle.mark);
            let Some(room) = room else { return true };
            let said_mono_ms = room.log().newest_mono_ms().unwrap_or(0);
            if said_mono_ms > idle.since_mono_ms {
                self.idle.of(kind).push(Idle { since_mono_ms: said_mono_ms, ..idle });
                continue;
            }
            self.forgotten += 1;
            self.pushed_out += 1;
            self.forget(idle.at);
            return true;
        }
        false
    }

    fn next_epoch(&mut self, name: &RoomName) -> Epoch {
        #[cfg(feature = "planted-bugs")]
        if self.planted_epochs {
            return Epoch(self.seed.mix(name.as_str().as_bytes()));
        }
        let _known_only_to_the_bug = name;
        Epoch(self.seed.draw())
    }

    fn forget(&mut self, at: u32) {
        let room = self.rooms.remove(at as usize);
        self.bytes -= room.log().bytes();
        self.keyed.change(at, room.keys_held(), KeysHeld::default());
        let gone = room.outlasting();
        (self.outlasting.away, self.outlasting.reads) =
            (self.outlasting.away - gone.away, self.outlasting.reads - gone.reads);
        self.alarms.remove(&(room.alarm_mono_ms, at));
        self.by_name.remove(room.name());
        if self.rooms.is_empty() {
            self.rooms.shrink_to_fit();
            self.by_name.shrink_to_fit();
        }
    }
}

/// Idle rooms of a kind looked at in a tick: all there may be in half a minute (inboxes: in two).
const SWEPT_PER_CALL: usize = 64;
/// Beyond the bound by this part of it, rooms give what they have though nothing is said in them.
const OVERRUN_PARTS: usize = 8;
/// Logs that are looked at for that, for one message.
const CUT_PER_CALL: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Encoding, Identity, LocalPlace, ShardId};
    use crate::room::{Post, SeatCounts};
    use crate::wire::prove;

    fn rooms() -> Rooms {
        Rooms::new(Seed::new([1, 2]))
    }

    fn classes() -> Classes {
        Classes::of(&Limits::default())
    }

    fn name(text: &str) -> RoomName {
        RoomName::parse(text).unwrap()
    }

    fn say_and_settle(rooms: &mut Rooms, room: &str, mono_ms: u64, limits: &Limits) -> Epoch {
        let now = Now { mono_ms, unix_ms: 0 };
        let payload = prove(Encoding::Json, b"1", 32).unwrap().to_payload();
        let from = Identity::new("ann", None).unwrap();
        let (at, home) = rooms.open(&name(room), &classes());
        let bytes_before = home.log().bytes();
        let post = Post { from: &from, event: None, key: None, payload: &payload, skip: None };
        home.append(now, &post, crate::base::RoomClass::of(limits).log, &mut crate::wire::Press::default());
        let (epoch, bytes) = (home.epoch(), home.log().bytes());
        rooms.account(at, bytes_before);
        assert!(bytes > bytes_before);
        rooms.settle(now, at, limits);
        epoch
    }

    #[test]
    fn a_room_without_log_and_people_is_gone_and_comes_back_as_another() {
        let (mut rooms, limits) = (rooms(), Limits::default());
        let (at, room) = rooms.open(&name("r"), &classes());
        let first_life = room.epoch();
        room.set_seats(ShardId(0), LocalPlace::default(), SeatCounts { by_encoding: [1, 0], ..SeatCounts::default() });
        rooms.settle(Now::default(), at, &limits);
        assert_eq!(rooms.len(), 1);
        rooms.room_mut(at).unwrap().set_seats(ShardId(0), LocalPlace::default(), SeatCounts::default());
        rooms.settle(Now::default(), at, &limits);
        assert!(rooms.is_empty());
        assert_ne!(rooms.open(&name("r"), &classes()).1.epoch(), first_life);
    }

    #[test]
    fn of_too_many_empty_rooms_the_longest_empty_is_forgotten() {
        let (mut rooms, limits) = (rooms(), Limits { idle_rooms_max: 2, ..Limits::default() });
        let epochs: Vec<Epoch> = ["a", "b", "c"].iter().map(|r| say_and_settle(&mut rooms, r, 0, &limits)).collect();
        assert_eq!((rooms.len(), rooms.forgotten()), (2, 1));
        assert_ne!(rooms.open(&name("a"), &classes()).1.epoch(), epochs[0]);
        assert_eq!(rooms.open(&name("c"), &classes()).1.epoch(), epochs[2]);
    }

    #[test]
    fn talking_to_nobody_in_one_room_forgets_no_other() {
        let (mut rooms, limits) = (rooms(), Limits { idle_rooms_max: 2, ..Limits::default() });
        let quiet = say_and_settle(&mut rooms, "quiet", 0, &limits);
        for _ in 0..10 {
            say_and_settle(&mut rooms, "loud", 0, &limits);
        }
        assert_eq!((rooms.forgotten(), rooms.open(&name("quiet"), &classes()).1.epoch()), (0, quiet));
    }

    #[test]
    fn too_many_bytes_in_all_logs_cost_the_longest_empty_rooms_first() {
        let (mut rooms, limits) = (rooms(), Limits { logs_bytes_max: 1, ..Limits::default() });
        let (a, _) = (say_and_settle(&mut rooms, "a", 0, &limits), say_and_settle(&mut rooms, "b", 0, &limits));
        assert!(!rooms.is_full(&limits), "both were empty and are forgotten");
        assert_ne!(rooms.open(&name("a"), &classes()).1.epoch(), a);
        let (at, room) = rooms.open(&name("c"), &classes());
        room.set_seats(ShardId(0), LocalPlace::default(), SeatCounts { by_encoding: [1, 0], ..SeatCounts::default() });
        say_and_settle(&mut rooms, "c", 0, &limits);
        assert!(!rooms.is_full(&limits), "people sit in {at}, and it gives what it has");
    }

    /// Regression: whoever wrote to many names pushed out the letters of those who were away, however new they were.
    #[test]
    fn letters_are_pushed_out_by_letters_only_and_the_longest_without_a_new_one_first() {
        let limits = Limits { idle_rooms_max: 2, idle_inboxes_max: 2, ..Limits::default() };
        let mut rooms = rooms();
        let epochs = ["@ann", "@bob"].map(|inbox| say_and_settle(&mut rooms, inbox, 0, &limits));
        for n in 0..50 {
            say_and_settle(&mut rooms, &format!("r{n}"), 10, &limits);
        }
        assert_eq!((rooms.len(), rooms.forgotten()), (4, 48));
        // A new letter to the one that has waited longest.
        say_and_settle(&mut rooms, "@ann", 20, &limits);
        say_and_settle(&mut rooms, "@cid", 30, &limits);
        assert_eq!(rooms.open(&name("@ann"), &classes()).1.epoch(), epochs[0]);
        assert_ne!(rooms.open(&name("@bob"), &classes()).1.epoch(), epochs[1]);
    }

    /// Regression: whoever said something in as many rooms that nobody knows as may be kept pushed out everybody's.
    #[test]
    fn rooms_that_nobody_ever_sat_in_do_not_push_out_those_that_people_left() {
        let (mut rooms, limits) = (rooms(), Limits { idle_rooms_max: 16, ..Limits::default() });
        let seats = SeatCounts { by_encoding: [1, 0], ..SeatCounts::default() };
        let left: Vec<(String, Epoch)> = (0..10)
            .map(|n| {
                let room = format!("left{n}");
                let (at, home) = rooms.open(&name(&room), &classes());
                home.set_seats(ShardId(0), LocalPlace::default(), seats);
                let epoch = say_and_settle(&mut rooms, &room, n, &limits);
                let home = rooms.room_mut(at).unwrap();
                home.set_seats(ShardId(0), LocalPlace::default(), SeatCounts::default());
                rooms.settle(Now { mono_ms: n, unix_ms: 0 }, at, &limits);
                (room, epoch)
            })
            .collect();
        for n in 0..100 {
            say_and_settle(&mut rooms, &format!("made{n}"), 100 + n, &limits);
        }
        assert!(rooms.len() <= 16 && rooms.pushed_out() >= 94, "{} of them", rooms.len());
        for (room, epoch) in left {
            assert_eq!(rooms.open(&name(&room), &classes()).1.epoch(), epoch, "{room}");
        }
    }

    /// Regression: a log that people sit by gave nothing, and everybody else's publish was refused.
    #[test]
    fn logs_far_over_their_bound_lose_half_of_what_they_hold_one_after_the_other() {
        let (mut rooms, limits) = (rooms(), Limits { logs_bytes_max: 4_000, ..Limits::default() });
        let seats = SeatCounts { by_encoding: [1, 0], ..SeatCounts::default() };
        for n in 0..100 {
            let room = format!("r{}", n % 10);
            rooms.open(&name(&room), &classes()).1.set_seats(ShardId(0), LocalPlace::default(), seats);
            say_and_settle(&mut rooms, &room, n, &limits);
        }
        let before = rooms.bytes();
        assert!(before > 6_000 && rooms.is_full(&limits));
        assert!((2_000..=4_500).contains(&rooms.bytes()), "{before} became {}", rooms.bytes());
        assert_eq!(rooms.iter().map(|room| room.log().bytes()).sum::<usize>(), rooms.bytes());
    }

    #[test]
    fn an_empty_room_whose_messages_are_all_too_old_is_forgotten() {
        let (mut rooms, limits) = (rooms(), Limits { log_age_ms: 1_000, ..Limits::default() });
        say_and_settle(&mut rooms, "a", 0, &limits);
        say_and_settle(&mut rooms, "a", 900, &limits);
        rooms.sweep(Now { mono_ms: 1_500, unix_ms: 0 }, &Classes::of(&limits));
        assert_eq!(rooms.len(), 1);
        rooms.sweep(Now { mono_ms: 2_600, unix_ms: 0 }, &Classes::of(&limits));
        assert!(rooms.is_empty() && rooms.bytes() == 0);
    }
}
