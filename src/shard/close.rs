//! How connections end: our close frame or theirs, a dead socket, and the way back of everything that was lent.

use crate::base::{ConnKey, Now};
use crate::room::{Gone, Parting};
use crate::wire::{CloseReason, Violation, write_close};

use super::row::{Flags, Row, Stage, Work};
use super::{CloseHow, Count, Effect, Mail, Shard, seconds};

/// Work spaces kept for the next who need one.
const SPARE_WORK_MAX: usize = 64;

impl Shard {
    /// "Goodbye, and why": the close frame goes out, the peer's answer is awaited for a while.
    pub(super) fn fail(&mut self, now: Now, conn: ConnKey, reason: CloseReason) {
        self.fail_with(now, conn, reason, reason.message());
    }

    /// Like [`Shard::fail`], with a sentence of its own.
    pub(super) fn fail_with(&mut self, now: Now, conn: ConnKey, reason: CloseReason, sentence: &str) {
        let Some(row) = self.connections.row_mut(conn) else { return };
        if row.stage == Stage::Closing {
            // It broke the protocol even while saying goodbye.
            self.let_go(conn, CloseHow::Abruptly);
            return;
        }
        row.heard_mono_s = seconds(now);
        if reason.keeps_session() {
            self.keep_session(conn);
        }
        self.charge_failure(now, conn, reason);
        self.move_to(conn, Stage::Closing);
        self.give_up_seats(conn, reason.parting());
        self.note_closing(conn, reason);
        let code = reason.code().unwrap_or(1011);
        self.append(conn, |out| write_close(out, code, sentence, None));
    }

    /// A frame that nobody could read. Where the next one begins is not known any more, so nothing that follows is looked
    /// at; but it is taken from the socket until the peer ends or the grace is over. Else the rest of a message that is too
    /// long would turn our close into a reset, and the peer would never hear why.
    pub(super) fn on_violation(&mut self, now: Now, conn: ConnKey, violation: Violation) {
        self.counters.add(Count::BombsRefused, u64::from(violation == Violation::InflatesTooBig));
        let Some(row) = self.connections.row(conn) else { return };
        if row.stage != Stage::Closing {
            self.fail_with(now, conn, reason_of(violation), &violation.to_string());
        }
        if let Some(work) = self.work_mut(conn) {
            work.deaf = true;
        }
        // A bad goodbye is a goodbye all the same: nothing comes behind it.
        let said_goodbye =
            matches!(violation, Violation::CloseTooShort | Violation::CloseCode(_) | Violation::CloseNotUtf8);
        if let Some(row) = self.connections.row_mut(conn).filter(|_| said_goodbye) {
            row.flags.set(Flags::CLOSE_HEARD, true);
            if !row.has_outbox() {
                self.let_go(conn, CloseHow::Quietly);
            }
        }
    }

    /// The peer's close frame: answered with its own code if it was not the answer to ours.
    pub(super) fn on_close_frame(&mut self, now: Now, conn: ConnKey, code: Option<u16>) {
        let Some(row) = self.connections.row_mut(conn) else { return };
        row.flags.set(Flags::CLOSE_HEARD, true);
        if row.stage == Stage::Closing {
            if !row.has_outbox() {
                self.let_go(conn, CloseHow::Quietly);
            }
            return;
        }
        self.charge_late_leaver(now, conn);
        let Some(row) = self.connections.row_mut(conn) else { return };
        row.heard_mono_s = seconds(now);
        let parting = goodbye_parting(code);
        if parting == Parting::SocketDied {
            self.keep_session(conn);
        }
        self.move_to(conn, Stage::Closing);
        self.give_up_seats(conn, parting);
        self.note_closing(conn, CloseReason::Bye);
        self.append(conn, |out| write_close(out, code.unwrap_or(1000), "", None));
    }

