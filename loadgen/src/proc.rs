//! What `/proc` says about a process and the host: CPU time, private memory, waiting for a core.

use std::fs;

use crate::sys;

/// A server under test, looked at from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(u32);

impl Process {
    /// `None` when there is no such process or it cannot be looked at.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let process = Self(pid);
        process.cpu_ns().map(|_| process)
    }

    pub(crate) fn this() -> Self {
        Self(std::process::id())
    }

    /// User and system time so far, all threads. In steps of a clock tick (10 ms).
    pub(crate) fn cpu_ns(&self) -> Option<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        cpu_ticks(&stat).map(|ticks| ticks * 1_000_000_000 / sys::ticks_per_second())
    }

    /// Private dirty bytes: what this process alone costs the host in user memory.
    pub(crate) fn memory_bytes(&self) -> Option<u64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0)).ok()?;
        field_kib(&rollup, "Private_Dirty:").map(|kib| kib << 10)
    }

    /// Time ready to run without a core so far; 0 where the kernel does not say.
    pub(crate) fn waited_for_cpu_ns(&self) -> u64 {
        let schedstat = fs::read_to_string(format!("/proc/{}/schedstat", self.0)).unwrap_or_default();
        schedstat.split_whitespace().nth(1).and_then(|ns| ns.parse().ok()).unwrap_or(0)
    }
}

/// Bytes of memory that are really free: `MemAvailable` counts socket slabs as reclaimable, which they are not.
pub(crate) fn free_memory_bytes() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let kib = field_kib(&info, "MemFree:")? + field_kib(&info, "Cached:")?.saturating_sub(field_kib(&info, "Shmem:")?);
    Some(kib << 10)
}

/// utime + stime of a `/proc/PID/stat` line; the command's name may hold anything, even brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn field_kib(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_the_strangest_name() {
        let stat = "42 (a) S (b) R 1 42 42 0 -1 4194560 100 0 0 0 250 150 0 0 20 0 1 0 5 1000 10";
        assert_eq!(cpu_ticks(stat), Some(400));
        assert_eq!(cpu_ticks("42"), None);
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let this = Process::this();
        assert!(this.memory_bytes().is_some_and(|bytes| bytes > 0));
        assert!(Process::of(std::process::id()).is_some());
        assert!(Process::of(u32::MAX).is_none());
        assert!(free_memory_bytes().is_some_and(|bytes| bytes > 0));
    }
}
