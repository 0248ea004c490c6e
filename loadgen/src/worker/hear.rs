//! What arrives at a connection: bytes, frames, events; and what each means for the proof.

use std::io;

use anyhow::Result;
use throng::base::Encoding;
use throng::wire::client::{ServerEvent, read_event};
use throng::wire::envelope::MessageIn;
use throng::wire::websocket::{FrameKind, Incoming, Reader, Role, write_frame};

use super::phase::seq_of;
use super::{LIMITS, Stage, Worker};
use crate::payload::{self, Marker, hex8};
use crate::proof::Fault;
use crate::token;

/// Whether a connection goes on after a frame.
pub(super) enum Then {
    GoOn,
    /// It was this message, and everything about it was right.
    Heard(u64, Marker),
    /// It ended with this code and reason.
    End(u16, String),
}

/// "Without a close frame", as RFC 6455, 7.1.5 calls it.
pub(super) const NO_CLOSE_FRAME: u16 = 1006;

impl<const OTHER: bool> Worker<OTHER> {
    pub(super) fn on_writable(&mut self, member: u32) -> Result<()> {
        if let Stage::Opening(slot) = self.connections[member as usize].stage {
            self.on_connected(member, slot)?;
        }
        if let Err(error) = self.connections[member as usize].flush() {
            self.end(member, NO_CLOSE_FRAME, &error.to_string())?;
        }
        Ok(())
    }

