//! What this host allows: descriptors, locked memory, and how many connections it can hold now.
//!
//! Promises: raises soft limits to the hard ones, never asks for more; a capacity always comes with what limits it.

use std::fs;
use std::io;

use thiserror::Error;

use super::engine::Engine;
use super::sys::{Resource, ResourceLimit, resource_limit, set_resource_limit};

/// Why this host cannot run the server.
#[derive(Debug, Error)]
pub enum HostError {
    #[error(
        "the limit on locked memory is {hard} bytes and io_uring needs {LOCKED_BYTES_MIN}: raise it (`ulimit -l`, systemd `LimitMEMLOCK`, docker `--ulimit memlock`)"
    )]
    LockedMemory { hard: u64 },
    #[error("cannot read or raise a resource limit: {0}")]
    Limit(#[from] io::Error),
}

/// Raises the soft limit on descriptors to the hard one and returns it. Both a process's descriptors and the slots of
/// *one* ring are bounded by it.
///
/// # Errors
/// When the limit can neither be read nor raised.
pub fn raise_open_files() -> Result<u64, HostError> {
    let ResourceLimit { soft, hard } = resource_limit(Resource::OpenFiles)?;
    if soft < hard {
        set_resource_limit(Resource::OpenFiles, ResourceLimit { soft: hard, hard })?;
    }
    Ok(hard)
}

/// Glommio refuses to start below 512 KiB of lockable memory.
pub(super) fn allow_executors() -> Result<(), HostError> {
    let ResourceLimit { soft, hard } = resource_limit(Resource::LockedMemory)?;
    if hard < LOCKED_BYTES_MIN {
        return Err(HostError::LockedMemory { hard });
    }
    if soft < LOCKED_BYTES_MIN {
        set_resource_limit(Resource::LockedMemory, ResourceLimit { soft: hard, hard })?;
    }
    Ok(())
}

/// What bounds the number of connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimitedBy {
    /// `--max-connections`.
    MaxConnections,
    /// `limits.connections_per_shard_max`, of all shards.
    MaxPerShard,
    /// Free memory, see [`Clients::bytes_per_connection`].
    Memory,
    /// `fs.file-max`, which counts every socket of the system.
    SystemFiles,
    /// Rings × slots: a key has 16 bits for the ring.
    Rings,
    /// `RLIMIT_NOFILE`: with epoll each connection is a descriptor; rings need some for themselves and for connections on
    /// their way in.
    OpenFiles,
}

/// How many connections fit, and why not more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    pub connections: u64,
    pub limited_by: LimitedBy,
}

/// Where the other ends of the connections are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clients {
    /// On other hosts.
    Elsewhere,
    /// On this host: the kernel holds both ends.
    Here,
}

impl Clients {
    /// Bytes one connection costs this host, measured at 2.34 million: the server's end is 3.83 KB of socket, inode, file
    /// and dentry, 0.3 KB of readiness, 0.5 KB of ours, and some for bytes in flight; a client's end another 3.9 KB.
    pub fn bytes_per_connection(self) -> u64 {
        match self {
            Self::Elsewhere => 5_000,
            Self::Here => 8_900,
        }
    }

    /// Open files one connection costs this host: a socket for each end that is here.
    pub fn files_per_connection(self) -> u64 {
        match self {
            Self::Elsewhere => 1,
            Self::Here => 2,
        }
    }
}

/// What the server would like to have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    pub engine: Engine,
    pub shards: u16,
    pub slots_per_ring: u16,
    pub max_connections: Option<u64>,
    pub connections_per_shard_max: Option<u64>,
}

/// What the host has, at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostState {
    /// Bytes the kernel could give to new sockets.
    pub memory_bytes: u64,
    /// Files this process may still open before the system has none left; root is not bound.
    pub system_files: u64,
    /// The soft limit on descriptors.
    pub open_files: u64,
}

impl HostState {
    /// Looks at the host as it is now.
    ///
    /// # Errors
    /// When `/proc` is not there or unreadable.
    pub fn look() -> Result<Self, HostError> {
        let memory = fs::read_to_string("/proc/meminfo")?;
        let files = fs::read_to_string("/proc/sys/fs/file-nr")?;
        let status = fs::read_to_string("/proc/self/status")?;
        let system_files = if is_beyond_file_max(&status) { u64::MAX } else { files_left(&files) };
        let open_files = resource_limit(Resource::OpenFiles)?.soft;
        Ok(Self { memory_bytes: available_bytes(&memory), system_files, open_files })
    }

    /// How many connections this host can hold beside what it holds already.
    pub fn capacity(&self, layout: Layout, clients: Clients) -> Capacity {
        let Layout { engine, shards, slots_per_ring, max_connections, connections_per_shard_max } = layout;
        let (shards, slots) = (u64::from(shards), u64::from(slots_per_ring));
        let files = self.open_files.saturating_sub(FILES_RESERVED);
        let by_files = match engine {
            Engine::IoUring => files.saturating_mul(slots),
            Engine::Epoll => files,
        };
        let bounds = [
            (max_connections.unwrap_or(u64::MAX), LimitedBy::MaxConnections),
            (connections_per_shard_max.unwrap_or(u64::MAX).saturating_mul(shards), LimitedBy::MaxPerShard),
            (self.memory_bytes.saturating_sub(MEMORY_RESERVED) / clients.bytes_per_connection(), LimitedBy::Memory),
            (self.system_files / clients.files_per_connection(), LimitedBy::SystemFiles),
            (shards * slots * (u64::from(u16::MAX) + 1), LimitedBy::Rings),
            (by_files, LimitedBy::OpenFiles),
        ];
        let (connections, limited_by) = bounds.into_iter().min_by_key(|(count, _)| *count).unwrap_or(bounds[0]);
        Capacity { connections, limited_by }
    }
}

