//! How servers are spoken to that are not throng: plain WebSocket with texts of their own, an echo, Socket.IO.
//!
//! Nothing is known of such a server but two templates (join and publish) and our own marker in what comes back. Promises: what
//! holds no whole, right marker is never counted as heard; what begins like one and is broken is corrupted. Pure.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::args::{RunArgs, Switch};
use crate::lengths::Lengths;
use crate::orders::Wire;
use crate::payload::{self, Marker};

/// What is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    #[default]
    Throng,
    /// Texts by templates.
    Raw,
    /// Texts that come back to whoever sent them.
    Echo,
    /// Socket.IO 4 over its WebSocket transport, its default namespace and parser.
    Socketio,
}

/// Everything a worker must know of another protocol.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Dialect {
    protocol: Protocol,
    join: Option<String>,
    /// What the answer to a join holds; none: it is not answered.
    joined: Option<String>,
    publish: String,
}

/// What a text of the server means to somebody who sits.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    Marker(Marker),
    /// It says that it was ours, and is not what anybody sent.
    Broken,
    /// To be answered with this.
    Ping(&'static [u8]),
    Nothing,
}

/// What comes next for somebody on the way in.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// Say this, and wait.
    Say(Vec<u8>),
    /// Say this, which joins, and wait for the answer.
    Join(Vec<u8>),
    /// Say this, if anything; then it sits.
    Sit(Option<Vec<u8>>),
    Wait,
    /// It will not be let in.
    Refused(String),
}

/// What stands in templates for the name of the room, of the user, and for the marked text.
const ROOM: &str = "{room}";
const USER: &str = "{user}";
const DATA: &str = "{data}";

impl Dialect {
    /// `None` for throng itself. Errors: templates without what they are for.
    pub(crate) fn new(
        protocol: Protocol,
        join: Option<&str>,
        joined: Option<&str>,
        publish: Option<&str>,
    ) -> Result<Option<Self>> {
        let given = join.or(joined).or(publish).is_some();
        let (default_join, default_joined, default_publish) = match protocol {
            Protocol::Throng => {
                ensure!(!given, "--join, --joined and --publish are for other servers: --protocol raw or socketio");
                return Ok(None);
            }
            Protocol::Echo => {
                ensure!(join.or(joined).is_none(), "--protocol echo has no rooms to join");
                (None, None, DATA)
            }
            Protocol::Raw => (Some(r#"{"join":"{room}"}"#), None, r#"{"room":"{room}","data":"{data}"}"#),
            // The answer to our packet 0.
            Protocol::Socketio => (Some(r#"["join","{room}"]"#), Some("430"), r#"["publish","{room}","{data}"]"#),
        };
        let publish = publish.unwrap_or(default_publish).to_owned();
        ensure!(publish.contains(DATA), "--publish {publish:?} does not say where the message stands: {DATA}");
        Ok(Some(Self {
            protocol,
            join: join.or(default_join).map(str::to_owned),
            joined: joined.or(default_joined).map(str::to_owned),
            publish,
        }))
    }

    /// The request has been answered: frames follow.
    pub(crate) fn upgraded(&self, room: &str, user: &str) -> Next {
        match self.protocol {
            Protocol::Socketio => Next::Wait,
            Protocol::Throng | Protocol::Raw | Protocol::Echo => self.joins(room, user),
        }
    }

    /// A text before it sits; with what the server says of its heartbeat, in milliseconds.
    pub(crate) fn on_the_way(&self, text: &[u8], room: &str, user: &str) -> (Next, Option<u64>) {
        if self.protocol == Protocol::Socketio {
            match text {
                [b'0', hello @ ..] => return (Next::Say(b"40".to_vec()), interval_ms(hello)),
                [b'2'] => return (Next::Say(b"3".to_vec()), None),
                [b'4', b'4', why @ ..] => return (Next::Refused(String::from_utf8_lossy(why).into_owned()), None),
                [b'4', b'0', ..] => return (self.joins(room, user), None),
                _ => {}
            }
        }
        let answers = self.joined.as_ref().is_some_and(|joined| find(text, joined.as_bytes()).is_some());
        (if answers { Next::Sit(None) } else { Next::Wait }, None)
    }

    /// A text for somebody who sits. Payloads have these lengths and were made by `seed`.
    pub(crate) fn hear(&self, text: &[u8], lengths: &Lengths, seed: u64) -> Heard {
        if self.protocol == Protocol::Socketio && text == b"2" {
            return Heard::Ping(b"3");
        }
        let Some(at) = find(text, payload::TITLE) else { return Heard::Nothing };
        let marker = payload::read_text(&text[at..], lengths, seed);
        marker.map_or(Heard::Broken, Heard::Marker)
    }

    /// The text that publishes `data`.
    pub(crate) fn publish(&self, out: &mut Vec<u8>, room: &str, user: &str, data: &[u8]) {
        if self.protocol == Protocol::Socketio {
            out.extend_from_slice(b"42");
        }
        fill(out, &self.publish, room, user, data);
    }

    fn joins(&self, room: &str, user: &str) -> Next {
        let Some(join) = &self.join else { return Next::Sit(None) };
        let mut text = match self.protocol {
            Protocol::Socketio => b"420".to_vec(),
            Protocol::Throng | Protocol::Raw | Protocol::Echo => Vec::new(),
        };
        fill(&mut text, join, room, user, b"");
        if self.joined.is_some() { Next::Join(text) } else { Next::Sit(Some(text)) }
    }
}

fn fill(out: &mut Vec<u8>, template: &str, room: &str, user: &str, data: &[u8]) {
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        let known = [(ROOM, room.as_bytes()), (USER, user.as_bytes()), (DATA, data)];
        match known.into_iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) => {
                out.extend_from_slice(value);
                rest = &rest[name.len()..];
            }
            None => {
                out.push(b'{');
                rest = &rest[1..];
            }
        }
    }
    out.extend_from_slice(rest.as_bytes());
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len().max(1)).position(|window| window == word)
}

