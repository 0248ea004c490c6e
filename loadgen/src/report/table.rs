//! The report for people: a table on standard output.

use std::fmt::{self, Display, Formatter};

use super::{Report, Verdict};
use crate::kernel::KernelReading;
use crate::latency::Quantiles;
use crate::plan::mib;
use crate::proof::Fault;

/// The first six of [`Fault::ALL`] are what everybody asks for: lost, duplicated, misordered, foreign, corrupted, gap.
const ALWAYS_SHOWN: usize = 6;

impl Verdict {
    /// For people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::SloMissed => "SLO missed",
            Self::ProofFailed => "proof failed",
            Self::Unknown => "unknown",
            Self::GeneratorLimited => "the generator was the limit",
        }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.traffic(f)?;
        self.phases(f)?;
        self.latencies(f)?;
        self.promises(f)?;
        self.costs(f)?;
        writeln!(f, "\nVERDICT {} (exit {})", self.verdict.words(), self.exit_code)?;
        self.search.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        self.reasons.iter().try_for_each(|reason| writeln!(f, "  - {reason}"))
    }
}

impl Report {
    fn traffic(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (rates, opened) = (&self.rates, &self.opened);
        writeln!(
            f,
            "\nopened     {} connections in {:.1} s ({:.0}/s, {} tried again)",
            self.seated(),
            opened.seconds,
            opened.per_s,
            opened.retries
        )?;
        if let Some(stopped) = &opened.stopped {
            writeln!(f, "           of {} asked: {stopped}", self.asked.connections)?;
        }
        if let Some(effort) = &opened.effort {
            writeln!(f, "           the generator meanwhile: {}", effort.sentence())?;
        }
        writeln!(
            f,
            "in         {:.1} messages/s offered, {:.1} sent, {:.1} accepted",
            rates.offered_per_s, rates.sent_per_s, rates.accepted_per_s
        )?;
        writeln!(
            f,
            "out        {:.0} deliveries/s ({:.0} asked), {:.1} MB/s",
            rates.deliveries_per_s,
            self.asked.deliveries_per_s,
            rates.bytes_per_s / 1e6
        )
    }

    /// A line for each phase, where there are several.
    fn phases(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.phases.len() < 2 {
            return Ok(());
        }
        writeln!(
            f,
            "\n{:<14} {:>10} {:>10} {:>12} {:>9} {:>9} {:>9}  verdict",
            "phase", "asked/s", "sent/s", "deliveries/s", "p50 ms", "p99 ms", "max ms"
        )?;
        self.phases.iter().try_for_each(|phase| {
            let (rates, delivery) = (&phase.rates, &phase.latency.delivery);
            writeln!(
                f,
                "{:<14} {:>10.1} {:>10.1} {:>12.0} {:>9.2} {:>9.2} {:>9.2}  {}",
                phase.stage.name,
                rates.offered_per_s,
                rates.sent_per_s,
                rates.deliveries_per_s,
                delivery.p50_ms,
                delivery.p99_ms,
                delivery.max_ms,
                phase.verdict.words()
            )
        })
    }

