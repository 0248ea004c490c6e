//! `throng serve`: arguments become a config, the planes are started, and leave when the process is asked to end.
//!
//! Promises: without `--dev` nothing that matters for safety has a default: no secret, no address, no grants.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use throng::base::Limits;
use throng::control::{Control, ControlConfig, Mint, Notify, Signals, Watchdog};
use throng::wire::{Claims, Grants, TokenVerifier};

use super::args::{FlushMode, SecretArgs, ServeArgs};
use super::banner::Banner;
use super::secret::Secret;
use super::{Failure, boot, log, token, unix_s};

/// All that the arguments, the environment and the defaults come to.
#[derive(Debug)]
pub(crate) struct ServeConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) shards: u16,
    /// Empty: all this process may run on.
    pub(crate) cores: Vec<usize>,
    pub(crate) backlog: u32,
    /// `None`: as many as this host can hold.
    pub(crate) connections_max: Option<u64>,
    pub(crate) flush: FlushMode,
    pub(crate) secret: Secret,
    pub(crate) default_grants: Grants,
    pub(crate) node: String,
    pub(crate) limits: Limits,
    pub(crate) dev: bool,
    pub(crate) takeover: bool,
    pub(crate) drain_budget: Duration,
    /// A supervisor's socket, and how long it waits for a sign of life.
    supervisor: (Option<OsString>, Option<Duration>),
    /// Where the secret came from, for people.
    secret_whence: String,
}

/// Serves until SIGINT or SIGTERM.
pub(crate) fn run(args: ServeArgs) -> Result<(), Failure> {
    log::start(args.log, &args.log_level)?;
    let config = ServeConfig::new(args)?;
    let verifier = Arc::new(TokenVerifier::hs256(config.secret.bytes(), &config.limits));
    let scrape = boot::Scrapes::default();
    let broken = |what: &str, error: std::io::Error| Failure::Broken(format!("{what}: {error}"));
    let signals = Signals::listen(end_at_once).map_err(|error| broken("signals cannot be waited for", error))?;
    let (notify_socket, patience) = config.supervisor.clone();
    let notify = Notify::new(notify_socket).map_err(|error| broken("NOTIFY_SOCKET is not to be used", error))?;
    let control = ControlConfig {
        scrape: scrape.reader(),
        look: scrape.look(),
        watchdog: patience.map(|patience| Watchdog { notify: notify.clone(), patience }),
        dev: config.dev.then(|| mint(&config.secret)),
    };
    let (control, handover) =
        Control::start(control).map_err(|error| broken("the control plane does not start", error))?;
    let running = boot::start(&config, &verifier, handover, &scrape)?;

    let guest = config.dev.then(|| make_token(&config.secret, "guest")).transpose()?;
    let banner = Banner {
        listen: running.listen(),
        shards: config.shards,
        flush: config.flush.name(),
        capacity: &running.capacity(),
        secret: &config.secret_whence,
        dev_token: guest.as_deref(),
    };
    println!("{banner}");
    tracing::info!(listen = %running.listen(), shards = config.shards, flush = config.flush.name(), "serving");

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
    fn new(args: ServeArgs) -> Result<Self, Failure> {
        let (secret, secret_whence) = find_secret(&args.secret, args.dev)?;
        let shards = match args.shards {
            Some(shards) => shards,
            None => std::thread::available_parallelism().map_or(1, |cores| cores.get().try_into().unwrap_or(u16::MAX)),
        };
        let limits = Limits::default();
        limits.check().map_err(Failure::Misused)?;
        Ok(Self {
            listen: find_listen(&args)?,
            shards,
            cores: args.cores.clone(),
            backlog: args.backlog,
            connections_max: args.max_connections,
            flush: args.flush,
            secret,
            default_grants: find_grants(args.default_grants.as_deref(), args.dev)?,
            node: args.node.unwrap_or_else(host_name),
            limits,
            dev: args.dev,
            takeover: args.takeover,
            drain_budget: args
                .drain_budget
                .map_or(if args.dev { DEV_DRAIN_BUDGET } else { DRAIN_BUDGET }, Duration::from_millis),
            supervisor: (args.notify_socket, watchdog(args.watchdog_usec, args.watchdog_pid)),
            secret_whence,
        })
    }
}

impl FlushMode {
    fn name(self) -> &'static str {
        match self {
            Self::Eager => "eager",
            Self::Tick => "tick",
        }
    }
}

