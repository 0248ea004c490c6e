//! Where somebody begins who comes into a room.
//!
//! Promises: from there on every message comes, and what will not come of what was asked for is named.

use super::home::Room;
use crate::base::{Delivery, Limits, Offset, Position};
use crate::wire::GapWhy;

/// Something missing: `from..=to` will not come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    pub from: Offset,
    pub to: Offset,
    pub why: GapWhy,
}

/// Where a joiner begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// The next offset the joiner is owed.
    pub cursor: Offset,
    pub gap: Option<Gap>,
    /// Only for joins with `since`, and for rooms of a resume.
    pub recovered: Option<bool>,
}

impl Room {
    /// Where a joiner begins, by what it asked for.
    pub fn start(&self, since: Option<Position>, history: usize, limits: &Limits) -> Start {
        let (first, head) = (self.log().first(), self.head());
        match self.delivery() {
            Delivery::Reliable => {}
            Delivery::Latest => return self.start_with_values(since),
            Delivery::Ephemeral => {
                return Start { cursor: head.next(), gap: None, recovered: since.map(|_| false) };
            }
        }
        let newest =
            |n: usize| first.max(Offset((head.0 + 1).saturating_sub(n.min(limits.history_on_join_max) as u64)));
        let Some(since) = since else {
            return Start { cursor: newest(history), gap: None, recovered: None };
        };
        if since.epoch != self.epoch() || since.offset > head {
            let cursor = newest(limits.history_on_join_max);
            let gap = Gap { from: Offset(1), to: Offset(cursor.0 - 1), why: GapWhy::Epoch };
            return Start { cursor, gap: Some(gap), recovered: Some(false) };
        }
        let wanted = since.offset.next();
        if wanted < first {
            let gap = Gap { from: wanted, to: Offset(first.0 - 1), why: GapWhy::Retention };
            return Start { cursor: first, gap: Some(gap), recovered: Some(false) };
        }
        Start { cursor: wanted, gap: None, recovered: Some(true) }
    }

    /// Where somebody begins who sat here before and does not know how far it had come.
    pub fn start_unknown(&self, history: usize, limits: &Limits) -> Start {
        let start = self.start(None, history, limits);
        if self.delivery() != Delivery::Reliable {
            // Nothing is promised of what was said before.
            return Start { recovered: Some(false), ..start };
        }
        let gap = Gap { from: Offset(1), to: Offset(start.cursor.0 - 1), why: GapWhy::Unknown };
        Start { gap: Some(gap), recovered: Some(false), ..start }
    }

    /// All values there are, or those set since.
    fn start_with_values(&self, since: Option<Position>) -> Start {
        let known = since.filter(|since| since.epoch == self.epoch() && since.offset <= self.head());
        let from = known.map_or(Offset(0), |since| since.offset.next());
        let cursor = self.log().next_from(from).unwrap_or_else(|| self.head().next());
        Start { cursor, gap: None, recovered: since.map(|_| known.is_some()) }
    }
}
