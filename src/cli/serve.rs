//! `throng serve`: a configuration becomes running planes, which leave when the process is asked to end.
//!
//! Promises: without `--dev` nothing that matters for safety has a default: no key, no address, no grants.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use throng::base::{Classes, Limits};
use throng::config::{AdminListen, DEV_DRAIN_BUDGET_MS, DRAIN_BUDGET_MS, EngineWish, RoomSettings, Settled};
use throng::control::jwks::JwksRules;
use throng::control::token_keys::{self, KeyRing};
use throng::control::{
    AdminRules, AdminSettings, ApiKey, Control, ControlConfig, Hangups, Mint, Notify, Sharing, Signals, Watchdog,
};
use throng::shard::{Flush, Rules};
use throng::wire::token::{Algorithm, KeySet, TokenVerifier, VerifyingKey};
use throng::wire::{Carriers, Claims, Compression, Grants, Origins, Proxies, TokenRules};

use super::args::ServeArgs;
use super::banner::Banner;
use super::operators::{self, Operators};
use super::reload::Reload;
use super::rulebook::Rulebook;
use super::secret::Secret;
use super::settings::Inputs;
use super::{Failure, boot, log, token, unix_s};

/// All that the file, the environment, the flags and the defaults come to, with what lies in other files.
#[derive(Clone, Debug)]
pub(crate) struct ServeConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) shards: u16,
    /// Empty: all this process may run on.
    pub(crate) cores: Vec<usize>,
    pub(crate) backlog: u32,
    /// `None`: as many as this host can hold.
    pub(crate) connections_max: Option<u64>,
    pub(crate) flush: Flush,
    pub(crate) engine: EngineWish,
    /// `None`: tokens are proved by other keys.
    pub(crate) secret: Option<Secret>,
    /// The secret's and those of all files.
    pub(crate) keys: KeySet,
    /// Addresses more keys are fetched from.
    pub(crate) jwks: Vec<JwksRules>,
    pub(crate) token_rules: TokenRules,
    pub(crate) carriers: Carriers,
    pub(crate) default_grants: Grants,
    pub(crate) origins: Origins,
    pub(crate) proxies: Proxies,
    pub(crate) compression: Compression,
    pub(crate) node: String,
    pub(crate) rooms: RoomSettings,
    pub(crate) limits: Limits,
    pub(crate) dev: bool,
    pub(crate) takeover: bool,
    pub(crate) echo: bool,
    pub(crate) drain_budget: Duration,
    pub(crate) admin: AdminSettings,
    /// The admin listener's address was asked for.
    pub(crate) admin_chosen: bool,
    /// Where the keys came from, for people.
    pub(crate) keys_whence: String,
    /// What is left out, for people.
    pub(crate) warnings: Vec<String>,
}

