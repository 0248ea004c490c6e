//! Floor 4: sockets, mail and clock become inputs of shards; their effects are carried out. It decides nothing.
//!
//! ```text
//!  boot ─► pump (the turn) ─┬─► sockets ─► socket_ring ─► sys      rings of direct descriptors
//!   │                       ├─► accept                             the door
//!  host                     ├─► mailbox, asks                      parcels between shards, the control plane's letters
//!                           ├─► notice, places, phase              what all shards are told, and share
//!                           └─► clock, turn, scrape
//! ```
//!
//! Glommio appears in `boot` and `pump` (and one constructor in `sys`) only; rings appear nowhere above `sockets`.

pub mod accept;
pub mod asks;
pub mod boot;
pub mod clock;
pub mod host;
pub mod mailbox;
mod notice;
mod phase;
mod places;
mod pump;
pub mod scrape;
mod socket_ring;
pub mod sockets;
mod sys;
pub mod turn;

pub use asks::{Asks, Tell};
pub use notice::RulesChange;
pub use places::Places;
pub use pump::{Give, Given};
pub use sys::{EventFd, Resource, ResourceLimit, refuse_huge_pages, resource_limit, set_resource_limit};
