//! The arguments, as clap reads them from the command line and the environment.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A real-time room server: people with tokens sit in rooms over WebSocket.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve rooms until SIGINT or SIGTERM
    Serve(Box<ServeArgs>),
    /// Make a token, or explain one
    Token(TokenArgs),
}

/// Where the secret comes from; the same for every subcommand.
#[derive(Args)]
pub(crate) struct SecretArgs {
    /// File with the HS256 secret of the tokens (at least 32 bytes; one line end at its end is dropped).
    /// Wins over THRONG_JWT_HS256_SECRET
    #[arg(long, value_name = "FILE", env = "THRONG_JWT_SECRET_FILE")]
    pub(crate) jwt_secret_file: Option<PathBuf>,
    /// The secret itself: meant for the environment, since arguments are there for every process to read
    #[arg(long, value_name = "SECRET", env = "THRONG_JWT_HS256_SECRET", hide = true, hide_env_values = true)]
    pub(crate) jwt_hs256_secret: Option<String>,
}

#[derive(Args)]
pub(crate) struct ServeArgs {
    /// For trying out: a page at /, tokens for whoever asks from this host, everything granted, and no setting required
    #[arg(long)]
    pub(crate) dev: bool,
    /// Address to listen on [with --dev: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", env = "THRONG_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,
    /// Port to listen on where --listen is not given: at every address, with --dev at 127.0.0.1
    #[arg(long, env = "PORT")]
    pub(crate) port: Option<u16>,
    #[command(flatten)]
    pub(crate) secret: SecretArgs,
    /// What a token without `rooms` may do, as JSON like that claim: [{"match": "chat:*", "can": ["join"]}]
    /// [default: nothing, with --dev everything]
    #[arg(long, value_name = "JSON", env = "THRONG_DEFAULT_GRANTS")]
    pub(crate) default_grants: Option<String>,
    /// Cores to use, one shard on each [default: all this process may use]
    #[arg(long, value_name = "N", env = "THRONG_SHARDS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) shards: Option<u16>,

    /// Cores to pin the shards to, in turn, as 0,1,… [default: all this process may run on]
    #[arg(long, value_name = "CORES", env = "THRONG_CORES", value_delimiter = ',')]
    pub(crate) cores: Vec<usize>,
    /// Connections the kernel holds per shard until they are accepted; net.core.somaxconn caps it
    #[arg(long, value_name = "N", env = "THRONG_BACKLOG", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub(crate) backlog: u32,
    /// Connections held at once; more are answered 503 [default: as many as this host can hold]
    #[arg(long, value_name = "N", env = "THRONG_MAX_CONNECTIONS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_connections: Option<u64>,
    /// When messages leave
    #[arg(long, value_name = "MODE", env = "THRONG_FLUSH", default_value = "eager")]
    pub(crate) flush: FlushMode,
    /// This server's name in `welcome` [default: the host's name]
    #[arg(long, value_name = "NAME", env = "THRONG_NODE")]
    pub(crate) node: Option<String>,
    /// Share the address with a server that is about to leave: start this one, then send the other SIGTERM
    #[arg(long)]
    pub(crate) takeover: bool,
    /// How long leaving may take after SIGTERM or SIGINT: connections are sent away spread over it. 0s: cut them off
    /// [default: 30s, with --dev 1s]
    #[arg(long, value_name = "TIME", env = "THRONG_DRAIN_BUDGET", value_parser = super::duration::parse_ms)]
    pub(crate) drain_budget: Option<u64>,
    #[arg(long, env = "NOTIFY_SOCKET", hide = true)]
    pub(crate) notify_socket: Option<OsString>,
    #[arg(long, env = "WATCHDOG_USEC", hide = true)]
    pub(crate) watchdog_usec: Option<u64>,
    #[arg(long, env = "WATCHDOG_PID", hide = true)]
    pub(crate) watchdog_pid: Option<u32>,
    /// How log lines are written, to stderr
    #[arg(long, value_name = "FORM", env = "THRONG_LOG", default_value = "human")]
    pub(crate) log: LogForm,
    /// What is logged: error, warn, info, debug (connects and closes), trace; or directives such as info,throng=debug
    #[arg(long, value_name = "LEVEL", env = "THRONG_LOG_LEVEL", default_value = "info")]
    pub(crate) log_level: String,
}

/// When messages leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum FlushMode {
    /// At once while the tick's budget lasts, else with the tick
    Eager,
    /// Only with the tick of 100 ms: fewer, larger writes
    Tick,
}

/// How log lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum LogForm {
    /// A line a person reads
    Human,
    /// A JSON object per line
    Json,
}

#[derive(Args)]
pub(crate) struct TokenArgs {
    /// Whom the token is for: 1 to 128 bytes
    #[arg(long, value_name = "U", required_unless_present = "explain")]
    pub(crate) user: Option<String>,
    /// A room it is good for: a name, or a prefix with a trailing *, either may hold {user}. Can be given again;
    /// without any, the server's default grants hold
    #[arg(long, value_name = "P")]
    pub(crate) room: Vec<String>,
    /// What may be done in the --room before it [default: all of join,publish,presence,history]
    #[arg(long, value_name = "VERBS", value_delimiter = ',', requires = "room")]
    pub(crate) can: Vec<String>,
    /// How long it is good: 90s, 15m, 12h, 7d
    #[arg(long, default_value = "1h", value_parser = super::duration::parse_s)]
    pub(crate) ttl: u64,
    /// JSON that others see beside the user, at most 256 bytes: '{"name":"Ann"}'
    #[arg(long, value_name = "JSON")]
    pub(crate) info: Option<String>,
    /// Say what a token holds, and whether it verifies if a secret is at hand
    #[arg(long, value_name = "JWT", conflicts_with_all = ["user", "room", "can", "info"])]
    pub(crate) explain: Option<String>,
    #[command(flatten)]
    pub(crate) secret: SecretArgs,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_and_variable_is_documented() {
        let page = include_str!("../../docs/operations.md");
        for command in Cli::command().get_subcommands() {
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let flag = format!("--{}", argument.get_long().expect("every argument is a flag"));
                assert!(page.contains(&flag), "{flag} is not in docs/operations.md");
                let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                assert!(page.contains(&variable), "{variable} is not in docs/operations.md");
            }
        }
    }
}
