//! Connections to servers that are not throng: how they come in, what they hear, what they say.
//!
//! Only in workers for such servers (`OTHER`); the others are compiled without any of it. Such servers give messages no
//! positions: a seat's count stands for them, so that loss and duplicates are exact at the end of a phase, and order is what
//! each publisher's witness saw.

use anyhow::{Context, Result, bail};
use throng::wire::websocket::{FrameKind, write_frame};

use super::hear::NO_CLOSE_FRAME;
use super::hear::Then;
use super::{Stage, Worker};
use crate::dialect::{Dialect, Heard, Next};
use crate::payload::Marker;
use crate::ramp::LimitedBy;
use crate::token;

impl<const OTHER: bool> Worker<OTHER> {
    /// The upgrade is done; it may have something to say at once.
    pub(super) fn other_upgraded(&mut self, member: u32, slot: u16) -> Result<()> {
        let (room, user) = self.names(member);
        let next = self.dialect()?.upgraded(&room, &user);
        self.other_next(member, slot, next)
    }

    /// A text, or what a binary frame holds.
    pub(super) fn on_other(&mut self, member: u32, text: &[u8]) -> Result<Then> {
        match self.connections[member as usize].stage {
            Stage::Opening(slot) => {
                let (room, user) = self.names(member);
                let (next, heartbeat_ms) = self.dialect()?.on_the_way(text, &room, &user);
                self.heartbeat_ms = heartbeat_ms.unwrap_or(self.heartbeat_ms);
                self.other_next(member, slot, next)?;
            }
            Stage::Open => match self.dialect()?.hear(text, &self.crew.payload, self.crew.seed) {
                Heard::Marker(marker) => {
                    let offset = self.ledger.next_offset(member);
                    self.count_message(member, offset, &marker);
                }
                Heard::Broken => self.corrupted(member, || "the payload is not what anybody sent".to_owned()),
                Heard::Ping(answer) => {
                    let connection = &mut self.connections[member as usize];
                    connection.heartbeats = connection.heartbeats.saturating_add(1);
                    if let Err(error) = self.send_text(member, answer) {
                        return Ok(Then::End(NO_CLOSE_FRAME, error.to_string()));
                    }
                }
                Heard::Nothing => {}
            },
            Stage::Waiting | Stage::Over => {}
        }
        Ok(Then::GoOn)
    }

    /// Writes what publishes `marker`.
    pub(super) fn other_publish(&mut self, member: u32, marker: &Marker) -> std::io::Result<()> {
        let (room, user) = self.names(member);
        let mut text = std::mem::take(&mut self.envelope);
        text.clear();
        let data = self.payloads.write_text(marker);
        if let Some(dialect) = &self.crew.dialect {
            dialect.publish(&mut text, &room, &user, data);
        }
        let sent = self.send_text(member, &text);
        self.envelope = text;
        sent
    }

    fn other_next(&mut self, member: u32, slot: u16, next: Next) -> Result<()> {
        // Only the answer to a join has a time, and only where it is waited for.
        if matches!(next, Next::Join(_)) {
            self.openings.at(slot).times.asked_ns = self.now_ns;
        }
        let (text, sits) = match next {
            Next::Wait => return Ok(()),
            Next::Refused(why) => bail!("the server refused to let a connection in: {why}"),
            Next::Say(text) | Next::Join(text) => (Some(text), false),
            Next::Sit(text) => (text, true),
        };
        if let Some(text) = text
            && let Err(error) = self.send_text(member, &text)
        {
            return self.retry(slot, LimitedBy::Server, &format!("ended while opening: {error}"));
        }
        if sits {
            self.seat(member, slot, 0, 0);
        }
        Ok(())
    }

    fn send_text(&mut self, member: u32, text: &[u8]) -> std::io::Result<()> {
        let mask = (self.random.draw() as u32).to_le_bytes();
        self.frame.clear();
        write_frame(&mut self.frame, FrameKind::Text, text, Some(mask));
        self.connections[member as usize].send(&self.frame)
    }

    /// The room's and the user's.
    fn names(&self, member: u32) -> (String, String) {
        (self.room_name(member), token::sub(&self.crew.run, self.crew.crowd.global(member)))
    }

    fn dialect(&self) -> Result<&Dialect> {
        self.crew.dialect.as_ref().context("a worker for other servers has their dialect")
    }
}
