//! Floor 0: the words everybody uses: keys, names, limits, time, classes of rooms.
//!
//! Promises: plain values, no I/O, no clock, no randomness; every bound of the house stands in [`Limits`].

mod address;
mod class;
mod keys;
mod limits;
mod meter;
mod names;
pub mod pattern;
mod time;
mod verb;

pub use address::{BadNet, Net, Nets, counted_as};
pub use class::{ClassId, Classes, Delivery, Flush, KeyWindow, LogBounds, Presence, Rate, RoomClass};
pub use keys::{ConnAddress, ConnKey, Epoch, HomePlace, LocalPlace, Offset, Position, ShardId};
pub use limits::Limits;
pub use meter::{Meter, Verdict};
pub use names::{BadName, Encoding, Form, Identity, RoomName};
pub use time::{Now, Seed, SeededMap, SeededState};
pub use verb::{Verb, Verbs};
