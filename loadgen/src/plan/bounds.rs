//! What a run takes of this host: memory and local addresses.
//!
//! Promises: a run that this host could not hold in any case is refused before; one that it may not hold begins, and its ramp
//! ends above the floor.

use anyhow::{Result, bail, ensure};
use serde::Serialize;
use throng::base::Limits;

use super::Plan;
use crate::proc;
use crate::proof::Crowd;
use crate::sys;
use crate::worker::{FILES_BESIDE, Frames};

/// Both ends of one loopback connection in the kernel, readiness included (measured at rest: 7,650 + ~430).
const KERNEL_BYTES_PER_PAIR: u64 = 8_100;
/// The generator's own: row and proof.
const OWN_BYTES_PER_CONNECTION: u64 = 64;
/// The account of one who publishes, and its place in the schedule.
const OWN_BYTES_PER_PUBLISHER: u64 = 48;
/// A process without connections, in a phase: what the linker moves, heap, histograms, page tables (measured: 1.4 to 2 MB).
const OWN_BYTES_PER_WORKER: u64 = 2 << 20;
/// The server's promise for an authenticated connection in a room.
const SERVER_BYTES_PER_CONNECTION: u64 = 512;

/// Bytes of memory a crowd takes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) generator: u64,
    /// At both ends.
    pub(crate) kernel: u64,
    pub(crate) server: u64,
    /// On this host.
    pub(crate) here: u64,
}

impl Plan {
    /// By the figures measured at rest; the server's are promises of throng's.
    pub(crate) fn memory(&self) -> Memory {
        let connections = u64::from(self.args.connections);
        let generator = connections * OWN_BYTES_PER_CONNECTION
            + u64::from(self.publishers) * OWN_BYTES_PER_PUBLISHER
            + self.crowds.len() as u64 * OWN_BYTES_PER_WORKER
            + self.frames_bytes();
        let (kernel, server) = (connections * KERNEL_BYTES_PER_PAIR, connections * SERVER_BYTES_PER_CONNECTION);
        let here = if self.server.ip().is_loopback() { generator + kernel + server } else { generator + kernel / 2 };
        Memory { generator, kernel, server, here }
    }

    /// Frames that all workers keep, verified already.
    fn frames_bytes(&self) -> u64 {
        let messages: f64 = self.stages.iter().map(|stage| stage.rate * (stage.warmup_s + stage.duration_s)).sum();
        let most = |(index, crowd): (usize, &Crowd)| {
            let most = Frames::bytes_most(*crowd, self.args.payload.mean_bytes());
            most.min(messages * self.share(index) * Frames::bytes_each(self.args.payload.mean_bytes()))
        };
        let known = self.crowds.iter().enumerate().filter(|_| self.dialect.is_none());
        known.map(most).sum::<f64>() as u64
    }

    /// What must stay of this host's memory.
    pub(crate) fn memory_floor_bytes(&self) -> u64 {
        self.args.memory_floor.saturating_mul(1 << 20)
    }

    /// That more memory is needed than is free now, if so. What agents have they find out themselves.
    pub(crate) fn memory_short(&self) -> Option<String> {
        let (need, free) = (self.memory().here, proc::free_memory_bytes()?);
        (self.args.agents.is_empty() && free < need).then(|| {
            format!(
                "this host has {} free and {} connections need about {}: take fewer",
                mib(free),
                self.args.connections,
                mib(need)
            )
        })
    }

    /// In what time a throng with its defaults and one shard asks everybody once who is silent.
    pub(crate) fn heartbeat_round_ms(&self) -> u64 {
        let limits = Limits::default();
        if !self.dialect_is_throng() {
            return 0;
        }
        u64::from(self.args.connections) * limits.tick_ms / u64::from(limits.pings_per_tick)
    }

    /// Whether the server is a throng, with its limits.
    pub(crate) fn dialect_is_throng(&self) -> bool {
        self.dialect.is_none()
    }

    pub(super) fn memory_text(&self) -> String {
        let free = proc::free_memory_bytes().map_or_else(|| "unknown".to_owned(), mib);
        let text = format!("about {} for sockets and processes, {free} free", mib(self.memory().here));
        if self.memory_short().is_some() {
            format!("{text}: the ramp ends where {} MiB are left (--memory-floor)", self.args.memory_floor)
        } else {
            text
        }
    }

    /// Whether this host has that much memory at all, free or not, and the addresses.
    pub(super) fn check_room_for_sockets(&self) -> Result<()> {
        let most = proc::total_memory_bytes().unwrap_or(u64::MAX);
        if let Some(sentence) = self.memory_short().filter(|_| self.memory().here > most) {
            bail!(sentence);
        }
        self.check_files()?;
        self.check_addresses()
    }

    /// Whether this process, which holds those beside the crowd itself, may open so many files.
    pub(crate) fn check_files(&self) -> Result<()> {
        let limit = sys::raise_file_limit()?;
        // Orders and reports of each worker.
        let others = FILES_BESIDE + 2 * self.crowds.len() as u64;
        let (guests, slow) = (self.args.guests, self.slow_most());
        ensure!(
            self.beside() == 0 || u64::from(self.beside()) + others <= limit,
            "{guests} guests and {slow} slow readers do not fit the {} open files that are left of {limit} to the process that \
             holds them: fewer, or raise `ulimit -n`",
            limit.saturating_sub(others)
        );
        Ok(())
    }

    /// Whether there are local addresses enough.
    pub(crate) fn check_addresses(&self) -> Result<()> {
        if let Some(net) = self.source {
            ensure!(
                self.addresses() <= net.usable(),
                "--source has {} usable addresses and {} are needed",
                net.usable(),
                self.addresses()
            );
        }
        Ok(())
    }
}

/// For people.
pub(crate) fn mib(bytes: u64) -> String {
    if bytes >= 10 << 30 {
        format!("{:.1} GiB", bytes as f64 / (1_u64 << 30) as f64)
    } else {
        format!("{} MiB", bytes >> 20)
    }
}
