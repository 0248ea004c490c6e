//! People who talk, are sent away, come back at once and go on; and what must be true of all they heard.
//!
//! Every judgement is free of timing: two moments are compared only where one must lie before the other whatever the
//! machine does.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use throng::runtime::clock::Clock;
use throng::wire::{Claims, sign_hs256};
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use crate::process::SECRET;
use crate::support::FAR_FUTURE;
use crate::support::until::patient;

/// How many, and how often each says something.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) people: usize,
    pub(crate) rooms: usize,
    pub(crate) pace_ms: u64,
}

/// What somebody shows while it lives: where it is, and how often it was answered there.
#[derive(Clone, Default, Debug)]
pub(crate) struct Sign {
    pub(crate) node: String,
    pub(crate) acks: usize,
}

/// One connection, from its join to its end, as its owner saw it.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) node: String,
    /// When it was welcomed.
    pub(crate) began_ms: u64,
    /// When it was closed, or the test was over.
    pub(crate) ended_ms: u64,
    room: String,
    epoch: String,
    /// The newest message before the join.
    head: u64,
    /// Messages of others by offset: what they say.
    heard: BTreeMap<u64, String>,
    /// Own messages by offset: what they say, and when the answer was read.
    pub(crate) acked: BTreeMap<u64, (String, u64)>,
    /// Own messages nobody answered.
    unanswered: BTreeSet<String>,
    /// What the server said when it left: the slot in milliseconds.
    pub(crate) slots: Vec<u64>,
    closed: Option<u16>,
}

pub(crate) struct Crowd {
    clock: Clock,
    over: Arc<AtomicBool>,
    present: Arc<Mutex<Vec<Sign>>>,
    people: Vec<JoinHandle<Vec<Life>>>,
}

impl Crowd {
    /// So many people, in so many rooms, one thread each.
    pub(crate) fn gather(address: SocketAddr, plan: Plan) -> Self {
        let (clock, over) = (Clock::start(), Arc::new(AtomicBool::new(false)));
        let present = Arc::new(Mutex::new(vec![Sign::default(); plan.people]));
        let person = |number: usize| {
            let person = Person { number, room: format!("room{}", number % plan.rooms), address, clock, plan };
            let (over, present) = (Arc::clone(&over), Arc::clone(&present));
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
            thread.spawn(move || person.live(&over, &present)).expect("a thread starts")
        };
        let people = (0..plan.people).map(person).collect();
        Self { clock, over, present, people }
    }

    /// Milliseconds since the crowd gathered.
    pub(crate) fn now(&self) -> u64 {
        self.clock.now().mono_ms
    }

