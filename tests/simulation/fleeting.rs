//! Rooms without offsets: what a reader may hear of them, and what everybody must have at quiet.
//!
//! One keeps the last value of each key, the other keeps nothing. The reference here is as naive as the other one: each
//! message has a number that rises with the moment it was sent.

use std::collections::BTreeMap;

use throng::base::{Classes, Delivery, Encoding, Limits, RoomClass};
use throng::wire::client::CommandOut;
use throng::wire::prove;

use crate::client::{Asked, Client, envelope, room_name};
use crate::dice::Dice;

/// The numbers of these rooms; all others are reliable.
pub(crate) const LATEST: usize = 60;
pub(crate) const EPHEMERAL: usize = 70;

/// Values of the room that keeps the last of each.
pub(crate) const KEYS: [&str; 3] = ["a", "b", "c"];

/// Whether a room is one of these.
pub(crate) fn is(room: usize) -> bool {
    room == LATEST || room == EPHEMERAL
}

/// The classes of every world: these rooms' own, and how all others behave.
pub(crate) fn classes(limits: &Limits, others: &RoomClass) -> Classes {
    let class = |delivery| RoomClass { delivery, ..others.clone() };
    let (latest, ephemeral) = (room_name(LATEST), room_name(EPHEMERAL));
    let given = [("*", others.clone()), (&*latest, class(Delivery::Latest)), (&*ephemeral, class(Delivery::Ephemeral))];
    Classes::new(limits, &given, None).expect("good patterns")
}

/// One seat in such a room, as its owner sees it.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    pub(crate) seated: bool,
    /// By publisher and key: the newest number heard.
    heard: BTreeMap<(usize, String), usize>,
    /// By key: what was heard last.
    last: BTreeMap<String, usize>,
}

impl Seat {
    pub(crate) fn joined(&mut self) {
        *self = Self { seated: true, ..Self::default() };
    }

    pub(crate) fn left(&mut self) {
        *self = Self::default();
    }

    /// F1: only in a room one sits in; F2: of one publisher and key nothing twice and nothing that was overtaken; F3: it has
    /// no offset, and its key where values have one.
    pub(crate) fn on_message(&mut self, room: usize, offset: u64, key: Option<&str>, json: &str) -> Result<(), String> {
        if !self.seated {
            return Err(format!("F1 heard {json} of {room}, where it does not sit"));
        }
        if offset != 0 || key.is_some() != (room == LATEST) {
            return Err(format!("F3 {json} of {room} came with offset {offset} and key {key:?}"));
        }
        let (number, publisher) = said(json).ok_or_else(|| format!("F3 nobody says {json}"))?;
        let key = key.unwrap_or_default();
        let before = self.heard.insert((publisher, key.to_owned()), number);
        if before.is_some_and(|before| before >= number) {
            return Err(format!("F2 heard {json} of {room} after {before:?}"));
        }
        self.last.insert(key.to_owned(), number);
        Ok(())
    }
}

/// What is said: a number and whose connection said it.
fn said_by(number: usize, publisher: usize) -> String {
    format!("{{\"f\":{number},\"by\":{publisher}}}")
}

impl Client {
    /// Sends a message to a room without offsets.
    pub(crate) fn utter(&mut self, room: usize, with_id: bool, number: usize, out: &mut Vec<u8>, dice: &mut Dice) {
        let json = said_by(number, self.number);
        let key = (room == LATEST).then(|| dice.pick(&KEYS));
        let mut payload = Vec::new();
        prove(Encoding::Json, json.as_bytes(), 32).expect("JSON written here").write_as(self.encoding, &mut payload);
        let data = prove(self.encoding, &payload, 32).expect("it was proved as JSON");
        let command = CommandOut::Publish { room: &room_name(room), data, event: None, echo: Some(true), key };
        let bytes = envelope(self.encoding, self.id(with_id), &command);
        self.send(&bytes, with_id.then_some(Asked::Fleeting(room)), out, dice, 1);
    }
}

/// F4: at quiet all who sit where the last value of each key is kept have the same.
pub(crate) fn agree<'a>(clients: impl Iterator<Item = &'a Client>) -> Result<(), String> {
    let mut all: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for client in clients {
        let Some(seat) = client.fleeting.get(&LATEST).filter(|seat| seat.seated) else { continue };
        for (key, value) in &seat.last {
            let (known, by) = *all.entry(key).or_insert((*value, client.number));
            if known != *value {
                return Err(format!(
                    "F4 client {} has {value} as the last value of {key}, client {by} has {known}",
                    client.number
                ));
            }
        }
    }
    Ok(())
}

fn said(json: &str) -> Option<(usize, usize)> {
    let (number, by) = json.strip_prefix("{\"f\":")?.strip_suffix('}')?.split_once(",\"by\":")?;
    Some((number.parse().ok()?, by.parse().ok()?))
}
