//! The laws of envelopes: what any command, any frame and any bytes must keep.

use std::borrow::Cow;
use std::io::Cursor;

use bytes::Bytes;
use proptest::prelude::*;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data as DataCode, OpCode};

use super::*;
use crate::base::{Encoding, Epoch, Identity, Limits, Offset, Position, Presence, RoomName};
use crate::wire::client::{CommandOut, ResumeOut, ServerEvent, read_event, write_command};
use crate::wire::payload::laws::nearly;
use crate::wire::payload::tree::Tree;
use crate::wire::payload::{Payload, prove};
use crate::wire::refusal::Refusal;

const JSON: Encoding = Encoding::Json;
const PACK: Encoding = Encoding::MessagePack;

/// The content of a frame, by tungstenite's reading of its header.
fn unframed(encoding: Encoding, frame: &[u8]) -> &[u8] {
    let mut cursor = Cursor::new(frame);
    let (header, length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
    let kind = if encoding == JSON { DataCode::Text } else { DataCode::Binary };
    assert_eq!(header, FrameHeader { opcode: OpCode::Data(kind), ..FrameHeader::default() });
    let content = &frame[cursor.position() as usize..];
    assert_eq!(content.len() as u64, length);
    content
}

#[test]
fn a_frame_header_has_each_of_its_three_lengths_and_data_is_where_it_is_said_to_be() {
    let (room, ann) = (RoomName::parse("a").unwrap(), Identity::new("ann", None).unwrap());
    for length in (0..200).chain(65_300..65_600) {
        let text = "x".repeat(length);
        for encoding in Encoding::ALL {
            let data = payload(encoding, &Tree::Text(text.clone()));
            let message = MessageOut {
                room: &room,
                offset: Offset(1),
                at_unix_ms: 2,
                from: &ann,
                event: None,
                key: None,
                data: &data,
            };
            let mut out = b"before".to_vec();
            let at = write_message(&mut out, encoding, &message);
            let frame = &out[6..];
            let content = unframed(encoding, frame);
            assert!(content.len() > length);
            let end = frame.len() - usize::from(encoding == JSON);
            assert_eq!(frame[at..end], data.bytes()[..]);
        }
    }
}

#[test]
fn a_plain_publish_and_a_plain_message_are_read_in_place() {
    let (room, ann) = (RoomName::parse("a").unwrap(), Identity::new("ann", None).unwrap());
    for encoding in Encoding::ALL {
        let data = payload(encoding, &text("hello"));
        let out = CommandOut::Publish { room: "a", data: data.as_data(), event: Some("said"), echo: None, key: None };
        let mut bytes = Vec::new();
        write_command(&mut bytes, encoding, Some(1), &out);
        let command = decode(encoding, &bytes, &Limits::default()).unwrap().command;
        let in_place =
            matches!(command, Command::Publish { room: Cow::Borrowed("a"), event: Some(Cow::Borrowed("said")), .. });
        assert!(in_place, "{command:?}");

        let message = MessageOut {
            room: &room,
            offset: Offset(1),
            at_unix_ms: 2,
            from: &ann,
            event: Some("said"),
            key: None,
            data: &data,
        };
        let mut frame = Vec::new();
        write_message(&mut frame, encoding, &message);
        let event = read_event(encoding, unframed(encoding, &frame)).unwrap();
        let ServerEvent::Message(MessageIn { room, from, event, .. }) = event else { panic!("{event:?}") };
        assert!(matches!((room, from.user, event), (Cow::Borrowed(_), Cow::Borrowed(_), Some(Cow::Borrowed(_)))));
    }
}

#[test]
fn a_command_cut_short_anywhere_is_malformed() {
    for encoding in Encoding::ALL {
        let data = payload(encoding, &Tree::List(vec![text("a\nb"), Tree::Int(1 << 40), Tree::Map(vec![])]));
        let out =
            CommandOut::Publish { room: "a", data: data.as_data(), event: Some("said"), echo: Some(true), key: None };
        let mut bytes = Vec::new();
        write_command(&mut bytes, encoding, Some(1), &out);
        assert!(decode(encoding, &bytes, &Limits::default()).is_ok());
        for end in 0..bytes.len() {
            let rejected = decode(encoding, &bytes[..end], &Limits::default()).unwrap_err();
            assert_eq!(rejected.refusal, Refusal::Malformed, "{end}");
        }
    }
}

#[test]
fn info_that_others_may_not_be_shown_is_left_out() {
    let room = RoomName::parse("a").unwrap();
    for info in ["no json", "1 2", "\"\\ud800\"", "1e999"] {
        let users = [Identity::new("ann", Some(info)).unwrap()];
        let mut out = Vec::new();
        write_event(&mut out, JSON, &Event::PresenceLeft { room: &room, users: &users, count: 0, version: 1 });
        let tree = Tree::read(JSON, unframed(JSON, &out)).unwrap();
        assert_eq!(tree.field("users"), Some(&Tree::List(vec![Tree::Map(vec![(text("user"), text("ann"))])])));
    }
}

fn text(text: &str) -> Tree {
    Tree::Text(text.to_owned())
}

fn payload(encoding: Encoding, tree: &Tree) -> Payload {
    prove(encoding, &tree.to_bytes(encoding), 32).unwrap().to_payload()
}

fn any_room() -> impl Strategy<Value = RoomName> {
    "[A-Za-z0-9:_.@/+-]{1,128}".prop_map(|name| RoomName::parse(&name).unwrap())
}

fn any_event() -> impl Strategy<Value = Option<String>> {
    prop::option::of("[A-Za-z0-9:_.-]{1,64}")
}

fn any_person() -> impl Strategy<Value = (String, Option<Tree>)> {
    let fits = |tree: &Tree| tree.to_bytes(JSON).len() <= Identity::INFO_BYTES_MAX;
    ("\\PC{1,20}|[\"\\\\a]{1,9}", prop::option::of(Tree::any_json().prop_filter("short", fits)))
}

fn identity((user, info): &(String, Option<Tree>)) -> Identity {
    let info = info.as_ref().map(|info| String::from_utf8(info.to_bytes(JSON)).unwrap());
    Identity::new(user, info.as_deref()).unwrap()
}

fn any_resume_room() -> impl Strategy<Value = ResumeRoom<'static>> {
    let position = (any::<u64>(), any::<u64>())
        .prop_map(|(epoch, offset)| Position { epoch: Epoch(epoch), offset: Offset(offset) });
    let id = prop::option::of(any::<u32>().prop_map(u64::from));
    (any_room(), id, prop::option::of(position), any::<Option<u32>>(), any::<bool>()).prop_map(
        |(room, id, since, history, presence)| ResumeRoom {
            room: room.as_str().to_owned().into(),
            id,
            since,
            history,
            presence,
        },
    )
}

