//! The command line; every option is also an environment variable `THRONG_LOAD_…`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::agent::WorkerArgs;
use crate::churn::ChurnArgs;
use crate::dialect::Protocol;
use crate::find::FindArgs;
use crate::floor::{FloorArgs, SinkArgs};
use crate::lengths::Lengths;
use crate::orders::Wire;
use crate::report::ReportArgs;
use crate::schedule::Arrivals;
use crate::shape::Sizes;
use crate::siege::SiegeArgs;
use crate::slo::Slo;
use crate::source::Net;
use crate::stage::StageSpec;
use crate::storm::StormArgs;

/// Loads rooms, measures from the intended send time, and proves that every message came once, in order.
///
/// Exit code: 0 all held; 1 a rate or latency asked for was missed; 2 a promise broke (or nothing was heard);
/// 3 missed because the generator itself was the limit; 4 the run could not be set up.
#[derive(Parser)]
#[command(name = "throng-load", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// A crowd under load, phase by phase, and a verdict. A scenario's name, or a file that holds one, comes first;
    /// every option here is a key of it.
    #[command(override_usage = "throng-load run [SCENARIO|FILE.toml] [OPTIONS]")]
    Run(Box<RunArgs>),
    /// What a run needs of this host and of the server, without any traffic.
    #[command(override_usage = "throng-load plan [SCENARIO|FILE.toml] [OPTIONS]")]
    Plan(Box<RunArgs>),
    /// The largest value that keeps an SLO: doubled, bisected, confirmed with repeats; and what was the limit above it.
    #[command(override_usage = "throng-load find <WHAT> [SCENARIO|FILE.toml] --slo <SLO> [OPTIONS]")]
    Find(Box<FindArgs>),
    /// One result as a table, or two beside each other; as HTML; and whether the second got worse.
    Report(ReportArgs),
    /// The scenarios that come with the program.
    List,
    /// A scenario as TOML to edit, with every other key as a comment.
    Show {
        /// One of `list`.
        name: String,
    },
    /// The highest rate that keeps the SLO, then twice that: what is kept of the peak.
    #[command(override_usage = "throng-load bisect [SCENARIO|FILE.toml] [OPTIONS]")]
    Bisect(Box<BisectArgs>),
    /// Connections that come and go in rounds; whether memory, rows, sockets and rings return.
    Churn(Box<ChurnArgs>),
    /// What the kernel alone takes for a server's sends: plain send(2), CPU time per send.
    Floor(Box<FloorArgs>),
    /// People who never finish their request and requests that never end, while a `run` beside it goes on.
    Siege(SiegeArgs),
    /// Everybody is lost at once and resumes, while messages go on: how long it takes, and that nothing is missing.
    Storm(Box<StormArgs>),
    /// The process that drains what `floor` sends.
    #[command(hide = true)]
    Sink(SinkArgs),
    /// Lends this machine to a run elsewhere, which connects to it (`run --agents`).
    #[command(override_usage = "throng-load worker --listen <ADDRESS> [OPTIONS]")]
    Worker(WorkerArgs),
}

