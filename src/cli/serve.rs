//! `throng serve`: arguments become a config, the planes are started, and leave when the process is asked to end.
//!
//! Promises: without `--dev` nothing that matters for safety has a default: no secret, no address, no grants.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use throng::base::Limits;
use throng::config::Settled;
use throng::control::{Control, ControlConfig, Hangups, Mint, Notify, Signals, Watchdog};
use throng::shard::{Flush, Rules};
use throng::wire::{Claims, Grants, TokenVerifier};

use super::args::ServeArgs;
use super::banner::Banner;
use super::reload::Reload;
use super::secret::Secret;
use super::settings::Inputs;
use super::{Failure, boot, log, token, unix_s};

/// All that the file, the environment, the flags and the defaults come to.
#[derive(Debug)]
pub(crate) struct ServeConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) shards: u16,
    /// Empty: all this process may run on.
    pub(crate) cores: Vec<usize>,
    pub(crate) backlog: u32,
    /// `None`: as many as this host can hold.
    pub(crate) connections_max: Option<u64>,
    pub(crate) flush: Flush,
    pub(crate) secret: Secret,
    pub(crate) default_grants: Grants,
    pub(crate) node: String,
    pub(crate) limits: Limits,
    pub(crate) dev: bool,
    pub(crate) takeover: bool,
    pub(crate) drain_budget: Duration,
    /// Where the secret came from, for people.
    pub(crate) secret_whence: String,
}

/// Serves until SIGINT or SIGTERM.
pub(crate) fn run(args: ServeArgs) -> Result<(), Failure> {
    let ServeArgs { settings, supervisor } = args;
    let inputs = Inputs::look(settings);
    let settled = inputs.read()?;
    let level = log::start(settled.config.log.format, &settled.config.log.level)?;
    for warning in &settled.warnings {
        tracing::warn!("{warning}");
    }
    let config = ServeConfig::new(&settled, None)?;
    let secret = Arc::new(Mutex::new(config.secret.clone()));
    let scrape = boot::Scrapes::default();
    let broken = |what: &str, error: std::io::Error| Failure::Broken(format!("{what}: {error}"));
    let signals = Signals::listen(end_at_once).map_err(|error| broken("signals cannot be waited for", error))?;
    let hangups = Hangups::listen().map_err(|error| broken("SIGHUP cannot be caught", error))?;
    let patience = watchdog(supervisor.watchdog_usec, supervisor.watchdog_pid);
    let notify =
        Notify::new(supervisor.notify_socket).map_err(|error| broken("NOTIFY_SOCKET is not to be used", error))?;
    let control = ControlConfig {
        scrape: scrape.reader(),
        look: scrape.look(),
        watchdog: patience.map(|patience| Watchdog { notify: notify.clone(), patience }),
        dev: config.dev.then(|| mint(&secret)),
    };
    let (control, handover) =
        Control::start(control).map_err(|error| broken("the control plane does not start", error))?;
    let running = boot::start(&config, handover, &scrape)?;
    let (places, host_holds) = running.places();
    let (rules, counts) = (running.rules_change(), Arc::clone(&scrape.reloads));
    let mut reload = Reload { inputs, running: settled, secret, level, rules, places, host_holds, counts };
    hangups.each(move || reload.now()).map_err(|error| broken("no thread for reloads", error))?;

    let guest = config.dev.then(|| make_token(&config.secret, "guest")).transpose()?;
    let banner = Banner {
        listen: running.listen(),
        shards: config.shards,
        flush: flush_name(config.flush),
        capacity: &running.capacity(),
        secret: &config.secret_whence,
        dev_token: guest.as_deref(),
    };
    println!("{banner}");
    tracing::info!(listen = %running.listen(), shards = config.shards, flush = flush_name(config.flush), "serving");

    notify.ready(&format!("serving at {}", running.listen()));

    let signal = signals.wait();
    let budget_s = config.drain_budget.as_secs_f64();
    tracing::info!(signal, budget_s, "leaving: everybody gets a slot to come back in; a second signal ends at once");
    notify.stopping(config.drain_budget);
    let left = running.leave(config.drain_budget);
    control.join();
    left
}

/// The operator does not want to wait.
fn end_at_once(signal: &'static str) {
    tracing::warn!(signal, "asked a second time: whoever is still here is cut off");
    std::process::exit(CUT_SHORT);
}

