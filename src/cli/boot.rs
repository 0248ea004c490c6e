//! The seam between the command and the data plane: a config becomes running shards.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use throng::base::{Now, ShardId};
use throng::config::EngineWish;
use throng::control::jwks::UnknownKeys;
use throng::control::{Desk, HandOver, Look, Remembered, Scrape, Standing};
use throng::runtime::boot::{self, BootConfig};
use throng::runtime::engine::{self, Engine};
use throng::runtime::host::{self, Capacity, Clients, HostState, Layout, LimitedBy};
use throng::runtime::scrape::Counts;
use throng::runtime::{Places, RulesChange};
use throng::shard::{Count, Homes, Rules, Shard, ShardConfig};

use super::reload::ReloadCounts;
use super::rulebook::Rulebook;
use super::serve::ServeConfig;
use super::{Failure, figures};

/// Where the shards leave what they count, and the scrape finds it. Empty until they run.
pub(crate) struct Scrapes {
    counts: Arc<OnceLock<(Engine, Counts)>>,
    pub(crate) reloads: Arc<ReloadCounts>,
    rulebook: Arc<Rulebook>,
}

impl Scrapes {
    pub(crate) fn new(rulebook: Arc<Rulebook>) -> Self {
        Self { counts: Arc::default(), reloads: Arc::default(), rulebook }
    }

    /// How many tokens named a key that may yet be fetched.
    pub(crate) fn unknown_keys(&self) -> UnknownKeys {
        let counts = Arc::clone(&self.counts);
        Arc::new(move || counts.get().map_or(0, |(_, counts)| counts.totals().cells[Count::UnknownKeys.index()]))
    }

    pub(crate) fn reader(&self) -> Scrape {
        let (counts, reloads) = (Arc::clone(&self.counts), Arc::clone(&self.reloads));
        let rulebook = Arc::clone(&self.rulebook);
        Arc::new(move || {
            let families =
                |(engine, counts): &(Engine, Counts)| figures::families(*engine, &counts.totals(), &rulebook.classes());
            let mut families = counts.get().map(families).unwrap_or_default();
            families.extend(reloads.families());
            families.extend(rulebook.families());
            families
        })
    }

    /// How the house is, for whoever asks whether to send people here.
    pub(crate) fn look(&self) -> Look {
        let (counts, rulebook) = (Arc::clone(&self.counts), Arc::clone(&self.rulebook));
        Arc::new(move || {
            let mut standing = counts.get().map_or_else(Standing::starting, |(_, counts)| Standing::of(counts));
            standing.away.extend(rulebook.keys_missing().map(|why| ("the issuer of token keys", why)));
            standing
        })
    }
}

/// A started data plane.
pub(crate) struct Running {
    running: boot::Running,
    capacity: Capacity,
    /// Connections this host can hold, whatever was configured.
    host_holds: u64,
}