/// The slots a ring can have under the limit on descriptors: at most as many as wanted.
pub fn slots_per_ring(wanted: u16, open_files: u64) -> u16 {
    u16::try_from(open_files.min(u64::from(wanted))).unwrap_or(wanted)
}

/// `MemAvailable` counts the inodes of living sockets as reclaimable, so with many connections it promises memory that
/// is not there; free memory and page cache are.
fn available_bytes(meminfo: &str) -> u64 {
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let really_free = kib("MemFree") + kib("Active(file)") + kib("Inactive(file)");
    kib("MemAvailable").min(really_free) << 10
}

/// `file-nr`: open, unused (always 0), the most there may be.
fn files_left(file_nr: &str) -> u64 {
    let mut numbers = file_nr.split_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
    let (open, most) = (numbers.next().unwrap_or(0), numbers.nth(1).unwrap_or(0));
    most.saturating_sub(open)
}

/// `alloc_empty_file` of Linux asks nobody with CAP_SYS_ADMIN for `fs.file-max`.
fn is_beyond_file_max(status: &str) -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).is_some_and(|bits| bits >> CAP_SYS_ADMIN & 1 == 1)
}

/// Left to everything else on the host.
const MEMORY_RESERVED: u64 = 256 << 20;
/// Standard streams, bells, listeners, executors, the control plane's connections.
const FILES_RESERVED: u64 = 512;
const LOCKED_BYTES_MIN: u64 = 512 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_sockets_sit_on_is_not_counted_as_free() {
        let meminfo = "MemTotal: 24000 kB\nMemFree:  3800 kB\nMemAvailable: 10200 kB\nActive(file): 100 kB\nInactive(file): 50 kB\n";
        assert_eq!(available_bytes(meminfo), 3_950 << 10);
        assert_eq!(available_bytes("MemFree: 9 kB\nMemAvailable: 5 kB\n"), 5 << 10);
        assert_eq!(available_bytes(""), 0);
    }

    #[test]
    fn the_smallest_bound_is_named() {
        assert_eq!(files_left("1024\t0\t9000\n"), 7_976);
        let host = HostState { memory_bytes: (256 << 20) + 5_000_000, system_files: 2_000, open_files: 20_000 };
        let two_shards = Layout {
            engine: Engine::IoUring,
            shards: 2,
            slots_per_ring: 19_000,
            max_connections: None,
            connections_per_shard_max: None,
        };
        let of = |host: HostState, max_connections| {
            host.capacity(Layout { max_connections, ..two_shards }, Clients::Elsewhere)
        };
        assert_eq!(of(host, None), Capacity { connections: 1_000, limited_by: LimitedBy::Memory });
        assert_eq!(of(host, Some(10)), Capacity { connections: 10, limited_by: LimitedBy::MaxConnections });
        let roomy = HostState { memory_bytes: u64::MAX, ..host };
        assert_eq!(of(roomy, None), Capacity { connections: 2_000, limited_by: LimitedBy::SystemFiles });
        let few_each = Layout { connections_per_shard_max: Some(30), max_connections: Some(61), ..two_shards };
        let few = roomy.capacity(few_each, Clients::Elsewhere);
        assert_eq!(few, Capacity { connections: 60, limited_by: LimitedBy::MaxPerShard });
        let both_ends = roomy.capacity(two_shards, Clients::Here);
        assert_eq!(both_ends, Capacity { connections: 1_000, limited_by: LimitedBy::SystemFiles }, "two files each");
        let many_files = HostState { system_files: u64::MAX, ..roomy };
        assert_eq!(of(many_files, None), Capacity { connections: 19_488 * 19_000, limited_by: LimitedBy::OpenFiles });
        let plain = many_files.capacity(Layout { engine: Engine::Epoll, ..two_shards }, Clients::Elsewhere);
        assert_eq!(plain, Capacity { connections: 19_488, limited_by: LimitedBy::OpenFiles });
        let unlimited = HostState { open_files: u64::MAX, ..many_files };
        assert_eq!(of(unlimited, None), Capacity { connections: 2 * 19_000 * 65_536, limited_by: LimitedBy::Rings });
    }

    #[test]
    fn whoever_administers_the_system_is_not_bound_by_its_files() {
        assert!(is_beyond_file_max("Name:\tthrong\nCapEff:\t000001ffffffffff\n"));
        assert!(!is_beyond_file_max("CapEff:\t0000000000000000\n") && !is_beyond_file_max(""));
    }

    #[test]
    fn a_ring_has_no_more_slots_than_the_process_may_open_files() {
        assert_eq!([slots_per_ring(19_000, 1_024), slots_per_ring(19_000, 1 << 40)], [1_024, 19_000]);
    }

    #[test]
    fn this_host_can_be_looked_at() {
        let host = HostState::look().unwrap();
        assert!(host.memory_bytes > 0 && host.system_files > 0 && host.open_files > 0, "{host:?}");
    }
}
