//! The way between one client and its shard: two pipes the kernel would hold, and how they break.

use std::collections::VecDeque;
use std::net::IpAddr;

use throng::base::ConnKey;

/// One TCP connection, both ends.
pub(crate) struct Socket {
    pub(crate) shard: usize,
    pub(crate) key: ConnKey,
    pub(crate) address: IpAddr,
    /// Sent by the client and not read by the shard.
    pub(crate) up: VecDeque<u8>,
    /// Bytes the shard has read.
    pub(crate) read_bytes: usize,
    /// Taken by the kernel and not read by the client.
    pub(crate) down: VecDeque<u8>,
    capacity: usize,
    /// The shard was told that a write did not fit, and waits for room.
    pub(crate) stalled: bool,
    /// The network or the client broke it.
    pub(crate) cut: bool,
    /// The shard was told so.
    pub(crate) cut_told: bool,
    /// The shard let go of it: the client reads what is left and then its end.
    pub(crate) let_go: bool,
    /// When the runtime is done with it.
    pub(crate) release_at_ms: Option<u64>,
}

impl Socket {
    pub(crate) fn new(shard: usize, key: ConnKey, address: IpAddr, capacity: usize) -> Self {
        Self {
            shard,
            key,
            address,
            up: VecDeque::new(),
            read_bytes: 0,
            down: VecDeque::new(),
            capacity,
            stalled: false,
            cut: false,
            cut_told: false,
            let_go: false,
            release_at_ms: None,
        }
    }

    /// Takes as much of a write as fits, and no more than `most`. Returns how much.
    pub(crate) fn take(&mut self, bytes: &[u8], most: usize) -> usize {
        let taken = bytes.len().min(self.room()).min(most);
        if !self.cut {
            self.down.extend(&bytes[..taken]);
        }
        taken
    }

    pub(crate) fn room(&self) -> usize {
        if self.cut { usize::MAX } else { self.capacity.saturating_sub(self.down.len()) }
    }

    /// Both directions are lost.
    pub(crate) fn cut(&mut self) {
        self.cut = true;
        self.up.clear();
        self.down.clear();
    }

    /// Nothing lies in it and nothing is to be told.
    pub(crate) fn is_quiet(&self) -> bool {
        self.up.is_empty()
            && self.down.is_empty()
            && !self.stalled
            && self.release_at_ms.is_none()
            && (!self.cut || self.cut_told)
    }
}