fn any_history() -> impl Strategy<Value = HistoryFrom> {
    prop_oneof![
        Just(HistoryFrom::Newest),
        any::<u64>().prop_map(|offset| HistoryFrom::Before(Offset(offset))),
        (any::<u64>(), any::<u64>())
            .prop_map(|(epoch, offset)| HistoryFrom::After { epoch: Some(Epoch(epoch)), offset: Offset(offset) }),
    ]
}

fn any_command() -> impl Strategy<Value = (Option<u64>, Command<'static>)> {
    let position = (any::<u64>(), any::<u64>())
        .prop_map(|(epoch, offset)| Position { epoch: Epoch(epoch), offset: Offset(offset) });
    let room = || any_room().prop_map(|room| room.as_str().to_owned().into());
    let data = Tree::any_json().prop_map(|tree| Bytes::from(tree.to_bytes(JSON)));
    let command = prop_oneof![
        (room(), prop::option::of(position), any::<Option<u32>>(), any::<bool>())
            .prop_map(|(room, since, history, presence)| Command::Join { room, since, history, presence }),
        room().prop_map(|room| Command::Leave { room }),
        room().prop_map(|room| Command::Presence { room }),
        (room(), any::<bool>()).prop_map(|(room, on)| Command::Typing { room, on }),
        (room(), any::<u64>()).prop_map(|(room, offset)| Command::Read { room, offset: Offset(offset) }),
        room().prop_map(|room| Command::Unread { room }),
        Just(Command::Ping),
        ("\\PC{0,30}", prop::option::of("\\PC{0,30}")).prop_map(|(token, session)| Command::Hello {
            token: TokenText(token.into()),
            session: session.map(Into::into)
        }),
        (prop::option::of("\\PC{0,30}"), prop::collection::vec(any_resume_room(), 0..4))
            .prop_map(|(session, rooms)| Command::Resume { session: session.map(Into::into), rooms }),
        ("\\PC{0,30}", any_event(), any::<Option<bool>>()).prop_map(|(user, event, echo)| Command::Send {
            user: user.into(),
            data: prove(JSON, b"[1]", 32).unwrap(),
            event: event.map(Into::into),
            echo,
            key: None
        }),
        "\\PC{0,30}".prop_map(|token| Command::Refresh { token: TokenText(token.into()) }),
        (room(), any_history(), any::<Option<u32>>()).prop_map(|(room, from, messages_max)| Command::History {
            room,
            from,
            messages_max
        }),
        (room(), data, any_event(), any::<Option<bool>>(), prop::option::of(any_room())).prop_map(
            |(room, data, event, echo, key)| {
                let data = prove(JSON, data.to_vec().leak(), 32).unwrap();
                Command::Publish {
                    room,
                    data,
                    event: event.map(Into::into),
                    echo,
                    key: key.map(|key| key.as_str().to_owned().into()),
                }
            }
        ),
    ];
    (any::<u32>(), any::<bool>(), command).prop_map(|(id, with_id, command)| {
        let needed = matches!(command, Command::Presence { .. } | Command::Unread { .. } | Command::History { .. });
        ((with_id || needed).then_some(id.into()), command)
    })
}