    /// Waits until this is true of everybody.
    pub(crate) fn wait_until(&self, what: &str, fact: impl Fn(&Sign) -> bool) {
        let began_ms = self.now();
        loop {
            let not_yet = self.present.lock().expect("nobody panics with it").iter().filter(|sign| !fact(sign)).count();
            if not_yet == 0 {
                return;
            }
            assert!(!self.people.iter().any(JoinHandle::is_finished), "somebody gave up before {what}");
            let waited_ms = self.now() - began_ms;
            assert!(waited_ms < WAIT_MS_MAX, "waited {waited_ms} ms in vain until {what}: {not_yet} are not");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Sends everybody home; all lives there were.
    pub(crate) fn disperse(self) -> Vec<Life> {
        self.over.store(true, Ordering::Relaxed);
        self.people.into_iter().flat_map(|person| person.join().expect("nobody was surprised")).collect()
    }
}

struct Person {
    number: usize,
    room: String,
    address: SocketAddr,
    clock: Clock,
    plan: Plan,
}

impl Person {
    /// All lives, the last of them ended by the test.
    fn live(&self, over: &AtomicBool, present: &Mutex<Vec<Sign>>) -> Vec<Life> {
        let (mut lives, mut said) = (Vec::new(), 0);
        // Not all at once.
        let mut due_ms = self.now() + self.plan.pace_ms * self.number as u64 / self.plan.people as u64;
        while !over.load(Ordering::Relaxed) {
            let (mut socket, mut life) = self.sit_down();
            while life.closed.is_none() && !over.load(Ordering::Relaxed) {
                if life.unanswered.is_empty() && self.now() >= due_ms {
                    due_ms = self.now() + self.plan.pace_ms;
                    said += 1;
                    let words = format!("{}:{said}", self.number);
                    let publish = json!({"type": "publish", "id": said, "room": self.room, "data": words});
                    life.unanswered.insert(words);
                    // A server that has closed reads it no more; its close frame is read below.
                    let _lost = socket.send(Message::text(publish.to_string()));
                }
                let patience_ms = due_ms.saturating_sub(self.now()).clamp(1, PATIENCE_MS_MAX);
                socket.get_mut().set_read_timeout(Some(Duration::from_millis(patience_ms))).expect("a timeout");
                self.listen(&mut socket, &mut life);
                let sign = Sign { node: life.node.clone(), acks: life.acked.len() };
                present.lock().expect("nobody panics with it")[self.number] = sign;
            }
            life.ended_ms = self.now();
            lives.push(life);
        }
        lives
    }

    fn now(&self) -> u64 {
        self.clock.now().mono_ms
    }

    fn sit_down(&self) -> (WebSocket<TcpStream>, Life) {
        let claims = Claims { sub: &format!("user{}", self.number), exp: FAR_FUTURE, info: None, rooms: None };
        let token = sign_hs256(SECRET.as_bytes(), &claims).expect("good claims");
        let mut socket = loop {
            let stream = patient(TcpStream::connect(self.address).expect("somebody always listens"));
            match tungstenite::client(format!("ws://{}/ws?token={token}", self.address), stream) {
                Ok((socket, _)) => break socket,
                // A shard of the old server that came late to the news.
                Err(HandshakeError::Failure(Error::Http(answer))) if answer.status() == 503 => {}
                Err(error) => panic!("user{} was not let in: {error}", self.number),
            }
        };
        let welcome = next(&mut socket);
        socket
            .send(Message::text(json!({"type": "join", "id": 0, "room": self.room}).to_string()))
            .expect("it is open");
        let mut joined = next(&mut socket);
        // Told before it had a seat: the slot is as good as any.
        let mut slots = Vec::new();
        while joined["type"] == "drain" {
            slots.extend(joined["reconnect_in_ms"].as_u64());
            joined = next(&mut socket);
        }
        let life = Life {
            node: welcome["node"].as_str().unwrap_or_default().to_owned(),
            began_ms: self.now(),
            ended_ms: 0,
            room: self.room.clone(),
            epoch: joined["epoch"].as_str().expect("a reply to the join").to_owned(),
            head: joined["offset"].as_u64().expect("a reply to the join"),
            heard: BTreeMap::new(),
            acked: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            slots,
            closed: None,
        };
        (socket, life)
    }

    /// Takes in the next that comes, if something does in time.
    fn listen(&self, socket: &mut WebSocket<TcpStream>, life: &mut Life) {
        let event = match socket.read() {
            Ok(Message::Text(text)) => serde_json::from_str::<Value>(&text).expect("JSON"),
            Ok(Message::Close(frame)) => {
                life.closed = Some(frame.map_or(0, |frame| frame.code.into()));
                return;
            }
            Ok(_) => return,
            Err(Error::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
            Err(error) => panic!("user{} was cut off: {error}", self.number),
        };
        let offset = event["offset"].as_u64();
        match event["type"].as_str().unwrap_or_default() {
            "message" => {
                let words = event["data"].as_str().expect("words").to_owned();
                assert_eq!(life.heard.insert(offset.expect("a place"), words), None, "once");
            }
            "reply" => {
                let words = format!("{}:{}", self.number, event["id"]);
                assert!(life.unanswered.remove(&words), "answered once: {words}");
                life.acked.insert(offset.expect("a place"), (words, self.now()));
            }
            "drain" => life.slots.extend(event["reconnect_in_ms"].as_u64()),
            other => panic!("user{} heard {other}: {event}", self.number),
        }
    }
}

fn next(socket: &mut WebSocket<TcpStream>) -> Value {
    let text = socket.read().expect("a message").into_text().expect("JSON is text");
    serde_json::from_str(&text).expect("JSON")
}

/// No crowd takes this long; a large one on a slow machine takes minutes.
const WAIT_MS_MAX: u64 = 600_000;
/// A thread of a person needs little, and there may be thousands.
const STACK_BYTES: usize = 256 << 10;
/// So that everybody notices that the test is over.
const PATIENCE_MS_MAX: u64 = 1_000;

/// What was looked at, and what was not as it must be, each a sentence.
#[derive(Default, Debug)]
pub(crate) struct Judged {
    /// Acknowledged messages that somebody who stayed had to hear: each counts once for each of them.
    pub(crate) owed: usize,
    pub(crate) missing: Vec<String>,
    /// Accepted, and never answered.
    pub(crate) unanswered: Vec<String>,
}

impl Judged {
    pub(crate) fn must_be_good(&self) {
        assert!(self.owed > 0, "nobody said anything");
        for (what, sentences) in [("missing", &self.missing), ("unanswered", &self.unanswered)] {
            assert!(sentences.is_empty(), "{} {what}, the first: {}", sentences.len(), sentences[0]);
        }
    }
}

/// What must be true, where the old server was told to leave at `told_ms`.
pub(crate) fn judge(lives: &[Life], told_ms: u64) -> Judged {
    let said_by_nobody = BTreeSet::new();
    let mut heard: BTreeMap<&str, BTreeSet<&String>> = BTreeMap::new();
    let mut company: BTreeMap<(&str, &str), Vec<&Life>> = BTreeMap::new();
    for life in lives {
        company.entry((&life.room, &life.epoch)).or_default().push(life);
        heard.entry(&life.epoch).or_default().extend(life.heard.values());
    }
    let mut judged = Judged::default();
    for life in lives.iter().filter(|life| life.node == "old") {
        assert_eq!((life.closed, life.slots.len()), (Some(1012), 1), "one slot, one goodbye: {life:?}");
        // Nothing is missing between the join and the newest it knows of: its own words have acks for receipts.
        let known: BTreeSet<u64> = life.heard.keys().chain(life.acked.keys()).copied().collect();
        let newest = known.last().copied().unwrap_or(life.head);
        for offset in (life.head + 1..=newest).filter(|offset| !known.contains(offset)) {
            judged.missing.push(format!("{offset} of {} lies between what was heard by {life:?}", life.room));
        }
        // What was accepted was answered before the goodbye.
        for words in &life.unanswered {
            if heard.get(&*life.epoch).unwrap_or(&said_by_nobody).contains(words) {
                judged.unanswered.push(format!("{words} was heard by others"));
            }
        }
        // It stayed until its slot, which cannot have come earlier than this: what was acknowledged before, it heard.
        let stayed_until_ms = told_ms + life.slots[0];
        for other in &company[&(life.room.as_str(), life.epoch.as_str())] {
            for (offset, (words, acked_ms)) in &other.acked {
                if *offset > life.head && *acked_ms < stayed_until_ms {
                    judged.owed += 1;
                    if life.heard.get(offset) != Some(words) && !life.acked.contains_key(offset) {
                        judged.missing.push(format!("{words} at {offset}, acknowledged at {acked_ms}, for {life:?}"));
                    }
                }
            }
        }
    }
    judged
}
