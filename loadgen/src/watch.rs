//! The server under test and the host, second by second: its threads' CPU time, what its `/metrics` says, and what the host
//! of this virtual machine kept for others.
//!
//! Promises: asking a server that is slow to answer never delays the run: a thread of its own asks and waits.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result};

use crate::churn::scrape;
use crate::edges::between;
use crate::proc::{HostTicks, Process, host_ticks};
use crate::sys;
use crate::timeline::{ServerSecond, Timeline};

/// Families kept of `/metrics`; each summed over its labels.
const KEPT: &[&str] = &[
    "throng_connections",
    "throng_publishes_total",
    "throng_deliveries_total",
    "throng_bytes_out_total",
    "throng_readers_behind",
    "throng_unsent_bytes",
    "throng_gaps_total",
    "throng_refusals_total",
    "throng_closes_total",
    "process_resident_memory_bytes",
    "throng_turns_slow_total",
    "throng_ticks_late_total",
    "throng_send_budget_exhausted_total",
    "throng_pings_put_off_total",
];

/// Looks once a second, from outside and by the admin listener.
pub(crate) struct Watch {
    process: Option<Process>,
    /// CPU and threads at the last look, and when that was.
    last: Option<(u64, u64, BTreeMap<String, u64>)>,
    /// The host's clock at the last look, and the second that ended there.
    host: Option<(u64, HostTicks)>,
    scraped: Option<Receiver<(u64, BTreeMap<String, f64>)>>,
    counters: BTreeMap<String, f64>,
}

impl Watch {
    /// `origin_ns` is the run's zero of the monotonic clock.
    pub(crate) fn new(process: Option<Process>, admin: Option<SocketAddr>, origin_ns: u64) -> Result<Self> {
        let scraped = admin.map(|admin| start(admin, origin_ns)).transpose()?;
        Ok(Self { process, last: None, host: None, scraped, counters: BTreeMap::new() })
    }

    /// Notes what passed since the last look as part of the second that ends at `now_ns`.
    pub(crate) fn look(&mut self, now_ns: u64, timeline: &mut Timeline) {
        let second = (now_ns / SECOND_NS).saturating_sub(1);
        self.look_at_host(second, timeline);
        if let Some(process) = self.process
            && let Some(cpu_ns) = process.cpu_ns()
        {
            let threads = process.threads_ns();
            if let Some((at_ns, cpu_before, before)) = self.last.take() {
                let span = now_ns.saturating_sub(at_ns).max(1) as f64;
                let used = between(&before, &threads);
                let seen = ServerSecond {
                    cores: cpu_ns.saturating_sub(cpu_before) as f64 / span,
                    threads: used.into_iter().map(|(name, ns)| (name, ns as f64 / span)).collect(),
                    metrics: BTreeMap::new(),
                };
                timeline.take_server(second, seen);
            }
            self.last = Some((now_ns, cpu_ns, threads));
        }
        let scrapes: Vec<_> = self.scraped.iter().flat_map(Receiver::try_iter).collect();
        for (at_ns, values) in scrapes {
            timeline.take_metrics((at_ns / SECOND_NS).saturating_sub(1), self.grown(values));
        }
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

    /// Counters as what they grew by since the last scrape.
    fn grown(&mut self, mut values: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
        for (name, value) in values.iter_mut().filter(|(name, _)| name.ends_with("_total")) {
            let before = self.counters.insert(name.clone(), *value).unwrap_or(*value);
            *value = (*value - before).max(0.0);
        }
        values
    }
}

/// Starts the thread that asks; it ends when nobody listens any more.
fn start(admin: SocketAddr, origin_ns: u64) -> Result<Receiver<(u64, BTreeMap<String, f64>)>> {
    read(admin).with_context(|| format!("--admin http://{admin}/metrics"))?;
    let (sender, receiver) = channel();
    let ask = move || ask(admin, origin_ns, &sender);
    std::thread::Builder::new().name("metrics".to_owned()).spawn(ask).context("starting the thread that scrapes")?;
    Ok(receiver)
}

fn ask(admin: SocketAddr, origin_ns: u64, sender: &Sender<(u64, BTreeMap<String, f64>)>) {
    loop {
        let now_ns = sys::monotonic_ns() - origin_ns;
        sys::rest_until(origin_ns + (now_ns / SECOND_NS + 1) * SECOND_NS);
        let at_ns = sys::monotonic_ns() - origin_ns;
        // A server that does not answer has no figures for this second; the charts show the gap.
        let values = read(admin).unwrap_or_default();
        if sender.send((at_ns, values)).is_err() {
            return;
        }
    }
}

fn read(admin: SocketAddr) -> Result<BTreeMap<String, f64>> {
    let answer = scrape::ask(admin, "/metrics")?;
    anyhow::ensure!(answer.starts_with("HTTP/1.1 200 "), "answered {:?}", answer.lines().next().unwrap_or(""));
    Ok(parse(&answer))
}

fn parse(answer: &str) -> BTreeMap<String, f64> {
    let mut values = BTreeMap::new();
    for (name, value) in answer.lines().filter_map(|line| line.rsplit_once(' ')) {
        let family = name.split('{').next().unwrap_or(name);
        if let (true, Ok(value)) = (KEPT.contains(&family), value.trim().parse::<f64>()) {
            *values.entry(family.to_owned()).or_default() += value;
        }
    }
    values
}

const SECOND_NS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_summed_over_their_labels_and_counters_become_what_they_grew_by() {
        let text = |refusals: u64| {
            format!(
                "HTTP/1.1 200 OK\r\n\r\n# TYPE throng_refusals counter\nthrong_refusals_total{{code=\"busy\"}} {refusals}\n\
                 throng_refusals_total{{code=\"too_long\"}} 1\nthrong_connections 7\nthrong_connections_max 9\n# EOF\n"
            )
        };
        let mut watch = Watch { process: None, last: None, host: None, scraped: None, counters: BTreeMap::new() };
        let first = watch.grown(parse(&text(4)));
        assert_eq!(
            first,
            BTreeMap::from([("throng_connections".to_owned(), 7.0), ("throng_refusals_total".to_owned(), 0.0)])
        );
        assert_eq!(watch.grown(parse(&text(10)))["throng_refusals_total"], 6.0);
    }

    #[test]
    fn a_process_is_seen_from_its_second_look_on() {
        let (mut watch, mut timeline) = (Watch::new(Some(Process::this()), None, 0).expect("watches"), Timeline::new());
        watch.look(SECOND_NS, &mut timeline);
        assert_eq!(watch.last.as_ref().map(|(at_ns, _, _)| *at_ns), Some(SECOND_NS));
        watch.look(2 * SECOND_NS, &mut timeline);
        assert!(watch.last.is_some_and(|(at_ns, _, threads)| at_ns == 2 * SECOND_NS && !threads.is_empty()));
    }
}
