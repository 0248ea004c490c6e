//! Envelopes: foreign bytes become a command or a refusal, commands survive being written again, and no bytes make a client
//! panic either.

use throng::base::{Encoding, Limits, RoomName};
use throng::wire::client::{CommandOut, ResumeOut, read_event, write_command};
use throng::wire::{Command, Envelope, Rejected, ResumeRoom, decode, is_event_name, is_key};

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
    let entries = if let Command::Resume { rooms, .. } = command { rooms.as_slice() } else { &[] };
    let rooms: Vec<ResumeOut<'_>> = entries.iter().map(resume_out).collect();
    let out = match command {
        Command::Join { room, since, history, presence } => {
            CommandOut::Join { room, since: *since, history: *history, presence: *presence }
        }
        Command::Leave { room } => CommandOut::Leave { room },
        Command::Publish { room, data, event, echo, key } => {
            assert!(event.as_deref().is_none_or(is_event_name) && key.as_deref().is_none_or(is_key));
            let (event, key) = (event.as_deref(), key.as_deref());
            CommandOut::Publish { room, data: *data, event, echo: *echo, key }
        }
        Command::Send { user, data, event, echo, key } => {
            assert!(event.as_deref().is_none_or(is_event_name) && key.as_deref().is_none_or(is_key));
            let (event, key) = (event.as_deref(), key.as_deref());
            CommandOut::Send { user, data: *data, event, echo: *echo, key }
        }
        Command::Resume { session, rooms: _ } => CommandOut::Resume { session: session.as_deref(), rooms: &rooms },
        Command::Presence { room } => CommandOut::Presence { room },
        Command::Typing { room, on } => CommandOut::Typing { room, on: *on },
        Command::Read { room, offset } => CommandOut::Read { room, offset: *offset },
        Command::Unread { room } => CommandOut::Unread { room },
        Command::Ping => CommandOut::Ping,
        Command::Hello { token, session } => CommandOut::Hello { token: &token.0, session: session.as_deref() },
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
            (Command::Publish { data, .. }, Command::Publish { data: before, .. })
            | (Command::Send { data, .. }, Command::Send { data: before, .. }) => {
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

fn resume_out<'a>(entry: &'a ResumeRoom<'_>) -> ResumeOut<'a> {
    let ResumeRoom { room, id, since, history, presence } = entry;
    ResumeOut { room, id: *id, since: *since, history: *history, presence: *presence }
}
