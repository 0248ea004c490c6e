//! Servers of one address whose shards answer as a test says: what reaches whom, and what is said where it does not.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream as StdStream;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use super::*;
use crate::control::AdminRules;
use crate::runtime::accept;
use crate::runtime::asks::connect;
use crate::runtime::mailbox::Bell;
use crate::shard::Homes;
use line::LINE_BYTES_MAX;
use place::{Names, PLACES};
use sharing::Fault;
use siblings::LINKS_MAX;
use tokio::time::timeout;

/// A server, but for its sockets.
struct House {
    revoker: Revoker,
    /// What its shards were asked to revoke.
    revoked: Arc<Mutex<Vec<Revocation>>>,
    /// Otherwise they say nothing.
    answers: Arc<AtomicBool>,
}

impl House {
    /// With two shards.
    fn new() -> Self {
        let rules = AdminRules {
            keys: Vec::new(),
            message_bytes_max: 1,
            depth_max: 1,
            revocations_max: 9,
            revocation_life_s: 600,
        };
        let (desk, inbox) = Desk::new(rules);
        let bells: Vec<_> = (0..2).map(|_| Arc::new(Bell::new().unwrap())).collect();
        let (asks, inboxes) = connect(&bells, 64);
        desk.open(asks, Homes::new([1, 2], 2));
        tokio::spawn(desk.clone().listen(inbox));
        let (revoked, answers) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(true)));
        let (seen, answering, tell) = (Arc::clone(&revoked), Arc::clone(&answers), desk.tell());
        tokio::spawn(async move {
            loop {
                for (shard, inbox) in inboxes.iter().enumerate() {
                    let Ok(ask) = inbox.try_recv() else { continue };
                    let Question::Revoke(revocation) = ask.question else { panic!("nothing else is asked") };
                    if shard == 0 {
                        seen.lock().unwrap().push(revocation);
                    }
                    if answering.load(Ordering::Relaxed) {
                        tell(ask.id, Answer::Revoked(Revoked::Kept));
                    }
                }
                tokio::task::yield_now().await;
            }
        });
        Self { revoker: Revoker::new(desk), revoked, answers }
    }

    /// Begins at this address, and is there when it has all that it is told. Then its shards are born.
    async fn begins(address: SocketAddr, takeover: bool) -> (Self, Vec<Remembered>) {
        let house = Self::new();
        let (begin, begun) = std::sync::mpsc::channel();
        tokio::spawn(house.revoker.clone().share(Sharing { address, takeover }, begin));
        until(|| begun.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected)).await;
        let inherited = house.revoker.inherit();
        (house, inherited)
    }

    async fn revokes(&self, revocation: &Revocation) -> Outcome {
        self.revoker.revoke(revocation.clone(), PATIENCE).await.unwrap()
    }

    fn has_revoked(&self) -> Vec<Revocation> {
        self.revoked.lock().unwrap().clone()
    }

    fn gauge(&self, name: &str) -> u64 {
        let families = self.revoker.families();
        let family = families.iter().find(|family| family.name == name).unwrap();
        let crate::control::Value::Number(value) = family.samples[0].value else { panic!("a number") };
        value
    }
}

fn token(jti: &str) -> Revocation {
    Revocation::Token { jti: jti.into() }
}

fn user(user: &str) -> Revocation {
    Revocation::User { user: user.into(), issued_before_unix_s: 7 }
}

/// An address that no other test, and nobody else's, has; nobody listens there.
fn address() -> SocketAddr {
    static NUMBERS: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NUMBERS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let process = std::process::id();
    let port = u16::try_from(process % 60_000).unwrap() + 1;
    SocketAddr::from((Ipv4Addr::new(127, 1 + (process / 60_000 % 200) as u8, high, low), port))
}

async fn until(mut fact: impl FnMut() -> bool) {
    while !fact() {
        tokio::task::yield_now().await;
    }
}

fn in_time(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ended = runtime.block_on(async { timeout(HANGS, test).await });
    ended.expect("nobody asks or answers any more");
}

/// Somebody who calls the server at this address, and says this.
async fn caller(address: SocketAddr, words: &str) -> StdStream {
    let names = Names::of(address).unwrap();
    let stream = names.connect(Place::new(0).unwrap()).await.unwrap().expect("it is there").into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    (&stream).write_all(words.as_bytes()).unwrap();
    stream
}

