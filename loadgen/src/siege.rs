//! `throng-load siege`: people who never finish their request, and people whose request never ends.
//!
//! The slow hold a connection each and send one byte of a request a second; whoever is sent away comes again. A bomb is a
//! request with more and longer headers than anybody may send, thrown evenly over the time. It measures nothing of the
//! server's service: that is for a `run` beside it. It says how the server let everybody go.
//!
//! Promises: never more connections than asked for; it ends by itself.

use std::fmt::{self, Display, Formatter};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};

use crate::args::{Cores, positive};
use crate::sys::{self, Epoll};

#[derive(Args, Clone)]
pub(crate) struct SiegeArgs {
    /// Where the server listens.
    #[arg(long, env = "THRONG_LOAD_ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) address: String,
    /// Connections that send a byte of their request a second.
    #[arg(long, env = "THRONG_LOAD_SLOW", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(..=50_000))]
    pub(crate) slow: u32,
    /// Requests with endless headers, thrown evenly over the time.
    #[arg(long, env = "THRONG_LOAD_BOMBS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub(crate) bombs: u32,
    /// Seconds it lasts.
    #[arg(long, env = "THRONG_LOAD_DURATION", default_value = "10", value_parser = positive)]
    pub(crate) duration: f64,
    /// The core it is pinned to.
    #[arg(long, env = "THRONG_LOAD_PIN", value_parser = crate::args::cores)]
    pub(crate) pin: Option<Cores>,
    /// Writes the report there (`-`: to standard output, instead of the table).
    #[arg(long, env = "THRONG_LOAD_JSON")]
    pub(crate) json: Option<PathBuf>,
}

/// How the besiegers fared.
#[derive(Serialize, Default, Debug)]
pub(crate) struct Siege {
    pub(crate) seconds: f64,
    /// Slow connections begun, again and again.
    pub(crate) slow_begun: u64,
    /// Bytes they sent: one a second each, but for those whose connection is just being made.
    pub(crate) slow_bytes: u64,
    /// Those of them open at the end.
    pub(crate) slow_open: u64,
    pub(crate) bombs_thrown: u64,
    pub(crate) bomb_bytes: u64,
    /// Answers by status, to both.
    pub(crate) answered_408: u64,
    pub(crate) answered_431: u64,
    pub(crate) answered_429_or_503: u64,
    pub(crate) answered_otherwise: u64,
    /// Ends without an answer.
    pub(crate) cut: u64,
}

/// One connection of ours.
struct Besieger {
    stream: TcpStream,
    /// What is still to be sent of a bomb.
    left: usize,
    answer: Vec<u8>,
}

pub(crate) fn run(args: &SiegeArgs) -> Result<Siege> {
    if let Some(Cores(cores)) = &args.pin
        && let Some(core) = cores.first()
    {
        sys::pin(*core).context("--pin")?;
    }
    let files = sys::raise_file_limit()?;
    ensure!(
        u64::from(args.slow) + BOMBS_AT_ONCE as u64 + 16 <= files,
        "--slow {}: only {files} files may be open; raise `ulimit -n`",
        args.slow
    );
    let server = args.address.to_socket_addrs().ok().and_then(|mut all| all.next());
    let server = server.with_context(|| format!("--address {}: no such address", args.address))?;
    let mut camp = Camp {
        server,
        bomb: bomb(),
        slow: (0..args.slow).map(|_| None).collect(),
        bombs: Vec::new(),
        siege: Siege::default(),
        buffer: vec![0; 16 << 10],
    };
    camp.besiege(args)?;
    Ok(camp.siege)
}

struct Camp {
    server: SocketAddr,
    bomb: Vec<u8>,
    slow: Vec<Option<Besieger>>,
    bombs: Vec<Besieger>,
    siege: Siege,
    buffer: Vec<u8>,
}

impl Camp {
    fn besiege(&mut self, args: &SiegeArgs) -> Result<()> {
        // Nothing is registered: it is what waits between two rounds.
        let mut clock = Epoll::new(1)?;
        let (started_ns, duration_ns) = (sys::monotonic_ns(), (args.duration * 1e9) as u64);
        let mut next_round = 0;
        loop {
            let now_ns = sys::monotonic_ns() - started_ns;
            if now_ns >= duration_ns {
                break;
            }
            // Some of the slow each round, so that every one has its turn once a second; rounds that were missed are made
            // up for, but never more than all at once.
            let round = (now_ns / ROUND_NS) as usize;
            for missed in next_round.max((round + 1).saturating_sub(ROUNDS))..=round {
                for index in (missed % ROUNDS..self.slow.len()).step_by(ROUNDS) {
                    self.trickle(index);
                }
            }
            next_round = round + 1;
            let due = (u128::from(args.bombs) * u128::from(now_ns) / u128::from(duration_ns)) as u64;
            while self.siege.bombs_thrown < due && self.bombs.len() < BOMBS_AT_ONCE {
                match connect(self.server) {
                    Some(stream) => {
                        self.bombs.push(Besieger { stream, left: self.bomb.len(), answer: Vec::new() });
                        self.siege.bombs_thrown += 1;
                    }
                    None => break,
                }
            }
            self.throw();
            let next_ns = (round as u64 + 1) * ROUND_NS;
            clock.wait((started_ns + next_ns).saturating_sub(sys::monotonic_ns()))?;
        }
        self.siege.seconds = args.duration;
        self.siege.slow_open = self.slow.iter().flatten().count() as u64;
        Ok(())
    }