/// The envelope of an event that holds people, positions or a payload.
fn some_event(encoding: Encoding) -> impl Strategy<Value = Vec<u8>> {
    let (room, data) = (RoomName::parse("a").unwrap(), payload(encoding, &Tree::List(vec![Tree::Null])));
    let users = [Identity::new("ann", Some("{\"a\":[1]}")).unwrap(), Identity::new("\"", None).unwrap()];
    let list = users.clone().map(|identity| Member { identity, connections: 1 });
    let reads = users.clone().map(|who| ReadBy { who, offset: Offset(7) });
    let members =
        Members { presence: Presence::Announced, list: Some(&list), count: 2, version: 3, reads: Some(&reads) };
    let (epoch, from, to) = (Epoch(1), Offset(2), Offset(3));
    let message = MessageOut {
        room: &room,
        offset: from,
        at_unix_ms: 2,
        from: &users[0],
        event: Some("e"),
        key: None,
        data: &data,
    };
    let mut frames = vec![Vec::new(); 6];
    write_message(&mut frames[0], encoding, &message);
    write_event(&mut frames[1], encoding, &Event::Members { id: 1, room: &room, members });
    write_event(&mut frames[2], encoding, &Event::Gap { room: &room, epoch, from, to, why: GapWhy::Slow });
    write_event(&mut frames[3], encoding, &Event::PresenceJoined { room: &room, users: &users, count: 2, version: 1 });
    let typing = Event::Typing { room: &room, users: &users, count: 2, ttl_ms: 10_000 };
    write_event(&mut frames[4], encoding, &typing);
    write_event(&mut frames[5], encoding, &Event::Read { room: &room, reads: &reads });
    prop::sample::select(frames).prop_map(move |frame| unframed(encoding, &frame).to_vec())
}

