//! What a shard's thread keeps for later, given back every few seconds.
//!
//! mimalloc keeps empty pages of each size for the thread that freed them, and looks at them when that thread allocates or
//! frees more of it: a crowd that has joined leaves its answers behind in all their sizes, and a shard at rest does not come
//! by (docs/decisions/0003).

use super::sys;
use crate::base::Now;
use crate::shard::Batch;

/// Between two looks.
const EVERY_MS: u64 = 10_000;

/// The spare memory of the thread it is used on.
#[derive(Default, Debug)]
pub(super) struct Spare {
    looked_mono_ms: u64,
}

impl Spare {
    /// Between two batches, as ticks are.
    pub(super) fn on_tick(&mut self, now: Now, batch: &mut Batch) {
        if now.since(self.looked_mono_ms) >= EVERY_MS {
            self.looked_mono_ms = now.mono_ms;
            *batch = Batch::default();
            sys::give_back_memory();
        }
    }
}