/// Serves until SIGINT or SIGTERM.
pub(crate) fn run(args: ServeArgs) -> Result<(), Failure> {
    let ServeArgs { settings, supervisor } = args;
    let inputs = Inputs::look(settings);
    let settled = inputs.read()?;
    let level = log::start(settled.config.log.format, &settled.config.log.level)?;
    let config = ServeConfig::new(&settled, None)?;
    for warning in settled.warnings.iter().chain(&config.warnings) {
        tracing::warn!("{warning}");
    }
    let rulebook = Rulebook::new(config.clone())?;
    let scrape = boot::Scrapes::new(Arc::clone(&rulebook));
    let or_elsewhere = config.dev && !config.admin_chosen;
    let operators = Operators::bind(config.admin.listen, config.takeover, or_elsewhere, config.dev)?;
    let (admin_at, dev_key) = (operators.address(), operators.dev_key);
    let broken = |what: &str, error: io::Error| Failure::Broken(format!("{what}: {error}"));
    let signals = Signals::listen(end_at_once).map_err(|error| broken("signals cannot be waited for", error))?;
    let hangups = Hangups::listen().map_err(|error| broken("SIGHUP cannot be caught", error))?;
    let patience = watchdog(supervisor.watchdog_usec, supervisor.watchdog_pid);
    let notify =
        Notify::new(supervisor.notify_socket).map_err(|error| broken("NOTIFY_SOCKET is not to be used", error))?;
    let control = ControlConfig {
        scrape: scrape.reader(),
        front: rulebook.front_door(),
        admin: operators.listener,
        admin_on_public: config.admin.on_public,
        admin_rules: config.admin_rules(dev_key.as_ref().map(|(key, _)| key)),
        look: scrape.look(),
        watchdog: patience.map(|patience| Watchdog { notify: notify.clone(), patience }),
        dev: config.dev.then(|| mint(&rulebook)),
        sharing: Some(Sharing { address: config.listen, takeover: config.takeover }),
    };
    let (control, handover, desk) =
        Control::start(control).map_err(|error| broken("the control plane does not start", error))?;
    let running = boot::start(&config, rulebook.rules(), control.inherit(), handover, &desk, &scrape)?;
    let change = running.rules_change();
    rulebook.start(Arc::new(move |rules| change.tell(rules)), scrape.unknown_keys())?;
    let (places, host_holds) = running.places();
    let (counts, rules, key) =
        (Arc::clone(&scrape.reloads), Arc::clone(&rulebook), dev_key.clone().map(|(key, _)| key));
    let mut reload =
        Reload { inputs, running: settled, rulebook: rules, level, places, host_holds, desk, dev_key: key, counts };
    hangups.each(move || reload.now()).map_err(|error| broken("no thread for reloads", error))?;

    let guest = config.secret.as_ref().filter(|_| config.dev).map(|secret| make_token(secret, "guest")).transpose()?;
    let banner = Banner {
        listen: running.listen(),
        shards: config.shards,
        flush: flush_name(config.flush),
        engine: running.engine().name(),
        capacity: &running.capacity(),
        secret: &config.keys_whence,
        dev_token: guest.as_deref(),
        admin: admin_at,
        admin_key: dev_key.as_ref().map(|(_, text)| text.as_str()),
    };
    // Whoever started it may listen no more; it serves all the same.
    if let Err(error) = writeln!(io::stdout(), "{banner}") {
        tracing::warn!(%error, "the banner could not be printed");
    }
    let (shards, engine, flush) = (config.shards, running.engine().name(), flush_name(config.flush));
    tracing::info!(listen = %running.listen(), shards, engine, flush, "serving");

    notify.ready(&format!("serving at {}", running.listen()));

    let signal = signals.wait();
    let budget_s = config.drain_budget.as_secs_f64();
    tracing::info!(signal, budget_s, "leaving: everybody gets a slot to come back in; a second signal ends at once");
    notify.stopping(config.drain_budget);
    rulebook.stop();
    control.leave();
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
    /// Reads all key files, and finds what is left to find. `kept` is the secret of a server that runs already: the one of
    /// `--dev` is not made anew.
    pub(crate) fn new(settled: &Settled, kept: Option<&Secret>) -> Result<Self, Failure> {
        let config = &settled.config;
        let dev = config.server.dev;
        log::check(&config.log.level)?;
        let listen = settled.listen().ok_or_else(|| Failure::Misused(NO_LISTEN.to_owned()))?;
        let (secret, secret_whence) = find_secret(settled, kept)?.unzip();
        let (keys, warnings) = find_keys(settled, secret.as_ref())?;
        config.tokens.jwks.iter().try_for_each(JwksRules::check_files).map_err(Failure::Misused)?;
        let nobody_said = || if dev { Grants::everything() } else { Grants::nothing() };
        let origins = config.origins.clone();
        Ok(Self {
            listen,
            shards: config.server.shards.unwrap_or_else(cores_at_hand),
            cores: config.server.cores.clone(),
            backlog: config.server.backlog,
            connections_max: config.server.max_connections,
            flush: config.server.flush,
            engine: config.server.engine,
            secret,
            keys,
            jwks: config.tokens.jwks.clone(),
            token_rules: token_rules(settled),
            carriers: config.tokens.carriers.clone(),
            default_grants: config.grants.default.clone().unwrap_or_else(nobody_said),
            origins: if dev { origins.with_any_localhost() } else { origins },
            proxies: config.proxies.clone(),
            compression: config.compression,
            node: config.server.node.clone().unwrap_or_else(host_name),
            rooms: config.rooms.clone(),
            limits: config.limits.clone(),
            dev,
            takeover: config.server.takeover,
            echo: config.server.echo,
            drain_budget: Duration::from_millis(config.drain.budget_ms.unwrap_or(match dev {
                true => DEV_DRAIN_BUDGET_MS,
                false => DRAIN_BUDGET_MS,
            })),
            admin: AdminSettings {
                listen: match config.admin.listen {
                    AdminListen::Off => None,
                    AdminListen::At(address) => Some(address),
                },
                on_public: config.admin.on_public,
                keys: operators::keys(&config.admin)?,
            },
            admin_chosen: settled.whence("admin.listen").rank() > 0,
            keys_whence: keys_whence(settled, secret_whence),
            warnings,
        })
    }

    /// How many connections all shards together may hold by what was configured.
    pub(crate) fn places_max(&self) -> u64 {
        let all_shards = u64::from(self.shards).saturating_mul(self.limits.connections_per_shard_max as u64);
        self.connections_max.unwrap_or(u64::MAX).min(all_shards)
    }

    /// What may change while the server runs.
    pub(crate) fn rules(&self, ring: &KeyRing, classes: Classes) -> Rules {
        let (limits, verifier) = (self.limits.clone(), Arc::new(ring.verifier(&self.limits)));
        let (origins, proxies, carriers) = (self.origins.clone(), self.proxies.clone(), self.carriers.clone());
        let (echo, compression) = (self.echo, self.compression);
        let rules = Rules::new(limits, verifier, self.default_grants.clone());
        Rules { classes, origins, proxies, carriers, echo, compression, ..rules }
    }

    /// Likewise, of the API. `dev_key` is the one made for this run.
    pub(crate) fn admin_rules(&self, dev_key: Option<&ApiKey>) -> AdminRules {
        // No token is good for longer, whatever its key.
        let life = TokenVerifier::new(KeySet::default(), self.token_rules.clone(), &self.limits);
        AdminRules {
            keys: self.admin.keys.iter().chain(dev_key).cloned().collect(),
            message_bytes_max: self.limits.message_bytes_max,
            depth_max: self.limits.depth_max,
            revocations_max: self.limits.revocations_max,
            revocation_life_s: life.life_max_s(),
        }
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

/// The secret, and where it came from. `None`: there are other keys.
fn find_secret(settled: &Settled, kept: Option<&Secret>) -> Result<Option<(Secret, String)>, Failure> {
    let tokens = &settled.config.tokens;
    let rank = |path: &str| settled.whence(path).rank();
    let file = tokens.secret_file.as_deref();
    // Of two with the same precedence the file wins: it can be changed while the server runs.
    let file = file.filter(|_| tokens.secret.is_none() || rank("tokens.secret_file") >= rank("tokens.secret"));
    match (file, &tokens.secret, kept) {
        (Some(path), _, _) => Ok(Some((Secret::from_file(path)?, format!("from {}", path.display())))),
        (None, Some(secret), _) => {
            Ok(Some((Secret::from_text(secret.reveal())?, format!("from {}", settled.whence("tokens.secret")))))
        }
        (None, None, Some(kept)) if settled.config.server.dev => Ok(Some((kept.clone(), "kept".to_owned()))),
        (None, None, None) if settled.config.server.dev => {
            let whence = "random, for this run only (--jwt-secret-file gives a lasting one)";
            Ok(Some((Secret::random()?, whence.to_owned())))
        }
        (None, None, _) if tokens.keys.is_empty() && tokens.jwks.is_empty() => {
            Err(Failure::Misused(NO_SECRET.to_owned()))
        }
        (None, None, _) => Ok(None),
    }
}

/// The secret as a key, and all keys in files; and which of these were left out.
fn find_keys(settled: &Settled, secret: Option<&Secret>) -> Result<(KeySet, Vec<String>), Failure> {
    let misused = |why: &dyn std::fmt::Display| Failure::Misused(why.to_string());
    let loaded = token_keys::load(&settled.config.tokens.keys).map_err(|why| misused(&why))?;
    let mut keys = loaded.keys;
    if let Some(secret) = secret {
        let key = VerifyingKey::from_secret(Algorithm::Hs256, secret.bytes()).map_err(|bad| misused(&bad))?;
        keys.add(Arc::new(key)).map_err(|bad| misused(&bad))?;
    }
    let left_out = loaded.left_out.into_iter().map(|why| format!("a key was left out: {why}"));
    Ok((keys, left_out.collect()))
}

/// Under `--dev` tokens may live as long as they like, in URLs, too, unless something else is said.
fn token_rules(settled: &Settled) -> TokenRules {
    let (mut rules, any_time) = (settled.config.tokens.rules.clone(), TokenRules::any_time());
    let unsaid = |path: &str| settled.config.server.dev && settled.whence(path).rank() == 0;
    if unsaid("tokens.life_max_s") {
        rules.life_max_s = any_time.life_max_s;
    }
    if unsaid("tokens.query_token_max_age_s") {
        rules.query_token_max_age_s = any_time.query_token_max_age_s;
    }
    rules
}

fn keys_whence(settled: &Settled, secret_whence: Option<String>) -> String {
    let (files, addresses) = (settled.config.tokens.keys.len(), settled.config.tokens.jwks.len());
    let mut parts = vec![secret_whence.unwrap_or_else(|| "none".to_owned())];
    let more = [(files, "key file"), (addresses, "JWKS address")].into_iter().filter(|(count, _)| *count > 0);
    parts.extend(more.map(|(count, what)| {
        format!(
            "{count} {what}{}",
            match (count, what) {
                (1, _) => "",
                (_, "key file") => "s",
                (_, _) => "es",
            }
        )
    }));
    parts.join(" + ")
}

/// A name for `welcome`; never fails, since a server without a name serves as well.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "throng".to_owned() } else { name.to_owned() }
}

fn mint(rulebook: &Arc<Rulebook>) -> Mint {
    let rulebook = Arc::clone(rulebook);
    Arc::new(move |user| {
        let secret = rulebook.secret().ok_or("there is no secret to sign with")?;
        make_token(&secret, user).map_err(|failure| failure.sentence().to_owned())
    })
}

fn make_token(secret: &Secret, user: &str) -> Result<String, Failure> {
    token::make(secret, &Claims { sub: user, exp: unix_s() + DEV_TOKEN_S, info: None, rooms: None })
}

/// The exit code of a server that was asked twice.
const CUT_SHORT: i32 = 1;
const DEV_TOKEN_S: u64 = 86_400;
const NO_LISTEN: &str = "say where to listen: --listen 0.0.0.0:8080 (or THRONG_LISTEN, or PORT); \
                         to try it out, --dev listens at 127.0.0.1:8080";
const NO_SECRET: &str = "tokens need a secret: set THRONG_JWT_HS256_SECRET or give --jwt-secret-file \
                         (make one with: openssl rand -hex 32), or name other keys by `keys` or `jwks` in [tokens]; \
                         to try it out, --dev makes a secret for the run";

#[cfg(test)]
pub(super) mod tests {
    use clap::{CommandFactory, FromArgMatches};
    use throng::wire::Verb;

    use super::super::args::{Cli, Command};
    use super::*;

    const SECRET: &str = "an-example-secret-of-thirty-two-b";

    /// Reads arguments only: tests must not depend on the environment they run in.
    pub(in crate::cli) fn config(arguments: &[&str]) -> Result<ServeConfig, String> {
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
        let secret = |config: ServeConfig| config.secret.unwrap().bytes().to_vec();
        assert_ne!(secret(dev), secret(config(&["--dev"]).unwrap()));
        assert_eq!(config(&["--dev", "--port", "9"]).unwrap().listen, "127.0.0.1:9".parse().unwrap());
        let open = config(&["--port", "9", "--jwt-hs256-secret", SECRET]).unwrap();
        assert_eq!(open.listen, "0.0.0.0:9".parse().unwrap());
        assert_eq!(
            config(&["--dev", "--port", "9", "--listen", "[::1]:7"]).unwrap().listen,
            "[::1]:7".parse().unwrap()
        );
    }

    /// The shards are told to take people before the addresses of keys are asked.
    #[test]
    fn a_server_whose_keys_are_to_be_fetched_is_not_ready_before_they_are_asked_for() {
        let mut config = config(&["--dev"]).unwrap();
        let missing = |config: &ServeConfig| Rulebook::new(config.clone()).unwrap().keys_missing();
        assert_eq!(missing(&config), None);
        config.jwks.push(JwksRules { url: "https://id.example/keys".to_owned(), ..JwksRules::default() });
        assert!(missing(&config).unwrap().contains("no token keys yet"));
    }

    /// Whoever had it could else make tokens.
    #[test]
    fn a_public_key_is_not_taken_for_the_secret() {
        let told = |flag: &str, value: &str| config(&["--listen", "127.0.0.1:1", flag, value]).unwrap_err();
        let ssh = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea ann@example";
        assert!(told("--jwt-hs256-secret", ssh).contains("is a public key of OpenSSH"));
        let path = std::env::temp_dir().join(format!("throng-public-{}", std::process::id()));
        std::fs::write(
            &path,
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
        )
        .unwrap();
        assert!(told("--jwt-secret-file", path.to_str().unwrap()).contains("is JSON, as a JWK is"));
        std::fs::remove_file(&path).unwrap();
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
