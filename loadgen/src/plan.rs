//! What a run is going to do, decided and printed before anything is sent.

use std::fmt::Write as _;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use crate::args::{Publishers, RunArgs, Switch};
use crate::mix::{Random, mix};
use crate::orders::{Crew, Phase};
use crate::proc;
use crate::proof::{Crowd, Rules};
use crate::schedule::Slope;
use crate::slo::Slo;
use crate::source::{Net, PORTS_PER_ADDRESS, Sources};
use crate::stage::Stage;
use crate::sys;
use crate::worker::FILES_BESIDE;

/// Both ends of one loopback connection in the kernel, readiness included (measured at rest: 7,650 + ~430).
const KERNEL_BYTES_PER_PAIR: u64 = 8_100;
/// The generator's own: row, proof, a publisher's account.
const OWN_BYTES_PER_CONNECTION: u64 = 112;
const OWN_BYTES_PER_WORKER: u64 = 4 << 20;
/// The server's promise for an authenticated connection in a room.
const SERVER_BYTES_PER_CONNECTION: u64 = 512;
/// Messages sent and heard in a second by one worker above which it paces its turns.
const PACED_ABOVE_PER_S: f64 = 5_000.0;
const PACE_NS: u64 = 1_000_000;

/// Bytes of memory a crowd takes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) generator: u64,
    /// At both ends.
    pub(crate) kernel: u64,
    pub(crate) server: u64,
    /// On this host.
    pub(crate) here: u64,
}

/// A run, decided.
pub(crate) struct Plan {
    pub(crate) args: RunArgs,
    pub(crate) server: SocketAddr,
    host: String,
    target: String,
    secret: Vec<u8>,
    pub(crate) rooms: u32,
    pub(crate) publishers: u32,
    pub(crate) rules: Rules,
    pub(crate) rate: f64,
    pub(crate) warmup_s: f64,
    pub(crate) duration_s: f64,
    pub(crate) slo: Slo,
    /// What the crowd goes through; at least one.
    pub(crate) stages: Vec<Stage>,
    pub(crate) seed: u64,
    /// Names rooms and users, so that no other run is mistaken for this one.
    pub(crate) run: String,
    pub(crate) crowds: Vec<Crowd>,
    source: Option<Net>,
    pub(crate) origin_ns: u64,
}

impl Plan {
    /// Says in a sentence what is wrong when the run cannot be.
    pub(crate) fn new(args: RunArgs) -> Result<Self> {
        let secret = secret(&args)?;
        let plan = Self { secret, ..Self::decide(args)? };
        plan.check_room_for_sockets()?;
        Ok(plan)
    }

