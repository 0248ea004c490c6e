//! What a shard is told at birth.

use std::sync::Arc;

use super::Rules;
use crate::base::ShardId;

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

/// A mistake made on purpose, to see that the simulation finds it.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlantedBug {
    /// A reader that catches up misses one message at the seam between two pages.
    SkipsAtTheSeam,
    /// A connection that is cut stays counted in its rooms.
    GhostAfterCut,
    /// Whoever leaves in the same tick in which somebody comes is never told to have left.
    GhostInPresence,
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
}

#[cfg(feature = "planted-bugs")]
impl PlantedBug {
    pub const ALL: [Self; 8] = [
        Self::SkipsAtTheSeam,
        Self::GhostAfterCut,
        Self::GhostInPresence,
        Self::OffsetsAfterEviction,
        Self::WrongDedupScope,
        Self::ForeignRoom,
        Self::SeatsOutliveGrants,
        Self::RevokedGoOn,
    ];
}
