//! A world without weather, moved by hand: what a named scene is told in.

use throng::base::Encoding;
use throng::shard::Count;

use crate::client::{Asked, Key, Surroundings, Words};
use crate::crowd::upgrade;
use crate::dice::Dice;
use crate::tokens::Paper;
use crate::view::Wish;
use crate::weather::Weather;
use crate::world::{Happening, World};

/// A few shards, and people who do what they are told. Every turn checks every invariant.
pub(crate) struct Scene {
    pub(crate) world: World,
}

impl Scene {
    pub(crate) fn new(shards: u16) -> Self {
        Self::with(shards, |_| {})
    }

    /// With rules of its own.
    pub(crate) fn with(shards: u16, adjust: impl Fn(&mut Weather)) -> Self {
        let mut weather = Weather::calm(shards);
        adjust(&mut weather);
        Self { world: World::new(7, weather, Dice::new(7), |_| {}) }
    }

    /// A room whose home is this shard.
    pub(crate) fn room_at(&self, home: usize) -> usize {
        let found = (0..self.world.weather.rooms).find(|room| self.world.home_of(*room) == home);
        found.expect("sixteen names fall on every one of a few shards")
    }

    /// Somebody comes to this shard and is welcomed, and its user's home has been told.
    pub(crate) fn comes(&mut self, shard: usize, user: usize, encoding: Encoding) -> usize {
        let paper = Paper::plain(user);
        let head = upgrade(encoding, Some(&paper.signed()));
        let who = self.world.connect(shard, user, encoding, &head).expect("a free row");
        self.world.clients[who].papers.push(paper);
        self.turn(shard, &[Happening::Read(who), Happening::Tick]);
        assert_eq!(self.hears(who), ["welcome"]);
        (0..self.world.shards.len()).filter(|other| *other != shard).for_each(|other| self.mail(other));
        who
    }

    /// Somebody comes and sits down, and the room has come to rest.
    pub(crate) fn sits(&mut self, shard: usize, user: usize, encoding: Encoding, room: usize) -> usize {
        let who = self.comes(shard, user, encoding);
        self.asks(who, Asked::Join(room, plainly()));
        self.comes_to_rest();
        assert!(self.hears(who).iter().any(|line| line.starts_with("joined ")));
        who
    }

    /// A command with an `id`, on its way but not read.
    pub(crate) fn asks(&mut self, who: usize, asked: Asked) {
        let mut out = Vec::new();
        self.world.clients[who].ask(asked, true, &mut out, &mut self.world.dice, 1);
        self.world.send(who, &out);
    }

    /// A message with an `id`: its receipt is the ack.
    pub(crate) fn says(&mut self, who: usize, room: usize) {
        self.utters(who, Words { room, with_id: true, echo: None, filler: 0, pieces: 1, key: Key::None });
    }

    /// A message without an `id`: its receipt is the copy.
    pub(crate) fn says_without_id(&mut self, who: usize, room: usize) {
        self.utters(who, Words { room, with_id: false, echo: None, filler: 0, pieces: 1, key: Key::None });
    }

    /// A close frame; what is sent after it lies behind it.
    pub(crate) fn says_goodbye(&mut self, who: usize) {
        let mut out = Vec::new();
        self.world.clients[who].say_goodbye(Some(1000), &mut out, &mut self.world.dice);
        self.world.send(who, &out);
    }

    pub(crate) fn utters(&mut self, who: usize, words: Words) {
        let mut out = Vec::new();
        let world = &mut self.world;
        let mut around = Surroundings {
            weather: &world.weather,
            deeds: &world.deeds,
            now: world.now,
            reference: &mut world.reference,
            tally: &mut world.tally,
            dice: &mut world.dice,
        };
        world.clients[who].publish(&words, &mut out, &mut around);
        world.send(who, &out);
    }

    /// One turn of one shard in which exactly this happens, in this order, before anything is written.
    pub(crate) fn turn(&mut self, shard: usize, happenings: &[Happening]) {
        self.world.turn(shard, happenings).unwrap_or_else(|broken| panic!("{broken}"));
    }

    /// One turn in which everything in the inbox is opened.
    pub(crate) fn mail(&mut self, shard: usize) {
        let letters = vec![Happening::Mail; self.world.inboxes[shard].len()];
        self.turn(shard, &letters);
    }

    /// What somebody was told since it was asked last, a line each (see `diary`).
    pub(crate) fn hears(&mut self, who: usize) -> Vec<String> {
        self.world.client_reads(who, usize::MAX).unwrap_or_else(|broken| panic!("{broken}"));
        std::mem::take(&mut self.world.clients[who].diary)
    }

    /// The network breaks, the shard hears of it, the slot is free again.
    pub(crate) fn vanishes(&mut self, shard: usize, who: usize) {
        self.world.cut(who);
        self.turn(shard, &[Happening::Ended(who)]);
        self.world.pass_time(1_000);
        self.turn(shard, &[Happening::Released(who)]);
    }

    /// Everything on its way arrives, ticks come, everybody reads.
    pub(crate) fn comes_to_rest(&mut self) {
        self.world.become_quiet().unwrap_or_else(|broken| panic!("{broken}"));
    }

    pub(crate) fn count(&self, shard: usize, count: Count) -> u64 {
        self.world.shards[shard].counters().count(count)
    }

    /// The last curtain: everything is compared with the reference, everybody goes, nothing is left.
    pub(crate) fn ends(mut self) {
        self.world.settle().unwrap_or_else(|broken| panic!("{broken}"));
    }
}

/// A join without wishes.
pub(crate) fn plainly() -> Wish {
    Wish { since: None, history: 0, presence: false, ..Wish::default() }
}

/// A join that wants the newest messages.
pub(crate) fn with_history(history: u32) -> Wish {
    Wish { since: None, history, presence: false, ..Wish::default() }
}
