//! `throng-load churn`: connections come and go in rounds; whether everything the server held for them returns.
//!
//! Each round a fresh crowd with tokens and names of its own sits down in rooms, and leaves all at once: half with a
//! close frame, half by a reset. With `--talk` everybody types, says one thing by a key and has read it before: rooms
//! with logs, keys and read positions come and go too, and the promises are proved meanwhile. Then the server must say
//! itself that nobody is there, and its memory is read.
//! Promises: a round is never begun before the last one has returned; one that does not return ends the run with 2.

mod counts;
mod returned;

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Serialize;

use crate::args::{Cores, RunArgs, Switch};
use crate::coordinator::Standing;
use crate::dialect::Protocol;
use crate::lengths::Lengths;
use crate::orders::{Parted, Wire};
use crate::plan::Plan;
use crate::proc::Process;
use crate::schedule::Arrivals;
use crate::shape::Sizes;
use crate::sys::{self, Epoll};
use counts::Counts;
use returned::SETTLED_ROUND;

#[derive(Args, Clone)]
pub(crate) struct ChurnArgs {
    /// Where the server listens. Nobody else may be there.
    #[arg(long, env = "THRONG_LOAD_URL", default_value = "ws://127.0.0.1:8080/ws")]
    pub(crate) url: String,
    /// The server's admin listener: its `/metrics` is asked.
    #[arg(long, env = "THRONG_LOAD_ADMIN", default_value = "127.0.0.1:8081")]
    pub(crate) admin: SocketAddr,
    /// Connections in all rounds together. A multiple of the room size.
    #[arg(long, env = "THRONG_LOAD_TOTAL", default_value_t = 1_000_000)]
    pub(crate) total: u32,
    /// Connections of one round, there at the same time. A multiple of the room size.
    #[arg(long, env = "THRONG_LOAD_AT_ONCE", default_value_t = 19_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) at_once: u32,
    /// Members of each room.
    #[arg(long, env = "THRONG_LOAD_ROOM_SIZE", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) room_size: u32,
    /// Whether joins subscribe to presence.
    #[arg(long, env = "THRONG_LOAD_PRESENCE", value_enum, default_value_t = Switch::Off)]
    pub(crate) presence: Switch,
    /// Seconds of each round in which everybody types, says one thing by a key, and has read it. 0: nobody says anything.
    #[arg(long, env = "THRONG_LOAD_TALK", default_value = "0", value_parser = crate::args::not_negative)]
    pub(crate) talk: f64,
    /// Rooms the server may keep for their logs when everybody has left: what it was told as `limits.idle_rooms_max`.
    #[arg(long, env = "THRONG_LOAD_ROOMS_KEPT", default_value_t = 0)]
    pub(crate) rooms_kept: u64,
    /// The server's HS256 secret.
    #[arg(long, env = "THRONG_LOAD_SECRET", hide_env_values = true)]
    pub(crate) secret: Option<String>,
    /// A file that holds it; the end of its line is not part of it.
    #[arg(long, env = "THRONG_LOAD_SECRET_FILE", conflicts_with = "secret")]
    pub(crate) secret_file: Option<PathBuf>,
    /// The server's process on this host.
    #[arg(long, env = "THRONG_LOAD_SERVER_PID")]
    pub(crate) server_pid: u32,
    /// Worker processes of each round. Default: as few as the limit of open files allows.
    #[arg(long, env = "THRONG_LOAD_WORKERS", value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(crate) workers: Option<u32>,
    /// Connections being opened at once, over all workers.
    #[arg(long, env = "THRONG_LOAD_CONNECTING", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) connecting: u32,
    /// Cores the workers are pinned to, in turn: `1`, `0,1`, `2-5`.
    #[arg(long, env = "THRONG_LOAD_PIN", value_parser = crate::args::cores)]
    pub(crate) pin: Option<Cores>,
    /// Seconds after which what has not returned counts as kept; and how long goodbyes wait for their answers.
    #[arg(long, env = "THRONG_LOAD_SETTLE", default_value = "30", value_parser = crate::args::positive)]
    pub(crate) settle: f64,
    /// Seconds from the moment nobody is there until memory is read.
    #[arg(long, env = "THRONG_LOAD_REST", default_value = "1", value_parser = crate::args::not_negative)]
    pub(crate) rest: f64,
    /// Writes the report there (`-`: to standard output, instead of the table).
    #[arg(long, env = "THRONG_LOAD_JSON")]
    pub(crate) json: Option<PathBuf>,
}

