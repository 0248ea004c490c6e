//! Pages of history, compared with what everybody heard.

use throng::base::{Encoding, Epoch, Offset};
use throng::wire::HistoryFrom;
use throng::wire::client::{Reply, ServerEvent, read_event};

use crate::client::{Client, PageWish, Surroundings};
use crate::reference::Heard;
use crate::tally::Lived;

impl Client {
    /// L1: a page is a run of messages without holes, each what everybody hears at its place.
    pub(crate) fn on_history(
        &self,
        room: usize,
        wish: &PageWish,
        reply: &Reply<'_>,
        around: &mut Surroundings<'_>,
    ) -> Result<(), String> {
        let (Some(messages), Some(head)) = (&reply.messages, reply.offset) else {
            return Err(format!("L1 no page: {reply:?}"));
        };
        around.tally.add(Lived::Histories, 1);
        let (mut before, mut first): (Option<Offset>, Option<Offset>) = (None, None);
        for envelope in messages {
            let event = read_event(self.encoding, envelope).map_err(|error| format!("L1 {error}"))?;
            let ServerEvent::Message(message) = event else { return Err(format!("L1 a page holds {event:?}")) };
            let offset = message.offset;
            if before.is_some_and(|before| before.next() != offset) || offset > head {
                return Err(format!("L1 {offset:?} behind {before:?} of {head:?}"));
            }
            before = Some(offset);
            first.get_or_insert(offset);
            let mut json = Vec::new();
            message.data.write_as(Encoding::Json, &mut json);
            let json = String::from_utf8(json).map_err(|_| "L1 a payload that is not UTF-8")?;
            let epoch = reply.epoch.ok_or("L1 messages of no life")?;
            let (user, event) = (message.from.user.as_ref(), message.event.as_deref());
            let at_unix_ms = message.at_unix_ms;
            // It is told to whoever asks, its publisher included.
            let own_from = Offset(0);
            let heard = Heard { room, epoch: Some(epoch.0), offset, own_from, at_unix_ms, user, event, json: &json };
            around.reference.heard(usize::MAX, &heard)?;
        }
        if let Some(epoch) = reply.epoch {
            is_the_page_asked_for(wish, epoch, head, (first, before), around)?;
        }
        for read in reply.reads.iter().flatten() {
            around.tally.add(Lived::ReadPages, 1);
            if first.is_some_and(|first| read.offset < first) || !around.weather.people.receipts {
                return Err(format!("L1 {read:?} of a page from {first:?} on"));
            }
            around.reference.may_have_read(room, &read.user, read.offset)?;
        }
        Ok(())
    }
}

/// L2: it begins, or ends, where it was asked for, as far as the log has it.
fn is_the_page_asked_for(
    wish: &PageWish,
    epoch: Epoch,
    head: Offset,
    (first, last): (Option<Offset>, Option<Offset>),
    around: &mut Surroundings<'_>,
) -> Result<(), String> {
    let kept = around.weather.limits.log_messages_max as u64;
    let first_kept = Offset((head.0 + 1).saturating_sub(kept).max(1));
    let (whole, is_empty) = (around.weather.plain_log() && wish.limit > 0, first.is_none());
    let (from, to) = match wish.from {
        HistoryFrom::Newest => (None, head),
        HistoryFrom::Before(before) => (None, Offset(before.0.min(head.0 + 1).saturating_sub(1))),
        HistoryFrom::After { epoch: life, offset } if life.is_none_or(|life| life == epoch) && offset <= head => {
            around.tally.add(Lived::PagedOn, u64::from(!is_empty));
            around.tally.add(Lived::PagedOverGaps, u64::from(first.is_some_and(|first| first > offset.next())));
            (Some(offset.next()), head)
        }
        // Of another life: all there is.
        HistoryFrom::After { .. } => (Some(Offset(1)), head),
    };
    let begins = from.is_none_or(|from| first.is_none_or(|first| first >= from));
    let fits = begins && last.is_none_or(|last| last <= to);
    let exact = match from {
        Some(from) if from.max(first_kept) <= to => first == Some(from.max(first_kept)),
        None if first_kept <= to => last == Some(to),
        Some(_) | None => is_empty,
    };
    if fits && (exact || !whole) {
        Ok(())
    } else {
        Err(format!("L2 {wish:?} of {first_kept:?}..={head:?} was answered by {first:?}..={last:?}"))
    }
}
