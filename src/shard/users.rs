//! How many connections one user has in the whole process: counted at the user's home, told by letter.
//!
//! A session is let in at once and counted afterwards; when the home finds it one too many, it writes back and the
//! session is closed with 4004. So a user never *keeps* more than the limit, and the one too many is served for as long as
//! two letters take (not at all when its own shard is the home and nothing came with the handshake). One that is refused
//! counts until its socket is gone.
//!
//! **The count moves with the session.** Whose session is taken while it still lives is not told to have gone: its count is
//! that of the connection that goes on with it. With a `hello` this is known before the heir is counted; with a `resume`
//! the heir has come already, and one of the two is given back:
//!
//! ```text
//!  hello{session} : TakenOver{was live} ─► CameInstead                (nothing is added)
//!  resume{session}: Came … TakenOver{was live} ─► Settle ─► home      (one is taken) ─► UserSettled
//!  nobody goes on with it after all             ─► Went, from the shard the session came from
//! ```
//!
//! Each time the home judges by what is left then. Its word on the `Came` is held while a session that was asked for may
//! still make a place, and is void while a `Settle` is out: the home judges anew with that. So whoever goes on with a
//! session is one too many exactly if the former was.
//!
//! Promises: who came and who went are told in the order it happened, and stay here until the home's inbox takes them, so
//! that a count is never lost; who is counted is a hash, nobody's name.

use std::collections::BTreeMap;

use super::row::Stage;
use super::{Mail, Shard};
use crate::base::{ConnKey, Identity, Now, ShardId};
use crate::wire::CloseReason;

/// What one shard tells a user's home.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserNews {
    /// Which user, by a hash under the key of the process.
    pub user: u32,
    pub moved: UserMoved,
}

/// What became of one of a user's connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UserMoved {
    Came(ConnKey),
    /// With the count of another, which is being closed.
    CameInstead(ConnKey),
    Went,
    /// It has the count of another, too, by now: one of them is given back. Whether it was found one too many before will
    /// have been said before the answer to this.
    Settle(ConnKey),
}

/// Connections that go on with sessions, while their shard or their user's home has an answer to give.
#[derive(Default, Debug)]
pub(crate) struct TakeOvers(BTreeMap<ConnKey, TakeOver>);

#[derive(Default, Debug)]
struct TakeOver {
    /// Sessions it has asked for and has no answer about.
    asked: u32,
    /// Its home has found it one too many meanwhile.
    too_many: bool,
    /// Its `hello` took a session from a connection that lived, whose count is its own when it begins.
    stands_in: bool,
    /// Counts it gave back and the home has not answered.
    settling: u32,
}

impl TakeOvers {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// It was asked for a session of this connection's user. Who is one too many by then is not held for the answer.
    pub(super) fn ask(&mut self, conn: ConnKey) {
        let take_over = self.0.entry(conn).or_default();
        take_over.asked += u32::from(!take_over.too_many);
    }

    /// Whether the answer to what it asked for is the last it is held for, and it goes with it unless that makes a place.
    pub(super) fn is_last_answer(&self, conn: ConnKey) -> bool {
        self.0.get(&conn).is_some_and(|take_over| take_over.too_many && take_over.asked <= 1)
    }

    /// This connection's `hello` took a session from one that lived, and it is about to begin.
    pub(super) fn stands_in(&mut self, conn: ConnKey) {
        self.0.entry(conn).or_default().stands_in = true;
    }

    /// Whether nobody has counted the connection yet that stands in the place of another; asked once.
    pub(super) fn take_stand_in(&mut self, conn: ConnKey) -> bool {
        self.0.get_mut(&conn).is_some_and(|take_over| std::mem::take(&mut take_over.stands_in))
    }

    pub(super) fn forget(&mut self, conn: ConnKey) {
        self.0.remove(&conn);
    }
}

/// News that wait for one home beyond which no session begins that would add to them. Who goes is always told: that is
/// bounded by who is here.
const NEWS_WAITING_MAX: usize = 16_384;

impl Shard {
    /// Whether another session of this user can be told of.
    pub(super) fn can_tell_of(&self, identity: &Identity) -> bool {
        let (_, home) = self.user_key(identity);
        self.user_news[home.index()].len() < NEWS_WAITING_MAX
    }

    pub(super) fn tell_user_came(&mut self, identity: &Identity, conn: ConnKey) {
        let (user, home) = self.user_key(identity);
        let moved =
            if self.take_overs.take_stand_in(conn) { UserMoved::CameInstead(conn) } else { UserMoved::Came(conn) };
        self.user_news[home.index()].push(UserNews { user, moved });
    }