/// One crowd that came and went.
#[derive(Clone, Debug, Serialize)]
struct Round {
    connections: u32,
    open_s: f64,
    tried_again: u64,
    /// Messages said and heard, and faults of the proof.
    said: u64,
    heard: u64,
    faults: u64,
    parted: Parted,
    /// From the last goodbye or reset until the server said that nobody was there.
    return_s: f64,
    /// Private dirty bytes: with everybody there, and after.
    memory_joined: u64,
    memory_after: u64,
    #[serde(flatten)]
    counts: Counts,
}

/// What all rounds came to.
#[derive(Debug, Serialize)]
pub(crate) struct Churned {
    pub(crate) exit_code: u8,
    /// Each a sentence: what did not return.
    reasons: Vec<String>,
    memory_before: u64,
    before: Counts,
    /// What may be kept for the logs of empty rooms: rooms, and members each of them has had.
    rooms_kept: u64,
    room_size: u64,
    connections: u64,
    rounds: Vec<Round>,
}

const POLL_NS: u64 = 150_000_000;
/// Counts are as of the last tick: two readings so far apart are of two ticks.
const POLLS_APART_NS: u64 = 350_000_000;
const POLLS_AT_REST: u32 = 30;
/// The exit code of a broken promise.
const KEPT: u8 = 2;

/// Runs all rounds, or until something does not return.
pub(crate) fn churn(args: &ChurnArgs) -> Result<Churned> {
    let rounds = args.total.div_ceil(args.at_once) as usize;
    ensure!(
        args.total.is_multiple_of(args.room_size) && args.at_once.is_multiple_of(args.room_size),
        "--total {} and --at-once {} must be multiples of --room-size {}",
        args.total,
        args.at_once,
        args.room_size
    );
    ensure!(
        rounds > SETTLED_ROUND,
        "{rounds} rounds show nothing: at least {} are needed, so a larger --total or a smaller --at-once",
        SETTLED_ROUND + 1
    );
    let pid = args.server_pid;
    let process = Process::of(pid).with_context(|| format!("--server-pid {pid}: there is no such process"))?;
    let server = Plan::new(args.round(args.at_once))?.server;
    let mut sleeper = Epoll::new(1)?;
    let before = counts_at_rest(server, args.admin, &mut sleeper)?;
    let mut churn = Churn { args, process, before, sleeper };
    let mut churned = Churned {
        exit_code: 0,
        reasons: Vec::new(),
        memory_before: churn.memory()?,
        before,
        rooms_kept: args.rooms_kept,
        room_size: u64::from(args.room_size),
        connections: 0,
        rounds: Vec::new(),
    };
    eprintln!("{}", Round::TITLES);
    while churned.connections < u64::from(args.total) && churned.reasons.is_empty() {
        let rest = u64::from(args.total) - churned.connections;
        let round = churn.round(rest.min(u64::from(args.at_once)) as u32)?;
        eprintln!("{:>5} {round}", churned.rounds.len() + 1);
        churned.take(round);
    }
    churned.judge();
    Ok(churned)
}

impl ChurnArgs {
    /// One round, in the words of a run.
    fn round(&self, connections: u32) -> RunArgs {
        RunArgs {
            url: vec![self.url.clone()],
            connections,
            room_size: self.room_size,
            sizes: Sizes::Fixed,
            publishers: None,
            guests: 0,
            stay: 10.0,
            think: 3.0,
            slow_read: 0,
            // Everybody has one turn.
            rate: (self.talk > 0.0).then(|| f64::from(connections) / self.talk),
            duration: if self.talk > 0.0 { self.talk } else { 1.0 },
            warmup: Some(0.0),
            hold: None,
            phase: Vec::new(),
            rest: 0.0,
            payload: Lengths::SHORTEST,
            encoding: Wire::Msgpack,
            protocol: Protocol::Throng,
            join: None,
            joined: None,
            publish: None,
            acks: Some(Switch::Off),
            // A room of one is a room.
            echo: Some(Switch::On),
            presence: self.presence,
            by_keys: self.talk > 0.0,
            arrivals: Arrivals::Even,
            secret: self.secret.clone(),
            secret_file: self.secret_file.clone(),
            token_ttl: 86_400,
            workers: self.workers,
            agents: Vec::new(),
            agent_key: None,
            agent_key_file: None,
            connecting: self.connecting,
            ramp_rate: None,
            give_up: 60.0,
            memory_floor: 512,
            source: None,
            pin: self.pin.clone(),
            json: None,
            seed: None,
            slo: None,
            slo_p99_ms: None,
            lateness_p99_ms: 10.0,
            settle: self.settle,
            server_pid: None,
            admin: None,
            html: None,
            commit: None,
            scenario: None,
        }
    }
}

