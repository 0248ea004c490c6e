//! A server that leaves, as those see it whom it sends away: their slots, whether they were kept, what had to be heard.
//!
//! Promises: two moments are compared only where one must lie before the other whatever the machine does: the server cannot
//! have told a slot before it was told to leave, so nobody may be sent away before that time and the slot together, and what
//! was acknowledged before then must have been heard.

use std::collections::BTreeMap;

use serde::Serialize;
use throng::base::Position;

/// What came of the slots.
#[derive(Clone, Default, Debug, Serialize)]
pub(crate) struct Drained {
    /// Connections that were told a slot, and those that were closed with 1012.
    pub(crate) told: u64,
    pub(crate) sent_away: u64,
    /// The latest slot there was.
    pub(crate) slot_max_s: f64,
    /// From a slot (counted from when it was read) to the close; negative: read late.
    pub(crate) after_slot_p50_s: f64,
    pub(crate) after_slot_max_s: f64,
    /// Closed before the slot can have come; told twice; closed without a slot; ended otherwise than by 1012.
    pub(crate) early: u64,
    pub(crate) told_twice: u64,
    pub(crate) without_slot: u64,
    pub(crate) otherwise: BTreeMap<String, u64>,
}

/// "The server is being replaced", RFC 6455's registry.
pub(super) const RESTART: u16 = 1012;

/// The server's clock counts whole milliseconds, and its turn may have begun just before the word came.
const ROUNDING_NS: u64 = 2_000_000;

/// One departure under way.
pub(super) struct Leaving {
    /// Not later than the server was told to leave, by the monotonic clock.
    told_from_ns: u64,
    /// By member: when it read its slot, and the slot.
    slots: Vec<Option<(u64, u64)>>,
    /// By member: whether it has been sent away.
    gone: Vec<bool>,
    /// By room: positions and when their acks were read.
    acked: Vec<Vec<(Position, u64)>>,
    after_slot_ns: Vec<i64>,
    pub(super) drained: Drained,
}

impl Leaving {
    /// `heads` are the newest positions of the rooms known now.
    pub(super) fn new(now_ns: u64, members: usize, heads: &[Option<Position>]) -> Self {
        let acked = heads.iter().map(|head| head.map(|position| (position, now_ns)).into_iter().collect()).collect();
        Self {
            told_from_ns: now_ns.saturating_sub(ROUNDING_NS),
            slots: vec![None; members],
            gone: vec![false; members],
            acked,
            after_slot_ns: Vec::new(),
            drained: Drained::default(),
        }
    }

    pub(super) fn slot(&mut self, member: usize, now_ns: u64, ms: u64) {
        if self.gone[member] {
            return;
        }
        match self.slots[member].replace((now_ns, ms * 1_000_000)) {
            Some(_) => self.drained.told_twice += 1,
            None => self.drained.told += 1,
        }
        self.drained.slot_max_s = self.drained.slot_max_s.max(ms as f64 / 1e3);
    }

    pub(super) fn acked(&mut self, room: usize, position: Position, now_ns: u64) {
        self.acked[room].push((position, now_ns));
    }

    /// `member` has lost its connection; gives how many messages of its `room` it should have heard and did not. `None`:
    /// it was away once already, or this was no goodbye.
    pub(super) fn sent_away(
        &mut self,
        member: usize,
        now_ns: u64,
        code: Option<u16>,
        why: &str,
        seat: Option<(usize, Position)>,
    ) -> Option<u64> {
        if std::mem::replace(&mut self.gone[member], true) {
            return None;
        }
        if code != Some(RESTART) {
            *self.drained.otherwise.entry(why.to_owned()).or_default() += 1;
            return None;
        }
        self.drained.sent_away += 1;
        let Some((read_ns, slot_ns)) = self.slots[member] else {
            self.drained.without_slot += 1;
            return None;
        };
        let stayed_until_ns = self.told_from_ns + slot_ns;
        self.drained.early += u64::from(now_ns < stayed_until_ns);
        self.after_slot_ns.push(now_ns.cast_signed() - (read_ns + slot_ns).cast_signed());
        let (room, position) = seat?;
        let owed = self.acked[room].iter().filter(|(acked, read_ns)| {
            acked.epoch == position.epoch && *read_ns < stayed_until_ns && acked.offset > position.offset
        });
        Some(owed.map(|(acked, _)| acked.offset.0 - position.offset.0).max().unwrap_or(0))
    }

    pub(super) fn all_gone(&self) -> bool {
        self.gone.iter().all(|gone| *gone)
    }

    /// What it came to.
    pub(super) fn judged(mut self) -> Drained {
        self.after_slot_ns.sort_unstable();
        let seconds = |ns: Option<&i64>| ns.map_or(0.0, |ns| *ns as f64 / 1e9);
        self.drained.after_slot_p50_s = seconds(self.after_slot_ns.get(self.after_slot_ns.len() / 2));
        self.drained.after_slot_max_s = seconds(self.after_slot_ns.last());
        self.drained
    }
}

#[cfg(test)]
mod tests {
    use throng::base::{Epoch, Offset};

    use super::*;

    fn at(epoch: u64, offset: u64) -> Position {
        Position { epoch: Epoch(epoch), offset: Offset(offset) }
    }

    #[test]
    fn whoever_stayed_until_its_slot_heard_what_was_acknowledged_before() {
        let mut leaving = Leaving::new(1_000 + ROUNDING_NS, 3, &[Some(at(1, 5))]);
        (0..3).for_each(|member| leaving.slot(member, 2_000, 1));
        leaving.acked(0, at(1, 7), 900_000);
        // Acknowledged by the next server, and after the slot: neither was to be heard here.
        leaving.acked(0, at(2, 90), 900_000);
        leaving.acked(0, at(1, 9), 1_002_000);
        let away = |leaving: &mut Leaving, member, offset| {
            leaving.sent_away(member, 1_003_000, Some(RESTART), "", Some((0, at(1, offset))))
        };
        assert_eq!(away(&mut leaving, 0, 7), Some(0));
        assert_eq!(away(&mut leaving, 1, 4), Some(3));
        assert!(!leaving.all_gone());
        assert_eq!(leaving.sent_away(2, 1_000_999, Some(RESTART), "", None), None, "nobody without a room is owed");
        assert!(leaving.all_gone());
        let drained = leaving.judged();
        assert_eq!((drained.told, drained.sent_away, drained.early, drained.without_slot), (3, 3, 1, 0));
    }

    #[test]
    fn other_ends_and_second_slots_are_counted() {
        let mut leaving = Leaving::new(ROUNDING_NS, 2, &[]);
        leaving.slot(0, 1, 1);
        leaving.slot(0, 2, 1);
        leaving.sent_away(0, 3_000_000, None, "read: reset", None);
        leaving.sent_away(1, 3_000_000, Some(RESTART), "", None);
        assert_eq!(leaving.sent_away(1, 4_000_000, Some(RESTART), "", None), None, "once is enough");
        let drained = leaving.judged();
        assert_eq!((drained.told_twice, drained.without_slot, drained.sent_away), (1, 1, 1));
        assert_eq!(drained.otherwise["read: reset"], 1);
    }
}
