//! One client: the real wire in both directions, and a book of what it asked and what it was told.

use std::collections::{BTreeMap, VecDeque};

use throng::base::{Encoding, Epoch, Offset, Position, Presence, RoomName};
use throng::wire::client::{CommandOut, Reply, ServerEvent, read_event, write_command};
use throng::wire::{FrameKind, FrameLimits, Incoming, Partial, Reader, Refusal, Role, prove, write_close, write_frame};

use crate::diary;
use crate::dice::Dice;
use crate::frames;
use crate::reference::{Heard, Reference};
use crate::tally::{Lived, Tally};
use crate::tokens::FORBIDDEN_ROOM;
use crate::view::{JoinAnswer, View, Wish};
use crate::weather::Weather;

/// What the answer with a certain `id` belongs to.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Join(usize, Wish),
    Leave(usize),
    Publish(usize, usize),
    Presence(usize),
    Typing(usize, bool),
    Read(usize, Offset),
    Unread(usize),
    Ping,
    /// A command that must be refused with this.
    Wrong(Refusal),
}

/// How something is said to a room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    pub(crate) room: usize,
    pub(crate) with_id: bool,
    pub(crate) echo: Option<bool>,
    /// How many bytes of padding the payload carries.
    pub(crate) filler: usize,
    /// Fragments of the WebSocket message.
    pub(crate) pieces: usize,
}

/// Where a client is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// The request is out.
    Opening,
    Open,
    /// It said goodbye first.
    Leaving,
    /// It has read a close frame.
    Closed,
    /// Turned away with an HTTP status.
    TurnedAway,
    /// The socket is gone.
    Ended,
}

/// Who was told to be in a room, by the answer to `presence`.
pub(crate) struct RollCall {
    pub(crate) room: usize,
    pub(crate) members: Vec<(String, u64)>,
    pub(crate) count: u64,
}

pub(crate) struct Client {
    pub(crate) number: usize,
    pub(crate) user: usize,
    pub(crate) name: String,
    pub(crate) encoding: Encoding,
    pub(crate) stage: Stage,
    pub(crate) short_token: bool,
    /// Reads nothing for now.
    pub(crate) deaf: bool,
    /// Never says anything again, not even a pong.
    pub(crate) mute: bool,
    /// Broke the protocol: the server may close with any code.
    pub(crate) misbehaved: bool,
    pub(crate) close_code: Option<u16>,
    /// It was told its slot: the server leaves.
    pub(crate) told_slot: bool,
    pub(crate) views: BTreeMap<usize, View>,
    pub(crate) roll_calls: Vec<RollCall>,
    /// What it was told, a line each: a scene reads it, a failure shows the end of it.
    pub(crate) diary: Vec<String>,
    head: Vec<u8>,
    partial: Partial,
    welcomed: bool,
    warned: bool,
    /// Commands are numbered in the order they are sent, with `id` or without.
    sequence: u64,
    outstanding: BTreeMap<u64, Asked>,
    pings: VecDeque<Vec<u8>>,
}

/// What a client needs to know of the world while it reads.
pub(crate) struct Surroundings<'a> {
    pub(crate) weather: &'a Weather,
    pub(crate) reference: &'a mut Reference,
    pub(crate) tally: &'a mut Tally,
    pub(crate) dice: &'a mut Dice,
}

pub(crate) fn room_name(room: usize) -> String {
    if room == FORBIDDEN { FORBIDDEN_ROOM.to_owned() } else { format!("r:{room}") }
}

fn room_number(name: &str) -> Option<usize> {
    name.strip_prefix("r:")?.parse().ok()
}

/// The number of the room where nobody may do anything.
pub(crate) const FORBIDDEN: usize = 99;

impl Client {
    pub(crate) fn new(number: usize, user: usize, encoding: Encoding) -> Self {
        Self {
            number,
            user,
            name: crate::tokens::name(user),
            encoding,
            stage: Stage::Opening,
            short_token: false,
            deaf: false,
            mute: false,
            misbehaved: false,
            close_code: None,
            told_slot: false,
            views: BTreeMap::new(),
            roll_calls: Vec::new(),
            diary: Vec::new(),
            head: Vec::new(),
            partial: Partial::default(),
            welcomed: false,
            warned: false,
            sequence: 0,
            outstanding: BTreeMap::new(),
            pings: VecDeque::new(),
        }
    }

