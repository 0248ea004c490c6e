//! The arguments, as clap reads them from the command line and the environment.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::settings::SettingArgs;

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
    /// Say what `serve` would do with the same file, variables and flags, and start nothing
    CheckConfig(Box<CheckArgs>),
    /// Print every setting with its default and what it means, as a file to begin with
    DefaultConfig,
}

/// Where the secret comes from, for those who do without a configuration.
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
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
    #[command(flatten)]
    pub(crate) supervisor: SupervisorArgs,
}

/// What a supervisor says to the process it starts (sd_notify(3)); nobody types it.
#[derive(Args, Default)]
pub(crate) struct SupervisorArgs {
    #[arg(long, env = "NOTIFY_SOCKET", hide = true)]
    pub(crate) notify_socket: Option<OsString>,
    #[arg(long, env = "WATCHDOG_USEC", hide = true)]
    pub(crate) watchdog_usec: Option<u64>,
    #[arg(long, env = "WATCHDOG_PID", hide = true)]
    pub(crate) watchdog_pid: Option<u32>,
}

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// The file to check; wins over --config
    #[arg(value_name = "FILE")]
    pub(crate) positional: Option<PathBuf>,
    /// Say what this room would get, and what may be done there without a grant in the token
    #[arg(long, value_name = "NAME")]
    pub(crate) room: Option<String>,
    /// Whose token that is, for patterns with {user}
    #[arg(long, value_name = "NAME", requires = "room")]
    pub(crate) user: Option<String>,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
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
        let page = concat!(include_str!("../../docs/operations.md"), include_str!("../../docs/config.md"));
        for command in Cli::command().get_subcommands() {
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let flag = format!("--{}", argument.get_long().unwrap_or_default());
                assert!(page.contains(&flag), "{flag} is not in docs/");
                let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                assert!(page.contains(&variable), "{variable} is not in docs/");
            }
        }
    }
}
