//! Keys of issuers, fetched by URL (RFC 7517, 5) and kept fresh.
//!
//! ```text
//!  address ──► fetch ──► Jwks::read ──► all fetched keys together ──► whoever makes the shards' rules
//!     ▲ every refresh_s; sooner when shards count tokens of unknown keys; later after failures
//! ```
//!
//! Promises: a thread of its own, so that a slow issuer delays no answer of the control plane; bounded in bytes, keys, time
//! and tries; what was fetched stays until something better comes: a failed fetch, or a set in which nothing is usable,
//! changes nothing, nor does a reload for an address it lists again. But not for ever: a key that its issuer has withdrawn
//! is not trusted for as long as somebody can keep us from hearing of it. Must never be on the way of a handshake.

mod fetch;
mod rules;
mod schedule;
mod source;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use crate::runtime::clock::Clock;
use crate::wire::token::{Jwks as KeysRead, JwksFrom, KeySet};
use fetch::Fetcher;
use schedule::Schedule;
use source::LeftOut;

pub use rules::{JwksRules, shown};
pub use source::Status;

/// How many tokens of unknown keys came so far; asked a few times a second.
pub type UnknownKeys = Arc<dyn Fn() -> u64 + Send + Sync>;
/// Told after each fetch that brought keys, and when some are given up; which they are, [`Jwks::keys`] says. Called on the fetching thread; must not
/// wait long.
pub type OnKeys = Arc<dyn Fn() + Send + Sync>;

/// The fetching thread at work. It ends when this is dropped or stopped.
#[derive(Debug)]
pub struct Jwks {
    thread: JoinHandle<()>,
    stop: watch::Sender<bool>,
    status: Status,
}

impl Jwks {
    /// Starts fetching from all addresses. The rules must have passed [`JwksRules::check`]. What was fetched `before` from
    /// an address that is among these, for the same issuer, is had from the beginning.
    ///
    /// # Errors
    /// No thread, no runtime, or no certificates to check TLS with; a sentence.
    pub fn start(
        sources: &[JwksRules],
        before: Option<&Status>,
        unknown: UnknownKeys,
        on_keys: OnKeys,
    ) -> Result<Self, String> {
        let fetchers = sources.iter().map(Fetcher::new).collect::<Result<Vec<_>, _>>()?;
        let broken = |error: io::Error| format!("the thread that fetches keys does not start: {error}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
        let (stop, stopped) = watch::channel(false);
        let status = Status::new(sources, before);
        let keepers: Vec<Keeper> = fetchers
            .into_iter()
            .zip(sources)
            .enumerate()
            .map(|(place, (fetcher, rules))| Keeper {
                place,
                fetcher,
                rules: rules.clone(),
                unknown: Arc::clone(&unknown),
                status: status.clone(),
                on_keys: Arc::clone(&on_keys),
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

    /// The keys of all addresses, as of now.
    pub fn keys(&self) -> KeySet {
        self.status.together().0
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

/// Keeps the set of one address fresh.
struct Keeper {
    place: usize,
    fetcher: Fetcher,
    rules: JwksRules,
    unknown: UnknownKeys,
    status: Status,
    on_keys: OnKeys,
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
            self.give_up_stale();
            let wait_ms = schedule.wait_ms(clock.now().mono_ms).clamp(1, LOOK_MS);
            tokio::select! {
                biased;
                _ = stopped.changed() => return,
                () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
            }
        }
    }

    fn give_up_stale(&self) {
        let source = self.status.source(self.place);
        if let Some(after_s) = source.give_up_stale(source.now_ms(), self.rules.stale_ms()) {
            tracing::error!(
                url = self.url(),
                after_s,
                "keys are given up: for too long no fetch said that they are good"
            );
            (self.on_keys)();
        }
    }

    fn read(&self, text: &[u8]) -> Result<KeySet, String> {
        let read = KeysRead::read(text, JwksFrom::Url, self.rules.issuer.as_deref()).map_err(|bad| bad.to_string())?;
        for why in read.left_out {
            tracing::debug!(url = self.url(), why, "a key was left out");
        }
        Ok(read.keys)
    }

    fn take(&self, read: Result<KeySet, String>, schedule: &mut Schedule, now_ms: u64) {
        let source = self.status.source(self.place);
        match read {
            Ok(keys) => {
                schedule.on_success(now_ms);
                tracing::debug!(url = self.url(), keys = keys.len(), "keys were fetched");
                source.take_keys(keys);
                self.tell_left_out();
                (self.on_keys)();
            }
            Err(why) => {
                schedule.on_failure(now_ms, getrandom::u64().unwrap_or(now_ms));
                let (failures, url) = (schedule.failures(), self.url());
                tracing::warn!(url, failures, why, "keys could not be fetched; those before stay");
                source.take_failure(format!("{url}: {why}"));
            }
        }
    }

    fn tell_left_out(&self) {
        for LeftOut { place, why, holder } in self.status.together().1 {
            let (url, holder) = (self.status.shown(place), holder.map(|holder| self.status.shown(holder)));
            tracing::warn!(url, holder, %why, "a fetched key was left out: no token of it is taken");
        }
    }

    fn url(&self) -> &str {
        self.status.shown(self.place)
    }
}

/// How often it is looked whether tokens of unknown keys came.
const LOOK_MS: u64 = 250;
