//! Letters from homes, and answers of our own → outboxes and what rooms still owe.

use crate::base::{ConnKey, Delivery, HomePlace, LocalPlace, Now, Offset, Position, RoomName};
use crate::room::{Page, Parting};
use crate::wire::{CloseReason, Event, FrameKind, GapWhy, Refusal, write_event, write_frame};

use super::mail::{Ack, Deliver, Joined};
use super::people::members_of;
use super::row::{Behind, Flags, SeatRef, Stage};
use super::seats::Pending;
use super::{ClassCount, Count, Shard};

impl Shard {
    pub(super) fn on_joined(&mut self, now: Now, joined: Joined) {
        let place = self.seats.resolve(joined.room).and_then(|at| self.connections.row(joined.conn)?.seats.find(at));
        let waiting = place.filter(|place| {
            let seat = self.seats.room(place.room).seats[place.seat as usize];
            seat.is_joining() && seat.ticket() == joined.ticket
        });
        let Some(place) = waiting else {
            self.refuse_late_seat(joined.conn, joined.id);
            return;
        };
        self.doings.on_seat(place.room, joined.conn);
        let room = self.seats.room_mut(place.room);
        if !room.has_seated() {
            // The first seat: what lies before it concerns nobody here.
            let bytes = room.forget_written(room.pending.len());
            room.sweep = None;
            room.mark = joined.head.next();
            self.flush.unsent_bytes -= bytes;
        }
        room.home_place = Some(HomePlace { at: joined.home_at, epoch: joined.epoch });
        room.delivery = joined.delivery;
        let name = room.name.clone();
        self.tell_before_seat(now, joined.conn, &name, joined.start.cursor);
        if self.connections.row(joined.conn).is_none() {
            return;
        }
        self.note_hears_from(place.room, joined.conn, joined.start.cursor);
        if let Some(id) = joined.id {
            let event = Event::Joined {
                id,
                room: &name,
                epoch: joined.epoch,
                offset: joined.head,
                recovered: joined.start.recovered,
                read: joined.read,
                members: joined.roll.as_ref().map(members_of),
            };
            self.answer(joined.conn, &event);
        }
        if let Some(gap) = joined.start.gap {
            self.counters.add(Count::Gaps, 1);
            self.answer(
                joined.conn,
                &Event::Gap { room: &name, epoch: joined.epoch, from: gap.from, to: gap.to, why: gap.why },
            );
        }
        if self.connections.row(joined.conn).is_none() {
            // The answer was one too many for its outbox.
            return;
        }
        let (cursor, own_from) = (joined.start.cursor, joined.head.next());
        if cursor != own_from || !self.sits_at_the_head(place, joined.conn, cursor) {
            self.seats.room_mut(place.room).seats[place.seat as usize].set_behind();
            self.flush.behind_readers += 1;
            if let Some(work) = self.work_mut(joined.conn) {
                work.behind.push(Behind {
                    room: place.room,
                    cursor,
                    own_from,
                    pulling: false,
                    waits: false,
                    slow: false,
                });
            }
            self.catch_up(now, joined.conn);
        }
    }

    /// Live from what comes after the head, if that is not further ahead than a seat can be: then it pulls until it is near.
    fn sits_at_the_head(&mut self, place: SeatRef, conn: ConnKey, cursor: Offset) -> bool {
        let room = self.seats.room_mut(place.room);
        if room.make_live(place.seat, conn, cursor) {
            return true;
        }
        if room.delivery != Delivery::Ephemeral {
            // Its home still owes what lies between: the mark waits for that.
            return false;
        }
        // What has not come before the answer that names the head was dropped on its way, and there is nothing to pull.
        self.pass_over(place.room, cursor);
        self.seats.room_mut(place.room).make_live(place.seat, conn, cursor)
    }

    /// The home has no seat for it: the one that waits here is given back.
    pub(super) fn on_no_seat(
        &mut self,
        room: LocalPlace,
        conn: ConnKey,
        ticket: u16,
        id: Option<u64>,
        refusal: Refusal,
    ) {
        let place = self.seats.resolve(room).and_then(|at| self.connections.row(conn)?.seats.find(at));
        let waiting = place.filter(|place| {
            let seat = self.seats.room(place.room).seats[place.seat as usize];
            seat.is_joining() && seat.ticket() == ticket
        });
        match waiting {
            Some(place) => {
                self.doings.on_no_seat(place.room, conn);
                self.give_up_seat(conn, place.room, Parting::OnPurpose);
                self.refuse(conn, id, refusal, None);
            }
            None => self.refuse_late_seat(conn, id),
        }
    }

    /// The seat was given up before it was given: the join gets its one answer all the same.
    fn refuse_late_seat(&mut self, conn: ConnKey, id: Option<u64>) {
        self.counters.add(Count::StaleKeys, 1);
        if id.is_some() && self.connections.row(conn).is_some() {
            self.refuse(conn, id, Refusal::NotJoined, Some("it left the room before it was given its seat"));
        }
    }

