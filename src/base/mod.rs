//! Floor 0: the words everybody uses: keys, names, limits, time.
//!
//! Promises: plain values, no I/O, no clock, no randomness; every bound of the house stands in [`Limits`].

mod address;
mod keys;
mod limits;
mod names;
mod people;
mod time;

pub use address::{BadNet, Net, Nets, counted_as};
pub use keys::{ConnAddress, ConnKey, Epoch, HomePlace, LocalPlace, Offset, Position, ShardId};
pub use limits::Limits;
pub use names::{BadName, Encoding, Identity, RoomName};
pub use people::{PeopleRules, Presence};
pub use time::{Now, Seed, SeededMap, SeededState};