    /// The peer closed its side or the socket broke. If it only closed its side, it may still read what it was
    /// answered in this very turn; if not, that write fails.
    pub(super) fn on_ended(&mut self, now: Now, conn: ConnKey) {
        self.charge_late_leaver(now, conn);
        let Some(row) = self.connections.row_mut(conn) else { return };
        let answers_wait =
            row.has_outbox() && !row.flags.has(Flags::STALLED) && !matches!(row.stage, Stage::Opening | Stage::Parked);
        if !answers_wait {
            self.give_up(conn, CloseReason::Gone);
            return;
        }
        row.heard_mono_s = seconds(now);
        row.flags.set(Flags::CLOSE_HEARD, true);
        self.keep_session(conn);
        self.move_to(conn, Stage::Closing);
        self.give_up_seats(conn, CloseReason::Gone.parting());
        self.note_closing(conn, CloseReason::Gone);
    }

    /// Everybody gets what is written by now, and a close frame behind it.
    pub(super) fn on_stop(&mut self, now: Now) {
        self.flush_all(now);
        let mut cursor = 0;
        while let Some(index) = self.connections.next_index(cursor) {
            cursor = index + 1;
            let row = self.connections.at(index);
            let conn = row.key(index);
            match row.stage {
                Stage::Open => {
                    while let Some(place) = self.connections.at(index).seats.at(0) {
                        self.collect_owed(conn, place, self.limits().outbox_soft_bytes_max);
                        self.give_up_seat(conn, place.room, CloseReason::GoingAway.parting());
                    }
                    self.fail(now, conn, CloseReason::GoingAway);
                }
                Stage::Greeting | Stage::Echo => self.fail(now, conn, CloseReason::GoingAway),
                Stage::Opening | Stage::Parked => self.give_up(conn, CloseReason::GoingAway),
                Stage::Free | Stage::Closing | Stage::Gone => {}
            }
        }
    }

    /// Nobody is listening any more: ends at once, without a word.
    pub(super) fn give_up(&mut self, conn: ConnKey, reason: CloseReason) {
        if self.connections.row(conn).is_none() {
            return;
        }
        #[cfg(feature = "planted-bugs")]
        let told = self.untold.len();
        if reason.keeps_session() {
            self.keep_session(conn);
        }
        self.give_up_seats(conn, reason.parting());
        #[cfg(feature = "planted-bugs")]
        self.planted_ghost(told);
        self.note_closing(conn, reason);
        self.let_go(conn, CloseHow::Abruptly);
    }

    /// The last step of every end: the row is given to the runtime, which answers `Released`.
    pub(super) fn let_go(&mut self, conn: ConnKey, how: CloseHow) {
        if let Some(reason) = self.retire(conn) {
            self.counters.closed(reason);
            self.effects.push(Effect::Close { conn, how });
        }
    }

    /// Takes back all that was lent to a connection; its seats are given up already. Tells why it ends.
    pub(super) fn retire(&mut self, conn: ConnKey) -> Option<CloseReason> {
        let row = self.connections.row_mut(conn)?;
        let work = row.work.take();
        let identity = row.identity.take();
        let (grants, address) = (row.grants, row.address);
        row.flags = Flags::default();
        self.move_to(conn, Stage::Gone);
        self.forget_address(address);
        self.errands.forget_row(conn.index());
        self.inflated.remove(&conn.index());
        self.heads_bytes -= work.as_ref().map_or(0, |work| work.head.len());
        let reason = work.as_ref().and_then(|work| work.closing).unwrap_or(CloseReason::Gone);
        if let Some(identity) = &identity {
            self.sessions -= 1;
            self.grants.give_back(grants);
            // Whose session went on elsewhere has given its count along.
            if reason != CloseReason::TakenOver {
                self.tell_user_went(identity);
            }
        }
        if let Some(work) = work {
            self.shelve(work);
        }
        self.effects.push(Effect::Closed { conn, identity, reason });
        Some(reason)
    }

    /// Leaves every room.
    pub(super) fn give_up_seats(&mut self, conn: ConnKey, parting: Parting) {
        while let Some(place) = self.connections.row(conn).and_then(|row| row.seats.at(0)) {
            self.give_up_seat(conn, place.room, parting);
        }
    }

