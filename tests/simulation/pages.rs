//! Pages of history, compared with what everybody heard.

use throng::base::{Encoding, Offset};
use throng::wire::client::{Reply, ServerEvent, read_event};

use crate::client::{Client, Surroundings};
use crate::reference::Heard;
use crate::tally::Lived;

impl Client {
    /// H1: a page is a run of messages without holes, each what everybody hears at its place.
    pub(crate) fn on_history(
        &self,
        room: usize,
        reply: &Reply<'_>,
        around: &mut Surroundings<'_>,
    ) -> Result<(), String> {
        let (Some(messages), Some(head)) = (&reply.messages, reply.offset) else {
            return Err(format!("H1 no page: {reply:?}"));
        };
        around.tally.add(Lived::Histories, 1);
        let (mut before, mut first): (Option<Offset>, Option<Offset>) = (None, None);
        for envelope in messages {
            let event = read_event(self.encoding, envelope).map_err(|error| format!("H1 {error}"))?;
            let ServerEvent::Message(message) = event else { return Err(format!("H1 a page holds {event:?}")) };
            let offset = message.offset;
            if before.is_some_and(|before| before.next() != offset) || offset > head {
                return Err(format!("H1 {offset:?} behind {before:?} of {head:?}"));
            }
            before = Some(offset);
            first.get_or_insert(offset);
            let mut json = Vec::new();
            message.data.write_as(Encoding::Json, &mut json);
            let json = String::from_utf8(json).map_err(|_| "W5 a payload that is not UTF-8")?;
            let epoch = reply.epoch.ok_or("H1 messages of no life")?;
            let (user, event) = (message.from.user.as_ref(), message.event.as_deref());
            let at_unix_ms = message.at_unix_ms;
            // It is told to whoever asks, its publisher included.
            let heard = Heard { room, epoch: Some(epoch.0), offset, at_unix_ms, user, event, json: &json };
            around.reference.heard(usize::MAX, &heard)?;
        }
        for read in reply.reads.iter().flatten() {
            around.tally.add(Lived::ReadPages, 1);
            if first.is_some_and(|first| read.offset < first) || !around.weather.people.receipts {
                return Err(format!("H1 {read:?} of a page from {first:?} on"));
            }
            around.reference.may_have_read(room, &read.user, read.offset)?;
        }
        Ok(())
    }
}
