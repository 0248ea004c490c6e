//! `throng serve`: arguments become a config, the planes are started, and stopped when the process is asked to end.
//!
//! Promises: without `--dev` nothing that matters for safety has a default: no secret, no address, no grants.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use throng::base::Limits;
use throng::control::token_keys::KeyRing;
use throng::control::{AdminRules, AdminSettings, Control, ControlConfig, FrontDoor, Mint, wait_for_signal};
use throng::wire::token::{Algorithm, KeySet, VerifyingKey};
use throng::wire::{Claims, Grants, Origins, Proxies, TokenRules};

use super::args::{FlushMode, SecretArgs, ServeArgs};
use super::banner::Banner;
use super::operators::Operators;
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
    pub(crate) origins: Origins,
    pub(crate) dev: bool,
    pub(crate) admin: AdminSettings,
    /// The admin listener's address was asked for.
    admin_chosen: bool,
    /// Where the secret came from, for people.
    secret_whence: String,
}

/// Serves until SIGINT or SIGTERM.
pub(crate) fn run(args: ServeArgs) -> Result<(), Failure> {
    log::start(args.log, &args.log_level)?;
    let config = ServeConfig::new(args)?;
    let verifier = Arc::new(config.key_ring()?.verifier(&config.limits));
    let scrape = boot::Scrapes::default();
    let operators = Operators::bind(config.admin.clone(), config.admin_chosen, config.dev)?;
    let (admin_at, admin_key) = (operators.address(), operators.dev_key);
    let origins = config.origins.clone();
    let front: FrontDoor = Arc::new(move || (origins.clone(), Proxies::default()));
    let control = ControlConfig {
        scrape: scrape.reader(),
        front,
        admin: operators.listener,
        admin_on_public: operators.settings.on_public,
        admin_rules: AdminRules {
            keys: operators.settings.keys,
            message_bytes_max: config.limits.message_bytes_max,
            depth_max: config.limits.depth_max,
        },
        dev: config.dev.then(|| mint(&config.secret)),
    };
    let broken = |what: &str, error: std::io::Error| Failure::Broken(format!("{what}: {error}"));
    let (control, handover, desk) =
        Control::start(control).map_err(|error| broken("the control plane does not start", error))?;
    let running = boot::start(&config, &verifier, handover, &desk, &scrape)?;

    let guest = config.dev.then(|| make_token(&config.secret, "guest")).transpose()?;
    let banner = Banner {
        listen: running.listen(),
        shards: config.shards,
        flush: config.flush.name(),
        capacity: &running.capacity(),
        secret: &config.secret_whence,
        dev_token: guest.as_deref(),
        admin: admin_at,
        admin_key: admin_key.as_deref(),
    };
    println!("{banner}");
    tracing::info!(listen = %running.listen(), shards = config.shards, flush = config.flush.name(), "serving");

    let signal = wait_for_signal().map_err(|error| broken("signals cannot be waited for", error))?;
    tracing::info!(signal, "stopping");
    running.stop();
    control.join();
    Ok(())
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
            origins: if args.dev { Origins::default().with_any_localhost() } else { Origins::default() },
            dev: args.dev,
            admin: args.admin.settings()?,
            admin_chosen: args.admin.admin_listen.is_some(),
            secret_whence,
        })
    }
}

impl ServeConfig {
    /// Who proves tokens. Under `--dev` they may live as long as they like, in URLs, too.
    fn key_ring(&self) -> Result<KeyRing, Failure> {
        let misused = |why: &dyn std::fmt::Display| Failure::Misused(why.to_string());
        let key = VerifyingKey::from_secret(Algorithm::Hs256, self.secret.bytes()).map_err(|bad| misused(&bad))?;
        let keys = KeySet::new([Arc::new(key)]).map_err(|bad| misused(&bad))?;
        let rules = if self.dev { TokenRules::any_time() } else { TokenRules::default() };
        Ok(KeyRing::new(keys, rules, false))
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
        assert_eq!((given.node.as_str(), given.connections_max, given.backlog), ("n1", Some(10), 4096));
        let grants =
            config(&["--dev", "--default-grants", r#"[{"match":"a","can":["join"]}]"#]).unwrap().default_grants;
        assert!(grants.allows(Verb::Join, "a", "ann") && !grants.allows(Verb::Join, "b", "ann"));
        for bad in [
            ["--shards", "0"],
            ["--max-connections", "0"],
            ["--flush", "later"],
            ["--listen", "here"],
            ["--default-grants", "{}"],
            ["--default-grants", "x"],
            ["--jwt-hs256-secret", "short"],
        ] {
            assert!(config(&["--dev", bad[0], bad[1]]).is_err(), "{bad:?}");
        }
    }
}
