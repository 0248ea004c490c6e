//! Defaults, file, environment, flags: laid over each other, in this order.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::file::File;
use super::list::settings;
use super::nearest::nearest;
use super::setting::{Given, Setting};
use super::{Config, DEV_PORT};

/// Everything a configuration can come from. Not for `Debug`: a secret may be among it.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The file's name and what stands in it.
    pub file: Option<(&'a Path, &'a str)>,
    /// All variables; those that are empty count as not set.
    pub environment: &'a BTreeMap<String, String>,
    /// Flags that were given, without their dashes.
    pub flags: &'a [(&'static str, String)],
}

/// Where a value came from. What stands later here has precedence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Whence {
    Default,
    /// Lines are counted from 1.
    File {
        path: PathBuf,
        line: usize,
    },
    Environment(String),
    Flag(&'static str),
}

/// A configuration, and where each part of it came from.
#[derive(Clone, Debug)]
pub struct Settled {
    pub config: Config,
    /// In the order of [`settings`].
    whence: Vec<Whence>,
    /// What is not wrong but probably not meant.
    pub warnings: Vec<String>,
}

/// Everything that is wrong with a configuration, a sentence each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problems(pub Vec<String>);

/// One of them, with its line for their order.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) line: usize,
    pub(super) sentence: String,
}

/// Lays everything over each other.
///
/// # Errors
/// All problems at once; nothing of such a configuration may be used.
pub fn read(sources: &Sources<'_>) -> Result<Settled, Problems> {
    let mut config = Config::default();
    let mut whence = vec![Whence::Default; settings().len()];
    let mut problems = Vec::new();
    if let Some((path, text)) = sources.file {
        File { path, text }.read(&mut config, &mut whence, &mut problems);
    }
    problems.sort_by_key(|problem| problem.line);
    let mut problems: Vec<String> = problems.into_iter().map(|problem| problem.sentence).collect();
    for (setting, whence) in settings().iter().zip(&mut whence) {
        for (from, text) in given_as_text(setting, sources) {
            match setting.set(&mut config, &Given::Text(text)) {
                Ok(()) => *whence = from,
                Err(why) => problems.push(format!("{from}: `{}` {why}", setting.path())),
            }
        }
    }
    if problems.is_empty()
        && let Err(sentence) = config.check()
    {
        problems.push(sentence);
    }
    match problems.is_empty() {
        true => {
            let mut warnings = strange_variables(sources.environment);
            warnings.extend(config.not_meant());
            Ok(Settled { config, whence, warnings })
        }
        false => Err(Problems(problems)),
    }
}

/// Every value for a setting outside of the file, the one that beats the others last. All are read, so that a wrong one
/// is told even where a flag covers it up.
fn given_as_text<'a>(setting: &Setting, sources: &Sources<'a>) -> Vec<(Whence, &'a str)> {
    let variable = setting.variables.iter().find_map(|name| {
        let value = sources.environment.get(name).filter(|value| !value.is_empty())?;
        Some((Whence::Environment(name.clone()), value.as_str()))
    });
    let flag = setting.flag.and_then(|name| {
        let (_, value) = sources.flags.iter().find(|(flag, _)| *flag == name)?;
        Some((Whence::Flag(name), value.as_str()))
    });
    variable.into_iter().chain(flag).collect()
}

/// Variables with our prefix that nobody reads. Refusing them would refuse those that Kubernetes makes for a service
/// that is called throng (`THRONG_PORT=tcp://…`).
fn strange_variables(environment: &BTreeMap<String, String>) -> Vec<String> {
    let ours = || settings().iter().flat_map(|setting| &setting.variables).map(String::as_str).chain(OTHER_VARIABLES);
    let linked = |name: &str, value: &str| {
        value.starts_with("tcp://")
            || value.starts_with("udp://")
            || name.contains("_SERVICE_")
            || name.contains("_PORT_")
    };
    let strange = environment.iter().filter(|(name, value)| {
        name.starts_with("THRONG_") && !ours().any(|known| known == name.as_str()) && !linked(name, value)
    });
    let sentence = |(name, _): (&String, &String)| match nearest(name, ours()) {
        Some(meant) => format!("the variable {name} is read by nobody: did you mean {meant}?"),
        None => format!("the variable {name} is read by nobody"),
    };
    strange.map(sentence).collect()
}

impl Settled {
    /// Each setting with where its value came from.
    pub fn each(&self) -> impl Iterator<Item = (&'static Setting, &Whence)> {
        settings().iter().zip(&self.whence)
    }

    /// Where a setting's value came from. `path` is `section.key`.
    pub fn whence(&self, path: &str) -> &Whence {
        let found = self.each().find(|(setting, _)| setting.path() == path);
        found.map_or(&Whence::Default, |(_, whence)| whence)
    }

    /// Where to listen. `None`: nobody said.
    pub fn listen(&self) -> Option<SocketAddr> {
        let server = &self.config.server;
        let ip = if server.dev { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        let port = server.port.map(|port| SocketAddr::from((ip, port)));
        let port_wins = self.whence("server.port").rank() > self.whence("server.listen").rank();
        let said = if port_wins { port.or(server.listen) } else { server.listen.or(port) };
        said.or_else(|| server.dev.then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, DEV_PORT))))
    }

    /// Settings that differ from `running` and that only a start can change.
    pub fn needs_restart(&self, running: &Self) -> Vec<String> {
        let differs = |setting: &&Setting| setting.show(&self.config) != setting.show(&running.config);
        settings().iter().filter(|setting| !setting.live).filter(differs).map(Setting::path).collect()
    }

    /// Takes what only a start can change from `running`.
    pub fn keep_fixed(&mut self, running: &Self) {
        let mut running = running.config.clone();
        for setting in settings().iter().filter(|setting| !setting.live) {
            setting.copy(&mut running, &mut self.config);
        }
    }
}

impl Whence {
    /// Higher beats lower.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Environment(_) => 2,
            Self::Flag(_) => 3,
        }
    }
}

impl fmt::Display for Whence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// Read by others than the settings.
const OTHER_VARIABLES: [&str; 4] = ["THRONG_CONFIG", "THRONG_ADMIN", "THRONG_API_KEY", "THRONG_API_KEY_FILE"];
