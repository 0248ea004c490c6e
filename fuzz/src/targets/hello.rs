//! Somebody who brought no token: whatever is said instead of a good `hello`, no session begins.

use throng::base::Encoding;
use throng::wire::client::{CommandOut, write_command};
use throng::wire::{FrameKind, write_frame};

use super::feed::Feed;
use super::house::{House, Speaks, TOKENS};

pub(crate) fn run(data: &[u8]) -> bool {
    let mut feed = Feed::new(data);
    let encoding = if feed.flag() { Encoding::MessagePack } else { Encoding::Json };
    let (how, cut) = (feed.below(4), feed.below(40) + 1);
    let mut house = House::new();
    let Some(client) = house.asks(0, Speaks::Rooms(encoding), "") else { return false };
    let mut bytes = Vec::new();
    let kind = if encoding == Encoding::Json { FrameKind::Text } else { FrameKind::Binary };
    match how {
        // Bytes as they are.
        0 => bytes.extend_from_slice(feed.rest()),
        // One message.
        1 => write_frame(&mut bytes, kind, feed.rest(), Some([1, 2, 3, 4])),
        // A good hello of somebody, with what is said behind it.
        2 => {
            let token = &TOKENS[feed.below(TOKENS.len())];
            let mut envelope = Vec::new();
            write_command(&mut envelope, encoding, Some(1), &CommandOut::Hello { token, session: None });
            write_frame(&mut bytes, kind, &envelope, Some([1, 2, 3, 4]));
            write_frame(&mut bytes, kind, feed.rest(), Some([5, 6, 7, 8]));
        }
        // A token of one's own making.
        _ => {
            let mut envelope = Vec::new();
            let token = String::from_utf8_lossy(feed.rest());
            write_command(&mut envelope, encoding, None, &CommandOut::Hello { token: &token, session: None });
            write_frame(&mut bytes, kind, &envelope, Some([1, 2, 3, 4]));
        }
    }
    for piece in bytes.chunks(cut) {
        house.receives(client, piece);
        house.deliver_mail();
    }
    // Somebody came in by a good token and has joined a room in the same breath.
    house.shards[0].gauges().seats == 1 && how == 2 && cut == 40
}
