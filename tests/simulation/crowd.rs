//! What people and networks do to a world, drawn from its dice.

use throng::base::{ConnKey, Encoding, Epoch, Offset, Position};
use throng::wire::{HistoryFrom, Refusal};

use crate::client::{Asked, EVERYBODY, Key, PageWish, Stage, Surroundings, Words, check_room};
use crate::fleeting::{EPHEMERAL, LATEST};
use crate::frames;
use crate::tally::Lived;
use crate::tokens::{self, FORBIDDEN, Paper, Reach};
use crate::view::Wish;
use crate::world::{Happening, World};

impl World {
    /// The load: turns of shards in seeded order, with people and misfortunes between them.
    pub(crate) fn live(&mut self) -> Result<(), String> {
        (0..self.weather.rooms).for_each(check_room);
        self.live_on(self.weather.turns)?;
        match self.weather.drain_ms {
            Some(drain_ms) => self.leave(drain_ms),
            None => Ok(()),
        }
    }

    /// The server leaves while the load goes on; the shards hear of it one after the other.
    fn leave(&mut self, drain_ms: u64) -> Result<(), String> {
        for shard in 0..self.shards.len() {
            self.turn(shard, &[Happening::Drain(drain_ms)])?;
            let between = self.dice.between(0, 10);
            self.live_on(between)?;
        }
        self.live_on(self.weather.turns / 3)
    }

    fn live_on(&mut self, most: usize) -> Result<(), String> {
        let mut order: Vec<usize> = (0..self.shards.len()).collect();
        let mut turns = 0;
        while turns < most {
            self.dice.shuffle(&mut order);
            for shard in &order {
                turns += 1;
                let ms = self.dice.between(0, self.weather.step_ms_max) as u64;
                self.pass_time(ms);
                self.crowd_acts()?;
                self.operators_act();
                if !self.dice.chance(self.weather.idle_shard) {
                    self.seeded_turn(*shard)?;
                }
            }
        }
        Ok(())
    }

    /// A turn in which some of what could happen does, in any order.
    pub(crate) fn seeded_turn(&mut self, shard: usize) -> Result<(), String> {
        let mut happenings = self.what_may_happen(shard);
        self.dice.shuffle(&mut happenings);
        self.turn(shard, &happenings)
    }

    fn what_may_happen(&mut self, shard: usize) -> Vec<Happening> {
        let mut may = Vec::new();
        for (number, socket) in self.sockets.iter().filter(|(_, socket)| socket.shard == shard) {
            let number = *number;
            if socket.release_at_ms.is_some_and(|at| at <= self.now.mono_ms) {
                may.push(Happening::Released(number));
            }
            if socket.let_go {
                continue;
            }
            if socket.cut && !socket.cut_told && self.dice.chance(400) {
                may.push(Happening::Ended(number));
            }
            if socket.stalled && !socket.cut && socket.room() > 0 && self.dice.chance(500) {
                may.push(Happening::Writable(number));
            }
            if !socket.up.is_empty() {
                (0..self.dice.between(0, 3)).for_each(|_| may.push(Happening::Read(number)));
            }
        }
        let asks = self.asks[shard].len();
        (0..self.dice.between(0, asks)).for_each(|_| may.push(Happening::Ask));
        if self.board[shard].is_some() && self.dice.chance(300) {
            may.push(Happening::Rules);
        }
        let parcels = self.inboxes[shard].len();
        (0..self.dice.between(0, parcels)).for_each(|_| may.push(Happening::Mail));
        if self.now.mono_ms >= self.next_tick_ms[shard] {
            may.push(Happening::Tick);
            let late = self.dice.chance(self.weather.tick_late);
            let late_ms = if late { self.dice.between(1, self.weather.tick_late_ms_max) as u64 } else { 0 };
            self.next_tick_ms[shard] = self.now.mono_ms + self.weather.limits.tick_ms + late_ms;
        }
        if !self.stale.is_empty() && self.dice.chance(self.weather.stale_input) {
            let (of, key): (usize, ConnKey) = self.dice.pick(&self.stale);
            if of == shard {
                may.push(Happening::Stale(key));
            }
        }
        may
    }

