//! The configuration: one file, the environment and the flags become one value.
//!
//! **One precedence**: a flag beats the environment, the environment beats the file, the file beats the default. Each
//! setting is looked at on its own, and it is known of each where its value came from.
//!
//! Promises: what is not understood is refused with a sentence that says where and what to do, and nothing is guessed;
//! all problems are told at once. Every setting is one entry in [`list`]: its key, variable, flag, bounds, words and
//! whether it can change while the server runs; the reference (`throng default-config`, `docs/config.md`) is made of the
//! same entries, and the defaults are those of the values themselves. A secret never stands in the file and is never
//! shown. Must never: read a clock or open a socket, or touch a file or the environment by itself.

mod explain;
mod file;
mod kinds;
mod limits;
mod list;
mod nearest;
mod read;
mod reference;
mod rooms;
mod setting;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::base::Limits;
use crate::control::jwks::{self, JwksRules};
use crate::control::token_keys::KeyFile;
use crate::control::{AdminSettings, ApiKey};
use crate::shard::Flush;
use crate::wire::{Carriers, Compression, Grants, Origins, Proxies, TokenRules};

pub use explain::{explain, explain_room};
pub use list::settings;
pub use read::{Problems, Settled, Sources, Whence, read};
pub use reference::{default_file, reference_page};
pub use rooms::RoomSettings;
pub use setting::Setting;
pub use value::Hidden;

/// All settings. `Default` is what holds when nothing is said.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub server: Server,
    pub admin: Admin,
    pub log: Log,
    pub tokens: Tokens,
    pub grants: DefaultGrants,
    /// `[origins]`.
    pub origins: Origins,
    /// `[proxies]`.
    pub proxies: Proxies,
    /// `[compression]`.
    pub compression: Compression,
    /// `[rooms]`.
    pub rooms: RoomSettings,
    pub limits: Limits,
    pub drain: Drain,
}

/// `[server]`: where and on what it runs.
#[derive(Clone, Debug)]
pub struct Server {
    /// For trying out: a page, tokens for callers from this host, everything granted, nothing required.
    pub dev: bool,
    /// One address and port.
    pub listen: Option<SocketAddr>,
    /// A port alone, where a platform gives no more; see [`Settled::listen`].
    pub port: Option<u16>,
    /// `None`: as many as cores this process may use.
    pub shards: Option<u16>,
    /// Cores to pin shards to, in turn. Empty: all this process may run on.
    pub cores: Vec<usize>,
    /// Connections the kernel keeps waiting per shard.
    pub backlog: u32,
    /// Connections of all shards together. `None`: as many as this host can hold.
    pub max_connections: Option<u64>,
    pub flush: Flush,
    pub engine: EngineWish,
    /// This server's name in `welcome`. `None`: the host's.
    pub node: Option<String>,
    /// Share the address with a server that is about to leave.
    pub takeover: bool,
    /// Whether `/echo` is there.
    pub echo: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            dev: false,
            listen: None,
            port: None,
            shards: None,
            cores: Vec::new(),
            backlog: 4_096,
            max_connections: None,
            flush: Flush::default(),
            engine: EngineWish::Auto,
            node: None,
            takeover: false,
            echo: false,
        }
    }
}

/// Which way of the kernel shall carry the sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EngineWish {
    /// io_uring where it works, else epoll.
    Auto,
    IoUring,
    Epoll,
}

/// `[admin]`: where operators and backends ask, and by which keys.
#[derive(Clone, Debug)]
pub struct Admin {
    pub listen: AdminListen,
    /// What is on the admin listener is on the public one, too.
    pub on_public: bool,
    pub keys: Vec<ApiKey>,
    /// More keys, a `NAME=SHA256` per line.
    pub keys_file: Option<PathBuf>,
}

impl Default for Admin {
    fn default() -> Self {
        let AdminSettings { listen, on_public, keys } = AdminSettings::default();
        let listen = listen.map_or(AdminListen::Off, AdminListen::At);
        Self { listen, on_public, keys, keys_file: None }
    }
}

/// Where the admin listener stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdminListen {
    /// There is none.
    Off,
    /// Port 0 picks a free one.
    At(SocketAddr),
}

