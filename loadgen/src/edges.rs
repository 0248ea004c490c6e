//! CPU time at the edges of a phase's measured time: the server's, by thread, and the host's.

use std::collections::BTreeMap;

use crate::proc::{HostTicks, Process, host_ticks};
use crate::report::{Host, Thread};

/// Reads at both edges, once each has passed.
pub(crate) struct Edges {
    process: Option<Process>,
    at_ns: Vec<u64>,
    readings: Vec<Reading>,
}

/// One edge.
struct Reading {
    /// None: the process is gone, or there is none to look at.
    cpu_ns: Option<u64>,
    threads_ns: BTreeMap<String, u64>,
    host: Option<HostTicks>,
}

/// What passed between the edges of one phase.
#[derive(Clone, Default, Debug)]
pub(crate) struct Spent {
    pub(crate) cpu_ns: Option<u64>,
    threads_ns: BTreeMap<String, u64>,
    host: HostTicks,
}

impl Edges {
    pub(crate) fn new(process: Option<Process>, from_ns: u64, to_ns: u64) -> Self {
        Self { process, at_ns: vec![from_ns, to_ns], readings: Vec::new() }
    }

    /// Nothing is read.
    pub(crate) fn none() -> Self {
        Self { process: None, at_ns: Vec::new(), readings: Vec::new() }
    }

    /// When the next edge passes.
    pub(crate) fn wake_ns(&self) -> u64 {
        self.at_ns.get(self.readings.len()).copied().unwrap_or(u64::MAX)
    }

    pub(crate) fn pass(&mut self, now_ns: u64) {
        while self.at_ns.get(self.readings.len()).is_some_and(|at_ns| *at_ns <= now_ns) {
            self.readings.push(Reading {
                cpu_ns: self.process.and_then(|process| process.cpu_ns()),
                threads_ns: self.process.map(|process| process.threads_ns()).unwrap_or_default(),
                host: host_ticks(),
            });
        }
    }

    /// After both edges.
    pub(crate) fn spent(&self) -> Spent {
        let [from, to] = self.readings.as_slice() else { return Spent::default() };
        let (from_host, to_host) = (from.host.unwrap_or_default(), to.host.unwrap_or_default());
        Spent {
            cpu_ns: to.cpu_ns.zip(from.cpu_ns).map(|(to, from)| to.saturating_sub(from)),
            threads_ns: between(&from.threads_ns, &to.threads_ns),
            host: HostTicks {
                all: to_host.all.saturating_sub(from_host.all),
                idle: to_host.idle.saturating_sub(from_host.idle),
                stolen: to_host.stolen.saturating_sub(from_host.stolen),
            },
        }
    }
}

/// What each thread used from one reading to the next.
pub(crate) fn between(from: &BTreeMap<String, u64>, to: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    to.iter().map(|(name, ns)| (name.clone(), ns.saturating_sub(from.get(name).copied().unwrap_or(0)))).collect()
}

impl Spent {
    /// All phases together.
    pub(crate) fn sum<'a>(phases: impl Iterator<Item = &'a Self>) -> Self {
        let nothing = Self { cpu_ns: Some(0), ..Self::default() };
        phases.fold(nothing, |mut sum, phase| {
            sum.cpu_ns = sum.cpu_ns.zip(phase.cpu_ns).map(|(sum, more)| sum + more);
            for (name, ns) in &phase.threads_ns {
                *sum.threads_ns.entry(name.clone()).or_default() += ns;
            }
            let (host, more) = (&mut sum.host, &phase.host);
            (host.all, host.idle, host.stolen) =
                (host.all + more.all, host.idle + more.idle, host.stolen + more.stolen);
            sum
        })
    }

    /// The busiest thread, by its share of `seconds`.
    pub(crate) fn busiest_thread(&self, seconds: f64) -> Option<Thread> {
        let (name, ns) = self.threads_ns.iter().max_by_key(|(_, ns)| **ns)?;
        Some(Thread { name: name.clone(), share: *ns as f64 / 1e9 / seconds })
    }

    pub(crate) fn host(&self) -> Option<Host> {
        let share = |ticks: u64| ticks as f64 / self.host.all as f64;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (self.host.all > 0).then(|| Host { cores, idle: share(self.host.idle), stolen: share(self.host.stolen) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_thread_is_the_one_that_used_most_over_all_phases() {
        let reading =
            |shard: u64, other: u64| BTreeMap::from([("shard-0".to_owned(), shard), ("control".to_owned(), other)]);
        let phase = |from, to| Spent { threads_ns: between(&from, &to), ..Spent::default() };
        let phases = [
            phase(reading(0, 5_000_000_000), reading(900_000_000, 5_100_000_000)),
            phase(reading(900_000_000, 0), reading(1_800_000_000, 1_000_000_000)),
        ];
        let busiest = Spent::sum(phases.iter()).busiest_thread(2.0).expect("there are threads");
        assert_eq!((busiest.name.as_str(), busiest.share), ("shard-0", 0.9));
        assert_eq!(Spent::sum(phases.iter()).cpu_ns, None, "of a process that is gone nothing is known");
        assert_eq!((Spent::default().busiest_thread(1.0), Spent::default().host()), (None, None));
    }

    #[test]
    fn both_edges_are_read_once_each() {
        let mut edges = Edges::new(Some(Process::this()), 10, 20);
        assert_eq!(edges.wake_ns(), 10);
        edges.pass(9);
        assert_eq!(edges.readings.len(), 0);
        edges.pass(10);
        assert_eq!((edges.readings.len(), edges.wake_ns()), (1, 20));
        edges.pass(99);
        edges.pass(100);
        assert_eq!((edges.readings.len(), edges.wake_ns()), (2, u64::MAX));
        assert!(edges.spent().cpu_ns.is_some());
        assert_eq!(Edges::none().spent().cpu_ns, None);
    }
}
