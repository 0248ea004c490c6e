//! The control plane of a world: it asks the shards, and what they answer must be true.

use std::collections::BTreeMap;

use throng::base::{ConnKey, Encoding, Identity, Offset, RoomName};
use throng::shard::{
    Answer, Ask, AskId, Audience, Closed, HistoryFrom, HistoryPage, HistoryQuestion, Notice, Question, Revocation,
    Revoked as Outcome,
};
use throng::wire::client::{ServerEvent, read_event};
use throng::wire::{CloseReason, FrameLimits, Incoming, Partial, Reader, Refusal, Role, Verb, prove};

use crate::client::{EVERYBODY, inbox_of, room_name};
use crate::deeds::{Kicked, Revoked};
use crate::reference::Heard;
use crate::tally::Lived;
use crate::tokens::{jti_of, name};
use crate::world::World;

/// Who speaks by the API, in the books of the reference.
const BACKEND: usize = usize::MAX;
const BACKEND_NAME: &str = "backend";

/// What the answer with a certain number belongs to.
#[derive(Debug)]
enum Waiting {
    Publish(Vec<usize>),
    Announce(usize),
    /// At this shard, of these connections, which were sessions when it was taken.
    Close(Vec<ConnKey>),
    Presence,
    History {
        room: usize,
        from: HistoryFrom,
    },
    Rooms,
    Connections(usize),
    Revoke(Revocation),
}

/// Something said to everybody or to one, and who must have heard it.
struct Spoken {
    tag: usize,
    room: usize,
    /// Sessions of the audience when the room's home took it.
    audience: Vec<usize>,
    /// Shards that have told all of theirs.
    shards: usize,
    passed_over: u64,
    refused: bool,
}

/// What was asked and is not answered yet.
#[derive(Default)]
pub(crate) struct Desk {
    asked: u64,
    waiting: BTreeMap<(usize, AskId), Waiting>,
    spoken: Vec<Spoken>,
}

impl World {
    /// An operator or a backend does something.
    pub(crate) fn operators_act(&mut self) {
        if self.dice.chance(self.weather.revokes) {
            self.revoke_somebody();
        }
        if self.dice.chance(self.weather.reloads) {
            self.reload();
        }
        if !self.dice.chance(self.weather.asks) {
            return;
        }
        let room = self.dice.below(self.weather.rooms);
        match self.dice.below(16) {
            0..5 => self.publish_by_api(room),
            5..7 => self.announce(),
            7 => self.close_somebody(room),
            8..10 => {
                let question = Question::Presence { room: room_of(room) };
                self.ask(self.home_of(room), question, Waiting::Presence);
            }
            10..13 => self.ask_history(room),
            13 | 14 => {
                let shard = self.dice.below(self.shards.len());
                let rooms_max = self.dice.between(1, 5);
                let question = match self.dice.chance(500) {
                    true => Question::FullestRooms { rooms_max },
                    false => Question::Rooms { from: 0, rooms_max, prefix: "r:".into() },
                };
                self.ask(shard, question, Waiting::Rooms);
            }
            _ => {
                let (shard, connections_max) = (self.dice.below(self.shards.len()), self.dice.between(1, 3));
                let user = identity(&name(self.dice.below(self.weather.users)));
                let question = Question::Connections { user, connections_max };
                self.ask(shard, question, Waiting::Connections(connections_max));
            }
        }
    }

    fn publish_by_api(&mut self, room: usize) {
        let home = self.home_of(room);
        let near: Vec<usize> = (0..self.weather.rooms).filter(|other| self.home_of(*other) == home).collect();
        let rooms: Vec<usize> = (0..self.dice.between(1, 3)).map(|_| self.dice.pick(&near)).collect();
        let (tags, notices) = rooms.into_iter().map(|room| self.notice(room)).unzip();
        self.ask(home, Question::Publish(notices), Waiting::Publish(tags));
    }