/// `[log]`: what is written to stderr.
#[derive(Clone, Debug)]
pub struct Log {
    pub format: LogForm,
    /// A level, or directives such as `info,throng=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogForm::Human, level: "info".to_owned() }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogForm {
    /// A line a person reads.
    Human,
    /// A JSON object per line.
    Json,
}

/// `[tokens]`: who proves tokens, and what they must say.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// File with the HS256 secret.
    pub secret_file: Option<PathBuf>,
    /// The secret itself: from the environment only.
    pub secret: Option<Hidden>,
    /// Files with more keys.
    pub keys: Vec<KeyFile>,
    /// Addresses keys are fetched from.
    pub jwks: Vec<JwksRules>,
    pub rules: TokenRules,
    pub carriers: Carriers,
}

/// `[grants]`: what a token without `rooms` may do.
#[derive(Clone, Debug, Default)]
pub struct DefaultGrants {
    /// `None`: nothing; under `dev` everything.
    pub default: Option<Grants>,
}

/// `[drain]`: how it leaves.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    /// Milliseconds. `None`: [`DRAIN_BUDGET_MS`]; under `dev` [`DEV_DRAIN_BUDGET_MS`].
    pub budget_ms: Option<u64>,
}

/// How long leaving may take where nobody said: below the time supervisors wait before they kill.
pub const DRAIN_BUDGET_MS: u64 = 30_000;
/// Likewise under `dev`: nobody who tries something out waits half a minute for ^C.
pub const DEV_DRAIN_BUDGET_MS: u64 = 1_000;
/// Where `dev` listens, on this host only, unless somebody says otherwise.
pub const DEV_PORT: u16 = 8_080;

impl Config {
    /// Says what is wrong with settings that are good by themselves and contradict each other.
    pub fn check(&self) -> Result<(), String> {
        if let Some(node) = &self.server.node
            && (node.is_empty() || node.len() > NODE_BYTES_MAX || node.chars().any(char::is_control))
        {
            return Err(format!("`node` in [server] must have 1 to {NODE_BYTES_MAX} bytes and no control characters"));
        }
        self.tokens.rules.check()?;
        self.tokens.carriers.check().map_err(|why| format!("`cookie` in [tokens]: {why}"))?;
        self.tokens.jwks.iter().try_for_each(JwksRules::check)?;
        if let Some(url) = twice(self.tokens.jwks.iter().map(|jwks| jwks.url.as_str())) {
            return Err(format!("`jwks` in [tokens] names {} twice", jwks::shown(url)));
        }
        if let Some(name) = twice(self.admin.keys.iter().map(ApiKey::name)) {
            return Err(format!("two API keys are called {name}: give each a name of its own"));
        }
        self.limits.check().map_err(|why| format!("[limits] contradict each other: {why}"))?;
        self.rooms.classes(&self.limits, None).map(|_| ())
    }

    /// Says what is not wrong and probably not meant.
    fn not_meant(&self) -> Vec<String> {
        let cookie_in_vain = self.tokens.carriers.cookie.is_some() && !self.origins.has_list();
        let protocol_in_vain = self.proxies.protocol && self.proxies.trusted.is_empty();
        let anybody_for_anybody =
            self.tokens.jwks.len() > 1 && self.tokens.jwks.iter().any(|jwks| jwks.issuer.is_none());
        let all = [
            (
                anybody_for_anybody,
                "of several addresses in `jwks` in [tokens] one has no `issuer`: its keys prove everybody's tokens",
            ),
            (cookie_in_vain, "`cookie` in [tokens] is never looked at: `allow` in [origins] lists no page"),
            (protocol_in_vain, "`protocol` in [proxies] changes nothing: `trusted` names nobody"),
            (
                self.proxies.trusted.hold_everybody(),
                "`trusted` in [proxies] holds every address: anybody says who he is, and nobody is counted by his own; list \
                 the nets of your proxies",
            ),
        ];
        all.into_iter().filter(|(holds, _)| *holds).map(|(_, sentence)| sentence.to_owned()).collect()
    }
}

/// The first that is there more than once.
fn twice<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.windows(2).find(|two| two[0] == two[1]).map(|two| two[0])
}

/// It is told in every `welcome`.
const NODE_BYTES_MAX: usize = 128;
