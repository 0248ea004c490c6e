//! What the kernel of this host holds for a crowd: memory by name of its slabs, TCP's own count, what is left.
//!
//! Promises: only reads `/proc`; what cannot be read is not known, never 0. The figures are the host's: on a loopback address
//! they hold both ends of a connection.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};

use crate::proc::field_kib;

/// One look at the host.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct KernelReading {
    /// Bytes, as `/proc/meminfo` has them: nothing of it is used for anything.
    pub(crate) memory_free: u64,
    /// Files, which give way to what is needed.
    pub(crate) cached: u64,
    pub(crate) slab: u64,
    pub(crate) page_tables: u64,
    pub(crate) kernel_stacks: u64,
    pub(crate) per_cpu: u64,
    /// TCP sockets that exist, in this network namespace, and the bytes their queues hold.
    pub(crate) tcp_sockets: u64,
    pub(crate) tcp_bytes: u64,
    /// Bytes by name, pages that are part empty included; of a report those that grew.
    pub(crate) slabs: BTreeMap<String, u64>,
}

/// Before anybody came, when everybody sat (after the rest), and at the end of the last phase.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct KernelReport {
    pub(crate) before: KernelReading,
    pub(crate) joined: KernelReading,
    pub(crate) held: KernelReading,
    /// Whether `/proc/slabinfo` could be read.
    pub(crate) slabs_readable: bool,
    /// Bytes a connection when everybody sat, by name of the slab, the greatest first; those below half a byte are left out.
    pub(crate) slab_bytes_per_connection: Vec<(String, f64)>,
    /// The same of all that is not free any more and no file: user memory of all processes here is part of it.
    pub(crate) bytes_per_connection: f64,
}

impl KernelReading {
    /// `None`: this is not a Linux that says so.
    pub(crate) fn now() -> Option<Self> {
        let info = fs::read_to_string("/proc/meminfo").ok()?;
        let sockets = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
        let slabs = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
        Self::of(&info, &sockets, &slabs)
    }

    fn of(info: &str, sockets: &str, slabs: &str) -> Option<Self> {
        let bytes = |name: &str| field_kib(info, name).map(|kib| kib << 10);
        let (tcp_sockets, tcp_pages) = tcp(sockets);
        Some(Self {
            memory_free: bytes("MemFree:")?,
            cached: bytes("Cached:")? + bytes("Buffers:").unwrap_or(0),
            slab: bytes("Slab:").unwrap_or(0),
            page_tables: bytes("PageTables:").unwrap_or(0),
            kernel_stacks: bytes("KernelStack:").unwrap_or(0),
            per_cpu: bytes("Percpu:").unwrap_or(0),
            tcp_sockets,
            tcp_bytes: tcp_pages * PAGE_BYTES,
            slabs: slabs.lines().filter_map(slab).collect(),
        })
    }

    /// Bytes that are neither free nor a file's.
    fn taken(&self, of: &Self) -> f64 {
        (of.memory_free + of.cached) as f64 - (self.memory_free + self.cached) as f64
    }
}

impl KernelReport {
    /// Of `connections`, of which both ends are here or one.
    pub(crate) fn new(
        mut before: KernelReading,
        mut joined: KernelReading,
        mut held: KernelReading,
        connections: u32,
    ) -> Self {
        let each = |bytes: f64| bytes / f64::from(connections.max(1));
        let grown = |(name, bytes): (&String, &u64)| {
            let first = before.slabs.get(name).copied().unwrap_or(0);
            (name.clone(), each(*bytes as f64 - first as f64))
        };
        let mut slabs: Vec<(String, f64)> =
            joined.slabs.iter().map(grown).filter(|(_, bytes)| *bytes >= LEAST_BYTES).collect();
        slabs.sort_by(|one, other| other.1.total_cmp(&one.1));
        let slabs_readable = !joined.slabs.is_empty();
        let bytes_per_connection = each(joined.taken(&before));
        // What did not grow says nothing of connections.
        for reading in [&mut before, &mut joined, &mut held] {
            reading.slabs.retain(|name, _| slabs.iter().any(|(grown, _)| grown == name));
        }
        Self { slab_bytes_per_connection: slabs, slabs_readable, bytes_per_connection, before, joined, held }
    }

    /// For people: what a connection took, where it can be told from what else goes on here.
    pub(crate) fn each_text(&self) -> String {
        let bytes = self.bytes_per_connection;
        if bytes < 0.0 {
            return "what others gave back meanwhile is more than connections took".to_owned();
        }
        format!("{bytes:.0} B a connection taken on this host")
    }