/// What an empty server holds: somebody must have knocked, for it makes its first ring for its first connection.
fn counts_at_rest(server: SocketAddr, admin: SocketAddr, sleeper: &mut Epoll) -> Result<Counts> {
    let mut before = Counts::read(admin)?;
    for _ in 0..POLLS_AT_REST {
        counts::knock(server)?;
        sleep(sleeper, POLLS_APART_NS)?;
        let now = Counts::read(admin)?;
        if now == before && now.rows == 0 && now.rings > 0 {
            return Ok(before);
        }
        before = now;
    }
    bail!("the server does not come to rest; {} connections are there: churn needs it alone", before.rows)
}

fn sleep(sleeper: &mut Epoll, ns: u64) -> Result<()> {
    let until_ns = sys::monotonic_ns() + ns;
    loop {
        let now_ns = sys::monotonic_ns();
        if now_ns >= until_ns {
            return Ok(());
        }
        sleeper.wait(until_ns - now_ns)?;
    }
}

struct Churn<'a> {
    args: &'a ChurnArgs,
    process: Process,
    before: Counts,
    sleeper: Epoll,
}

impl Churn<'_> {
    fn round(&mut self, connections: u32) -> Result<Round> {
        let plan = Plan::new(self.args.round(connections))?;
        let mut crowd = Standing::open_whole(Rc::new(plan))?;
        let (open_s, tried_again) = (crowd.opened().seconds, crowd.opened().retries);
        let (mut said, mut heard, mut faults) = (0, 0, 0);
        if self.args.talk > 0.0 {
            let stage = crowd.plan().stages[0].clone();
            for result in crowd.measure(&stage)?.results {
                said += result.judgement.sent;
                heard += result.judgement.received;
                faults += result.judgement.faults.values().sum::<u64>();
            }
        }
        let memory_joined = self.memory()?;
        let parted = crowd.part()?;
        let parted_ns = sys::monotonic_ns();
        crowd.dismiss()?;
        let counts = self.wait_for_return()?;
        let return_s = (sys::monotonic_ns() - parted_ns) as f64 / 1e9;
        sleep(&mut self.sleeper, (self.args.rest * 1e9) as u64)?;
        let memory_after = self.memory()?;
        Ok(Round {
            connections,
            open_s,
            tried_again,
            said,
            heard,
            faults,
            parted,
            return_s,
            memory_joined,
            memory_after,
            counts,
        })
    }

    /// Asks until all is as it was, or the settle time is over.
    fn wait_for_return(&mut self) -> Result<Counts> {
        let until_ns = sys::monotonic_ns() + (self.args.settle * 1e9) as u64;
        loop {
            let counts = Counts::read(self.args.admin)?;
            if counts.is_back(&self.before, self.args.rooms_kept) || sys::monotonic_ns() >= until_ns {
                return Ok(counts);
            }
            sleep(&mut self.sleeper, POLL_NS)?;
        }
    }

    fn memory(&self) -> Result<u64> {
        self.process.memory_bytes().context("the server's memory cannot be read; run as the same user")
    }
}

impl Churned {
    fn take(&mut self, round: Round) {
        let number = self.rounds.len() + 1;
        let mut wrong = |sentence: String| self.reasons.push(format!("round {number}: {sentence}"));
        let (counts, before, parted) = (&round.counts, &self.before, &round.parted);
        for (what, now, first) in [
            ("rows", counts.rows, 0),
            ("sockets", counts.sockets, before.sockets),
            ("rings", counts.rings, before.rings),
            ("rooms", counts.rooms, before.rooms + self.rooms_kept),
            ("keys of publishes", counts.keys, before.keys + counts.rooms * self.room_size),
            ("read positions", counts.receipts, before.receipts + counts.rooms * self.room_size),
            ("completions that outgrew their queue", counts.overflows, before.overflows),
            ("completions for a slot's former owner", counts.stale, before.stale),
        ] {
            if now > first {
                wrong(format!("{now} {what}, at most {first} may be left"));
            }
        }
        if round.faults > 0 {
            wrong(format!("{} faults while everybody talked: a message was lost, doubled or misplaced", round.faults));
        }
        if parted.answered < parted.goodbyes {
            wrong(format!("{} of {} goodbyes were answered", parted.answered, parted.goodbyes));
        }
        if parted.goodbyes + parted.reset < u64::from(round.connections) {
            let gone = u64::from(round.connections) - parted.goodbyes - parted.reset;
            wrong(format!("{gone} connections ended before they were closed"));
        }
        self.connections += u64::from(round.connections);
        self.rounds.push(round);
    }

