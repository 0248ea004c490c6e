//! `throng-load plan`: what a run needs, without a byte of traffic.
//!
//! Promises: opens no connection and asks for no secret; what this host cannot give is said, and makes the exit code 4.

use std::fmt::{self, Display, Formatter};

use anyhow::{Result, ensure};
use serde::Serialize;
use throng::base::Limits;

use crate::args::RunArgs;
use crate::floor::frame;
use crate::plan::{Memory, Plan, mib};
use crate::proc;
use crate::source::PORTS_PER_ADDRESS;
use crate::sys;
use crate::worker::FILES_BESIDE;

/// What a run needs of this host and of the server.
#[derive(Serialize)]
pub(crate) struct Needs {
    pub(crate) exit_code: u8,
    connections: u32,
    rooms: u32,
    room_size: u32,
    #[serde(skip)]
    rooms_text: String,
    workers: usize,
    /// Local addresses, where connections are bound explicitly, and how many ports of each are used at most.
    addresses: Option<u32>,
    ports_per_address: u32,
    /// By addresses and ports, each pair of them once towards every address of the server.
    connections_possible: Option<u64>,
    files_per_worker: u64,
    files_limit: u64,
    /// Files of this host, both ends of each connection where the server is here, too; and how many are left, where that binds.
    files_host: u64,
    files_host_left: Option<u64>,
    memory: Memory,
    memory_free: Option<u64>,
    phases: Vec<Traffic>,
    /// What the server must be allowed, a sentence each.
    server: Vec<String>,
    /// What this host does not give, a sentence each.
    missing: Vec<String>,
}

#[derive(Serialize)]
struct Traffic {
    name: String,
    seconds: f64,
    /// At its busiest moment.
    messages_per_s: f64,
    deliveries_per_s: f64,
    bytes_out_per_s: f64,
    deliveries: f64,
}

/// Decides the run and adds it up.
pub(crate) fn needs(args: RunArgs) -> Result<Needs> {
    ensure!(args.html.is_none(), "--html: a plan is no report");
    let plan = Plan::decide(args)?;
    let frame_bytes = frame(plan.args.encoding, plan.args.payload.mean_bytes())?.len();
    let phases: Vec<Traffic> = plan
        .stages
        .iter()
        .map(|stage| {
            let hearers = plan.hearers();
            let peak = stage.peak_rate();
            Traffic {
                name: stage.name.clone(),
                seconds: stage.warmup_s + stage.duration_s,
                messages_per_s: peak,
                deliveries_per_s: peak * hearers,
                bytes_out_per_s: peak * hearers * frame_bytes as f64,
                deliveries: stage.rate * (stage.warmup_s + stage.duration_s) * hearers,
            }
        })
        .collect();
    let largest = plan.crowds.iter().map(|crowd| crowd.connections()).max().unwrap_or(0);
    let pairs = plan.crowds.iter().map(|crowd| plan.pairs(crowd)).max().unwrap_or(0);
    let said = |checked: Result<()>| checked.err().map(|error| error.to_string());
    let (addresses, beside) = (said(plan.check_addresses()), said(plan.check_files()));
    let (files_host, files_host_left) = (files_host(&plan), proc::system_files_left());
    let files = files_host_left.filter(|left| *left < files_host && plan.args.agents.is_empty()).map(|left| {
        format!("fs.file-max leaves {left} files to this host and {files_host} are needed: raise it, or be root, whom it does not bind")
    });
    let missing: Vec<String> = plan.memory_short().into_iter().chain(addresses).chain(beside).chain(files).collect();
    let seconds = phases.iter().map(|phase| phase.seconds).sum();
    Ok(Needs {
        exit_code: if missing.is_empty() { 0 } else { crate::SET_UP },
        connections: plan.args.connections,
        rooms: plan.rooms,
        room_size: plan.args.room_size,
        rooms_text: plan.rooms_text(),
        workers: plan.crowds.len(),
        addresses: plan.addresses_bound(),
        connections_possible: plan.connections_possible(),
        ports_per_address: pairs.min(PORTS_PER_ADDRESS / 2),
        files_per_worker: u64::from(largest) + FILES_BESIDE,
        files_limit: sys::raise_file_limit()?,
        files_host,
        files_host_left,
        memory: plan.memory(),
        memory_free: proc::free_memory_bytes(),
        server: of_server(&plan, &phases, seconds),
        phases,
        missing,
    })
}

/// What the crowd opens here: a file for each end of a connection that is on this host.
fn files_host(plan: &Plan) -> u64 {
    let ends = if plan.server.ip().is_loopback() { 2 } else { 1 };
    u64::from(plan.args.connections + plan.beside()) * ends + plan.crowds.len() as u64 * FILES_BESIDE
}