    fn announce(&mut self) {
        let user = self.dice.below(self.weather.users);
        let (room, to) = match self.dice.chance(500) || self.weather.letters {
            true => (EVERYBODY, Audience::Everybody),
            false => (inbox_of(user), Audience::User(identity(&name(user)))),
        };
        let (tag, notice) = self.notice(room);
        let spoken = Spoken { tag, room, audience: Vec::new(), shards: 0, passed_over: 0, refused: false };
        self.desk.spoken.push(spoken);
        let at = self.desk.spoken.len() - 1;
        let id = self.ask(self.home_of(room), Question::Announce { to, notice: notice.into() }, Waiting::Announce(at));
        // Every shard answers for its own people.
        for shard in 0..self.shards.len() {
            self.desk.waiting.insert((shard, id), Waiting::Announce(at));
        }
    }

    fn close_somebody(&mut self, room: usize) {
        let (reason, code) =
            if self.dice.chance(700) { (CloseReason::Kicked, 4006) } else { (CloseReason::Banned, 4501) };
        let user = self.dice.below(self.weather.users);
        let sockets: Vec<usize> = self.sockets.keys().copied().collect();
        let shard = self.dice.below(self.shards.len());
        let (shard, whom, kicked) = match self.dice.below(3) {
            0 => (shard, Closed::User(identity(&name(user))), Kicked::User(user)),
            1 => (shard, Closed::Room(room_of(room)), Kicked::Room),
            _ if sockets.is_empty() => return,
            _ => {
                let number = self.dice.pick(&sockets);
                let socket = &self.sockets[&number];
                (socket.shard, Closed::Connection(socket.key), Kicked::Client(number))
            }
        };
        self.deeds.kick(kicked, code);
        self.ask(shard, Question::Close { whom, reason }, Waiting::Close(Vec::new()));
    }

    fn ask_history(&mut self, room: usize) {
        let offset = Offset(self.dice.below(40) as u64);
        let from = match self.dice.below(3) {
            0 => HistoryFrom::Newest,
            1 => HistoryFrom::Before(offset),
            _ => HistoryFrom::After { epoch: None, offset },
        };
        let wait_ms = self.dice.pick(&[0, 0, 400]);
        let messages_max = self.dice.between(1, 30);
        let question = HistoryQuestion { room: room_of(room), from, messages_max, bytes_max: 2_000, wait_ms };
        self.ask(self.home_of(room), Question::History(Box::new(question)), Waiting::History { room, from });
    }

    /// Every shard hears of it, sooner or later.
    fn revoke_somebody(&mut self) {
        let (user, unix_s) = (self.dice.below(self.weather.users), self.now.unix_ms / 1_000);
        let revocation = match self.dice.below(20) {
            0 => Revocation::Issued { before_unix_s: unix_s },
            1..7 => Revocation::User { user: name(user).into(), issued_before_unix_s: unix_s + 1 },
            _ => Revocation::Token { jti: jti_of((user * 4 + self.dice.below(4)) as u64).into() },
        };
        for shard in 0..self.shards.len() {
            self.ask(shard, Question::Revoke(revocation.clone()), Waiting::Revoke(revocation.clone()));
        }
    }

    /// Something to be said by the backend, and its number in the books.
    fn notice(&mut self, room: usize) -> (usize, Notice) {
        let tag = self.reference.next_tag();
        let json = format!("{{\"n\":{tag},\"x\":\"{}\"}}", "z".repeat(self.dice.below(100)));
        self.reference.posted(BACKEND, room, BACKEND_NAME, None, &json, (true, false));
        let payload = prove(Encoding::Json, json.as_bytes(), 32).expect("JSON written here").to_payload();
        (tag, Notice { room: room_of(room), from: identity(BACKEND_NAME), event: None, payload })
    }

    fn ask(&mut self, shard: usize, question: Question, waiting: Waiting) -> AskId {
        self.desk.asked += 1;
        let id = AskId(self.desk.asked);
        self.desk.waiting.insert((shard, id), waiting);
        self.asks[shard].push_back(Ask { id, question });
        id
    }