    /// Decides everything, without a secret to sign by and whether or not this host can do it.
    pub(crate) fn decide(args: RunArgs) -> Result<Self> {
        let (host, target) = split_url(&args.url)?;
        let server = host
            .to_socket_addrs()
            .ok()
            .and_then(|mut addresses| addresses.next())
            .with_context(|| format!("--url: cannot resolve {host}"))?;
        let (connections, room_size) = (args.connections, args.room_size);
        ensure!(connections > 0 && room_size > 0, "--connections and --room-size must be at least 1");
        ensure!(
            connections.is_multiple_of(room_size),
            "--connections {connections} is not a multiple of --room-size {room_size}: try {}",
            (connections / room_size).max(1) * room_size
        );
        let hold = args.hold.is_some();
        let publishers = match args.publishers {
            Some(Publishers::PerRoom(publishers)) => publishers,
            Some(Publishers::All) => room_size,
            None if hold => 1,
            None => room_size,
        };
        ensure!(publishers <= room_size, "--publishers {publishers} does not fit --room-size {room_size}");
        let own_copy = args.echo.map_or(hold, |echo| echo == Switch::On);
        ensure!(room_size > 1 || own_copy, "in rooms of one nobody hears anything: --echo on");
        let rules = Rules { acks: args.acks == Switch::On, own_copy };
        let rooms = connections / room_size;
        let duration_s = args.hold.unwrap_or(args.duration);
        let warmup_s = args.warmup.unwrap_or(if hold { 0.0 } else { 2.0 });
        let default_rate = if hold { f64::from(rooms) / duration_s } else { f64::from(rooms) };
        let rate = args.rate.unwrap_or(default_rate);
        let slo = args.slo.clone().unwrap_or_default();
        let slo = slo.and(&args.slo_p99_ms.map(Slo::p99_ms).unwrap_or_default());
        let origin_ns = sys::monotonic_ns();
        let seed = args.seed.unwrap_or_else(|| mix(origin_ns) >> 11);
        // The run's name must be fresh even when the seed is given again: a server may still know its rooms.
        let run = format!("{:08x}", mix(seed ^ mix(sys::unix_s() << 20 ^ origin_ns)) as u32);
        let crowds = crowds(&args, rooms, publishers)?;
        let loopback = server.ip().is_loopback() && server.is_ipv4();
        let source = match args.source {
            Some(net) => {
                ensure!(server.is_ipv4(), "--source is for IPv4 servers");
                ensure!(net.is_loopback() == loopback, "--source: from that net {server} cannot be reached");
                Some(net)
            }
            None if loopback => Some("127.0.0.0/8".parse().map_err(anyhow::Error::msg)?),
            None => None,
        };
        let mut plan = Self {
            server,
            host,
            target,
            secret: Vec::new(),
            rooms,
            publishers,
            rules,
            rate,
            warmup_s,
            duration_s,
            slo,
            stages: Vec::new(),
            seed,
            run,
            crowds,
            source,
            origin_ns,
            args,
        };
        plan.stages = plan.decide_stages()?;
        Ok(plan)
    }

    fn decide_stages(&self) -> Result<Vec<Stage>> {
        let args = &self.args;
        if args.phase.is_empty() {
            return Ok(vec![self.stage(self.rate)]);
        }
        ensure!(args.hold.is_none(), "--hold is a phase of its own: it cannot stand beside --phase");
        ensure!(args.warmup.is_none(), "--warmup cannot stand beside --phase: a phase has a `warmup` of its own");
        let decided = args.phase.iter().map(|spec| {
            let (from, to) = spec.times;
            let mean = f64::midpoint(from, to);
            Stage {
                name: spec.name.clone(),
                rate: self.rate * mean,
                slope: Slope { from: from / mean, to: to / mean },
                warmup_s: spec.warmup_s,
                duration_s: spec.duration_s,
                arrivals: spec.arrivals.unwrap_or(args.arrivals),
                slo: spec.slo.clone().unwrap_or_else(|| self.slo.clone()),
            }
        });
        Ok(decided.collect())
    }

    /// The one phase of a run without any, at `rate`.
    pub(crate) fn stage(&self, rate: f64) -> Stage {
        Stage {
            name: if self.args.hold.is_some() { "hold" } else { "run" }.to_owned(),
            rate,
            slope: Slope::FLAT,
            warmup_s: self.warmup_s,
            duration_s: self.duration_s,
            arrivals: self.args.arrivals,
            slo: self.slo.clone(),
        }
    }

    /// What worker `index` must know.
    pub(crate) fn crew(&self, index: usize) -> Crew {
        let workers = self.crowds.len();
        let at_once = self.args.connecting as usize;
        let crowd = self.crowds[index];
        let pin = self.args.pin.as_ref().map(|cores| cores.0[index % cores.0.len()]);
        Crew {
            worker: index as u32,
            server: self.server,
            host: self.host.clone(),
            target: self.target.clone(),
            encoding: self.args.encoding,
            crowd,
            rules: self.rules,
            presence: self.args.presence == Switch::On,
            by_keys: self.args.by_keys,
            run: self.run.clone(),
            seed: self.seed,
            secret: self.secret.clone(),
            token_ttl_s: self.args.token_ttl,
            payload_bytes: self.args.payload as usize,
            sources: self.sources(index),
            connecting: (at_once / workers + usize::from(index < at_once % workers)).max(1),
            ramp_rate: self.args.ramp_rate.map(|rate| rate * f64::from(crowd.rooms) / f64::from(self.rooms)),
            pin,
            origin_ns: self.origin_ns,
            settle_ns: (self.args.settle * 1e9) as u64,
        }
    }

