//! What must hold after every step, checked by the simulation and by debug builds of the runtime.

use std::collections::BTreeSet;

use super::row::{Flags, Stage};
use super::{Count, Shard};
use crate::base::ConnKey;
use crate::wire::CloseReason;

impl Shard {
    /// The numbered invariants of one shard. Says which one is broken and where.
    ///
    /// I1 every seat's row knows the seat, every row's seats exist, and whoever watches stands in the list of those;
    /// I2 the counts a home is told are the seats there are;
    /// I3 unsent bytes are the bytes of what is pending;
    /// I4 no outbox is larger than `Limits::outbox_bytes_max` of any rules it was filled under;
    /// I5 a room with something pending stands in a queue, unless nobody is seated;
    /// I6 who is behind has a cursor, and only who is behind, and who waits for an inbox stands in the list of those;
    /// I7 sessions counted are rows with an identity; rows at rest own no work space;
    /// I8 the bytes of all logs are accounted for, and the keys all rooms remember;
    /// I9 handshakes under way, the bytes of their heads and who is counted by address are what the rows say;
    /// I10 the sums that only gauges and limits read are what they sum up: seats, lent work spaces, what rooms keep of people
    /// who need not sit there, bytes of announcements that wait.
    pub fn check(&self) -> Result<(), String> {
        self.check_rooms()?;
        self.check_rows()?;
        self.check_sums()
    }

    fn check_rooms(&self) -> Result<(), String> {
        let mut unsent = 0;
        for (at, room) in self.seats.iter() {
            let mut counts = crate::room::SeatCounts::default();
            for (n, seat) in room.seats.iter().enumerate() {
                counts.add(seat.form());
                counts.watchers += u32::from(seat.watches());
                let known = self.connections.at(seat.conn).seats.find(at);
                if known.map(|place| place.seat as usize) != Some(n) {
                    return Err(format!("I1 {:?} seat {n}: its row says {known:?}", room.name));
                }
            }
            let noted = |conn| room.watching.as_ref().is_some_and(|watching| watching.conns.contains(&conn));
            if let Some(seat) = room.seats.iter().find(|seat| seat.watches() && !noted(seat.conn)) {
                return Err(format!("I1 {:?}: {} watches, and nobody knows", room.name, seat.conn));
            }
            if counts != room.counts {
                return Err(format!("I2 {:?}: counts {:?}, seats {counts:?}", room.name, room.counts));
            }
            unsent += room
                .pending
                .iter()
                .flat_map(|pending| pending.frames.iter().flatten())
                .map(|frame| frame.bytes_held())
                .sum::<usize>();
            if !room.pending.is_empty() && !room.queued && room.has_seated() {
                return Err(format!("I5 {:?}: {} pending and in no queue", room.name, room.pending.len()));
            }
        }
        let kept: usize = self.rooms.iter().map(|room| room.log().bytes()).sum();
        if kept != self.rooms.bytes() {
            return Err(format!("I8 logs: kept {kept}, accounted {}", self.rooms.bytes()));
        }
        if !self.rooms.keys_are_right() {
            return Err(format!("I8 keys: accounted {}, and others are kept", self.rooms.keys()));
        }
        if unsent != self.flush.unsent_bytes {
            return Err(format!("I3 unsent: counted {unsent}, kept {}", self.flush.unsent_bytes));
        }
        Ok(())
    }