    /// Whether an announcement or a goodbye is for this client.
    fn is_meant(&self, question: &Question, number: usize) -> bool {
        if let Question::Announce { to: Audience::User(user), .. } | Question::Close { whom: Closed::User(user), .. } =
            question
        {
            return self.clients[number].name == user.user();
        }
        if let Question::Close { whom: Closed::Connection(conn), .. } = question {
            return self.sockets[&number].key == *conn;
        }
        matches!(question, Question::Announce { to: Audience::Everybody, .. })
    }

    /// A shard takes the oldest ask: from here on it concerns who is here now.
    pub(crate) fn take_ask(&mut self, shard: usize) -> Option<Ask> {
        let ask = self.asks[shard].pop_front()?;
        let whole_room = matches!(ask.question, Question::Close { whom: Closed::Room(_), .. });
        if whole_room || !matches!(ask.question, Question::Announce { .. } | Question::Close { .. }) {
            return Some(ask);
        }
        let meant = |number: &usize| self.is_session(*number) && self.is_meant(&ask.question, *number);
        let here: Vec<usize> = self.sockets.keys().copied().filter(meant).collect();
        match self.desk.waiting.get_mut(&(shard, ask.id)) {
            Some(Waiting::Announce(at)) => self.desk.spoken[*at].audience = here,
            Some(Waiting::Close(conns)) => {
                let of_this_shard = here.iter().map(|number| &self.sockets[number]).filter(|at| at.shard == shard);
                *conns = of_this_shard.map(|socket| socket.key).collect();
            }
            _ => {}
        }
        Some(ask)
    }

    /// P2: what comes back is an answer to what was asked there, and true.
    pub(crate) fn on_answer(&mut self, shard: usize, id: AskId, answer: Answer) -> Result<(), String> {
        if let Answer::Announced(position) = answer {
            // The home's own people are told later.
            let Some(Waiting::Announce(at)) = self.desk.waiting.get(&(shard, id)) else {
                return Err(format!("P2 {id:?} was announced, and nobody asked"));
            };
            return self.reference.acked(self.desk.spoken[*at].tag, position, false);
        }
        let waiting = self.desk.waiting.remove(&(shard, id));
        let waiting = waiting.ok_or_else(|| format!("P2 {answer:?} to {id:?}, which shard {shard} was not asked"))?;
        match (waiting, answer) {
            (Waiting::Publish(tags), Answer::Published(outcomes)) if tags.len() == outcomes.len() => {
                for (tag, outcome) in tags.into_iter().zip(outcomes) {
                    match outcome {
                        Ok(position) => {
                            self.tally.add(Lived::ApiPublishes, 1);
                            self.reference.acked(tag, position, false)?;
                        }
                        Err(Refusal::Busy) => self.reference.refused(tag)?,
                        Err(refusal) => return Err(format!("P2 the backend was refused as {refusal:?}")),
                    }
                }
                Ok(())
            }
            (Waiting::Announce(at), Answer::Refused(Refusal::Busy)) => {
                // Nobody else will hear of it.
                self.desk.waiting.retain(|(_, other), _| *other != id);
                self.desk.spoken[at].refused = true;
                self.reference.refused(self.desk.spoken[at].tag)
            }
            (Waiting::Announce(at), Answer::Reached { passed_over, .. }) => {
                self.desk.spoken[at].shards += 1;
                self.desk.spoken[at].passed_over += passed_over;
                Ok(())
            }
            (Waiting::Close(conns), Answer::Reached { connections, .. }) => {
                self.tally.add(Lived::ApiCloses, connections);
                match conns.iter().find(|conn| self.shards[shard].is_session(**conn)) {
                    // K1
                    Some(conn) => Err(format!("K1 {conn:?} was to be closed, and goes on")),
                    None => Ok(()),
                }
            }
            (Waiting::Presence, Answer::Presence(roll)) => {
                self.tally.add(Lived::ApiLooks, 1);
                let listed = (roll.count as usize).min(self.weather.limits.members_max);
                if roll.members.as_ref().map_or(0, |members| members.len()) == listed {
                    Ok(())
                } else {
                    Err(format!("P2 {roll:?}"))
                }
            }
            (Waiting::History { room, from }, Answer::History(page)) => self.check_history(room, from, &page),
            (Waiting::Rooms, Answer::Rooms { rooms, .. }) => {
                self.tally.add(Lived::ApiLooks, 1);
                // Users may outnumber seats for a moment: who left is named after the count that a join brings along.
                let strange = rooms.iter().find(|facts| {
                    facts.messages_kept > facts.head.0 || (facts.messages_kept == 0) != (facts.bytes_kept == 0)
                });
                strange.map_or(Ok(()), |facts| Err(format!("P2 {facts:?}")))
            }
            (Waiting::Connections(most), Answer::Connections { list, count }) => {
                self.tally.add(Lived::ApiLooks, 1);
                let fits = list.len() == most.min(usize::try_from(count).unwrap_or(usize::MAX));
                if fits { Ok(()) } else { Err(format!("P2 {} of {count} listed, {most} wanted", list.len())) }
            }
            (Waiting::Revoke(revocation), Answer::Revoked(outcome)) => self.on_revoked(shard, revocation, outcome),
            (_, answer) => Err(format!("P2 {answer:?} is no answer to {id:?}")),
        }
    }

