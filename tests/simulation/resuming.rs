//! People who come back: with the session and the positions of a connection that was lost, or that still is there.

use throng::base::Encoding;
use throng::wire::client::{CommandOut, ResumeOut};

use crate::client::{Asked, Client, EVERYBODY, Sent, Stage, envelope, room_name};
use crate::crowd::upgrade;
use crate::dice::Dice;
use crate::tokens::{Paper, Reach};
use crate::view::Wish;
use crate::world::World;

/// What a client knows when it has lost its connection.
pub(crate) struct Memory {
    pub(crate) of: usize,
    pub(crate) session: String,
    pub(crate) rooms: Vec<(usize, Wish)>,
}

impl Client {
    /// Its session, and the rooms it sat in as far as it was told; `None`: it never was anybody.
    pub(crate) fn memory(&self, rooms_max: usize, whim: usize, dice: &mut Dice) -> Option<Memory> {
        let session = self.session.clone()?;
        let sat = self.views.iter().filter(|(_, view)| view.seated && !view.left_silently);
        let wish = |view: &crate::view::View, dice: &mut Dice| Wish {
            since: view.position().filter(|_| !dice.chance(whim / 3)),
            history: 0,
            presence: dice.chance(whim),
            resumes: true,
        };
        let mut rooms: Vec<(usize, Wish)> = sat.map(|(room, view)| (*room, wish(view, dice))).collect();
        for (room, seat) in self.fleeting.iter().filter(|(_, seat)| seat.seated) {
            let since = seat.position().filter(|_| dice.chance(500));
            rooms.push((*room, Wish { since, history: 0, presence: dice.chance(whim), resumes: true }));
        }
        for (room, wish) in &mut rooms {
            if *room == EVERYBODY {
                // What was said before it is told without a seat, or not at all.
                wish.since = None;
            }
        }
        rooms.truncate(rooms_max);
        if let Some(first) = rooms.first().copied().filter(|_| rooms.len() < rooms_max && dice.chance(whim / 3)) {
            // Some libraries are not careful.
            rooms.push(first);
        }
        Some(Memory { of: self.number, session, rooms })
    }

    /// Goes on with a session: all its rooms in one command, each with an answer of its own.
    pub(crate) fn resume(&mut self, memory: &Memory, out: &mut Vec<u8>, dice: &mut Dice) {
        self.resumes = Some(memory.of);
        let id = self.sequence + 1;
        let ids: Vec<u64> = (id + 1..).take(memory.rooms.len()).collect();
        let names: Vec<String> = memory.rooms.iter().map(|(room, _)| room_name(*room)).collect();
        let rooms: Vec<ResumeOut<'_>> = memory
            .rooms
            .iter()
            .zip(&names)
            .zip(&ids)
            .map(|(((_, wish), room), id)| ResumeOut {
                room,
                id: Some(*id),
                since: wish.since,
                history: None,
                presence: wish.presence,
            })
            .collect();
        let session = (!self.greets).then_some(memory.session.as_str());
        let bytes = envelope(self.encoding, Some(id), &CommandOut::Resume { session, rooms: &rooms });
        self.send(&bytes, Some(Asked::Resume(ids.clone())), out, dice, 1);
        for ((room, wish), id) in memory.rooms.iter().zip(ids) {
            let sent = Sent { asked: Asked::Join(*room, *wish), papers: 0, since: self.since };
            self.outstanding.insert(id, sent);
            self.sequence = id;
        }
    }
}

impl World {
    /// Somebody who lost its connection, or has it still, comes to any shard. False: nobody is there who could.
    pub(crate) fn somebody_comes_back(&mut self) -> bool {
        let lives = self.dice.chance(self.weather.take_over);
        let could = |client: &&Client| client.is_welcomed() && (client.stage == Stage::Open) == lives;
        let could: Vec<usize> = self.clients.iter().filter(could).map(|client| client.number).collect();
        let Some(recent) = could.len().checked_sub(1) else { return false };
        // Mostly somebody who was here a moment ago; now and then one of long ago, who may have been back since.
        let among = if self.dice.chance(700) { 4 } else { could.len() };
        let back = self.dice.below(among);
        let of = could[recent.saturating_sub(back)];
        let shard = self.dice.below(self.shards.len());
        self.comes_back(of, shard);
        true
    }

