//! What was revoked, in words. Shards keep a `jti` as a hash under the key of their process, which would tell the next
//! process nothing.
//!
//! Promises: bounded as the list of each shard is, by the same settings, and remembered as long; what names nothing that
//! could still be good goes first when there is no room. Kept in memory only.

use std::collections::HashMap;

use crate::shard::Revocation;

/// A revocation, and when it was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remembered {
    /// Seconds since 1970; 0 where it does not matter, because it is never forgotten.
    pub at_unix_s: u64,
    pub revocation: Revocation,
}

/// What was revoked here, or on a server of which this one was told.
#[derive(Default, Debug)]
pub(super) struct RevocationList {
    /// When each `jti` was revoked.
    tokens: HashMap<Box<str>, u64>,
    users: HashMap<Box<str>, OfUser>,
    issued_before_unix_s: u64,
}

#[derive(Clone, Copy, Debug)]
struct OfUser {
    issued_before_unix_s: u64,
    at_unix_s: u64,
}

/// How much is remembered, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Tokens and users together.
    pub(super) entries_max: usize,
    /// No token is good for longer.
    pub(super) life_s: u64,
}

/// What became of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Noted {
    New,
    /// It says nothing that is not known, or names nothing that could still be good.
    Known,
    /// There is no room for it.
    Full,
}

impl RevocationList {
    pub(super) fn note(&mut self, now_s: u64, one: &Remembered, bounds: Bounds) -> Noted {
        if self.len() >= bounds.entries_max {
            self.forget_what_ended(now_s, bounds.life_s);
        }
        let has_room = self.len() < bounds.entries_max;
        let at_unix_s = one.at_unix_s.min(now_s);
        let matters = lasts(at_unix_s, now_s, bounds.life_s);
        match &one.revocation {
            Revocation::Issued { before_unix_s } => {
                let is_new = *before_unix_s > self.issued_before_unix_s;
                self.issued_before_unix_s = self.issued_before_unix_s.max(*before_unix_s);
                if is_new { Noted::New } else { Noted::Known }
            }
            Revocation::Token { jti } => match self.tokens.get_mut(jti) {
                Some(kept) => {
                    *kept = at_unix_s.max(*kept);
                    Noted::Known
                }
                None if !matters => Noted::Known,
                None if !has_room => Noted::Full,
                None => {
                    self.tokens.insert(jti.clone(), at_unix_s);
                    Noted::New
                }
            },
            Revocation::User { user, issued_before_unix_s } => match self.users.get_mut(user) {
                Some(kept) => {
                    let is_new = *issued_before_unix_s > kept.issued_before_unix_s;
                    kept.issued_before_unix_s = kept.issued_before_unix_s.max(*issued_before_unix_s);
                    kept.at_unix_s = kept.at_unix_s.max(at_unix_s);
                    if is_new { Noted::New } else { Noted::Known }
                }
                None if !matters => Noted::Known,
                None if !has_room => Noted::Full,
                None => {
                    let issued_before_unix_s = *issued_before_unix_s;
                    self.users.insert(user.clone(), OfUser { issued_before_unix_s, at_unix_s });
                    Noted::New
                }
            },
        }
    }

    /// Everything there is.
    pub(super) fn all(&self) -> Vec<Remembered> {
        let everybody = Some(self.issued_before_unix_s).filter(|before| *before > 0);
        let everybody = everybody
            .map(|before_unix_s| Remembered { at_unix_s: 0, revocation: Revocation::Issued { before_unix_s } });
        let tokens = self.tokens.iter().map(|(jti, at_unix_s)| Remembered {
            at_unix_s: *at_unix_s,
            revocation: Revocation::Token { jti: jti.clone() },
        });
        let users = self.users.iter().map(|(user, OfUser { issued_before_unix_s, at_unix_s })| Remembered {
            at_unix_s: *at_unix_s,
            revocation: Revocation::User { user: user.clone(), issued_before_unix_s: *issued_before_unix_s },
        });
        everybody.into_iter().chain(tokens).chain(users).collect()
    }

    fn len(&self) -> usize {
        self.tokens.len() + self.users.len()
    }

    fn forget_what_ended(&mut self, now_s: u64, life_s: u64) {
        self.tokens.retain(|_, at_unix_s| lasts(*at_unix_s, now_s, life_s));
        self.users.retain(|_, of_user| lasts(of_user.at_unix_s, now_s, life_s));
    }
}

/// Whether a token that was there at that time may still be good.
fn lasts(at_unix_s: u64, now_s: u64, life_s: u64) -> bool {
    at_unix_s.saturating_add(life_s) > now_s
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(at_unix_s: u64, jti: &str) -> Remembered {
        Remembered { at_unix_s, revocation: Revocation::Token { jti: jti.into() } }
    }

    fn user(at_unix_s: u64, user: &str, issued_before_unix_s: u64) -> Remembered {
        Remembered { at_unix_s, revocation: Revocation::User { user: user.into(), issued_before_unix_s } }
    }

    fn everybody(before_unix_s: u64) -> Remembered {
        Remembered { at_unix_s: 0, revocation: Revocation::Issued { before_unix_s } }
    }

    #[test]
    fn what_is_noted_is_given_out_once_and_as_the_strongest_there_was() {
        let (mut list, bounds) = (RevocationList::default(), Bounds { entries_max: 9, life_s: 100 });
        assert_eq!(list.all(), []);
        for (one, noted) in [
            (token(10, "t"), Noted::New),
            (token(10, "t"), Noted::Known),
            (user(10, "ann", 7), Noted::New),
            (user(10, "ann", 6), Noted::Known),
            (user(10, "ann", 9), Noted::New),
            (everybody(3), Noted::New),
            (everybody(2), Noted::Known),
            (everybody(4), Noted::New),
        ] {
            assert_eq!(list.note(10, &one, bounds), noted, "{one:?}");
        }
        assert_eq!(list.all(), [everybody(4), token(10, "t"), user(10, "ann", 9)]);
        // A clock that was ahead makes nothing last longer.
        list.note(10, &token(99, "ahead"), bounds);
        assert!(list.all().contains(&token(10, "ahead")));
    }

    #[test]
    fn a_full_list_keeps_what_it_has_and_forgets_what_no_token_can_outlive() {
        let (mut list, bounds) = (RevocationList::default(), Bounds { entries_max: 2, life_s: 100 });
        assert_eq!(list.note(10, &token(10, "a"), bounds), Noted::New);
        assert_eq!(list.note(50, &user(50, "bob", 9), bounds), Noted::New);
        assert_eq!(list.note(60, &token(60, "b"), bounds), Noted::Full);
        assert_eq!(list.note(60, &user(60, "ann", 9), bounds), Noted::Full);
        assert_eq!(list.note(60, &everybody(5), bounds), Noted::New, "by time always");
        assert_eq!(list.note(110, &token(110, "b"), bounds), Noted::New, "nothing that `a` names is good any more");
        assert_eq!(list.note(110, &token(9, "old"), bounds), Noted::Known, "it names nothing that could be good");
        assert_eq!(list.all(), [everybody(5), token(110, "b"), user(50, "bob", 9)]);
        let for_ever = Bounds { life_s: u64::MAX, ..bounds };
        assert_eq!(list.note(u64::MAX - 1, &token(1, "c"), for_ever), Noted::Full);
    }
}