/// What must be raised or watched at the server, against its defaults.
fn of_server(plan: &Plan, phases: &[Traffic], seconds: f64) -> Vec<String> {
    let (args, limits) = (&plan.args, Limits::default());
    let loopback = plan.server.ip().is_loopback();
    let per_address = plan.connections_per_address();
    let mut list = several_doors(plan).into_iter().collect::<Vec<String>>();
    list.extend([
        format!("[server] max_connections: at least {}", args.connections + plan.beside()),
        format!(
            "`ulimit -n`: with engine epoll about {} open files; on io_uring sockets are direct descriptors, and more than \
             [limits] slots_per_ring ({}) is enough",
            u64::from(args.connections + plan.beside()) + SERVER_FILES_BESIDE,
            limits.slots_per_ring
        ),
        format!(
            "fs.file-max of its host: {} files for its ends of the connections (root is not bound by it)",
            u64::from(args.connections + plan.beside()) + SERVER_FILES_BESIDE
        ),
        format!("[server] backlog, and net.core.somaxconn: at least {} (those that connect at once)", args.connecting),
    ]);
    let mut raise = |key: &str, needed: u64, default: u64| {
        if needed > default {
            list.push(format!("[limits] {key}: at least {needed} (default {default})"));
        }
    };
    raise("message_bytes_max", args.payload.max() as u64 + ENVELOPE_BYTES, limits.message_bytes_max as u64);
    if !loopback {
        raise("connections_per_address_max", u64::from(per_address), u64::from(limits.connections_per_address_max));
        if let Some(ramp) = args.ramp_rate {
            let addresses = f64::from(args.connections.div_ceil(per_address.max(1)));
            let per_s = (ramp / addresses).ceil() as u64;
            raise("handshakes_per_address_per_s", per_s, u64::from(limits.handshakes_per_address_per_s));
        }
    }
    raise("connections_per_shard_max", u64::from(args.connections), limits.connections_per_shard_max as u64);
    // What is silent at the head of the table is due again before the end of it was asked.
    let pings = (u64::from(args.connections) * limits.tick_ms).div_ceil(limits.heartbeat_ms);
    if plan.dialect_is_throng() {
        raise(
            "pings_per_tick (divided among shards), or a longer heartbeat_ms",
            pings,
            u64::from(limits.pings_per_tick),
        );
    }
    let peak = phases.iter().map(|phase| phase.deliveries_per_s).fold(0.0, f64::max);
    let sends_per_s = u64::from(limits.sends_per_tick) * 1_000 / limits.tick_ms;
    raise("sends_per_tick (per shard)", (peak * limits.tick_ms as f64 / 1e3) as u64, u64::from(limits.sends_per_tick));
    if !loopback && args.ramp_rate.is_none() {
        list.push(format!(
            "[limits] handshakes_per_address_per_s: {} by default, and this crowd comes as fast as it is let in (--ramp-rate)",
            limits.handshakes_per_address_per_s
        ));
    }
    list.push(format!("{peak:.0} deliveries/s at the peak; a shard writes {sends_per_s}/s by its default budget"));
    if seconds > args.token_ttl as f64 {
        list.push(format!("tokens live {} s and the run takes {seconds:.0} s: a longer --token-ttl", args.token_ttl));
    }
    list
}

/// With several addresses: whose figures follow.
fn several_doors(plan: &Plan) -> Option<String> {
    let doors = plan.args.url.len();
    let share: u32 = plan.crowds.iter().map(|crowd| plan.pairs(crowd)).sum();
    (doors > 1).then(|| {
        format!(
            "the figures below are those of one server that listens at all {doors} addresses; of {doors} servers each has a \
             share of the rooms, at most {share} connections, and as much of everything else"
        )
    })
}

