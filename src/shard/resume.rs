//! `resume`: a client that lost its connection goes on with another, all its rooms at once.
//!
//! ```text
//!  resume{session, rooms} ─► a join with a position for each room      (they do not wait for the session)
//!                         └► TakeOver ─► the session's shard: 4502 for a socket that still has it
//!                              reply{resumed} ◄─ TakenOver ◄─┘
//!  hello{token, session}  ─► TakeOver ─► … ─► welcome{resumed}         (what came behind it waits)
//! ```
//!
//! Promises: each room that cannot be joined is named; a room without a position has a `gap` that says so; the session is
//! taken from whoever had it before anybody is told `resumed`, and goes back where nobody is there any more to be told, or
//! a `hello` fails after all. The new seats may stand before the old ones are given up,
//! so that nobody is missed for a moment who is only changing sockets.

use super::row::Stage;
use super::sessions::{SessionCode, Taken};
use super::{Count, Mail, Shard};
use crate::base::{ConnKey, Now, RoomName, ShardId};
use crate::wire::{CloseReason, Event, Refusal, RemovedWhy, ResumeRoom, Verb, Verified};

use super::commands::{NoSeat, Wish};

impl Shard {
    pub(super) fn resume(
        &mut self,
        now: Now,
        conn: ConnKey,
        id: Option<u64>,
        session: Option<&str>,
        rooms: &[ResumeRoom<'_>],
    ) -> Result<(), Refusal> {
        match session {
            Some(session) => {
                // Nothing was joined: all of it can be tried again.
                if self.ask_take_over(conn, id, session) == Asking::Busy {
                    return Err(Refusal::Busy);
                }
            }
            None => self.answer_resume(conn, id, None),
        }
        let mut too_often = false;
        for room in rooms {
            match self.resume_room(now, conn, room) {
                Ok(()) => {}
                Err(NoSeat::Refused(refusal)) => self.refuse_room(conn, room, refusal),
                Err(NoSeat::TooOften(retry_after_ms)) => {
                    too_often = true;
                    match room.id {
                        Some(id) => self.tell_too_often(conn, Some(id), retry_after_ms),
                        None => self.refuse_room(conn, room, Refusal::TooOften),
                    }
                }
            }
            self.settle(now);
        }
        // However many rooms it names, it asked once: who sat in many is not taken for somebody who does not listen.
        if too_often {
            self.strike(now, conn);
        }
        Ok(())
    }

    /// The token is good; whether its session goes on is known elsewhere, and the welcome waits for it.
    pub(super) fn greet_with_session(
        &mut self,
        now: Now,
        conn: ConnKey,
        id: Option<u64>,
        session: &str,
        verified: Verified,
    ) {
        let identity = verified.identity.clone();
        if let Some(work) = self.work_mut(conn) {
            work.greeted = Some(Box::new(verified));
        }
        let code = SessionCode::parse(session).filter(|code| code.shard.0 < self.config.shards);
        match code {
            None => self.on_taken_over(now, conn, id, None),
            Some(code) if self.has_room_for(code.shard) => {
                self.post(code.shard, Mail::TakeOver { conn, id, session: code, user: identity });
            }
            Some(_) => {
                self.counters.add(Count::LettersFull, 1);
                self.fail(now, conn, CloseReason::Busy);
            }
        }
    }

    /// At the session's shard.
    pub(super) fn on_take_over(
        &mut self,
        now: Now,
        from: ShardId,
        conn: ConnKey,
        id: Option<u64>,
        session: SessionCode,
        user: &crate::base::Identity,
    ) {
        let taken = self.take_session(now, session, user).map(Box::new);
        self.post(from, Mail::TakenOver { conn, id, taken });
    }

    /// Back at the shard of the new connection.
    pub(super) fn on_taken_over(&mut self, now: Now, conn: ConnKey, id: Option<u64>, taken: Option<Box<Taken>>) {
        let (resumed, was_live) = (taken.is_some(), taken.as_ref().is_some_and(|taken| taken.was_live));
        let greeted = self.connections.row_mut(conn).and_then(|row| match row.stage {
            Stage::Greeting => row.work.as_mut()?.greeted.take(),
            Stage::Free | Stage::Opening | Stage::Parked | Stage::Open | Stage::Echo | Stage::Closing | Stage::Gone => {
                None
            }
        });
        let Some(verified) = greeted else {
            // Who is closed with this answer goes on with nothing.
            let stays = was_live || !self.take_overs.is_last_answer(conn);
            let goes_on = stays && self.stage_of(conn) == Some(Stage::Open);
            // First, so that a count that moved is told before its connection can end.
            self.on_take_over_told(now, conn, was_live && goes_on);
            if goes_on {
                self.count_resume(resumed);
                self.answer_resume(conn, id, Some(resumed));
            } else {
                self.take_back(taken);
            }
            return;
        };
        let mut early = self.take_head(conn);
        if was_live {
            self.take_overs.stands_in(conn);
        }
        self.begin_session(now, conn, None, *verified, resumed);
        let has_count = was_live && !self.take_overs.take_stand_in(conn);
        self.take_overs.forget(conn);
        if self.stage_of(conn) == Some(Stage::Open) {
            self.count_resume(resumed);
        } else {
            // The count went with it where it had begun already.
            let taken = taken.map(|mut taken| {
                taken.was_live = was_live && !has_count;
                taken
            });
            self.take_back(taken);
        }
        self.answer_ping(conn, id);
        // Also where nothing follows: what was delivered is forgotten, what was lent is taken back.
        if self.hears_frames(conn) {
            self.on_frame_bytes(now, conn, &mut early);
        }
    }

    fn count_resume(&mut self, resumed: bool) {
        self.counters.add(if resumed { Count::Resumed } else { Count::NotResumed }, 1);
    }

    /// Nobody goes on with it: its client may try again.
    fn take_back(&mut self, taken: Option<Box<Taken>>) {
        self.counters.add(Count::NotResumed, 1);
        if let Some(taken) = taken {
            self.give_back_session(taken);
        }
    }

    fn ask_take_over(&mut self, conn: ConnKey, id: Option<u64>, session: &str) -> Asking {
        let Some(user) = self.connections.row(conn).and_then(|row| row.identity.clone()) else { return Asking::Asked };
        let Some(session) = SessionCode::parse(session).filter(|code| code.shard.0 < self.config.shards) else {
            // Of another server, or of nobody: the positions are as good as before.
            self.counters.add(Count::NotResumed, 1);
            self.answer_resume(conn, id, Some(false));
            return Asking::Asked;
        };
        if session == self.session_code(conn) {
            // Its own: it goes on anyway.
            self.answer_resume(conn, id, Some(true));
            return Asking::Asked;
        }
        if !self.has_room_for(session.shard) {
            self.counters.add(Count::LettersFull, 1);
            return Asking::Busy;
        }
        self.take_overs.ask(conn);
        self.post(session.shard, Mail::TakeOver { conn, id, session, user });
        Asking::Asked
    }

    fn answer_resume(&mut self, conn: ConnKey, id: Option<u64>, resumed: Option<bool>) {
        if let Some(id) = id {
            self.answer(conn, &Event::Resumed { id, resumed });
        }
    }

    fn resume_room(&mut self, now: Now, conn: ConnKey, entry: &ResumeRoom<'_>) -> Result<(), NoSeat> {
        let ResumeRoom { room, id, since, history, presence } = entry;
        // Who may sit here but not read the log is not turned away for having been here: what is missing is said.
        let may_read = self.may(conn, Verb::History, room);
        let (since, history) = if may_read { (*since, *history) } else { (None, None) };
        let wish = Wish { room, since, history, presence: *presence, resumes: true };
        self.ask_join(now, conn, *id, &wish)
    }

    /// An entry is refused like a join, by its `id`; one without is told by name.
    fn refuse_room(&mut self, conn: ConnKey, entry: &ResumeRoom<'_>, refusal: Refusal) {
        if entry.id.is_some() {
            self.refuse(conn, entry.id, refusal, None);
            return;
        }
        let why = match refusal {
            Refusal::Forbidden => RemovedWhy::Grants,
            Refusal::TooManyRooms => RemovedWhy::TooManyRooms,
            // It sits there.
            Refusal::AlreadyJoined => return,
            Refusal::Busy
            | Refusal::Malformed
            | Refusal::UnknownCommand
            | Refusal::Unsupported
            | Refusal::BadRoom
            | Refusal::NotJoined
            | Refusal::Unportable
            | Refusal::TooDeep
            | Refusal::TooOften
            | Refusal::TooLong
            | Refusal::RoomFull
            | Refusal::KeyReused
            | Refusal::BadToken
            | Refusal::OtherUser => RemovedWhy::Busy,
        };
        self.counters.refused(refusal);
        if let Ok(room) = RoomName::parse(&entry.room) {
            self.answer(conn, &Event::Removed { room: &room, why });
        }
    }
}

/// What came of asking for a session.
#[derive(PartialEq, Eq)]
enum Asking {
    /// The answer comes, or was given already.
    Asked,
    /// The inbox is full.
    Busy,
}