#[test]
fn the_next_is_born_with_what_the_one_before_remembers_and_from_then_on_both_know_of_each() {
    in_time(async {
        let address = address();
        let (old, nothing) = House::begins(address, false).await;
        assert_eq!(nothing, []);
        assert_eq!(old.revokes(&token("before")).await, Outcome::DONE);
        let (new, inherited) = House::begins(address, true).await;
        assert!(matches!(&inherited[..], [one] if one.revocation == token("before") && one.at_unix_s > 0));
        assert_eq!(new.has_revoked(), [], "its shards are born with it, and need no letter");
        assert_eq!([old.gauge("throng_siblings"), new.gauge("throng_siblings")], [1, 1]);
        assert_eq!(old.revokes(&user("ann")).await, Outcome::DONE);
        assert_eq!(new.revokes(&user("bob")).await, Outcome::DONE);
        // Nothing came twice: what was told is not told on.
        assert_eq!(old.has_revoked(), [token("before"), user("ann"), user("bob")]);
        assert_eq!(new.has_revoked(), [user("ann"), user("bob")]);
        // A third one hears from both, each of the two tells it, and it is told once.
        let (next, inherited) = House::begins(address, true).await;
        assert_eq!(inherited.len(), 3);
        assert_eq!(old.revokes(&token("later")).await, Outcome::DONE);
        for house in [&old, &new, &next] {
            assert_eq!(house.has_revoked().last(), Some(&token("later")));
        }
        assert_eq!((next.has_revoked().len(), next.gauge("throng_siblings")), (1, 2));
        // Without --takeover nobody is called.
        let (alone, nothing) = House::begins(address, false).await;
        assert_eq!((nothing.len(), alone.gauge("throng_siblings")), (0, 0));
    });
}

#[test]
fn what_no_shard_of_the_other_confirms_is_incomplete() {
    in_time(async {
        let address = address();
        let (old, _) = House::begins(address, false).await;
        let (new, _) = House::begins(address, true).await;
        new.answers.store(false, Ordering::Relaxed);
        let soon = Duration::from_millis(1);
        assert_eq!(old.revoker.revoke(token("a"), soon).await.unwrap(), Outcome::UNKNOWN);
        assert_eq!(old.gauge("throng_revocations_unshared"), 1);
        new.answers.store(true, Ordering::Relaxed);
        assert_eq!(old.revokes(&token("a")).await, Outcome::DONE, "made again it is done");
        assert!(new.has_revoked().contains(&token("a")));
    });
}

#[test]
fn a_sibling_that_is_there_and_does_not_talk_makes_each_revocation_incomplete_until_it_has_ended() {
    in_time(async {
        let address = address();
        let (old, _) = House::begins(address, false).await;
        // It has a name, says that it is there, and then what it must not.
        let place = Place::new(PLACES - 1).unwrap();
        let names = Names::of(address).unwrap();
        let name = names.bind(place).unwrap();
        let hello = format!("{{\"hello\":{{\"version\":1,\"place\":{}}}}}\n", place.number());
        let silent = caller(address, &hello).await;
        until(|| old.gauge("throng_siblings") == 1).await;
        let soon = Duration::from_millis(1);
        assert_eq!(old.revoker.revoke(token("a"), soon).await.unwrap(), Outcome::UNKNOWN, "it answers nothing");
        (&silent).write_all(b"\"what\"\n").unwrap();
        until(|| old.gauge("throng_siblings_missing") == 1).await;
        assert_eq!(old.gauge("throng_siblings"), 0);
        assert_eq!(old.revokes(&token("a")).await, Outcome::UNKNOWN);
        drop((silent, name));
        until(|| old.gauge("throng_siblings_missing") == 0).await;
        assert_eq!(old.revokes(&token("a")).await, Outcome::DONE);
        // One that ends while it is asked has nobody any more.
        let leaving = caller(address, &hello).await;
        until(|| old.gauge("throng_siblings") == 1).await;
        let asked = token("b");
        let (outcome, ()) = tokio::join!(old.revokes(&asked), async { drop(leaving) });
        assert_eq!((outcome, old.gauge("throng_siblings_missing")), (Outcome::DONE, 0));
    });
}

