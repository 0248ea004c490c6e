//! Bytes of a session → frames → commands → letters to homes.

use std::sync::Arc;

use crate::base::{ClassId, ConnKey, Encoding, Form, Now, Position, RoomClass, RoomName};
use crate::room::Parting;
use crate::wire::{
    CloseReason, Command, Data, Envelope, FrameKind, FrameLimits, Incoming, Inflater, Partial, Reader, Refusal,
    Rejected, Role, Verb, decode, inbox_of, is_inbox_of,
};

use super::mail::{Ack, Join, Publish, RoomRef};
use super::row::{Flags, SeatRef, Stage};
use super::{Count, Mail, Shard, seconds};

/// How a room is to be joined.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    pub(super) room: &'a str,
    pub(super) since: Option<Position>,
    /// The newest n; not yet cut to the limit.
    pub(super) history: Option<u32>,
    pub(super) presence: bool,
    /// As one of a `resume`: without a position it is told that something may be missing.
    pub(super) resumes: bool,
}

/// Why a room is not joined.
pub(super) enum NoSeat {
    Refused(Refusal),
    /// Its user joins too often: not for so many milliseconds. It has not been told yet.
    TooOften(u32),
}

impl From<Refusal> for NoSeat {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What somebody wants to say.
struct Said<'a> {
    data: &'a Data<'a>,
    event: Option<&'a str>,
    echo: Option<bool>,
    key: Option<&'a str>,
}

impl Shard {
    pub(super) fn on_received(&mut self, now: Now, conn: ConnKey, bytes: &mut [u8]) {
        self.counters.add(Count::BytesIn, bytes.len() as u64);
        let Some(row) = self.connections.row_mut(conn) else {
            self.counters.add(Count::StaleKeys, 1);
            return;
        };
        match row.stage {
            Stage::Opening => self.on_head_bytes(now, conn, bytes),
            Stage::Parked => self.keep_early_bytes(now, conn, bytes),
            Stage::Greeting => self.on_greeting_bytes(now, conn, bytes),
            // Behind a close frame, or a request that was refused, comes nothing that could mean anything.
            Stage::Open | Stage::Echo | Stage::Closing if row.flags.has(Flags::CLOSE_HEARD) => {}
            Stage::Closing if row.work.as_ref().is_some_and(|work| work.deaf) => {}
            Stage::Open | Stage::Echo | Stage::Closing => self.on_frame_bytes(now, conn, bytes),
            Stage::Free | Stage::Gone => unreachable!("row_mut gives neither"),
        }
    }

    pub(super) fn on_frame_bytes(&mut self, now: Now, conn: ConnKey, bytes: &mut [u8]) {
        let limits = FrameLimits {
            message_bytes_max: self.limits().message_bytes_max,
            fragments_max: self.limits().fragments_max,
        };
        let Some(row) = self.connections.row(conn) else { return };
        if row.stage == Stage::Open && seconds(now) >= row.expires_mono_s {
            // The patrol has not come by yet.
            self.fail(now, conn, CloseReason::Expired);
        }
        let Some(row) = self.connections.row_mut(conn) else { return };
        if row.stage != Stage::Closing {
            row.heard_mono_s = seconds(now);
            row.flags.set(Flags::PINGED, false);
        }
        let Form { encoding, deflated } = row.form();
        let mut partial = row.work.as_mut().map_or_else(Partial::default, |work| std::mem::take(&mut work.partial));
        let mut inflater = deflated.then(|| std::mem::take(&mut self.inflater));
        let mut reader = Reader::new(Role::Server, limits, bytes).inflating(inflater.as_mut());
        let outcome = loop {
            // What is not looked at is not worth the work of inflating it.
            if self.stage_of(conn) == Some(Stage::Closing) || self.is_called(conn) {
                reader.skip_deflated();
            }
            match reader.next(&mut partial) {
                Ok(Some(incoming)) => self.on_incoming(now, conn, encoding, &incoming),
                Ok(None) => break Ok(()),
                Err(violation) => break Err(Some(violation)),
            }
            // A message may have ended the connection: what lies behind it is nobody's.
            if self.connections.row(conn).is_none_or(|row| row.flags.has(Flags::CLOSE_HEARD)) {
                break Err(None);
            }
        };
        let made = self.take_back_inflater(inflater);
        // An echo is there to be tried out with whatever it takes.
        if self.stage_of(conn) == Some(Stage::Open) && self.inflates_too_much(conn, made) {
            self.counters.add(Count::InflatedTooMuch, 1);
            self.fail_with(now, conn, CloseReason::Flooding, INFLATES_TOO_MUCH);
        }
        if let Err(violation) = outcome {
            if let Some(violation) = violation {
                self.on_violation(now, conn, violation);
            }
            return;
        }
        if !partial.is_idle() {
            if let Some(work) = self.work_mut(conn) {
                work.partial = partial;
            }
        } else {
            self.take_back_work(conn);
        }
    }

