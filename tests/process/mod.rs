//! The server as a process of its own, with an address, a secret and a name; and signals for it.

#[path = "../support/address.rs"]
mod address;
#[path = "../support/banner.rs"]
pub(crate) mod banner;

use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};

pub(crate) use address::free_address;
use banner::Lines;

use crate::support::engine;
use crate::support::until::until_some;

/// Killed when dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
    /// The admin listener's, at a port of its own choice.
    pub(crate) admin: SocketAddr,
}

/// Tokens of tests end in the far future.
const FOR_EVER_S: &str = "1_000_000_000_000";
pub(crate) const SECRET: &str = "only for this test, 32 bytes long!";

impl Server {
    /// Started and ready: its banner is there. `options` may give it variables, too, as `NAME=value`.
    pub(crate) fn start(address: SocketAddr, options: &[&str]) -> Self {
        Self::ready(Self::command(address, options).spawn().expect("the server starts"), address)
    }

    /// The same, and what it logs.
    pub(crate) fn start_heard(address: SocketAddr, options: &[&str]) -> (Self, Lines) {
        let mut process = Self::command(address, options).stderr(Stdio::piped()).spawn().expect("the server starts");
        let log = Lines::of(process.stderr.take().expect("stderr is piped"));
        (Self::ready(process, address), log)
    }

    fn command(address: SocketAddr, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_throng"));
        let everything = r#"[{"match":"*","can":["join","publish","presence","history"]}]"#;
        command
            .args(["serve", "--listen", &address.to_string(), "--default-grants", everything])
            .args(["--admin-listen", "127.0.0.1:0"].iter().filter(|_| !options.contains(&"--admin-listen")))
            .args(options.iter().filter(|option| !is_variable(option)))
            .env("THRONG_JWT_HS256_SECRET", SECRET)
            .env_remove("THRONG_JWT_SECRET_FILE")
            .envs([("THRONG_TOKENS_LIFE_MAX_S", FOR_EVER_S), ("THRONG_TOKENS_QUERY_TOKEN_MAX_AGE_S", FOR_EVER_S)])
            .envs(options.iter().filter(|option| is_variable(option)).filter_map(|option| option.split_once('=')))
            .stdout(Stdio::piped());
        command
    }

    fn ready(mut process: Child, address: SocketAddr) -> Self {
        let (_, admin) = banner::serves_at(&mut process);
        let admin = admin.expect("the banner says where operators look");
        Self { process, address, admin }
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.process.id(), name);
    }

    /// How it ended; waits until it has.
    pub(crate) fn ended(mut self) -> ExitStatus {
        until_some("the server has ended", || self.process.try_wait().expect("it is a child of this process"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _killed = self.process.kill();
        let _reaped = self.process.wait();
    }
}

pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.expect("kill is there").success(), "kill -{name} {pid}");
}

fn is_variable(option: &str) -> bool {
    option.starts_with(|first: char| first.is_ascii_uppercase())
}
