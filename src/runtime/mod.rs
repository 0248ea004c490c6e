//! Floor 4: sockets, mail and clock become inputs of shards; their effects are carried out. It decides nothing.

pub mod clock;
