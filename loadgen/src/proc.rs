//! What `/proc` says about a process and the host: CPU time, private memory, waiting for a core.

use std::collections::BTreeMap;
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

    /// CPU time of each thread so far, by its name; threads of one name are one. Empty when the process is gone.
    pub(crate) fn threads_ns(&self) -> BTreeMap<String, u64> {
        let mut threads = BTreeMap::new();
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.0)) else { return threads };
        // A thread may end between being listed and being read: it is left out.
        for stat in tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("stat")).ok()) {
            if let (Some(name), Some(ticks)) = (command_name(&stat), cpu_ticks(&stat)) {
                *threads.entry(name.to_owned()).or_default() += ticks * 1_000_000_000 / sys::ticks_per_second();
            }
        }
        threads
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

/// Bytes of memory this host has.
pub(crate) fn total_memory_bytes() -> Option<u64> {
    field_kib(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:").map(|kib| kib << 10)
}

/// Files this process may still open before the whole host has none left (`fs.file-max`); `None`: root is not bound by it, or
/// the kernel does not say.
pub(crate) fn system_files_left() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let file_nr = fs::read_to_string("/proc/sys/fs/file-nr").ok()?;
    if is_beyond_file_max(&status) { None } else { files_left(&file_nr) }
}

/// CAP_SYS_ADMIN opens files beyond `fs.file-max`.
fn is_beyond_file_max(status: &str) -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).is_some_and(|bits| bits >> CAP_SYS_ADMIN & 1 == 1)
}

/// Open, unused, and the most there may be.
fn files_left(file_nr: &str) -> Option<u64> {
    let numbers: Vec<u64> = file_nr.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [open, _, most] = *numbers.as_slice() else { return None };
    Some(most.saturating_sub(open))
}

/// Clock ticks of all cores of this host since it booted.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct HostTicks {
    pub(crate) all: u64,
    pub(crate) idle: u64,
    /// Kept by the host of this virtual machine for others.
    pub(crate) stolen: u64,
}

pub(crate) fn host_ticks() -> Option<HostTicks> {
    host_ticks_of(&fs::read_to_string("/proc/stat").ok()?)
}

/// The first line: user, nice, system, idle, iowait, irq, softirq, steal, and two that are counted in the first two.
fn host_ticks_of(stat: &str) -> Option<HostTicks> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).filter_map(|ticks| ticks.parse().ok()).collect();
    let [_, _, _, idle, waiting, _, _, stolen] = *ticks.as_slice() else { return None };
    Some(HostTicks { all: ticks.iter().sum(), idle: idle + waiting, stolen })
}

fn command_name(stat: &str) -> Option<&str> {
    let (head, _) = stat.rsplit_once(") ")?;
    head.split_once('(').map(|(_, name)| name)
}

/// utime + stime of a `/proc/PID/stat` line; the command's name may hold anything, even brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// A field of `/proc/meminfo` and its like; `name` ends with a colon.
pub(crate) fn field_kib(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_the_strangest_name() {
        let stat = "42 (a) S (b) R 1 42 42 0 -1 4194560 100 0 0 0 250 150 0 0 20 0 1 0 5 1000 10";
        assert_eq!(cpu_ticks(stat), Some(400));
        assert_eq!(command_name(stat), Some("a) S (b"));
        assert_eq!((cpu_ticks("42"), command_name("42")), (None, None));
    }

    #[test]
    fn the_hosts_time_is_all_idle_and_stolen() {
        let stat = "cpu  100 1 50 800 20 3 6 20 5 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(host_ticks_of(stat), Some(HostTicks { all: 1_000, idle: 820, stolen: 20 }));
        assert_eq!(host_ticks_of("cpu 1 2"), None);
        assert!(host_ticks().is_some_and(|ticks| ticks.all > ticks.idle));
    }

    #[test]
    fn files_of_the_host_bind_whoever_is_not_its_administrator() {
        assert_eq!((files_left("1024\t0\t9000\n"), files_left("1 2")), (Some(7_976), None));
        assert!(is_beyond_file_max("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(!is_beyond_file_max("CapEff:\t00000000a80425fb\n") && !is_beyond_file_max(""));
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let this = Process::this();
        assert!(this.memory_bytes().is_some_and(|bytes| bytes > 0));
        assert!(Process::of(std::process::id()).is_some());
        assert!(this.threads_ns().len() > 1, "the test and the one that started it");
        assert!(Process::of(u32::MAX).is_none());
        assert!(free_memory_bytes().is_some_and(|bytes| bytes > 0));
    }
}
