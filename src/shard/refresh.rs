//! `refresh`: a connection goes on with a newer token of the same user.
//!
//! Promises: what the old token granted and the new one does not is lost at once: the rooms are left, with word of it; a
//! token that is not taken changes nothing. One try per connection and round of the patrol: a signature costs more than a
//! message.

use std::sync::Arc;

use super::grants::GRANTS_FULL;
use super::row::Flags;
use super::{Count, Shard, seconds};
use crate::base::{ConnKey, Now};
use crate::wire::{Event, Refusal, Verified};

/// Why a token was not taken, and what is said of it where the refusal's own words are not enough.
type No = (Refusal, Option<&'static str>);

impl Shard {
    pub(super) fn refresh(&mut self, now: Now, conn: ConnKey, id: Option<u64>, token: &str) {
        let Some(row) = self.connections.row_mut(conn) else { return };
        if row.flags.has(Flags::REFRESHED) {
            self.counters.add(Count::RefreshesTooOften, 1);
            // No strike: it costs no more than any other message, and a client that hurries keeps its session.
            self.tell_too_often(conn, id, self.round_ms());
            return;
        }
        row.flags.set(Flags::REFRESHED, true);
        let rules = Arc::clone(&self.config.rules);
        let verified = rules.verifier.verify(token, now.unix_ms / 1_000);
        let verified = verified.and_then(|verified| self.check_revoked(&verified).map(|()| verified));
        let outcome = match verified {
            Err(bad) => {
                self.note_bad_token(bad);
                self.refuse(conn, id, Refusal::BadToken, Some(&bad.to_string()));
                return;
            }
            Ok(verified) => self.take_token(now, conn, &verified),
        };
        match outcome {
            Err((refusal, sentence)) => self.refuse(conn, id, refusal, sentence),
            Ok(()) => {
                self.counters.add(Count::Refreshes, 1);
                self.leave_what_is_not_granted(conn);
                if let Some(id) = id {
                    self.answer(conn, &Event::Refreshed { id, expires_in_ms: self.token_left_ms(now, conn) });
                }
            }
        }
    }

    /// The new token's user must be the old one's; what it says holds from here on.
    fn take_token(&mut self, now: Now, conn: ConnKey, verified: &Verified) -> Result<(), No> {
        let Some(identity) = self.connections.row(conn).and_then(|row| row.identity.as_ref()) else {
            return Err((Refusal::Busy, None));
        };
        if *identity != verified.identity {
            return Err((Refusal::OtherUser, None));
        }
        let says_otherwise = identity.info() != verified.identity.info();
        let Some(grants) = self.keep_grants(verified) else { return Err((Refusal::Busy, Some(GRANTS_FULL))) };
        let expires_mono_s = self.token_end(now, verified);
        self.note_mark(conn.index(), verified);
        let Some(row) = self.connections.row_mut(conn) else { return Err((Refusal::Busy, None)) };
        if says_otherwise {
            row.identity = Some(verified.identity.clone());
        }
        row.expires_mono_s = expires_mono_s;
        row.flags.set(Flags::WARNED, false);
        let before = std::mem::replace(&mut row.grants, grants);
        self.grants.give_back(before);
        if says_otherwise {
            self.note_said_anew(conn, &verified.identity);
        }
        Ok(())
    }

    /// When a session with this token ends, grace included, in seconds of the monotonic clock.
    pub(super) fn token_end(&self, now: Now, verified: &Verified) -> u32 {
        let ends_unix_s = verified.expires_unix_s.saturating_add(self.limits().token_leeway_s);
        let lasts_s = ends_unix_s.saturating_sub(now.unix_ms / 1_000);
        seconds(now).saturating_add(u32::try_from(lasts_s).unwrap_or(u32::MAX))
    }

    /// How long the token is still good, without the grace.
    pub(super) fn token_left_ms(&self, now: Now, conn: ConnKey) -> u64 {
        let ends_mono_s = self.connections.row(conn).map_or(0, |row| u64::from(row.expires_mono_s));
        (ends_mono_s * 1_000).saturating_sub(now.mono_ms + self.limits().token_leeway_s * 1_000)
    }
}
