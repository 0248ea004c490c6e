//! The laws of envelopes: what any command, any frame and any bytes must keep.

use std::io::Cursor;

use bytes::Bytes;
use proptest::prelude::*;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data as DataCode, OpCode};

use super::*;
use crate::base::{Encoding, Epoch, Identity, Limits, Offset, Position, RoomName};
use crate::wire::client::{CommandOut, ServerEvent, read_event, write_command};
use crate::wire::payload::laws::nearly;
use crate::wire::payload::tree::Tree;
use crate::wire::payload::{Payload, prove};
use crate::wire::refusal::Refusal;

const JSON: Encoding = Encoding::Json;
const PACK: Encoding = Encoding::MessagePack;

fn json(text: &str) -> Result<Envelope<'_>, Rejected> {
    decode(JSON, text.as_bytes(), &Limits::default())
}

fn refused(text: &str) -> (Option<u64>, Refusal) {
    match json(text) {
        Ok(envelope) => panic!("{text} was taken: {envelope:?}"),
        Err(rejected) => (rejected.id, rejected.refusal),
    }
}

/// The content of a frame, by tungstenite's reading of its header.
fn unframed(encoding: Encoding, frame: &[u8]) -> &[u8] {
    let mut cursor = Cursor::new(frame);
    let (header, length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
    let kind = if encoding == JSON {
        DataCode::Text
    } else {
        DataCode::Binary
    };
    assert_eq!(
        header,
        FrameHeader {
            opcode: OpCode::Data(kind),
            ..FrameHeader::default()
        }
    );
    let content = &frame[cursor.position() as usize..];
    assert_eq!(content.len() as u64, length);
    content
}

#[test]
fn keys_come_in_any_order_and_spacing_and_unknown_ones_are_passed_over() {
    let room = || "a".into();
    let leave = Envelope {
        id: Some(7),
        command: Command::Leave { room: room() },
    };
    assert_eq!(
        json(" {\"room\" : \"a\" ,\n\"x\":[{}],\"id\":7, \"type\":\"leave\" } ").as_ref(),
        Ok(&leave)
    );
    assert_eq!(
        json(r#"{"\u0074ype":"le\u0061ve","r\u006fom":"\u0061","id":7}"#),
        Ok(leave)
    );
    let join = Command::Join {
        room: room(),
        since: None,
        history: None,
        presence: false,
    };
    let nulls =
        r#"{"type":"join","room":"a","id":null,"since":null,"history":null,"presence":null}"#;
    assert_eq!(
        json(nulls),
        Ok(Envelope {
            id: None,
            command: join
        })
    );
    let data = prove(JSON, b"null", 0).unwrap();
    let publish = Command::Publish {
        room: room(),
        data,
        event: None,
        echo: None,
    };
    assert_eq!(
        json(r#"{"type":"publish","room":"a","data":null}"#),
        Ok(Envelope {
            id: None,
            command: publish
        })
    );
}

#[test]
fn what_is_malformed_says_where_and_still_names_its_command() {
    let table = [
        (r#"{"id":7,"type":"leave","room":"a""#, Some(7)),
        (r#"{"id":7,"type":"leave","room":"a"} x"#, Some(7)),
        (r#"{"id":7,"type":"leave","room":"a","room":"a"}"#, Some(7)),
        (r#"{"id":7,"type":"leave","room":"a","x":1,"x":1}"#, Some(7)),
        (
            r#"{"id":7,"type":"leave","room":"a","x":1,"\u0078":1}"#,
            Some(7),
        ),
        (r#"{"type":"leave","id":7}"#, Some(7)),
        (r#"{"type":"leave","room":5,"id":7}"#, Some(7)),
        (r#"{"type":5,"room":"a","id":7}"#, Some(7)),
        (r#"{"room":"a","id":7}"#, Some(7)),
        (r#"{"type":"publish","room":"a","id":7}"#, Some(7)),
        (
            r#"{"type":"publish","room":"a","data":1,"event":"a b","id":7}"#,
            Some(7),
        ),
        (
            r#"{"type":"publish","room":"a","data":1,"event":"","id":7}"#,
            Some(7),
        ),
        (
            r#"{"type":"publish","room":"a","data":1,"echo":1,"id":7}"#,
            Some(7),
        ),
        (r#"{"type":"join","room":"a","history":-1,"id":7}"#, Some(7)),
        (
            r#"{"type":"join","room":"a","presence":"yes","id":7}"#,
            Some(7),
        ),
        (r#"{"type":"join","room":"a","since":1,"id":7}"#, Some(7)),
        (
            r#"{"type":"join","room":"a","since":{"epoch":"00","offset":1},"id":7}"#,
            Some(7),
        ),
        (
            r#"{"type":"join","room":"a","since":{"epoch":"0000000000000000"},"id":7}"#,
            Some(7),
        ),
        (
            r#"{"type":"join","room":"a","since":{"offset":1,"offset":1},"id":7}"#,
            Some(7),
        ),
        (r#"{"type":"presence","room":"a"}"#, None),
        (r#"{"type":"ping","id":-1}"#, None),
        (r#"{"type":"ping","id":1.0}"#, None),
        (r#"{"type":"ping","id":"1"}"#, None),
        (r#"{"type":"ping","id":9007199254740992}"#, None),
        (r#"["type","ping"]"#, None),
        ("{}", None),
        ("", None),
        ("7", None),
    ];
    for (text, id) in table {
        assert_eq!(refused(text), (id, Refusal::Malformed), "{text}");
        assert!(json(text).unwrap_err().detail.is_some(), "{text}");
    }
    let crowded: Vec<String> = (0..33).map(|key| format!("\"k{key}\":0")).collect();
    assert_eq!(
        refused(&format!("{{{}}}", crowded.join(","))),
        (None, Refusal::Malformed)
    );
    assert_eq!(
        json(r#"{"type":"ping","id":9007199254740991}"#).unwrap().id,
        Some((1 << 53) - 1)
    );
    assert_eq!(
        decode(JSON, b"{\"id\":1,\"type\":\"\xff\"}", &Limits::default())
            .unwrap_err()
            .refusal,
        Refusal::Malformed
    );
}

#[test]
fn each_refusal_of_the_decoder_has_its_code_and_its_id_wherever_the_id_stands() {
    let deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
    let table = [
        (r#""type":"nonsense""#.to_owned(), Refusal::UnknownCommand),
        (
            r#""type":"leave","room":"no such name""#.to_owned(),
            Refusal::BadRoom,
        ),
        (r#""type":"leave","room":"""#.to_owned(), Refusal::BadRoom),
        (
            r#""type":"publish","room":"a","data":1,"key":"k""#.to_owned(),
            Refusal::Unsupported,
        ),
        (
            r#""type":"publish","room":"a","data":"\ud800""#.to_owned(),
            Refusal::Unportable,
        ),
        (
            r#""type":"publish","room":"a","data":[1e999]"#.to_owned(),
            Refusal::Unportable,
        ),
        (
            format!(r#""type":"publish","room":"a","data":{deep}"#),
            Refusal::TooDeep,
        ),
        (format!(r#""type":"ping","other":{deep}"#), Refusal::TooDeep),
    ];
    let future = [
        "hello", "resume", "send", "typing", "read", "history", "refresh",
    ];
    let future = future.map(|kind| (format!(r#""type":"{kind}""#), Refusal::Unsupported));
    for (fields, refusal) in table.into_iter().chain(future) {
        assert_eq!(
            refused(&format!("{{\"id\":7,{fields}}}")),
            (Some(7), refusal),
            "{fields}"
        );
        assert_eq!(
            refused(&format!("{{{fields},\"id\":7}}")),
            (Some(7), refusal),
            "{fields}"
        );
    }
    assert!(json(r#"{"type":"publish","room":"a","data":1,"key":null}"#).is_ok());
    assert!(
        json(r#"{"type":"ping","other":["\ud800",1e999]}"#).is_ok(),
        "what is ignored need not be portable"
    );
    let pack = [
        &b"\x83\xa4data"[..],
        &[0x91; 40],
        b"\x00\xa4type\xa4ping\xa2id\x07",
    ]
    .concat();
    let rejected = decode(PACK, &pack, &Limits::default()).unwrap_err();
    assert_eq!((rejected.id, rejected.refusal), (Some(7), Refusal::TooDeep));
}

#[test]
fn messagepack_commands_take_every_form_of_a_string_and_an_integer() {
    let forms: [&[u8]; 4] = [
        b"\x82\xa4type\xa4ping\xa2id\x07",
        b"\xde\x00\x02\xd9\x04type\xda\x00\x04ping\xdb\x00\x00\x00\x02id\xcf\0\0\0\0\0\0\0\x07",
        b"\xdf\x00\x00\x00\x02\xa4type\xa4ping\xa2id\xd3\0\0\0\0\0\0\0\x07",
        b"\x83\xa2id\xd0\x07\xa4type\xa4ping\xa1x\xd6\xff\0\0\0\0",
    ];
    for form in forms {
        let ping = Envelope {
            id: Some(7),
            command: Command::Ping,
        };
        assert_eq!(
            decode(PACK, form, &Limits::default()),
            Ok(ping),
            "{form:x?}"
        );
    }
    let bad: [&[u8]; 7] = [
        b"\x81\xc4\x04type\xa4ping",
        b"\x81\x01\xa4ping",
        b"\x81\xa4type\xa4ping\xc0",
        b"\x82\xa4type\xa4ping\xa2id\xcb\0\0\0\0\0\0\0\0",
        b"\x82\xa4type\xa4ping\xa2id\xff",
        b"\xdf\xff\xff\xff\xff\xa4type\xa4ping",
        b"\x82\xa4type\xa5leave\xa4room\xa1\xff",
    ];
    for form in bad {
        let rejected = decode(PACK, form, &Limits::default()).unwrap_err();
        assert_eq!(rejected.refusal, Refusal::Malformed, "{form:x?}");
    }
}

#[test]
fn a_frame_header_has_each_of_its_three_lengths_and_data_is_where_it_is_said_to_be() {
    let (room, ann) = (
        RoomName::parse("a").unwrap(),
        Identity::new("ann", None).unwrap(),
    );
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
fn info_that_others_may_not_be_shown_is_left_out() {
    let room = RoomName::parse("a").unwrap();
    for info in ["no json", "1 2", "\"\\ud800\"", "1e999"] {
        let users = [Identity::new("ann", Some(info)).unwrap()];
        let mut out = Vec::new();
        write_event(
            &mut out,
            JSON,
            &Event::PresenceLeft {
                room: &room,
                users: &users,
                count: 0,
                version: 1,
            },
        );
        let tree = Tree::read(JSON, unframed(JSON, &out)).unwrap();
        assert_eq!(
            tree.field("users"),
            Some(&Tree::List(vec![Tree::Map(vec![(
                text("user"),
                text("ann")
            )])]))
        );
    }
}

fn text(text: &str) -> Tree {
    Tree::Text(text.to_owned())
}

fn payload(encoding: Encoding, tree: &Tree) -> Payload {
    prove(encoding, &tree.to_bytes(encoding), 32)
        .unwrap()
        .to_payload()
}

fn any_room() -> impl Strategy<Value = RoomName> {
    "[A-Za-z0-9:_.@/+-]{1,128}".prop_map(|name| RoomName::parse(&name).unwrap())
}

fn any_event() -> impl Strategy<Value = Option<String>> {
    prop::option::of("[A-Za-z0-9:_.-]{1,64}")
}

fn any_person() -> impl Strategy<Value = (String, Option<Tree>)> {
    let fits = |tree: &Tree| tree.to_bytes(JSON).len() <= Identity::INFO_BYTES_MAX;
    (
        "\\PC{1,20}|[\"\\\\a]{1,9}",
        prop::option::of(Tree::any_json().prop_filter("short", fits)),
    )
}

fn identity((user, info): &(String, Option<Tree>)) -> Identity {
    let info = info
        .as_ref()
        .map(|info| String::from_utf8(info.to_bytes(JSON)).unwrap());
    Identity::new(user, info.as_deref()).unwrap()
}

fn any_command() -> impl Strategy<Value = (Option<u64>, Command<'static>)> {
    let position = (any::<u64>(), any::<u64>()).prop_map(|(epoch, offset)| Position {
        epoch: Epoch(epoch),
        offset: Offset(offset),
    });
    let room = || any_room().prop_map(|room| room.as_str().to_owned().into());
    let data = Tree::any_json().prop_map(|tree| Bytes::from(tree.to_bytes(JSON)));
    let command = prop_oneof![
        (
            room(),
            prop::option::of(position),
            any::<Option<u32>>(),
            any::<bool>()
        )
            .prop_map(|(room, since, history, presence)| Command::Join {
                room,
                since,
                history,
                presence
            }),
        room().prop_map(|room| Command::Leave { room }),
        room().prop_map(|room| Command::Presence { room }),
        Just(Command::Ping),
        (room(), data, any_event(), any::<Option<bool>>()).prop_map(|(room, data, event, echo)| {
            let data = prove(JSON, data.to_vec().leak(), 32).unwrap();
            Command::Publish {
                room,
                data,
                event: event.map(Into::into),
                echo,
            }
        }),
    ];
    (any::<u32>(), any::<bool>(), command).prop_map(|(id, with_id, command)| {
        let needed = matches!(command, Command::Presence { .. });
        ((with_id || needed).then_some(id.into()), command)
    })
}

fn command_out<'a>(command: &'a Command<'_>) -> CommandOut<'a> {
    match command {
        Command::Join {
            room,
            since,
            history,
            presence,
        } => CommandOut::Join {
            room,
            since: *since,
            history: *history,
            presence: *presence,
        },
        Command::Leave { room } => CommandOut::Leave { room },
        Command::Publish {
            room,
            data,
            event,
            echo,
        } => CommandOut::Publish {
            room,
            data: *data,
            event: event.as_deref(),
            echo: *echo,
        },
        Command::Presence { room } => CommandOut::Presence { room },
        Command::Ping => CommandOut::Ping,
    }
}

fn written(encoding: Encoding, id: Option<u64>, command: &Command<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    write_command(&mut out, encoding, id, &command_out(command));
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
            MessageOut { room: &room, offset: Offset(offset), at_unix_ms, from: &from_whom, event, data: &data };
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
