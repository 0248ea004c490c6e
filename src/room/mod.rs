//! Floor 2: who is where, and what was said.
//!
//! A [`Room`] lives at its home shard only, the single writer: it gives offsets, keeps the log, counts who is
//! present, and knows per shard how many seats there are. It has no sockets and no mail; the shard asks it and
//! carries the answers.

mod home;
mod keys;
mod log;
mod parting;
mod people;
mod table;
mod values;

pub use home::{Appended, Attendance, Gap, Page, Post, Room, SeatCounts, Start};
pub use keys::{KeyUse, Keys, Seen};
pub use log::{Entry, Log};
pub use parting::{Gone, Parting};
pub use people::{Changes, People, Roll};
pub use table::Rooms;
