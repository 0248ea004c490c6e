//! The highest rate that keeps the SLO, by bisection, and what is kept of it when twice as much is offered.
//!
//! One standing crowd serves all probes; a probe that cost it a connection, or left an account open, is followed by
//! a fresh one, so that no probe pays for the one before.

use std::rc::Rc;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::args::BisectArgs;
use crate::coordinator::Standing;
use crate::plan::Plan;
use crate::proof::Fault;
use crate::report::{Proof, Report, Verdict};
use crate::say::tell;

/// What bisecting found.
#[derive(Serialize)]
pub(crate) struct Found {
    verdict: Verdict,
    pub(crate) exit_code: u8,
    /// Each a sentence: what was broken or missed.
    reasons: Vec<String>,
    pub(crate) slo_p99_ms: f64,
    /// The best probe that held; none: not even `--from` did.
    pub(crate) best: Option<Report>,
    /// Twice the best rate.
    pub(crate) overload: Option<Report>,
    /// Deliveries a second at twice the peak in percent of those at the peak.
    pub(crate) goodput_kept_percent: Option<f64>,
    pub(crate) probes: Vec<Probe>,
    /// The first probe, where it did not hold.
    #[serde(skip)]
    lowest: Option<Report>,
}

/// One line of the table of probes.
#[derive(Clone, Serialize)]
pub(crate) struct Probe {
    rate_per_s: f64,
    deliveries_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    verdict: Verdict,
    server_cpu_s_per_million: Option<f64>,
    generator_busiest_worker: f64,
    /// Share of all cores' time that the host kept for others meanwhile.
    stolen: f64,
}

struct Search {
    plan: Rc<Plan>,
    crowd: Option<Standing>,
    probes: Vec<Probe>,
    /// What no load excuses, of all probes.
    broken: Vec<String>,
    /// How often a disturbed probe is tried again.
    again: u32,
}

pub(crate) fn bisect(args: BisectArgs) -> Result<Found> {
    let BisectArgs { run, from, to, steps, keep, again } = args;
    ensure!(from < to, "--from {from} must be below --to {to}");
    ensure!(run.phase.is_empty(), "bisecting measures one phase at a time: without --phase");
    ensure!(run.slo_p99_ms.is_some(), "--slo-p99-ms is what bisecting goes by");
    let plan = Rc::new(Plan::new(run)?);
    tell!("plan (the rate is bisected from {from} to {to})\n{}", plan.describe().trim_end());
    let mut search = Search { plan, crowd: None, probes: Vec::new(), broken: Vec::new(), again };
    let found = search.find(from, to, steps, keep)?;
    if let Some(crowd) = search.crowd {
        crowd.dismiss()?;
    }
    Ok(found)
}

impl Search {
    fn find(&mut self, from: f64, to: f64, steps: u32, keep: f64) -> Result<Found> {
        let slo_p99_ms = self.plan.args.slo_p99_ms.unwrap_or(f64::INFINITY);
        let passed = |report: &Report| report.verdict == Verdict::Passed;
        let first = self.probe(from, passed)?;
        if !passed(&first) {
            let mut reasons = std::mem::take(&mut self.broken);
            reasons.extend(first.reasons.iter().cloned());
            return Ok(Found {
                verdict: first.verdict,
                exit_code: first.exit_code,
                reasons,
                slo_p99_ms,
                best: None,
                overload: None,
                goodput_kept_percent: None,
                probes: self.probes.clone(),
                lowest: Some(Report { search: vec!["bisect: not even the lowest rate held".to_owned()], ..first }),
            });
        }
        let (mut best, mut low, mut high) = (first, from, to);
        for _ in 0..steps {
            let middle = f64::midpoint(low, high);
            let report = self.probe(middle, passed)?;
            if passed(&report) {
                (low, best) = (middle, report);
            } else {
                high = middle;
            }
        }
        let peak = best.rates.deliveries_per_s.max(1.0);
        let kept_by = |report: &Report| report.rates.deliveries_per_s / peak * 100.0;
        let overload = self.probe(low * 2.0, |report| kept_by(report) >= keep)?;
        let kept = kept_by(&overload);
        let (verdict, reasons) = self.judge(kept, keep, overload.generator.limit.as_ref());
        best.search = vec![
            format!("bisect: {low:.1} messages/s is the highest that held, {high:.1} did not or was not tried"),
            format!("at twice that {kept:.1} % of its deliveries are kept, {keep} % were asked: {}", verdict.words()),
        ];
        best.search.extend(reasons.iter().cloned());
        Ok(Found {
            verdict,
            exit_code: verdict.exit_code(),
            reasons,
            slo_p99_ms,
            best: Some(best),
            overload: Some(overload),
            goodput_kept_percent: Some(kept),
            probes: self.probes.clone(),
            lowest: None,
        })
    }

    /// A promise broken by any probe outranks what was kept at twice the peak, of which deliveries `kept` of a hundred came;
    /// `limit`: the generator was at its own limit then.
    fn judge(&mut self, kept: f64, keep: f64, limit: Option<&String>) -> (Verdict, Vec<String>) {
        let mut reasons = std::mem::take(&mut self.broken);
        let broken = !reasons.is_empty();
        if kept < keep {
            reasons.push(format!("at twice the peak {kept:.1} % of its deliveries were kept, {keep} % were asked"));
            reasons.extend(limit.map(|limit| format!("the generator was at its own limit: {limit}")));
        }
        let verdict = match (broken, kept < keep, limit) {
            (true, ..) => Verdict::ProofFailed,
            (false, true, Some(_)) => Verdict::GeneratorLimited,
            (false, true, None) => Verdict::SloMissed,
            (false, false, _) => Verdict::Passed,
        };
        (verdict, reasons)
    }

