//! What a client sends, and what it notes about it.

use throng::base::Encoding;
use throng::wire::client::{CommandOut, write_command};
use throng::wire::{FrameKind, Refusal, prove, write_close, write_frame};

use super::{Asked, Client, Key, PageWish, Sent, Stage, Surroundings, Words, is_inbox, room_name};
use crate::dice::Dice;
use crate::frames;
use crate::tokens::{FORBIDDEN, Paper};

impl Client {
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
            Asked::History(_, PageWish { from, limit }) => {
                let history = CommandOut::History { room, from: *from, messages_max: Some(*limit) };
                envelope(self.encoding, self.id(true), &history)
            }
            Asked::Publish(..) | Asked::Fleeting(_) | Asked::Refresh(..) | Asked::Resume(_) | Asked::Wrong(_) => {
                unreachable!("these have ways of their own")
            }
        };
        let room = match &asked {
            Asked::Join(room, _)
            | Asked::Leave(room)
            | Asked::Presence(room)
            | Asked::History(room, _)
            | Asked::Fleeting(room)
            | Asked::Publish(room, _) => *room,
            Asked::Typing(room, _) | Asked::Read(room, _) | Asked::Unread(room) => *room,
            Asked::Ping | Asked::Refresh(..) | Asked::Resume(_) | Asked::Wrong(_) => 0,
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
        let Words { room, with_id, filler, pieces, .. } = *words;
        let echo = if words.key == Key::None { words.echo } else { Some(true) };
        let (tag, key, event, json) = match words.key {
            Key::Again(tag) => {
                let (key, event, json) = around.reference.again(tag);
                (tag, Some(key), event, json)
            }
            Key::None | Key::New => {
                let tag = around.reference.next_tag();
                let json = format!("{{\"n\":{tag},\"x\":\"{}\"}}", "y".repeat(filler));
                let event = tag.is_multiple_of(3).then(|| "note".to_owned());
                let skip_own = echo.map_or(with_id, |echo| !echo);
                around.reference.posted(self.number, room, &self.name, event.as_deref(), &json, (with_id, skip_own));
                let key = (words.key == Key::New).then(|| around.reference.by_key(self.encoding));
                (tag, key, event, json)
            }
        };
        let mut payload = Vec::new();
        prove(Encoding::Json, json.as_bytes(), 32).expect("JSON written here").write_as(self.encoding, &mut payload);
        let data = prove(self.encoding, &payload, 32).expect("it was proved as JSON");
        let (event, key) = (event.as_deref(), key.as_deref());
        let name = room_name(room);
        let command = match name.strip_prefix('@').filter(|_| is_inbox(room)) {
            Some(user) => CommandOut::Send { user, data, event, echo, key },
            None => CommandOut::Publish { room: &name, data, event, echo, key },
        };
        let bytes = envelope(self.encoding, self.id(with_id), &command);
        self.send(&bytes, with_id.then_some(Asked::Publish(room, tag)), out, around.dice, pieces);
    }

    /// Brings another token. `wrong`: it must be refused with this.
    pub(crate) fn refresh(&mut self, paper: Paper, wrong: Option<Refusal>, out: &mut Vec<u8>, dice: &mut Dice) {
        let token = if wrong == Some(Refusal::BadToken) { paper.forged() } else { paper.signed() };
        let bytes = envelope(self.encoding, self.id(true), &CommandOut::Refresh { token: &token });
        self.send(&bytes, Some(Asked::Refresh(Box::new(paper), wrong)), out, dice, 1);
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

    /// With this code or none; with 1001 it means to be back, as a browser does that leaves a page.
    pub(crate) fn say_goodbye(&mut self, code: Option<u16>, out: &mut Vec<u8>, dice: &mut Dice) {
        match code {
            Some(code) => write_close(out, code, "bye", Some(dice.mask())),
            None => write_frame(out, FrameKind::Close, b"", Some(dice.mask())),
        }
        self.stage = Stage::Leaving;
        self.said_code = code;
        self.said_goodbye = code != Some(1001);
    }

    pub(crate) fn ping(&mut self, out: &mut Vec<u8>, dice: &mut Dice) {
        let payload = dice.roll().to_be_bytes()[..dice.between(0, 8)].to_vec();
        write_frame(out, FrameKind::Ping, &payload, Some(dice.mask()));
        self.pings.push_back(payload);
    }

    pub(crate) fn id(&self, with_id: bool) -> Option<u64> {
        with_id.then_some(self.sequence + 1)
    }

    pub(crate) fn send(
        &mut self,
        envelope: &[u8],
        asked: Option<Asked>,
        out: &mut Vec<u8>,
        dice: &mut Dice,
        pieces: usize,
    ) {
        self.sequence += 1;
        if let Some(asked) = asked {
            let sent = Sent { asked, papers: self.papers.len().saturating_sub(1), since: self.since };
            self.outstanding.insert(self.sequence, sent);
        }
        let pings = if self.inflater.is_some() && dice.chance(500) {
            frames::write_deflated(out, self.encoding, envelope, pieces, dice)
        } else {
            frames::write_message(out, self.encoding, envelope, pieces, dice)
        };
        self.pings.extend(pings);
    }
}

pub(crate) fn envelope(encoding: Encoding, id: Option<u64>, command: &CommandOut<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_command(&mut bytes, encoding, id, command);
    bytes
}