    /// Worker `index`'s share of a phase, the `number`th of this crowd.
    pub(crate) fn phase(
        &self,
        index: usize,
        number: u64,
        stage: &Stage,
        start_ns: u64,
        heartbeat_needed: bool,
    ) -> Phase {
        let crowd = self.crowds[index];
        let share = f64::from(crowd.rooms) / f64::from(self.rooms);
        let Stage { rate, warmup_s, duration_s, .. } = *stage;
        Phase {
            arrivals: stage.arrivals,
            slope: stage.slope,
            start_ns,
            warmup_ns: (warmup_s * 1e9) as u64,
            duration_ns: (duration_s * 1e9) as u64,
            messages: (rate * (warmup_s + duration_s) * share).round().max(1.0) as u64,
            seed: mix(self.seed ^ mix(number << 16 | index as u64)),
            heartbeat_needed,
            lateness_ns_max: (self.args.lateness_p99_ms * 1e6) as u64,
            pace_ns: self.pace_ns(rate * share),
        }
    }

    /// A worker that would wake for every message is slow itself and keeps the server from working in batches, which
    /// no crowd of thousands of machines does to it. What waits for a turn counts as latency.
    fn pace_ns(&self, rate: f64) -> u64 {
        let messages_per_s = rate * f64::from(1 + self.hearers());
        if messages_per_s > PACED_ABOVE_PER_S { PACE_NS } else { 0 }
    }

    /// How many hear one message.
    pub(crate) fn hearers(&self) -> u32 {
        self.args.room_size - 1 + u32::from(self.rules.own_copy)
    }

    /// For people.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| writeln!(text, "  {name:<12} {value}").unwrap_or_default();
        let args = &self.args;
        line("server", format!("{} ({})", args.url, self.server));
        line("crowd", format!("{} connections in {} rooms of {}", args.connections, self.rooms, args.room_size));
        line(
            "publishers",
            format!("{} a room, {} in all", self.publishers, u64::from(self.publishers) * u64::from(self.rooms)),
        );
        line(
            "traffic",
            format!("{:.1} messages/s, {} bytes each, {} hear one", self.rate, args.payload, self.hearers()),
        );
        for stage in &self.stages {
            line(&stage.name, stage.describe(self.hearers()));
        }
        let on = |on| if on { "on" } else { "off" };
        line(
            "wire",
            format!(
                "{:?}, acks {}, own copies {}, presence {:?}",
                args.encoding,
                on(self.rules.acks),
                on(self.rules.own_copy),
                args.presence
            ),
        );
        line("workers", format!("{} processes, {} connecting at once", self.crowds.len(), args.connecting));
        let sources = match self.source {
            Some(_) => format!("{} addresses, explicit (address, port) binds", self.addresses()),
            None => "chosen by the kernel".to_owned(),
        };
        line("sources", sources);
        line(
            "memory",
            format!("about {} for sockets and processes, {} free", mib(self.memory().here), self.free_text()),
        );
        line("seed", format!("{} (run {})", self.seed, self.run));
        text
    }

    fn free_text(&self) -> String {
        proc::free_memory_bytes().map_or_else(|| "unknown".to_owned(), mib)
    }

    /// By the figures measured at rest; the server's are promises of throng's.
    pub(crate) fn memory(&self) -> Memory {
        let connections = u64::from(self.args.connections);
        let generator = connections * OWN_BYTES_PER_CONNECTION + self.crowds.len() as u64 * OWN_BYTES_PER_WORKER;
        let (kernel, server) = (connections * KERNEL_BYTES_PER_PAIR, connections * SERVER_BYTES_PER_CONNECTION);
        let here = if self.server.ip().is_loopback() { generator + kernel + server } else { generator + kernel / 2 };
        Memory { generator, kernel, server, here }
    }

    /// Whether this host has the memory and the addresses.
    pub(crate) fn check_room_for_sockets(&self) -> Result<()> {
        let (need, free) = (self.memory().here, proc::free_memory_bytes());
        if let Some(free) = free.filter(|free| *free < need) {
            bail!(
                "this host has {} free and {} connections need about {}: take fewer",
                mib(free),
                self.args.connections,
                mib(need)
            );
        }
        if let Some(net) = self.source {
            ensure!(
                self.addresses() <= net.usable(),
                "--source has {} usable addresses and {} are needed",
                net.usable(),
                self.addresses()
            );
        }
        Ok(())
    }

    /// How many addresses are bound explicitly; none: the kernel chooses.
    pub(crate) fn addresses_bound(&self) -> Option<u32> {
        self.source.map(|_| self.addresses())
    }

    /// What the server sees from one address, at most.
    pub(crate) fn connections_per_address(&self) -> u32 {
        match self.source {
            Some(_) => {
                self.crowds.iter().map(|crowd| crowd.connections()).max().unwrap_or(0).min(PORTS_PER_ADDRESS / 2)
            }
            None => self.args.connections,
        }
    }

    fn addresses(&self) -> u32 {
        self.crowds.iter().map(|crowd| Sources::addresses(crowd.connections())).sum()
    }

    fn sources(&self, index: usize) -> Option<Sources> {
        let net = self.source?;
        let before: u32 = self.crowds[..index].iter().map(|crowd| Sources::addresses(crowd.connections())).sum();
        let spread = net.usable().saturating_sub(self.addresses()) as usize;
        let run = u64::from_str_radix(&self.run, 16).unwrap_or(0);
        Some(Sources::new(net, Random::new(run).below(spread + 1) as u32 + before))
    }
}

