//! What is no longer believed although its signature is good: one token, a user's tokens, or all that are too old.
//!
//! ```text
//!  Input::Revoke ─► Revocations (each shard has all)  ─► every handshake and refresh is compared with them
//!                                                     └► a sweep over the rows ends who is named: half a second;
//!                                                        at once where a tick is longer than that
//! ```
//!
//! Promises: bounded ([`Limits::revocations_max`](crate::base::Limits)); an entry goes when no token it names can be good
//! any more (`TokenRules::life_max_s`); when full, what is named ends all the same, and the caller is told that it was not
//! kept. Kept in memory only: a restart forgets it.

use std::sync::Arc;

use super::marks::Mark;
use super::round::Round;
use super::row::Stage;
use super::{Count, Shard};
use crate::base::{Now, Seed, SeededMap};
use crate::wire::{BadToken, CloseReason, Verified};

/// What is to be revoked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Revocation {
    /// The tokens with this `jti`.
    Token { jti: Box<str> },
    /// This user's tokens issued before that second (`iat`), and those that do not say when.
    User { user: Box<str>, issued_before_unix_s: u64 },
    /// Everybody's tokens issued before that second, and those that do not say when.
    Issued { before_unix_s: u64 },
}

/// What became of a revocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Revoked {
    /// Connections end within a second, and the token does not come in again.
    Kept,
    /// Connections end within a second, but there is no room to remember it: revoke by time instead.
    Full,
}

/// The revocations a shard knows.
#[derive(Debug)]
pub(crate) struct Revocations {
    seed: Seed,
    /// Hash of a `jti` → until when it is remembered.
    tokens: SeededMap<u64, u64>,
    users: SeededMap<Box<str>, UserEntry>,
    issued_before_unix_s: u64,
    sweep: Round,
}

#[derive(Clone, Copy, Debug)]
struct UserEntry {
    issued_before_unix_s: u64,
    until_unix_s: u64,
}

impl Revocations {
    /// `shared`: the seed of the process.
    pub(crate) fn new(shared: Seed) -> Self {
        Self {
            tokens: SeededMap::with_hasher(shared.state()),
            users: SeededMap::with_hasher(shared.state()),
            seed: shared,
            issued_before_unix_s: 0,
            sweep: Round::default(),
        }
    }

    /// What is kept of a token for as long as its session lasts.
    pub(crate) fn mark(&self, verified: &Verified) -> Mark {
        Mark {
            issued_unix_s: u32::try_from(verified.issued_unix_s.unwrap_or(0)).unwrap_or(u32::MAX),
            token: verified.jti.as_deref().map_or(0, |jti| self.hash(jti)),
        }
    }

    /// Whether a token of this user with this mark was revoked.
    pub(crate) fn name(&self, user: &str, mark: Mark) -> bool {
        let issued_unix_s = u64::from(mark.issued_unix_s);
        issued_unix_s < self.issued_before_unix_s
            || mark.token != 0 && self.tokens.contains_key(&mark.token)
            || self.users.get(user).is_some_and(|entry| issued_unix_s < entry.issued_before_unix_s)
    }

    fn is_empty(&self) -> bool {
        self.issued_before_unix_s == 0 && self.tokens.is_empty() && self.users.is_empty()
    }

    fn len(&self) -> usize {
        self.tokens.len() + self.users.len()
    }

    /// Without the names of users.
    pub(crate) fn bytes(&self) -> usize {
        self.tokens.len() * size_of::<(u64, u64)>() + self.users.len() * size_of::<(Box<str>, UserEntry)>()
    }

    /// Never 0, which stands for "no jti".
    fn hash(&self, jti: &str) -> u64 {
        self.seed.mix(jti.as_bytes()).max(1)
    }