    pub(super) fn on_deliver(&mut self, deliver: Deliver) {
        let Some(at) = self.seats.resolve(deliver.room) else {
            self.counters.add(Count::StaleKeys, 1);
            return;
        };
        let room = self.seats.room(at);
        if !room.has_seated() || deliver.offset < room.next_offset() {
            return;
        }
        if deliver.offset > room.next_offset() {
            debug_assert!(
                room.delivery != Delivery::Reliable,
                "{:?}: got {:?}, expected {:?}: letters of a home come in order",
                room.name,
                deliver.offset,
                room.next_offset()
            );
            self.on_hole(at, deliver.offset);
        }
        // Kept by key even if it does not sit here now: it may take a seat before this is written.
        let publisher = deliver.skip.filter(|skip| skip.shard == self.config.id).map(|skip| skip.conn);
        let place = publisher.and_then(|conn| self.connections.row(conn)?.seats.find(at));
        let room = self.seats.room_mut(at);
        if let Some(place) = place {
            room.seats[place.seat as usize].set_skips(true);
        }
        if room.pending.len() >= self.config.rules.limits.pending_messages_max {
            self.make_way(at);
        }
        let room = self.seats.room_mut(at);
        let bytes = room.push_pending(Pending {
            frames: deliver.frames,
            skip: publisher,
            accepted_mono_ms: deliver.accepted_mono_ms,
        });
        self.flush.unsent_bytes += bytes;
        self.queue_room(at);
    }

    /// The next message is this one, and there were some before it.
    pub(super) fn on_hole(&mut self, at: u32, offset: Offset) {
        if self.seats.room(at).delivery != Delivery::Reliable {
            self.pass_over(at, offset);
            return;
        }
        // Cannot be. If it is all the same nobody goes without: readers pull what is missing from the log, or hear of a gap.
        self.counters.add(Count::Holes, 1);
        self.put_all_behind(at);
        self.seats.room_mut(at).mark = offset;
    }

    /// What lies before `offset` was overtaken or dropped on its way: nobody is owed it.
    fn pass_over(&mut self, at: u32, offset: Offset) {
        let room = self.seats.room_mut(at);
        let missing = offset.since(room.next_offset());
        if room.pending.is_empty() || missing > PASSED_OVER_MAX {
            if !room.pending.is_empty() {
                self.make_way(at);
            }
            let room = self.seats.room_mut(at);
            // Who is ahead of the mark stays where it is: `taken` counts from the mark.
            let moved = offset.since(room.mark);
            for seat in &mut room.seats {
                if seat.is_live() {
                    seat.set_taken(u64::from(seat.taken()).saturating_sub(moved) as u32);
                }
            }
            room.mark = offset;
            return;
        }
        for _ in 0..missing {
            room.push_pending(Pending { frames: [None, None], skip: None, accepted_mono_ms: 0 });
        }
    }

    /// More is pending than may be: readers pull from the log, where it stands as well; where there is none they miss it.
    fn make_way(&mut self, at: u32) {
        if self.seats.room(at).delivery != Delivery::Ephemeral {
            self.put_all_behind(at);
            return;
        }
        let room = self.seats.room_mut(at);
        let (bytes, missed) = room.skip_pending();
        let class = room.class;
        self.flush.unsent_bytes -= bytes;
        self.counters.add_of(class, ClassCount::Dropped, missed);
    }

    pub(super) fn on_published(&mut self, conn: ConnKey, ack: &Ack, position: Position, dup: bool) {
        self.answer(conn, &Event::Published { id: ack.id, room: &ack.room, position, dup });
    }