    /// What was lent for one read; how many bytes were made of what came.
    pub(super) fn take_back_inflater(&mut self, inflater: Option<Inflater>) -> u64 {
        let Some(mut inflater) = inflater else { return 0 };
        inflater.give_back();
        let made = inflater.take_made();
        // Another one may have been lent while this one was: a session that was taken over reads on at once.
        inflater.absorb(&self.inflater);
        self.inflater = inflater;
        made
    }

    /// Whether more was made of what this connection has sent since the tick than it may cause.
    fn inflates_too_much(&mut self, conn: ConnKey, made: u64) -> bool {
        if made == 0 {
            return false;
        }
        let sum = self.inflated.entry(conn.index()).or_default();
        *sum += made;
        *sum > self.config.rules.limits.inflated_per_tick_max
    }

    fn on_incoming(&mut self, now: Now, conn: ConnKey, encoding: Encoding, incoming: &Incoming<'_>) {
        let stage = self.stage_of(conn);
        let closing = stage == Some(Stage::Closing);
        let leaving = self.is_called(conn);
        match incoming {
            Incoming::Close(answer) => self.on_close_frame(now, conn, answer.as_ref().map(|(code, _)| *code)),
            // After our close frame nothing but the peer's counts (RFC 6455, 1.4).
            Incoming::Ping(_) | Incoming::Pong(_) | Incoming::Text(_) | Incoming::Binary(_) if closing => {}
            Incoming::Pong(_) => {}
            Incoming::Text(_) | Incoming::Binary(_) if leaving => self.counters.add(Count::LeftUnread, 1),
            Incoming::Ping(payload) => self.pong(conn, payload),
            Incoming::Text(text) if stage == Some(Stage::Echo) => self.echo(conn, FrameKind::Text, text.as_bytes()),
            Incoming::Binary(bytes) if stage == Some(Stage::Echo) => self.echo(conn, FrameKind::Binary, bytes),
            Incoming::Text(text) if encoding == Encoding::Json => self.on_message(now, conn, encoding, text.as_bytes()),
            Incoming::Binary(bytes) if encoding == Encoding::MessagePack => self.on_message(now, conn, encoding, bytes),
            Incoming::Text(_) => self.fail_with(
                now,
                conn,
                CloseReason::WrongKind,
                "this connection speaks MessagePack: send binary messages",
            ),
            Incoming::Binary(_) => {
                self.fail_with(now, conn, CloseReason::WrongKind, "this connection speaks JSON: send text messages")
            }
        }
    }

    fn on_message(&mut self, now: Now, conn: ConnKey, encoding: Encoding, message: &[u8]) {
        self.counters.add(Count::MessagesIn, 1);
        let rules = Arc::clone(&self.config.rules);
        // Whatever it turns out to be.
        let charged = self.may_command(now, conn);
        match (decode(encoding, message, &rules.limits), charged) {
            (decoded, Err(retry_after_ms)) => {
                self.counters.no_command();
                let id = decoded.map_or_else(|rejected| rejected.id, |envelope| envelope.id);
                self.refuse_too_often(now, conn, id, retry_after_ms);
            }
            (Ok(envelope), Ok(())) => {
                self.counters.commanded(&envelope.command);
                self.on_command(now, conn, envelope);
            }
            (Err(Rejected { id, refusal, detail }), Ok(())) => {
                self.counters.no_command();
                self.refuse_command(now, conn, id, refusal, detail.as_deref());
            }
        }
    }