    /// Kernel memory a connection, by all slabs together.
    pub(crate) fn slab_bytes(&self) -> f64 {
        self.slab_bytes_per_connection.iter().map(|(_, bytes)| bytes).sum()
    }

    /// The greatest slabs in words; `None`: they may not be read.
    pub(crate) fn slabs_text(&self, most: usize) -> Option<String> {
        let named = self.slab_bytes_per_connection.iter().take(most);
        let text: Vec<String> = named.map(|(name, bytes)| format!("{name} {bytes:.0}")).collect();
        self.slabs_readable.then(|| text.join(", "))
    }
}

/// Less than this a connection is noise.
const LEAST_BYTES: f64 = 0.5;
/// Of every Linux this runs on.
const PAGE_BYTES: u64 = 4_096;

/// `TCP: inuse 3 orphan 0 tw 0 alloc 3 mem 260`: sockets that exist, and pages of their queues.
fn tcp(sockets: &str) -> (u64, u64) {
    let line = sockets.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    let field = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1)?.parse().ok()
    };
    (field("alloc").unwrap_or(0), field("mem").unwrap_or(0))
}

/// A line of `/proc/slabinfo`: the name, and all pages of it in bytes.
fn slab(line: &str) -> Option<(String, u64)> {
    let mut words = line.split_whitespace();
    let name = words.next().filter(|name| *name != "#" && *name != "slabinfo")?;
    let pages_per_slab: u64 = words.nth(4)?.parse().ok()?;
    let slabs: u64 = line.rsplit_once("slabdata")?.1.split_whitespace().nth(1)?.parse().ok()?;
    Some((name.to_owned(), slabs * pages_per_slab * PAGE_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str =
        "MemTotal: 1000 kB\nMemFree: 800 kB\nBuffers: 2 kB\nCached: 100 kB\nSlab: 40 kB\nPageTables: 3 kB\n";
    const SLABS: &str = "slabinfo - version: 2.1\n\
        # name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit>\n\
        TCP                   10     26   2496   13    8 : tunables    0    0    0 : slabdata      2      2      0\n\
        kmalloc-8           3584   3584      8  512    1 : tunables    0    0    0 : slabdata      7      7      0\n";

    fn reading(free_kib: u64, slabs: &str) -> KernelReading {
        let info = INFO.replace("800", &free_kib.to_string());
        let sockets = "sockets: used 18\nTCP: inuse 3 orphan 0 tw 0 alloc 5 mem 260\nUDP: inuse 0 mem 0\n";
        KernelReading::of(&info, sockets, slabs).expect("there is all of it")
    }

    #[test]
    fn what_proc_says_is_read() {
        let reading = reading(800, SLABS);
        assert_eq!((reading.memory_free, reading.cached, reading.slab), (800 << 10, 102 << 10, 40 << 10));
        assert_eq!((reading.tcp_sockets, reading.tcp_bytes, reading.kernel_stacks), (5, 260 * 4_096, 0));
        let slabs = BTreeMap::from([("TCP".to_owned(), 2 * 8 * 4_096), ("kmalloc-8".to_owned(), 7 * 4_096)]);
        assert_eq!(reading.slabs, slabs);
        assert_eq!(KernelReading::of("MemTotal: 1 kB", "", ""), None);
        assert!(KernelReading::now().is_some_and(|now| now.memory_free > 0));
    }

    #[test]
    fn what_grew_is_told_a_connection_and_the_greatest_first() {
        let more = SLABS.replace("  2      2  ", " 12     12  ").replace("7      7", "8      8");
        let report = KernelReport::new(reading(800, SLABS), reading(400, &more), reading(390, &more), 100);
        let each = [("TCP".to_owned(), 10.0 * 8.0 * 40.96), ("kmalloc-8".to_owned(), 40.96)];
        assert_eq!(report.slab_bytes_per_connection, each);
        assert_eq!(report.bytes_per_connection, 400.0 * 10.24);
        assert_eq!(report.each_text(), "4096 B a connection taken on this host");
        assert_eq!(report.slabs_text(1).as_deref(), Some("TCP 3277"));
        let others = KernelReport { bytes_per_connection: -5.0, ..report };
        assert!(others.each_text().starts_with("what others gave back"));
        let unread = KernelReport::new(reading(800, ""), reading(400, ""), reading(400, ""), 100);
        assert_eq!((unread.slabs_text(9), unread.slab_bytes()), (None, 0.0));
    }
}