    /// One that held has held, whatever the host did; one that did not says nothing when the host took the cores away.
    fn probe(&mut self, rate: f64, held: impl Fn(&Report) -> bool) -> Result<Report> {
        for _ in 0..self.again {
            let report = self.probe_once(rate)?;
            if held(&report) || stolen(&report) <= STOLEN_MAX {
                return Ok(report);
            }
        }
        self.probe_once(rate)
    }

    fn probe_once(&mut self, rate: f64) -> Result<Report> {
        let mut crowd = match self.crowd.take() {
            Some(crowd) => crowd,
            None => Standing::open_whole(self.plan.clone())?,
        };
        let report = crowd.phase(&self.plan.stage(rate))?;
        if report.crowd_is_whole() {
            self.crowd = Some(crowd);
        } else {
            crowd.dismiss()?;
        }
        let probe = Probe {
            rate_per_s: rate,
            deliveries_per_s: report.rates.deliveries_per_s,
            p50_ms: report.latency.delivery.p50_ms,
            p99_ms: report.latency.delivery.p99_ms,
            verdict: report.verdict,
            server_cpu_s_per_million: report.server.as_ref().and_then(|server| server.cpu_s_per_million_deliveries),
            generator_busiest_worker: report.generator.busiest_worker,
            stolen: stolen(&report),
        };
        tell!("probe  {}", probe.line());
        self.broken.extend(broken(&report.proof).map(|what| format!("at {rate:.1} messages/s: {what}")));
        self.probes.push(probe);
        Ok(report)
    }
}

/// What a server may not do at any load. It may refuse, tell a gap, and send away who is too slow; what gaps told is lost to
/// somebody, and not to the proof.
const NEVER: [Fault; 7] = [
    Fault::Lost,
    Fault::Duplicated,
    Fault::Misordered,
    Fault::Foreign,
    Fault::Corrupted,
    Fault::Disagreed,
    Fault::Unanswered,
];

/// What was broken that no load excuses.
fn broken(proof: &Proof) -> Option<String> {
    let counts = NEVER.iter().filter_map(|fault| {
        let count = proof.faults.get(fault).copied().unwrap_or(0);
        let told = if *fault == Fault::Lost { proof.told_missing } else { 0 };
        let count = count.saturating_sub(told);
        (count > 0).then(|| format!("{count} {}", fault.name()))
    });
    let counts: Vec<String> = counts.collect();
    (!counts.is_empty()).then(|| counts.join(", "))
}

/// Share of all cores' time above which a probe that did not hold may be the host's fault.
const STOLEN_MAX: f64 = 0.01;

fn stolen(report: &Report) -> f64 {
    report.host.map_or(0.0, |host| host.stolen)
}

impl Probe {
    fn line(&self) -> String {
        let cpu = self.server_cpu_s_per_million.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2}"));
        format!(
            "{:>10.1} messages/s  {:>10.0} deliveries/s  p50 {:>8.2} ms  p99 {:>8.2} ms  server {cpu} CPU s/million  generator {:.0} %  taken {:.1} %  {}",
            self.rate_per_s,
            self.deliveries_per_s,
            self.p50_ms,
            self.p99_ms,
            self.generator_busiest_worker * 100.0,
            self.stolen * 100.0,
            self.verdict.words()
        )
    }
}

impl Found {
    /// What a page is made of.
    pub(crate) fn page(&self) -> Option<&Report> {
        self.best.as_ref().or(self.lowest.as_ref())
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "\nprobes")?;
        for probe in &self.probes {
            writeln!(f, "  {}", probe.line())?;
        }
        match (&self.best, &self.overload, self.goodput_kept_percent) {
            (Some(best), Some(overload), Some(kept)) => {
                writeln!(f, "\nbest: {:.1} messages/s at p99 <= {} ms{best}", best.asked.rate_per_s, self.slo_p99_ms)?;
                writeln!(
                    f,
                    "\ntwice that offered ({:.1} messages/s): {:.0} deliveries/s, {kept:.1} % of the peak kept, verdict: {}",
                    overload.asked.rate_per_s,
                    overload.rates.deliveries_per_s,
                    overload.verdict.words()
                )?;
                overload.reasons.iter().try_for_each(|reason| writeln!(f, "  - {reason}"))?;
            }
            (_, _, _) => writeln!(f, "\nnot even the lowest rate held")?,
        }
        writeln!(f, "\nVERDICT {} (exit {})", self.verdict.words(), self.exit_code)?;
        self.reasons.iter().try_for_each(|reason| writeln!(f, "  - {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gaps_told_is_allowed_and_nothing_more() {
        let proof = |faults: &[(Fault, u64)], told_missing| {
            let faults = faults.iter().copied().collect();
            broken(&Proof { faults, told_missing, ..Proof::merge(false, &[]) })
        };
        assert_eq!(proof(&[(Fault::Gap, 3), (Fault::Lost, 90), (Fault::Cut, 1)], 90), None);
        assert_eq!(proof(&[(Fault::Gap, 3), (Fault::Lost, 91)], 90).as_deref(), Some("1 lost"));
        let both = proof(&[(Fault::Unanswered, 2), (Fault::Duplicated, 1)], 5);
        assert_eq!(both.as_deref(), Some("1 duplicated, 2 unanswered"));
    }
}
