//! What a shard is told at birth.

use std::sync::Arc;

use super::Rules;
#[cfg(feature = "planted-bugs")]
use crate::base::Offset;
use crate::base::ShardId;
#[cfg(feature = "planted-bugs")]
use crate::room::Start;

pub use crate::base::Flush;

/// One shard's place in the process, and the rules all shards share.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    pub id: ShardId,
    /// How many shards there are; a room's home is its name's hash modulo this.
    pub shards: u16,
    /// What holds until `Input::Rules` brings others.
    pub rules: Arc<Rules>,
    /// Equal on all shards: they must agree on every room's home.
    pub seed: [u64; 2],
    pub flush: Flush,
    /// This server's name, for `welcome`.
    pub node: Arc<str>,
    #[cfg(feature = "planted-bugs")]
    pub planted: Option<PlantedBug>,
}

#[cfg(test)]
impl ShardConfig {
    /// One of `shards` of a server that exists in a test only.
    pub(crate) fn tried(id: ShardId, shards: u16, rules: Arc<Rules>) -> Self {
        Self {
            id,
            shards,
            rules,
            seed: [1, 2],
            flush: Flush::Eager,
            node: Arc::from("test"),
            #[cfg(feature = "planted-bugs")]
            planted: None,
        }
    }
}

/// A mistake made on purpose, to see that the simulation finds it.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlantedBug {
    /// A reader that catches up misses one message at the seam between two pages.
    SkipsAtTheSeam,
    /// A connection that is cut stays counted in its rooms.
    GhostAfterCut,
    /// Every second time it is not told who has left.
    GhostInPresence,
    /// A resumed room begins one message too late.
    SkipsOneOnResume,
    /// A connection whose session was taken over lives on: its person hears everything twice.
    TwiceOnTakeover,
    /// What is missing is not said.
    ForgetsAGap,
    /// Who has left a room still hears it.
    DeliversAfterLeave,
    /// A room that was forgotten comes back with the epoch it had, and gives its offsets again.
    OffsetsAfterEviction,
    /// A key of one user is taken for the same key of another.
    WrongDedupScope,
    /// A reader that pulls is given the log of another room.
    ForeignRoom,
    /// Default grants are narrowed, and who sits where they do not reach stays.
    SeatsOutliveGrants,
    /// Who is revoked while it is connected goes on.
    RevokedGoOn,
    /// A letter to somebody who is not here is accepted and not kept.
    LettersDoNotWait,
}

#[cfg(feature = "planted-bugs")]
impl PlantedBug {
    pub const ALL: [Self; 13] = [
        Self::SkipsAtTheSeam,
        Self::GhostAfterCut,
        Self::GhostInPresence,
        Self::SkipsOneOnResume,
        Self::TwiceOnTakeover,
        Self::ForgetsAGap,
        Self::DeliversAfterLeave,
        Self::OffsetsAfterEviction,
        Self::WrongDedupScope,
        Self::ForeignRoom,
        Self::SeatsOutliveGrants,
        Self::RevokedGoOn,
        Self::LettersDoNotWait,
    ];
}

#[cfg(feature = "planted-bugs")]
impl ShardConfig {
    /// Planted bugs: a seat that begins one too late, and a gap that nobody hears of.
    pub(super) fn plant_start(&self, mut start: Start, resumes: bool, head: Offset) -> Start {
        if self.planted == Some(PlantedBug::SkipsOneOnResume) && resumes && start.cursor <= head {
            start.cursor = start.cursor.next();
        }
        if self.planted == Some(PlantedBug::ForgetsAGap) {
            start.gap = None;
        }
        start
    }
}