    fn keep(&mut self, unix_s: u64, revocation: &Revocation, life_max_s: u64, max: usize) -> Revoked {
        let until_unix_s = unix_s.saturating_add(life_max_s);
        if self.len() >= max {
            self.tokens.retain(|_, until| *until > unix_s);
            self.users.retain(|_, entry| entry.until_unix_s > unix_s);
        }
        let has_room = self.len() < max;
        match revocation {
            Revocation::Issued { before_unix_s } => {
                self.issued_before_unix_s = self.issued_before_unix_s.max(*before_unix_s);
            }
            Revocation::Token { jti } => {
                let hash = self.hash(jti);
                if !has_room && !self.tokens.contains_key(&hash) {
                    return Revoked::Full;
                }
                self.tokens.insert(hash, until_unix_s);
            }
            Revocation::User { user, issued_before_unix_s } => {
                if !has_room && !self.users.contains_key(user) {
                    return Revoked::Full;
                }
                let entry = UserEntry { issued_before_unix_s: *issued_before_unix_s, until_unix_s };
                let kept = self.users.entry(user.clone()).or_insert(entry);
                kept.issued_before_unix_s = kept.issued_before_unix_s.max(*issued_before_unix_s);
                kept.until_unix_s = until_unix_s;
            }
        }
        Revoked::Kept
    }
}

impl Shard {
    /// Revokes, from now on and for those who are here. To be given to every shard; all of them answer alike.
    pub fn revoke(&mut self, now: Now, revocation: &Revocation) -> Revoked {
        self.counters.add(Count::Revocations, 1);
        let rules = Arc::clone(&self.config.rules);
        let (life_max_s, max) = (rules.verifier.life_max_s(), rules.limits.revocations_max);
        let revoked = self.revocations.keep(now.unix_ms / 1_000, revocation, life_max_s, max);
        match revoked {
            // Whoever is named is gone within a second, however long a tick is.
            Revoked::Kept if rules.limits.tick_ms > SWEEP_MS => self.end_named(now, revocation),
            Revoked::Kept => self.revocations.sweep.begin(),
            Revoked::Full => {
                self.counters.add(Count::RevocationsFull, 1);
                self.end_named(now, revocation);
            }
        }
        revoked
    }

    /// Whether a token that is good was revoked.
    pub(super) fn check_revoked(&self, verified: &Verified) -> Result<(), BadToken> {
        if self.revocations.is_empty() {
            return Ok(());
        }
        let mark = self.revocations.mark(verified);
        if self.revocations.name(verified.identity.user(), mark) { Err(BadToken::Revoked) } else { Ok(()) }
    }

    /// Remembers by what the token of this connection can be revoked.
    pub(super) fn note_mark(&mut self, index: u32, verified: &Verified) {
        let mark = self.revocations.mark(verified);
        self.marks.set(index, mark, self.connections.slots_per_ring());
    }

    /// A part of the rows at each tick, so that a table of a million is no hole of milliseconds.
    pub(super) fn sweep_revoked(&mut self, now: Now) {
        self.marks.keep_rings(self.connections.chunks());
        for _ in 0..self.revocations.sweep.part(&self.connections, sweep_ticks(self.limits().tick_ms)) {
            let Some(index) = self.revocations.sweep.next(&self.connections) else { return };
            #[cfg(feature = "planted-bugs")]
            if self.config.planted == Some(super::PlantedBug::RevokedGoOn) {
                continue;
            }
            let row = self.connections.at(index);
            let Some(identity) = row.identity.as_ref().filter(|_| row.stage == Stage::Open) else { continue };
            if self.revocations.name(identity.user(), self.marks.of(index)) {
                let conn = row.key(index);
                self.fail(now, conn, CloseReason::Revoked);
            }
        }
    }

    /// Whether somebody who was revoked may still be here.
    pub(super) fn sweeps_revoked(&self) -> bool {
        !self.revocations.sweep.is_at_rest()
    }

    /// What could not be remembered, or cannot wait for a tick, ends at once, in one go over the table: rare, and better than
    /// not at all.
    fn end_named(&mut self, now: Now, revocation: &Revocation) {
        let mut only = Revocations::new(self.revocations.seed.clone());
        let kept = only.keep(now.unix_ms / 1_000, revocation, u64::MAX, 1);
        debug_assert_eq!(kept, Revoked::Kept, "an empty table has room for one");
        let mut cursor = 0;
        while let Some(index) = self.connections.next_index(cursor) {
            cursor = index + 1;
            let row = self.connections.at(index);
            let named = row.identity.as_ref().is_some_and(|identity| only.name(identity.user(), self.marks.of(index)));
            if named && row.stage == Stage::Open {
                let conn = row.key(index);
                self.fail(now, conn, CloseReason::Revoked);
            }
        }
    }
}