    pub(super) fn on_page(&mut self, now: Now, room: LocalPlace, conn: ConnKey, asked: Offset, page: &Page) {
        let place = self.seats.resolve(room).and_then(|at| self.connections.row(conn)?.seats.find(at));
        let Some(place) = place else {
            self.counters.add(Count::StaleKeys, 1);
            return;
        };
        let Some(HomePlace { epoch, .. }) = self.seats.room(place.room).home_place else { return };
        let hard = self.limits().outbox_hard_bytes_max;
        let Some(deflated) = self.connections.row(conn).map(|row| row.form().deflated) else { return };
        let page_bytes: usize = page.frames.iter().map(|frame| frame.bytes(deflated).len()).sum();
        let plain_bytes: usize = page.frames.iter().map(|frame| frame.plain().len()).sum();
        let next = page.next;
        #[cfg(feature = "planted-bugs")]
        let next = self.planted_seam(page_bytes, next);
        let Some(work) = self.work_mut(conn) else { return };
        let Some(behind) = work.behind.iter_mut().find(|b| b.room == place.room && b.pulling && b.cursor == asked)
        else {
            self.counters.add(Count::StaleKeys, 1);
            return;
        };
        behind.pulling = false;
        if !work.outbox.is_empty() && work.outbox.len() + page_bytes > hard {
            // Answers came in between. It is asked for again when they are written.
            return;
        }
        let Some(behind) = work.behind.iter_mut().find(|b| b.room == place.room) else { return };
        behind.cursor = next;
        let why = if behind.slow { GapWhy::Slow } else { GapWhy::Retention };
        if let Some((from, to)) = page.gap {
            self.counters.add(Count::Gaps, 1);
            let room = self.seats.room(place.room).name.clone();
            self.answer(conn, &Event::Gap { room: &room, epoch, from, to, why });
        }
        self.counters.add(Count::Pages, 1);
        self.counters.add(Count::Deliveries, page.frames.len() as u64);
        self.counters.add(Count::DeflateSaved, (plain_bytes - page_bytes) as u64);
        if let Some(work) = self.work_mut(conn) {
            work.outbox.reserve_exact(page_bytes);
            page.frames.iter().for_each(|frame| work.outbox.extend_from_slice(frame.bytes(deflated)));
        }
        if self.connections.row(conn).is_some_and(|row| row.has_outbox()) {
            self.queue_conn(conn);
        } else {
            self.catch_up(now, conn);
        }
    }

    /// "No", and you stay.
    pub(super) fn refuse(&mut self, conn: ConnKey, id: Option<u64>, refusal: Refusal, detail: Option<&str>) {
        self.counters.refused(refusal);
        self.answer(conn, &Event::Error { id, refusal, detail });
    }

    pub(super) fn answer_left(&mut self, conn: ConnKey, id: Option<u64>, room: &RoomName) {
        if let Some(id) = id {
            self.answer(conn, &Event::Left { id, room });
        }
    }

    pub(super) fn answer_ping(&mut self, conn: ConnKey, id: Option<u64>) {
        if let Some(id) = id {
            self.answer(conn, &Event::Pong { id });
        }
    }

    pub(super) fn pong(&mut self, conn: ConnKey, payload: &[u8]) {
        self.append(conn, |out| write_frame(out, FrameKind::Pong, payload, None));
    }

    /// One envelope for one connection.
    pub(super) fn answer(&mut self, conn: ConnKey, event: &Event<'_>) {
        let Some(row) = self.connections.row(conn) else {
            self.counters.add(Count::StaleKeys, 1);
            return;
        };
        if row.stage != Stage::Open {
            return;
        }
        let form = row.form();
        self.counters.said(event, 1);
        self.append_frame(conn, form.deflated, |out| write_event(out, form.encoding, event));
    }

    /// One data frame for one connection, deflated if that is agreed on and worth it.
    pub(super) fn append_frame(&mut self, conn: ConnKey, deflates: bool, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(work) = self.work_mut(conn) else { return };
        let start = work.outbox.len();
        write(&mut work.outbox);
        let frame_bytes = work.outbox.len() - start;
        let is_long = deflates && self.scratch.wants(frame_bytes) && self.may_deflate(frame_bytes);
        let work = self.connections.row_mut(conn).and_then(|row| row.work.as_mut());
        if let Some(work) = work.filter(|_| is_long) {
            let saved = self.scratch.press_last(&mut work.outbox, start);
            self.counters.add(Count::DeflateSaved, saved as u64);
        }
        self.on_appended(conn);
    }

    /// Whether an answer of this length is still within what is deflated for single connections between two ticks. Beyond
    /// it answers are sent as they are, so that the bounds of outboxes are those of the work done.
    fn may_deflate(&mut self, bytes: usize) -> bool {
        let left = self.limits().answers_deflated_per_tick_max.saturating_sub(self.answers_deflated);
        if bytes > left {
            self.counters.add(Count::DeflatePassedOver, 1);
            return false;
        }
        self.answers_deflated += bytes;
        true
    }

    /// Bytes for one connection's outbox; whoever takes nothing while its outbox is full is too slow to be talked to.
    pub(super) fn append(&mut self, conn: ConnKey, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(work) = self.work_mut(conn) else { return };
        write(&mut work.outbox);
        self.on_appended(conn);
    }

    fn on_appended(&mut self, conn: ConnKey) {
        let (stalled_max, untried_max) = self.limits().outbox_bytes_max();
        let bytes = self.connections.row(conn).and_then(|row| row.work.as_ref()).map_or(0, |work| work.outbox.len());
        let stalled = self.connections.row(conn).is_some_and(|row| row.flags.has(Flags::STALLED));
        if bytes > if stalled { stalled_max } else { untried_max } {
            self.give_up(conn, CloseReason::Slow);
            return;
        }
        self.queue_conn(conn);
    }
}

/// Messages in a row that are passed over one by one; more are as many as all.
const PASSED_OVER_MAX: u64 = 64;