    /// Sends one command; returns the envelope's bytes as frames.
    pub(crate) fn ask(&mut self, asked: Asked, with_id: bool, out: &mut Vec<u8>, dice: &mut Dice, pieces: usize) {
        let wish = if let Asked::Join(_, wish) = &asked { Some(*wish) } else { None };
        let command = |room: &str| match &asked {
            Asked::Join(_, wish) => envelope(
                self.encoding,
                self.id(with_id),
                &CommandOut::Join {
                    room,
                    since: wish.since,
                    history: (wish.history > 0).then_some(wish.history),
                    presence: wish.presence,
                },
            ),
            Asked::Leave(_) => envelope(self.encoding, self.id(with_id), &CommandOut::Leave { room }),
            Asked::Presence(_) => envelope(self.encoding, self.id(true), &CommandOut::Presence { room }),
            Asked::Typing(_, on) => envelope(self.encoding, self.id(with_id), &CommandOut::Typing { room, on: *on }),
            Asked::Read(_, offset) => {
                envelope(self.encoding, self.id(with_id), &CommandOut::Read { room, offset: *offset })
            }
            Asked::Unread(_) => envelope(self.encoding, self.id(true), &CommandOut::Unread { room }),
            Asked::Ping => envelope(self.encoding, self.id(with_id), &CommandOut::Ping),
            Asked::Publish(..) | Asked::Wrong(_) => unreachable!("these have ways of their own"),
        };
        let room = match &asked {
            Asked::Join(room, _) | Asked::Leave(room) | Asked::Presence(room) | Asked::Publish(room, _) => *room,
            Asked::Typing(room, _) | Asked::Read(room, _) | Asked::Unread(room) => *room,
            Asked::Ping | Asked::Wrong(_) => 0,
        };
        let bytes = command(&room_name(room));
        if !with_id && room != FORBIDDEN {
            match (&asked, wish) {
                (Asked::Join(..), Some(_)) => self.views.entry(room).or_default().join_silently(),
                (Asked::Leave(_), _) => self.views.entry(room).or_default().leave_silently(),
                _ => {}
            }
        }
        self.send(&bytes, with_id.then_some(asked), out, dice, pieces);
    }

    /// Sends a message to a room.
    pub(crate) fn publish(&mut self, words: &Words, out: &mut Vec<u8>, around: &mut Surroundings<'_>) {
        let Words { room, with_id, echo, filler, pieces } = *words;
        let tag = around.reference.next_tag();
        let json = format!("{{\"n\":{tag},\"x\":\"{}\"}}", "y".repeat(filler));
        let event = tag.is_multiple_of(3).then_some("note");
        let skip_own = echo.map_or(with_id, |echo| !echo);
        around.reference.posted(self.number, room, &self.name, event, &json, (with_id, skip_own));
        let mut payload = Vec::new();
        prove(Encoding::Json, json.as_bytes(), 32).expect("JSON written here").write_as(self.encoding, &mut payload);
        let data = prove(self.encoding, &payload, 32).expect("it was proved as JSON");
        let command = CommandOut::Publish { room: &room_name(room), data, event, echo };
        let bytes = envelope(self.encoding, self.id(with_id), &command);
        self.send(&bytes, with_id.then_some(Asked::Publish(room, tag)), out, around.dice, pieces);
    }

    /// Sends an envelope that is well framed and refused all the same.
    pub(crate) fn ask_wrongly(&mut self, kind: usize, out: &mut Vec<u8>, dice: &mut Dice) {
        let id = self.sequence + 1;
        let (text, refusal) = match kind {
            0 => (format!("{{\"type\":\"dance\",\"id\":{id}}}"), Refusal::UnknownCommand),
            1 => (format!("{{\"type\":\"join\",\"id\":{id}}}"), Refusal::Malformed),
            2 => (format!("{{\"type\":\"join\",\"id\":{id},\"room\":\"no room\"}}"), Refusal::BadRoom),
            _ => (format!("{{\"type\":\"leave\",\"id\":{id},\"room\":\"r:77\"}}"), Refusal::NotJoined),
        };
        let mut bytes = Vec::new();
        prove(Encoding::Json, text.as_bytes(), 32).expect("JSON written here").write_as(self.encoding, &mut bytes);
        self.send(&bytes, Some(Asked::Wrong(refusal)), out, dice, 1);
    }

