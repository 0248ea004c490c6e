//! throng: people with tokens sit in rooms over WebSocket; every message arrives, once, in order.
//!
//! ```text
//!  socket → frame → command → room → mailbox → outbox → tick → socket
//!  runtime   wire    wire      room   shard     shard   shard   runtime
//!
//!   4  runtime ──► control, config (wings)                   effects
//!   3  shard                    one core's world             ┐
//!   2  room                     who is where, what was said  │ pure: no clock, randomness,
//!   1  wire                     bytes ⇄ meaning              │ threads, async or I/O
//!   0  base                     keys, limits, time           ┘
//! ```
//!
//! Imports point down only; `tests/tidy.rs` checks the arrows. `cargo check --lib --no-default-features`
//! builds the pure floors alone.

pub mod base;
pub mod room;
pub mod shard;
pub mod wire;

#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod control;
#[cfg(feature = "server")]
pub mod runtime;