/// Whole rooms per worker, as evenly as they go.
fn crowds(args: &RunArgs, rooms: u32, publishers: u32) -> Result<Vec<Crowd>> {
    let files = sys::raise_file_limit().context("reading the limit of open files")?;
    let per_worker = u32::try_from(files.saturating_sub(FILES_BESIDE)).unwrap_or(u32::MAX) / args.room_size;
    ensure!(
        per_worker > 0,
        "a room of {} does not fit one worker's {files} open files: raise `ulimit -n`, or take smaller rooms",
        args.room_size
    );
    let workers = args.workers.unwrap_or_else(|| rooms.div_ceil(per_worker)).min(rooms);
    ensure!(
        rooms.div_ceil(workers) <= per_worker,
        "--workers {workers}: each would need {} open files and may have {files}: take at least {}",
        u64::from(rooms.div_ceil(workers)) * u64::from(args.room_size) + FILES_BESIDE,
        rooms.div_ceil(per_worker)
    );
    let mut first_room = 0;
    Ok((0..workers)
        .map(|index| {
            let mine = rooms / workers + u32::from(index < rooms % workers);
            let crowd = Crowd { first_room, rooms: mine, room_size: args.room_size, publishers };
            first_room += mine;
            crowd
        })
        .collect())
}

fn secret(args: &RunArgs) -> Result<Vec<u8>> {
    secret_of(args.secret.as_deref(), args.secret_file.as_deref())
}

/// The secret by which tokens are signed, given or in a file.
pub(crate) fn secret_of(given: Option<&str>, file: Option<&Path>) -> Result<Vec<u8>> {
    if let Some(secret) = given {
        return Ok(secret.as_bytes().to_vec());
    }
    let Some(path) = file else {
        bail!("the server's secret is needed to sign tokens: --secret-file FILE or THRONG_LOAD_SECRET");
    };
    let bytes = std::fs::read(path).with_context(|| format!("--secret-file {}", path.display()))?;
    // As the server reads it: the end of the line is not part of the secret, anything else is.
    let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    ensure!(!secret.is_empty(), "--secret-file {} is empty", path.display());
    Ok(secret.to_vec())
}

