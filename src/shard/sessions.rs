//! Sessions that lost their connection and may be resumed, and the handle by which they are.
//!
//! A session *is* the row of its connection: its handle names shard, row and generation, with a code that only this shard
//! can make. So a live session costs nothing here; an entry exists only from the death of the socket until somebody
//! resumes, or the window is over. Which rooms somebody sat in, and how far they had come, the client knows better.
//!
//! Promises: bounded in number, bytes and age; when there are too many the oldest is forgotten, and counted. A handle is
//! good once, for its own user, and not for a token that was revoked since.
//! What was taken for somebody who could not begin with it comes back. Must never: let a session be resumed by another
//! user, or twice.

use std::collections::VecDeque;
use std::fmt;

use super::marks::Mark;
use super::row::Stage;
use super::{Count, Mail, Shard};
use crate::base::{ConnKey, Identity, Limits, Now, Seed, SeededMap, ShardId};
use crate::wire::CloseReason;

/// A handle as it travels. Its code is made under a key that nothing else is drawn from: the shard's own numbers are told to
/// everybody as epochs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionCode {
    /// The shard where the session lives, or lived.
    pub(super) shard: ShardId,
    conn: ConnKey,
    code: u128,
}

impl SessionCode {
    /// Forty-eight lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let lower_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() != 48 || !lower_hex {
            return None;
        }
        let part = |from: usize, to: usize| u16::from_str_radix(&text[from..to], 16).ok();
        let conn = ConnKey::new(part(4, 8)?, part(8, 12)?, part(12, 16)?);
        let code = u128::from_str_radix(&text[16..], 16).ok()?;
        Some(Self { shard: ShardId(part(0, 4)?), conn, code })
    }

    fn of(codes: &Seed, shard: ShardId, conn: ConnKey) -> Self {
        let mut place = [0; 12];
        place[..2].copy_from_slice(&shard.0.to_le_bytes());
        place[2..6].copy_from_slice(&conn.index().to_le_bytes());
        place[6..8].copy_from_slice(&conn.generation().to_le_bytes());
        let [high, low] = [b"hig\0", b"low\0"].map(|half| {
            place[8..].copy_from_slice(half);
            u128::from(codes.mix(&place))
        });
        Self { shard, conn, code: high << 64 | low }
    }
}

impl fmt::Display for SessionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (conn, code) = (self.conn, self.code);
        write!(f, "{:04x}{:08x}{:04x}{code:032x}", self.shard.0, conn.index(), conn.generation())
    }
}

/// Good as a session for as long as it lives: it is not shown.
impl fmt::Debug for SessionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionCode({:?} {:?})", self.shard, self.conn)
    }
}

#[derive(Debug)]
struct Kept {
    identity: Identity,
    /// By what its token can be revoked.
    mark: Mark,
    died_mono_ms: u64,
}

/// A session on its way to the connection that goes on with it.
#[derive(Debug)]
pub struct Taken {
    session: SessionCode,
    kept: Kept,
    /// It was taken from a connection that still had it, and is being closed: whoever goes on with it has its count.
    pub(super) was_live: bool,
}

impl Kept {
    fn bytes(&self) -> usize {
        BYTES_PER_KEPT + self.identity.user().len() + self.identity.info().map_or(0, str::len)
    }
}

/// The sessions of one shard that have no connection.
#[derive(Debug)]
pub(crate) struct Sessions {
    by_conn: SeededMap<ConnKey, Kept>,
    /// In the order they died. Those that were resumed stand here until they would have been too old.
    died: VecDeque<(u64, ConnKey)>,
    bytes: usize,
    /// The key of the handles.
    codes: Seed,
    /// The time as of the last tick: what dies between two is as old as that.
    now_mono_ms: u64,
}

impl Sessions {
    pub(crate) fn new(seed: &Seed) -> Self {
        let by_conn = SeededMap::with_hasher(seed.state());
        Self { by_conn, died: VecDeque::new(), bytes: 0, codes: seed.derive("sessions"), now_mono_ms: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_conn.len()
    }

    /// What they hold, their shares of strings that others may hold, too, included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.died.capacity() * size_of::<(u64, ConnKey)>()
    }

