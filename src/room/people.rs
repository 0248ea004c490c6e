//! Who is in a room: users, each with the number of their connections on all shards.
//!
//! Promises: a user enters with the first connection and leaves with the last; one whose last connection was lost is away
//! until they come back or their time is over. Changes are merged until they are taken, so that in-and-out between two
//! ticks is no news; they are bounded: of more changes than can be named only the number of people is told. Whoever has a
//! roll of version n, or a roll and all changes up to n, is right again after the changes n + 1.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use crate::base::{Identity, Now, Presence};
use crate::wire::{Member, ReadBy};

/// What holds while somebody enters or leaves.
#[derive(Clone, Copy, Debug)]
pub struct Telling {
    /// What is told of it; whether anybody is counted at all is the room's to know.
    pub presence: Presence,
    /// Somebody wants to hear of changes.
    pub watched: bool,
    /// Users that can be named at once.
    pub named_max: usize,
}

/// The people of one room.
#[derive(Default, Debug)]
pub struct People {
    /// Connections of each; none: away.
    users: BTreeMap<Identity, u32>,
    away: Option<Box<Away>>,
    /// Since the last `take_changes`, where somebody watches.
    news: Option<Box<News>>,
    version: u64,
    /// The roll that is on its way to somebody: whoever asks meanwhile gets the same one.
    called: Option<Weak<[Member]>>,
    /// The number of people that was told last.
    count_told: u32,
    /// Somebody came or went since the version last rose.
    touched: bool,
    /// A roll was called since then, and may show what lay between.
    rolled: bool,
    /// Somebody came or went while no names were told: whoever keeps a list cannot be right again by the next names.
    unnamed: bool,
}

/// Those whose last connection was lost.
#[derive(Debug)]
struct Away {
    /// Until when they are awaited, by the monotonic clock.
    until: BTreeMap<Identity, u64>,
    /// Nobody's time is over before this.
    next_mono_ms: u64,
}

/// Where somebody stood before the changes that are not told yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    Absent,
    Away,
    Here,
    /// Here, and shown to others as somebody else than now.
    HereOtherwise,
}

#[derive(Default, Debug)]
struct News {
    /// Whose standing changed: what it was, and how many rolls had been called by then.
    changed: BTreeMap<Identity, (Standing, u32)>,
    /// Rolls called since the last `take_changes`: they may show what lay between.
    rolls: u32,
    /// More changed than can be named.
    too_many: bool,
}

/// What changed since last time. Each list says how those in it stand now. `counted`: the lists are empty, because too
/// many changed or the room only counts.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Changes {
    pub joined: Vec<Identity>,
    pub left: Vec<Identity>,
    pub away: Vec<Identity>,
    pub back: Vec<Identity>,
    pub count: u32,
    pub version: u64,
    pub counted: bool,
}

/// A bounded list of who is here, by user, and the true number.
#[derive(Clone, Debug)]
pub struct Roll {
    pub presence: Presence,
    /// `None`: names are not told here.
    pub members: Option<Arc<[Member]>>,
    pub count: u32,
    pub version: u64,
    /// Who has read how far, where the room keeps it: the furthest first, bounded.
    pub reads: Option<Arc<[ReadBy]>>,
}

impl People {
    /// One more connection of this user, who is shown to others as it says.
    pub fn enter(&mut self, who: &Identity, telling: Telling) {
        self.called = None;
        match self.users.get_mut(who) {
            Some(connections @ 1..) => {
                *connections += 1;
                self.say_anew(who, telling);
            }
            Some(connections) => {
                *connections = 1;
                self.rename(who);
                self.not_away(who);
                self.note(who, Standing::Away, telling);
            }
            None => {
                self.users.insert(who.clone(), 1);
                self.note(who, Standing::Absent, telling);
            }
        }
    }

    /// Of all that a user's connections say about it the newest is shown. Who is not here is not looked at.
    pub fn say_anew(&mut self, who: &Identity, telling: Telling) {
        if self.rename(who) {
            self.called = None;
            if self.standing(who) == Standing::Here {
                self.note(who, Standing::HereOtherwise, telling);
            }
        }
    }

