//! Somebody with a session, a memory of what was heard, and no intelligence of its own.

use std::collections::VecDeque;
use std::net::SocketAddr;

use serde_json::{Value, json};
use throng::base::{Classes, RoomClass};
use throng::shard::Rules;

use crate::raw::Raw;
use crate::support::{FAR_FUTURE, token};

/// A connection that speaks JSON.
pub(crate) struct Person {
    pub(crate) raw: Raw,
    /// The handle by which the session can be resumed.
    pub(crate) session: String,
    /// Heard before the answer that was waited for.
    early: VecDeque<Value>,
    id: u64,
}

pub(crate) const OURS: &str = "Sec-WebSocket-Protocol: throng.v1.json";

impl Person {
    /// May do everything.
    pub(crate) fn comes(address: SocketAddr, user: &str) -> Self {
        Self::comes_with(address, &token(user, FAR_FUTURE, None))
    }

    pub(crate) fn comes_with(address: SocketAddr, token: &str) -> Self {
        Self::on(Raw::connect(address), token)
    }

    /// By a connection that is there already.
    pub(crate) fn on(mut raw: Raw, token: &str) -> Self {
        let bearer = format!("Authorization: Bearer {token}");
        raw.send(crate::raw::request("/ws", &[OURS, &bearer]).as_bytes());
        let mut raw = raw.switched();
        let welcome: Value = serde_json::from_str(&raw.hear()).unwrap();
        let session = welcome["session"].as_str().unwrap_or_else(|| panic!("{welcome}")).to_owned();
        Self { raw, session, early: VecDeque::new(), id: 0 }
    }

    /// What comes next.
    pub(crate) fn hear(&mut self) -> Value {
        self.early.pop_front().unwrap_or_else(|| serde_json::from_str(&self.raw.hear()).unwrap())
    }

    /// The next event of one of these kinds; others are passed over.
    pub(crate) fn next(&mut self, kinds: &[&str]) -> Value {
        loop {
            let event = self.hear();
            if kinds.iter().any(|kind| event["type"] == *kind) {
                return event;
            }
        }
    }

    /// Sends a command with an id and gives its answer. What comes before it is heard later.
    pub(crate) fn ask(&mut self, mut command: Value) -> Value {
        self.id += 1;
        command["id"] = json!(self.id);
        self.raw.say(&command.to_string());
        loop {
            let event: Value = serde_json::from_str(&self.raw.hear()).unwrap();
            if event["id"] == command["id"] {
                return event;
            }
            self.early.push_back(event);
        }
    }

    pub(crate) fn join(&mut self, room: &str) -> Value {
        self.seated(json!({"type": "join", "room": room}))
    }

    /// A join, however it is put; it must succeed.
    pub(crate) fn seated(&mut self, join: Value) -> Value {
        let answer = self.ask(join);
        assert_eq!(answer["type"], "reply", "{answer}");
        answer
    }

    /// The answer to a publish.
    pub(crate) fn publish(&mut self, room: &str, data: impl Into<Value>) -> Value {
        self.ask(json!({"type": "publish", "room": room, "data": data.into()}))
    }

    /// Takes out what was heard until an answer came back, and has not been looked at.
    pub(crate) fn heard_by_now(&mut self) -> Vec<Value> {
        self.ask(json!({"type": "ping"}));
        self.early.drain(..).collect()
    }

    /// Without a word of farewell.
    pub(crate) fn vanishes(self) -> String {
        self.session
    }
}

/// One more class of rooms.
pub(crate) fn class(rules: &mut Rules, pattern: &str, change: impl Fn(&mut RoomClass)) {
    let mut class = RoomClass::of(&rules.limits);
    change(&mut class);
    rules.classes = Classes::new(&rules.limits, &[(pattern, class)], None).unwrap();
}

/// Where an answer or a message stands.
pub(crate) fn offset(event: &Value) -> u64 {
    event["offset"].as_u64().unwrap_or_else(|| panic!("no offset in {event}"))
}