    /// Reads until the socket is short.
    pub(super) fn on_readable(&mut self, member: u32) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.read_all(member, &mut buffer);
        self.buffer = buffer;
        result
    }

    fn read_all(&mut self, member: u32, buffer: &mut [u8]) -> Result<()> {
        loop {
            let length = match self.connections[member as usize].read(buffer) {
                Ok(None) => return Ok(()),
                Ok(Some(0)) => return self.end(member, NO_CLOSE_FRAME, "the server closed the socket"),
                Ok(Some(length)) => length,
                Err(error) => return self.end(member, NO_CLOSE_FRAME, &error.to_string()),
            };
            self.tick();
            if let Some(running) = &mut self.running {
                running.count_bytes(self.now_ns, length);
            }
            self.feed(member, &mut buffer[..length])?;
            if length < buffer.len() {
                return Ok(());
            }
        }
    }

    fn feed(&mut self, member: u32, mut bytes: &mut [u8]) -> Result<()> {
        if let Stage::Opening(slot) = self.connections[member as usize].stage
            && self.openings.at(slot).step <= super::opening::Step::Upgrading
        {
            match self.on_head(slot, bytes)? {
                Some(end) => bytes = &mut bytes[end..],
                None => return Ok(()),
            }
            if OTHER {
                self.other_upgraded(member, slot)?;
                if !self.lives(member) {
                    return Ok(());
                }
            }
        }
        let mut partial = self.connections[member as usize].borrow_partial(&mut self.partial);
        let end = loop {
            if partial.is_idle() {
                let known = self.recognise(member, bytes);
                bytes = &mut bytes[known..];
            }
            let (whole, before) = (partial.is_idle(), bytes.len());
            let mut reader = Reader::new(Role::Client, LIMITS, bytes);
            let then = match reader.next(&mut partial) {
                Ok(Some(incoming)) => self.on_frame(member, incoming)?,
                Ok(None) => {
                    self.connections[member as usize].return_partial(partial, &mut self.partial);
                    return Ok(());
                }
                Err(violation) => {
                    let why = violation.to_string();
                    self.corrupted(member, || format!("the server broke RFC 6455: {why}"));
                    break Some((violation.close_code(), violation.to_string()));
                }
            };
            let end = before - reader.unread().len();
            match then {
                Then::GoOn if !self.lives(member) => break None,
                Then::GoOn => {}
                Then::Heard(offset, marker) if whole => {
                    let room = member / self.crew.crowd.room_size;
                    self.known.keep(room, offset, marker, &bytes[..end]);
                }
                Then::Heard(..) => {}
                Then::End(code, why) => break Some((code, why)),
            }
            bytes = &mut bytes[end..];
        };
        match end {
            Some((code, why)) => self.end(member, code, &why),
            None => Ok(()),
        }
    }

    fn lives(&self, member: u32) -> bool {
        matches!(self.connections[member as usize].stage, Stage::Opening(_) | Stage::Open)
    }

    fn on_frame(&mut self, member: u32, incoming: Incoming<'_>) -> Result<Then> {
        match incoming {
            Incoming::Text(text) if OTHER => return self.on_other(member, text.as_bytes()),
            Incoming::Binary(bytes) if OTHER => return self.on_other(member, bytes),
            Incoming::Text(text) => return self.on_envelope(member, text.as_bytes(), Encoding::Json),
            Incoming::Binary(bytes) => return self.on_envelope(member, bytes, Encoding::MessagePack),
            Incoming::Ping(payload) => {
                let connection = &mut self.connections[member as usize];
                connection.heartbeats = connection.heartbeats.saturating_add(1);
                let mask = (self.random.draw() as u32).to_le_bytes();
                self.frame.clear();
                write_frame(&mut self.frame, FrameKind::Pong, payload, Some(mask));
                if let Err(error) = self.connections[member as usize].send(&self.frame) {
                    return Ok(Then::End(NO_CLOSE_FRAME, error.to_string()));
                }
            }
            Incoming::Pong(_) => {}
            Incoming::Close(reason) => {
                let (code, why) = reason.unwrap_or((1005, ""));
                return Ok(Then::End(code, why.to_owned()));
            }
        }
        Ok(Then::GoOn)
    }

    fn on_envelope(&mut self, member: u32, envelope: &[u8], encoding: Encoding) -> Result<Then> {
        if encoding != self.encoding {
            self.corrupted(member, || "text where binary was agreed, or the reverse".to_owned());
            return Ok(Then::GoOn);
        }
        let event = match read_event(encoding, envelope) {
            Ok(event) => event,
            Err(error) => {
                self.corrupted(member, || format!("not an event: {error}"));
                return Ok(Then::GoOn);
            }
        };
        match (self.connections[member as usize].stage, &event) {
            (Stage::Opening(slot), event) => self.on_opening_event(member, slot, event)?,
            (Stage::Open, ServerEvent::Message(message)) => {
                if let Some(marker) = self.on_message(member, message) {
                    return Ok(Then::Heard(message.offset.0, marker));
                }
            }
            (Stage::Open, event) => self.on_event(member, event),
            (Stage::Waiting | Stage::Over, _) => {}
        }
        Ok(Then::GoOn)
    }

    /// Takes the frames at the beginning of `bytes` that are known by their bytes; how many bytes they are.
    fn recognise(&mut self, member: u32, bytes: &[u8]) -> usize {
        if self.connections[member as usize].stage != Stage::Open {
            return 0;
        }
        let room = member / self.crew.crowd.room_size;
        let mine = (!self.crew.rules.own_copy).then(|| self.crew.crowd.global(member));
        let mut rest = bytes;
        let mut offset = self.ledger.next_offset(member);
        while let Some(known) = self.known.at(room, offset) {
            if Some(known.marker.publisher) != mine {
                let Some(after) = known.strip(rest) else { break };
                let marker = known.marker;
                rest = after;
                self.count_message(member, offset, &marker);
            }
            let Some(next) = offset.checked_add(1) else { break };
            offset = next;
        }
        bytes.len() - rest.len()
    }

    fn on_event(&mut self, member: u32, event: &ServerEvent<'_>) {
        match event {
            ServerEvent::Message(_) => {}
            ServerEvent::Reply(reply) => {
                let Some(position) = reply.position() else {
                    return self.corrupted(member, || format!("an answer without a position: {reply:?}"));
                };
                self.on_ack(member, reply.id, position.epoch.0, position.offset.0);
            }
            ServerEvent::Error { id, refusal, .. } => self.on_refusal(member, *id, refusal.code()),
            ServerEvent::Gap { room, from, to, why, .. } => {
                self.ledger.gap(member, to.0.saturating_add(1).saturating_sub(from.0));
                self.blame(Fault::Gap, member, None, || format!("{room} {}..{}: {}", from.0, to.0, why.name()));
            }
            ServerEvent::Welcome(_) => self.corrupted(member, || "welcomed twice".to_owned()),
            ServerEvent::Removed { room, .. } => self.corrupted(member, || format!("put out of {room}")),
            ServerEvent::PresenceJoined { .. }
            | ServerEvent::PresenceLeft { .. }
            | ServerEvent::PresenceAway { .. }
            | ServerEvent::PresenceBack { .. }
            | ServerEvent::PresenceCounted { .. }
            | ServerEvent::Stale { .. }
            | ServerEvent::Typing { .. }
            | ServerEvent::Read { .. }
            | ServerEvent::Drain { .. }
            | ServerEvent::Expiring { .. }
            | ServerEvent::Unknown { .. } => {}
        }
    }

    /// Verifies everything about a message, and counts it; its marker, if it was what somebody sent.
    fn on_message(&mut self, member: u32, message: &MessageIn<'_>) -> Option<Marker> {
        let crowd = self.crew.crowd;
        let mine = crowd.first_room + member / crowd.room_size;
        if self.room_of(&message.room) != Some(mine) {
            self.ledger.fault(Fault::Foreign);
            self.blame(Fault::Foreign, member, None, || format!("from room {}", message.room));
            return None;
        }
        let read = payload::read(self.encoding, message.data.raw(), &self.crew.payload, self.crew.seed);
        let Some(marker) = read else {
            self.corrupted(member, || format!("offset {}: the payload is not what anybody sent", message.offset.0));
            return None;
        };
        if token::connection_of(&self.crew.run, &message.from.user) != Some(marker.publisher) {
            self.corrupted(member, || format!("offset {}: under the name {}", message.offset.0, message.from.user));
            return None;
        }
        self.count_message(member, message.offset.0, &marker).then_some(marker)
    }

    /// Whether a message whose own content is right was also right at this place.
    pub(super) fn count_message(&mut self, member: u32, offset: u64, marker: &Marker) -> bool {
        let verdict = self.ledger.received(member, offset, marker, self.now_ns);
        self.progress.received += 1;
        if let Some(running) = &mut self.running {
            running.heard(self.now_ns, marker, verdict.is_ok());
        }
        if let Err(fault) = verdict {
            self.blame(fault, member, Some(marker), || format!("offset {offset}"));
        }
        verdict.is_ok()
    }

    fn on_ack(&mut self, member: u32, id: u64, epoch: u64, offset: u64) {
        let Some(publisher) = self.crew.crowd.publisher_of(member) else {
            return self.corrupted(member, || format!("an answer to {id}, which was never asked"));
        };
        let (seq, intended_ns) = seq_of(id, self.ledger.next_seq(publisher));
        if let Some(running) = &mut self.running {
            running.acked(self.now_ns, intended_ns);
        }
        if let Err(fault) = self.ledger.acked(publisher, seq, epoch, offset) {
            self.blame(fault, member, None, || format!("seq {seq}: the ack says {epoch:016x}/{offset}"));
        }
    }

    fn on_refusal(&mut self, member: u32, id: Option<u64>, code: &str) {
        let Some(publisher) = self.crew.crowd.publisher_of(member) else {
            return self.corrupted(member, || format!("{code} for something that was never asked"));
        };
        *self.refusals.entry(code.to_owned()).or_default() += 1;
        self.progress.refused += 1;
        let seq = id.map(|id| seq_of(id, self.ledger.next_seq(publisher)).0);
        if let Some(running) = &mut self.running {
            running.answered(self.now_ns);
        }
        if let Err(fault) = self.ledger.refused(publisher, seq) {
            self.blame(fault, member, None, || format!("{code}, answered twice"));
        }
    }

    pub(super) fn corrupted(&mut self, member: u32, detail: impl FnOnce() -> String) {
        self.ledger.fault(Fault::Corrupted);
        self.blame(Fault::Corrupted, member, None, detail);
    }

    /// The connection is over.
    fn end(&mut self, member: u32, code: u16, why: &str) -> Result<()> {
        match self.connections[member as usize].stage {
            Stage::Opening(slot) => return self.on_opening_end(slot, code, why),
            Stage::Waiting | Stage::Over => return Ok(()),
            Stage::Open => {}
        }
        self.connections[member as usize].end(Stage::Over);
        if self.on_parting_end(code) {
            self.progress.open -= 1;
            return Ok(());
        }
        *self.closes.entry(code).or_default() += 1;
        self.progress.open -= 1;
        self.progress.cut += 1;
        let fault = self.ledger.cut(member);
        self.blame(fault, member, None, || format!("{code} {why}"));
        Ok(())
    }

    /// The number of a room of this run.
    fn room_of(&self, name: &str) -> Option<u32> {
        let digits = name.strip_prefix(self.room_prefix.as_str())?;
        (digits.len() == 8).then(|| hex8(digits.as_bytes(), 0))
    }

    /// A publish could not be written: the socket is dead.
    pub(super) fn on_send_failed(&mut self, member: u32, error: &io::Error) {
        let ended = self.end(member, NO_CLOSE_FRAME, &error.to_string());
        debug_assert!(ended.is_ok(), "only openings can fail the worker, and publishers are open");
    }
}