    fn on_command(&mut self, now: Now, conn: ConnKey, Envelope { id, command }: Envelope<'_>) {
        let outcome = match command {
            Command::Join { room, since, history, presence } => {
                let wish = Wish { room: &room, since, history, presence, resumes: false };
                match self.ask_join(now, conn, id, &wish) {
                    Err(NoSeat::TooOften(retry_after_ms)) => {
                        self.refuse_too_often(now, conn, id, retry_after_ms);
                        Ok(())
                    }
                    Err(NoSeat::Refused(refusal)) => Err(refusal),
                    Ok(()) => Ok(()),
                }
            }
            Command::Leave { room } => self.ask_leave(conn, id, &room),
            Command::Publish { room, data, event, echo, key } => {
                let said = Said { data: &data, event: event.as_deref(), echo, key: key.as_deref() };
                self.ask_publish(now, conn, id, &room, &said)
            }
            Command::Send { user, data, event, echo, key } => match inbox_of(&user) {
                Some(inbox) => {
                    let said = Said { data: &data, event: event.as_deref(), echo, key: key.as_deref() };
                    self.ask_publish(now, conn, id, &inbox, &said)
                }
                None => Err(Refusal::BadRoom),
            },
            Command::History { room, from, messages_max } => self.ask_history(conn, id, &room, from, messages_max),
            Command::Presence { room } => self.ask_presence(conn, id, &room),
            Command::Typing { room, on } => self.ask_typing(conn, id, &room, on),
            Command::Read { room, offset } => self.ask_read(conn, id, &room, offset),
            Command::Unread { room } => self.ask_unread(conn, id, &room),
            Command::Ping => {
                self.answer_ping(conn, id);
                Ok(())
            }
            Command::Refresh { token } => {
                self.refresh(now, conn, id, &token.0);
                Ok(())
            }
            Command::Resume { session, rooms } => self.resume(now, conn, id, session.as_deref(), &rooms),
            Command::Hello { token: _, session: _ } => {
                let sentence = "this connection has its token: hello is the first message of one that brought none";
                self.refuse(conn, id, Refusal::Unsupported, Some(sentence));
                Ok(())
            }
        };
        if let Err(refusal) = outcome {
            self.refuse(conn, id, refusal, None);
        }
        // What is for a home on this very shard is settled before the connection's next command is looked at.
        self.settle(now);
    }

    pub(super) fn ask_join(&mut self, now: Now, conn: ConnKey, id: Option<u64>, wish: &Wish<'_>) -> Result<(), NoSeat> {
        let Wish { room, since, history, presence, resumes } = *wish;
        self.require(conn, Verb::Join, room)?;
        if presence {
            self.require(conn, Verb::Presence, room)?;
        }
        if since.is_some() || history.is_some() {
            self.require(conn, Verb::History, room)?;
        }
        let seated = self.seat_of(conn, room).is_some();
        let Some(row) = self.connections.row_mut(conn) else { return Ok(()) };
        if seated {
            return Err(Refusal::AlreadyJoined.into());
        }
        if row.seats.len() >= self.config.rules.limits.rooms_per_connection_max {
            return Err(Refusal::TooManyRooms.into());
        }
        let Some(identity) = row.identity.clone() else { return Ok(()) };
        // Who opens its letter box without a word about how much of it gets the newest page.
        let is_inbox = since.is_none() && is_inbox_of(room, identity.user());
        let may_see = is_inbox && self.require(conn, Verb::History, room).is_ok();
        let history = history.unwrap_or(if may_see { u32::MAX } else { 0 });
        self.may_join(now, identity.user()).map_err(NoSeat::TooOften)?;
        let Some(row) = self.connections.row_mut(conn) else { return Ok(()) };
        row.ticket = row.ticket.wrapping_add(1);
        let (form, ticket) = (row.form(), row.ticket);
        let home = self.home_of(room);
        if !self.has_room_for(home) {
            self.counters.add(Count::LettersFull, 1);
            return Err(Refusal::Busy.into());
        }
        let name = match self.seats.find(room) {
            Some(at) => self.seats.room(at).name.clone(),
            None => RoomName::parse(room).map_err(|_| Refusal::BadRoom)?,
        };
        let at = self.seats.open(&name, home, &self.config.rules.classes);
        let tag = self.seat_tag(&identity);
        let local = self.seats.room_mut(at);
        let seat = local.add_seat(conn.index(), form, presence, ticket);
        local.seats[seat as usize].set_tag(tag);
        self.seated += 1;
        let seats = local.counts;
        self.connections.at_mut(conn.index()).seats.push(SeatRef { room: at, seat });
        let local = self.seats.place(at);
        let join = Join { room: name, local, seats, conn, ticket, id, identity, since, history, presence, resumes };
        self.post(home, Mail::Join(Box::new(join)));
        Ok(())
    }

