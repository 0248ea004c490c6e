//! The arguments, as clap reads them from the command line and the environment.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use throng::wire::token::{Algorithm, Algorithms};

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
    Token(Box<TokenArgs>),
    /// Make a key for the HTTP API
    ApiKey(ApiKeyArgs),
    /// Say something in a room, to everybody or to one user, by the HTTP API
    Publish(PublishArgs),
    /// Print what is said in a room, and go on as it is said
    Tail(TailArgs),
    /// Who sits in a room, or where a user is connected
    Who(WhoArgs),
    /// Close connections: of a user, of a room, or one
    Kick(KickArgs),
    /// How many are here, and the fullest rooms
    Top(TopArgs),
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
    /// What it is signed with: HS256, HS384, HS512, RS256, ES256, EdDSA [default: what the key is for; a secret: HS256]
    #[arg(long, value_name = "ALG", value_parser = parse_algorithm)]
    pub(crate) alg: Option<Algorithm>,
    /// File with the key that signs: a private key in PEM, or a secret [default: the server's secret, see below].
    /// With --explain the key that proves: a public key in PEM, a secret, or a JWK set
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// The name of that key, told in the token's header
    #[arg(long, value_name = "NAME")]
    pub(crate) kid: Option<String>,
    /// Who issues it; with --explain who must have
    #[arg(long, value_name = "ISSUER")]
    pub(crate) iss: Option<String>,
    /// Whom it is made for; with --explain whom it must be. Can be given again
    #[arg(long, value_name = "AUDIENCE")]
    pub(crate) aud: Vec<String>,
    /// A name of this one token by which it can be revoked
    #[arg(long, value_name = "ID")]
    pub(crate) jti: Option<String>,
    /// It is good only from so long from now on: 10s, 5m
    #[arg(long, value_name = "TIME", value_parser = super::duration::parse_s)]
    pub(crate) nbf: Option<u64>,
    /// Say what a token holds, and whether it verifies if a key or a secret is at hand
    #[arg(long, value_name = "JWT", conflicts_with_all = ["user", "room", "can", "info", "alg", "jti", "nbf"])]
    pub(crate) explain: Option<String>,
    #[command(flatten)]
    pub(crate) secret: SecretArgs,
}

/// Which server is asked, and by whose key; the same for every verb of the API.
#[derive(Args)]
pub(crate) struct ApiArgs {
    /// The server's admin listener
    #[arg(long, value_name = "URL", env = "THRONG_ADMIN", default_value = "http://127.0.0.1:8081")]
    pub(crate) admin: String,
    /// File with the API key; one line end at its end is dropped. Wins over THRONG_API_KEY
    #[arg(long, value_name = "FILE", env = "THRONG_API_KEY_FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// The key itself: meant for the environment, since arguments are there for every process to read
    #[arg(long, value_name = "KEY", env = "THRONG_API_KEY", hide = true, hide_env_values = true)]
    pub(crate) key: Option<String>,
    /// Print the server's answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct ApiKeyArgs {
    #[command(subcommand)]
    pub(crate) command: ApiKeyCommand,
}

#[derive(Subcommand)]
pub(crate) enum ApiKeyCommand {
    /// Draw a key: print it once, and the hash the server is given
    New {
        /// What the key is called in logs, and who speaks where a message names nobody
        #[arg(long, default_value = "backend")]
        name: String,
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
pub(crate) struct PublishArgs {
    /// The room; @all is everybody who is connected, @ann all connections of the user ann
    pub(crate) room: String,
    /// What is said, as JSON; - reads it from stdin
    pub(crate) data: String,
    /// The data is plain text, to be sent as a string
    #[arg(long)]
    pub(crate) text: bool,
    /// A name for what the message is
    #[arg(long)]
    pub(crate) event: Option<String>,
    /// Who says it [default: the name of the API key]
    #[arg(long, value_name = "USER")]
    pub(crate) from: Option<String>,
    /// Make it safe to run again: the same key within ten minutes says it once
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Args)]
pub(crate) struct TailArgs {
    pub(crate) room: String,
    /// How many of the newest messages to begin with
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1_000))]
    pub(crate) history: u16,
    /// Stop after so many messages [default: go on]
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Args)]
pub(crate) struct WhoArgs {
    /// Who sits in this room
    #[arg(required_unless_present = "user", conflicts_with = "user")]
    pub(crate) room: Option<String>,
    /// Where this user is connected
    #[arg(long)]
    pub(crate) user: Option<String>,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Args)]
#[group(id = "whom", required = true, multiple = false, args = ["user", "room", "connection"])]
pub(crate) struct KickArgs {
    /// All connections of this user
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Everybody who sits in this room
    #[arg(long)]
    pub(crate) room: Option<String>,
    /// One connection, as `throng who --user` names it
    #[arg(long)]
    pub(crate) connection: Option<String>,
    /// They may come back: close code 4006 instead of 4501
    #[arg(long)]
    pub(crate) come_back: bool,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Args)]
pub(crate) struct TopArgs {
    /// How many rooms
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) limit: u8,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

fn parse_algorithm(name: &str) -> Result<Algorithm, String> {
    Algorithm::parse(name).ok_or_else(|| format!("a token is signed with {}", Algorithms::all()))
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
            let subcommands = command.get_subcommands().flat_map(|command| command.get_arguments());
            let arguments = command.get_arguments().chain(subcommands);
            for argument in arguments.filter(|argument| !argument.is_hide_set() && !argument.is_positional()) {
                let flag = format!("--{}", argument.get_long().expect("every argument is a flag"));
                assert!(page.contains(&flag), "{flag} is not in docs/");
                let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                assert!(page.contains(&variable), "{variable} is not in docs/");
            }
        }
    }
}
