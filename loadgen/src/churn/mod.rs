//! `throng-load churn`: connections come and go in rounds; whether everything the server held for them returns.
//!
//! Each round a fresh crowd with tokens and names of its own sits down in rooms, and leaves all at once: half with a
//! close frame, half by a reset. With `--talk` everybody types, says one thing by a key and has read it before: rooms
//! with logs, keys and read positions come and go too, and the promises are proved meanwhile. Then the server must say
//! itself that nobody is there, and its memory is read.
//! Promises: a round is never begun before the last one has returned; one that does not return ends the run with 2, and one in
//! which the generator itself was too late for everybody to have said something with 3.

mod counts;
mod outcome;
mod returned;
mod round;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::args::{Cores, RunArgs, Switch};
use crate::coordinator::Standing;
use crate::dialect::Protocol;
use crate::lengths::Lengths;
use crate::orders::Wire;
use crate::plan::Plan;
use crate::proc::Process;
use crate::say::tell;
use crate::schedule::Arrivals;
use crate::shape::Sizes;
use crate::sys::{self, Epoll};
use counts::Counts;
pub(crate) use outcome::Churned;
use returned::SETTLED_ROUND;
use round::{Round, Said};

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
    /// The generator is on time if 99 of 100 of its doings (to connect, to send) are at most so many milliseconds late.
    #[arg(long, env = "THRONG_LOAD_LATENESS_P99_MS", default_value = "10", value_parser = crate::args::positive)]
    pub(crate) lateness_p99_ms: f64,
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

const POLL_NS: u64 = 150_000_000;
/// Counts are as of the last tick: two readings so far apart are of two ticks.
const POLLS_APART_NS: u64 = 350_000_000;
const POLLS_AT_REST: u32 = 30;
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
    let mut churned = Churned::new(churn.memory()?, before, args.rooms_kept, args.room_size);
    tell!("{}", Round::TITLES);
    while churned.connections() < u64::from(args.total) && churned.holds() {
        let rest = u64::from(args.total) - churned.connections();
        let round = churn.round(rest.min(u64::from(args.at_once)) as u32)?;
        tell!("{:>5} {round}", churned.rounds_done() + 1);
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
            duration: Some(if self.talk > 0.0 { self.talk } else { 1.0 }),
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
            lateness_p99_ms: self.lateness_p99_ms,
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
        let coming = crowd.opened().effort.clone().unwrap_or_default();
        let mut said = Said::default();
        if self.args.talk > 0.0 {
            let stage = crowd.plan().stages[0].clone();
            said = Said::of(&crowd.measure(&stage)?.results, self.args.lateness_p99_ms);
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
            coming,
            asked_to_talk: self.args.talk > 0.0,
            said,
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
