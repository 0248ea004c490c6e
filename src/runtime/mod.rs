//! Floor 4: sockets, mail and clock become inputs of shards; their effects are carried out. It decides nothing.

pub mod accept;
pub mod clock;
pub mod mailbox;
pub mod scrape;
mod socket_ring;
pub mod sockets;
mod sys;

pub use sys::{EventFd, Resource, ResourceLimit, resource_limit, set_resource_limit};
