//! `history`: a piece of a room's log for one reader, asked for piece by piece at the reader's own pace.
//!
//! Promises: one answer holds at most the bounded number of messages and as many bytes as are written at once (one longer
//! message passes alone); who has not read what it was answered gets no more. It says what the log no longer has.

use std::sync::Arc;

use crate::base::{ConnKey, Delivery, Encoding, Now, Offset, RoomName, ShardId};
use crate::wire::{Event, HistoryAnswer, HistoryFrom, ReadBy, Refusal, Verb};

use super::ask::{HistoryPage, HistoryQuestion};
use super::{Count, Mail, Shard};

/// A reader's question, on its way to the room's home.
#[derive(Debug)]
pub struct AskHistory {
    pub question: HistoryQuestion,
    pub conn: ConnKey,
    pub id: u64,
    pub encoding: Encoding,
    /// It may know who has read it.
    pub reads: bool,
}

/// What comes back.
#[derive(Debug)]
pub struct HistoryTold {
    pub room: RoomName,
    pub conn: ConnKey,
    pub id: u64,
    pub page: HistoryPage,
    /// Who has read how far, where the room keeps it and the reader may know.
    pub reads: Option<Vec<ReadBy>>,
}

impl Shard {
    pub(super) fn ask_history(
        &mut self,
        conn: ConnKey,
        id: Option<u64>,
        room: &str,
        from: HistoryFrom,
        messages_max: Option<u32>,
    ) -> Result<(), Refusal> {
        self.require(conn, Verb::History, room)?;
        let reads = self.may(conn, Verb::Presence, room);
        let home = self.home_of(room);
        if !self.has_room_for(home) {
            self.counters.add(Count::LettersFull, 1);
            return Err(Refusal::Busy);
        }
        let room = RoomName::parse(room).map_err(|_| Refusal::BadRoom)?;
        // The decoder has seen to it that there is an `id`.
        let (Some(row), Some(id)) = (self.connections.row(conn), id) else { return Ok(()) };
        let encoding = row.encoding();
        let limits = self.limits();
        let wanted = messages_max.map_or(limits.history_on_join_max, |wanted| wanted as usize);
        let question = HistoryQuestion {
            room,
            from,
            messages_max: wanted.min(limits.history_page_max),
            bytes_max: limits.outbox_soft_bytes_max,
            wait_ms: 0,
        };
        self.post(home, Mail::AskHistory(Box::new(AskHistory { question, conn, id, encoding, reads })));
        Ok(())
    }

    /// At the home.
    pub(super) fn on_ask_history(&mut self, now: Now, from: ShardId, ask: AskHistory) {
        let AskHistory { question, conn, id, encoding, reads } = ask;
        let delivery = match self.rooms.find_mut(question.room.as_str()) {
            Some((_, room)) => room.delivery(),
            // As it would be opened.
            None => {
                let classes = &self.config.rules.classes;
                classes.class(classes.of_room(question.room.as_str())).delivery
            }
        };
        let refusal = match delivery {
            Delivery::Latest | Delivery::Ephemeral => Some(Refusal::Unsupported),
            Delivery::Reliable => (!self.has_room_for(from)).then_some(Refusal::Busy),
        };
        if let Some(refusal) = refusal {
            self.post(from, Mail::Refused { conn, id: Some(id), refusal });
            return;
        }
        let page = self.history(now, &question, encoding);
        let first = Offset((page.last.0 + 1).saturating_sub(page.messages.len() as u64));
        let reads = if reads { self.read_by(&question.room, first) } else { None };
        self.post(from, Mail::HistoryTold(Box::new(HistoryTold { room: question.room, conn, id, page, reads })));
    }

    /// Who has read this message, or further.
    fn read_by(&mut self, name: &RoomName, offset: Offset) -> Option<Vec<ReadBy>> {
        let rules = Arc::clone(&self.config.rules);
        let (_, room) = self.rooms.find_mut(name.as_str())?;
        room.read_by(offset, rules.classes.class(room.class()), &rules.limits)
    }

    /// Back at the reader's shard.
    pub(super) fn on_history_told(&mut self, told: &HistoryTold) {
        let HistoryTold { room, conn, id, page, reads } = told;
        let outbox_bytes =
            self.connections.row(*conn).and_then(|row| row.work.as_ref()).map_or(0, |work| work.outbox.len());
        if outbox_bytes > self.limits().outbox_hard_bytes_max {
            self.refuse(*conn, Some(*id), Refusal::Busy, None);
            return;
        }
        let (reads, messages) = (reads.as_deref(), &page.messages[..]);
        let answer = HistoryAnswer { epoch: page.epoch, head: page.head, gap: page.gap, reads, messages };
        self.answer(*conn, &Event::History { id: *id, room, answer });
    }
}
