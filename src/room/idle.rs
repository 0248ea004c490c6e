//! Rooms that nobody sits in, by how long they have been left alone.
//!
//! Promises: the one longest without people and without a new message comes first. A message costs nothing here: what was
//! said since a room was noted is found out when its turn comes, and then it is noted anew.

use std::collections::BTreeSet;
use std::ops::Bound;

use slab::Slab;

use super::home::Room;
use crate::base::Limits;

/// What waits in a room is letters to somebody, or not; and whether anybody ever sat there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Unvisited,
    Visited,
    Inbox,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Unvisited, Self::Visited, Self::Inbox];

    pub(super) fn of(room: &Room) -> Self {
        match room.name().as_str().starts_with('@') {
            true => Self::Inbox,
            false if room.visited => Self::Visited,
            false => Self::Unvisited,
        }
    }

    pub(super) fn idle_max(self, limits: &Limits) -> usize {
        match self {
            Self::Unvisited | Self::Visited => limits.idle_rooms_max,
            Self::Inbox => limits.idle_inboxes_max,
        }
    }
}

/// All empty rooms, by kind.
#[derive(Default, Debug)]
pub(super) struct AllIdle {
    unvisited: IdleRooms,
    visited: IdleRooms,
    inboxes: IdleRooms,
}

impl AllIdle {
    pub(super) fn of(&mut self, kind: Kind) -> &mut IdleRooms {
        match kind {
            Kind::Unvisited => &mut self.unvisited,
            Kind::Visited => &mut self.visited,
            Kind::Inbox => &mut self.inboxes,
        }
    }

    /// How many count towards the bound of this kind.
    pub(super) fn bounded_with(&self, kind: Kind) -> usize {
        match kind {
            Kind::Unvisited | Kind::Visited => self.unvisited.len() + self.visited.len(),
            Kind::Inbox => self.inboxes.len(),
        }
    }

    /// Of which kind one is to go, where those of this kind may be `most`. Anybody can say something in rooms nobody knows:
    /// those do not push out what people sat by, beyond a part of the places.
    pub(super) fn least_missed(&self, kind: Kind, most: usize) -> Kind {
        match kind {
            Kind::Inbox => Kind::Inbox,
            Kind::Unvisited | Kind::Visited if self.unvisited.len() > most / UNVISITED_PARTS => Kind::Unvisited,
            Kind::Unvisited | Kind::Visited if self.visited.len() == 0 => Kind::Unvisited,
            Kind::Unvisited | Kind::Visited => Kind::Visited,
        }
    }
}

/// One of the empty times of one room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) struct Idle {
    /// Left alone since then, or since something was said later.
    pub(super) since_mono_ms: u64,
    /// Which of the room's empty times this is: another mark of its room makes it stale.
    pub(super) mark: u64,
    pub(super) at: u32,
}

impl Idle {
    /// Whether its room is gone, or has had people since.
    pub(super) fn is_stale(&self, rooms: &Slab<Room>) -> bool {
        rooms.get(self.at as usize).is_none_or(|room| room.idle_mark() != self.mark)
    }
}

/// Empty rooms of one kind, the longest alone first. Stale ones stand among them and only count towards the bound.
#[derive(Default, Debug)]
pub(super) struct IdleRooms {
    by_age: BTreeSet<Idle>,
    /// Where the sweep is.
    swept: Idle,
}

impl IdleRooms {
    pub(super) fn push(&mut self, idle: Idle) {
        self.by_age.insert(idle);
    }

    /// The one longest alone, as far as was noted.
    pub(super) fn pop(&mut self) -> Option<Idle> {
        self.by_age.pop_first()
    }

    pub(super) fn remove(&mut self, idle: &Idle) {
        self.by_age.remove(idle);
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Idle) -> bool) {
        self.by_age.retain(keep);
    }

    /// The next one of an endless round.
    pub(super) fn next_swept(&mut self) -> Option<Idle> {
        let behind = (Bound::Excluded(self.swept), Bound::Unbounded);
        let next = self.by_age.range(behind).next().or_else(|| self.by_age.first()).copied()?;
        self.swept = next;
        Some(next)
    }

    pub(super) fn len(&self) -> usize {
        self.by_age.len()
    }
}

/// Rooms nobody ever sat in have this part of the places for themselves.
const UNVISITED_PARTS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_alone_comes_first_and_a_round_meets_everybody() {
        let mut rooms = IdleRooms::default();
        for (since_mono_ms, mark) in [(30, 1), (10, 2), (20, 3)] {
            rooms.push(Idle { since_mono_ms, mark, at: mark as u32 });
        }
        let round: Vec<u64> = (0..4).filter_map(|_| rooms.next_swept()).map(|idle| idle.mark).collect();
        assert_eq!(round, [2, 3, 1, 2]);
        rooms.retain(|idle| idle.mark != 3);
        let order: Vec<u64> = std::iter::from_fn(|| rooms.pop()).map(|idle| idle.mark).collect();
        assert_eq!((order, rooms.len()), (vec![2, 1], 0));
    }
}
