//! Envelopes: commands in, events out, in MessagePack and JSON. The contract is `docs/protocol.md`.
//!
//! Promises: what is read is checked before it is believed; what is written is one complete, unmasked WebSocket frame,
//! ready to be shared by every reader of its encoding.

mod command;
mod decode;
mod entries;
mod event;
mod message;
mod people;
mod resume;
mod shared;
mod writer;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tables;

pub use command::{Command, Envelope, HistoryFrom, TokenText};
pub use decode::{Rejected, decode, is_event_name, is_key};
pub use event::{Event, GapWhy, HistoryAnswer, RemovedWhy, write_event};
pub use message::{MessageIn, MessageOut, Person, transcode_message, write_message};
pub use people::{Member, Members, ReadBy};
pub use resume::ResumeRoom;
pub use shared::SharedFrame;

pub(crate) use entries::{Entries, Value};
pub(crate) use message::{read_message, read_person};
pub(crate) use writer::Writer;
pub use writer::content as frame_content;