/// `pingInterval` of Engine.IO's first packet.
fn interval_ms(hello: &[u8]) -> Option<u64> {
    let hello: serde_json::Value = serde_json::from_slice(hello).ok()?;
    hello["pingInterval"].as_u64()
}

/// How another server is spoken to; settles what throng alone has.
pub(crate) fn settle(args: &mut RunArgs) -> Result<Option<Dialect>> {
    let (join, joined, publish) = (args.join.as_deref(), args.joined.as_deref(), args.publish.as_deref());
    let dialect = Dialect::new(args.protocol, join, joined, publish)?;
    if dialect.is_none() {
        args.acks.get_or_insert(Switch::On);
        return Ok(None);
    }
    let name = format!("--protocol {:?}", args.protocol).to_lowercase();
    ensure!(args.acks != Some(Switch::On), "{name} has no answers to publishes: --acks off");
    ensure!(args.presence == Switch::Off, "{name} has no presence that could be joined: --presence off");
    let slow = args.phase.iter().any(|phase| phase.slow > 0);
    ensure!(args.guests == 0 && !slow, "{name}: guests and slow readers speak throng only");
    let alone = args.room_size == 1 && args.echo == Some(Switch::On);
    ensure!(args.protocol != Protocol::Echo || alone, "{name}: everybody hears only itself: --room-size 1 --echo on");
    // Markers are text.
    args.encoding = Wire::Json;
    args.acks = Some(Switch::Off);
    Ok(dialect)
}

#[cfg(test)]
mod tests {
    use throng::base::Encoding;

    use super::*;

    fn dialect(protocol: Protocol) -> Dialect {
        Dialect::new(protocol, None, None, None).expect("good templates").expect("another protocol")
    }

