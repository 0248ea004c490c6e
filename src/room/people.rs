//! Who is in a room: users, each with the number of their connections on all shards.
//!
//! Promises: a user enters with the first connection and leaves with the last; changes are merged until
//! they are taken, so that in-and-out between two ticks is no news.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use crate::base::Identity;
use crate::wire::Member;

/// The people of one room.
#[derive(Default, Debug)]
pub struct People {
    users: BTreeMap<Identity, u32>,
    /// Users whose being here changed since the last `take_changes`, with whether they were here before.
    changed: Option<BTreeMap<Identity, bool>>,
    version: u64,
    /// The roll that is on its way to somebody: whoever asks meanwhile gets the same one.
    called: Option<Weak<[Member]>>,
}

/// What changed since last time: users that are new, users that are gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changes {
    pub joined: Vec<Identity>,
    pub left: Vec<Identity>,
    pub count: u32,
    pub version: u64,
}

/// A bounded list of who is here, by user, and the true number.
#[derive(Clone, Debug)]
pub struct Roll {
    pub members: Arc<[Member]>,
    pub count: u32,
    pub version: u64,
}

impl People {
    /// One more connection of this user. `announced`: somebody wants to hear of changes.
    pub fn enter(&mut self, who: &Identity, announced: bool) {
        self.called = None;
        if let Some(connections) = self.users.get_mut(who) {
            *connections += 1;
            return;
        }
        self.users.insert(who.clone(), 1);
        self.note(who, false, announced);
    }

    /// One connection less. Someone who is not here stays not here.
    pub fn leave(&mut self, who: &Identity, announced: bool) {
        let Some(connections) = self.users.get_mut(who) else { return };
        self.called = None;
        *connections -= 1;
        if *connections == 0 {
            self.users.remove(who);
            self.note(who, true, announced);
        }
    }

    /// What changed since the last call, of at most `announced_max` users (the rest stays news); `None` when that is
    /// nothing.
    pub fn take_changes(&mut self, announced_max: usize) -> Option<Changes> {
        let mut changed = self.changed.take()?;
        let (mut joined, mut left) = (Vec::new(), Vec::new());
        while joined.len() + left.len() < announced_max
            && let Some((who, was_here)) = changed.pop_first()
        {
            match (was_here, self.users.contains_key(&who)) {
                (false, true) => joined.push(who),
                (true, false) => left.push(who),
                (true, true) | (false, false) => {}
            }
        }
        self.changed = (!changed.is_empty()).then_some(changed);
        let news = !joined.is_empty() || !left.is_empty();
        news.then(|| Changes { joined, left, count: self.count(), version: self.version })
    }

    /// The first `members_max` users in order of their names. Made once for all who ask before somebody comes or goes.
    pub fn roll(&mut self, members_max: usize) -> Roll {
        let called = self.called.as_ref().and_then(Weak::upgrade).filter(|members| members.len() <= members_max);
        let members = called.unwrap_or_else(|| {
            let here = self.users.iter().take(members_max);
            here.map(|(who, connections)| Member { identity: who.clone(), connections: *connections }).collect()
        });
        self.called = Some(Arc::downgrade(&members));
        Roll { members, count: self.count(), version: self.version }
    }

    /// Everybody, in order of their names, with the number of their connections.
    pub fn iter(&self) -> impl Iterator<Item = (&Identity, u32)> {
        self.users.iter().map(|(who, connections)| (who, *connections))
    }

    /// Whether somebody came or went since the last `take_changes`.
    pub fn has_news(&self) -> bool {
        self.changed.is_some()
    }

    /// Distinct users.
    pub fn count(&self) -> u32 {
        self.users.len() as u32
    }

    /// Rises with every user that enters or leaves.
    pub fn version(&self) -> u64 {
        self.version
    }

    fn note(&mut self, who: &Identity, was_here: bool, announced: bool) {
        self.version += 1;
        if announced {
            self.changed.get_or_insert_default().entry(who.clone()).or_insert(was_here);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str) -> Identity {
        Identity::new(name, None).unwrap()
    }

    #[test]
    fn a_user_is_here_from_the_first_connection_to_the_last() {
        let mut people = People::default();
        people.enter(&who("ann"), true);
        people.enter(&who("ann"), true);
        people.leave(&who("ann"), true);
        let roll = people.roll(10);
        assert_eq!((roll.members[0].identity.user(), roll.members[0].connections), ("ann", 1));
        assert_eq!(people.take_changes(10).unwrap().joined, vec![who("ann")]);
        people.leave(&who("ann"), true);
        people.leave(&who("ann"), true);
        let changes = people.take_changes(10).unwrap();
        assert_eq!((changes.left, changes.count), (vec![who("ann")], 0));
    }

    #[test]
    fn in_and_out_between_two_ticks_is_no_news() {
        let mut people = People::default();
        people.enter(&who("ann"), true);
        people.take_changes(10);
        people.enter(&who("bob"), true);
        people.leave(&who("bob"), true);
        people.leave(&who("ann"), true);
        people.enter(&who("ann"), true);
        assert_eq!(people.take_changes(10), None);
    }

    #[test]
    fn a_crowd_is_announced_in_pieces_and_nobody_is_left_out() {
        let mut people = People::default();
        (0..25).for_each(|n| people.enter(&who(&format!("u{n:02}")), true));
        let pieces: Vec<usize> = std::iter::from_fn(|| people.take_changes(10)).map(|c| c.joined.len()).collect();
        assert_eq!((pieces, people.has_news()), (vec![10, 10, 5], false));
    }

    #[test]
    fn a_long_roll_is_cut_and_says_the_true_number() {
        let mut people = People::default();
        for n in 0..20 {
            people.enter(&who(&format!("u{n:02}")), false);
        }
        let roll = people.roll(3);
        assert_eq!((roll.members.len(), roll.count, roll.version), (3, 20, 20));
        assert!(Arc::ptr_eq(&roll.members, &people.roll(3).members), "one roll for all who ask at once");
        people.leave(&who("u00"), false);
        assert_eq!(people.roll(3).members[0].identity.user(), "u01");
        assert_eq!(people.take_changes(10), None);
    }
}