impl Display for Needs {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, text: String| writeln!(f, "{name:<12} {text}");
        line("connections", format!("{} in {}", self.connections, self.rooms_text))?;
        line(
            "processes",
            format!(
                "{} workers, {} open files each of {} allowed; {} files of this host{}",
                self.workers,
                self.files_per_worker,
                self.files_limit,
                self.files_host,
                self.files_host_left.map_or_else(String::new, |left| format!(" of {left} left (fs.file-max)"))
            ),
        )?;
        line(
            "addresses",
            match self.addresses {
                Some(addresses) => format!(
                    "{addresses} local ones, {} ports on each at most; room for {} connections",
                    self.ports_per_address,
                    self.connections_possible.unwrap_or(0)
                ),
                None => {
                    "chosen by the kernel: about 28,000 connections to one server port, more with --source".to_owned()
                }
            },
        )?;
        let memory = &self.memory;
        let free = self.memory_free.map_or_else(|| "unknown".to_owned(), mib);
        line(
            "memory",
            format!(
                "{} generator, {} kernel, {} server: {} here, {free} free",
                mib(memory.generator),
                mib(memory.kernel),
                mib(memory.server),
                mib(memory.here)
            ),
        )?;
        for phase in &self.phases {
            line(
                &phase.name,
                format!(
                    "{:.0} messages/s, {:.0} deliveries/s, {:.1} MB/s out at the peak; {} s, {:.0} deliveries in all",
                    phase.messages_per_s,
                    phase.deliveries_per_s,
                    phase.bytes_out_per_s / 1e6,
                    phase.seconds,
                    phase.deliveries
                ),
            )?;
        }
        writeln!(f, "the server must allow")?;
        self.server.iter().try_for_each(|sentence| writeln!(f, "  - {sentence}"))?;
        if self.missing.is_empty() {
            return write!(f, "this host can do it");
        }
        writeln!(f, "this host cannot do it")?;
        self.missing.iter().try_for_each(|sentence| writeln!(f, "  - {sentence}"))
    }
}

/// Rings, listeners, logs.
const SERVER_FILES_BESIDE: u64 = 1_000;
/// Around a payload: names of room and user, offsets, keys.
const ENVELOPE_BYTES: u64 = 256;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn of(options: &str) -> Needs {
        let words = ["throng-load", "plan"].into_iter().chain(options.split_whitespace());
        let Command::Plan(args) = Cli::try_parse_from(words).expect("a command line").command else {
            panic!("not a plan")
        };
        needs(*args).expect("needs")
    }

    #[test]
    fn a_crowd_is_added_up_without_a_secret() {
        let needs = of("--connections 60000 --room-size 50 --workers 6 --rate 1200 --duration 10 --warmup 0");
        assert_eq!((needs.exit_code, needs.rooms, needs.workers), (0, 1_200, 6));
        assert_eq!((needs.addresses, needs.files_per_worker), (Some(6), 10_064));
        assert_eq!((needs.phases[0].deliveries_per_s, needs.phases[0].deliveries), (58_800.0, 588_000.0));
        let shown = needs.to_string();
        assert!(shown.contains("max_connections: at least 60000") && shown.contains("this host can do it"), "{shown}");
        assert_eq!(needs.files_host, 2 * 60_000 + 6 * FILES_BESIDE);
        assert!(!shown.contains("pings_per_tick"), "60,000 are asked in time: {shown}");
        assert!(!shown.contains("sends_per_tick"), "58,800 a second is below the budget: {shown}");
    }

    /// The number of all connections stood there as what each of several servers must allow.
    #[test]
    fn with_several_addresses_it_is_said_whose_figures_these_are() {
        let crowd = "--connections 60000 --room-size 50 --workers 6 --hold 60";
        let two = of(&format!("{crowd} --url ws://127.0.0.1:1/ws,ws://127.0.0.1:2/ws")).to_string();
        assert!(two.contains("of 2 servers each has a share of the rooms, at most 30000 connections"), "{two}");
        assert!(two.contains("max_connections: at least 60000"), "{two}");
        assert!(!of(crowd).to_string().contains("servers each"));
    }

    #[test]
    fn what_must_be_raised_is_named_with_its_default() {
        let shown = of("--url ws://192.0.2.1:80/ws --connections 20000 --room-size 50 --rate 10000 --ramp-rate 500 --payload 60000").to_string();
        for part in [
            "connections_per_address_max: at least 20000 (default 1000)",
            "handshakes_per_address_per_s: at least 500",
            "sends_per_tick",
        ] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
    }

    #[test]
    fn millions_need_more_heartbeats_a_tick() {
        let shown = of("--connections 2500000 --room-size 50 --hold 60").to_string();
        let default = Limits::default().pings_per_tick;
        let asked = format!("heartbeat_ms: at least 10000 (default {default})");
        assert!(shown.contains(&asked), "{shown}");
        assert!(shown.contains("fs.file-max of its host: 2501000 files"), "{shown}");
    }

    #[test]
    fn what_this_host_cannot_do_is_a_set_up_error() {
        let needs = of("--connections 400000000 --room-size 1000 --hold 60");
        assert_eq!(needs.exit_code, 4);
        assert!(needs.to_string().contains("this host cannot do it"));
    }
}