    fn crowd_acts(&mut self) -> Result<(), String> {
        if self.dice.chance(self.weather.connect) {
            self.somebody_comes();
        }
        let alive: Vec<usize> = self.sockets.keys().copied().filter(|number| self.is_alive(*number)).collect();
        if self.dice.chance(self.weather.cut_everybody) {
            alive.iter().for_each(|number| self.cut(*number));
            return Ok(());
        }
        for number in alive {
            if self.dice.chance(self.weather.cut) {
                self.cut(number);
                continue;
            }
            let client = &mut self.clients[number];
            if self.dice.chance(self.weather.goes_mute) {
                client.mute = true;
            }
            client.deaf = if client.deaf {
                !self.dice.chance(self.weather.hears_again)
            } else {
                self.dice.chance(self.weather.goes_deaf)
            };
            let reads = !client.deaf && self.dice.chance(700);
            let may_ask = matches!(client.stage, Stage::Open | Stage::Opening) && !client.mute && !client.misbehaved;
            if reads {
                let most = self.dice.between(1, self.weather.read_bytes_max);
                self.client_reads(number, most)?;
            }
            if may_ask && self.is_alive(number) && self.dice.chance(self.weather.act / 6) {
                self.somebody_acts(number);
            }
        }
        Ok(())
    }

    fn somebody_comes(&mut self) {
        if self.sockets.len() >= self.weather.connections_max {
            return;
        }
        if self.dice.chance(self.weather.resume) && self.somebody_comes_back() {
            return;
        }
        let (shard, user) = (self.dice.below(self.shards.len()), self.dice.below(self.weather.users));
        let encoding = self.dice.pick(&Encoding::ALL);
        if self.dice.chance(self.weather.stranger) {
            let head = match self.dice.below(6) {
                0 => "POST / HTTP/1.1\r\nHost: x\r\ncontent-length: 9\r\n\r\n[1, 2, 3]".to_owned(),
                1 => "nonsense\r\n\r\n".to_owned(),
                2 => "GET /ws HT".to_owned(),
                3 => upgrade(Encoding::Json, None),
                4 => upgrade(encoding, Some(&tokens::expired())),
                _ => upgrade(encoding, Some(&Paper::plain(0).forged())),
            };
            if let Some(number) = self.connect(shard, user, encoding, &head) {
                // Half a head and silence: the server must not wait for ever.
                self.clients[number].mute = !head.ends_with("\r\n\r\n");
            }
            return;
        }
        let short = self.dice.chance(self.weather.short_token);
        let paper = Paper::draw(user, short, self.now.unix_ms / 1_000, &mut self.dice);
        let head = upgrade(encoding, Some(&paper.signed()));
        if let Some(number) = self.connect(shard, user, encoding, &head) {
            self.clients[number].papers.push(paper);
        }
    }

    /// Brings a newer token: mostly a good one, as wide as before, wider or narrower.
    fn refresh(&mut self, number: usize) {
        let user = self.clients[number].user;
        let short = self.dice.chance(self.weather.short_token);
        let mut paper = Paper::draw(user, short, self.now.unix_ms / 1_000, &mut self.dice);
        paper.reach = match self.dice.below(4) {
            0 => None,
            1 => self.clients[number].papers.last().and_then(|paper| paper.reach),
            _ => Some(Reach::draw(&mut self.dice)),
        };
        let wrong = match self.dice.below(10) {
            0 => Some(Refusal::BadToken),
            1 => Some(Refusal::OtherUser),
            _ => None,
        };
        if wrong == Some(Refusal::OtherUser) {
            paper = Paper { user: (user + 1) % 8, ..paper };
        }
        let mut out = Vec::new();
        self.clients[number].refresh(paper, wrong, &mut out, &mut self.dice);
        self.send(number, &out);
    }

    fn somebody_acts(&mut self, number: usize) {
        if self.dice.chance(self.weather.misbehave) {
            self.misbehave(number);
            return;
        }
        if self.dice.chance(self.weather.goodbye) {
            let mut out = Vec::new();
            if self.clients[number].stage == Stage::Open {
                let code = self.dice.pick(&[Some(1000), Some(1001), None]);
                self.tally.add(Lived::WentForAWhile, u64::from(code == Some(1001)));
                self.clients[number].say_goodbye(code, &mut out, &mut self.dice);
            }
            self.send(number, &out);
            return;
        }
        for _ in 0..self.dice.between(1, self.weather.burst_max) {
            if self.dice.chance(self.weather.refreshes) {
                self.refresh(number);
            }
            self.ask_something(number);
        }
    }

