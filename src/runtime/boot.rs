//! Starting and ending the shards: one pinned thread each.
//!
//! Promises: everything that can fail because of the host fails before the first connection is taken, with a sentence
//! that says what to change; a stopped server has closed its sockets and joined its threads.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use thiserror::Error;

use super::accept;
use super::asks::{self, Asks, Tell};
use super::clock::Clock;
use super::engine::Engine;
use super::given::Give;
use super::host;
use super::mailbox::{self, Bell};
use super::notice::{self, RulesChange};
use super::nudge::Nudger;
use super::phase::Phase;
use super::places::Places;
use super::pump::Parts;
use super::scrape::{Counts, ShardCounts};
use super::sys;
use super::thread::ShardThread;
use crate::base::ShardId;
use crate::shard::Shard;

/// How the data plane is laid out on this host.
#[derive(Clone, Debug)]
pub struct BootConfig {
    /// One that works here: see [`choose`](super::engine::choose).
    pub engine: Engine,
    /// Port 0 picks a free one; all shards share it.
    pub listen: SocketAddr,
    /// Connections the kernel keeps waiting per shard; it caps this at `net.core.somaxconn`.
    pub backlog: i32,
    /// At least 1.
    pub shards: u16,
    /// Cores to pin shards to, in turn. Empty: all this process may run on.
    pub cores: Vec<usize>,
    /// Must equal `Limits::slots_per_ring` of the shards.
    pub slots_per_ring: u16,
    /// Must equal `Limits::tick_ms` of the shards.
    pub tick_ms: u64,
    /// A turn that takes so long is counted and logged. `None`: none is.
    pub slow_turn_ms: Option<u64>,
    /// Another server of this user may have the address already: it is about to leave, and what comes from now on is shared
    /// with it until it does.
    pub takeover: bool,
    /// Connections of all shards together; more are answered 503.
    pub connections_max: u64,
    /// Parcels that may wait for one shard.
    pub parcels_per_inbox: usize,
    /// Letters of the control plane that may wait for one shard.
    pub asks_per_inbox: usize,
}

/// Why the data plane did not start.
#[derive(Debug, Error)]
pub enum BootError {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(
        "somebody listens on {address} already: end it first, or start with --takeover if it is a throng that is about to leave"
    )]
    Taken { address: SocketAddr },
    #[error("cannot prepare this host: {0}")]
    Host(#[from] host::HostError),
    #[error("shard {shard} cannot start: {source}")]
    Shard { shard: u16, source: io::Error },
    #[error("shard {shard} has no thread: {reason}")]
    Thread { shard: u16, reason: String },
    #[error("nobody can watch over the shards: {0}")]
    Watch(io::Error),
    #[error("there must be at least one shard")]
    NoShards,
}

/// The data plane at work.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    engine: Engine,
    threads: Vec<ShardThread>,
    bells: Vec<Arc<Bell>>,
    phase: Arc<Phase>,
    clock: Clock,
    tick_ms: u64,
    counts: Arc<[Arc<ShardCounts>]>,
    asks: Asks,
    rules: RulesChange,
    places: Places,
    _nudger: Nudger,
}

/// Binds, starts one thread per shard, and returns when all of them accept.
///
/// `make_shard` is called once for each shard, on its own thread. `give` takes what is not a WebSocket, `tell`
/// the answers to what is posted by [`Running::asks`].
///
/// # Errors
/// See [`BootError`]; whatever had started is stopped again.
pub fn start(
    config: &BootConfig,
    make_shard: impl Fn(ShardId) -> Shard + Send + Sync + 'static,
    give: Give,
    tell: Tell,
) -> Result<Running, BootError> {
    start_by(config, &(Arc::new(make_shard) as MakeShard), give, tell)
}

type MakeShard = Arc<dyn Fn(ShardId) -> Shard + Send + Sync>;

