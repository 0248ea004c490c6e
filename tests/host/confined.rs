//! A server to which io_uring is forbidden as docker's default profile does it.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::filter::{Otherwise, confine};
use crate::process::banner::Lines;
use crate::{Mortal, get, process, support, talk};

/// `throng serve --dev` without io_uring; its stderr is kept.
fn serve_without_rings(more: &[&str]) -> Mortal {
    let mut command = Command::new(env!("CARGO_BIN_EXE_throng"));
    command
        .args(["serve", "--dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--shards", "2"])
        .args(more)
        .env_remove("THRONG_ENGINE")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let rings = [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];
    confine(&mut command, &rings, libc::EPERM, Otherwise::Allow);
    Mortal(command.spawn().unwrap())
}

#[test]
fn where_io_uring_is_forbidden_the_first_run_works_says_why_and_two_people_talk() {
    let mut server = serve_without_rings(&[]);
    let (lines, mut banner) = (Lines::of(server.0.stdout.take().unwrap()), Vec::new());
    while !banner.last().is_some_and(|line: &String| line.contains("THRONG_API_KEY=")) {
        banner.push(lines.next("a key for the API").unwrap_or_else(|| panic!("it ended: {banner:?}")));
    }
    let after = |word: &str| {
        let line =
            banner.iter().find_map(|line| line.trim().strip_prefix(word)).unwrap_or_else(|| panic!("{banner:?}"));
        line.trim().to_owned()
    };
    assert_eq!(after("runs on"), "2 shards, epoll, flush eager");
    let rooms = after("rooms");
    let at: SocketAddr = rooms.strip_prefix("ws://").unwrap().strip_suffix("/ws").unwrap().parse().unwrap();
    let admin = after("admin");
    let admin: SocketAddr = admin.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap().parse().unwrap();

    let person = |user: &str| {
        let (status, body) = get(at, &format!("/dev/token?user={user}"));
        assert_eq!(status, "200", "{body}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        support::open(at, body["token"].as_str().unwrap())
    };
    let (mut ann, mut bob) = (person("ann"), person("bob"));
    talk(&mut ann, &mut bob);
    let (_, scrape) = get(admin, "/metrics");
    for line in ["throng_engine{engine=\"epoll\"} 1", "throng_engine{engine=\"io_uring\"} 0"] {
        assert!(scrape.lines().any(|found| found == line), "{scrape}");
    }

    process::signal(server.0.id(), "TERM");
    let (status, said) = server.ended();
    assert_eq!(status.code(), Some(0), "{said}");
    let warnings: Vec<&str> = said.lines().filter(|line| line.contains("epoll engine")).collect();
    assert_eq!(warnings.len(), 1, "one warning: {said}");
    for part in ["WARN", "refused to this process", "--security-opt seccomp=", "`--engine epoll`"] {
        assert!(warnings[0].contains(part), "{part} is not in {}", warnings[0]);
    }
}

#[test]
fn who_insists_on_io_uring_is_told_why_it_cannot_be() {
    let (status, said) = serve_without_rings(&["--engine", "io_uring"]).ended();
    assert_eq!(status.code(), Some(1));
    for part in ["--engine io_uring: ", "refused to this process", "`--engine auto` or `epoll`"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}

#[test]
fn who_asks_for_epoll_is_not_warned() {
    let mut server = serve_without_rings(&["--engine", "epoll", "--drain-budget-ms", "0"]);
    let lines = Lines::of(server.0.stdout.take().unwrap());
    assert!(std::iter::from_fn(|| lines.next("an engine")).any(|line| line.contains("epoll, flush eager")));
    process::signal(server.0.id(), "TERM");
    let (status, said) = server.ended();
    assert!(status.success() && !said.contains("WARN"), "{said}");
}