    /// A new connection goes on with the session of this client. `None`: the shard is full.
    pub(crate) fn comes_back(&mut self, of: usize, shard: usize) -> Option<usize> {
        let limits = &self.weather.limits;
        // What does not fit one message is joined by itself.
        let rooms_max = limits.rooms_per_connection_max.min((limits.message_bytes_max - 130) / 80);
        let whim = self.weather.whim;
        let memory = self.clients[of].memory(rooms_max, whim, &mut self.dice)?;
        let (user, encoding) = (self.clients[of].user, self.dice.pick(&Encoding::ALL));
        let mut paper = Paper::draw(user, false, self.now.unix_ms / 1_000, &mut self.dice);
        if whim == 0 {
            paper = Paper::plain(user);
        } else if self.dice.chance(whim) {
            paper.reach = Some(Reach::draw(&mut self.dice));
        }
        let (token, greets) = (paper.signed(), self.dice.chance(whim));
        let head = if greets { offer(encoding) } else { upgrade(encoding, Some(&token)) };
        let number = self.connect(shard, user, encoding, &head)?;
        self.clients[of].succeeded = true;
        let client = &mut self.clients[number];
        client.greets = greets;
        client.papers.push(paper);
        let mut out = Vec::new();
        if greets {
            let hello = envelope(encoding, None, &CommandOut::Hello { token: &token, session: Some(&memory.session) });
            client.send(&hello, None, &mut out, &mut self.dice, 1);
        }
        client.resume(&memory, &mut out, &mut self.dice);
        self.send(number, &out);
        Some(number)
    }

    /// T1: a session that lives, or was lost a moment ago, is resumed. T2: by one only.
    pub(crate) fn is_rightly_resumed(&mut self, number: usize) -> Result<(), String> {
        let client = &mut self.clients[number];
        let (Some(of), Some(told)) = (client.resumes, client.resume_told.take()) else { return Ok(()) };
        // Nothing is told twice.
        client.resumes = None;
        if told {
            let first = self.resumed.insert(of);
            return if first { Ok(()) } else { Err(format!("T2 the session of client {of} was resumed twice")) };
        }
        let rivals = self.clients.iter().filter(|client| client.resumes == Some(of)).count();
        let (old, limits) = (&self.clients[of], &self.weather.limits);
        let kept = limits.resume_window_ms >= 600_000 && limits.sessions_kept_max >= 100_000;
        let lost = matches!(old.stage, Stage::Open | Stage::Ended) && !old.misbehaved && !old.said_goodbye;
        // Who was revoked, sent away by somebody, or was one too many of its user has no session to go on with.
        let sent_away = self.deeds.user_max_ever > 0
            || [4006, 4501].iter().any(|code| self.deeds.may_have_kicked(old, *code))
            || old.papers.iter().any(|paper| self.deeds.has_revoked(old.shard, paper));
        if kept && lost && !sent_away && rivals == 0 && !self.resumed.contains(&of) {
            return Err(format!("T1 client {number} was not let go on with the session of client {of}"));
        }
        Ok(())
    }

    /// T3: whoever's session went on elsewhere has no connection any more.
    pub(crate) fn nobody_lives_twice(&self) -> Result<(), String> {
        match self.resumed.iter().find(|old| self.is_alive(**old) && self.clients[**old].is_open()) {
            Some(old) => Err(format!("T3 the session of client {old} went on elsewhere, and it is still served")),
            None => Ok(()),
        }
    }
}

/// A request head that brings no token.
fn offer(encoding: Encoding) -> String {
    let protocol = match encoding {
        Encoding::MessagePack => "throng.v1.msgpack",
        Encoding::Json => "throng.v1.json",
    };
    let head = upgrade(Encoding::Json, None);
    let lines = head.strip_suffix("\r\n").expect("a head ends in an empty line");
    format!("{lines}Sec-WebSocket-Protocol: {protocol}\r\n\r\n")
}