    /// Keeps one more; gives how many had to be forgotten for it. `None`: none are kept here.
    fn keep(&mut self, conn: ConnKey, identity: Identity, mark: Mark, limits: &Limits) -> Option<u64> {
        if limits.sessions_kept_max == 0 || limits.resume_window_ms == 0 {
            return None;
        }
        self.take(conn);
        let kept = Kept { identity, mark, died_mono_ms: self.now_mono_ms };
        self.bytes += kept.bytes();
        self.died.push_back((kept.died_mono_ms, conn));
        self.by_conn.insert(conn, kept);
        let mut forgotten = 0;
        while self.died.len() > limits.sessions_kept_max || self.bytes > limits.sessions_kept_bytes_max {
            let Some((died_mono_ms, conn)) = self.died.pop_front() else { break };
            forgotten += u64::from(self.forget(died_mono_ms, conn));
        }
        Some(forgotten)
    }

    fn take(&mut self, conn: ConnKey) -> Option<Kept> {
        let kept = self.by_conn.remove(&conn)?;
        self.bytes -= kept.bytes();
        Some(kept)
    }

    /// Whether the one that died then was still here.
    fn forget(&mut self, died_mono_ms: u64, conn: ConnKey) -> bool {
        let same = self.by_conn.get(&conn).is_some_and(|kept| kept.died_mono_ms == died_mono_ms);
        same && self.take(conn).is_some()
    }

    /// Those whose window is over go, a bounded number at a time: none of them can be resumed any more.
    fn forget_old(&mut self, now: Now, window_ms: u64) {
        self.now_mono_ms = now.mono_ms;
        for _ in 0..FORGOTTEN_PER_TICK {
            let Some((died_mono_ms, conn)) = self.died.front().copied() else { break };
            if now.since(died_mono_ms) < window_ms {
                break;
            }
            self.died.pop_front();
            self.forget(died_mono_ms, conn);
        }
        if self.died.is_empty() && self.died.capacity() > 0 {
            self.died.shrink_to_fit();
            self.by_conn.shrink_to_fit();
        }
    }
}

impl Shard {
    /// The handle of the session that this connection is.
    pub(super) fn session_code(&self, conn: ConnKey) -> SessionCode {
        SessionCode::of(&self.sessions_kept.codes, self.config.id, conn)
    }

    /// The connection of a session is lost, and may be followed by another.
    pub(super) fn keep_session(&mut self, conn: ConnKey) {
        let Some(row) = self.connections.row(conn).filter(|row| row.stage == Stage::Open) else { return };
        let Some(identity) = row.identity.clone() else { return };
        self.keep(conn, identity, self.marks.of(conn.index()));
    }

    /// Somebody wants to go on with this session, whose shard this is: it, if they may. From here on the handle is good
    /// for nobody, unless it comes back; a connection that still has the session is closed.
    pub(super) fn take_session(&mut self, now: Now, session: SessionCode, user: &Identity) -> Option<Taken> {
        if self.session_code(session.conn) != session {
            return None;
        }
        let live = self.connections.row(session.conn).filter(|row| row.stage == Stage::Open);
        if let Some(row) = live {
            let identity = row.identity.clone().filter(|own| own == user)?;
            let kept = Kept { identity, mark: self.marks.of(session.conn.index()), died_mono_ms: now.mono_ms };
            let taken = Taken { session, kept, was_live: true };
            #[cfg(feature = "planted-bugs")]
            if self.config.planted == Some(super::PlantedBug::TwiceOnTakeover) {
                return Some(taken);
            }
            self.counters.add(Count::TakenOver, 1);
            self.fail(now, session.conn, CloseReason::TakenOver);
            return Some(taken);
        }
        self.sessions_kept.by_conn.get(&session.conn).filter(|kept| kept.identity == *user)?;
        let kept = self.sessions_kept.take(session.conn)?;
        let in_time = now.since(kept.died_mono_ms) < self.limits().resume_window_ms;
        let good = in_time && !self.revocations.name(user.user(), kept.mark);
        good.then_some(Taken { session, kept, was_live: false })
    }

    /// Whoever it was taken for did not begin: it waits for the next try, a whole window.
    pub(super) fn give_back_session(&mut self, taken: Box<Taken>) {
        if taken.session.shard != self.config.id {
            self.post(taken.session.shard, Mail::GiveBack(taken));
            return;
        }
        let Kept { identity, mark, .. } = taken.kept;
        if taken.was_live {
            // From here, so that it cannot be told before its connection came.
            self.tell_user_went(&identity);
        }
        self.keep(taken.session.conn, identity, mark);
    }

