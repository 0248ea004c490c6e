//! Offsets that somebody left out, noted when it happened: so few that it costs nothing, and no seat has to remember.

/// Holes noted in one phase; what comes after them is counted, not described.
const HOLES_MAX: usize = 64;

/// When a member heard `before` next, something of what others said before it was missing. Offsets count from the room's base.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Hole {
    pub(super) member: u32,
    /// From here on, of a member that hears all of its room. None: it does not hear itself, and what it had under way itself may
    /// have hidden the loss until now.
    pub(super) from: Option<u32>,
    pub(super) before: u32,
    pub(super) at_ns: u64,
}

/// The first hole of each of the first members that had one.
///
/// What was left out may still come, late: a hole is a loss only where one is counted at the end.
#[derive(Clone, Default, Debug)]
pub(super) struct Holes(Vec<Hole>);

impl Holes {
    pub(super) fn note(&mut self, hole: Hole) {
        if self.0.len() < HOLES_MAX && self.of(hole.member).is_none() {
            self.0.push(hole);
        }
    }

    pub(super) fn of(&self, member: u32) -> Option<Hole> {
        self.0.iter().find(|hole| hole.member == member).copied()
    }

    /// A phase is over.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
