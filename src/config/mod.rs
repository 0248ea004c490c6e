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
mod list;
mod nearest;
mod read;
mod reference;
mod setting;
#[cfg(test)]
mod tests;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::base::Limits;
use crate::shard::Flush;
use crate::wire::Grants;

pub use explain::{explain, explain_room};
pub use list::settings;
pub use read::{Problems, Settled, Sources, Whence, read};
pub use reference::{default_file, reference_page};
pub use setting::Setting;
pub use value::Hidden;

/// All settings. `Default` is what holds when nothing is said.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub server: Server,
    pub log: Log,
    pub tokens: Tokens,
    pub grants: DefaultGrants,
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
    /// This server's name in `welcome`. `None`: the host's.
    pub node: Option<String>,
    /// Share the address with a server that is about to leave.
    pub takeover: bool,
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
            node: None,
            takeover: false,
        }
    }
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

/// `[tokens]`: who proves tokens.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// File with the HS256 secret.
    pub secret_file: Option<PathBuf>,
    /// The secret itself: from the environment only.
    pub secret: Option<Hidden>,
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
    /// Milliseconds. `None`: half a minute; under `dev` a second.
    pub budget_ms: Option<u64>,
}

impl Config {
    /// Says what is wrong with settings that are good by themselves and contradict each other.
    pub fn check(&self) -> Result<(), String> {
        if let Some(node) = &self.server.node
            && (node.is_empty() || node.len() > NODE_BYTES_MAX || node.chars().any(char::is_control))
        {
            return Err(format!("`node` in [server] must have 1 to {NODE_BYTES_MAX} bytes and no control characters"));
        }
        self.limits.check().map_err(|why| format!("[limits] contradict each other: {why}"))
    }
}

/// It is told in every `welcome`.
const NODE_BYTES_MAX: usize = 128;