    fn check_rows(&self) -> Result<(), String> {
        let (mut sessions, mut behind_readers, mut cursor) = (0, 0, 0);
        let (mut pending, mut heads_bytes, mut counted) = (0, 0, 0);
        let waiting: BTreeSet<_> = self.flush.pulls_to_retry.iter().copied().collect();
        while let Some(index) = self.connections.next_index(cursor) {
            cursor = index + 1;
            let row = self.connections.at(index);
            sessions += usize::from(row.identity.is_some());
            pending += usize::from(row.stage.is_pending());
            heads_bytes += row.work.as_ref().map_or(0, |work| work.head.len());
            let here = !matches!(row.stage, Stage::Free | Stage::Gone);
            counted += u64::from(here && row.address.is_counted());
            for place in row.seats.iter() {
                if !self.seats.contains(place.room)
                    || self.seats.room(place.room).seats.get(place.seat as usize).is_none_or(|seat| seat.conn != index)
                {
                    return Err(format!("I1 row {index}: no such seat {place:?}"));
                }
                let seat = self.seats.room(place.room).seats[place.seat as usize];
                let has_cursor = row.work.as_ref().is_some_and(|work| work.behind.iter().any(|b| b.room == place.room));
                if seat.is_behind() != has_cursor {
                    return Err(format!(
                        "I6 row {index} in {:?}: behind {}, cursor {has_cursor}",
                        self.seats.room(place.room).name,
                        seat.is_behind()
                    ));
                }
            }
            let Some(work) = &row.work else { continue };
            behind_readers += work.behind.len();
            let key = row.key(index);
            if let Some(behind) = work.behind.iter().find(|b| b.waits && !waiting.contains(&(key, b.room))) {
                return Err(format!("I6 row {index}: {behind:?} waits, and stands in no list"));
            }
            if work.outbox.len() > self.outbox_bytes_ever_max {
                return Err(format!("I4 row {index}: {} bytes in the outbox", work.outbox.len()));
            }
            if matches!(row.stage, Stage::Free | Stage::Gone) {
                return Err(format!("I7 row {index}: {:?} with a work space", row.stage));
            }
            let waits = row.flags.has(Flags::QUEUED) || row.flags.has(Flags::STALLED);
            if !work.outbox.is_empty() && !waits {
                return Err(format!("I5 row {index}: an outbox in no queue"));
            }
        }
        if (pending, heads_bytes, counted) != (self.pending, self.heads_bytes, self.addresses.total()) {
            return Err(format!(
                "I9 pending {pending} kept {}; head bytes {heads_bytes} kept {}; counted {counted} kept {}",
                self.pending,
                self.heads_bytes,
                self.addresses.total()
            ));
        }
        if sessions != self.sessions || behind_readers != self.flush.behind_readers {
            return Err(format!(
                "I7 sessions {sessions} kept {}; behind {behind_readers} kept {}",
                self.sessions, self.flush.behind_readers
            ));
        }
        Ok(())
    }

    fn check_sums(&self) -> Result<(), String> {
        let seated: usize = self.seats.iter().map(|(_, room)| room.seats.len()).sum();
        let (mut lent, mut cursor) = (0, 0);
        while let Some(index) = self.connections.next_index(cursor) {
            cursor = index + 1;
            lent += usize::from(self.connections.at(index).work.is_some());
        }
        let outlasting = self.rooms.iter().map(|room| room.outlasting());
        let (away, reads) = outlasting.fold((0, 0), |sum, one| (sum.0 + one.away, sum.1 + one.reads));
        let kept = self.rooms.outlasting();
        let sums = [
            ("seats", seated, self.seated),
            ("lent work spaces", lent, self.works_lent),
            ("people away", away, kept.away),
            ("read positions", reads, kept.reads),
            ("bytes of announcements", self.errands.bytes_recounted(), self.errands.bytes()),
        ];
        match sums.into_iter().find(|(_, counted, kept)| counted != kept) {
            Some((what, counted, kept)) => Err(format!("I10 {what}: counted {counted}, kept {kept}")),
            None => Ok(()),
        }
    }

    /// What is home here, for comparison with seats on all shards and a reference model.
    pub fn homes(&self) -> impl Iterator<Item = &crate::room::Room> {
        self.rooms.iter()
    }

    /// The users of this shard's seats in a room, one for each seat, for the same comparison.
    pub fn seated(&self, room: &str) -> Vec<String> {
        let Some(at) = self.seats.find(room) else { return Vec::new() };
        let user = |conn: u32| {
            self.connections.at(conn).identity.as_ref().map_or_else(String::new, |who| who.user().to_owned())
        };
        self.seats.room(at).seats.iter().map(|seat| user(seat.conn)).collect()
    }