/// Compiled here once, and not in each program that starts shards.
fn start_by(config: &BootConfig, make_shard: &MakeShard, give: Give, tell: Tell) -> Result<Running, BootError> {
    if config.engine == Engine::IoUring {
        host::allow_executors()?;
    }
    let cores = cores(config)?;
    let bells = (0..config.shards).map(|_| Bell::new().map(Arc::new)).collect::<io::Result<Vec<_>>>();
    let bells = bells.map_err(|source| BootError::Shard { shard: 0, source })?;
    let counts: Arc<[Arc<ShardCounts>]> = bells.iter().map(|_| Arc::default()).collect();
    let (clock, phase) = (Clock::start(), Arc::new(Phase::new(config.shards)));

    // Every listener is there before the first shard runs: an address in use must not be found out half-way.
    let mut address = config.listen;
    if !config.takeover {
        accept::claim(address).map_err(|source| {
            if source.kind() == io::ErrorKind::AddrInUse {
                BootError::Taken { address }
            } else {
                BootError::Listen { address, source }
            }
        })?;
    }
    let mut listeners = Vec::new();
    for _ in 0..config.shards {
        let bound = accept::bind(address, config.backlog).and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (local, listener) = bound.map_err(|source| BootError::Listen { address, source })?;
        address = local;
        listeners.push(listener);
    }

    let (started, starts) = bounded(usize::from(config.shards));
    let (asks, inboxes) = asks::connect(&bells, config.asks_per_inbox);
    let (rules, places) = (notice::board(&bells), Places::new(config.connections_max));
    let (engine, threads) = (config.engine, Vec::new());
    let nudger = Nudger::start(Arc::clone(&counts), clock, config.tick_ms).map_err(BootError::Watch)?;
    let (tick_ms, _nudger) = (config.tick_ms, nudger);
    let mut running =
        Running { engine, threads, address, bells, phase, clock, tick_ms, counts, asks, rules, places, _nudger };
    let mailboxes = mailbox::connect(&running.bells, config.parcels_per_inbox);
    for (number, ((listener, mailbox), asks)) in listeners.into_iter().zip(mailboxes).zip(inboxes).enumerate() {
        let tell = Arc::clone(&tell);
        let (id, make_shard, give) = (ShardId(number as u16), Arc::clone(make_shard), Arc::clone(&give));
        let (slots_per_ring, tick_ms, slow_turn_ms) = (config.slots_per_ring, config.tick_ms, config.slow_turn_ms);
        let shards = config.shards;
        let (bell, counts) = (Arc::clone(&running.bells[number]), Arc::clone(&running.counts[number]));
        let (notices, places) = (running.rules.notices(), running.places.clone());
        let phase = Arc::clone(&running.phase);
        let parts = move || Parts {
            engine,
            shard: make_shard(id),
            listener,
            slots_per_ring,
            tick_ms,
            slow_turn_ms,
            shards,
            mailbox,
            asks,
            notices,
            places,
            bell,
            clock,
            give,
            tell,
            counts,
            phase,
        };
        match ShardThread::start(engine, id, cores[number % cores.len()], parts, started.clone()) {
            Ok(thread) => running.threads.push(thread),
            Err(reason) => {
                drop(running.stop());
                return Err(BootError::Thread { shard: id.0, reason });
            }
        }
    }
    drop(started);
    running.wait_for(&starts)
}

impl Running {
    /// Where it listens; the port is real even if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What carries its sockets.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// A way to read all counts from any thread, for as long as one likes.
    pub fn counts(&self) -> Counts {
        let (counts, phase) = (Arc::clone(&self.counts), Arc::clone(&self.phase));
        Counts::new(counts, self.tick_ms, self.clock, phase, self.places.clone())
    }

    /// The way for the control plane's letters. What is posted after the stop is not taken.
    pub fn asks(&self) -> Asks {
        self.asks.clone()
    }

    /// The way to change the rules of all shards, from any thread.
    pub fn rules_change(&self) -> RulesChange {
        self.rules.clone()
    }

    /// How many connections all shards together may hold.
    pub fn places(&self) -> Places {
        self.places.clone()
    }

    /// Lets all shards leave: they take nobody new, give everybody a slot within `budget`, and end when nobody is left or the
    /// budget is spent. Returns at once; [`Running::join`] waits for it, [`Running::stop`] cuts it short.
    pub fn drain(&self, budget: Duration) {
        self.phase.leave(u64::try_from(budget.as_millis()).unwrap_or(u64::MAX >> 1));
        self.ring();
    }

    /// Waits until all shards have ended by themselves, as they do after [`Running::drain`].
    ///
    /// # Errors
    /// Why a shard had ended before it should have.
    pub fn join(self) -> Result<(), BootError> {
        let mut ended = Ok(());
        for (shard, thread) in (0..).zip(self.threads) {
            let one = match thread.join() {
                Ok(ended) => ended.map_err(|source| BootError::Shard { shard, source }),
                Err(reason) => Err(BootError::Thread { shard, reason }),
            };
            ended = ended.and(one);
        }
        ended
    }

    /// Planted: this shard never ends its turn while `stalls`.
    #[cfg(feature = "planted-bugs")]
    pub fn plant_stall(&self, shard: ShardId, stalls: bool) {
        self.counts[shard.index()].stalls.store(stalls, std::sync::atomic::Ordering::Relaxed);
        self.ring();
    }

    /// Stops all shards at the end of their turn, closes every socket and joins the threads.
    ///
    /// # Errors
    /// Why a shard had ended before it was told to.
    pub fn stop(self) -> Result<(), BootError> {
        self.phase.stop();
        self.ring();
        self.join()
    }

    fn ring(&self) {
        for bell in &self.bells {
            bell.ring();
        }
    }

    fn wait_for(self, starts: &Receiver<()>) -> Result<Self, BootError> {
        // Ends when each shard has either said that it runs, or is gone.
        if starts.iter().count() == self.threads.len() {
            return Ok(self);
        }
        let shards = self.threads.len() as u16;
        match self.stop() {
            Err(error) => Err(error),
            Ok(()) => Err(BootError::Thread { shard: shards, reason: "it ended without a word".to_owned() }),
        }
    }
}

fn cores(config: &BootConfig) -> Result<Vec<usize>, BootError> {
    if config.shards == 0 {
        return Err(BootError::NoShards);
    }
    match config.cores.is_empty() {
        true => sys::allowed_cores().map_err(|source| BootError::Shard { shard: 0, source }),
        false => Ok(config.cores.clone()),
    }
}