impl Cli {
    /// Notes the scenario that moved the defaults, for the report.
    pub(crate) fn name_scenario(&mut self, name: Option<String>) {
        match &mut self.command {
            Command::Run(args) | Command::Plan(args) => args.scenario = name,
            Command::Find(args) => args.run.scenario = name,
            Command::Bisect(args) => args.run.scenario = name,
            Command::Churn(_)
            | Command::Floor(_)
            | Command::List
            | Command::Report(_)
            | Command::Show { .. }
            | Command::Siege(_)
            | Command::Sink(_)
            | Command::Storm(_)
            | Command::Worker(_) => {}
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

/// How many of each room publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Publishers {
    PerRoom(u32),
    All,
}

#[derive(Args, Clone)]
pub(crate) struct RunArgs {
    /// Where the server listens; several (with commas between) are taken in turn, room by room, and the same local pairs of
    /// address and port are used towards each.
    #[arg(long, env = "THRONG_LOAD_URL", default_value = "ws://127.0.0.1:8080/ws", value_delimiter = ',')]
    pub(crate) url: Vec<String>,
    /// Connections, each a user of its own with its own token. A multiple of the room size (with --sizes zipf as many as fit).
    #[arg(long, env = "THRONG_LOAD_CONNECTIONS", default_value_t = 1_000)]
    pub(crate) connections: u32,
    /// Members of each room; with --sizes zipf of the largest.
    #[arg(long, env = "THRONG_LOAD_ROOM_SIZE", default_value_t = 50)]
    pub(crate) room_size: u32,
    /// How large rooms are.
    #[arg(long, env = "THRONG_LOAD_SIZES", value_enum, default_value_t = Sizes::Fixed)]
    pub(crate) sizes: Sizes,
    /// Publishers per room, or `all`. Default: all; with --hold: 1.
    #[arg(long, env = "THRONG_LOAD_PUBLISHERS", value_parser = publishers)]
    pub(crate) publishers: Option<Publishers>,
    /// Messages a second in, over all publishers, whether or not the server keeps up (open loop).
    /// Default: one a second for each room; with --hold: one for each room in the whole time.
    #[arg(long, env = "THRONG_LOAD_RATE", value_parser = positive)]
    pub(crate) rate: Option<f64>,
    /// Seconds measured. Default: 10. A run with --hold or phases says there how long it takes, and refuses this beside them.
    #[arg(long, env = "THRONG_LOAD_DURATION", value_parser = positive)]
    pub(crate) duration: Option<f64>,
    /// Seconds of traffic before, proved but not measured. Default: 2; with --hold: 0.
    #[arg(long, env = "THRONG_LOAD_WARMUP", value_parser = not_negative)]
    pub(crate) warmup: Option<f64>,
    /// An idle crowd for so many seconds: everybody must hear at least one message and, if the time allows it,
    /// answer at least one heartbeat. Replaces --duration.
    #[arg(long, env = "THRONG_LOAD_HOLD", value_parser = positive)]
    pub(crate) hold: Option<f64>,
    /// A phase: `name=spike,times=5,duration=10`; may be given again, or several with `;` between. `times` multiplies the
    /// rate (`0.1..1`: it rises), `warmup`, `arrivals` and `slo` may stand in it, and `slow=50`: so many connections beside the crowd that do not
    /// read while it lasts. Replaces --duration.
    #[arg(long, env = "THRONG_LOAD_PHASE", value_delimiter = ';')]
    pub(crate) phase: Vec<StageSpec>,
    /// Seconds of rest after the last join and again after the run, before the server's memory is read.
    #[arg(long, env = "THRONG_LOAD_REST", default_value = "0", value_parser = not_negative)]
    pub(crate) rest: f64,
    /// Bytes of a message's text, 64 to 65,535: `128`, or a distribution, drawn by the seed: `uniform:64-1024`,
    /// `lognormal:200,1.0,max=16384` (median and sigma; max may be left out), `64:90,1024:9,16384:1` (bytes:weight).
    #[arg(long, env = "THRONG_LOAD_PAYLOAD", default_value = "128")]
    pub(crate) payload: Lengths,
    /// How envelopes are written.
    #[arg(long, env = "THRONG_LOAD_ENCODING", value_enum, default_value_t = Wire::Msgpack)]
    pub(crate) encoding: Wire,
    /// What the server speaks. For others than throng there are no tokens, acks or positions; the templates below say how they
    /// are spoken to, and our own marker in what they say is how they are understood.
    #[arg(long, env = "THRONG_LOAD_PROTOCOL", value_enum, default_value_t = Protocol::Throng)]
    pub(crate) protocol: Protocol,
    /// What joins `{room}` as `{user}`. Default: raw `{"join":"{room}"}`, socketio `["join","{room}"]` with an acknowledgement.
    #[arg(long, env = "THRONG_LOAD_JOIN")]
    pub(crate) join: Option<String>,
    /// What the answer to a join holds. Default: raw is not answered and sits at once, socketio by its acknowledgement.
    #[arg(long, env = "THRONG_LOAD_JOINED")]
    pub(crate) joined: Option<String>,
    /// What publishes `{data}` in `{room}`. Default: raw `{"room":"{room}","data":"{data}"}`, echo `{data}`, socketio
    /// `["publish","{room}","{data}"]`.
    #[arg(long, env = "THRONG_LOAD_PUBLISH")]
    pub(crate) publish: Option<String>,
    /// Whether each publish asks for its answer. Default: on, for throng.
    #[arg(long, env = "THRONG_LOAD_ACKS", value_enum)]
    pub(crate) acks: Option<Switch>,
    /// Whether publishers hear their own messages. Default: off; with --hold: on.
    #[arg(long, env = "THRONG_LOAD_ECHO", value_enum)]
    pub(crate) echo: Option<Switch>,
    /// Whether joins subscribe to presence.
    #[arg(long, env = "THRONG_LOAD_PRESENCE", value_enum, default_value_t = Switch::Off)]
    pub(crate) presence: Switch,
    /// Every publish has a key of its own, and its publisher types before and has read after it. Set by `churn`.
    #[arg(skip)]
    pub(crate) by_keys: bool,
    /// People beside the crowd who come to its rooms, stay a while, type, confirm what they have read, and go. They and slow
    /// readers live in one process: its limit of open files bounds them.
    #[arg(long, env = "THRONG_LOAD_GUESTS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=20_000))]
    pub(crate) guests: u32,
    /// Seconds a guest stays, and is away before it comes again; exponential around this.
    #[arg(long, env = "THRONG_LOAD_STAY", default_value = "10", value_parser = positive)]
    pub(crate) stay: f64,
    /// Seconds a guest thinks between two things it does; exponential around this.
    #[arg(long, env = "THRONG_LOAD_THINK", default_value = "3", value_parser = positive)]
    pub(crate) think: f64,
    /// Bytes a second that the slow connections of a phase (`slow=50`) read.
    #[arg(long, env = "THRONG_LOAD_SLOW_READ", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=65_536))]
    pub(crate) slow_read: u32,
    /// How messages are spread over time.
    #[arg(long, env = "THRONG_LOAD_ARRIVALS", value_enum, default_value_t = Arrivals::Even)]
    pub(crate) arrivals: Arrivals,
    /// The server's HS256 secret.
    #[arg(long, env = "THRONG_LOAD_SECRET", hide_env_values = true)]
    pub(crate) secret: Option<String>,
    /// A file that holds it; the end of its line is not part of it.
    #[arg(long, env = "THRONG_LOAD_SECRET_FILE", conflicts_with = "secret")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Seconds a token lives; more than the run takes.
    #[arg(long, env = "THRONG_LOAD_TOKEN_TTL", default_value_t = 86_400)]
    pub(crate) token_ttl: u64,
    /// Worker processes. Default: as few as the limit of open files allows, and at least one for each agent.
    #[arg(long, env = "THRONG_LOAD_WORKERS", value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(crate) workers: Option<u32>,
    /// Machines that lend their workers (`throng-load worker --listen`), as host:port with commas between, in turn. Without
    /// any all workers are processes of this host.
    #[arg(long, env = "THRONG_LOAD_AGENTS", value_delimiter = ',')]
    pub(crate) agents: Vec<String>,
    /// The key that agents ask for; not needed for those of this host.
    #[arg(long, env = "THRONG_LOAD_AGENT_KEY", hide_env_values = true)]
    pub(crate) agent_key: Option<String>,
    /// A file that holds it; the end of its line is not part of it.
    #[arg(long, env = "THRONG_LOAD_AGENT_KEY_FILE", conflicts_with = "agent_key")]
    pub(crate) agent_key_file: Option<PathBuf>,
    /// Connections being opened at once, over all workers; they come in waves. More than a dozen overflow listen queues.
    #[arg(long, env = "THRONG_LOAD_CONNECTING", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) connecting: u32,
    /// Connections begun a second at most. Default: as fast as the server takes them.
    #[arg(long, env = "THRONG_LOAD_RAMP_RATE", value_parser = positive)]
    pub(crate) ramp_rate: Option<f64>,
    /// Seconds in which nobody is let in before the ramp ends and the run goes on with those who sit.
    #[arg(long, env = "THRONG_LOAD_GIVE_UP", default_value = "60", value_parser = positive)]
    pub(crate) give_up: f64,
    /// MiB of this host's memory (free and page cache) that are never taken: there the ramp ends, and the run goes on with those
    /// who sit. 0: not looked at.
    #[arg(long, env = "THRONG_LOAD_MEMORY_FLOOR", default_value_t = 512)]
    pub(crate) memory_floor: u64,
    /// The net whose addresses connections are spread over, each bound explicitly. Default: 127.0.0.0/8 for a server
    /// on a loopback address, else the kernel chooses.
    #[arg(long, env = "THRONG_LOAD_SOURCE")]
    pub(crate) source: Option<Net>,
    /// Cores the workers are pinned to, in turn: `1`, `0,1`, `2-5`.
    #[arg(long, env = "THRONG_LOAD_PIN", value_parser = cores)]
    pub(crate) pin: Option<Cores>,
    /// Writes the report there (`-`: to standard output, instead of the table).
    #[arg(long, env = "THRONG_LOAD_JSON")]
    pub(crate) json: Option<PathBuf>,
    /// Where order and phase of sending come from. Default: the clock; printed.
    #[arg(long, env = "THRONG_LOAD_SEED")]
    pub(crate) seed: Option<u64>,
    /// What must hold: `p99<100ms,lost=0`; p50 to p99.9 and max of deliveries, `ack.p99` of answers to publishes,
    /// `open.p99` of coming in, refused=0. From the first quarter of a phase to its last: `memory.growth<10%` (by --server-pid or
    /// --admin), `p99.growth<100%`; in all of it `server.closes=0`, `server.refusals=0` (by --admin). Loss and other faults fail
    /// a run in any case.
    #[arg(long, env = "THRONG_LOAD_SLO")]
    pub(crate) slo: Option<Slo>,
    /// 99 of 100 deliveries must come within so many milliseconds from the intended time.
    #[arg(long, env = "THRONG_LOAD_SLO_P99_MS", value_parser = positive)]
    pub(crate) slo_p99_ms: Option<f64>,
    /// The generator is on time if 99 of 100 of its sends are at most so many milliseconds late.
    #[arg(long, env = "THRONG_LOAD_LATENESS_P99_MS", default_value = "10", value_parser = positive)]
    pub(crate) lateness_p99_ms: f64,
    /// Seconds without any arrival after which what is still owed counts as lost.
    #[arg(long, env = "THRONG_LOAD_SETTLE", default_value = "5", value_parser = positive)]
    pub(crate) settle: f64,
    /// The server's process on this host: reports its CPU time and private memory.
    #[arg(long, env = "THRONG_LOAD_SERVER_PID")]
    pub(crate) server_pid: Option<u32>,
    /// The server's admin listener: its `/metrics` is asked once a second and goes into the report.
    #[arg(long, env = "THRONG_LOAD_ADMIN")]
    pub(crate) admin: Option<SocketAddr>,
    /// Writes the report there as one HTML file that needs nothing else.
    #[arg(long, env = "THRONG_LOAD_HTML")]
    pub(crate) html: Option<PathBuf>,
    /// What is tested, for the report's header. Default: the commit of the git checkout this is started in.
    #[arg(long, env = "THRONG_LOAD_COMMIT")]
    pub(crate) commit: Option<String>,
    /// The scenario whose values were defaults.
    #[arg(skip)]
    pub(crate) scenario: Option<String>,
}

#[derive(Args, Clone)]
pub(crate) struct BisectArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// A rate that holds.
    #[arg(long, env = "THRONG_LOAD_FROM", value_parser = positive)]
    pub(crate) from: f64,
    /// A rate that does not.
    #[arg(long, env = "THRONG_LOAD_TO", value_parser = positive)]
    pub(crate) to: f64,
    /// Probes between them.
    #[arg(long, env = "THRONG_LOAD_STEPS", default_value_t = 5)]
    pub(crate) steps: u32,
    /// Percent of the peak's deliveries that must be kept when twice the peak is offered.
    #[arg(long, env = "THRONG_LOAD_KEEP", default_value = "90", value_parser = not_negative)]
    pub(crate) keep: f64,
    /// How often a probe is tried again that did not hold while the host kept more than 1 % of all cores for others.
    #[arg(long, env = "THRONG_LOAD_AGAIN", default_value_t = 0)]
    pub(crate) again: u32,
}

/// A list of cores.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cores(pub(crate) Vec<usize>);

fn publishers(text: &str) -> Result<Publishers, String> {
    match text {
        "all" => Ok(Publishers::All),
        number => match number.parse() {
            Ok(number) if number > 0 => Ok(Publishers::PerRoom(number)),
            Ok(_) | Err(_) => Err("a number of publishers per room, at least 1, or `all`".to_owned()),
        },
    }
}

pub(crate) fn positive(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value: &f64| value.is_finite() && *value > 0.0)
        .ok_or_else(|| "a number above 0".to_owned())
}

