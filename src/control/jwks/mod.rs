//! Keys of issuers, fetched by URL (RFC 7517, 5) and kept fresh.
//!
//! ```text
//!  address ──► fetch ──► Jwks::read ──► all fetched keys together ──► whoever makes the shards' rules
//!     ▲ every refresh_s; sooner when shards count tokens of unknown keys; later after failures
//! ```
//!
//! Promises: a thread of its own, so that a slow issuer delays no answer of the control plane; bounded in bytes, keys, time
//! and tries; what was fetched stays until something better comes: a failed fetch, or a set in which nothing is usable,
//! changes nothing. Must never be on the way of a handshake.

mod fetch;
mod schedule;
#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::Uri;
use tokio::sync::watch;

use super::metrics::{Family, Kind};
use crate::runtime::clock::Clock;
use crate::wire::token::{BadKeySet, Jwks as KeysRead, JwksFrom, KeySet};
use fetch::Fetcher;
use schedule::Schedule;

/// One address of keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JwksRules {
    /// `https://…`; `http://` only to this host, unless `plain_http`.
    pub url: String,
    /// Its keys are good for tokens of this `iss` only. With several addresses each should have one.
    pub issuer: Option<String>,
    /// How long a set is used before it is fetched again, in seconds.
    pub refresh_s: u64,
    /// The shortest time between two fetches, in seconds, however many tokens of unknown keys come.
    pub between_s: u64,
    /// The longest time between two tries after failures, in seconds; the first is 1 s, then it doubles.
    pub backoff_max_s: u64,
    /// Time for one fetch, in milliseconds, from the name's resolution to the last byte.
    pub timeout_ms: u64,
    /// Bytes of a set.
    pub body_bytes_max: usize,
    /// Take keys without TLS from elsewhere, too: whoever sits in between can then make tokens.
    pub plain_http: bool,
    /// Certificates (PEM) of those who may vouch for this address, instead of the system's. Read when fetching starts.
    pub ca_file: Option<PathBuf>,
}

impl Default for JwksRules {
    fn default() -> Self {
        Self {
            url: String::new(),
            issuer: None,
            refresh_s: 600,
            between_s: 30,
            backoff_max_s: 300,
            timeout_ms: 5_000,
            body_bytes_max: 256 << 10,
            plain_http: false,
            ca_file: None,
        }
    }
}

impl JwksRules {
    /// Says what is wrong with these rules and what to do.
    pub fn check(&self) -> Result<(), String> {
        let uri: Uri = self.url.parse().map_err(|_| format!("the JWKS address {:?} is not a URL", self.url))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            // Not repeated: it would be sent to nobody, and told in logs and by /readyz.
            return Err("a JWKS address has a user or a password in it, which are not sent: leave them out".to_owned());
        }
        match uri.scheme_str() {
            _ if host.is_empty() => return Err(format!("the JWKS address {:?} names no host", self.url)),
            Some("https") => {}
            Some("http") if is_here || self.plain_http => {}
            Some("http") => {
                return Err(format!(
                    "{} is not https: whoever sits in between could make tokens; if nobody can, set plain_http",
                    self.url
                ));
            }
            Some(_) | None => return Err(format!("the JWKS address {:?} is neither https nor http", self.url)),
        }
        let bounds = [
            (self.refresh_s >= self.between_s, "refresh is shorter than the shortest interval between two fetches"),
            (self.between_s >= 1, "the shortest interval between two fetches must be at least 1 s"),
            (self.backoff_max_s >= 1, "the longest wait after failures must be at least 1 s"),
            (self.timeout_ms >= 1, "the time for a fetch must be above 0"),
            (self.body_bytes_max >= 1, "the bytes of a set must be above 0"),
            (
                self.ca_file.is_none() || uri.scheme_str() == Some("https"),
                "ca_file says who vouches for an https address, and this is none",
            ),
        ];
        match bounds.iter().find(|(holds, _)| !holds) {
            Some((_, why)) => Err(format!("JWKS {}: {why}", self.url)),
            None => Ok(()),
        }
    }

    /// Whether the files these rules name can be used; else why not, as a sentence.
    pub fn check_files(&self) -> Result<(), String> {
        self.ca_file.as_deref().map_or(Ok(()), |path| fetch::vouched_for_by(path).map(drop))
    }
}

/// How many tokens of unknown keys came so far; asked a few times a second.
pub type UnknownKeys = Arc<dyn Fn() -> u64 + Send + Sync>;
/// Takes all fetched keys, after each fetch. Called on the fetching thread; must not wait long.
pub type OnKeys = Arc<dyn Fn(KeySet) + Send + Sync>;

