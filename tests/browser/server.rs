//! The server as people start it, and tokens it takes.

#[path = "../support/banner.rs"]
mod banner;
#[path = "../support/engine.rs"]
mod engine;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// The server under test; killed when dropped.
pub(crate) struct Server(Child);

impl Server {
    /// Started with `--dev` and these arguments, and ready: its banner is there. Variables are given as `NAME=value`.
    pub(crate) fn start(port: u16, more: &[&str]) -> Self {
        let is_variable = |option: &&&str| option.starts_with(|first: char| first.is_ascii_uppercase());
        let mut process = Command::new(env!("CARGO_BIN_EXE_throng"))
            .args(["serve", "--dev", "--shards", "2", "--listen", &format!("127.0.0.1:{port}")])
            .args(more.iter().filter(|option| !is_variable(option)))
            .envs(more.iter().filter(is_variable).filter_map(|option| option.split_once('=')))
            .env("THRONG_JWT_HS256_SECRET", SECRET)
            .env_remove("THRONG_JWT_SECRET_FILE")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let _where = banner::serves_at(&mut process);
        Self(process)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(Some(status)) = self.0.try_wait() {
            eprintln!("the server had ended by itself: {status}");
        }
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A token for a user, signed with this secret, that ends at this second since 1970.
pub(crate) fn token(user: &str, secret: &str, exp: u64) -> String {
    token_for(user, secret, exp, None)
}

/// The same, with grants of its own.
pub(crate) fn token_for(user: &str, secret: &str, exp: u64, rooms: Option<&Value>) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    let mut claims = json!({"sub": user, "exp": exp});
    if let Some(rooms) = rooms {
        claims["rooms"] = rooms.clone();
    }
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).expect("good claims")
}

/// A port that stays free while the server is down: below those the kernel gives to outgoing connections, or a tab that
/// knocks again and again could be given the very port the server wants back.
pub(crate) fn free_port() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32_768);
    let begin = 10_000 + u16::try_from(std::process::id() % 10_000).expect("less than 10,000 fits");
    // Two tests of one process must not find the same one.
    let begin = begin + TAKEN.fetch_add(100, Ordering::Relaxed);
    let mut ports = (begin..first).chain(1_025..begin.min(first));
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a port is free")
}

static TAKEN: AtomicU16 = AtomicU16::new(0);

/// The year 2096.
pub(crate) const FAR_FUTURE: u64 = 4_000_000_000;
/// What the server signs with.
pub(crate) const SECRET: &str = "only for this test, 32 bytes long!";
