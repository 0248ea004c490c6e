//! The wire, frozen: every command and event in both encodings, byte for byte, and each frame that `docs/protocol.md`
//! shows. Its tables are compared by `tests/protocol.rs`.
//!
//! A golden file `tests/golden/<command|event>-<name>[-<case>].<json|msgpack>.hex` holds lines of comment (`#`) and of hex.
//! For a command they are the envelope, for an event the complete WebSocket frame, unmasked.
//!
//! To write the files anew after a wanted change of the wire: `THRONG_BLESS=1 cargo test --test golden`, then read the
//! difference: it is a change that strangers' clients will meet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use throng::base::{Encoding, Epoch, Identity, Limits, Offset, Position, Presence, RoomName};
use throng::wire::client::{CommandOut, ResumeOut, ServerEvent, read_event, write_command};
use throng::wire::envelope::{
    Command, Event, GapWhy, HistoryAnswer, HistoryFrom, Member, Members, MessageOut, ReadBy, RemovedWhy, SharedFrame,
    decode, transcode_message, write_event, write_message,
};
use throng::wire::payload::{Data, prove};
use throng::wire::refusal::Refusal;

const JSON: Encoding = Encoding::Json;

/// One frozen thing: the name of its kind, the bytes, and where the envelope begins in them.
struct Golden {
    name: String,
    encoding: Encoding,
    bytes: Vec<u8>,
    envelope_at: usize,
}

impl Golden {
    fn file(&self) -> String {
        let extension = match self.encoding {
            Encoding::MessagePack => "msgpack.hex",
            Encoding::Json => "json.hex",
        };
        format!("{}.{extension}", self.name)
    }

    fn envelope(&self) -> &[u8] {
        &self.bytes[self.envelope_at..]
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let what = if self.envelope_at == 0 { "the envelope" } else { "the whole frame" };
        writeln!(text, "# {}: {what}, in hex", self.name).expect("a String takes all");
        match self.encoding {
            Encoding::Json => {
                writeln!(text, "# {}", String::from_utf8_lossy(self.envelope())).expect("a String takes all")
            }
            Encoding::MessagePack => {
                writeln!(text, "# {}", self.envelope().escape_ascii()).expect("a String takes all")
            }
        }
        for line in self.bytes.chunks(32) {
            let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "{}", hex.join(" ")).expect("a String takes all");
        }
        text
    }
}

fn payload(encoding: Encoding) -> Data<'static> {
    match encoding {
        Encoding::MessagePack => prove(encoding, b"\x82\xa4text\xa5hello\xa1n\x93\x01\xcb\x3f\xf8\0\0\0\0\0\0\xc0", 32),
        Encoding::Json => prove(encoding, br#"{"text":"hello","n":[1,1.5,null]}"#, 32),
    }
    .expect("one portable value")
}

const RESUMED: [ResumeOut<'_>; 2] = [
    ResumeOut {
        room: "chat:lobby",
        id: Some(9),
        since: Some(Position { epoch: Epoch(0x00ab_cdef_0123_4567), offset: Offset(41) }),
        history: None,
        presence: true,
    },
    ResumeOut { room: "@ann", id: None, since: None, history: Some(20), presence: false },
];