    fn ask_something(&mut self, number: usize) {
        let room = if self.dice.chance(20) { FORBIDDEN } else { self.dice.below(self.weather.rooms) };
        if self.dice.chance(120) {
            self.ask_fleetingly(number);
            return;
        }
        if self.dice.chance(25) {
            self.ask_about_broadcasts(number);
            return;
        }
        if self.weather.letters && self.dice.chance(120) {
            self.ask_about_letters(number);
            return;
        }
        let pieces = if self.dice.chance(self.weather.fragment) { self.dice.between(2, 5) } else { 1 };
        let roll = self.dice.below(100);
        let mut with_id = !self.dice.chance(60);
        let key = self.key(number, room);
        let client = &mut self.clients[number];
        let mut out = Vec::new();
        // Who sits in the room leaves it, mostly, and the other way round; now and then somebody errs.
        let sits = client.views.get(&room).is_some_and(|view| view.seated);
        let roll = match roll {
            0..36 if sits && !self.dice.chance(100) => 36,
            36..50 if !sits && !self.dice.chance(100) => 0,
            other => other,
        };
        match roll {
            0..36 => {
                let fresh = !client.views.contains_key(&room) && !client.is_asking(room);
                with_id |= !fresh;
                // Without an answer nobody could tell where the reader begins.
                let plain = Wish { since: None, history: 0, presence: false, ..Wish::default() };
                let wish = if with_id { self.wish(number, room) } else { plain };
                self.clients[number].ask(Asked::Join(room, wish), with_id, &mut out, &mut self.dice, pieces);
            }
            36..50 => {
                with_id |= client.is_asking(room) || client.views.get(&room).is_none_or(|view| !view.seated);
                client.ask(Asked::Leave(room), with_id, &mut out, &mut self.dice, pieces);
            }
            50..75 => {
                let words = Words {
                    room,
                    with_id: self.dice.chance(600),
                    echo: self.dice.pick(&[None, None, None, Some(true), Some(false)]),
                    filler: self.dice.below(250),
                    pieces,
                    key,
                };
                let mut around = Surroundings {
                    weather: &self.weather,
                    deeds: &self.deeds,
                    now: self.now,
                    reference: &mut self.reference,
                    tally: &mut self.tally,
                    dice: &mut self.dice,
                };
                client.publish(&words, &mut out, &mut around);
            }
            75..82 => {
                let on = self.dice.chance(700);
                self.reference.types(room, &client.name);
                client.ask(Asked::Typing(room, on), with_id, &mut out, &mut self.dice, pieces);
            }
            82..86 => {
                let newest = client.views.get(&room).and_then(|view| view.position()).map_or(0, |seen| seen.offset.0);
                let offset = Offset(self.dice.between(0, newest as usize + 2) as u64);
                self.reference.reads(room, &client.name, offset);
                let said = client.said_read.entry(room).or_default();
                *said = offset.max(*said);
                client.ask(Asked::Read(room, offset), with_id, &mut out, &mut self.dice, pieces);
            }
            86 => client.ask(Asked::Unread(room), true, &mut out, &mut self.dice, pieces),
            87..89 => {
                let wish = self.page_wish(number, room);
                self.clients[number].ask(Asked::History(room, wish), true, &mut out, &mut self.dice, pieces);
            }
            89..91 => client.ask(Asked::Presence(room), true, &mut out, &mut self.dice, pieces),
            91..94 => client.ask(Asked::Ping, with_id, &mut out, &mut self.dice, pieces),
            94..97 => client.ping(&mut out, &mut self.dice),
            kind => client.ask_wrongly(kind % 4, &mut out, &mut self.dice),
        }
        self.send(number, &out);
    }

    /// Something in a room without offsets: always with an answer, and no join or leave twice at once.
    fn ask_fleetingly(&mut self, number: usize) {
        let room = self.dice.pick(&[LATEST, EPHEMERAL]);
        let page = self.page_wish(number, room);
        let client = &mut self.clients[number];
        let (seated, position) =
            client.fleeting.get(&room).map_or((false, None), |seat| (seat.seated, seat.position()));
        let is_asking = client.is_asking(room);
        let mut out = Vec::new();
        let asked = match self.dice.below(20) {
            0..3 if seated && !is_asking => Asked::Leave(room),
            0..8 if !seated && !is_asking => {
                let since = position.filter(|_| self.dice.chance(500));
                let history = if self.dice.chance(200) { 5 } else { 0 };
                Asked::Join(room, Wish { since, history, presence: self.dice.chance(300), ..Wish::default() })
            }
            8 | 9 => {
                self.reference.types(room, &client.name);
                Asked::Typing(room, self.dice.chance(700))
            }
            10 => Asked::Read(room, Offset(1)),
            11 => Asked::Unread(room),
            12 => Asked::History(room, page),
            13 => Asked::Presence(room),
            _ => {
                self.uttered += 1;
                let with_id = self.dice.chance(500);
                client.utter(room, with_id, self.uttered, &mut out, &mut self.dice);
                return self.send(number, &out);
            }
        };
        client.ask(asked, true, &mut out, &mut self.dice, 1);
        self.send(number, &out);
    }

