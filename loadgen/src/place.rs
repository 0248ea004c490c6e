//! Somebody's room, and how whoever sits there knows what was said in it: by the room's name and by the marked payload.
//!
//! Promises: what was said in another room is never taken for what was said here, whatever name the server puts on it; nor is
//! what differs in one bit from what was sent, or stands under another's name.

use throng::base::Encoding;
use throng::wire::client::ServerEvent;
use throng::wire::envelope::MessageIn;

use crate::lengths::Lengths;
use crate::payload::{self, Marker};
use crate::token;

/// A room of one run.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) room: String,
    /// What markers call it.
    pub(crate) number: u32,
    /// Names the users of the run.
    pub(crate) run: String,
    /// How long payloads are, and the seed of their checksums.
    pub(crate) payload: Lengths,
    pub(crate) seed: u64,
}

/// What is wrong about something heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wrong {
    /// It was said in another room.
    Foreign,
    /// Nobody said it like this.
    Corrupted,
}

impl Place {
    /// What this is, if somebody said it here.
    pub(crate) fn verify(&self, encoding: Encoding, message: &MessageIn<'_>) -> Result<Marker, Wrong> {
        if message.room != self.room {
            return Err(Wrong::Foreign);
        }
        let read = payload::read(encoding, message.data.raw(), &self.payload, self.seed);
        let marker = read.ok_or(Wrong::Corrupted)?;
        if marker.room != self.number {
            return Err(Wrong::Foreign);
        }
        let from = token::connection_of(&self.run, &message.from.user);
        if from == Some(marker.publisher) { Ok(marker) } else { Err(Wrong::Corrupted) }
    }
}

/// The room an event is about; those that answer or are about the connection are about none.
pub(crate) fn room_of<'a>(event: &'a ServerEvent<'_>) -> Option<&'a str> {
    match event {
        ServerEvent::Message(message) => Some(&message.room),
        ServerEvent::PresenceJoined { room, .. }
        | ServerEvent::PresenceLeft { room, .. }
        | ServerEvent::PresenceAway { room, .. }
        | ServerEvent::PresenceBack { room, .. }
        | ServerEvent::PresenceCounted { room, .. }
        | ServerEvent::Stale { room }
        | ServerEvent::Typing { room, .. }
        | ServerEvent::Read { room, .. }
        | ServerEvent::Gap { room, .. }
        | ServerEvent::Removed { room, .. } => Some(room),
        ServerEvent::Welcome(_)
        | ServerEvent::Reply(_)
        | ServerEvent::Error { .. }
        | ServerEvent::Drain { .. }
        | ServerEvent::Expiring { .. }
        | ServerEvent::Unknown { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use throng::base::{Epoch, Identity, Limits, Offset, RoomName};
    use throng::wire::client::read_event;
    use throng::wire::envelope::{MessageOut, write_message};
    use throng::wire::websocket::{FrameLimits, Incoming, Partial, Reader, Role};

    use super::*;
    use crate::payload::Writer;

    /// What somebody in room 3 hears when the server says this under these names.
    fn verdict(room: &str, user: &str, marker: &Marker, flip: Option<usize>) -> Result<(), Wrong> {
        let place =
            Place { room: "r:3".to_owned(), number: 3, run: "00c0ffee".to_owned(), payload: 80.into(), seed: 5 };
        let mut value = Writer::new(Encoding::MessagePack, &80.into(), 5).write(marker).to_vec();
        if let Some(at) = flip {
            value[at] ^= 1;
        }
        let data = throng::wire::prove(Encoding::MessagePack, &value, 1).expect("a string").to_payload();
        let (name, from) = (RoomName::parse(room).expect("a name"), Identity::new(user, None).expect("a name"));
        let offset = Offset(9);
        let out = MessageOut { room: &name, offset, at_unix_ms: 0, from: &from, event: None, key: None, data: &data };
        let mut frame = Vec::new();
        write_message(&mut frame, Encoding::MessagePack, &out);
        let limits = FrameLimits { message_bytes_max: Limits::default().message_bytes_max, fragments_max: 1 };
        let (mut partial, mut reader) = (Partial::default(), Reader::new(Role::Client, limits, &mut frame));
        let Ok(Some(Incoming::Binary(envelope))) = reader.next(&mut partial) else { panic!("one whole frame") };
        let event = read_event(Encoding::MessagePack, envelope).expect("an event");
        let ServerEvent::Message(message) = event else { panic!("{event:?}") };
        place.verify(Encoding::MessagePack, &message).map(|read| assert_eq!(read, *marker))
    }

    #[test]
    fn a_leak_and_a_corruption_are_told_from_what_was_said_here() {
        let marker = Marker { room: 3, publisher: 7, seq: 1, intended_ns: 2, late_us: 3 };
        let (me, other) = (token::sub("00c0ffee", 7), token::sub("00c0ffee", 8));
        assert_eq!(verdict("r:3", &me, &marker, None), Ok(()));
        assert_eq!(verdict("r:4", &me, &marker, None), Err(Wrong::Foreign));
        assert_eq!(
            verdict("r:3", &me, &Marker { room: 4, ..marker }, None),
            Err(Wrong::Foreign),
            "only its name is ours"
        );
        assert_eq!(verdict("r:3", &me, &marker, Some(70)), Err(Wrong::Corrupted));
        assert_eq!(verdict("r:3", &other, &marker, None), Err(Wrong::Corrupted), "somebody else's name");
    }

    #[test]
    fn what_is_told_of_a_room_names_it() {
        let why = throng::wire::GapWhy::Slow;
        let gap = ServerEvent::Gap { room: "a".into(), epoch: Epoch(1), from: Offset(1), to: Offset(1), why };
        assert_eq!(room_of(&gap), Some("a"));
        assert_eq!(room_of(&ServerEvent::Drain { reconnect_in_ms: 1 }), None);
    }
}