    pub(super) fn tell_user_went(&mut self, identity: &Identity) {
        let (user, home) = self.user_key(identity);
        self.user_news[home.index()].push(UserNews { user, moved: UserMoved::Went });
    }

    /// What became of a session that a `resume` of this connection asked for. `was_live`: it goes on with the session of a
    /// connection that lived, and with its count.
    pub(super) fn on_take_over_told(&mut self, now: Now, conn: ConnKey, was_live: bool) {
        let heir = self.connections.row(conn).filter(|_| was_live).and_then(|row| row.identity.clone());
        let take_over = self.take_overs.0.entry(conn).or_default();
        take_over.asked = take_over.asked.saturating_sub(1);
        take_over.settling += u32::from(heir.is_some());
        take_over.too_many &= heir.is_none();
        let one_too_many = take_over.asked == 0 && take_over.too_many;
        if take_over.asked == 0 && take_over.settling == 0 {
            self.take_overs.forget(conn);
        }
        if let Some(heir) = heir {
            let (user, home) = self.user_key(&heir);
            self.user_news[home.index()].push(UserNews { user, moved: UserMoved::Settle(conn) });
        }
        if one_too_many && self.stage_of(conn) == Some(Stage::Open) {
            self.fail(now, conn, CloseReason::UserFull);
        }
    }

    pub(super) fn on_user_settled(&mut self, conns: &[ConnKey]) {
        for conn in conns {
            let Some(take_over) = self.take_overs.0.get_mut(conn) else { continue };
            take_over.settling = take_over.settling.saturating_sub(1);
            if take_over.asked == 0 && take_over.settling == 0 {
                self.take_overs.forget(*conn);
            }
        }
    }

    /// One letter for each home there is news for, as far as they fit.
    pub(super) fn tell_users(&mut self) {
        let full = self.limits().letters_waiting_max * 2;
        for home in 0..self.config.shards {
            let home = ShardId(home);
            if !self.user_news[home.index()].is_empty() && self.outgoing[home.index()].len() < full {
                let news = std::mem::take(&mut self.user_news[home.index()]);
                self.post(home, Mail::Users { news });
            }
        }
    }

    /// At the home.
    pub(super) fn on_users(&mut self, from: ShardId, news: &[UserNews]) {
        let max = self.limits().connections_per_user_max;
        let is_over = |count: u16| max > 0 && u32::from(count) > max;
        let (mut too_many, mut settled, mut crowded) = (Vec::new(), Vec::new(), Vec::new());
        for one in news {
            match one.moved {
                UserMoved::Came(conn) => {
                    if is_over(self.users.add(one.user)) {
                        too_many.push(conn);
                    }
                }
                UserMoved::CameInstead(conn) => {
                    if is_over(self.users.count(one.user)) {
                        too_many.push(conn);
                    }
                }
                UserMoved::Went => self.users.take(one.user),
                UserMoved::Settle(conn) => {
                    self.users.take(one.user);
                    settled.push(conn);
                    if is_over(self.users.count(one.user)) {
                        crowded.push(conn);
                    }
                }
            }
        }
        if !too_many.is_empty() {
            self.post(from, Mail::TooManyOfUser { conns: too_many });
        }
        if !settled.is_empty() {
            self.post(from, Mail::UserSettled { conns: settled });
        }
        if !crowded.is_empty() {
            self.post(from, Mail::TooManyOfUser { conns: crowded });
        }
    }

    /// Back at the shard of those who were one too many.
    pub(super) fn on_too_many_of_user(&mut self, now: Now, conns: &[ConnKey]) {
        for conn in conns {
            match self.take_overs.0.get_mut(conn) {
                // The home judges anew with what it is about to be given back.
                Some(take_over) if take_over.settling > 0 => continue,
                Some(take_over) if take_over.asked > 0 => {
                    take_over.too_many = true;
                    continue;
                }
                Some(_) | None => {}
            }
            // Who is closing already hears why, and is not cut off in the middle of it.
            if self.stage_of(*conn) == Some(Stage::Open) {
                self.fail(now, *conn, CloseReason::UserFull);
            }
        }
    }

    /// Connections counted here, whoever's they are: at rest the sum over all shards is that of their sessions.
    pub fn users_counted(&self) -> u64 {
        self.users.total()
    }

    /// The hash a user is counted under, and where.
    fn user_key(&self, identity: &Identity) -> (u32, ShardId) {
        self.homes.of_user(identity.user())
    }
}