/// Starts it: raises the limit on open files, looks what the host can hold, and boots the shards. `revoked` is known to
/// them before anybody is let in.
pub(crate) fn start(
    config: &ServeConfig,
    mut rules: Rules,
    revoked: Vec<Remembered>,
    handover: HandOver,
    desk: &Desk,
    scrape: &Scrapes,
) -> Result<Running, Failure> {
    let broken = |error: &dyn fmt::Display| Failure::Broken(error.to_string());
    let open_files = host::raise_open_files().map_err(|error| broken(&error))?;
    let limits = &mut rules.limits;
    limits.slots_per_ring = host::slots_per_ring(limits.slots_per_ring, open_files);
    let engine = choose_engine(config.engine)?;
    let state = HostState::look().map_err(|error| broken(&error))?;
    let layout = Layout {
        engine,
        shards: config.shards,
        slots_per_ring: limits.slots_per_ring,
        max_connections: config.connections_max,
        connections_per_shard_max: Some(limits.connections_per_shard_max as u64),
    };
    let clients = if config.listen.ip().is_loopback() { Clients::Here } else { Clients::Elsewhere };
    let capacity = state.capacity(layout, clients);
    let unlimited = Layout { max_connections: None, connections_per_shard_max: None, ..layout };
    let host_holds = state.capacity(unlimited, clients).connections;
    let boot = BootConfig {
        engine,
        listen: config.listen,
        backlog: i32::try_from(config.backlog).unwrap_or(i32::MAX),
        shards: config.shards,
        cores: config.cores.clone(),
        slots_per_ring: limits.slots_per_ring,
        tick_ms: limits.tick_ms,
        slow_turn_ms: Some(limits.slow_turn_ms).filter(|ms| *ms > 0),
        takeover: config.takeover,
        // What the host cannot hold is answered 503 instead of being taken in and killed later.
        connections_max: capacity.connections,
        parcels_per_inbox: PARCELS_PER_INBOX,
        asks_per_inbox: ASKS_PER_INBOX,
    };
    let template = ShardConfig {
        id: ShardId(0),
        shards: config.shards,
        rules: Arc::new(rules),
        seed: random_seed()?,
        flush: config.flush,
        node: Arc::from(config.node.as_str()),
        #[cfg(feature = "planted-bugs")]
        planted: None,
    };
    let homes = Homes::new(template.seed, template.shards);
    let make_shard = move |id| {
        let mut shard = Shard::new(ShardConfig { id, ..template.clone() });
        for Remembered { at_unix_s, revocation } in &revoked {
            // As it was then, so that it is forgotten no later than by who told it; what does not fit was said when it came.
            shard.revoke(Now { mono_ms: 0, unix_ms: at_unix_s.saturating_mul(1_000) }, revocation);
        }
        shard
    };
    // The way to the control plane ends with the data plane, or its thread could never be joined.
    let handover = Mutex::new(handover);
    let give = Arc::new(move |given| match handover.lock() {
        Ok(handover) => handover.give(given),
        Err(poisoned) => poisoned.into_inner().give(given),
    });
    let running = boot::start(&boot, make_shard, give, desk.tell()).map_err(|error| broken(&error))?;
    // Set once: there is one data plane per process.
    let _was_empty = scrape.counts.set((engine, running.counts()));
    desk.open(running.asks(), homes);
    Ok(Running { running, capacity, host_holds })
}

/// What carries the sockets on this host; says so where it is not what was hoped for.
fn choose_engine(wish: EngineWish) -> Result<Engine, Failure> {
    let wish = match wish {
        EngineWish::Auto => None,
        EngineWish::IoUring => Some(Engine::IoUring),
        EngineWish::Epoll => Some(Engine::Epoll),
    };
    let (engine, kept_from_rings) = engine::choose(wish).map_err(|error| Failure::Broken(error.to_string()))?;
    if let Some(why) = kept_from_rings {
        tracing::warn!(
            "the epoll engine runs, which costs more CPU per message: {why}. `--engine epoll` says that this is meant"
        );
    }
    Ok(engine)
}

impl Running {
    /// What carries the sockets.
    pub(crate) fn engine(&self) -> Engine {
        self.running.engine()
    }

    pub(crate) fn listen(&self) -> SocketAddr {
        self.running.address()
    }

    /// The way to change the rules of all shards.
    pub(crate) fn rules_change(&self) -> RulesChange {
        self.running.rules_change()
    }

    /// The places of all shards, and how many of them this host can hold.
    pub(crate) fn places(&self) -> (Places, u64) {
        (self.running.places(), self.host_holds)
    }

    /// How many connections this host can hold now and by what it is limited, as half a sentence.
    pub(crate) fn capacity(&self) -> String {
        let why = match self.capacity.limited_by {
            LimitedBy::MaxConnections => "max_connections",
            LimitedBy::MaxPerShard => "connections_per_shard_max",
            LimitedBy::Memory => "free memory",
            LimitedBy::SystemFiles => "fs.file-max",
            LimitedBy::Rings => "the number of rings (more --shards)",
            LimitedBy::OpenFiles => "open files (ulimit -n)",
        };
        format!("can hold {} connections now, limited by {why}", grouped(self.capacity.connections))
    }

    /// Sends everybody away within `budget` and waits until nobody is left.
    pub(crate) fn leave(self, budget: Duration) -> Result<(), Failure> {
        self.running.drain(budget);
        self.running.join().map_err(|error| Failure::Broken(format!("the data plane ended badly: {error}")))
    }
}

/// Hash keys, epochs and session codes of this run.
fn random_seed() -> Result<[u64; 2], Failure> {
    let draw = || getrandom::u64().map_err(|error| Failure::Broken(format!("the system gives no randomness: {error}")));
    Ok([draw()?, draw()?])
}

/// 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// Each parcel is one sender's turn. What does not fit waits, merged, with its sender.
const PARCELS_PER_INBOX: usize = 256;
/// Each is one call of the API.
const ASKS_PER_INBOX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_readable() {
        assert_eq!([0, 999, 1_000, 2_340_000].map(grouped), ["0", "999", "1,000", "2,340,000"]);
    }
}
