//! A command out of an input: what a client of ours would write.

use throng::base::{Encoding, Epoch, Offset, Position};
use throng::shard::HistoryFrom;
use throng::wire::client::{CommandOut, ResumeOut, write_command};
use throng::wire::{Payload, prove};

use super::feed::Feed;
use super::house::{TOKENS, USERS};

pub(crate) const ROOMS: [&str; 4] = ["a", "room:two", "@all", "x/y"];

/// Which command says `what`, from 6 to 15; where a payload is none, what is written is the publish of `null`.
pub(crate) fn write(feed: &mut Feed<'_>, what: u8, encoding: Encoding, out: &mut Vec<u8>) {
    let room = ROOMS[feed.below(ROOMS.len())];
    let options = feed.byte();
    let id = (options & 1 == 1).then(|| u64::from(options));
    match what {
        6 | 7 => {
            let position = || Position { epoch: Epoch(u64::from(options)), offset: Offset(u64::from(options >> 4)) };
            let since = (options & 8 != 0).then(position);
            let history = (options & 4 != 0).then_some(u32::from(options >> 5));
            write_command(out, encoding, id, &CommandOut::Join { room, since, history, presence: options & 2 != 0 });
        }
        8 => write_command(out, encoding, id, &CommandOut::Leave { room }),
        9 => match options >> 6 {
            0 => write_command(out, encoding, Some(7), &CommandOut::Presence { room }),
            1 => write_command(out, encoding, id, &CommandOut::Typing { room, on: options & 2 != 0 }),
            2 => {
                let offset = Offset(u64::from(options & 63));
                write_command(out, encoding, id, &CommandOut::Read { room, offset });
            }
            _ => write_command(out, encoding, Some(7), &CommandOut::Unread { room }),
        },
        10 => write_command(out, encoding, id, &CommandOut::Ping),
        11 => {
            let token = &TOKENS[usize::from(options) % TOKENS.len()];
            let hello = CommandOut::Hello { token, session: None };
            let command = if options & 16 == 0 { CommandOut::Refresh { token } } else { hello };
            write_command(out, encoding, id, &command);
        }
        12 => {
            let from = match options >> 6 {
                0 => HistoryFrom::Newest,
                1 => HistoryFrom::Before(Offset(u64::from(options & 15))),
                _ => HistoryFrom::After { epoch: Some(Epoch(0)), offset: Offset(u64::from(options & 15)) },
            };
            let messages_max = (options & 32 != 0).then_some(u32::from(options & 3));
            write_command(out, encoding, Some(9), &CommandOut::History { room, from, messages_max });
        }
        13 => {
            let position = Position { epoch: Epoch(u64::from(options)), offset: Offset(u64::from(options >> 4)) };
            let since = (options & 8 != 0).then_some(position);
            let entry = ResumeOut { room, id: Some(9), since, history: None, presence: options & 2 != 0 };
            // A code that nobody made, of a connection that there may be.
            let session = format!("{:048x}", u64::from(options));
            let session = (options & 16 != 0).then_some(session.as_str());
            write_command(out, encoding, id, &CommandOut::Resume { session, rooms: &[entry, entry] });
        }
        _ => {
            let payload = payload(feed, encoding);
            let event = (options & 4 != 0).then_some(if options & 2 == 0 { "e" } else { "cue" });
            let echo = (options & 8 != 0).then_some(options & 16 != 0);
            let (data, key) = (payload.as_data(), (options & 32 != 0).then_some("k"));
            let user = USERS[usize::from(options) % USERS.len()];
            let command = match options & 192 {
                192 => CommandOut::Send { user, data, event, echo, key },
                _ => CommandOut::Publish { room, data, event, echo, key },
            };
            write_command(out, encoding, id, &command);
        }
    }
}

/// A value, or `null` where the input holds none.
pub(crate) fn payload(feed: &mut Feed<'_>, encoding: Encoding) -> Payload {
    let piece = feed.piece();
    let nothing: &[u8] = if encoding == Encoding::Json { b"null" } else { b"\xc0" };
    let proved = prove(encoding, piece, 32).or_else(|_| prove(encoding, nothing, 32));
    proved.expect("`null` is a value").to_payload()
}
