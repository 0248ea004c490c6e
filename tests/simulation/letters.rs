//! Letters: what people `send` to each other lies in inboxes, with positions, keys and gaps as in any room, and waits there
//! while nobody of the addressee's is here.
//!
//! In worlds with letters the backend speaks to everybody or to rooms, not to single users: what comes to an inbox then comes
//! to those who sit in it, and a view of it is a view like any other.

use throng::base::Encoding::{Json, MessagePack};
use throng::base::Position;
use throng::shard::Count;

use crate::client::{Asked, EVERYBODY, Key, Stage, Surroundings, Words, inbox_of};
use crate::scene::{Scene, plainly};
use crate::view::Wish;
use crate::world::Happening::Read;
use crate::world::World;

impl World {
    /// Every room whose people and messages are compared.
    pub(crate) fn rooms_compared(&self) -> Vec<usize> {
        let inboxes = (0..self.weather.users).filter(|_| self.weather.letters).map(inbox_of);
        (0..self.weather.rooms).chain([EVERYBODY]).chain(inboxes).collect()
    }

    /// Somebody opens or closes the letter box, looks into it, or writes to somebody else.
    pub(crate) fn ask_about_letters(&mut self, number: usize) {
        let (user, own) = (self.clients[number].user, inbox_of(self.clients[number].user));
        let sits = self.clients[number].views.get(&own).is_some_and(|view| view.seated);
        let mut out = Vec::new();
        match self.dice.below(10) {
            0..2 if !sits && !self.clients[number].is_asking(own) => {
                let wish = self.letter_wish(number, own);
                self.clients[number].ask(Asked::Join(own, wish), true, &mut out, &mut self.dice, 1);
            }
            2 if sits => self.clients[number].ask(Asked::Leave(own), true, &mut out, &mut self.dice, 1),
            3 => self.clients[number].ask(Asked::Unread(own), true, &mut out, &mut self.dice, 1),
            4 => {
                let wish = self.page_wish(number, own);
                self.clients[number].ask(Asked::History(own, wish), true, &mut out, &mut self.dice, 1);
            }
            _ => {
                let to = (user + 1 + self.dice.below(self.weather.users - 1)) % self.weather.users;
                let words = Words {
                    room: inbox_of(to),
                    with_id: self.dice.chance(600),
                    echo: None,
                    filler: self.dice.below(250),
                    pieces: 1,
                    key: self.key(number, inbox_of(to)),
                };
                let mut around = Surroundings {
                    weather: &self.weather,
                    deeds: &self.deeds,
                    now: self.now,
                    reference: &mut self.reference,
                    tally: &mut self.tally,
                    dice: &mut self.dice,
                };
                self.clients[number].publish(&words, &mut out, &mut around);
            }
        }
        self.send(number, &out);
    }

    /// From where the user had come to, or with the newest page.
    fn letter_wish(&mut self, number: usize, own: usize) -> Wish {
        let seen = self.last_seen.get(&(self.clients[number].user, own)).copied();
        let since: Option<Position> = seen.filter(|_| self.dice.chance(700));
        Wish { since, ..Wish::default() }
    }
}

/// A world in which people write to each other.
fn letters(shards: u16) -> Scene {
    Scene::with(shards, |weather| weather.letters = true)
}

fn writes(scene: &mut Scene, who: usize, to: usize, key: Key) {
    let room = inbox_of(to);
    scene.utters(who, Words { room, with_id: true, echo: None, filler: 0, pieces: 1, key });
    scene.comes_to_rest();
}

fn opens(scene: &mut Scene, who: usize, wish: Wish) -> Vec<String> {
    let own = inbox_of(scene.world.clients[who].user);
    scene.asks(who, Asked::Join(own, wish));
    scene.comes_to_rest();
    scene.hears(who)
}

