//! Where the data plane is in its life, as all of its shards see it.
//!
//! Promises: it only goes forward: at work, leaving, stopping; a shard that is empty stays until all are, because rooms
//! of others have their home there.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};

/// Shared by all shards and by who started them.
#[derive(Debug)]
pub(super) struct Phase {
    stopping: AtomicBool,
    leaving: AtomicBool,
    /// Meaningful once `leaving` is set.
    budget_ms: AtomicU64,
    /// Shards that somebody is still at.
    inhabited: AtomicU16,
}

impl Phase {
    pub(super) fn new(shards: u16) -> Self {
        Self {
            stopping: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            budget_ms: AtomicU64::new(0),
            inhabited: AtomicU16::new(shards),
        }
    }

    /// The shards shall end at the end of their turn.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The shards shall send everybody away within this time, and then end. Said again, it changes nothing.
    pub(super) fn leave(&self, budget_ms: u64) {
        if !self.leaving.load(Ordering::Relaxed) {
            self.budget_ms.store(budget_ms, Ordering::Relaxed);
            self.leaving.store(true, Ordering::Release);
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The budget, once the shards shall leave.
    pub(super) fn leaving(&self) -> Option<u64> {
        self.leaving.load(Ordering::Acquire).then(|| self.budget_ms.load(Ordering::Relaxed))
    }

    /// One shard has nobody left. Each says it once.
    pub(super) fn one_is_empty(&self) {
        self.inhabited.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn all_are_empty(&self) -> bool {
        self.inhabited.load(Ordering::Relaxed) == 0
    }
}