    fn said(next: Next) -> String {
        match &next {
            Next::Say(text) | Next::Join(text) | Next::Sit(Some(text)) => {
                String::from_utf8(text.clone()).expect("text")
            }
            Next::Sit(None) | Next::Wait | Next::Refused(_) => panic!("{next:?}"),
        }
    }

    #[test]
    fn socket_io_is_greeted_joined_and_answered() {
        let io = dialect(Protocol::Socketio);
        assert_eq!(io.upgraded("r", "u"), Next::Wait);
        let (next, beat) = io.on_the_way(br#"0{"sid":"x","pingInterval":25000}"#, "r", "u");
        assert_eq!((said(next).as_str(), beat), ("40", Some(25_000)));
        let (next, _) = io.on_the_way(br#"40{"sid":"y"}"#, "r", "u");
        assert_eq!(next, Next::Join(br#"420["join","r"]"#.to_vec()));
        // A ping while it waits is answered, and is no second join: its time would begin anew.
        assert_eq!(io.on_the_way(b"2", "r", "u").0, Next::Say(b"3".to_vec()));
        assert_eq!(io.on_the_way(b"430[]", "r", "u").0, Next::Sit(None));
        assert_eq!(
            io.on_the_way(b"44{\"message\":\"no\"}", "r", "u").0,
            Next::Refused("{\"message\":\"no\"}".to_owned())
        );
        assert_eq!(io.hear(b"2", &64.into(), 1), Heard::Ping(b"3"));
        let mut out = Vec::new();
        io.publish(&mut out, "r", "u", b"text");
        assert_eq!(out, br#"42["publish","r","text"]"#);
    }

    #[test]
    fn raw_sits_at_once_or_when_it_is_told_and_echo_has_no_rooms() {
        assert!(
            matches!(dialect(Protocol::Raw).upgraded("r", "u"), Next::Sit(Some(text)) if text == br#"{"join":"r"}"#)
        );
        assert_eq!(dialect(Protocol::Echo).upgraded("r", "u"), Next::Sit(None));
        let told = Dialect::new(Protocol::Raw, Some("hi {user} in {room} {x}"), Some("welcome"), None);
        let told = told.expect("good").expect("another");
        assert_eq!(said(told.upgraded("r", "u")), "hi u in r {x}");
        assert_eq!(told.on_the_way(b"busy", "r", "u").0, Next::Wait);
        assert_eq!(told.on_the_way(b"you are welcome", "r", "u").0, Next::Sit(None));
    }

    #[test]
    fn a_marker_is_found_in_whatever_stands_around_it_and_a_broken_one_is_told() {
        let marker = Marker { room: 1, publisher: 2, seq: 3, intended_ns: 4, late_us: 5 };
        let text = payload::Writer::new(Encoding::Json, &80.into(), 9).write_text(&marker).to_vec();
        let around = [&br#"{"from":"x","data":""#[..], &text, b"\"}"].concat();
        let raw = dialect(Protocol::Raw);
        assert_eq!(raw.hear(&around, &80.into(), 9), Heard::Marker(marker));
        assert_eq!(raw.hear(&around, &80.into(), 8), Heard::Broken, "another run's");
        assert_eq!(raw.hear(&around[..60], &80.into(), 9), Heard::Broken, "the end is missing");
        assert_eq!((raw.hear(b"hello", &80.into(), 9), raw.hear(b"", &80.into(), 9)), (Heard::Nothing, Heard::Nothing));
    }

    #[test]
    fn templates_without_what_they_are_for_are_refused() {
        assert!(Dialect::new(Protocol::Raw, None, None, Some("{room}")).is_err());
        assert!(Dialect::new(Protocol::Throng, Some("x"), None, None).is_err());
        assert!(Dialect::new(Protocol::Echo, Some("x"), None, None).is_err());
        assert_eq!(Dialect::new(Protocol::Throng, None, None, None).expect("throng"), None);
    }
}