/// The fetching thread at work. It ends when this is dropped or stopped.
#[derive(Debug)]
pub struct Jwks {
    thread: JoinHandle<()>,
    stop: watch::Sender<bool>,
    status: Status,
}

/// What is known about the fetching, for a scrape and for readiness. A clone is a pointer.
#[derive(Clone, Debug)]
pub struct Status(Arc<[SourceStatus]>);

#[derive(Debug, Default)]
struct SourceStatus {
    keys: AtomicU64,
    /// Of these, those that are not used because the name is taken or there are too many.
    left_out: AtomicU64,
    fetches: AtomicU64,
    failures: AtomicU64,
    /// Why the last try failed; empty after a success.
    trouble: Mutex<String>,
}

impl Status {
    /// Whether every address has given keys at least once; else why not, as a sentence.
    pub fn ready(&self) -> Result<(), String> {
        match self.0.iter().find(|source| source.keys.load(Ordering::Relaxed) == 0) {
            None => Ok(()),
            Some(source) => {
                let trouble = source.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let trouble = if trouble.is_empty() { "still fetching".to_owned() } else { trouble };
                Err(format!("no token keys yet: {trouble}"))
            }
        }
    }

    /// For the scrape.
    pub fn families(&self) -> Vec<Family> {
        let sum =
            |of: fn(&SourceStatus) -> &AtomicU64| self.0.iter().map(|source| of(source).load(Ordering::Relaxed)).sum();
        vec![
            Family::single("throng_jwks_keys", "Keys from JWKS addresses", Kind::Gauge, sum(|source| &source.keys)),
            Family::single("throng_jwks_fetches", "Key sets fetched", Kind::Counter, sum(|source| &source.fetches)),
            Family::single(
                "throng_jwks_failures",
                "Fetches of key sets that failed; the sets before them stay",
                Kind::Counter,
                sum(|source| &source.failures),
            ),
            Family::single(
                "throng_jwks_keys_left_out",
                "Keys from JWKS addresses that are not used: another address has the name, or there are too many",
                Kind::Gauge,
                sum(|source| &source.left_out),
            ),
        ]
    }
}

impl Jwks {
    /// Starts fetching from all addresses. The rules must have passed [`JwksRules::check`].
    ///
    /// # Errors
    /// No thread, no runtime, or no certificates to check TLS with; a sentence.
    pub fn start(sources: &[JwksRules], unknown: UnknownKeys, on_keys: OnKeys) -> Result<Self, String> {
        let fetchers = sources.iter().map(Fetcher::new).collect::<Result<Vec<_>, _>>()?;
        let broken = |error: io::Error| format!("the thread that fetches keys does not start: {error}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
        let (stop, stopped) = watch::channel(false);
        let status = Status(sources.iter().map(|_| SourceStatus::default()).collect());
        let shared = Arc::new(Shared {
            sets: Mutex::new(vec![None; sources.len()]),
            urls: sources.iter().map(|rules| rules.url.clone()).collect(),
            on_keys,
            status: status.clone(),
        });
        let keepers: Vec<Keeper> = fetchers
            .into_iter()
            .zip(sources)
            .enumerate()
            .map(|(place, (fetcher, rules))| Keeper {
                place,
                fetcher,
                rules: rules.clone(),
                unknown: Arc::clone(&unknown),
                shared: Arc::clone(&shared),
            })
            .collect();
        let thread = std::thread::Builder::new().name("jwks".to_owned()).spawn(move || {
            runtime.block_on(async {
                let keepers: Vec<_> =
                    keepers.into_iter().map(|keeper| tokio::spawn(keeper.keep(stopped.clone()))).collect();
                for keeper in keepers {
                    if let Err(error) = keeper.await {
                        tracing::error!(%error, "fetching keys ended badly");
                    }
                }
            });
            // A name that is being resolved must not hold up the end.
            runtime.shutdown_background();
        });
        Ok(Self { thread: thread.map_err(broken)?, stop, status })
    }

    pub fn status(&self) -> Status {
        self.status.clone()
    }

    /// Ends the thread, whatever it is doing.
    pub fn stop(self) {
        // Nobody listens: the thread is gone already.
        let _told = self.stop.send(true);
        if self.thread.join().is_err() {
            tracing::error!("the thread that fetches keys had panicked");
        }
    }
}

/// What all addresses have in common.
struct Shared {
    sets: Mutex<Vec<Option<KeySet>>>,
    urls: Vec<String>,
    on_keys: OnKeys,
    status: Status,
}

/// Keeps the set of one address fresh.
struct Keeper {
    place: usize,
    fetcher: Fetcher,
    rules: JwksRules,
    unknown: UnknownKeys,
    shared: Arc<Shared>,
}

impl Keeper {
    async fn keep(self, mut stopped: watch::Receiver<bool>) {
        let clock = Clock::start();
        let mut schedule = Schedule::new(&self.rules, clock.now().mono_ms);
        let mut seen = (self.unknown)();
        loop {
            let unknown = (self.unknown)();
            if std::mem::replace(&mut seen, unknown) < unknown {
                schedule.on_unknown_key(clock.now().mono_ms);
            }
            if schedule.is_due(clock.now().mono_ms) {
                let fetched = tokio::select! {
                    biased;
                    _ = stopped.changed() => return,
                    fetched = self.fetcher.fetch() => fetched,
                };
                let read = fetched.and_then(|text| self.read(&text));
                self.take(read, &mut schedule, clock.now().mono_ms);
            }
            let wait_ms = schedule.wait_ms(clock.now().mono_ms).clamp(1, LOOK_MS);
            tokio::select! {
                biased;
                _ = stopped.changed() => return,
                () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
            }
        }
    }