    fn keep(&mut self, conn: ConnKey, identity: Identity, mark: Mark) {
        let limits = &self.config.rules.limits;
        let Some(forgotten) = self.sessions_kept.keep(conn, identity, mark, limits) else { return };
        self.counters.add(Count::SessionsKept, 1);
        self.counters.add(Count::SessionsForgotten, forgotten);
    }

    /// Once a tick.
    pub(super) fn forget_old_sessions(&mut self, now: Now) {
        let window_ms = self.limits().resume_window_ms;
        self.sessions_kept.forget_old(now, window_ms);
    }
}

/// An entry, its place in the table (which is at most 7/8 full and at least 7/16) and the head of its string.
const BYTES_PER_KEPT: usize = 2 * (size_of::<(ConnKey, Kept)>() + 1) + 16;
/// Half a million that died at once are gone within half a minute.
const FORGOTTEN_PER_TICK: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> Identity {
        Identity::new("ann", None).unwrap()
    }

    fn key(slot: u16) -> ConnKey {
        ConnKey::new(0, slot, 1)
    }

    #[test]
    fn a_handle_survives_the_wire_and_nobody_can_make_one_up() {
        let seed = Seed::new([1, 2]);
        let code = SessionCode::of(&seed, ShardId(3), key(7));
        assert_eq!(SessionCode::parse(&code.to_string()), Some(code));
        let text = code.to_string();
        for bad in ["", &text[1..], &format!("{text}0"), &text.to_uppercase(), &text.replace('0', "+")] {
            assert_eq!(SessionCode::parse(bad), None, "{bad}");
        }
        for other in [
            SessionCode::of(&Seed::new([1, 3]), ShardId(3), key(7)),
            SessionCode::of(&seed, ShardId(3), ConnKey::new(0, 7, 2)),
            SessionCode::of(&seed, ShardId(3), key(8)),
        ] {
            assert_ne!((other.code, other.code >> 64), (code.code, code.code >> 64));
        }
        assert!(!format!("{code:?}").contains(&text[16..]));
    }

    #[test]
    fn of_too_many_the_oldest_is_forgotten_and_the_resumed_cost_nobody_anything() {
        let mut kept = Sessions::new(&Seed::new([1, 2]));
        let limits = Limits { sessions_kept_max: 2, ..Limits::default() };
        assert_eq!((1..=3).filter_map(|n| kept.keep(key(n), ann(), Mark::default(), &limits)).sum::<u64>(), 1);
        assert!(kept.take(key(1)).is_none() && kept.take(key(2)).is_some());
        assert_eq!(kept.keep(key(4), ann(), Mark::default(), &limits), Some(0), "the one that made room was resumed");
        assert_eq!(kept.len(), 2);
        let one = Limits { sessions_kept_bytes_max: kept.bytes / 2, ..limits };
        assert_eq!((kept.keep(key(5), ann(), Mark::default(), &one), kept.len()), (Some(2), 1));
        let none = Limits { resume_window_ms: 0, ..Limits::default() };
        assert_eq!((kept.keep(key(6), ann(), Mark::default(), &none), kept.len()), (None, 1));
    }

    #[test]
    fn the_window_ends_and_the_memory_comes_back() {
        let mut kept = Sessions::new(&Seed::new([1, 2]));
        let limits = Limits::default();
        for slot in 0..1_000 {
            kept.keep(key(slot), ann(), Mark::default(), &limits);
        }
        kept.forget_old(Now { mono_ms: 119_999, unix_ms: 0 }, 120_000);
        assert_eq!(kept.len(), 1_000);
        kept.keep(key(1_000), ann(), Mark::default(), &limits);
        kept.forget_old(Now { mono_ms: 120_000, unix_ms: 0 }, 120_000);
        assert_eq!((kept.len(), kept.bytes), (1, kept.by_conn[&key(1_000)].bytes()));
        kept.forget_old(Now { mono_ms: 239_999, unix_ms: 0 }, 120_000);
        assert_eq!((kept.bytes(), kept.by_conn.capacity()), (0, 0));
    }
}