    fn on_revoked(&mut self, shard: usize, revocation: Revocation, outcome: Outcome) -> Result<(), String> {
        let remembered = outcome == Outcome::Kept;
        self.tally.add(if remembered { Lived::Revocations } else { Lived::RevocationsNotKept }, 1);
        let revoked = Revoked { revocation, remembered, at_tick: self.deeds.ticks[shard] };
        self.deeds.revoked[shard].push(revoked);
        self.shard_moved_on(shard);
        if remembered { Ok(()) } else { self.nobody_revoked_stays(shard, self.deeds.revoked[shard].len() - 1) }
    }

    /// K2: within so many ticks nobody goes on whose token was revoked.
    pub(crate) fn revocations_hold(&self, shard: usize) -> Result<(), String> {
        let due = |at_tick: u64| self.deeds.ticks[shard] == at_tick + HELD_WITHIN_TICKS;
        let all = self.deeds.revoked[shard].iter().enumerate();
        let mut due = all.filter(|(_, revoked)| revoked.remembered && due(revoked.at_tick));
        due.try_for_each(|(at, _)| self.nobody_revoked_stays(shard, at))
    }

    /// K3: within so many ticks nobody sits where the default grants do not reach who came with them.
    pub(crate) fn default_grants_hold(&self, shard: usize) -> Result<(), String> {
        let Some(reach) = self.deeds.default_since(shard, HELD_WITHIN_TICKS) else { return Ok(()) };
        for room in (0..self.weather.rooms).filter(|room| !reach.allows(Verb::Join, *room)) {
            for name in self.shards[shard].seated(&room_name(room)) {
                // A connection of the same user at this shard that may have a token with grants of its own.
                let may_have_others = |number: &usize| {
                    let client = &self.clients[*number];
                    let by_default = client.papers.last().is_some_and(|paper| paper.reach.is_none());
                    client.name == name && !(by_default && client.is_welcomed() && !client.is_refreshing())
                };
                let here = self.sockets.iter().filter(|(_, socket)| socket.shard == shard).map(|(number, _)| number);
                if !here.into_iter().any(may_have_others) {
                    return Err(format!("K3 {name} sits in room {room}, and the default is {reach:?}"));
                }
            }
        }
        Ok(())
    }

