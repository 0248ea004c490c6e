//! **No publisher makes a reader's frame undecodable**: what is proved is read by others' decoders, in both encodings, as
//! it came and transcoded, in a whole `message`.

use serde::de::IgnoredAny;
use throng::base::{Encoding, Identity, Offset, RoomName};
use throng::wire::client::{ServerEvent, read_event};
use throng::wire::{MessageOut, Payload, frame_content, prove, transcode_message, write_message};

use super::feed::Feed;

/// A transcoded payload is at most so many times as long.
const GROWTH_MAX: usize = 6;

pub(crate) fn run(data: &[u8]) -> bool {
    let mut feed = Feed::new(data);
    let from = if feed.flag() { Encoding::MessagePack } else { Encoding::Json };
    let depth_max = feed.below(70);
    let bytes = feed.rest();
    let Ok(proved) = prove(from, bytes, depth_max) else { return false };
    let payload = proved.to_payload();
    for to in Encoding::ALL {
        check(&payload, to);
    }
    is_planted(from, &payload)
}

fn check(payload: &Payload, to: Encoding) {
    let mut out = Vec::new();
    payload.write_as(to, &mut out);
    assert!(is_decodable(to, &out), "{to:?} {}", out.escape_ascii());
    assert!(
        out.len() <= GROWTH_MAX * payload.bytes().len().max(2),
        "{} bytes became {}",
        payload.bytes().len(),
        out.len()
    );
    let again = prove(to, &out, usize::MAX).map(|data| data.raw().to_vec());
    assert_eq!(again.as_deref(), Ok(&out[..]), "what we write is tight and proved");
    let room = RoomName::parse("fuzz").expect("a room's name");
    let from = Identity::new("ann \"A\"", Some(r#"{"age":41}"#)).expect("a user");
    let message = MessageOut {
        room: &room,
        offset: Offset(1),
        at_unix_ms: 2,
        from: &from,
        event: Some("e"),
        key: None,
        data: payload,
    };
    let (mut direct, mut transcoded) = (Vec::new(), Vec::new());
    let data_at = write_message(&mut direct, payload.encoding(), &message);
    assert_message(payload.encoding(), &direct);
    transcode_message(&direct, data_at, payload.encoding(), &mut transcoded);
    let other = if payload.encoding() == Encoding::Json { Encoding::MessagePack } else { Encoding::Json };
    assert_message(other, &transcoded);
    let mut expected = Vec::new();
    write_message(&mut expected, other, &message);
    assert_eq!(transcoded, expected, "a frame of the log is transcoded as it would have been written");
}

fn assert_message(encoding: Encoding, frame: &[u8]) {
    let content = frame_content(frame);
    assert!(is_decodable(encoding, content), "{encoding:?} {}", content.escape_ascii());
    assert!(matches!(read_event(encoding, content), Ok(ServerEvent::Message(_))));
}

/// By decoders that are not ours.
pub(super) fn is_decodable(encoding: Encoding, bytes: &[u8]) -> bool {
    match encoding {
        Encoding::Json => serde_json::from_slice::<IgnoredAny>(bytes).is_ok(),
        Encoding::MessagePack => {
            let mut rest = bytes;
            rmp_serde::from_read::<_, IgnoredAny>(&mut rest).is_ok() && rest.is_empty()
        }
    }
}

/// Eight bytes or more that became four times as many.
fn is_planted(from: Encoding, payload: &Payload) -> bool {
    let mut out = Vec::new();
    if from == Encoding::MessagePack && payload.bytes().len() >= 8 {
        payload.write_as(Encoding::Json, &mut out);
    }
    out.len() >= 4 * payload.bytes().len().max(1)
}
