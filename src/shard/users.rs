//! How many connections one user has in the whole process: counted at the user's home, told by letter.
//!
//! A session is let in at once and counted afterwards; when the home finds it one too many, it writes back and the
//! session is closed with 4004. So a user never *keeps* more than the limit, and the one too many is served for as long as
//! two letters take (not at all when its own shard is the home and nothing came with the handshake). One that is refused
//! counts until its socket is gone.
//!
//! Who goes on with the session of a connection that still lived stands in its place and is not one too many, though both
//! count until the former socket is gone; but it is where there are more than twice as many by then: the former may have
//! been one too many itself, and gone before it was told. With a `hello` that is known before it is counted; with a `resume` the home may
//! have judged already, and its word is kept until it is known what became of the session:
//!
//! ```text
//!  came ─► home ─► TooManyOfUser ─► held while TakeOver is out ─► TakenOver: was it live?  it stays : it goes
//!  was live: `Settle` ─► home ─► UserSettled: what was said of it before is void, what is said from here on is not
//! ```
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
    /// In the place of another, which is being closed and counts until its socket is gone.
    CameInstead(ConnKey),
    Went,
    /// It stands in the place of another by now; whether it was found one too many before will have been said before the
    /// answer to this.
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
    /// It took a session from a connection that lived, before anybody found it one too many.
    stands_in: bool,
    /// The home was asked to settle that.
    settling: bool,
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
        let instead = self.take_overs.0.get(&conn).is_some_and(|take_over| take_over.stands_in);
        let moved = if instead { UserMoved::CameInstead(conn) } else { UserMoved::Came(conn) };
        self.user_news[home.index()].push(UserNews { user, moved });
    }

    pub(super) fn tell_user_went(&mut self, identity: &Identity) {
        let (user, home) = self.user_key(identity);
        self.user_news[home.index()].push(UserNews { user, moved: UserMoved::Went });
    }

    /// What became of a session that a `resume` of this connection asked for.
    pub(super) fn on_take_over_told(&mut self, now: Now, conn: ConnKey, was_live: bool) {
        let is_open = self.stage_of(conn) == Some(Stage::Open);
        let identity = self.connections.row(conn).filter(|_| is_open).and_then(|row| row.identity.clone());
        let Some(take_over) = self.take_overs.0.get_mut(&conn) else { return };
        take_over.asked = take_over.asked.saturating_sub(1);
        let mut settles = None;
        if was_live && !take_over.settling {
            take_over.stands_in = identity.is_some() && !take_over.too_many;
            take_over.settling = identity.is_some();
            settles = identity;
        }
        take_over.too_many &= !was_live;
        let one_too_many = take_over.asked == 0 && take_over.too_many;
        if take_over.asked == 0 && !take_over.settling {
            self.take_overs.forget(conn);
        }
        if let Some(identity) = settles {
            let (user, home) = self.user_key(&identity);
            self.user_news[home.index()].push(UserNews { user, moved: UserMoved::Settle(conn) });
        }
        if one_too_many && is_open {
            self.fail(now, conn, CloseReason::UserFull);
        }
    }

    pub(super) fn on_user_settled(&mut self, conns: &[ConnKey]) {
        for conn in conns {
            let Some(take_over) = self.take_overs.0.get_mut(conn) else { continue };
            (take_over.stands_in, take_over.settling) = (false, false);
            if take_over.asked == 0 {
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
        let is_over = |count: u16, times: u32| max > 0 && u32::from(count) > times * max;
        let (mut too_many, mut settled, mut crowded) = (Vec::new(), Vec::new(), Vec::new());
        for one in news {
            match one.moved {
                UserMoved::Came(conn) => {
                    if is_over(self.users.add(one.user), 1) {
                        too_many.push(conn);
                    }
                }
                UserMoved::CameInstead(conn) => {
                    if is_over(self.users.add(one.user), 2) {
                        too_many.push(conn);
                    }
                }
                UserMoved::Went => self.users.take(one.user),
                UserMoved::Settle(conn) => {
                    settled.push(conn);
                    if is_over(self.users.count(one.user), 2) {
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
                Some(take_over) if take_over.stands_in => {
                    take_over.stands_in = false;
                    continue;
                }
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
