//! Rooms without offsets: what a reader may hear of them, and what everybody must have at quiet.
//!
//! One keeps the last value of each key, the other keeps nothing. The reference here is as naive as the other one: each
//! message has a number that rises with the moment it was sent.

use std::collections::{BTreeMap, BTreeSet};

use throng::base::{Classes, Delivery, Encoding, Limits, Position, RoomClass};
use throng::wire::client::{CommandOut, Reply};
use throng::wire::prove;

use crate::client::{Asked, Client, envelope, room_name};
use crate::company::Company;
use crate::dice::Dice;
use crate::tally::{Lived, Tally};
use crate::view::Wish;

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
    /// As the answer to its newest join named it.
    position: Option<Position>,
    /// It was sent everything there was when it joined.
    whole: bool,
    /// By publisher and key: the newest number heard.
    heard: BTreeMap<(usize, String), usize>,
    /// By key: what was heard last.
    last: BTreeMap<String, usize>,
    /// By key: what it said itself of which no copy comes while it sits here, and by which command.
    own: BTreeMap<String, BTreeMap<usize, u64>>,
    /// What it had said so before it joined.
    early: BTreeSet<usize>,
    pub(crate) company: Company,
}

impl Seat {
    /// F6: the answer says whether a position was of use, and nothing of what was read. What it said before that join is
    /// like everybody's.
    pub(crate) fn joined(&mut self, wish: &Wish, reply: &Reply<'_>, user: &str) -> Result<(), String> {
        let mut own = std::mem::take(&mut self.own);
        let early = own.values().flatten().filter(|(_, at)| **at < reply.id).map(|(number, _)| *number).collect();
        own.values_mut().for_each(|said| said.retain(|_, at| *at > reply.id));
        let whole = reply.recovered != Some(true);
        *self = Self { seated: true, position: reply.position(), whole, own, early, ..Self::default() };
        let recovers = wish.since.is_some() || wish.resumes;
        if reply.recovered.is_some() != recovers || reply.read.is_some() || reply.position().is_none() {
            return Err(format!("F6 {wish:?} was answered by {reply:?}"));
        }
        self.company.on_joined(reply, user, wish.presence)
    }

    pub(crate) fn left(&mut self) {
        // A join may be on its way already.
        *self = Self { position: self.position, own: std::mem::take(&mut self.own), ..Self::default() };
    }

    pub(crate) fn position(&self) -> Option<Position> {
        self.position
    }

    /// F1: only in a room one sits in; F2: of one publisher and key nothing twice and nothing that was overtaken; F3: it has
    /// no offset, and its key where values have one; F5: nothing of one's own for which the answer stands.
    pub(crate) fn on_message(
        &mut self,
        (client, room): (usize, usize),
        offset: u64,
        key: Option<&str>,
        json: &str,
        tally: &mut Tally,
    ) -> Result<(), String> {
        if !self.seated {
            return Err(format!("F1 heard {json} of {room}, where it does not sit"));
        }
        if offset != 0 || key.is_some() != (room == LATEST) {
            return Err(format!("F3 {json} of {room} came with offset {offset} and key {key:?}"));
        }
        let (number, publisher) = said(json).ok_or_else(|| format!("F3 nobody says {json}"))?;
        let key = key.unwrap_or_default();
        if publisher == client && self.own.get(key).is_some_and(|said| said.contains_key(&number)) {
            return Err(format!("F5 heard {json} of {room}, which it said while it sat there"));
        }
        tally.add(Lived::OwnValues, u64::from(publisher == client && self.early.contains(&number)));
        let before = self.heard.insert((publisher, key.to_owned()), number);
        if before.is_some_and(|before| before >= number) {
            return Err(format!("F2 heard {json} of {room} after {before:?}"));
        }
        self.last.insert(key.to_owned(), number);
        Ok(())
    }

    /// F7: news of people only in a room one sits in.
    pub(crate) fn hears_of_people(&self) -> Result<(), String> {
        if self.seated { Ok(()) } else { Err("F7 news of people of a room where it does not sit".into()) }
    }

    /// Whether this may be the last value of the key, as far as it knows.
    fn agrees(&self, key: &str, value: usize) -> bool {
        let own = self.own.get(key).is_some_and(|said| said.contains_key(&value));
        own || self.last.get(key).map_or(!self.whole, |last| *last == value)
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
        let echo = dice.pick(&[None, None, Some(true), Some(false)]);
        if !echo.unwrap_or(!with_id) {
            let own = &mut self.fleeting.entry(room).or_default().own;
            own.entry(key.unwrap_or_default().to_owned()).or_default().insert(number, self.sequence + 1);
        }
        let mut payload = Vec::new();
        prove(Encoding::Json, json.as_bytes(), 32).expect("JSON written here").write_as(self.encoding, &mut payload);
        let data = prove(self.encoding, &payload, 32).expect("it was proved as JSON");
        let command = CommandOut::Publish { room: &room_name(room), data, event: None, echo, key };
        let bytes = envelope(self.encoding, self.id(with_id), &command);
        self.send(&bytes, with_id.then_some(Asked::Fleeting(room)), out, dice, 1);
    }
}

/// F4: at quiet all who sit where the last value of each key is kept have the same, whoever came when.
pub(crate) fn agree<'a>(clients: impl Iterator<Item = &'a Client>) -> Result<(), String> {
    let seats: Vec<(usize, &Seat)> = clients
        .filter_map(|client| Some((client.number, client.fleeting.get(&LATEST).filter(|seat| seat.seated)?)))
        .collect();
    for key in KEYS {
        let heard: BTreeSet<usize> = seats.iter().filter_map(|(_, seat)| seat.last.get(key).copied()).collect();
        let own = seats.iter().filter_map(|(_, seat)| seat.own.get(key)).flat_map(|said| said.keys().copied());
        let may_be: BTreeSet<usize> = heard.iter().copied().chain(own).collect();
        let agreed = may_be.iter().any(|value| seats.iter().all(|(_, seat)| seat.agrees(key, *value)));
        if !heard.is_empty() && !agreed {
            let told: Vec<_> = seats.iter().map(|(number, seat)| (number, seat.last.get(key), seat.whole)).collect();
            return Err(format!("F4 of {key} all have another value: {told:?}"));
        }
    }
    Ok(())
}

fn said(json: &str) -> Option<(usize, usize)> {
    let (number, by) = json.strip_prefix("{\"f\":")?.strip_suffix('}')?.split_once(",\"by\":")?;
    Some((number.parse().ok()?, by.parse().ok()?))
}