/// Ticks for one round: half a second of them.
fn sweep_ticks(tick_ms: u64) -> usize {
    usize::try_from(SWEEP_MS / tick_ms.max(1)).unwrap_or(usize::MAX).max(1)
}

/// Whoever is revoked is gone within a second.
const SWEEP_MS: u64 = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Identity;

    const DAY_S: u64 = 86_400;

    #[test]
    fn a_round_takes_half_a_second_at_most() {
        assert_eq!([1, 100, 250, 300, 500].map(sweep_ticks), [500, 5, 2, 1, 1]);
    }

    fn verified(user: &str, issued_unix_s: Option<u64>, jti: Option<&str>) -> Verified {
        let identity = Identity::new(user, None).unwrap();
        Verified { identity, grants: None, expires_unix_s: 0, issued_unix_s, jti: jti.map(Into::into) }
    }

    fn names(table: &Revocations, verified: &Verified) -> bool {
        table.name(verified.identity.user(), table.mark(verified))
    }

    #[test]
    fn each_kind_names_what_it_says_and_nothing_else() {
        let mut table = Revocations::new(Seed::new([1, 2]));
        assert!(table.is_empty() && !names(&table, &verified("ann", None, None)));
        table.keep(100, &Revocation::Token { jti: "t1".into() }, DAY_S, 9);
        assert!(names(&table, &verified("ann", Some(5), Some("t1"))));
        assert!(!names(&table, &verified("ann", Some(5), Some("t2"))) && !names(&table, &verified("ann", None, None)));
        table.keep(100, &Revocation::User { user: "bob".into(), issued_before_unix_s: 50 }, DAY_S, 9);
        assert!(names(&table, &verified("bob", Some(49), None)) && names(&table, &verified("bob", None, None)));
        assert!(!names(&table, &verified("bob", Some(50), None)) && !names(&table, &verified("ann", Some(1), None)));
        table.keep(100, &Revocation::User { user: "bob".into(), issued_before_unix_s: 40 }, DAY_S, 9);
        assert!(names(&table, &verified("bob", Some(49), None)), "a weaker one does not undo a stronger one");
        table.keep(100, &Revocation::Issued { before_unix_s: 30 }, DAY_S, 9);
        assert!(names(&table, &verified("ann", Some(29), None)) && names(&table, &verified("ann", None, None)));
        assert!(!names(&table, &verified("ann", Some(30), None)));
    }

    #[test]
    fn a_full_table_keeps_what_it_has_and_drops_what_no_token_can_outlive() {
        let mut table = Revocations::new(Seed::new([1, 2]));
        let token = |jti: &str| Revocation::Token { jti: jti.into() };
        let user = |user: &str| Revocation::User { user: user.into(), issued_before_unix_s: 9 };
        assert_eq!(table.keep(0, &token("a"), 100, 2), Revoked::Kept);
        assert_eq!(table.keep(50, &user("bob"), 100, 2), Revoked::Kept);
        assert_eq!(table.keep(60, &token("b"), 100, 2), Revoked::Full);
        assert_eq!(table.keep(60, &token("a"), 40, 2), Revoked::Kept, "again is no more");
        assert_eq!(table.keep(60, &Revocation::Issued { before_unix_s: 1 }, 100, 2), Revoked::Kept, "by time always");
        assert_eq!(table.keep(99, &token("b"), 100, 2), Revoked::Full);
        assert_eq!(table.keep(100, &token("b"), 100, 2), Revoked::Kept);
        assert!(
            !names(&table, &verified("x", Some(1), Some("a"))) && names(&table, &verified("x", Some(1), Some("b")))
        );
        assert_eq!(table.keep(100, &token("c"), u64::MAX, 2), Revoked::Full);
    }
}