    /// Sits down where the backend speaks to everybody, or gets up.
    fn ask_about_broadcasts(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if client.is_asking(EVERYBODY) {
            return;
        }
        let seated = client.views.get(&EVERYBODY).is_some_and(|view| view.seated);
        let plain = Wish { since: None, history: 0, presence: false, ..Wish::default() };
        let asked = if seated { Asked::Leave(EVERYBODY) } else { Asked::Join(EVERYBODY, plain) };
        // What it was owed by its seat when it gets up it may never hear.
        client.misses_broadcasts |= seated;
        let mut out = Vec::new();
        client.ask(asked, true, &mut out, &mut self.dice, 1);
        self.send(number, &out);
    }

    /// A page from either end, or on from where somebody is; now and then of another life of the room.
    pub(crate) fn page_wish(&mut self, number: usize, room: usize) -> PageWish {
        let known = self.clients[number].views.get(&room).and_then(|view| view.position());
        let known = known.or_else(|| self.last_seen.get(&(self.clients[number].user, room)).copied());
        let from = match (self.dice.below(6), known) {
            (0, _) => HistoryFrom::Newest,
            (1, _) => HistoryFrom::Before(Offset(self.dice.roll() % 60)),
            (3.., Some(known)) => HistoryFrom::After {
                epoch: Some(known.epoch),
                offset: Offset(self.dice.between(0, known.offset.0 as usize + 2) as u64),
            },
            _ => HistoryFrom::After { epoch: Some(Epoch(self.dice.roll())), offset: Offset(self.dice.roll() % 60) },
        };
        PageWish { from, limit: self.dice.below(30) as u32 }
    }

    /// Now and then something gets a key, and what has one is said again.
    pub(crate) fn key(&mut self, number: usize, room: usize) -> Key {
        let client = &self.clients[number];
        match self.dice.below(12) {
            0 => Key::New,
            1 => {
                let all = self.reference.repeatable(&client.name, room, client.encoding);
                if all.is_empty() { Key::New } else { Key::Again(self.dice.pick(&all)) }
            }
            _ => Key::None,
        }
    }

    fn wish(&mut self, number: usize, room: usize) -> Wish {
        let presence = self.dice.chance(300);
        let history = if self.dice.chance(300) { self.dice.between(1, 25) as u32 } else { 0 };
        let seen = self.last_seen.get(&(self.clients[number].user, room)).copied();
        let since = match self.dice.below(10) {
            0..5 => seen,
            5 => Some(Position { epoch: Epoch(self.dice.roll()), offset: Offset(self.dice.roll() % 50) }),
            6 => seen.map(|seen| Position { offset: Offset(seen.offset.0 + 30), ..seen }),
            _ => None,
        };
        Wish { since, history, presence, ..Wish::default() }
    }

    fn misbehave(&mut self, number: usize) {
        let mut out = Vec::new();
        let (dice, client) = (&mut self.dice, &mut self.clients[number]);
        match dice.below(5) {
            0 => out.extend_from_slice(&[0x81, 0x02, b'{', b'}']),
            1 => frames::write_raw(&mut out, if client.encoding == Encoding::Json { 2 } else { 1 }, true, b"{}", dice),
            2 => frames::write_raw(&mut out, 1, true, &[0xff, 0xfe], dice),
            3 => frames::write_raw(&mut out, 2, true, &[0x80; 1_000], dice),
            _ => (0..8).for_each(|n| frames::write_raw(&mut out, u8::from(n == 0), false, b" ", dice)),
        }
        client.misbehaved = true;
        self.send(number, &out);
    }

    /// Puts bytes on a client's way to its shard.
    pub(crate) fn send(&mut self, number: usize, bytes: &[u8]) {
        if let Some(socket) = self.sockets.get_mut(&number).filter(|socket| !socket.let_go && !socket.cut) {
            socket.up.extend(bytes);
        }
    }
}

/// A request head that asks for this encoding, with a token or without.
pub(crate) fn upgrade(encoding: Encoding, token: Option<&str>) -> String {
    let protocol = match encoding {
        Encoding::MessagePack => "Sec-WebSocket-Protocol: throng.v1.msgpack\r\n",
        // JSON is what one gets who offers nothing.
        Encoding::Json => "",
    };
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!(
        "GET /ws HTTP/1.1\r\nHost: sim\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}{token}\r\n"
    )
}
