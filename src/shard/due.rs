//! What is due to be written, by how many ticks it has been due.
//!
//! Promises: what became due in an earlier tick stands before what became due later, however often it lets others of its
//! age go first.

use std::collections::VecDeque;

/// The greatest age: due for so many ticks, or longer.
pub(crate) const OLDEST: usize = 2;

/// A queue of rooms, or of connections.
#[derive(Debug)]
pub(crate) struct Due<T> {
    /// Due since this tick, since the last one, and since before.
    by_age: [VecDeque<T>; OLDEST + 1],
}

impl<T> Default for Due<T> {
    fn default() -> Self {
        Self { by_age: [VecDeque::new(), VecDeque::new(), VecDeque::new()] }
    }
}

impl<T> Due<T> {
    /// The age of the oldest; `None`: nothing is due.
    pub(crate) fn age(&self) -> Option<usize> {
        (0..=OLDEST).rev().find(|age| !self.by_age[*age].is_empty())
    }

    /// Whether any is of this age.
    pub(crate) fn has(&self, age: usize) -> bool {
        !self.by_age[age].is_empty()
    }

    /// Due from now on.
    pub(crate) fn push(&mut self, what: T) {
        self.by_age[0].push_back(what);
    }

    /// The next one of this age.
    pub(crate) fn pop(&mut self, age: usize) -> Option<T> {
        self.by_age[age].pop_front()
    }

    /// It could not be served, and is the next one of its age again.
    pub(crate) fn push_front(&mut self, age: usize, what: T) {
        self.by_age[age].push_front(what);
    }

    /// Served in part: the others of its age go first.
    pub(crate) fn push_back(&mut self, age: usize, what: T) {
        self.by_age[age].push_back(what);
    }

    /// A tick: everything is a tick older, and what waited for it is due.
    pub(crate) fn tick(&mut self, waited: &mut Vec<T>) {
        let [fresh, late, oldest] = &mut self.by_age;
        oldest.append(late);
        std::mem::swap(late, fresh);
        fresh.extend(waited.drain(..));
        waited.shrink_to(KEPT);
        // The memory of a rush is not kept.
        self.by_age.iter_mut().filter(|queue| queue.is_empty()).for_each(|queue| queue.shrink_to(KEPT));
    }
}

/// Places an empty queue keeps.
const KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_comes_first_also_after_it_let_others_go_first() {
        let mut due = Due::default();
        due.push('a');
        due.push('b');
        due.tick(&mut vec!['c']);
        due.push('d');
        assert_eq!((due.age(), due.pop(1)), (Some(1), Some('a')));
        due.push_back(1, 'a');
        assert_eq!(due.pop(1), Some('b'));
        due.push_front(1, 'b');
        due.tick(&mut Vec::new());
        due.tick(&mut Vec::new());
        let mut order = Vec::new();
        while let Some(age) = due.age() {
            order.extend(due.pop(age));
        }
        assert_eq!(order, ['b', 'a', 'c', 'd']);
    }

    #[test]
    fn nothing_grows_older_than_oldest_and_nothing_is_kept_of_a_rush() {
        let mut due = Due::default();
        (0..10_000).for_each(|n| due.push(n));
        (0..5).for_each(|_| due.tick(&mut Vec::new()));
        assert_eq!(due.age(), Some(OLDEST));
        while due.pop(OLDEST).is_some() {}
        due.tick(&mut Vec::new());
        assert_eq!(due.age(), None);
        assert!(due.by_age.iter().all(|queue| queue.capacity() <= 2 * KEPT));
    }
}
