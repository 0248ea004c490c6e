//! What operators and backends did to a world: what grants held where, who was revoked, kicked and limited.
//!
//! By shard, in the order in which it came to hold there: what a shard does not know yet it cannot act on.

use throng::shard::Revocation;
use throng::wire::Verb;

use crate::client::Client;
use crate::tokens::{Paper, Reach};

/// How much of a shard's history somebody has lived after.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Since {
    /// The first of the default grants that may concern it.
    pub(crate) defaults: usize,
    /// So many revocations came before.
    pub(crate) revocations: usize,
}

/// One revocation at one shard.
#[derive(Debug)]
pub(crate) struct Revoked {
    pub(crate) revocation: Revocation,
    /// Newcomers are compared with it, too.
    pub(crate) remembered: bool,
    /// Ticks of the shard by then.
    pub(crate) at_tick: u64,
}

/// Who was sent away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kicked {
    User(usize),
    Client(usize),
    /// Whoever sat in this room.
    Room,
}

#[derive(Debug)]
pub(crate) struct Deeds {
    defaults: Vec<Vec<Reach>>,
    /// Ticks of each shard when its newest default came to hold.
    default_at_tick: Vec<u64>,
    pub(crate) revoked: Vec<Vec<Revoked>>,
    /// Ticks each shard took.
    pub(crate) ticks: Vec<u64>,
    kicked: Vec<(Kicked, u16)>,
    /// The largest that held so far, at any shard; 0: there was none at a time.
    pub(crate) user_max_ever: u32,
}

impl Deeds {
    pub(crate) fn new(shards: usize, default: Reach, user_max: u32) -> Self {
        Self {
            defaults: vec![vec![default]; shards],
            default_at_tick: vec![0; shards],
            revoked: (0..shards).map(|_| Vec::new()).collect(),
            ticks: vec![0; shards],
            kicked: Vec::new(),
            user_max_ever: user_max,
        }
    }

    pub(crate) fn now(&self, shard: usize) -> Since {
        Since { defaults: self.defaults[shard].len() - 1, revocations: self.revoked[shard].len() }
    }

    pub(crate) fn grant_by_default(&mut self, shard: usize, reach: Reach) {
        self.defaults[shard].push(reach);
        self.default_at_tick[shard] = self.ticks[shard];
    }

    /// The default grants of a shard, if they came to hold just so many ticks ago.
    pub(crate) fn default_since(&self, shard: usize, ticks: u64) -> Option<Reach> {
        let is_due = self.ticks[shard] == self.default_at_tick[shard] + ticks;
        self.defaults[shard].last().copied().filter(|_| is_due)
    }

    pub(crate) fn limit_users(&mut self, max: u32) {
        self.user_max_ever = if max == 0 || self.user_max_ever == 0 { 0 } else { self.user_max_ever.max(max) };
    }

    pub(crate) fn kick(&mut self, whom: Kicked, code: u16) {
        self.kicked.push((whom, code));
    }

    /// Whether this client may have been sent away with that code.
    pub(crate) fn may_have_kicked(&self, client: &Client, code: u16) -> bool {
        self.kicked.iter().any(|(whom, with)| {
            *with == code
                && match whom {
                    Kicked::User(user) => *user == client.user,
                    Kicked::Client(number) => *number == client.number,
                    Kicked::Room => true,
                }
        })
    }

    /// What a token may have reached at this shard since then.
    pub(crate) fn reaches(&self, shard: usize, paper: &Paper, since: Since) -> Vec<Reach> {
        match paper.reach {
            Some(reach) => vec![reach],
            None => self.defaults[shard][since.defaults..].to_vec(),
        }
    }

    /// What it reaches there now.
    pub(crate) fn allows(&self, shard: usize, paper: &Paper, verb: Verb, room: usize) -> bool {
        self.reaches(shard, paper, self.now(shard)).iter().all(|reach| reach.allows(verb, room))
    }

    /// Whether this shard was told to revoke it.
    pub(crate) fn has_revoked(&self, shard: usize, paper: &Paper) -> bool {
        self.revoked[shard].iter().any(|revoked| paper.is_named_by(&revoked.revocation))
    }

    /// Whether it was revoked and remembered before `since`.
    pub(crate) fn kept_out(&self, shard: usize, paper: &Paper, since: Since) -> bool {
        let before = &self.revoked[shard][..since.revocations];
        before.iter().any(|revoked| revoked.remembered && paper.is_named_by(&revoked.revocation))
    }
}