fn commands(encoding: Encoding) -> Vec<(&'static str, Option<u64>, CommandOut<'static>)> {
    let room = "chat:lobby";
    let since = Position { epoch: Epoch(0x00ab_cdef_0123_4567), offset: Offset(41) };
    let after = HistoryFrom::After { epoch: Some(since.epoch), offset: since.offset };
    let data = payload(encoding);
    vec![
        ("join", Some(1), CommandOut::Join { room, since: None, history: Some(20), presence: true }),
        ("join-bare", None, CommandOut::Join { room, since: None, history: None, presence: false }),
        ("join-since", Some(2), CommandOut::Join { room, since: Some(since), history: None, presence: false }),
        ("leave", Some(3), CommandOut::Leave { room }),
        ("publish", Some(300), CommandOut::Publish { room, data, event: None, echo: None, key: None }),
        (
            "publish-full",
            Some(70_000),
            CommandOut::Publish { room, data, event: Some("chat.said"), echo: Some(true), key: Some("k-1") },
        ),
        ("publish-bare", None, CommandOut::Publish { room, data, event: None, echo: Some(false), key: None }),
        ("history", Some(8), CommandOut::History { room, from: HistoryFrom::Newest, messages_max: Some(20) }),
        (
            "history-before",
            Some(9),
            CommandOut::History { room, from: HistoryFrom::Before(Offset(41)), messages_max: None },
        ),
        ("history-since", Some(10), CommandOut::History { room, from: after, messages_max: Some(1) }),
        ("presence", Some((1 << 53) - 1), CommandOut::Presence { room }),
        ("typing", Some(6), CommandOut::Typing { room, on: true }),
        ("typing-bare", None, CommandOut::Typing { room, on: false }),
        ("read", Some(7), CommandOut::Read { room, offset: Offset(40) }),
        ("read-bare", None, CommandOut::Read { room, offset: Offset(41) }),
        ("unread", Some(8), CommandOut::Unread { room }),
        ("ping", Some(0), CommandOut::Ping),
        ("ping-bare", None, CommandOut::Ping),
        ("hello", None, CommandOut::Hello { token: "eyJ.eyJ.c2ln", session: None }),
        ("hello-session", Some(6), CommandOut::Hello { token: "eyJ.eyJ.c2ln", session: Some("0a0b0c") }),
        ("resume", Some(8), CommandOut::Resume { session: Some("0a0b0c"), rooms: &RESUMED }),
        ("resume-bare", None, CommandOut::Resume { session: None, rooms: &[] }),
        ("send", Some(11), CommandOut::Send { user: "bob", data, event: None, echo: None, key: None }),
        (
            "send-full",
            None,
            CommandOut::Send { user: "bob", data, event: Some("chat.said"), echo: Some(true), key: Some("k-1") },
        ),
        ("refresh", Some(5), CommandOut::Refresh { token: "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.AAAA" }),
    ]
}

fn command_goldens() -> Vec<Golden> {
    let all = Encoding::ALL.map(|encoding| {
        commands(encoding).into_iter().map(move |(case, id, command)| {
            let mut bytes = Vec::new();
            write_command(&mut bytes, encoding, id, &command);
            Golden { name: format!("command-{case}"), encoding, bytes, envelope_at: 0 }
        })
    });
    all.into_iter().flatten().collect()
}