fn written(encoding: Encoding, id: Option<u64>, command: &Command<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    write_command(&mut out, encoding, id, &CommandOut::of(command, &ResumeOut::all(command)));
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_at_all_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for encoding in Encoding::ALL {
            let _ = decode(encoding, &bytes, &Limits::default());
            let _ = read_event(encoding, &bytes);
        }
    }

    #[test]
    fn nearly_an_event_is_read_or_refused(
        (encoding, bytes) in prop::sample::select(&Encoding::ALL[..])
            .prop_flat_map(|encoding| (Just(encoding), nearly(some_event(encoding), any::<u8>())))
    ) {
        if let Err(error) = read_event(encoding, &bytes) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn nearly_a_command_is_taken_or_refused(
        (encoding, bytes) in prop::sample::select(&Encoding::ALL[..]).prop_flat_map(|encoding| {
            let proper = any_command().prop_map(move |(id, command)| written(encoding, id, &command));
            (Just(encoding), nearly(proper, any::<u8>()))
        })
    ) {
        match decode(encoding, &bytes, &Limits::default()) {
            Ok(envelope) => {
                let again = written(encoding, envelope.id, &envelope.command);
                let read = decode(encoding, &again, &Limits::default()).unwrap();
                prop_assert_eq!(read.id, envelope.id);
                prop_assert_eq!(read.command.index(), envelope.command.index());
            }
            Err(rejected) => prop_assert!(!rejected.refusal.code().is_empty()),
        }
        let _ = read_event(encoding, &bytes);
    }

    #[test]
    fn a_command_written_is_the_command_read((id, command) in any_command()) {
        let bytes = written(JSON, id, &command);
        prop_assert_eq!(decode(JSON, &bytes, &Limits::default()), Ok(Envelope { id, command: command.clone() }));
        // In the other encoding `data` reads differently, so the way back is compared.
        let pack = written(PACK, id, &command);
        let read = decode(PACK, &pack, &Limits::default()).unwrap();
        prop_assert_eq!(read.id, id);
        prop_assert_eq!(written(PACK, id, &read.command), pack);
    }

    #[test]
    fn a_message_is_read_by_everybody_in_both_encodings(
        room in any_room(),
        (offset, at_unix_ms) in (any::<u64>(), any::<u64>()),
        person in any_person(),
        event in any_event(),
        (from, tree) in prop_oneof![
            (Just(JSON), Tree::any_json()),
            (Just(PACK), Tree::any_msgpack().prop_filter("portable", |tree| tree.mapped(JSON).is_some())),
        ],
    ) {
        let data = payload(from, &tree);
        let from_whom = identity(&person);
        let event = event.as_deref();
        let message =
            MessageOut { room: &room, offset: Offset(offset), at_unix_ms, from: &from_whom, event, key: None, data: &data };
        let frames = Encoding::ALL.map(|encoding| {
            let mut out = Vec::new();
            let at = write_message(&mut out, encoding, &message);
            (out, at)
        });
        for encoding in Encoding::ALL {
            let (frame, data_at) = &frames[encoding.index()];
            let expected = if encoding == from { tree.clone() } else { tree.mapped(encoding).unwrap() };
            let content = unframed(encoding, frame);
            let read = Tree::read(encoding, content).unwrap();
            prop_assert_eq!(read.field("data"), Some(&expected));
            prop_assert_eq!(read.field("room"), Some(&text(room.as_str())));
            prop_assert_eq!(read.field("event").cloned(), event.map(text));
            let sender = read.field("from").unwrap();
            prop_assert_eq!(sender.field("user"), Some(&text(&person.0)));
            prop_assert_eq!(sender.field("info"), person.1.as_ref());

            let ServerEvent::Message(read) = read_event(encoding, content).unwrap() else {
                return Err(TestCaseError::fail("not a message"));
            };
            prop_assert_eq!((&*read.room, read.offset.0, read.at_unix_ms), (room.as_str(), offset, at_unix_ms));
            prop_assert_eq!((&*read.from.user, read.event.as_deref()), (&*person.0, event));
            let end = frame.len() - usize::from(encoding == JSON);
            prop_assert_eq!(read.data.raw(), &frame[*data_at..end]);

            let mut other = Vec::new();
            let other_at = transcode_message(frame, *data_at, encoding, &mut other);
            let to = Encoding::ALL[1 - encoding.index()];
            let tree = Tree::read(to, unframed(to, &other)).unwrap();
            prop_assert_eq!(tree.field("data").cloned(), expected.mapped(to));
            let info = tree.field("from").and_then(|sender| sender.field("info")).cloned();
            prop_assert_eq!(info, person.1.as_ref().and_then(|info| info.mapped(to)));
            prop_assert_eq!(Tree::read(to, &other[other_at..other.len() - usize::from(to == JSON)]), expected.mapped(to));
        }
    }
}
