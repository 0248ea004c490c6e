//! The coordinator's side: reaching an agent, proving who one is, and learning how its clock stands to ours.

use std::fs::File;
use std::io::BufReader;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::serve::key_of;
use super::{CLOCK_READINGS, Key, PROGRAM, Role, VERSION, Word, hear, nonce, say};
use crate::sys;

/// An agent, for the report.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Agent {
    pub(crate) name: String,
    pub(crate) cores: usize,
    /// Its monotonic clock less ours, and how far that may be from the truth.
    pub(crate) clock_offset_ns: i64,
    pub(crate) clock_bound_ns: u64,
}

impl Agent {
    /// For people.
    pub(crate) fn describe(&self) -> String {
        format!(
            "{}, {} cores, its monotonic clock {:+.3} ms from ours, give or take {:.3} ms",
            self.name,
            self.cores,
            self.clock_offset_ns as f64 / 1e6,
            self.clock_bound_ns as f64 / 1e6
        )
    }

    /// A time of our monotonic clock by its own.
    pub(crate) fn clock(&self, ours_ns: u64) -> Result<u64> {
        let theirs = ours_ns.checked_add_signed(self.clock_offset_ns);
        theirs.with_context(|| format!("agent {} was started after the run began", self.name))
    }
}

/// A connection that is about to be a worker's.
pub(crate) struct Reached {
    pub(crate) agent: Agent,
    pub(crate) stream: File,
}

/// How long an agent may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reaches the agent at `name` (`host:port`).
pub(crate) fn reach(name: &str, key: Option<&str>, key_file: Option<&Path>, server: SocketAddr) -> Result<Reached> {
    reach_it(name, key, key_file, server).with_context(|| format!("agent {name}"))
}

fn reach_it(name: &str, key: Option<&str>, key_file: Option<&Path>, server: SocketAddr) -> Result<Reached> {
    let addresses = name.to_socket_addrs().context("cannot be resolved: it is written host:port")?;
    let address = addresses.into_iter().next().context("has no address")?;
    let local = address.ip().is_loopback();
    ensure!(
        local || !server.ip().is_loopback(),
        "is on another host, to which the server at {server} is somebody else: --url must name an address it can reach"
    );
    let key = match key_of(key, key_file)? {
        Some(key) => key,
        None if local => Key::of_this_host(),
        None => bail!("is on another host: --agent-key-file is needed"),
    };
    let stream = TcpStream::connect_timeout(&address, PATIENCE).context("cannot be reached")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let cores = greet(&stream, &mut reader, &key)?;
    let (clock_offset_ns, clock_bound_ns) = compare_clocks(&stream, &mut reader)?;
    say(&stream, &Word::Begin)?;
    stream.set_read_timeout(None)?;
    let agent = Agent { name: name.to_owned(), cores, clock_offset_ns, clock_bound_ns };
    Ok(Reached { agent, stream: File::from(OwnedFd::from(stream)) })
}

/// Both prove that they hold the key; the agent's number of cores.
fn greet(stream: &TcpStream, reader: &mut BufReader<TcpStream>, key: &Key) -> Result<usize> {
    let theirs = match hear(reader)? {
        Word::Agent { version: VERSION, program, nonce } if program == PROGRAM => nonce,
        Word::Agent { version, program, .. } => {
            bail!("is {program} (version {version}), this is {PROGRAM} (version {VERSION}): use the same on both sides")
        }
        Word::Refused { sentence } => bail!("{sentence}"),
        Word::Coordinator { .. } | Word::Welcome { .. } | Word::Clock { .. } | Word::Time { .. } | Word::Begin => {
            bail!("spoke out of turn")
        }
    };
    let mine = nonce()?;
    let proof = key.prove(Role::Coordinator, &theirs)?;
    let program = PROGRAM.to_owned();
    say(stream, &Word::Coordinator { version: VERSION, program, nonce: mine.clone(), proof })?;
    match hear(reader)? {
        Word::Welcome { proof, cores } => {
            ensure!(
                key.proves(Role::Agent, &mine, &proof),
                "does not hold the key: it is not the agent that was meant"
            );
            Ok(cores)
        }
        Word::Refused { sentence } => bail!("{sentence}"),
        Word::Agent { .. } | Word::Coordinator { .. } | Word::Clock { .. } | Word::Time { .. } | Word::Begin => {
            bail!("spoke out of turn")
        }
    }
}