    fn judge(&mut self) {
        let after: Vec<u64> = self.rounds.iter().map(|round| round.memory_after).collect();
        self.reasons.extend(returned::growth(&after));
        self.exit_code = if self.reasons.is_empty() { 0 } else { KEPT };
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl Round {
    const TITLES: &'static str = "round  connections   open s  again     said      heard  goodbyes  answered    reset  back s  joined MiB   after MiB  rows  sockets  rings  rooms   keys  reads";
}

impl Display for Round {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (parted, counts) = (&self.parted, &self.counts);
        write!(
            f,
            "{:>12} {:>8.1} {:>6} {:>8} {:>10} {:>9} {:>9} {:>8} {:>7.1} {:>11.2} {:>11.2} {:>5} {:>8} {:>6} {:>6} {:>6} {:>6}",
            self.connections,
            self.open_s,
            self.tried_again,
            self.said,
            self.heard,
            parted.goodbyes,
            parted.answered,
            parted.reset,
            self.return_s,
            mib(self.memory_joined),
            mib(self.memory_after),
            counts.rows,
            counts.sockets,
            counts.rings,
            counts.rooms,
            counts.keys,
            counts.receipts
        )
    }
}

impl Display for Churned {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let before = &self.before;
        writeln!(
            f,
            "before: {:.2} MiB private dirty, {} sockets, {} rings, {} rooms",
            mib(self.memory_before),
            before.sockets,
            before.rings,
            before.rooms
        )?;
        writeln!(f, "{}", Round::TITLES)?;
        for (number, round) in (1..).zip(&self.rounds) {
            writeln!(f, "{number:>5} {round}")?;
        }
        let verdict = if self.reasons.is_empty() { "everything returned" } else { "not everything returned" };
        writeln!(f, "\n{} connections came and went: {verdict} (exit {})", self.connections, self.exit_code)?;
        self.reasons.iter().try_for_each(|reason| writeln!(f, "  - {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Counts =
        Counts { rows: 0, sockets: 0, rings: 1, rooms: 0, keys: 0, receipts: 0, overflows: 0, stale: 0 };

    fn after(rounds: &[Round]) -> Churned {
        let mut churned = Churned {
            exit_code: 0,
            reasons: Vec::new(),
            memory_before: 4 << 20,
            before: NONE,
            rooms_kept: 3,
            room_size: 10,
            connections: 0,
            rounds: Vec::new(),
        };
        rounds.iter().for_each(|round| churned.take(round.clone()));
        churned.judge();
        churned
    }

    fn good() -> Round {
        Round {
            connections: 100,
            open_s: 0.1,
            tried_again: 0,
            said: 100,
            heard: 1_000,
            faults: 0,
            parted: Parted { goodbyes: 50, answered: 50, reset: 50 },
            return_s: 0.1,
            memory_joined: 12 << 20,
            memory_after: 10 << 20,
            counts: Counts { rooms: 3, keys: 30, receipts: 30, ..NONE },
        }
    }

    #[test]
    fn what_returned_passes_and_memory_may_move_a_little() {
        let last = Round { memory_after: 11 << 20, ..good() };
        let churned = after(&[good(), good(), good(), last]);
        assert_eq!((churned.exit_code, churned.connections), (0, 400), "{:?}", churned.reasons);
    }

    #[test]
    fn each_thing_that_does_not_return_is_named() {
        for (bad, word) in [
            (Round { memory_after: (11 << 20) + 1, ..good() }, "memory"),
            (Round { counts: Counts { rows: 1, ..NONE }, ..good() }, "rows"),
            (Round { counts: Counts { sockets: 1, ..NONE }, ..good() }, "sockets"),
            (Round { counts: Counts { rings: 2, ..NONE }, ..good() }, "rings"),
            (Round { counts: Counts { rooms: 4, ..NONE }, ..good() }, "rooms"),
            (Round { counts: Counts { rooms: 1, keys: 11, ..NONE }, ..good() }, "keys"),
            (Round { counts: Counts { receipts: 1, ..NONE }, ..good() }, "read positions"),
            (Round { faults: 2, ..good() }, "2 faults"),
            (Round { counts: Counts { overflows: 1, ..NONE }, ..good() }, "outgrew"),
            (Round { counts: Counts { stale: 1, ..NONE }, ..good() }, "former owner"),
            (Round { parted: Parted { goodbyes: 50, answered: 49, reset: 50 }, ..good() }, "49 of 50"),
            (Round { parted: Parted { goodbyes: 50, answered: 50, reset: 49 }, ..good() }, "1 connections"),
        ] {
            let churned = after(&[good(), good(), good(), bad]);
            assert_eq!(churned.exit_code, 2, "{word}");
            assert!(churned.reasons.len() == 1 && churned.reasons[0].contains(word), "{word}: {:?}", churned.reasons);
        }
    }
}