    fn latencies(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<32} {:>12} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "latency, ms", "count", "p50", "p90", "p99", "p99.9", "max"
        )?;
        self.kinds().iter().try_for_each(|(name, quantiles)| row(f, name, quantiles))?;
        self.latency.unfollowed().iter().try_for_each(|sentence| writeln!(f, "  {sentence}"))
    }

    fn promises(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let proof = &self.proof;
        let count = |fault: &Fault| proof.faults.get(fault).copied().unwrap_or(0);
        writeln!(
            f,
            "\nproof      {} sent, {} accepted, {} refused; {} deliveries owed, {} heard",
            proof.sent, proof.accepted, proof.refused, proof.expected, proof.received
        )?;
        write!(f, "           ")?;
        let (always, others) = Fault::ALL.split_at(ALWAYS_SHOWN);
        for fault in always {
            write!(f, "{} {}  ", fault.name(), count(fault))?;
        }
        writeln!(f)?;
        for fault in others.iter().filter(|fault| count(fault) > 0) {
            writeln!(f, "           {} {}", fault.name(), count(fault))?;
        }
        writeln!(
            f,
            "           per connection at least {} deliveries, {} heartbeats answered ({} in all, one each {} s of silence)",
            proof.deliveries_per_connection_min,
            proof.heartbeats_per_connection_min,
            proof.heartbeats,
            self.opened.heartbeat_ms as f64 / 1_000.0
        )?;
        if let Some(why) = self.heartbeats_not_judged() {
            writeln!(f, "           {why}")?;
        }
        if proof.count_only_rooms > 0 {
            writeln!(
                f,
                "           {} rooms judged by number only (refusals without an id, or a publisher cut)",
                proof.count_only_rooms
            )?;
        }
        for sentence in proof.inexact() {
            writeln!(f, "           {sentence}")?;
        }
        for (code, count) in &proof.refusals {
            writeln!(f, "           refused: {count} {code}")?;
        }
        for (code, count) in &proof.closes {
            writeln!(f, "           closed: {count} with {code}")?;
        }
        for line in self.beside() {
            writeln!(f, "           {line}")?;
        }
        self.offenders().iter().try_for_each(|offender| writeln!(f, "  {offender}"))
    }

    /// Why nobody had to answer a heartbeat, where that is what a hold is for.
    pub(super) fn heartbeats_not_judged(&self) -> Option<String> {
        let opened = &self.opened;
        let judged = self.phases.iter().any(|phase| phase.heartbeat_needed);
        (self.asked.hold && !judged && opened.heartbeat_round_ms > 0).then(|| {
            format!(
                "heartbeats not judged: a server with the default pings_per_tick and one shard is through with everybody after {:.0} s",
                (opened.heartbeat_ms + opened.heartbeat_round_ms) as f64 / 1e3
            )
        })
    }

    /// What those beside the crowd lived through, and whether the server stayed as it was, in sentences.
    pub(super) fn beside(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for phase in &self.phases {
            let name = if self.phases.len() > 1 { format!("{}: ", phase.stage.name) } else { String::new() };
            let mut say = |sentence: String| lines.push(format!("{name}{sentence}"));
            if let Some(slow) = &phase.slow {
                slow.sentences(phase.latency.delivery.p99_ms).into_iter().for_each(&mut say);
            }
            if let Some(steady) = &phase.steady {
                say(steady.sentence());
            }
            if let Some(guests) = &phase.guests {
                guests.sentences().into_iter().for_each(&mut say);
            }
        }
        lines
    }

    fn costs(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let generator = &self.generator;
        writeln!(
            f,
            "\ngenerator  {:.2} s CPU, busiest worker {:.0} % of a core ({:.0} % with waiting for one), {} private, {:.0} B a connection",
            generator.cpu_s,
            generator.busiest_worker * 100.0,
            generator.busiest_worker_with_waiting * 100.0,
            mib(generator.memory_bytes),
            generator.memory_per_connection
        )?;
        for agent in &self.agents {
            writeln!(f, "agent      {}", agent.describe())?;
        }
        if let Some(host) = &self.host {
            writeln!(
                f,
                "host       {} cores, idle {:.1} %, taken by other guests {:.1} %",
                host.cores,
                host.idle * 100.0,
                host.stolen * 100.0
            )?;
        }
        if let Some(calm) = &self.calm {
            writeln!(
                f,
                "           in {} of {} s it took nothing, nor in the second before: p50 {:.2} ms, p99 {:.2} ms of {} deliveries",
                calm.seconds, calm.of, calm.delivery.p50_ms, calm.delivery.p99_ms, calm.delivery.count
            )?;
        }
        self.kernel_costs(f)?;
        if let Some(asked) = self.metrics.as_ref().filter(|asked| asked.failed > 0) {
            writeln!(f, "metrics    {}", asked.sentence())?;
        }
        let Some(server) = &self.server else { return Ok(()) };
        let per_million =
            server.cpu_s_per_million_deliveries.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2}"));
        let busiest = server.busiest_thread.as_ref();
        let busiest = busiest
            .map_or_else(String::new, |thread| format!("; {} {:.0} % of one", thread.name, thread.share * 100.0));
        writeln!(
            f,
            "server     {:.2} s CPU ({:.2} cores{busiest}), {per_million} s per million deliveries\n           private dirty {} before, {} joined ({:.0} B a connection), {} after ({:.0} B)",
            server.cpu_s,
            server.cores_busy,
            mib(server.memory_before),
            mib(server.memory_joined),
            server.bytes_per_connection_joined,
            mib(server.memory_after),
            server.bytes_per_connection_after
        )
    }
}

impl Report {
    fn kernel_costs(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(kernel) = &self.host_kernel else { return Ok(()) };
        let free = |reading: &KernelReading| format!("{} + {}", mib(reading.memory_free), mib(reading.cached));
        writeln!(
            f,
            "kernel     free + files: {} before, {} with everybody there, {} at the end: {}",
            free(&kernel.before),
            free(&kernel.joined),
            free(&kernel.held),
            kernel.each_text()
        )?;
        let (joined, held) = (&kernel.joined, &kernel.held);
        writeln!(
            f,
            "           {} TCP sockets, {} in their queues ({} at the end); page tables {}",
            joined.tcp_sockets,
            mib(joined.tcp_bytes),
            mib(held.tcp_bytes),
            mib(joined.page_tables)
        )?;
        match kernel.slabs_text(SLABS_SHOWN) {
            Some(slabs) => writeln!(f, "           slabs {:.0} B a connection: {slabs}", kernel.slab_bytes()),
            None => writeln!(f, "           slabs by name: only root may read /proc/slabinfo"),
        }
    }
}

/// How many slabs stand in a table.
pub(super) const SLABS_SHOWN: usize = 12;

fn row(f: &mut Formatter<'_>, name: &str, quantiles: &Quantiles) -> fmt::Result {
    let Quantiles { count, p50_ms, p90_ms, p99_ms, p999_ms, max_ms } = quantiles;
    writeln!(f, "{name:<32} {count:>12} {p50_ms:>9.2} {p90_ms:>9.2} {p99_ms:>9.2} {p999_ms:>9.2} {max_ms:>9.2}")
}
