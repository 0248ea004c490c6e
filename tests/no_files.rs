//! No descriptor left. Alone in its process, one test after the other: the limit is the process's.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "rings/owner.rs"]
#[expect(dead_code, reason = "the other tests of rings use more of it")]
mod owner;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use owner::{Owner, engine};
use throng::base::Now;
use throng::runtime::engine::Engine;
use throng::runtime::{EventFd, Resource, ResourceLimit, resource_limit, set_resource_limit};

#[test]
fn without_a_descriptor_the_door_says_so_rests_and_opens_again() {
    let _alone = alone_with_few_files();
    let mut owner = Owner::new(64, 1);
    let mut first: Vec<TcpStream> = (0..20).map(|_| connect(&owner)).collect();
    let mut fillers = take_all_files();

    owner.turn();
    assert_eq!(owner.door.totals().refused_no_files, 16, "a bounded number is answered by the reserve");
    let answered = first.drain(..16).map(answer).collect::<Vec<_>>();
    assert!(answered.iter().all(|answer| answer.starts_with("HTTP/1.1 503 ")), "{answered:?}");

    // Four wait, and a fifth comes; the door rests: nothing is tried, and the owner may sleep.
    fillers.pop();
    first.push(connect(&owner));
    fillers.extend(std::iter::from_fn(|| EventFd::new().ok()));
    let before = owner.door.totals();
    for _ in 0..1_000 {
        owner.turn();
    }
    assert_eq!(owner.door.totals(), before);
    assert!(!owner.door.has_work() && owner.sockets.prepare_sleep(), "nothing keeps the owner awake");
    owner.sockets.wake();

    // The next tick answers them; still no descriptor.
    owner.door.on_tick(Now::default(), &mut owner.sockets);
    owner.turn();
    assert_eq!(owner.door.totals().refused_no_files, 21);
    assert!(first.drain(..).map(answer).all(|answer| answer.starts_with("HTTP/1.1 503 ")));
    assert_eq!(owner.opened, 0);

    // Descriptors come back: so does the door, by itself.
    fillers.truncate(fillers.len() - 10);
    let late = connect(&owner);
    owner.door.on_tick(Now::default(), &mut owner.sockets);
    owner.run_until("the late one is seated", |owner| owner.opened == 1);
    drop(late);
    owner.run_until("and leaves", |owner| owner.rows.is_empty());
    assert_eq!(owner.door.totals().accepted, 1);
}

#[test]
fn whose_ring_cannot_be_made_is_told_to_come_again_and_the_next_one_has_it() {
    if engine() == Engine::Epoll {
        // Past the harness, which keeps to itself what a test prints that passes.
        writeln!(std::io::stderr(), "skipped: whose_ring_cannot_be_made…: epoll has no rings").unwrap();
        return;
    }
    let _alone = alone_with_few_files();
    let mut owner = Owner::new(4, 2);
    owner.may_lack_rings = true;
    let seated: Vec<TcpStream> = (0..4).map(|_| connect(&owner)).collect();
    owner.run_until("the first ring is full", |owner| owner.opened == 4);
    let unlucky = connect(&owner);
    let mut fillers = take_all_files();
    // One for the connection itself, none for its ring.
    fillers.pop();
    owner.run_until("somebody has no ring", |owner| !owner.homeless.is_empty());
    assert!(answer(unlucky).starts_with("HTTP/1.1 503 "));
    let (door, sockets) = (owner.door.totals(), owner.sockets.totals());
    assert_eq!((door.accepted, door.refused_full, door.refused_engine, door.refused_no_files), (4, 0, 1, 0));
    assert_eq!((owner.homeless.len(), owner.rows.len(), sockets.rings, sockets.sockets), (1, 4, 1, 4));

    drop(fillers);
    let lucky = connect(&owner);
    owner.run_until("the next one has its ring", |owner| owner.rows.len() == 5);
    assert_eq!((owner.sockets.totals().rings, owner.homeless.len(), owner.door.totals().accepted), (2, 1, 5));
    drop((seated, lucky));
    owner.run_until("all leave", |owner| owner.rows.is_empty());
}

/// For as long as the guard is there nobody else is at work.
fn alone_with_few_files() -> MutexGuard<'static, ()> {
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let hard = resource_limit(Resource::OpenFiles).unwrap().hard;
    set_resource_limit(Resource::OpenFiles, ResourceLimit { soft: 128, hard }).unwrap();
    alone
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn take_all_files() -> Vec<EventFd> {
    std::iter::from_fn(|| EventFd::new().ok()).collect()
}

fn connect(owner: &Owner) -> TcpStream {
    TcpStream::connect(owner.address).unwrap()
}

/// What the server said before it closed. It has said and closed already: this does not wait.
fn answer(mut client: TcpStream) -> String {
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    text
}