    /// One byte more, or a new connection for one that was sent away.
    fn trickle(&mut self, index: usize) {
        let Some(besieger) = &mut self.slow[index] else {
            let stream = connect(self.server);
            self.siege.slow_begun += u64::from(stream.is_some());
            self.slow[index] = stream.map(|stream| Besieger { stream, left: 0, answer: Vec::new() });
            return;
        };
        let sent = besieger.answer.is_empty().then(|| besieger.stream.write(&SLOW_HEAD[besieger.left..][..1]));
        if matches!(sent, Some(Ok(1))) {
            self.siege.slow_bytes += 1;
            besieger.left = (besieger.left + 1).min(SLOW_HEAD.len() - 1);
        }
        if hear(besieger, &mut self.buffer) {
            self.siege.note(&besieger.answer);
            self.slow[index] = None;
        }
    }

    /// Sends what the sockets take of the bombs, and hears what came of them.
    fn throw(&mut self) {
        let mut index = 0;
        while index < self.bombs.len() {
            let besieger = &mut self.bombs[index];
            let from = self.bomb.len() - besieger.left;
            match besieger.stream.write(&self.bomb[from..]) {
                Ok(sent) => {
                    besieger.left -= sent;
                    self.siege.bomb_bytes += sent as u64;
                }
                // The server has closed: nothing more is to be sent.
                Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    besieger.left = 0;
                }
                Err(_) => {}
            }
            if hear(besieger, &mut self.buffer) {
                self.siege.note(&besieger.answer);
                self.bombs.swap_remove(index);
            } else {
                index += 1;
            }
        }
    }
}

impl Siege {
    fn note(&mut self, answer: &[u8]) {
        let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        *match status {
            b"" => &mut self.cut,
            b"408" => &mut self.answered_408,
            b"431" => &mut self.answered_431,
            b"429" | b"503" => &mut self.answered_429_or_503,
            _ => &mut self.answered_otherwise,
        } += 1;
    }
}

impl Display for Siege {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "siege        {} s", self.seconds)?;
        let Self { slow_begun, slow_bytes, slow_open, .. } = self;
        writeln!(f, "  slow       {slow_begun} begun, {slow_bytes} bytes sent, {slow_open} open at the end")?;
        writeln!(f, "  bombs      {} thrown, {} MiB sent", self.bombs_thrown, self.bomb_bytes >> 20)?;
        write!(
            f,
            "  let go     {} by 408, {} by 431, {} by 429 or 503, {} otherwise, {} without a word",
            self.answered_408, self.answered_431, self.answered_429_or_503, self.answered_otherwise, self.cut
        )
    }
}

/// Whether the connection is over; what came is kept, as far as a status line goes.
fn hear(besieger: &mut Besieger, buffer: &mut [u8]) -> bool {
    loop {
        match besieger.stream.read(buffer) {
            Ok(0) => return true,
            Ok(len) => {
                if besieger.answer.len() < ANSWER_BYTES_KEPT {
                    besieger.answer.extend_from_slice(&buffer[..len.min(ANSWER_BYTES_KEPT)]);
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return true,
        }
    }
}

/// Begins to connect. `None`: there is no socket or port for it just now.
fn connect(server: SocketAddr) -> Option<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP)).ok()?;
    socket.set_nonblocking(true).ok()?;
    match socket.connect(&server.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(_) => return None,
    }
    Some(socket.into())
}

/// 2,048 headers of 512 bytes: 1 MiB that nobody needs.
fn bomb() -> Vec<u8> {
    let mut bomb = b"GET /ws HTTP/1.1\r\nHost: throng\r\n".to_vec();
    for number in 0..2_048 {
        bomb.extend_from_slice(format!("X-{number:05}: {}\r\n", "x".repeat(501)).as_bytes());
    }
    bomb
}

/// Sent a byte a second; it lasts longer than any patience.
const SLOW_HEAD: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: throng\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// Short, so that the attack is as even as that of many hosts: in bursts of a tenth of a second they would only show how
/// long one process can keep a core.
const ROUND_NS: u64 = 5_000_000;
/// A second of them.
const ROUNDS: usize = 200;
const BOMBS_AT_ONCE: usize = 256;
const ANSWER_BYTES_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_their_status() {
        let mut siege = Siege::default();
        for answer in [
            "HTTP/1.1 408 Request Timeout\r\n",
            "HTTP/1.1 431 X",
            "HTTP/1.1 429 X",
            "HTTP/1.1 503 X",
            "HTTP/1.1 400 X",
            "",
        ] {
            siege.note(answer.as_bytes());
        }
        let counted =
            [siege.answered_408, siege.answered_431, siege.answered_429_or_503, siege.answered_otherwise, siege.cut];
        assert_eq!(counted, [1, 1, 2, 1, 1]);
    }

    #[test]
    fn a_bomb_is_larger_than_any_head_may_be() {
        assert!(bomb().len() > 1 << 20);
        assert!(!bomb().windows(4).any(|four| four == b"\r\n\r\n"));
    }
}