    fn nobody_revoked_stays(&self, shard: usize, at: usize) -> Result<(), String> {
        let revoked = &self.deeds.revoked[shard][at];
        for (number, socket) in self.sockets.iter().filter(|(_, socket)| socket.shard == shard) {
            let client = &self.clients[*number];
            // Who is still on the way in is not one of those who were here; and who has sent another token may hold it.
            let knows = client.is_welcomed() && client.came_since.revocations <= at && !client.is_refreshing();
            let named = client.papers.last().is_some_and(|paper| paper.is_named_by(&revoked.revocation));
            if knows && named && self.shards[shard].is_session(socket.key) {
                return Err(format!("K2 client {number} goes on with {:?}: {revoked:?}", client.papers.last()));
            }
        }
        Ok(())
    }

    /// P3: a page of a room's log is what was said there, without a hole.
    fn check_history(&mut self, room: usize, from: HistoryFrom, page: &HistoryPage) -> Result<(), String> {
        self.tally.add(Lived::ApiHistory, page.messages.len() as u64);
        let mut next = None;
        for frame in &page.messages {
            let mut bytes = frame.plain().to_vec();
            let limits = FrameLimits { message_bytes_max: 1 << 20, fragments_max: 1 };
            let mut partial = Partial::default();
            let mut reader = Reader::new(Role::Client, limits, &mut bytes);
            let Ok(Some(Incoming::Text(text))) = reader.next(&mut partial) else {
                return Err(format!("P3 {frame:?} is no frame of text"));
            };
            let Ok(ServerEvent::Message(message)) = read_event(Encoding::Json, text.as_bytes()) else {
                return Err(format!("P3 {text} is no message"));
            };
            if next.is_some_and(|next| next != message.offset) {
                return Err(format!("P3 {:?} where {next:?} was expected", message.offset));
            }
            next = Some(message.offset.next());
            let mut json = Vec::new();
            message.data.write_as(Encoding::Json, &mut json);
            let heard = Heard {
                room,
                epoch: page.epoch.map(|epoch| epoch.0),
                offset: message.offset,
                own_from: Offset(0),
                at_unix_ms: message.at_unix_ms,
                user: &message.from.user,
                event: message.event.as_deref(),
                json: &String::from_utf8_lossy(&json),
            };
            self.reference.heard(BACKEND - 1, &heard)?;
        }
        let reaches = match from {
            HistoryFrom::Newest => page.last == page.head,
            HistoryFrom::Before(offset) => page.last < offset.max(Offset(1)),
            HistoryFrom::After { .. } => true,
        };
        if reaches { Ok(()) } else { Err(format!("P3 {from:?} of room {room} ends at {:?}", page.last)) }
    }

    /// P1: at quiet every ask has its answer; A2: whoever was there all the time heard what was said to it.
    pub(crate) fn desk_is_clear(&self) -> Result<(), String> {
        if let Some(((shard, id), asked)) = self.desk.waiting.iter().next() {
            return Err(format!("P1 shard {shard} never answered {id:?}: {asked:?}"));
        }
        for Spoken { tag, room, audience, shards, passed_over, refused } in &self.desk.spoken {
            if *refused || *passed_over > 0 {
                continue;
            }
            if *shards != self.shards.len() {
                return Err(format!("P1 {shards} shards told theirs of {tag}"));
            }
            for number in audience.iter().filter(|number| self.is_alive(**number) && self.clients[**number].is_open()) {
                if *room == EVERYBODY && self.clients[*number].misses_broadcasts {
                    continue;
                }
                if !self.clients[*number].announced.get(room).is_some_and(|heard| heard.contains(tag)) {
                    return Err(format!("A2 client {number} never heard {tag} of room {room}"));
                }
            }
        }
        Ok(())
    }

    /// Whether this client's connection is a session at its shard, whatever the client knows.
    pub(crate) fn is_session(&self, number: usize) -> bool {
        self.sockets.get(&number).is_some_and(|socket| self.shards[socket.shard].is_session(socket.key))
    }
}

fn room_of(room: usize) -> RoomName {
    RoomName::parse(&room_name(room)).expect("a room of the simulation")
}

fn identity(user: &str) -> Identity {
    Identity::new(user, None).expect("a good name")
}

/// A round takes five ticks; a table that grows meanwhile takes a little more.
const HELD_WITHIN_TICKS: u64 = 7;