    pub(crate) fn say_goodbye(&mut self, out: &mut Vec<u8>, dice: &mut Dice) {
        write_close(out, 1000, "bye", Some(dice.mask()));
        self.stage = Stage::Leaving;
    }

    pub(crate) fn ping(&mut self, out: &mut Vec<u8>, dice: &mut Dice) {
        let payload = dice.roll().to_be_bytes()[..dice.between(0, 8)].to_vec();
        write_frame(out, FrameKind::Ping, &payload, Some(dice.mask()));
        self.pings.push_back(payload);
    }

    /// Reads bytes as they come off the socket; what it answers goes to `out`.
    pub(crate) fn read(
        &mut self,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
        around: &mut Surroundings<'_>,
    ) -> Result<(), String> {
        match self.stage {
            Stage::Opening => self.read_head(bytes, out, around),
            Stage::TurnedAway | Stage::Ended => Ok(()),
            Stage::Open | Stage::Leaving => self.read_frames(bytes, out, around),
            Stage::Closed => Err(format!("W1 {} bytes after the close frame", bytes.len())),
        }
    }

    /// C1: every command with an id has had its answer.
    pub(crate) fn has_all_answers(&self) -> Result<(), String> {
        match self.outstanding.iter().next() {
            Some((id, asked)) => Err(format!("C1 nobody answered {id} ({asked:?})")),
            None => Ok(()),
        }
    }

    /// D2: what was accepted of somebody who was sent away was answered before the goodbye.
    pub(crate) fn was_answered_before_the_goodbye(&self, reference: &Reference) -> Result<(), String> {
        if self.close_code != Some(1012) {
            return Ok(());
        }
        for asked in self.outstanding.values() {
            if let Asked::Publish(_, tag) = asked
                && reference.was_accepted(*tag)
            {
                return Err(format!("D2 {asked:?} was accepted, never answered, and then came the goodbye"));
            }
        }
        Ok(())
    }

    pub(crate) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    pub(crate) fn view(&mut self, room: usize) -> &mut View {
        self.views.entry(room).or_default()
    }

    /// Whether a join or leave of this room has no answer yet.
    pub(crate) fn is_asking(&self, room: usize) -> bool {
        let about = |asked: &Asked| matches!(asked, Asked::Join(of, _) | Asked::Leave(of) if *of == room);
        self.outstanding.values().any(about)
    }