    fn ask_leave(&mut self, conn: ConnKey, id: Option<u64>, room: &str) -> Result<(), Refusal> {
        let Some(place) = self.seat_of(conn, room) else { return Err(Refusal::NotJoined) };
        self.collect_owed(conn, place, self.limits().outbox_soft_bytes_max);
        let name = self.seats.room(place.room).name.clone();
        #[cfg(feature = "planted-bugs")]
        if self.config.planted == Some(super::PlantedBug::DeliversAfterLeave) {
            self.answer_left(conn, id, &name);
            return Ok(());
        }
        self.give_up_seat(conn, place.room, Parting::OnPurpose);
        self.answer_left(conn, id, &name);
        Ok(())
    }

    fn ask_publish(
        &mut self,
        now: Now,
        conn: ConnKey,
        id: Option<u64>,
        room: &str,
        said: &Said<'_>,
    ) -> Result<(), Refusal> {
        self.require(conn, Verb::Publish, room)?;
        let known = self.room_near(conn, room).map(|at| self.seats.room(at));
        let home = known.map_or_else(|| self.home_of(room), |known| known.home);
        if !self.has_room_for(home) {
            self.counters.add(Count::LettersFull, 1);
            return Err(Refusal::Busy);
        }
        let named = || known.map_or_else(|| RoomName::parse(room), |known| Ok(known.name.clone()));
        let ack = match id {
            Some(id) => Some(Ack { id, room: named().map_err(|_| Refusal::BadRoom)? }),
            None => None,
        };
        let place = match known.and_then(|known| known.home_place) {
            Some(place) => RoomRef::At(place),
            None => RoomRef::Named(named().map_err(|_| Refusal::BadRoom)?),
        };
        let Some(identity) = self.connections.row(conn).and_then(|row| row.identity.clone()) else { return Ok(()) };
        if let Err(retry_after_ms) = self.may_send(now, identity.user(), said.data.raw().len()) {
            self.refuse_too_often(now, conn, id, retry_after_ms);
            return Ok(());
        }
        let publish = Publish {
            room: place,
            conn,
            ack,
            identity,
            // With an ack the ack is the receipt; without one the copy is; `echo` overrules both.
            skip_own: !said.echo.unwrap_or_else(|| id.is_none()),
            event: said.event.map(Box::from),
            key: said.key.map(Box::from),
            payload: said.data.to_payload(),
        };
        self.post(home, Mail::Publish(Box::new(publish)));
        Ok(())
    }

    /// Whether the token grants it, and the room's class.
    pub(super) fn may(&self, conn: ConnKey, verb: Verb, room: &str) -> bool {
        let granted = self.connections.row(conn).is_some_and(|row| {
            let user = row.identity.as_ref().map_or("", |identity| identity.user());
            self.grants.grants(row.grants).allows(verb, room, user)
        });
        granted && self.class_near(conn, room).can.has(verb)
    }

    /// That, and room for the answer.
    pub(super) fn require(&self, conn: ConnKey, verb: Verb, room: &str) -> Result<(), Refusal> {
        if !self.may(conn, verb, room) {
            return Err(Refusal::Forbidden);
        }
        let Some(row) = self.connections.row(conn) else { return Err(Refusal::Forbidden) };
        // Its answers pile up: what it asks for now is to be asked again when it has read some.
        let outbox_bytes = row.work.as_ref().map_or(0, |work| work.outbox.len());
        if outbox_bytes > self.limits().outbox_hard_bytes_max { Err(Refusal::Busy) } else { Ok(()) }
    }

    /// The class of a room; its name is looked at only where nobody sits in it.
    fn class_near(&self, conn: ConnKey, room: &str) -> &RoomClass {
        let classes = &self.config.rules.classes;
        if classes.is_plain() {
            return classes.class(ClassId::DEFAULT);
        }
        let known = self.room_near(conn, room).map(|at| self.seats.room(at).class);
        classes.class(known.unwrap_or_else(|| classes.of_room(room)))
    }

    /// The room at this shard, if it has seats in it. Who sits in one room only mostly means that one.
    fn room_near(&self, conn: ConnKey, room: &str) -> Option<u32> {
        let first = self.connections.row(conn).and_then(|row| row.seats.at(0)).map(|seat| seat.room);
        first.filter(|at| self.seats.room(*at).name.as_str() == room).or_else(|| self.seats.find(room))
    }

    pub(super) fn seat_of(&self, conn: ConnKey, room: &str) -> Option<SeatRef> {
        let at = self.room_near(conn, room)?;
        self.connections.row(conn)?.seats.find(at)
    }
}

const INFLATES_TOO_MUCH: &str = "more was made of its deflated messages at once than may be";
