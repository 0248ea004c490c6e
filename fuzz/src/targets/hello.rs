//! Somebody who brought no token: whatever is said instead of a good `hello`, no session begins.

use throng::base::Encoding;
use throng::wire::client::{CommandOut, write_command};
use throng::wire::{FrameKind, write_frame};

use super::command;
use super::feed::Feed;
use super::house::{House, MASK, Speaks, TOKENS};

/// An input that asks for more is cut there.
const COMMANDS_MAX: usize = 20;

pub(crate) fn run(data: &[u8]) -> bool {
    let mut feed = Feed::new(data);
    let encoding = if feed.flag() { Encoding::MessagePack } else { Encoding::Json };
    let (how, cut) = (feed.below(5), feed.below(40) + 1);
    let mut house = House::new();
    let Some(client) = house.asks(0, Speaks::Rooms(encoding), "") else { return false };
    let mut bytes = Vec::new();
    let kind = if encoding == Encoding::Json { FrameKind::Text } else { FrameKind::Binary };
    match how {
        // Bytes as they are.
        0 => bytes.extend_from_slice(feed.rest()),
        // One message.
        1 => write_frame(&mut bytes, kind, feed.rest(), MASK),
        // A good hello of somebody, with what is said behind it.
        2 => {
            let token = &TOKENS[feed.below(TOKENS.len())];
            let mut envelope = Vec::new();
            write_command(&mut envelope, encoding, Some(1), &CommandOut::Hello { token, session: None });
            write_frame(&mut bytes, kind, &envelope, MASK);
            write_frame(&mut bytes, kind, feed.rest(), MASK);
        }
        // A token of one's own making.
        3 => {
            let mut envelope = Vec::new();
            let token = String::from_utf8_lossy(feed.rest());
            write_command(&mut envelope, encoding, None, &CommandOut::Hello { token: &token, session: None });
            write_frame(&mut bytes, kind, &envelope, MASK);
        }
        // Commands, one of which may be a hello.
        _ => {
            for _ in 0..COMMANDS_MAX {
                if feed.is_empty() {
                    break;
                }
                let (what, mut envelope) = (6 + feed.byte() % 10, Vec::new());
                command::write(&mut feed, what, encoding, &mut envelope);
                write_frame(&mut bytes, kind, &envelope, MASK);
            }
        }
    }
    for piece in bytes.chunks(cut) {
        house.receives(client, piece);
        house.deliver_mail();
    }
    // Somebody came in by a good token and sits in a room, all in reads of the greatest length.
    house.shards[0].gauges().seats == 1 && how >= 2 && cut == 40
}