fn people() -> [Identity; 2] {
    [
        Identity::new("ann", Some(r#"{"name":"Ann \"A\" Ü","age":41}"#)).expect("a user and compact JSON"),
        Identity::new("b\"o\\b é", None).expect("a user and compact JSON"),
    ]
}

fn event_goldens() -> Vec<Golden> {
    let room = RoomName::parse("chat:lobby").expect("a room name");
    let room = &room;
    let limits = Limits::default();
    let epoch = Epoch(0x00ab_cdef_0123_4567);
    let users = people();
    let list = people().map(|identity| Member { identity, connections: 2 });
    let reads = [(1, 41), (0, 12)].map(|(who, offset)| ReadBy { who: users[who].clone(), offset: Offset(offset) });
    let presence = Presence::Announced;
    let members = Members { presence, list: Some(&list), count: 1_002, version: 77, reads: Some(&reads) };
    let counted = Members { presence: Presence::Counted, list: None, reads: None, ..members };
    let off = Members { presence: Presence::Off, ..counted };
    let nobody = Members { presence, list: Some(&[]), count: 0, version: 0, reads: None };
    let position = Position { epoch, offset: Offset(42) };
    let (offset, from, to) = (Offset(41), Offset(12), Offset(40));
    let welcome = Event::Welcome {
        session: "0a0b0c",
        resumed: false,
        user: "ann",
        node: "n1",
        heartbeat_ms: 25_000,
        limits: &limits,
    };
    let busy = Event::Error { id: None, refusal: Refusal::Busy, detail: None };
    let malformed = Event::Error { id: Some(7), refusal: Refusal::Malformed, detail: Some("byte 9: `:` was expected") };
    let gap = |why, to| Event::Gap { room, epoch, from, to, why };
    let events = [
        ("", welcome),
        ("", Event::Joined { id: 1, room, epoch, offset, recovered: None, read: Some(from), members: Some(members) }),
        ("-since", Event::Joined { id: 2, room, epoch, offset, recovered: Some(true), read: None, members: None }),
        ("-bare", Event::Joined { id: 3, room, epoch, offset, recovered: None, read: None, members: None }),
        ("-counted", Event::Joined { id: 3, room, epoch, offset, recovered: None, read: None, members: Some(counted) }),
        ("-off", Event::Joined { id: 3, room, epoch, offset, recovered: None, read: None, members: Some(off) }),
        ("", Event::Left { id: 3, room }),
        ("", Event::Published { id: 300, room, position, dup: false }),
        ("-dup", Event::Published { id: 301, room, position, dup: true }),
        ("-none", Event::Published { id: 302, room, position: Position { epoch, offset: Offset(0) }, dup: false }),
        ("", Event::Members { id: 4, room, members }),
        ("-empty", Event::Members { id: 4, room, members: nobody }),
        ("", Event::TypingTaken { id: 6, room }),
        ("", Event::ReadTaken { id: 7, room }),
        ("", Event::Unread { id: 8, room, epoch: Some(epoch), head: offset, read: from }),
        ("-empty", Event::Unread { id: 8, room, epoch: None, head: Offset(0), read: Offset(0) }),
        ("", Event::Pong { id: 0 }),
        ("", malformed),
        ("-busy", busy),
        ("-too_often", Event::TooOften { id: Some(7), retry_after_ms: 600 }),
        ("", Event::PresenceJoined { room, users: &users, count: 3, version: 8 }),
        ("", Event::PresenceLeft { room, users: &users[..1], count: 2, version: 9 }),
        ("", Event::PresenceAway { room, users: &users[1..], count: 2, version: 10 }),
        ("", Event::PresenceBack { room, users: &users[1..], count: 2, version: 11 }),
        ("", Event::PresenceCounted { room, count: 19_000, version: 12 }),
        ("", Event::Stale { room }),
        ("", Event::Typing { room, users: &users, count: 3, ttl_ms: 10_000 }),
        ("-over", Event::Typing { room, users: &[], count: 0, ttl_ms: 10_000 }),
        ("", Event::Read { room, reads: &reads }),
        ("", gap(GapWhy::Retention, to)),
        ("-slow", gap(GapWhy::Slow, to)),
        ("-epoch", gap(GapWhy::Epoch, Offset(11))),
        ("-unknown", Event::Gap { room, epoch, from: Offset(1), to: Offset(41), why: GapWhy::Unknown }),
        ("", Event::Refreshed { id: 5, expires_in_ms: 3_600_000 }),
        ("", Event::Expiring { in_ms: 60_000 }),
        ("", Event::Removed { room, why: RemovedWhy::Grants }),
        ("-busy", Event::Removed { room, why: RemovedWhy::Busy }),
        ("-rooms", Event::Removed { room, why: RemovedWhy::TooManyRooms }),
        ("", Event::Resumed { id: 8, resumed: Some(true) }),
        ("-bare", Event::Resumed { id: 8, resumed: None }),
        ("-unknown", Event::Joined { id: 9, room, epoch, offset, recovered: Some(false), read: None, members: None }),
        ("", Event::Drain { reconnect_in_ms: 17_350 }),
    ];
    let mut goldens = Vec::new();
    for encoding in Encoding::ALL {
        let said = MessageOut {
            room,
            offset: Offset(41),
            at_unix_ms: 1_700_000_000_123,
            from: &users[1],
            event: None,
            key: None,
            data: &payload(encoding).to_payload(),
        };
        let mut frame = Vec::new();
        write_message(&mut frame, encoding, &said);
        let messages = [SharedFrame::from(frame.as_slice()), SharedFrame::from(frame.as_slice())];
        let gap = Some((from, to, GapWhy::Retention));
        let some = HistoryAnswer { epoch: Some(epoch), head: Offset(42), gap, reads: None, messages: &messages };
        let read = HistoryAnswer { gap: None, reads: Some(&reads[..1]), ..some };
        let none = HistoryAnswer { epoch: None, head: Offset(0), gap: None, reads: None, messages: &[] };
        let histories = [
            ("", Event::History { id: 8, room, answer: some }),
            ("-empty", Event::History { id: 9, room, answer: none }),
            ("-read", Event::History { id: 10, room, answer: read }),
        ];
        for (case, event) in events.iter().chain(&histories) {
            let mut bytes = Vec::new();
            write_event(&mut bytes, encoding, event);
            goldens.push(framed(format!("event-{}{case}", event.name()), encoding, bytes));
        }
        let value = MessageOut { offset: Offset(0), key: Some("ibm"), ..said };
        let mut bytes = Vec::new();
        write_message(&mut bytes, encoding, &value);
        goldens.push(framed("event-message-value".to_owned(), encoding, bytes));
        for (case, message) in [("", 0), ("-full", 1)] {
            let data = payload(encoding).to_payload();
            let from = &users[1 - message];
            let event = (message == 1).then_some("chat.said");
            let out = MessageOut {
                room,
                offset: Offset(42),
                at_unix_ms: 1_700_000_000_123,
                from,
                event,
                key: None,
                data: &data,
            };
            let mut bytes = Vec::new();
            write_message(&mut bytes, encoding, &out);
            goldens.push(framed(format!("event-message{case}"), encoding, bytes));
        }
    }
    goldens
}

fn framed(name: String, encoding: Encoding, bytes: Vec<u8>) -> Golden {
    let envelope_at = match bytes[1] {
        0..=125 => 2,
        126 => 4,
        _ => 10,
    };
    Golden { name, encoding, bytes, envelope_at }
}

fn goldens() -> Vec<Golden> {
    command_goldens().into_iter().chain(event_goldens()).collect()
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The bytes of a golden file: hex outside comments.
fn bytes_of(text: &str) -> Vec<u8> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.flat_map(str::split_whitespace);
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("a golden file holds hex")).collect()
}

#[test]
fn every_command_and_event_is_written_as_it_was_frozen() {
    // Compiled in by the one who blesses: nothing here reads the environment when it runs.
    let bless = option_env!("THRONG_BLESS").is_some();
    for golden in goldens() {
        let path = directory().join(golden.file());
        if bless {
            fs::write(&path, golden.text()).unwrap();
        }
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(bytes_of(&text), golden.bytes, "{} would be\n{}", path.display(), golden.text());
    }
}

#[test]
fn every_kind_has_a_golden_file_in_both_encodings_and_every_file_a_kind() {
    let files: BTreeSet<String> =
        fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, goldens().iter().map(Golden::file).collect::<BTreeSet<_>>());
    let commands = Command::NAMES.map(|name| format!("command-{name}"));
    let events = Event::NAMES.iter().chain(&["message"]).map(|name| format!("event-{name}"));
    for kind in commands.into_iter().chain(events) {
        for extension in ["json.hex", "msgpack.hex"] {
            assert!(files.contains(&format!("{kind}.{extension}")), "{kind}.{extension} is missing");
        }
    }
    for file in &files {
        let kind = file.split_once('.').unwrap().0.splitn(3, '-').take(2).collect::<Vec<_>>().join("-");
        assert!(files.contains(&format!("{kind}.json.hex")), "{file} belongs to no kind");
    }
}

