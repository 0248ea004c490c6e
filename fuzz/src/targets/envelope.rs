//! Envelopes: foreign bytes become a command or a refusal, commands survive being written again, and no bytes make a client
//! panic either.

use throng::base::{Encoding, Limits, RoomName};
use throng::wire::client::{CommandOut, read_event, write_command};
use throng::wire::{Command, Envelope, Rejected, decode, is_event_name, is_key};

use super::feed::Feed;

const ID_MAX: u64 = (1 << 53) - 1;

pub(crate) fn run(data: &[u8]) -> bool {
    let mut feed = Feed::new(data);
    let encoding = if feed.flag() { Encoding::MessagePack } else { Encoding::Json };
    let bytes = feed.rest();
    // What a client makes of it is the client's affair, but it must not panic.
    let _understood = read_event(encoding, bytes).is_ok();
    let limits = Limits::default();
    match decode(encoding, bytes, &limits) {
        Ok(envelope) => check(encoding, &envelope, &limits),
        Err(Rejected { id, .. }) => {
            assert!(id.is_none_or(|id| id <= ID_MAX));
            false
        }
    }
}

fn check(encoding: Encoding, envelope: &Envelope<'_>, limits: &Limits) -> bool {
    let Envelope { id, command } = envelope;
    assert!(id.is_none_or(|id| id <= ID_MAX));
    let out = match command {
        Command::Join { room, since, history, presence } => {
            CommandOut::Join { room, since: *since, history: *history, presence: *presence }
        }
        Command::Leave { room } => CommandOut::Leave { room },
        Command::Publish { room, data, event, echo, key } => {
            assert!(event.as_deref().is_none_or(is_event_name) && key.as_deref().is_none_or(is_key));
            CommandOut::Publish { room, data: *data, event: event.as_deref(), echo: *echo, key: key.as_deref() }
        }
        Command::Presence { room } => CommandOut::Presence { room },
        Command::Typing { room, on } => CommandOut::Typing { room, on: *on },
        Command::Read { room, offset } => CommandOut::Read { room, offset: *offset },
        Command::Unread { room } => CommandOut::Unread { room },
        Command::Ping => CommandOut::Ping,
        Command::Hello { token } => CommandOut::Hello { token: &token.0 },
        Command::Refresh { token } => CommandOut::Refresh { token: &token.0 },
        Command::History { room, from, messages_max } => {
            CommandOut::History { room, from: *from, messages_max: *messages_max }
        }
    };
    for to in Encoding::ALL {
        let mut again = Vec::new();
        write_command(&mut again, to, *id, &out);
        let read = decode(to, &again, limits).expect("a command is written so that it is understood");
        assert_eq!(read.id, *id);
        match (&read.command, command) {
            // White space goes when it is written, and the other encoding has other bytes.
            (Command::Publish { data, .. }, Command::Publish { data: before, .. }) => {
                let as_it_was = |data: &throng::wire::Data<'_>| {
                    let mut bytes = Vec::new();
                    data.write_as(Encoding::MessagePack, &mut bytes);
                    bytes
                };
                assert!(to != encoding || as_it_was(data) == as_it_was(before));
            }
            (read, before) => assert_eq!(read, before),
        }
    }
    let Command::Publish { room, event: Some(event), echo: Some(false), .. } = command else { return false };
    assert!(RoomName::check(room).is_ok());
    event.len() == 3
}