/// Offset and bound by the quickest of some answers: it was given between our question and its arrival.
fn compare_clocks(stream: &TcpStream, reader: &mut BufReader<TcpStream>) -> Result<(i64, u64)> {
    let mut best: Option<(u64, i64)> = None;
    for asked in 0..CLOCK_READINGS {
        let from_ns = sys::monotonic_ns();
        say(stream, &Word::Clock { number: asked })?;
        let Word::Time { number, now_ns } = hear(reader)? else { bail!("spoke out of turn") };
        ensure!(number == asked, "answered another question");
        let round_ns = sys::monotonic_ns() - from_ns;
        let offset_ns = now_ns.cast_signed() - (from_ns + round_ns / 2).cast_signed();
        if best.is_none_or(|(least_ns, _)| round_ns < least_ns) {
            best = Some((round_ns, offset_ns));
        }
    }
    let (round_ns, offset_ns) = best.context("clocks were never compared")?;
    Ok((offset_ns, round_ns / 2 + 1))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const SERVER: &str = "127.0.0.1:1";

    /// An agent that says these lines, whatever it hears.
    fn says(lines: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let name = listener.local_addr().expect("has an address").to_string();
        let serve = move || {
            let (stream, _) = listener.accept().expect("accepts");
            std::io::Write::write_all(&mut &stream, lines.as_bytes()).expect("writes");
            // Until the coordinator has enough of it.
            std::io::copy(&mut &stream, &mut std::io::sink()).map(|_| ()).unwrap_or_default();
        };
        std::thread::Builder::new().spawn(serve).expect("a thread starts");
        name
    }

    fn refused(lines: &'static str) -> String {
        let server = SERVER.parse().expect("an address");
        match reach(&says(lines), None, None, server) {
            Ok(_) => panic!("was taken for an agent: {lines}"),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn strangers_and_other_versions_are_told_apart() {
        assert!(refused("HTTP/1.1 400 Bad Request\r\n\r\n").contains("no handshake of throng-load"));
        let other =
            format!("{{\"agent\":{{\"version\":{},\"program\":\"throng-load 9\",\"nonce\":\"00\"}}}}\n", VERSION + 1);
        assert!(refused(Box::leak(other.into_boxed_str())).contains("use the same on both sides"));
        let full = "{\"refused\":{\"sentence\":\"this agent is full\"}}\n";
        assert!(refused(full).contains("this agent is full"));
        let impostor = format!(
            "{{\"agent\":{{\"version\":{VERSION},\"program\":\"{PROGRAM}\",\"nonce\":\"00\"}}}}\n{{\"welcome\":{{\"proof\":\"x.y.z\",\"cores\":1}}}}\n"
        );
        assert!(refused(Box::leak(impostor.into_boxed_str())).contains("does not hold the key"));
    }

    #[test]
    fn other_hosts_need_a_key_and_a_server_they_can_reach() {
        let of = |server: &str| {
            let server = server.parse().expect("an address");
            match reach("192.0.2.1:1", None, None, server) {
                Ok(_) => panic!("nobody is there"),
                Err(error) => format!("{error:#}"),
            }
        };
        assert!(of("192.0.2.2:80").contains("--agent-key-file"));
        assert!(of(SERVER).contains("--url must name"));
    }

    #[test]
    fn times_are_carried_over_and_never_below_nothing() {
        let agent = Agent { name: "a".to_owned(), cores: 1, clock_offset_ns: -5, clock_bound_ns: 1 };
        assert_eq!(agent.clock(7).ok(), Some(2));
        assert!(agent.clock(4).is_err());
    }
}