#[test]
fn a_letter_comes_to_every_connection_of_its_addressee_and_to_nobody_else() {
    let mut scene = letters(2);
    // User 1 may write to everybody.
    let writer = scene.comes(0, 1, Json);
    let tabs = [scene.comes(0, 2, Json), scene.comes(1, 2, MessagePack)];
    let other = scene.comes(1, 4, Json);
    tabs.into_iter().for_each(|tab| assert_eq!(opens(&mut scene, tab, plainly()), ["joined 0"]));
    opens(&mut scene, other, plainly());
    writes(&mut scene, writer, 2, Key::None);
    assert_eq!(scene.hears(writer), ["ack 1"]);
    assert_eq!((scene.hears(tabs[0]), scene.hears(tabs[1]), scene.hears(other)), (one(), one(), Vec::new()));
    scene.ends();
}

fn one() -> Vec<String> {
    vec!["#1".to_owned()]
}

#[test]
fn letters_wait_while_nobody_is_there_and_come_once_to_whoever_comes_back() {
    for shard in [0, 1] {
        let mut scene = letters(2);
        let (writer, reader) = (scene.comes(0, 1, Json), scene.comes(1, 2, Json));
        assert_eq!(opens(&mut scene, reader, plainly()), ["joined 0"]);
        writes(&mut scene, writer, 2, Key::New);
        assert_eq!(scene.hears(reader), ["#1"]);
        scene.vanishes(1, reader);
        writes(&mut scene, writer, 2, Key::New);
        // The same letter again, as somebody does who had no answer.
        let again = scene.world.reference.next_tag() - 1;
        writes(&mut scene, writer, 2, Key::Again(again));
        writes(&mut scene, writer, 2, Key::None);
        assert_eq!(scene.hears(writer), ["ack 1", "ack 2", "ack 2", "ack 3"]);
        let back = scene.world.comes_back(reader, shard).expect("a free row");
        scene.turn(shard, &[Read(back)]);
        scene.comes_to_rest();
        let heard = scene.hears(back);
        let letters: Vec<&String> = heard.iter().filter(|line| line.starts_with('#')).collect();
        assert_eq!(letters, ["#2", "#3"], "{heard:?}");
        assert!(heard.contains(&"joined 3 recovered".to_owned()), "{heard:?}");
        assert_eq!(scene.count(shard, Count::Resumed), 1);
        // Another device, which knows of nothing, gets the newest page.
        let device = scene.comes(0, 2, MessagePack);
        assert_eq!(opens(&mut scene, device, plainly()), ["joined 3", "#1", "#2", "#3"]);
        scene.ends();
    }
}

#[test]
fn letters_beyond_what_the_inbox_keeps_are_a_gap() {
    let mut scene = letters(2);
    let (writer, reader) = (scene.comes(0, 1, Json), scene.comes(1, 2, Json));
    opens(&mut scene, reader, plainly());
    writes(&mut scene, writer, 2, Key::None);
    scene.hears(reader);
    scene.world.cut(reader);
    scene.comes_to_rest();
    (0..25).for_each(|_| writes(&mut scene, writer, 2, Key::None));
    let back = scene.world.comes_back(reader, 0).expect("a free row");
    scene.turn(0, &[Read(back)]);
    scene.comes_to_rest();
    let heard = scene.hears(back);
    assert!(heard.contains(&"gap 2..=6 retention".to_owned()), "{heard:?}");
    assert_eq!(heard.iter().filter(|line| line.starts_with('#')).count(), 20);
    scene.ends();
}

#[test]
fn who_holds_no_grant_for_letters_is_refused_and_has_an_inbox_all_the_same() {
    use crate::tokens::Reach;
    let mut scene = letters(1);
    let reader = scene.comes(0, 2, Json);
    let paper = crate::tokens::Paper {
        reach: Some(Reach::Some { rooms: 1, presence: true }),
        ..crate::tokens::Paper::plain(4)
    };
    let head = crate::crowd::upgrade(Json, Some(&paper.signed()));
    let narrow = scene.world.connect(0, 4, Json, &head).expect("a free row");
    scene.world.clients[narrow].papers.push(paper);
    scene.turn(0, &[Read(narrow)]);
    assert_eq!(scene.hears(narrow), ["welcome"]);
    writes(&mut scene, narrow, 2, Key::None);
    assert_eq!(scene.hears(narrow), ["refused 1 forbidden"]);
    assert_eq!(opens(&mut scene, narrow, plainly()), ["joined 0"]);
    assert_eq!(scene.world.clients[reader].stage, Stage::Open);
    scene.ends();
}