#[test]
fn whoever_says_what_it_must_not_is_cut_off_by_name_and_harms_nobody() {
    in_time(async {
        let address = address();
        let (old, _) = House::begins(address, false).await;
        let hello = "{\"hello\":{\"version\":1,\"place\":5}}\n";
        let known = "{\"known\":{\"at\":1,\"what\":{\"jti\":\"x\"}}}\n";
        let cases = [
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), Fault::Malformed),
            ("{\"hello\":{\"version\":2,\"place\":5}}\n".to_owned(), Fault::Version),
            ("{\"hello\":{\"version\":1,\"place\":8}}\n".to_owned(), Fault::Malformed),
            // Its own place.
            ("{\"hello\":{\"version\":1,\"place\":0}}\n".to_owned(), Fault::Malformed),
            (known.to_owned(), Fault::Malformed),
            (format!("{hello}{hello}"), Fault::Malformed),
            (format!("{hello}\"complete\"\n{known}"), Fault::Malformed),
            (format!("{hello}{{\"revoke\":{{\"id\":1,\"what\":{{\"jti\":\"x\"}}}}}}\n"), Fault::Malformed),
            (format!("{hello}{}", "[".repeat(LINE_BYTES_MAX)), Fault::TooLong),
            (format!("{hello}{}\n", "[".repeat(1_000)), Fault::Malformed),
        ];
        for (words, fault) in cases {
            let before = old.revoker.counts().faults(fault);
            let _stays = caller(address, &words).await;
            until(|| old.revoker.counts().faults(fault) == before + 1).await;
        }
        // A number that nobody waits for, what cannot be revoked, and an end in the middle of a line: no fault.
        let odd =
            "{\"known\":{\"at\":18446744073709551615,\"what\":{\"everybody\":true,\"issued_before\":99999999999}}}\n";
        let done = "{\"done\":{\"id\":99,\"remembered\":true,\"complete\":true}}\n";
        let odd = caller(address, &format!("{hello}{odd}{done}\"complete\"\n\"revo")).await;
        until(|| old.gauge("throng_revocations_unshared") == 1 && old.gauge("throng_siblings") == 1).await;
        drop(odd);
        until(|| old.gauge("throng_siblings") == 0).await;
        let (new, _) = House::begins(address, true).await;
        assert_eq!(new.revokes(&token("t")).await, Outcome::DONE);
        assert_eq!(old.has_revoked(), [token("t")]);
    });
}

#[test]
fn more_than_are_taken_in_are_turned_away_and_what_finds_no_room_is_said() {
    in_time(async {
        let address = address();
        let (old, _) = House::begins(address, false).await;
        let mut callers = Vec::new();
        for _ in 0..LINKS_MAX {
            callers.push(caller(address, "").await);
        }
        let _one_more = caller(address, "").await;
        until(|| old.revoker.counts().faults(Fault::TooMany) == 1).await;
        drop(callers);
        // Ten of them, and there is room for nine: the shards are told of each.
        let known = (0..10).map(|n| format!("{{\"known\":{{\"at\":9999999999,\"what\":{{\"jti\":\"{n}\"}}}}}}\n"));
        let words = format!("{{\"hello\":{{\"version\":1,\"place\":5}}}}\n{}\"complete\"\n", known.collect::<String>());
        let told = || old.gauge("throng_revocations_unshared") == 1;
        let mut talks = loop {
            // Those before it may not have been missed yet.
            let turned_away = old.revoker.counts().faults(Fault::TooMany);
            let talks = caller(address, &words).await;
            until(|| told() || old.revoker.counts().faults(Fault::TooMany) > turned_away).await;
            if told() {
                break talks;
            }
        };
        assert_eq!(old.has_revoked().len(), 10);
        // The same where it is asked for.
        talks.write_all(b"{\"revoke\":{\"id\":1,\"what\":{\"jti\":\"t\"}}}\n").unwrap();
        until(|| old.has_revoked().len() == 11).await;
        assert_eq!(old.revoker.inherit().len(), 9);
    });
}

#[test]
fn one_that_listens_at_the_address_and_is_not_to_be_found_is_not_passed_over_in_silence() {
    in_time(async {
        let other = accept::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 1).unwrap();
        let address = TcpListener::local_addr(&other).unwrap();
        let (new, inherited) = House::begins(address, true).await;
        assert_eq!(inherited, []);
        assert_eq!(new.revoker.counts().faults(Fault::NotFound), 1);
        assert_eq!(new.revokes(&token("t")).await, Outcome::UNKNOWN);
        assert_eq!(new.gauge("throng_siblings_missing"), 1);
        assert_eq!(new.has_revoked(), [token("t")], "here it holds all the same");
        // Nobody is there at all: then nobody is missing.
        let (alone, _) = House::begins(self::address(), true).await;
        assert_eq!(alone.revokes(&token("t")).await, Outcome::DONE);
    });
}

#[test]
fn who_finds_no_place_says_so_and_goes_on() {
    in_time(async {
        let address = address();
        let names = Names::of(address).unwrap();
        let mut taken: Vec<_> = std::iter::from_fn(|| names.take_place().unwrap()).collect();
        assert_eq!(taken.len(), usize::from(PLACES));
        let (crowded, _) = House::begins(address, false).await;
        assert_eq!(crowded.revoker.counts().faults(Fault::NoPlace), 1);
        assert_eq!(crowded.revokes(&token("t")).await, Outcome::DONE);
        // A place is free again as soon as who had it has ended.
        let (place, listener) = taken.swap_remove(3);
        assert!(!names.is_free(place));
        drop(listener);
        assert!(names.is_free(place));
    });
}

const PATIENCE: Duration = Duration::from_secs(600);
/// No test takes as long, on whatever machine.
const HANGS: Duration = Duration::from_secs(120);