    /// One connection less. Someone who is not here stays not here. `away_until`: when the last one is gone they count as
    /// away until then. True: that was the last one.
    pub fn leave(&mut self, who: &Identity, away_until: Option<u64>, telling: Telling) -> bool {
        let Some(connections) = self.users.get_mut(who).filter(|connections| **connections > 0) else { return false };
        self.called = None;
        *connections -= 1;
        if *connections > 0 {
            return false;
        }
        if let Some(until_mono_ms) = away_until {
            let nobody = || Box::new(Away { until: BTreeMap::new(), next_mono_ms: until_mono_ms });
            let away = self.away.get_or_insert_with(nobody);
            away.next_mono_ms = away.next_mono_ms.min(until_mono_ms);
            away.until.insert(who.clone(), until_mono_ms);
        } else {
            self.users.remove(who);
        }
        self.note(who, Standing::Here, telling);
        true
    }

    /// Those whose time away is over are gone.
    pub fn expire(&mut self, now: Now, telling: Telling) {
        let Some(away) = self.away.as_mut().filter(|away| away.next_mono_ms <= now.mono_ms) else { return };
        let mut over = Vec::new();
        away.until.retain(|who, until_mono_ms| {
            let stays = *until_mono_ms > now.mono_ms;
            if !stays {
                over.push(who.clone());
            }
            stays
        });
        match away.until.values().min() {
            Some(next_mono_ms) => away.next_mono_ms = *next_mono_ms,
            None => self.away = None,
        }
        for who in over {
            self.called = None;
            self.users.remove(&who);
            self.note(&who, Standing::Away, telling);
        }
    }

    /// When the next who is away may be gone.
    pub fn next_due(&self) -> Option<u64> {
        self.away.as_ref().map(|away| away.next_mono_ms)
    }

    /// What changed since the last call; `None` when that is nothing, or nothing is told.
    pub fn take_changes(&mut self, presence: Presence) -> Option<Changes> {
        // A roll that nobody reads any more would keep its memory.
        self.called.take_if(|called| called.strong_count() == 0);
        let rolled = std::mem::take(&mut self.rolled);
        if !std::mem::take(&mut self.touched) {
            return None;
        }
        let mut news = self.news.take().unwrap_or_default();
        match presence {
            Presence::Off | Presence::Counted => self.unnamed = true,
            Presence::Announced => news.too_many |= std::mem::take(&mut self.unnamed),
        }
        if presence == Presence::Off {
            return None;
        }
        let mut changes = Changes { count: self.count(), ..Changes::default() };
        changes.counted = news.too_many || presence != Presence::Announced;
        for (who, (before, rolls)) in news.changed {
            let now = self.standing(&who);
            if before == now && rolls == news.rolls || changes.counted {
                continue;
            }
            let newest = self.users.get_key_value(&who).map(|(newest, _)| newest.clone());
            let who = newest.unwrap_or(who);
            match (before, now) {
                (_, Standing::Absent) => changes.left.push(who),
                (_, Standing::Away) => changes.away.push(who),
                (Standing::Away, Standing::Here | Standing::HereOtherwise) => changes.back.push(who),
                (
                    Standing::Absent | Standing::Here | Standing::HereOtherwise,
                    Standing::Here | Standing::HereOtherwise,
                ) => changes.joined.push(who),
            }
        }
        let lists = [&changes.joined, &changes.left, &changes.away, &changes.back];
        let recount = changes.counted && (changes.count != self.count_told || rolled || news.too_many);
        if lists.iter().all(|list| list.is_empty()) && !recount {
            // Who came is gone again, and nobody has seen them.
            return None;
        }
        self.count_told = changes.count;
        self.version += 1;
        changes.version = self.version;
        Some(changes)
    }

