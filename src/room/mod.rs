//! Floor 2: who is where, and what was said.
//!
//! A [`Room`] lives at its home shard only, the single writer: it gives offsets, keeps the log, counts who is
//! present, who types and how far each has read, and knows per shard how many seats there are. It has no sockets and no
//! mail; the shard asks it and carries the answers.

mod attendance;
mod home;
mod idle;
mod keyed;
mod keys;
mod log;
mod news;
mod parting;
mod people;
#[cfg(test)]
mod people_tests;
mod reads;
mod start;
mod table;
mod typing;
mod values;

pub use attendance::{Attendance, SeatCounts};
pub use home::{Appended, Own, Page, Post, Room};
pub use keys::{KeyUse, Keys, KeysHeld, Seen};
pub use log::{Entry, Log};
pub use news::{Doings, Dropped, News, Outlasting};
pub use parting::{Gone, Parting};
pub use people::{Changes, People, Roll, Telling};
pub use reads::{Noted, Reads};
pub use start::{Gap, Start};
pub use table::Rooms;
pub use typing::{Typing, Typists};