    /// Positions of the newest messages it has, by room.
    pub(crate) fn positions(&self) -> impl Iterator<Item = (usize, Position)> + '_ {
        self.views.iter().filter_map(|(room, view)| Some((*room, view.position()?)))
    }

    fn id(&self, with_id: bool) -> Option<u64> {
        with_id.then_some(self.sequence + 1)
    }

    fn send(&mut self, envelope: &[u8], asked: Option<Asked>, out: &mut Vec<u8>, dice: &mut Dice, pieces: usize) {
        self.sequence += 1;
        if let Some(asked) = asked {
            self.outstanding.insert(self.sequence, asked);
        }
        let pings = frames::write_message(out, self.encoding, envelope, pieces, dice);
        self.pings.extend(pings);
    }

    fn read_head(&mut self, bytes: &[u8], out: &mut Vec<u8>, around: &mut Surroundings<'_>) -> Result<(), String> {
        self.head.extend_from_slice(bytes);
        let Some(end) = self.head.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(()) };
        let mut rest = self.head.split_off(end + 4);
        let status = self.head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
        match status {
            Some("101") => self.stage = Stage::Open,
            Some("400" | "401" | "408" | "503") => {
                self.stage = Stage::TurnedAway;
                return Ok(());
            }
            _ => return Err(format!("W2 an answer with {status:?}")),
        }
        self.head = Vec::new();
        self.read_frames(&mut rest, out, around)
    }

    /// W1: whatever comes is a stream of whole frames, torn nowhere.
    fn read_frames(
        &mut self,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
        around: &mut Surroundings<'_>,
    ) -> Result<(), String> {
        let limits = FrameLimits { message_bytes_max: 1 << 20, fragments_max: 1 };
        let mut partial = std::mem::take(&mut self.partial);
        let mut reader = Reader::new(Role::Client, limits, bytes);
        loop {
            match reader.next(&mut partial).map_err(|violation| format!("W1 {violation}"))? {
                None => break,
                Some(Incoming::Text(text)) if self.encoding == Encoding::Json => self.hear(text.as_bytes(), around)?,
                Some(Incoming::Binary(bytes)) if self.encoding == Encoding::MessagePack => self.hear(bytes, around)?,
                Some(Incoming::Text(_) | Incoming::Binary(_)) => return Err("W1 the wrong kind of message".into()),
                Some(Incoming::Ping(payload)) => {
                    around.tally.add(Lived::Pings, 1);
                    if !self.mute && self.stage == Stage::Open {
                        write_frame(out, FrameKind::Pong, payload, Some(around.dice.mask()));
                    }
                }
                Some(Incoming::Pong(payload)) => {
                    if self.pings.pop_front().as_deref() != Some(payload) {
                        return Err(format!("W3 a pong with {payload:?} nobody pinged for"));
                    }
                }
                Some(Incoming::Close(close)) => {
                    self.on_close(close.map(|(code, _)| code), out, around)?;
                    return if reader.unread().is_empty() {
                        Ok(())
                    } else {
                        Err("W1 bytes after the close frame".into())
                    };
                }
            }
        }
        self.partial = partial;
        Ok(())
    }

    /// W4: a connection ends for a reason it has given.
    fn on_close(&mut self, code: Option<u16>, out: &mut Vec<u8>, around: &mut Surroundings<'_>) -> Result<(), String> {
        let deserved = match code {
            Some(1000) => self.stage == Stage::Leaving,
            Some(1002 | 1003 | 1007 | 1009) => self.misbehaved,
            Some(1012) => self.told_slot,
            Some(4001) => true,
            Some(4002) => true,
            Some(4003) => self.short_token || !self.welcomed,
            Some(4005 | 4503 | 4505) => !self.welcomed,
            Some(_) | None => false,
        };
        if !deserved {
            return Err(format!("W4 closed with {code:?} ({:?})", self.stage));
        }
        if self.stage == Stage::Open && !self.mute {
            write_close(out, code.unwrap_or(1000), "", Some(around.dice.mask()));
        }
        self.diary.push(format!("closed {}", code.unwrap_or(0)));
        self.close_code = code;
        self.stage = Stage::Closed;
        around.tally.add(Lived::Closes, 1);
        Ok(())
    }

    fn hear(&mut self, message: &[u8], around: &mut Surroundings<'_>) -> Result<(), String> {
        let event = read_event(self.encoding, message).map_err(|error| format!("W5 {error}: {message:?}"))?;
        match (&event, self.welcomed) {
            (ServerEvent::Welcome(welcome), false) if welcome.user == self.name => self.welcomed = true,
            (ServerEvent::Welcome(_), _) => return Err(format!("W6 {event:?}")),
            (_, false) => return Err(format!("W6 before the welcome came {event:?}")),
            (_, true) => {}
        }
        let room = |name: &str| room_number(name).ok_or_else(|| format!("W5 no room of ours: {name}"));
        self.diary.push(diary::line(&event));
        match event {
            ServerEvent::Welcome(_) => Ok(()),
            ServerEvent::Reply(reply) => self.on_reply(&reply, around),
            ServerEvent::Error { id, refusal, .. } => self.on_error(id, refusal, around),
            ServerEvent::Message(message) => {
                let room = room(&message.room)?;
                around.tally.add(Lived::Messages, 1);
                let mut json = Vec::new();
                message.data.write_as(Encoding::Json, &mut json);
                let json = String::from_utf8(json).map_err(|_| "W5 a payload that is not UTF-8")?;
                let view = self.views.entry(room).or_default();
                let heard = Heard {
                    room,
                    epoch: view.epoch,
                    offset: message.offset,
                    at_unix_ms: message.at_unix_ms,
                    user: &message.from.user,
                    event: message.event.as_deref(),
                    json: &json,
                };
                around.reference.heard(self.number, &heard)?;
                view.on_message(self.number, room, message.offset, around.reference)
            }
            ServerEvent::Gap { room: name, epoch, from, to, why } => {
                let room = room(&name)?;
                around.tally.add(Lived::Gaps, 1);
                let number = self.number;
                self.view(room).on_gap(number, room, (epoch, from, to, why), around.reference)
            }
            ServerEvent::PresenceJoined { room: ref name, .. }
            | ServerEvent::PresenceLeft { room: ref name, .. }
            | ServerEvent::PresenceAway { room: ref name, .. }
            | ServerEvent::PresenceBack { room: ref name, .. }
            | ServerEvent::PresenceCounted { room: ref name, .. }
            | ServerEvent::Stale { room: ref name }
            | ServerEvent::Typing { room: ref name, .. }
            | ServerEvent::Read { room: ref name, .. } => {
                let room = room(name)?;
                self.hear_of_people(room, &event, around)
            }
            // W7: only who has a token that ends soon is told so, and once.
            ServerEvent::Expiring { .. } if self.short_token && !self.warned => {
                self.warned = true;
                Ok(())
            }
            ServerEvent::Expiring { in_ms } => Err(format!("W7 a token that ends in {in_ms}")),
            ServerEvent::Removed { .. } => Err(format!("W5 {event:?} and nobody refreshed")),
            ServerEvent::Drain { .. } if self.told_slot => Err("D1 its slot was told twice".into()),
            ServerEvent::Drain { .. } => {
                self.told_slot = true;
                around.tally.add(Lived::Slots, 1);
                Ok(())
            }
            ServerEvent::Unknown { kind } => Err(format!("W5 an event {kind}")),
        }
    }

    /// C2: an answer has the id of a command that has none yet, and fits it.
    fn on_reply(&mut self, reply: &Reply<'_>, around: &mut Surroundings<'_>) -> Result<(), String> {
        let asked = self.outstanding.remove(&reply.id).ok_or_else(|| format!("C2 nobody asked {reply:?}"))?;
        let told = reply.room.as_deref().and_then(room_number);
        let missing = || format!("C2 {asked:?} was answered by {reply:?}");
        match asked {
            Asked::Join(room, wish) if told == Some(room) => {
                let (epoch, head): (Epoch, Offset) =
                    (reply.epoch.ok_or_else(missing)?, reply.offset.ok_or_else(missing)?);
                around.tally.add(Lived::Joins, 1);
                let answer = JoinAnswer { sequence: reply.id, epoch, head, recovered: reply.recovered };
                let name = self.name.clone();
                self.view(room).on_joined(&wish, &answer, around.weather)?;
                self.view(room).company.on_joined(reply, &name, wish.presence)?;
                let lists = wish.presence && around.weather.people.presence == Presence::Announced;
                if lists { self.on_members(room, reply, around) } else { Ok(()) }
            }
            Asked::Leave(room) if told == Some(room) => {
                self.view(room).on_left(reply.id);
                Ok(())
            }
            Asked::Publish(room, tag) if told == Some(room) => {
                let position = reply.position().ok_or_else(missing)?;
                around.tally.add(Lived::Acks, 1);
                around.reference.acked(tag, position)
            }
            Asked::Presence(room) if told == Some(room) => {
                if self.view(room).seated {
                    self.view(room).company.take_roll(reply)?;
                }
                self.on_members(room, reply, around)
            }
            Asked::Typing(room, _) | Asked::Read(room, _) if told == Some(room) => Ok(()),
            // C4: what there is to read is what there is but for what was read.
            Asked::Unread(room) if told == Some(room) => {
                let (head, read) = (reply.offset.ok_or_else(missing)?, reply.read.ok_or_else(missing)?);
                if read > head || reply.unread != Some(head.since(read)) {
                    return Err(format!("C4 {reply:?}"));
                }
                around.reference.may_have_read(room, &self.name, read)
            }
            Asked::Ping => Ok(()),
            Asked::Join(..)
            | Asked::Leave(_)
            | Asked::Publish(..)
            | Asked::Presence(_)
            | Asked::Typing(..)
            | Asked::Read(..)
            | Asked::Unread(_)
            | Asked::Wrong(_) => Err(missing()),
        }
    }

    fn on_members(&mut self, room: usize, reply: &Reply<'_>, around: &Surroundings<'_>) -> Result<(), String> {
        let (Some(members), Some(count)) = (&reply.members, reply.count) else {
            return Err(format!("C2 no members: {reply:?}"));
        };
        let members: Vec<(String, u64)> = members.iter().map(|m| (m.person.user.to_string(), m.connections)).collect();
        let listed = (count as usize).min(around.weather.limits.members_max);
        if members.len() != listed || !members.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(format!("C3 a roll of {count} lists {members:?}"));
        }
        self.roll_calls.push(RollCall { room, members, count });
        Ok(())
    }

    fn on_error(&mut self, id: Option<u64>, refusal: Refusal, around: &mut Surroundings<'_>) -> Result<(), String> {
        if refusal == Refusal::Busy {
            around.tally.add(Lived::Busy, 1);
        }
        let Some(id) = id else { return Ok(()) };
        let asked = self.outstanding.remove(&id).ok_or_else(|| format!("C2 nobody asked {id}: {refusal:?}"))?;
        let people = around.weather.people;
        let fits = match (&asked, refusal) {
            (Asked::Wrong(expected), _) => refusal == *expected,
            (
                Asked::Join(FORBIDDEN, _)
                | Asked::Publish(FORBIDDEN, _)
                | Asked::Presence(FORBIDDEN)
                | Asked::Typing(FORBIDDEN, _)
                | Asked::Unread(FORBIDDEN),
                _,
            ) => refusal == Refusal::Forbidden,
            (Asked::Join(..), Refusal::Busy | Refusal::TooManyRooms) => true,
            (Asked::Join(room, _), Refusal::AlreadyJoined) => {
                // A join that is still unanswered is what the server means.
                if !self.is_asking(*room) {
                    self.view(*room).on_already_joined();
                }
                true
            }
            (Asked::Join(room, _), Refusal::NotJoined) => self.view(*room).left_after(id),
            (Asked::Leave(room), Refusal::NotJoined) => !self.view(*room).seated || self.view(*room).left_silently,
            (Asked::Publish(_, tag), Refusal::Busy) => return around.reference.refused(*tag),
            (Asked::Presence(_) | Asked::Unread(_) | Asked::Typing(..) | Asked::Read(..), Refusal::Busy) => true,
            (Asked::Presence(_), Refusal::Unsupported) => people.presence == Presence::Off,
            (Asked::Typing(..), Refusal::Unsupported) => people.typing_ms == 0,
            (Asked::Read(..) | Asked::Unread(_), Refusal::Unsupported) => !people.receipts,
            // The join may have no answer yet, or none at all.
            (Asked::Typing(room, _) | Asked::Read(room, _), Refusal::NotJoined) => {
                let asking = self.is_asking(*room);
                let view = self.view(*room);
                asking || !view.seated || view.joined_silently || view.left_silently || view.left_after(id)
            }
            _ => false,
        };
        if let Asked::Publish(FORBIDDEN, tag) = asked {
            around.reference.refused(tag)?;
        }
        if fits { Ok(()) } else { Err(format!("C2 {asked:?} was refused as {refusal:?}")) }
    }
}

fn envelope(encoding: Encoding, id: Option<u64>, command: &CommandOut<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_command(&mut bytes, encoding, id, command);
    bytes
}

/// Checked once here, so that every room of a world is one the server takes.
pub(crate) fn check_room(room: usize) {
    assert!(RoomName::parse(&room_name(room)).is_ok());
}
