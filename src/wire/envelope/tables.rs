//! Tables of what the decoder takes and refuses, by `docs/protocol.md`, "Envelopes".

use super::*;
use crate::base::{Encoding, Limits};
use crate::wire::payload::prove;
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

#[test]
fn keys_come_in_any_order_and_spacing_and_unknown_ones_are_passed_over() {
    let room = || "a".into();
    let leave = Envelope { id: Some(7), command: Command::Leave { room: room() } };
    assert_eq!(json(" {\"room\" : \"a\" ,\n\"x\":[{}],\"id\":7, \"type\":\"leave\" } ").as_ref(), Ok(&leave));
    assert_eq!(json(r#"{"\u0074ype":"le\u0061ve","r\u006fom":"\u0061","id":7}"#), Ok(leave));
    let join = Command::Join { room: room(), since: None, history: None, presence: false };
    let nulls = r#"{"type":"join","room":"a","id":null,"since":null,"history":null,"presence":null}"#;
    assert_eq!(json(nulls), Ok(Envelope { id: None, command: join }));
    let hello = Command::Hello { token: TokenText("t".into()), session: None };
    assert_eq!(json(r#"{"type":"hello","token":"t","session":null}"#), Ok(Envelope { id: None, command: hello }));
    let room = ResumeRoom { room: room(), id: None, since: None, history: None, presence: false };
    let resume = Command::Resume { session: None, rooms: vec![room] };
    let nulls =
        r#"{"type":"resume","session":null,"rooms":[{"room":"a","epoch":null,"offset":null,"x":{},"id":null}]}"#;
    assert_eq!(json(nulls), Ok(Envelope { id: None, command: resume }));
    let room = || "a".into();
    let data = prove(JSON, b"null", 0).unwrap();
    let publish = Command::Publish { room: room(), data, event: None, echo: None, key: None };
    assert_eq!(json(r#"{"type":"publish","room":"a","data":null}"#), Ok(Envelope { id: None, command: publish }));
}

#[test]
fn what_is_malformed_says_where_and_still_names_its_command() {
    let table = [
        (r#"{"id":7,"type":"leave","room":"a""#, Some(7)),
        (r#"{"id":7,"type":"leave","room":"a"} x"#, Some(7)),
        (r#"{"id":7,"type":"leave","room":"a","room":"a"}"#, Some(7)),
        (r#"{"id":7,"type":"leave","room":"a","x":1,"x":1}"#, Some(7)),
        (r#"{"id":7,"type":"leave","room":"a","x":1,"\u0078":1}"#, Some(7)),
        (r#"{"type":"leave","id":7}"#, Some(7)),
        (r#"{"type":"leave","room":5,"id":7}"#, Some(7)),
        (r#"{"type":5,"room":"a","id":7}"#, Some(7)),
        (r#"{"room":"a","id":7}"#, Some(7)),
        (r#"{"type":"publish","room":"a","id":7}"#, Some(7)),
        (r#"{"type":"publish","room":"a","data":1,"event":"a b","id":7}"#, Some(7)),
        (r#"{"type":"publish","room":"a","data":1,"event":"","id":7}"#, Some(7)),
        (r#"{"type":"publish","room":"a","data":1,"echo":1,"id":7}"#, Some(7)),
        (r#"{"type":"join","room":"a","history":-1,"id":7}"#, Some(7)),
        (r#"{"type":"join","room":"a","presence":"yes","id":7}"#, Some(7)),
        (r#"{"type":"join","room":"a","since":1,"id":7}"#, Some(7)),
        (r#"{"type":"join","room":"a","since":{"epoch":"00","offset":1},"id":7}"#, Some(7)),
        (r#"{"type":"join","room":"a","since":{"epoch":"0000000000000000"},"id":7}"#, Some(7)),
        (r#"{"type":"join","room":"a","since":{"offset":1,"offset":1},"id":7}"#, Some(7)),
        (r#"{"type":"hello","id":7}"#, Some(7)),
        (r#"{"type":"hello","token":1,"id":7}"#, Some(7)),
        (r#"{"type":"hello","token":"t","session":1,"id":7}"#, Some(7)),
        (r#"{"type":"resume","session":1,"id":7}"#, Some(7)),
        (r#"{"type":"resume","rooms":{},"id":7}"#, Some(7)),
        (r#"{"type":"resume","rooms":["a"],"id":7}"#, Some(7)),
        (r#"{"type":"resume","rooms":[{}],"id":7}"#, Some(7)),
        (r#"{"type":"resume","rooms":[{"room":"a","room":"a"}],"id":7}"#, Some(7)),
        (r#"{"type":"resume","rooms":[{"room":"a","offset":1}],"id":7}"#, Some(7)),
        (r#"{"type":"resume","rooms":[{"room":"a","epoch":"0000000000000000"}],"id":7}"#, Some(7)),
        (r#"{"type":"resume","rooms":[{"room":"a","epoch":"0","offset":1}],"id":7}"#, Some(7)),
        (r#"{"type":"resume","rooms":[{"room":"a","id":-1}],"id":7}"#, Some(7)),
        (r#"{"type":"resume","rooms":[{"room":"a","presence":1}],"id":7}"#, Some(7)),
        (r#"{"type":"send","data":1,"id":7}"#, Some(7)),
        (r#"{"type":"send","user":1,"data":1,"id":7}"#, Some(7)),
        (r#"{"type":"send","user":"bob","id":7}"#, Some(7)),
        (r#"{"type":"refresh","id":7}"#, Some(7)),
        (r#"{"type":"refresh","token":1,"id":7}"#, Some(7)),
        (r#"{"type":"presence","room":"a"}"#, None),
        (r#"{"type":"unread","room":"a"}"#, None),
        (r#"{"type":"typing","room":"a","id":7}"#, Some(7)),
        (r#"{"type":"typing","room":"a","on":1,"id":7}"#, Some(7)),
        (r#"{"type":"read","room":"a","id":7}"#, Some(7)),
        (r#"{"type":"read","room":"a","offset":-1,"id":7}"#, Some(7)),
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
    assert_eq!(refused(&format!("{{{}}}", crowded.join(","))), (None, Refusal::Malformed));
    assert_eq!(json(r#"{"type":"ping","id":9007199254740991}"#).unwrap().id, Some((1 << 53) - 1));
    assert_eq!(
        decode(JSON, b"{\"id\":1,\"type\":\"\xff\"}", &Limits::default()).unwrap_err().refusal,
        Refusal::Malformed
    );
}

#[test]
fn each_refusal_of_the_decoder_has_its_code_and_its_id_wherever_the_id_stands() {
    let deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
    let table = [
        (r#""type":"nonsense""#.to_owned(), Refusal::UnknownCommand),
        (r#""type":"leave","room":"no such name""#.to_owned(), Refusal::BadRoom),
        (r#""type":"leave","room":"""#.to_owned(), Refusal::BadRoom),
        (r#""type":"resume","rooms":[{"room":"no name"}]"#.to_owned(), Refusal::BadRoom),
        (format!(r#""type":"resume","rooms":[{}]"#, vec![r#"{"room":"a"}"#; 129].join(",")), Refusal::TooManyRooms),
        (r#""type":"send","user":"b","data":1,"key":"no such key""#.to_owned(), Refusal::Malformed),
        (r#""type":"publish","room":"a","data":1,"key":"no such key""#.to_owned(), Refusal::Malformed),
        (r#""type":"publish","room":"a","data":"\ud800""#.to_owned(), Refusal::Unportable),
        (r#""type":"publish","room":"a","data":[1e999]"#.to_owned(), Refusal::Unportable),
        (format!(r#""type":"publish","room":"a","data":{deep}"#), Refusal::TooDeep),
        (format!(r#""type":"ping","other":{deep}"#), Refusal::TooDeep),
    ];
    for (fields, refusal) in table {
        assert_eq!(refused(&format!("{{\"id\":7,{fields}}}")), (Some(7), refusal), "{fields}");
        assert_eq!(refused(&format!("{{{fields},\"id\":7}}")), (Some(7), refusal), "{fields}");
    }
    assert!(json(r#"{"type":"publish","room":"a","data":1,"key":null}"#).is_ok());
    assert!(json(r#"{"type":"ping","other":["\ud800",1e999]}"#).is_ok(), "what is ignored need not be portable");
    let pack = [&b"\x83\xa4data"[..], &[0x91; 40], b"\x00\xa4type\xa4ping\xa2id\x07"].concat();
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
        let ping = Envelope { id: Some(7), command: Command::Ping };
        assert_eq!(decode(PACK, form, &Limits::default()), Ok(ping), "{form:x?}");
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
