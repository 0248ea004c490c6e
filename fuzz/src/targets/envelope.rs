//! Envelopes: foreign bytes become a command or a refusal, commands survive being written again, and no bytes make a client
//! panic either.

use throng::base::{Encoding, Limits, RoomName};
use throng::wire::client::{CommandOut, ResumeOut, read_event, write_command};
use throng::wire::{Command, Envelope, Rejected, decode, is_event_name, is_key};

use super::command;
use super::feed::Feed;

const ID_MAX: u64 = (1 << 53) - 1;

pub(crate) fn run(data: &[u8]) -> bool {
    let mut feed = Feed::new(data);
    let how = feed.byte();
    let encoding = if how & 1 == 1 { Encoding::MessagePack } else { Encoding::Json };
    let composed;
    let bytes = if how & 128 == 0 {
        feed.rest()
    } else {
        composed = compose(&mut feed, encoding);
        &composed[..]
    };
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

/// What a client of ours would write, with some of its bytes changed.
fn compose(feed: &mut Feed<'_>, encoding: Encoding) -> Vec<u8> {
    let (what, mut out) = (6 + feed.byte() % 10, Vec::new());
    command::write(feed, what, encoding, &mut out);
    while !feed.is_empty() {
        let at = feed.below(256).min(out.len() - 1);
        out[at] = feed.byte();
    }
    out
}

fn check(encoding: Encoding, envelope: &Envelope<'_>, limits: &Limits) -> bool {
    let Envelope { id, command } = envelope;
    assert!(id.is_none_or(|id| id <= ID_MAX));
    let rooms = ResumeOut::all(command);
    let out = CommandOut::of(command, &rooms);
    if let Command::Publish { event, key, .. } | Command::Send { event, key, .. } = command {
        assert!(event.as_deref().is_none_or(is_event_name) && key.as_deref().is_none_or(is_key));
    }
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