impl ServeConfig {
    /// Reads the secret, and finds what is left to find. `kept` is the secret of a server that runs already: the one of
    /// `--dev` is not made anew.
    pub(crate) fn new(settled: &Settled, kept: Option<&Secret>) -> Result<Self, Failure> {
        let config = &settled.config;
        let dev = config.server.dev;
        log::check(&config.log.level)?;
        let listen = settled.listen().ok_or_else(|| Failure::Misused(NO_LISTEN.to_owned()))?;
        let (secret, secret_whence) = find_secret(settled, kept)?;
        let nobody_said = || if dev { Grants::everything() } else { Grants::nothing() };
        Ok(Self {
            listen,
            shards: config.server.shards.unwrap_or_else(cores_at_hand),
            cores: config.server.cores.clone(),
            backlog: config.server.backlog,
            connections_max: config.server.max_connections,
            flush: config.server.flush,
            secret,
            default_grants: config.grants.default.clone().unwrap_or_else(nobody_said),
            node: config.server.node.clone().unwrap_or_else(host_name),
            limits: config.limits.clone(),
            dev,
            takeover: config.server.takeover,
            drain_budget: Duration::from_millis(config.drain.budget_ms.unwrap_or(if dev {
                DEV_DRAIN_BUDGET_MS
            } else {
                DRAIN_BUDGET_MS
            })),
            secret_whence,
        })
    }

    /// What may change while the server runs.
    pub(crate) fn rules(&self) -> Rules {
        let limits = self.limits.clone();
        let verifier = Arc::new(TokenVerifier::hs256(self.secret.bytes(), &limits));
        Rules { limits, verifier, default_grants: self.default_grants.clone() }
    }
}

fn flush_name(flush: Flush) -> &'static str {
    match flush {
        Flush::Eager => "eager",
        Flush::Tick => "tick",
    }
}

fn cores_at_hand() -> u16 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().try_into().unwrap_or(u16::MAX))
}

/// `WATCHDOG_USEC` is meant for the process named by `WATCHDOG_PID` (sd_watchdog_enabled(3)); its children inherit it.
fn watchdog(patience_us: Option<u64>, pid: Option<u32>) -> Option<Duration> {
    let is_meant = pid.is_none_or(|pid| pid == std::process::id());
    patience_us.filter(|us| is_meant && *us > 0).map(Duration::from_micros)
}

fn find_secret(settled: &Settled, kept: Option<&Secret>) -> Result<(Secret, String), Failure> {
    let tokens = &settled.config.tokens;
    let rank = |path: &str| settled.whence(path).rank();
    let file = tokens.secret_file.as_deref();
    // Of two with the same precedence the file wins: it can be changed while the server runs.
    let file = file.filter(|_| tokens.secret.is_none() || rank("tokens.secret_file") >= rank("tokens.secret"));
    match (file, &tokens.secret, kept) {
        (Some(path), _, _) => Ok((Secret::from_file(path)?, format!("from {}", path.display()))),
        (None, Some(secret), _) => {
            Ok((Secret::from_text(secret.reveal())?, format!("from {}", settled.whence("tokens.secret"))))
        }
        (None, None, Some(kept)) if settled.config.server.dev => Ok((kept.clone(), "kept".to_owned())),
        (None, None, None) if settled.config.server.dev => {
            Ok((Secret::random()?, "random, for this run only (--jwt-secret-file gives a lasting one)".to_owned()))
        }
        (None, None, _) => Err(Failure::Misused(NO_SECRET.to_owned())),
    }
}

/// A name for `welcome`; never fails, since a server without a name serves as well.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "throng".to_owned() } else { name.to_owned() }
}

fn mint(secret: &Arc<Mutex<Secret>>) -> Mint {
    let secret = Arc::clone(secret);
    Arc::new(move |user| {
        let secret = secret.lock().unwrap_or_else(PoisonError::into_inner).clone();
        make_token(&secret, user).map_err(|failure| failure.sentence().to_owned())
    })
}

fn make_token(secret: &Secret, user: &str) -> Result<String, Failure> {
    token::make(secret, &Claims { sub: user, exp: unix_s() + DEV_TOKEN_S, info: None, rooms: None })
}

/// The exit code of a server that was asked twice.
const CUT_SHORT: i32 = 1;
/// Below the time supervisors wait before they kill.
const DRAIN_BUDGET_MS: u64 = 30_000;
/// Nobody who tries something out waits half a minute for ^C.
const DEV_DRAIN_BUDGET_MS: u64 = 1_000;
const DEV_TOKEN_S: u64 = 86_400;
const NO_LISTEN: &str = "say where to listen: --listen 0.0.0.0:8080 (or THRONG_LISTEN, or PORT); \
                         to try it out, --dev listens at 127.0.0.1:8080";