    fn read(&self, text: &[u8]) -> Result<KeySet, String> {
        let read = KeysRead::read(text, JwksFrom::Url, self.rules.issuer.as_deref()).map_err(|bad| bad.to_string())?;
        for why in read.left_out {
            tracing::debug!(url = self.rules.url, why, "a key was left out");
        }
        Ok(read.keys)
    }

    fn take(&self, read: Result<KeySet, String>, schedule: &mut Schedule, now_ms: u64) {
        let status = &self.shared.status.0[self.place];
        let mut trouble = status.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(keys) => {
                trouble.clear();
                schedule.on_success(now_ms);
                status.keys.store(keys.len() as u64, Ordering::Relaxed);
                status.fetches.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(url = self.rules.url, keys = keys.len(), "keys were fetched");
                self.hand_on(keys);
            }
            Err(why) => {
                schedule.on_failure(now_ms, getrandom::u64().unwrap_or(now_ms));
                status.failures.fetch_add(1, Ordering::Relaxed);
                let (failures, url) = (schedule.failures(), &self.rules.url);
                tracing::warn!(url, failures, why, "keys could not be fetched; those before stay");
                *trouble = format!("{url}: {why}");
            }
        }
    }

    /// All addresses' keys together go out.
    fn hand_on(&self, keys: KeySet) {
        let mut sets = self.shared.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets[self.place] = Some(keys);
        let (all, left_out) = together(&sets);
        let urls = &self.shared.urls;
        for LeftOut { place, why, holder } in &left_out {
            let holder = holder.map(|holder| urls[holder].as_str());
            tracing::warn!(url = urls[*place], holder, %why, "a fetched key was left out: no token of it is taken");
        }
        for (place, source) in self.shared.status.0.iter().enumerate() {
            let count = left_out.iter().filter(|left_out| left_out.place == place).count();
            source.left_out.store(count as u64, Ordering::Relaxed);
        }
        (self.shared.on_keys)(all);
    }
}

/// A key that is not used, of the address at `place`.
struct LeftOut {
    place: usize,
    why: BadKeySet,
    /// The address that has the name already.
    holder: Option<usize>,
}

/// The keys of all addresses. A name belongs to the address that is listed first: an issuer further down cannot take it
/// away, and its own key of that name is left out by name, not in silence.
fn together(sets: &[Option<KeySet>]) -> (KeySet, Vec<LeftOut>) {
    let (mut all, mut left_out) = (KeySet::default(), Vec::new());
    for (place, set) in sets.iter().enumerate() {
        let Some(set) = set else { continue };
        let (more, why_not) = all.joined_by(set);
        all = more;
        left_out.extend(why_not.into_iter().map(|why| {
            let holds = |set: &Option<KeySet>| match (set, &why) {
                (Some(set), BadKeySet::SameKid { algorithm, kid }) => set.has_named(algorithm, kid),
                (None, _)
                | (Some(_), BadKeySet::SameKey { .. } | BadKeySet::TooMany(_) | BadKeySet::TooManyUnnamed { .. }) => {
                    false
                }
            };
            let holder = sets[..place].iter().position(holds);
            LeftOut { place, why, holder }
        }));
    }
    (all, left_out)
}

/// How often it is looked whether tokens of unknown keys came.
const LOOK_MS: u64 = 250;
