//! The server itself, as a process of its own, from the same build.

#[path = "../../../tests/support/address.rs"]
mod address;
#[path = "../../../tests/support/banner.rs"]
mod banner;
#[path = "../../../tests/support/engine.rs"]
mod engine;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

pub(crate) use address::free_address;

pub(crate) const SECRET: &str = "only for this test, 32 bytes long!";

/// Killed when dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Server {
    /// Started at `address` and ready. `options` may give it variables, too, as `NAME=value`.
    pub(crate) fn start(address: SocketAddr, options: &[&str]) -> Self {
        let everything = r#"[{"match":"*","can":["join","publish","presence","history"]}]"#;
        let mut process = Command::new(program())
            .args(["serve", "--listen", &address.to_string(), "--admin-listen", "127.0.0.1:0", "--shards", "1"])
            .args(["--default-grants", everything])
            .args(options.iter().filter(|option| !is_variable(option)))
            .envs(options.iter().filter(|option| is_variable(option)).filter_map(|option| option.split_once('=')))
            .env("THRONG_JWT_HS256_SECRET", SECRET)
            .env_remove("THRONG_JWT_SECRET_FILE")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let (_, admin) = banner::serves_at(&mut process);
        let admin = admin.expect("the banner says where operators look");
        Self { process, address, admin }
    }

    pub(crate) fn anywhere() -> Self {
        Self::start(free_address(), &[])
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Tells it to leave.
    pub(crate) fn leave(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        assert!(sent.expect("kill is there").success());
    }

    /// Somebody puts this to its public door, hears the answer and goes.
    pub(crate) fn is_asked(&self, request: &str) {
        ask(self.address, request);
    }

    /// A number of its `/metrics`, by its whole name with labels.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        let answer = ask(self.admin, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let value = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no {name} in {answer}"))
    }

    /// The words that lead to it.
    pub(crate) fn url(&self) -> String {
        format!("--url ws://{}/ws", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have left already.
        let _killed = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(request.as_bytes()).expect("it takes a request");
    let mut answer = vec![0; 4_096];
    let length = stream.read(&mut answer).expect("it answers");
    answer.truncate(length);
    // A server that has said goodbye waits for ours. It may end by a reset.
    let _told = stream.shutdown(Shutdown::Write);
    let _length = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The server's program lies beside the generator's.
fn program() -> PathBuf {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_throng-load")).with_file_name("throng");
    assert!(program.exists(), "{} is not built: cargo build --bin throng, or test the workspace", program.display());
    program
}

fn is_variable(option: &str) -> bool {
    option.starts_with(|first: char| first.is_ascii_uppercase())
}