    /// Leaves one room: the seat goes, the home will be told.
    pub(super) fn give_up_seat(&mut self, conn: ConnKey, at: u32, parting: Parting) {
        let Some(place) = self.connections.row(conn).and_then(|row| row.seats.find(at)) else { return };
        self.note_hears_no_more(conn, at, place.seat);
        let Some(row) = self.connections.row_mut(conn) else { return };
        row.seats.remove(at);
        let identity = row.identity.clone();
        if let Some(work) = &mut row.work {
            let before = work.behind.len();
            work.behind.retain(|behind| behind.room != at);
            self.flush.behind_readers -= before - work.behind.len();
        }
        let room = self.seats.room_mut(at);
        let seat = room.seats[place.seat as usize];
        let unanswered = seat.is_joining().then(|| (conn, seat.ticket()));
        if unanswered.is_some() {
            self.doings.without_answer(at, conn);
            self.doings.on_no_seat(at, conn);
        }
        let moves = room.remove_seat(place.seat);
        self.seated -= 1;
        for (_, after) in moves.into_iter().flatten() {
            let moved = room.seats[after as usize].conn;
            self.connections.at_mut(moved).seats.moved(at, after);
        }
        let room = self.seats.room_mut(at);
        room.gone.extend(identity.map(|who| Gone { who, parting, unanswered }));
        self.tell_counts(at);
    }

    /// The home of this room is to be told how many sit here, and as what.
    pub(super) fn tell_counts(&mut self, at: u32) {
        if !std::mem::replace(&mut self.seats.room_mut(at).untold, true) {
            self.untold.push(at);
        }
    }

    /// Control is state: counts are absolute and stay here, merged, until the letter fits.
    pub(super) fn tell_homes(&mut self) {
        let full = self.limits().letters_waiting_max * 2;
        for at in std::mem::take(&mut self.untold) {
            let local = self.seats.place(at);
            let room = self.seats.room_mut(at);
            if self.outgoing[room.home.index()].len() >= full {
                self.untold.push(at);
                continue;
            }
            room.untold = false;
            let home = room.home;
            // What they did before they went must not come after them.
            let gone = std::mem::take(&mut self.seats.room_mut(at).gone);
            self.tell_doings_before_leaving(at, &gone);
            let room = self.seats.room_mut(at);
            let seats = room.counts;
            let mail = Mail::Leave { room: room.name.clone(), local, seats, gone };
            if room.seats.is_empty() {
                let bytes = room.forget_written(room.pending.len());
                self.flush.unsent_bytes -= bytes;
                self.seats.remove(at);
            }
            self.post(home, mail);
        }
    }

    /// The work space of a connection, lent if it has none.
    pub(super) fn work_mut(&mut self, conn: ConnKey) -> Option<&mut Work> {
        let row = self.connections.row_mut(conn)?;
        let (spare, lent) = (&mut self.spare_work, &mut self.works_lent);
        Some(row.work.get_or_insert_with(|| {
            *lent += 1;
            spare.pop().unwrap_or_default()
        }))
    }

    /// Takes a work space back when nothing is in it.
    pub(super) fn take_back_work(&mut self, conn: ConnKey) {
        let idle = |row: &mut Row| row.work.take_if(|work| work.is_idle());
        if let Some(work) = self.connections.row_mut(conn).and_then(idle) {
            self.shelve(work);
        }
    }

    fn shelve(&mut self, mut work: Box<Work>) {
        self.works_lent -= 1;
        if self.spare_work.len() < SPARE_WORK_MAX {
            *work = Work::default();
            self.spare_work.push(work);
        }
    }

    pub(super) fn note_closing(&mut self, conn: ConnKey, reason: CloseReason) {
        if let Some(work) = self.work_mut(conn) {
            work.closing.get_or_insert(reason);
        }
    }
}

impl CloseReason {
    /// What its rooms are told: who is expected back may be back at once.
    pub(super) fn parting(self) -> Parting {
        if self.keeps_session() || self == Self::TakenOver { Parting::SocketDied } else { Parting::OnPurpose }
    }
}

/// By the code of the peer's close frame. A browser that leaves or reloads a page says 1001, a library that gave the
/// connection up something of its own: only who says 1000, or nothing, means to be gone.
fn goodbye_parting(code: Option<u16>) -> Parting {
    if matches!(code, None | Some(1000)) { Parting::OnPurpose } else { Parting::SocketDied }
}

/// The close reason of a broken frame.
fn reason_of(violation: Violation) -> CloseReason {
    match violation.close_code() {
        1007 => CloseReason::NotUtf8,
        1009 => CloseReason::TooBig,
        _ => CloseReason::Protocol,
    }
}