pub(crate) fn not_negative(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value: &f64| value.is_finite() && *value >= 0.0)
        .ok_or_else(|| "a number, 0 or more".to_owned())
}

/// One core; bounded by the size of the kernel's set.
pub(crate) fn core(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|core| *core < 1_024).ok_or_else(|| "the number of a core".to_owned())
}

pub(crate) fn cores(text: &str) -> Result<Cores, String> {
    let wrong = || "cores like `1`, `0,1` or `2-5`".to_owned();
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
        if first > last || last >= 1_024 {
            return Err(wrong());
        }
        all.extend(first..=last);
    }
    Ok(Cores(all))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_every_option_has_its_variable() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands() {
            for option in command.get_arguments().filter(|option| option.get_long().is_some_and(|long| long != "help"))
            {
                let key = option.get_id().as_str();
                // What means something else there must not be set by what is meant for a run.
                let own = command.get_name() == "storm" && ["rate", "publishers"].contains(&key);
                let variable = format!("THRONG_LOAD_{}{}", if own { "STORM_" } else { "" }, key.to_uppercase());
                assert_eq!(option.get_env().and_then(|name| name.to_str()), Some(variable.as_str()));
            }
        }
    }

    #[test]
    fn lists_and_numbers_are_read_strictly() {
        assert_eq!(cores("0,2-4"), Ok(Cores(vec![0, 2, 3, 4])));
        assert!(["", "a", "3-1", "0,", "2000"].iter().all(|bad| cores(bad).is_err()));
        assert_eq!(publishers("all"), Ok(Publishers::All));
        assert!(["0", "-1", "some"].iter().all(|bad| publishers(bad).is_err()));
        assert!(["0", "-1", "NaN", "inf", ""].iter().all(|bad| positive(bad).is_err()));
    }
}