#[test]
fn frozen_commands_are_understood_and_come_back() {
    for encoding in Encoding::ALL {
        for ((case, id, out), golden) in commands(encoding)
            .into_iter()
            .zip(command_goldens().into_iter().filter(|golden| golden.encoding == encoding))
        {
            let read = decode(encoding, &golden.bytes, &Limits::default()).unwrap();
            assert_eq!(read.id, id, "{case}");
            assert_eq!(case.split('-').next(), Some(read.command.name()));
            let rooms = ResumeOut::all(&read.command);
            let again = CommandOut::of(&read.command, &rooms);
            assert_eq!(again, out, "{case}");
        }
    }
}

#[test]
fn frozen_events_say_the_same_in_both_encodings() {
    let mut said: BTreeMap<String, String> = BTreeMap::new();
    for golden in event_goldens() {
        let event =
            read_event(golden.encoding, golden.envelope()).unwrap_or_else(|error| panic!("{}: {error}", golden.name));
        let kind = golden.name.split('-').nth(1).unwrap();
        let kind_read = match &event {
            ServerEvent::Welcome(_) => "welcome",
            ServerEvent::Reply(_) => "reply",
            ServerEvent::Error { .. } => "error",
            ServerEvent::Message(_) => "message",
            ServerEvent::PresenceJoined { .. } => "joined",
            ServerEvent::PresenceLeft { .. } => "left",
            ServerEvent::PresenceAway { .. } => "away",
            ServerEvent::PresenceBack { .. } => "back",
            ServerEvent::PresenceCounted { .. } => "counted",
            ServerEvent::Stale { .. } => "stale",
            ServerEvent::Typing { .. } => "typing",
            ServerEvent::Read { .. } => "read",
            ServerEvent::Gap { .. } => "gap",
            ServerEvent::Expiring { .. } => "expiring",
            ServerEvent::Removed { .. } => "removed",
            ServerEvent::Drain { .. } => "drain",
            ServerEvent::Unknown { .. } => "unknown",
        };
        assert_eq!(kind.split('_').next(), Some(kind_read), "{}", golden.name);
        // Payloads are shown as their bytes, so both are brought to JSON before they are compared.
        let plain: serde_json::Value = match golden.encoding {
            Encoding::Json => serde_json::from_slice(golden.envelope()).unwrap(),
            Encoding::MessagePack => rmp_serde::from_slice(golden.envelope()).unwrap(),
        };
        let before = said.entry(golden.name.clone()).or_insert_with(|| plain.to_string());
        assert_eq!(*before, plain.to_string(), "{}", golden.name);
    }
}

