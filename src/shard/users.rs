//! How many connections one user has in the whole process: counted at the user's home, told by letter.
//!
//! A session is let in at once and counted afterwards; when the home finds it one too many, it writes back and the
//! session is closed with 4004. So a user never *keeps* more than the limit, and the one too many is served for as long as
//! two letters take (not at all when its own shard is the home and nothing came with the handshake). One that is refused
//! counts until its socket is gone.
//!
//! Promises: who came and who went are told in the order it happened, and stay here until the home's inbox takes them, so
//! that a count is never lost; who is counted is a hash, nobody's name.

use super::row::Stage;
use super::{Mail, Shard};
use crate::base::{ConnKey, Identity, Now, ShardId};
use crate::wire::CloseReason;

/// What one shard tells a user's home.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserNews {
    /// Which user, by a hash under the key of the process.
    pub user: u32,
    /// Who came; `None`: one of the user's connections went.
    pub came: Option<ConnKey>,
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
        self.user_news[home.index()].push(UserNews { user, came: Some(conn) });
    }

    pub(super) fn tell_user_went(&mut self, identity: &Identity) {
        let (user, home) = self.user_key(identity);
        self.user_news[home.index()].push(UserNews { user, came: None });
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
        let mut too_many = Vec::new();
        for one in news {
            match one.came {
                Some(conn) => {
                    let count = self.users.add(one.user);
                    if max > 0 && u32::from(count) > max {
                        too_many.push(conn);
                    }
                }
                None => self.users.take(one.user),
            }
        }
        if !too_many.is_empty() {
            self.post(from, Mail::TooManyOfUser { conns: too_many });
        }
    }

    /// Back at the shard of those who were one too many.
    pub(super) fn on_too_many_of_user(&mut self, now: Now, conns: &[ConnKey]) {
        for conn in conns {
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
