//! The server under test and the host, second by second: its threads' CPU time, what its `/metrics` says, and what the host
//! of this virtual machine kept for others.

mod counters;
mod metrics;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Result;

use crate::edges::between;
use crate::proc::{HostTicks, Process, host_ticks};
use crate::sys::SECOND_NS;
use crate::timeline::Timeline;
pub(crate) use counters::{Counters, Named, Reading, moved};
use metrics::{Asking, Taken};
pub(crate) use metrics::{Metrics, Scrapes};

/// Looks once a second, from outside and by the admin listener.
pub(crate) struct Watch {
    process: Option<Process>,
    /// CPU and threads at the last look, and when that was.
    last: Option<(u64, u64, BTreeMap<String, u64>)>,
    /// The host's clock at the last look, and the second that ended there.
    host: Option<(u64, HostTicks)>,
    asking: Option<Asking>,
    /// What `/metrics` said last.
    newest: Option<Reading>,
}

impl Watch {
    /// `origin_ns` is the run's zero of the monotonic clock.
    pub(crate) fn new(process: Option<Process>, admin: Option<SocketAddr>, origin_ns: u64) -> Result<Self> {
        let asking = admin.map(|admin| Asking::start(admin, origin_ns)).transpose()?;
        Ok(Self { process, last: None, host: None, asking, newest: None })
    }

    /// How asking for `/metrics` went so far, where it is asked.
    pub(crate) fn asked(&self) -> Option<&Scrapes> {
        self.asking.as_ref().map(|asking| &asking.asked)
    }

    /// What the server's `/metrics` said last, as far as it was looked at.
    pub(crate) fn newest(&self) -> Option<&Reading> {
        self.newest.as_ref()
    }

    /// Notes what passed since the last look as part of the second that ends at `now_ns`; gives what the server counted
    /// meanwhile, and what people should be told.
    pub(crate) fn look(&mut self, now_ns: u64, timeline: &mut Timeline) -> (Vec<Reading>, Option<String>) {
        let second = (now_ns / SECOND_NS).saturating_sub(1);
        self.look_at_host(second, timeline);
        if let Some(process) = self.process
            && let Some(cpu_ns) = process.cpu_ns()
        {
            let threads = process.threads_ns();
            if let Some((at_ns, cpu_before, before)) = self.last.take() {
                let span = now_ns.saturating_sub(at_ns).max(1) as f64;
                let used = between(&before, &threads).into_iter().map(|(name, ns)| (name, ns as f64 / span)).collect();
                timeline.take_cpu(second, cpu_ns.saturating_sub(cpu_before) as f64 / span, used);
            }
            self.last = Some((now_ns, cpu_ns, threads));
        }
        let Taken { seconds, readings, failure } = self.asking.as_mut().map(Asking::take).unwrap_or_default();
        seconds.into_iter().for_each(|(second, metrics)| timeline.take_metrics(second, metrics));
        self.newest = readings.last().cloned().or_else(|| self.newest.take());
        (readings, failure)
    }

    /// Seconds that went by unseen stay unknown.
    fn look_at_host(&mut self, second: u64, timeline: &mut Timeline) {
        let Some(ticks) = host_ticks() else { return };
        let before = self.host.replace((second, ticks));
        if let Some((last, before)) = before
            && last + 1 == second
            && ticks.all > before.all
        {
            let stolen = ticks.stolen.saturating_sub(before.stolen) as f64 / (ticks.all - before.all) as f64;
            timeline.take_stolen(second, stolen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_seen_from_its_second_look_on() {
        let (mut watch, mut timeline) = (Watch::new(Some(Process::this()), None, 0).expect("watches"), Timeline::new());
        watch.look(SECOND_NS, &mut timeline);
        assert_eq!(watch.last.as_ref().map(|(at_ns, _, _)| *at_ns), Some(SECOND_NS));
        watch.look(2 * SECOND_NS, &mut timeline);
        assert!(watch.last.is_some_and(|(at_ns, _, threads)| at_ns == 2 * SECOND_NS && !threads.is_empty()));
    }
}