/// `host:port` and the request target of a `ws://` address.
pub(crate) fn split_url(url: &str) -> Result<(String, String)> {
    let rest = url.strip_prefix("ws://").with_context(|| format!("--url {url}: only ws:// is spoken"))?;
    let (host, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    ensure!(
        !host.is_empty() && !rest.contains(|c: char| c.is_whitespace() || c.is_control()),
        "--url {url}: no address"
    );
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let host = if has_port { host.to_owned() } else { format!("{host}:80") };
    Ok((host, if target.is_empty() { "/".to_owned() } else { target.to_owned() }))
}

/// For people.
pub(crate) fn mib(bytes: u64) -> String {
    if bytes >= 10 << 30 {
        format!("{:.1} GiB", bytes as f64 / (1_u64 << 30) as f64)
    } else {
        format!("{} MiB", bytes >> 20)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn plan(options: &str) -> Result<Plan> {
        let words = ["throng-load", "run", "--secret", "s"].into_iter().chain(options.split_whitespace());
        let Command::Run(args) = Cli::try_parse_from(words)?.command else { bail!("not a run") };
        Plan::new(*args)
    }

    #[test]
    fn a_run_is_shared_out_in_whole_rooms_without_a_rest() {
        let plan = plan("--connections 1050 --room-size 50 --workers 4 --rate 1000 --connecting 12").expect("a plan");
        assert_eq!(plan.crowds.iter().map(|crowd| crowd.rooms).collect::<Vec<_>>(), [6, 5, 5, 5]);
        assert_eq!(plan.crowds.iter().map(|crowd| crowd.first_room).collect::<Vec<_>>(), [0, 6, 11, 16]);
        let messages: u64 = (0..4).map(|index| plan.phase(index, 0, &plan.stages[0], 0, false).messages).sum();
        assert!((11_998..=12_002).contains(&messages), "{messages}");
        assert_eq!((0..4).map(|index| plan.crew(index).connecting).sum::<usize>(), 12);
    }

    #[test]
    fn a_hold_asks_for_one_message_per_room_heard_by_everybody() {
        let plan = plan("--connections 1000 --room-size 50 --hold 20").expect("a plan");
        assert_eq!((plan.publishers, plan.hearers()), (1, 50));
        assert_eq!(plan.phase(0, 0, &plan.stages[0], 0, true).messages, 20);
        assert!((plan.warmup_s, plan.duration_s) == (0.0, 20.0));
    }

    #[test]
    fn phases_multiply_the_rate_and_have_their_own_slo_or_the_runs() {
        let plan = plan("--rate 100 --slo p99<50ms --phase name=up,times=0.5..1.5,duration=4 --phase name=spike,times=5,duration=2,warmup=1,slo=p99<1s")
            .expect("a plan");
        let [up, spike] = plan.stages.as_slice() else { panic!("{:?}", plan.stages) };
        assert_eq!((up.rate, up.slope, up.slo.to_string().as_str()), (100.0, Slope { from: 0.5, to: 1.5 }, "p99<50ms"));
        assert_eq!((spike.rate, spike.slope, spike.slo.to_string().as_str()), (500.0, Slope::FLAT, "p99<1000ms"));
        assert_eq!(plan.phase(0, 0, spike, 0, false).messages, 1_500);
        assert!(plan.describe().contains("spike"));
    }

    #[test]
    fn what_cannot_be_is_said_before() {
        for bad in [
            "--connections 1001 --room-size 50",
            "--connections 10 --room-size 1",
            "--connections 10 --room-size 2 --publishers 3",
            "--url wss://127.0.0.1:1/ws",
            "--url ws:///ws",
            "--connections 4000000000 --room-size 1000",
            "--source 10.0.0.0/8",
            "--connections 100000 --room-size 50 --workers 1",
            "--hold 3 --phase duration=1",
            "--warmup 3 --phase duration=1",
        ] {
            assert!(plan(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_taken_apart() {
        let parts = |url| split_url(url).ok();
        assert_eq!(parts("ws://127.0.0.1:8080/ws"), Some(("127.0.0.1:8080".to_owned(), "/ws".to_owned())));
        assert_eq!(parts("ws://localhost"), Some(("localhost:80".to_owned(), "/".to_owned())));
        assert_eq!(parts("ws://[::1]:9/x?y=1"), Some(("[::1]:9".to_owned(), "/x?y=1".to_owned())));
    }
}
