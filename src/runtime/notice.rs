//! What the process tells all its shards at once: only the newest counts, so nothing waits and nothing can be full.
//!
//! Promises: looking costs a shard one relaxed load; whoever sleeps is woken; each shard takes the newest notice once.
//! Must never: be a way for many small things; those are mail.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::mailbox::Bell;
use crate::shard::Rules;

/// Where the newest notice hangs.
#[derive(Debug)]
struct Board<T> {
    /// How often the notice was replaced; written under the lock.
    version: AtomicU64,
    newest: Mutex<Option<Arc<T>>>,
}

/// One reader's eyes on the board.
#[derive(Debug)]
pub(super) struct Notices<T> {
    board: Arc<Board<T>>,
    seen: u64,
}

/// The way to change the rules of all shards while they run. A clone is two pointers.
#[derive(Clone, Debug)]
pub struct RulesChange {
    board: Arc<Board<Rules>>,
    bells: Arc<[Arc<Bell>]>,
}

/// A board for the owners of these bells.
pub(super) fn board(bells: &[Arc<Bell>]) -> RulesChange {
    let board = Board { version: AtomicU64::new(0), newest: Mutex::new(None) };
    RulesChange { board: Arc::new(board), bells: bells.into() }
}

impl RulesChange {
    /// Every shard takes these in with its next turn, which is at once. What was told before and not read yet is
    /// overtaken. The limits must have passed their check.
    pub fn tell(&self, rules: Arc<Rules>) {
        self.board.replace(rules);
        for bell in self.bells.iter() {
            bell.ring();
        }
    }

    pub(super) fn notices(&self) -> Notices<Rules> {
        Notices { board: Arc::clone(&self.board), seen: 0 }
    }
}

impl<T> Notices<T> {
    /// Whether [`Notices::take`] would give something. To be asked once more before falling asleep.
    pub(super) fn has_news(&self) -> bool {
        self.board.version.load(Ordering::Relaxed) != self.seen
    }

    /// The newest notice, if it was not taken yet.
    pub(super) fn take(&mut self) -> Option<Arc<T>> {
        if !self.has_news() {
            return None;
        }
        let newest = self.board.newest.lock().unwrap_or_else(PoisonError::into_inner);
        self.seen = self.board.version.load(Ordering::Relaxed);
        newest.clone()
    }
}

impl<T> Board<T> {
    fn replace(&self, notice: Arc<T>) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = Some(notice);
        self.version.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reader_takes_the_newest_once_and_nobody_the_overtaken() {
        let board = Arc::new(Board { version: AtomicU64::new(0), newest: Mutex::new(None) });
        let mut readers: Vec<Notices<u32>> = (0..2).map(|_| Notices { board: Arc::clone(&board), seen: 0 }).collect();
        assert!(!readers[0].has_news() && readers[0].take().is_none());
        board.replace(Arc::new(1));
        assert_eq!(readers[0].take().as_deref(), Some(&1));
        board.replace(Arc::new(2));
        for reader in &mut readers {
            assert!(reader.has_news());
            assert_eq!(reader.take().as_deref(), Some(&2));
            assert!(!reader.has_news() && reader.take().is_none());
        }
    }
}