    /// The first `members_max` users in order of their names (`None`: nobody is named), and the number of all. Made once
    /// for all who ask before somebody comes or goes.
    pub fn roll(&mut self, members_max: Option<usize>, telling: Telling) -> Roll {
        self.rolled |= self.touched;
        if let Some(news) = &mut self.news {
            news.rolls += 1;
        }
        if self.touched && !telling.watched {
            // Nobody will be told of what has changed, so no version will be given to it.
            (self.touched, self.rolled, self.news, self.count_told) = (false, false, None, self.count());
            self.unnamed = false;
            self.version += 1;
        }
        let members = members_max.map(|members_max| self.call(members_max));
        Roll { presence: telling.presence, members, count: self.count(), version: self.version, reads: None }
    }

    /// Everybody, in order of their names, with the number of their connections; none: away.
    pub fn iter(&self) -> impl Iterator<Item = (&Identity, u32)> {
        self.users.iter().map(|(who, connections)| (who, *connections))
    }

    /// Connections of this user; 0 as well for somebody who is not here.
    pub fn connections_of(&self, who: &Identity) -> u32 {
        self.users.get(who).copied().unwrap_or(0)
    }

    /// Whether somebody came or went since the last `take_changes`.
    pub fn has_news(&self) -> bool {
        self.touched
    }

    /// Distinct users, those who are away included.
    pub fn count(&self) -> u32 {
        self.users.len() as u32
    }

    /// Users whose last connection was lost.
    pub fn away(&self) -> usize {
        self.away.as_ref().map_or(0, |away| away.until.len())
    }

    fn call(&mut self, members_max: usize) -> Arc<[Member]> {
        let called = self.called.as_ref().and_then(Weak::upgrade).filter(|members| members.len() <= members_max);
        let members = called.unwrap_or_else(|| {
            let here = self.users.iter().take(members_max);
            here.map(|(who, connections)| Member { identity: who.clone(), connections: *connections }).collect()
        });
        self.called = Some(Arc::downgrade(&members));
        members
    }

    fn standing(&self, who: &Identity) -> Standing {
        match self.users.get(who) {
            None => Standing::Absent,
            Some(0) => Standing::Away,
            Some(_) => Standing::Here,
        }
    }

    /// Whether what is shown of this user was another thing until now.
    fn rename(&mut self, who: &Identity) -> bool {
        let known = self.users.get_key_value(who);
        let Some(connections) = known.filter(|(known, _)| known.info() != who.info()).map(|(_, n)| *n) else {
            return false;
        };
        // An insertion would leave the former key where it is: they are equal.
        self.users.remove(who);
        self.users.insert(who.clone(), connections);
        true
    }

    fn not_away(&mut self, who: &Identity) {
        if let Some(away) = &mut self.away {
            away.until.remove(who);
            if away.until.is_empty() {
                self.away = None;
            }
        }
    }

    fn note(&mut self, who: &Identity, before: Standing, telling: Telling) {
        self.touched = true;
        if !telling.watched {
            return;
        }
        if telling.presence != Presence::Announced {
            self.unnamed = true;
            return;
        }
        let now = self.standing(who);
        let news = self.news.get_or_insert_default();
        if news.too_many {
            return;
        }
        match news.changed.get_key_value(who) {
            // It is as it was, and nobody can have seen that it was not.
            Some((as_what, (first, rolls))) if *first == now && *rolls == news.rolls => {
                let same = as_what.info() == who.info();
                news.changed.remove(who);
                if !same {
                    let rolls = news.rolls;
                    news.changed.insert(who.clone(), (Standing::HereOtherwise, rolls));
                }
            }
            // It was here before, and would be taken for what it was then.
            Some((_, (Standing::Here, _))) if before == Standing::HereOtherwise => {
                let rolls = news.rolls;
                news.changed.insert(who.clone(), (Standing::HereOtherwise, rolls));
            }
            Some(_) => {}
            None if news.changed.len() >= telling.named_max => {
                (news.too_many, news.changed) = (true, BTreeMap::new());
            }
            None => {
                let rolls = news.rolls;
                news.changed.insert(who.clone(), (before, rolls));
            }
        }
    }
}