#[test]
fn a_frozen_message_transcoded_is_the_frozen_message_of_the_other_encoding() {
    let messages = |encoding| {
        let mut all = event_goldens();
        all.retain(|golden| golden.encoding == encoding && golden.name.starts_with("event-message"));
        all
    };
    for (pack, json) in messages(Encoding::MessagePack).into_iter().zip(messages(JSON)) {
        for (from, to) in [(&pack, &json), (&json, &pack)] {
            let length = payload(from.encoding).raw().len();
            let data_at = from.bytes.len() - length - usize::from(from.encoding == JSON);
            let mut out = Vec::new();
            transcode_message(&from.bytes, data_at, from.encoding, &mut out);
            assert_eq!(out, to.bytes, "{}", from.name);
        }
    }
}

#[test]
fn every_frame_shown_in_the_protocol_is_a_frozen_one() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md")).unwrap();
    let shown: BTreeSet<&str> = text.lines().filter(|line| line.starts_with("{\"type\":")).collect();
    let frozen = goldens();
    let frozen: BTreeSet<&str> = frozen
        .iter()
        .filter(|golden| golden.encoding == JSON)
        .map(|golden| std::str::from_utf8(golden.envelope()).unwrap())
        .collect();
    assert!(!shown.is_empty());
    assert_eq!(shown.difference(&frozen).collect::<Vec<_>>(), Vec::<&&str>::new());
}
