//! No descriptor left. Alone in its process: the limit is the process's.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "rings/owner.rs"]
#[expect(dead_code, reason = "the other tests of rings use more of it")]
mod owner;

use std::io::Read;
use std::net::TcpStream;

use owner::Owner;
use throng::base::Now;
use throng::runtime::{EventFd, Resource, ResourceLimit, resource_limit, set_resource_limit};

#[test]
fn without_a_descriptor_the_door_says_so_rests_and_opens_again() {
    let hard = resource_limit(Resource::OpenFiles).unwrap().hard;
    set_resource_limit(Resource::OpenFiles, ResourceLimit { soft: 128, hard }).unwrap();
    let mut owner = Owner::new(64, 1);
    let mut first: Vec<TcpStream> = (0..20).map(|_| connect(&owner)).collect();
    let mut fillers: Vec<EventFd> = std::iter::from_fn(|| EventFd::new().ok()).collect();

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

fn connect(owner: &Owner) -> TcpStream {
    TcpStream::connect(owner.address).unwrap()
}

/// What the server said before it closed. It has said and closed already: this does not wait.
fn answer(mut client: TcpStream) -> String {
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    text
}
