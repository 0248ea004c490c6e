//! What a storm can be told.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::args::{Cores, positive};
use crate::line::Fault;

/// Who ends the connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Cut {
    /// We, all at once; the server lives and the publishers go on.
    Clients,
    /// Whoever watches for the line that says so, by ending the server and starting another at the same address.
    Server,
    /// The server, each in its slot: whoever watches for the line that says so starts another at the same address, which
    /// takes over, and tells the server to leave.
    Drain,
    /// A bad line (our own proxy): one by one at random, for --duration seconds.
    Line,
}

#[derive(Args, Clone)]
pub(crate) struct StormArgs {
    /// Where the server listens.
    #[arg(long, env = "THRONG_LOAD_URL", default_value = "ws://127.0.0.1:8080/ws")]
    pub(crate) url: String,
    /// The crowd, each a user of its own. A multiple of the room size. One source address: at most 25,000.
    #[arg(long, env = "THRONG_LOAD_CONNECTIONS", default_value_t = 19_000, value_parser = clap::value_parser!(u32).range(1..=25_000))]
    pub(crate) connections: u32,
    /// Members of each room.
    #[arg(long, env = "THRONG_LOAD_ROOM_SIZE", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) room_size: u32,
    /// Messages a second in each room: not what `run` calls its rate, so that the variable is another one, too.
    #[arg(long, env = "THRONG_LOAD_STORM_RATE", default_value = "1", value_parser = positive)]
    pub(crate) rate: f64,
    /// Connections that publish, and are never cut by us: not those of `run`, which are members of each room.
    #[arg(long, env = "THRONG_LOAD_STORM_PUBLISHERS", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) publishers: u32,
    /// Seconds of traffic before the cut, and again after everybody is back.
    #[arg(long, env = "THRONG_LOAD_DURATION", default_value = "5", value_parser = positive)]
    pub(crate) duration: f64,
    /// Who ends the connections.
    #[arg(long, env = "THRONG_LOAD_CUT", value_enum, default_value_t = Cut::Clients)]
    pub(crate) cut: Cut,
    /// Faults of a bad line a second, over all connections, at random times.
    #[arg(long, env = "THRONG_LOAD_FAULTS", default_value = "10", value_parser = positive)]
    pub(crate) faults: f64,
    /// What a bad line does.
    #[arg(
        long,
        env = "THRONG_LOAD_KINDS",
        value_enum,
        value_delimiter = ',',
        default_value = "delay,cut,blackhole,half-open"
    )]
    pub(crate) kinds: Vec<Fault>,
    /// Milliseconds a bad line holds back what is delayed.
    #[arg(long, env = "THRONG_LOAD_DELAY_MS", default_value = "500", value_parser = positive)]
    pub(crate) delay_ms: f64,
    /// Seconds of silence after which a client behind a bad line gives its connection up; it asks at half of them.
    #[arg(long, env = "THRONG_LOAD_PATIENCE", default_value = "5", value_parser = positive)]
    pub(crate) patience: f64,
    /// Seconds from the cut within which everybody must be back.
    #[arg(long, env = "THRONG_LOAD_WITHIN", default_value = "60", value_parser = positive)]
    pub(crate) within: f64,
    /// Milliseconds of the first wait, doubled with each failure up to five times as much; anything from nothing to that.
    #[arg(long, env = "THRONG_LOAD_BACKOFF_MS", default_value = "1000", value_parser = positive)]
    pub(crate) backoff_ms: f64,
    /// Connections being opened at once at the beginning. After the cut there is no such limit.
    #[arg(long, env = "THRONG_LOAD_CONNECTING", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=25_000))]
    pub(crate) connecting: u32,
    /// Seconds without any arrival after which what is still owed counts as missing.
    #[arg(long, env = "THRONG_LOAD_SETTLE", default_value = "5", value_parser = positive)]
    pub(crate) settle: f64,
    /// The generator is on time if 99 of 100 of its own doings (to publish, to connect again) are at most so many milliseconds late.
    #[arg(long, env = "THRONG_LOAD_LATENESS_P99_MS", default_value = "10", value_parser = positive)]
    pub(crate) lateness_p99_ms: f64,
    /// Where random times come from. Default: the clock.
    #[arg(long, env = "THRONG_LOAD_SEED")]
    pub(crate) seed: Option<u64>,
    /// The server's HS256 secret.
    #[arg(long, env = "THRONG_LOAD_SECRET", hide_env_values = true)]
    pub(crate) secret: Option<String>,
    /// A file that holds it; the end of its line is not part of it.
    #[arg(long, env = "THRONG_LOAD_SECRET_FILE", conflicts_with = "secret")]
    pub(crate) secret_file: Option<PathBuf>,
    /// The server's process on this host: reports its CPU time while everybody came back, and its private memory.
    #[arg(long, env = "THRONG_LOAD_SERVER_PID")]
    pub(crate) server_pid: Option<u32>,
    /// The core it is pinned to.
    #[arg(long, env = "THRONG_LOAD_PIN", value_parser = crate::args::cores)]
    pub(crate) pin: Option<Cores>,
    /// Writes the report there (`-`: to standard output, instead of the table).
    #[arg(long, env = "THRONG_LOAD_JSON")]
    pub(crate) json: Option<PathBuf>,
}
