//! Who is typing in a room: a key with a time to live per user.
//!
//! Promises: typing ends by itself, with a message, and with the user's last connection; what is told is the whole state,
//! bounded, and is told again while it lasts, so that whoever missed a change is right again soon. Must never: be kept in
//! the log, or grow beyond `Limits::typing_max`.

use std::collections::BTreeMap;

use crate::base::{Identity, Now};

/// For so long at least a typing that was told lasts: whoever switches to and fro is told of at this pace.
const SHOWN_MS_MIN: u64 = 1_000;

/// Who is typing in one room.
#[derive(Default, Debug)]
pub struct Typing {
    users: BTreeMap<Identity, Typist>,
    /// Some of them nobody was told of.
    fresh: u32,
    /// Somebody who was told of has ended.
    ended: bool,
    /// When it is told again though nothing has changed.
    repeat_mono_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Typist {
    since_mono_ms: u64,
    until_mono_ms: u64,
    told: bool,
}

/// Everybody who is typing: a bounded list and the true number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Typists {
    pub users: Vec<Identity>,
    pub count: u32,
    /// What is not told again within this time has ended.
    pub ttl_ms: u64,
}

impl Typing {
    /// This user types, for as long as `typing_ms`. False: as many are typing as can be noted.
    pub fn begin(&mut self, now: Now, who: &Identity, typing_ms: u64, typing_max: usize) -> bool {
        let until_mono_ms = now.mono_ms + typing_ms;
        if let Some(typist) = self.users.get_mut(who) {
            typist.until_mono_ms = until_mono_ms;
            return true;
        }
        if self.users.len() >= typing_max {
            return false;
        }
        self.users.insert(who.clone(), Typist { since_mono_ms: now.mono_ms, until_mono_ms, told: false });
        self.fresh += 1;
        true
    }

    /// The user says that they have stopped: soon, if it has only just begun.
    pub fn stop(&mut self, now: Now, who: &Identity) {
        let Some(typist) = self.users.get_mut(who) else { return };
        typist.until_mono_ms = typist.until_mono_ms.min(typist.since_mono_ms + SHOWN_MS_MIN);
        if typist.until_mono_ms <= now.mono_ms {
            self.end(who);
        }
    }

    /// The user has said it, or is gone.
    pub fn end(&mut self, who: &Identity) {
        match self.users.remove(who) {
            Some(Typist { told: true, .. }) => self.ended = true,
            Some(Typist { told: false, .. }) => self.fresh -= 1,
            None => {}
        }
    }

    /// Those whose time is over have ended.
    pub fn expire(&mut self, now: Now) {
        let over: Vec<Identity> = self
            .users
            .iter()
            .filter(|(_, typist)| typist.until_mono_ms <= now.mono_ms)
            .map(|(who, _)| who.clone())
            .collect();
        over.iter().for_each(|who| self.end(who));
    }

    /// When to look again; `None`: nobody is typing.
    pub fn next_due(&self) -> Option<u64> {
        let ends = self.users.values().map(|typist| typist.until_mono_ms).min()?;
        Some(if self.fresh == 0 { ends.min(self.repeat_mono_ms) } else { ends })
    }

    /// The whole state, when it has changed or was not told for `typing_ms`.
    pub fn take_change(&mut self, now: Now, typing_ms: u64, named_max: usize) -> Option<Typists> {
        if !self.has_news(now) {
            return None;
        }
        (self.fresh, self.ended) = (0, false);
        self.repeat_mono_ms = now.mono_ms + typing_ms;
        self.users.values_mut().for_each(|typist| typist.told = true);
        let users = self.users.keys().take(named_max).cloned().collect();
        Some(Typists { users, count: self.users.len() as u32, ttl_ms: 2 * typing_ms })
    }

    pub fn has_news(&self, now: Now) -> bool {
        self.fresh > 0 || self.ended || (!self.users.is_empty() && self.repeat_mono_ms <= now.mono_ms)
    }

    pub fn len(&self) -> usize {
        self.users.len()
    }

    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Nobody is typing, and everybody knows.
    pub fn is_over(&self) -> bool {
        self.users.is_empty() && !self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str) -> Identity {
        Identity::new(name, None).unwrap()
    }

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, unix_ms: 0 }
    }

    fn told(typing: &mut Typing, mono_ms: u64) -> Option<Vec<String>> {
        let typists = typing.take_change(at(mono_ms), 6_000, 2)?;
        Some(typists.users.iter().map(|who| who.user().to_owned()).collect())
    }

    fn names(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn typing_is_told_once_repeated_while_it_lasts_and_ends_by_itself() {
        let mut typing = Typing::default();
        assert!(typing.begin(at(0), &who("ann"), 6_000, 9));
        assert_eq!((told(&mut typing, 0), told(&mut typing, 100)), (names(&["ann"]), None));
        assert!(typing.begin(at(5_000), &who("ann"), 6_000, 9));
        assert_eq!((typing.next_due(), told(&mut typing, 6_000)), (Some(6_000), names(&["ann"])));
        typing.expire(at(10_999));
        assert_eq!((told(&mut typing, 10_999), typing.next_due()), (None, Some(11_000)));
        typing.expire(at(11_000));
        assert_eq!((told(&mut typing, 11_000), typing.next_due(), typing.is_over()), (names(&[]), None, true));
    }

    #[test]
    fn to_and_fro_is_told_of_once_a_second_and_a_message_ends_it_at_once() {
        let mut typing = Typing::default();
        typing.begin(at(0), &who("ann"), 6_000, 9);
        told(&mut typing, 0);
        for ms in 1..999 {
            typing.stop(at(ms), &who("ann"));
            typing.begin(at(ms), &who("ann"), 6_000, 9);
        }
        assert_eq!(told(&mut typing, 999), None);
        typing.stop(at(999), &who("ann"));
        assert_eq!((told(&mut typing, 999), typing.next_due()), (None, Some(1_000)));
        typing.end(&who("ann"));
        assert_eq!(told(&mut typing, 999), names(&[]));
        typing.begin(at(2_000), &who("bob"), 6_000, 9);
        typing.end(&who("bob"));
        assert!(typing.is_over() && told(&mut typing, 2_000).is_none(), "nobody was told that he began");
    }

    #[test]
    fn more_than_can_be_named_are_counted_and_more_than_can_be_noted_are_not() {
        let mut typing = Typing::default();
        for name in ["ann", "bob", "cid"] {
            assert!(typing.begin(at(0), &who(name), 6_000, 3));
        }
        assert!(!typing.begin(at(0), &who("dan"), 6_000, 3));
        let typists = typing.take_change(at(0), 6_000, 2).unwrap();
        assert_eq!((typists.users.len(), typists.count, typists.ttl_ms), (2, 3, 12_000));
    }
}
