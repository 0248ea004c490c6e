//! Nineteen thousand clients. Their half of the sockets needs a file table of its own: a child process, this test
//! binary once more, told by its standard input what to do.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use throng::runtime::engine::Engine;
use throng::runtime::{Resource, ResourceLimit, resource_limit, set_resource_limit};

use crate::owner::{Owner, engine};

struct Crowd {
    child: Child,
    count: usize,
}

impl Crowd {
    fn gather(address: SocketAddr, count: usize) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crowd::child_that_connects_as_told", "--ignored", "--nocapture", "--test-threads=1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        writeln!(child.stdin.as_ref().unwrap(), "{address} {count}").unwrap();
        Self { child, count }
    }

    /// Kills the process: the kernel closes all of its sockets at once.
    fn vanish(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn raise_open_files() -> u64 {
    let limit = resource_limit(Resource::OpenFiles).unwrap();
    set_resource_limit(Resource::OpenFiles, ResourceLimit { soft: limit.hard, hard: limit.hard }).unwrap();
    limit.hard
}

#[test]
fn nineteen_thousand_who_vanish_at_once_overflow_nothing() {
    // Of the other tests in this process; with epoll each of ours is a descriptor of it, too.
    let taken_by_others = match engine() {
        Engine::IoUring => 1_000,
        Engine::Epoll => 5_000,
    };
    let count = 19_000.min(raise_open_files() as usize - taken_by_others);
    let mut owner = Owner::new(count as u16, 1);
    for round in 1..=2 {
        let crowd = Crowd::gather(owner.address, count);
        owner.run_until("the crowd is in", |owner| owner.opened == round * count);
        assert_eq!(owner.sockets.totals().sockets, crowd.count as u64);
        crowd.vanish();
        owner.run_until("the crowd is out", |owner| owner.rows.is_empty());
        let totals = owner.sockets.totals();
        assert_eq!((totals.sockets, totals.overflows, totals.rearmed, totals.stale), (0, 0, 0, 0));
        assert_eq!(
            (owner.ended, owner.released.len()),
            (round * count, round * count),
            "each ended once and was released once"
        );
        assert_eq!(owner.door.totals().refused_full, 0);
    }
}

#[test]
#[ignore = "not a test: the child half of `nineteen_thousand_who_vanish_at_once_overflow_nothing`"]
fn child_that_connects_as_told() {
    let mut told = BufReader::new(std::io::stdin()).lines();
    let Some(Ok(line)) = told.next() else { return };
    raise_open_files();
    let (address, count) = line.split_once(' ').unwrap();
    let (address, count): (SocketAddr, usize) = (address.parse().unwrap(), count.parse().unwrap());
    let clients: Vec<TcpStream> = (0..count).map(|_| TcpStream::connect(address).unwrap()).collect();
    // Holds them until it is killed, or until its parent is gone.
    assert!(told.next().is_none());
    drop(clients);
}
