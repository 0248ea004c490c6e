//! Floor 4: sockets, mail and clock become inputs of shards; their effects are carried out. It decides nothing.
//!
//! ```text
//!  boot ─► thread ─► pump (the turn) ─┬─► sockets ─┬─► ring_sockets ─► socket_ring ─► sys    io_uring
//!   │                                 │            └─► epoll_sockets ────────────────► sys    epoll
//!  engine, host                       ├─► accept                    the door
//!                                     ├─► mailbox, asks             parcels between shards, the control plane's letters
//!                                     ├─► notice, places, phase     what all shards are told, and share
//!                                     └─► clock, turn, shortage, scrape
//! ```
//!
//! Which engine carries the sockets is known by `engine` (which chooses), `thread` (who sleeps how) and `sockets`; above
//! them the turn is one. Glommio appears in `engine` and `thread` (and one constructor in `sys`) only.

pub mod accept;
mod alarm;
pub mod asks;
pub mod boot;
pub mod clock;
pub mod engine;
pub mod epoll_sockets;
mod given;
pub mod host;
pub mod mailbox;
mod notice;
mod nudge;
mod phase;
mod places;
mod pump;
pub mod ring_sockets;
pub mod scrape;
mod shortage;
mod socket_ring;
pub mod sockets;
mod spare;
mod sys;
mod thread;
pub mod turn;

pub use asks::{Asks, Tell};
pub use given::{Give, Given};
pub use notice::RulesChange;
pub use places::Places;
pub use shortage::Shortage;
pub use sys::{
    EventFd, Resource, ResourceLimit, end_when_nobody_reads, keep_no_spare_memory, refuse_huge_pages, resource_limit,
    set_resource_limit,
};
