//! How far the people of a room have read.
//!
//! Promises: one position per user, a maximum that never falls while it is kept and never passes the newest message; at
//! most `Limits::receipts_max` of them. When one more comes, whoever has read least far is forgotten: all they have to
//! read again is what they had to read anyway.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use crate::base::{Identity, Offset};
use crate::wire::ReadBy;

/// The read positions of one room.
#[derive(Default, Debug)]
pub struct Reads {
    by_user: BTreeMap<Identity, Offset>,
    /// The same, least far first.
    by_offset: BTreeSet<(Offset, Identity)>,
    /// Whose position rose and was not told yet, and whether they may have other connections in the room.
    untold: BTreeMap<Identity, bool>,
    /// The list that is on its way to somebody: whoever asks before somebody reads on gets the same one.
    called: Option<Weak<[ReadBy]>>,
}

/// What became of a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Noted {
    Risen,
    /// It was known, or is not worth knowing.
    Known,
    /// It is kept, and somebody else's is forgotten for it; or it is itself the least of too many.
    Forgot,
}

impl Reads {
    /// This user has read up to `offset`, which must not be beyond the newest message. `elsewhere`: they may have other
    /// connections in the room, which must hear of it.
    pub fn note(&mut self, who: &Identity, offset: Offset, elsewhere: bool, receipts_max: usize) -> Noted {
        let before = self.by_user.get(who).copied();
        if offset == Offset(0) || before.is_some_and(|before| before >= offset) {
            return Noted::Known;
        }
        let mut noted = Noted::Risen;
        if let Some(before) = before {
            self.by_offset.remove(&(before, who.clone()));
        } else if self.by_user.len() >= receipts_max {
            noted = Noted::Forgot;
            match self.by_offset.first() {
                Some((least, _)) if *least < offset => {
                    if let Some((_, least)) = self.by_offset.pop_first() {
                        self.by_user.remove(&least);
                        self.untold.remove(&least);
                    }
                }
                Some(_) | None => return noted,
            }
        }
        self.called = None;
        self.by_user.insert(who.clone(), offset);
        self.by_offset.insert((offset, who.clone()));
        *self.untold.entry(who.clone()).or_default() |= elsewhere;
        noted
    }

    /// Positions that rose since they were told last, at most so many; the rest stays news. The second list: those of them
    /// whose users may have other connections in the room.
    pub fn take_changes(&mut self, named_max: usize) -> [Vec<ReadBy>; 2] {
        // A list that nobody reads any more would keep its memory.
        self.called.take_if(|called| called.strong_count() == 0);
        let (mut changes, mut elsewhere) = (Vec::new(), Vec::new());
        while changes.len() < named_max
            && let Some((who, others)) = self.untold.pop_first()
        {
            let read = ReadBy { offset: self.of(&who), who };
            if others {
                elsewhere.push(read.clone());
            }
            changes.push(read);
        }
        [changes, elsewhere]
    }

    pub fn has_news(&self) -> bool {
        !self.untold.is_empty()
    }

    /// How far this user has read; 0: nothing is known.
    pub fn of(&self, who: &Identity) -> Offset {
        self.by_user.get(who).copied().unwrap_or_default()
    }

    /// Those who have read furthest, the furthest first, at most so many.
    pub fn furthest(&self, named_max: usize) -> Vec<ReadBy> {
        let furthest = self.by_offset.iter().rev().take(named_max);
        furthest.map(|(offset, who)| ReadBy { who: who.clone(), offset: *offset }).collect()
    }

    /// The same, made once for all who ask before somebody reads on.
    pub fn called(&mut self, named_max: usize) -> Arc<[ReadBy]> {
        let called = self.called.as_ref().and_then(Weak::upgrade).filter(|list| list.len() <= named_max);
        let list = called.unwrap_or_else(|| self.furthest(named_max).into());
        self.called = Some(Arc::downgrade(&list));
        list
    }

    /// Users whose position is kept.
    pub fn len(&self) -> usize {
        self.by_user.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_user.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str) -> Identity {
        Identity::new(name, None).unwrap()
    }

    fn read(reads: &mut Reads, name: &str, offset: u64) -> Noted {
        reads.note(&who(name), Offset(offset), name == "ann", 3)
    }

    #[test]
    fn a_position_rises_only_and_is_told_once() {
        let mut reads = Reads::default();
        assert_eq!([read(&mut reads, "ann", 7), read(&mut reads, "ann", 5)], [Noted::Risen, Noted::Known]);
        assert_eq!((reads.of(&who("ann")), reads.of(&who("bob"))), (Offset(7), Offset(0)));
        assert_eq!(read(&mut reads, "ann", 8), Noted::Risen);
        let told = vec![ReadBy { who: who("ann"), offset: Offset(8) }];
        assert_eq!(reads.take_changes(9), [told.clone(), told]);
        assert_eq!((read(&mut reads, "ann", 8), reads.has_news()), (Noted::Known, false));
        assert_eq!((read(&mut reads, "bob", 0), reads.len()), (Noted::Known, 1));
    }

    #[test]
    fn of_too_many_the_one_who_has_read_least_far_is_forgotten() {
        let mut reads = Reads::default();
        for (name, offset) in [("ann", 7), ("bob", 3), ("cid", 9)] {
            assert_eq!(read(&mut reads, name, offset), Noted::Risen);
        }
        assert_eq!(read(&mut reads, "dan", 2), Noted::Forgot);
        assert_eq!((reads.of(&who("dan")), reads.of(&who("bob"))), (Offset(0), Offset(3)));
        assert_eq!(read(&mut reads, "dan", 4), Noted::Forgot);
        assert_eq!((reads.of(&who("dan")), reads.of(&who("bob")), reads.len()), (Offset(4), Offset(0), 3));
        let order: Vec<u64> = reads.furthest(2).iter().map(|read| read.offset.0).collect();
        assert_eq!(order, [9, 7]);
        assert_eq!(reads.take_changes(9)[0].len(), 3, "nothing is told of who was forgotten");
    }

    /// Regression: a thousand positions were gathered anew for each of a thousand who came at once.
    #[test]
    fn one_list_is_for_all_who_ask_before_somebody_reads_on() {
        let mut reads = Reads::default();
        read(&mut reads, "ann", 7);
        let list = reads.called(9);
        read(&mut reads, "ann", 5);
        assert!(Arc::ptr_eq(&list, &reads.called(9)), "nobody has read on");
        read(&mut reads, "bob", 8);
        assert_eq!((reads.called(9).len(), reads.called(1).len(), list.len()), (2, 1, 1));
    }

    #[test]
    fn what_is_too_much_for_one_telling_stays_news() {
        let mut reads = Reads::default();
        for (name, offset) in [("ann", 7), ("bob", 3), ("cid", 9)] {
            read(&mut reads, name, offset);
        }
        assert_eq!((reads.take_changes(2).map(|list| list.len()), reads.has_news()), ([2, 1], true));
        assert_eq!((reads.take_changes(2).map(|list| list.len()), reads.has_news()), ([1, 0], false));
    }
}