const NO_SECRET: &str = "tokens need a secret: set THRONG_JWT_HS256_SECRET or give --jwt-secret-file \
                         (make one with: openssl rand -hex 32); to try it out, --dev makes one for the run";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};
    use throng::wire::Verb;

    use super::super::args::{Cli, Command};
    use super::*;

    const SECRET: &str = "an-example-secret-of-thirty-two-b";

    /// Reads arguments only: tests must not depend on the environment they run in.
    fn config(arguments: &[&str]) -> Result<ServeConfig, String> {
        let line = ["throng", "serve"].iter().chain(arguments);
        let unread = |command: clap::Command| command.mut_args(|argument| argument.env(None));
        let command = Cli::command().mut_subcommand("serve", unread);
        let matches = command.try_get_matches_from(line).map_err(|error| error.to_string())?;
        let cli = Cli::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        let Command::Serve(args) = cli.command else { panic!("serve was asked") };
        let settled = Inputs::flags_only(args.settings).read();
        let config = settled.and_then(|settled| ServeConfig::new(&settled, None));
        config.map_err(|failure| failure.sentence().to_owned())
    }

    #[test]
    fn without_dev_address_and_secret_are_asked_for_and_nothing_is_granted() {
        let error = config(&["--jwt-hs256-secret", SECRET]).unwrap_err();
        assert!(error.contains("--listen") && error.contains("PORT"), "{error}");
        let error = config(&["--listen", "127.0.0.1:1"]).unwrap_err();
        assert!(error.contains("THRONG_JWT_HS256_SECRET") && error.contains("--jwt-secret-file"), "{error}");
        let config = config(&["--listen", "127.0.0.1:1", "--jwt-hs256-secret", SECRET]).unwrap();
        assert!(!config.default_grants.allows(Verb::Join, "lobby", "ann"));
        assert_eq!(config.drain_budget, Duration::from_millis(DRAIN_BUDGET_MS));
        assert!(!format!("{config:?}").contains(SECRET));
    }

    #[test]
    fn dev_needs_nothing_and_listens_at_home() {
        let dev = config(&["--dev"]).unwrap();
        assert_eq!(dev.listen, "127.0.0.1:8080".parse().unwrap());
        assert!(dev.default_grants.allows(Verb::Publish, "lobby", "ann"));
        assert_ne!(dev.secret.bytes(), config(&["--dev"]).unwrap().secret.bytes());
        assert_eq!(config(&["--dev", "--port", "9"]).unwrap().listen, "127.0.0.1:9".parse().unwrap());
        let open = config(&["--port", "9", "--jwt-hs256-secret", SECRET]).unwrap();
        assert_eq!(open.listen, "0.0.0.0:9".parse().unwrap());
        assert_eq!(
            config(&["--dev", "--port", "9", "--listen", "[::1]:7"]).unwrap().listen,
            "[::1]:7".parse().unwrap()
        );
    }

    #[test]
    fn settings_arrive_and_nonsense_is_refused() {
        let given =
            config(&["--dev", "--shards", "3", "--max-connections", "10", "--flush", "tick", "--node", "n1"]).unwrap();
        assert_eq!((given.shards, given.flush), (3, Flush::Tick));
        assert_eq!((given.takeover, given.drain_budget), (false, Duration::from_millis(DEV_DRAIN_BUDGET_MS)));
        let rolling = config(&["--dev", "--takeover", "--drain-budget-ms", "1500"]).unwrap();
        assert_eq!((rolling.takeover, rolling.drain_budget), (true, Duration::from_millis(1_500)));
        let own = std::process::id();
        assert_eq!(watchdog(Some(2_000_000), Some(own)), Some(Duration::from_secs(2)));
        assert_eq!([watchdog(Some(2), Some(own + 1)), watchdog(None, Some(own)), watchdog(Some(0), None)], [None; 3]);
        assert_eq!((given.node.as_str(), given.connections_max, given.backlog), ("n1", Some(10), 4096));
        let grants =
            config(&["--dev", "--default-grants", r#"[{"match":"a","can":["join"]}]"#]).unwrap().default_grants;
        assert!(grants.allows(Verb::Join, "a", "ann") && !grants.allows(Verb::Join, "b", "ann"));
        for bad in [
            ["--shards", "0"],
            ["--max-connections", "0"],
            ["--flush", "later"],
            ["--drain-budget-ms", "soon"],
            ["--listen", "here"],
            ["--default-grants", "{}"],
            ["--default-grants", "x"],
            ["--jwt-hs256-secret", "short"],
        ] {
            assert!(config(&["--dev", bad[0], bad[1]]).is_err(), "{bad:?}");
        }
    }
}