    /// Sessions whose users' homes count them: all but those whose count went on with another connection.
    pub fn sessions_counted(&self) -> u64 {
        let (mut counted, mut cursor) = (0, 0);
        while let Some(index) = self.connections.next_index(cursor) {
            cursor = index + 1;
            let row = self.connections.at(index);
            let moved = row.work.as_ref().is_some_and(|work| work.closing == Some(CloseReason::TakenOver));
            counted += u64::from(row.identity.is_some() && !moved);
        }
        counted
    }

    /// Whether this connection is a session: let in, and not sent away.
    pub fn is_session(&self, conn: ConnKey) -> bool {
        self.connections.row(conn).is_some_and(|row| row.stage == Stage::Open)
    }

    /// Whether everything that was said has been written and told: nothing is pending, owed, behind or unsent.
    pub fn is_quiet(&self) -> bool {
        let nothing_unsent =
            !self.flush.has_anything() && self.flush.unsent_bytes == 0 && self.flush.behind_readers == 0;
        let nothing_untold = self.untold.is_empty()
            && self.turned_away.is_empty()
            && self.user_news.iter().all(Vec::is_empty)
            && self.take_overs.is_empty();
        // A question that waits for news is answered when its time is over, too.
        let nothing_to_do = self.errands.is_empty() && self.owed.is_empty() && self.followers.is_empty();
        let nobody_does =
            self.news.is_empty() && !self.rooms.will_ring() && self.doings.is_empty() && self.missed.is_empty();
        let nobody_to_go = !self.sweeps_revoked() && self.unseating.is_at_rest();
        let nothing_left = nothing_unsent && nothing_untold && nothing_to_do && nobody_does && nobody_to_go;
        nothing_left && self.outgoing.iter().all(Vec::is_empty)
    }

    /// Deliveries so far, for throughput figures.
    pub fn deliveries(&self) -> u64 {
        self.counters.count(Count::Deliveries)
    }
}

#[cfg(feature = "planted-bugs")]
impl Shard {
    /// Planted bug: behind a full page the reader goes on one message too far.
    pub(super) fn planted_seam(&self, page_bytes: usize, next: crate::base::Offset) -> crate::base::Offset {
        let planted = self.config.planted == Some(super::PlantedBug::SkipsAtTheSeam);
        let is_full = page_bytes + self.limits().message_bytes_max > self.limits().outbox_soft_bytes_max;
        if planted && is_full { next.next() } else { next }
    }

    /// Planted bug: of every second change nobody is told who has left.
    pub(super) fn planted_ghost_in_presence(&self, mut news: crate::room::News) -> crate::room::News {
        if self.config.planted == Some(super::PlantedBug::GhostInPresence)
            && let Some(changes) = news.changes.as_mut().filter(|changes| changes.version.is_multiple_of(2))
        {
            changes.left.clear();
        }
        news
    }

    /// Planted bug: a reader that pulls is given messages of another room of this home.
    pub(super) fn planted_foreign(
        &mut self,
        at: u32,
        cursor: crate::base::Offset,
        form: crate::base::Form,
        page: crate::room::Page,
    ) -> crate::room::Page {
        let planted = self.config.planted == Some(super::PlantedBug::ForeignRoom);
        let Some(other) = self.rooms.room_mut(at ^ 1).filter(|_| planted && !page.frames.is_empty()) else {
            return page;
        };
        let bytes_before = other.log().bytes();
        let foreign = other.frame(cursor, form, &mut self.scratch);
        self.rooms.account(at ^ 1, bytes_before);
        let frames = foreign.map_or(page.frames, |(frame, _)| vec![frame]);
        crate::room::Page { frames, ..page }
    }

    /// Planted bug: of the rooms noted since `told` no home hears that somebody was cut.
    pub(super) fn planted_ghost(&mut self, told: usize) {
        if self.config.planted == Some(super::PlantedBug::GhostAfterCut) {
            for at in self.untold.drain(told..) {
                let room = self.seats.room_mut(at);
                (room.untold, room.gone) = (false, Vec::new());
            }
        }
    }
}
