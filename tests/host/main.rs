//! The server on hosts that are not as we would like them: in containers, behind proxies, without io_uring.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod confined;
mod filter;
#[path = "../support/http.rs"]
mod http;
#[path = "../process/mod.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod process;
mod profile;
mod proxies;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod support;
mod unit;

use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, ExitStatus, Stdio};

use http::get;
use process::banner::Lines;
use support::until::until_some;
use support::{engine, hear, say};
use throng::runtime::engine::Engine;
use tungstenite::WebSocket;

/// A process that never outlives its test.
pub(crate) struct Mortal(pub(crate) Child);

impl Mortal {
    /// How it ended, and what it said on stderr if that is kept; waits until it has.
    pub(crate) fn ended(mut self) -> (ExitStatus, String) {
        let said = self.0.stderr.take().map(Lines::of);
        let status = until_some("the process has ended", || self.0.try_wait().unwrap());
        let said = said.map(|lines| std::iter::from_fn(|| lines.next("the end")).collect::<Vec<_>>().join("\n"));
        (status, said.unwrap_or_default())
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// What every test that starts a server relies on when it runs on the engine that `THRONG_ENGINE` names.
#[test]
fn a_test_whose_server_runs_on_another_engine_than_was_asked_for_fails() {
    for one in Engine::ALL {
        let mut server = Command::new(env!("CARGO_BIN_EXE_throng"));
        server.args(["serve", "--dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        server.args(["--engine", one.name(), "--shards", "1"]).stdout(Stdio::piped());
        let mut server = Mortal(server.spawn().unwrap());
        let believed = catch_unwind(AssertUnwindSafe(|| process::banner::serves_at(&mut server.0)));
        assert_eq!(believed.is_ok(), one == engine(), "{one}: {believed:?}");
    }
}

/// Each hears what the other says, in a room of theirs.
pub(crate) fn talk(ann: &mut WebSocket<TcpStream>, bob: &mut WebSocket<TcpStream>) {
    for person in [&mut *ann, &mut *bob] {
        say(person, r#"{"type":"join","id":1,"room":"hall"}"#);
        assert!(hear(person).contains(r#""type":"reply""#));
    }
    // The second is more than one read, and more than a proxy's buffer.
    for words in ["hello".to_owned(), "x".repeat(100_000)] {
        for turn in 0..2 {
            let (speaker, listener) = if turn == 0 { (&mut *ann, &mut *bob) } else { (&mut *bob, &mut *ann) };
            say(speaker, &format!(r#"{{"type":"publish","id":2,"room":"hall","data":"{words}"}}"#));
            assert!(hear(listener).contains(&words));
            assert!(hear(speaker).contains(r#""type":"reply""#));
        }
    }
}
