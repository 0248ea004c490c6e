//! Promise 6: what is held for readers that do not read is bounded; they are closed, can resume, and hear what they missed
//! or that it is missing. Nobody else loses anything.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;

use serde_json::{Value, json};
use throng::base::Limits;
use throng::shard::Counters;
use throng::wire::CloseReason;

use crate::person::{Person, offset};
use crate::support::until::until;
use crate::support::{serve, small};

/// So many read nothing, and so many a byte for each message that is said.
const NEVER: usize = 3;
const SIPPING: usize = 2;
const SLOW: usize = NEVER + SIPPING;
const READERS: usize = 4;
const PAYLOAD: usize = 20_000;
/// Messages that may be on their way to a reader: less than any socket takes, so that no reader stands still.
const AHEAD: u64 = 3;

/// Somebody who stopped reading, and the bytes it took all the same.
struct Stalled {
    stream: TcpStream,
    taken: Vec<u8>,
    session: String,
    epoch: Value,
}

#[test]
fn who_does_not_read_is_closed_within_bounds_and_nobody_else_loses_anything() {
    let limits = Limits { log_messages_max: 20, no_progress_ms: 1_000, close_grace_ms: 3_600_000, ..small() };
    let (running, _handed) = serve(2, limits.clone());
    let (address, counts) = (running.address(), running.counts());
    let mut stalled: Vec<Stalled> = (0..SLOW).map(|n| Stalled::sits(address, n)).collect();
    let readers = (0..READERS).map(|n| {
        let mut person = Person::comes(address, &format!("reader{n}"));
        person.join("hall");
        person
    });
    let readers: Vec<Person> = readers.collect();
    let heard: Vec<AtomicU64> = (0..READERS).map(|_| AtomicU64::new(0)).collect();
    let last = AtomicU64::new(u64::MAX);
    let (mut said, mut held_max) = (0, 0);
    std::thread::scope(|scope| {
        let reading = readers.into_iter().zip(&heard).map(|(reader, heard)| {
            let last = &last;
            scope.spawn(move || reads(reader, heard, last))
        });
        let reading: Vec<ScopedJoinHandle<'_, ()>> = reading.collect();
        let mut bob = Person::comes(address, "bob");
        let long = "x".repeat(PAYLOAD);
        until("the slow ones are closed", || {
            said = offset(&bob.publish("hall", long.as_str()));
            if said == last.load(Ordering::Relaxed) {
                return true;
            }
            stalled[NEVER..].iter_mut().for_each(Stalled::sips);
            held_max = held_max.max(counts.totals().tables.work);
            // Whoever is closed sits there no more.
            if bob.ask(json!({"type": "presence", "room": "hall"}))["count"] == READERS {
                last.store(said + 1, Ordering::Relaxed);
            }
            until("the readers have heard it", || {
                assert!(!reading.iter().any(ScopedJoinHandle::is_finished), "a reader heard something else");
                !heard.iter().any(|heard| heard.load(Ordering::Relaxed) + AHEAD < said)
            });
            false
        });
    });
    assert!(heard.iter().all(|heard| heard.load(Ordering::Relaxed) == said));
    // A full outbox each, with the message that did not fit and its head; and what bob had under way.
    let each = (limits.outbox_soft_bytes_max + 2 * PAYLOAD + 4_096) as u64;
    let held_allowed = each * (SLOW as u64 + 1);
    assert!(held_max <= held_allowed, "{held_max} bytes were held, {held_allowed} may be");
    assert!(said * PAYLOAD as u64 > 4 * each, "{said} messages were not more than could be held");

    for (n, one) in stalled.into_iter().enumerate() {
        one.catches_up_once_closed(address, n, said);
    }
    until("all who were slow are counted", || {
        counts.totals().cells[Counters::CLOSES_AT + CloseReason::Slow.index()] >= SLOW as u64
    });
    running.stop().unwrap();
}

/// Hears every offset, to the last one.
fn reads(mut reader: Person, heard: &AtomicU64, last: &AtomicU64) {
    while heard.load(Ordering::Relaxed) < last.load(Ordering::Relaxed) {
        let event = reader.hear();
        let expected = heard.load(Ordering::Relaxed) + 1;
        assert_eq!((&event["type"], offset(&event)), (&json!("message"), expected));
        heard.store(expected, Ordering::Relaxed);
    }
}

impl Stalled {
    fn sits(address: SocketAddr, n: usize) -> Self {
        let mut person = Person::comes(address, &format!("slow{n}"));
        let epoch = person.join("hall")["epoch"].clone();
        Self { session: person.session, stream: person.raw.stream, taken: Vec::new(), epoch }
    }

    /// One byte; there is one, since something was said.
    fn sips(&mut self) {
        let mut byte = [0];
        let length = self.stream.read(&mut byte).unwrap();
        self.taken.extend_from_slice(&byte[..length]);
    }

    /// The next frame's opcode and payload, reading as much as it takes.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.bytes(2);
        let length = match head[1] {
            126 => self.bytes(2),
            127 => self.bytes(8),
            length => vec![length],
        };
        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        (head[0] & 15, self.bytes(length))
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        while self.taken.len() < length {
            let mut more = vec![0; length - self.taken.len()];
            let length = self.stream.read(&mut more).unwrap();
            assert!(length > 0, "it ended without a close frame");
            self.taken.extend_from_slice(&more[..length]);
        }
        self.taken.drain(..length).collect()
    }

    /// Reads what was on its way when it was closed, and goes on from there.
    fn catches_up_once_closed(mut self, address: SocketAddr, n: usize, said: u64) {
        let mut stands_at = 0;
        loop {
            match self.frame() {
                (1, text) => stands_at = step(stands_at, &serde_json::from_slice(&text).unwrap()),
                (8, payload) => {
                    assert_eq!(payload[..2], 4_001_u16.to_be_bytes());
                    break;
                }
                (9, _) => {}
                (opcode, _) => panic!("opcode {opcode}"),
            }
        }
        assert!(stands_at < said, "it was not slow");
        let mut again = Person::comes(address, &format!("slow{n}"));
        let room = json!({"room": "hall", "epoch": self.epoch, "offset": stands_at});
        let answer = again.ask(json!({"type": "resume", "session": self.session, "rooms": [room]}));
        assert_eq!(answer["resumed"], true, "{answer}");
        while stands_at < said {
            stands_at = step(stands_at, &again.hear());
        }
        assert_eq!(stands_at, said);
    }
}

/// Where a reader stands after this: one further, or behind a gap that begins where it stood.
fn step(stands_at: u64, event: &Value) -> u64 {
    if event["type"] == "message" {
        assert_eq!(offset(event), stands_at + 1);
        return stands_at + 1;
    }
    assert_eq!((&event["type"], &event["from"]), (&json!("gap"), &json!(stands_at + 1)), "{event}");
    event["to"].as_u64().unwrap()
}