fn find_listen(args: &ServeArgs) -> Result<SocketAddr, Failure> {
    match (args.listen, args.port, args.dev) {
        (Some(listen), _, _) => Ok(listen),
        (None, Some(port), true) => Ok((Ipv4Addr::LOCALHOST, port).into()),
        (None, Some(port), false) => Ok((Ipv4Addr::UNSPECIFIED, port).into()),
        (None, None, true) => Ok((Ipv4Addr::LOCALHOST, DEV_PORT).into()),
        (None, None, false) => Err(Failure::Misused(NO_LISTEN.to_owned())),
    }
}

/// `WATCHDOG_USEC` is meant for the process named by `WATCHDOG_PID` (sd_watchdog_enabled(3)); its children inherit it.
fn watchdog(patience_us: Option<u64>, pid: Option<u32>) -> Option<Duration> {
    let is_meant = pid.is_none_or(|pid| pid == std::process::id());
    patience_us.filter(|us| is_meant && *us > 0).map(Duration::from_micros)
}

fn find_secret(args: &SecretArgs, dev: bool) -> Result<(Secret, String), Failure> {
    match (Secret::find(args)?, &args.jwt_secret_file) {
        (Some(secret), Some(path)) => Ok((secret, format!("from {}", path.display()))),
        (Some(secret), None) => Ok((secret, "from THRONG_JWT_HS256_SECRET".to_owned())),
        (None, _) if dev => {
            Ok((Secret::random()?, "random, for this run only (--jwt-secret-file gives a lasting one)".to_owned()))
        }
        (None, _) => Err(Failure::Misused(NO_SECRET.to_owned())),
    }
}

fn find_grants(json: Option<&str>, dev: bool) -> Result<Grants, Failure> {
    let Some(json) = json else { return Ok(if dev { Grants::everything() } else { Grants::nothing() }) };
    let claim = serde_json::from_str(json)
        .map_err(|error| Failure::Misused(format!("--default-grants is not JSON: {error}")))?;
    Grants::from_claim(&claim).map_err(|why| Failure::Misused(format!("--default-grants {why}")))
}

/// A name for `welcome`; never fails, since a server without a name serves as well.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "throng".to_owned() } else { name.to_owned() }
}

fn mint(secret: &Secret) -> Mint {
    let secret = secret.clone();
    Arc::new(move |user| {
        make_token(&secret, user).map_err(|failure| match failure {
            Failure::Broken(sentence) | Failure::Misused(sentence) => sentence,
        })
    })
}

fn make_token(secret: &Secret, user: &str) -> Result<String, Failure> {
    token::make(secret, &Claims { sub: user, exp: unix_s() + DEV_TOKEN_S, info: None, rooms: None })
}

/// The exit code of a server that was asked twice.
const CUT_SHORT: i32 = 1;
/// Below the time supervisors wait before they kill.
const DRAIN_BUDGET: Duration = Duration::from_secs(30);
/// Nobody who tries something out waits half a minute for ^C.
const DEV_DRAIN_BUDGET: Duration = Duration::from_secs(1);
const DEV_PORT: u16 = 8080;
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
        ServeConfig::new(*args).map_err(|failure| match failure {
            Failure::Broken(sentence) | Failure::Misused(sentence) => sentence,
        })
    }

    #[test]
    fn without_dev_address_and_secret_are_asked_for_and_nothing_is_granted() {
        let error = config(&["--jwt-hs256-secret", SECRET]).unwrap_err();
        assert!(error.contains("--listen") && error.contains("PORT"), "{error}");
        let error = config(&["--listen", "127.0.0.1:1"]).unwrap_err();
        assert!(error.contains("THRONG_JWT_HS256_SECRET") && error.contains("--jwt-secret-file"), "{error}");
        let config = config(&["--listen", "127.0.0.1:1", "--jwt-hs256-secret", SECRET]).unwrap();
        assert!(!config.default_grants.allows(Verb::Join, "lobby", "ann"));
        assert_eq!(config.drain_budget, DRAIN_BUDGET);
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
        assert_eq!((given.shards, given.flush), (3, FlushMode::Tick));
        assert_eq!((given.takeover, given.drain_budget), (false, DEV_DRAIN_BUDGET));
        let rolling = config(&["--dev", "--takeover", "--drain-budget", "1500ms"]).unwrap();
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
            ["--drain-budget", "soon"],
            ["--listen", "here"],
            ["--default-grants", "{}"],
            ["--default-grants", "x"],
            ["--jwt-hs256-secret", "short"],
        ] {
            assert!(config(&["--dev", bad[0], bad[1]]).is_err(), "{bad:?}");
        }
    }
}
