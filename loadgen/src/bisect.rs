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
use crate::report::{Report, Verdict};

/// What bisecting found.
#[derive(Serialize)]
pub(crate) struct Found {
    pub(crate) exit_code: u8,
    pub(crate) slo_p99_ms: f64,
    /// The best probe that held; none: not even `--from` did.
    pub(crate) best: Option<Report>,
    /// Twice the best rate.
    pub(crate) overload: Option<Report>,
    /// Deliveries a second at twice the peak in percent of those at the peak.
    pub(crate) goodput_kept_percent: Option<f64>,
    pub(crate) probes: Vec<Probe>,
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
    /// How often a disturbed probe is tried again.
    again: u32,
}

pub(crate) fn bisect(args: BisectArgs) -> Result<Found> {
    let BisectArgs { run, from, to, steps, keep, again } = args;
    ensure!(from < to, "--from {from} must be below --to {to}");
    ensure!(run.phase.is_empty(), "bisecting measures one phase at a time: without --phase");
    ensure!(run.slo_p99_ms.is_some(), "--slo-p99-ms is what bisecting goes by");
    let plan = Rc::new(Plan::new(run)?);
    eprint!("plan (the rate is bisected from {from} to {to})\n{}", plan.describe());
    let mut search = Search { plan, crowd: None, probes: Vec::new(), again };
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
            let exit_code = first.exit_code;
            return Ok(Found {
                exit_code,
                slo_p99_ms,
                best: None,
                overload: None,
                goodput_kept_percent: None,
                probes: self.probes.clone(),
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
        let exit_code = if kept < keep { Verdict::SloMissed.exit_code() } else { 0 };
        Ok(Found {
            exit_code,
            slo_p99_ms,
            best: Some(best),
            overload: Some(overload),
            goodput_kept_percent: Some(kept),
            probes: self.probes.clone(),
        })
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
        eprintln!("probe  {}", probe.line());
        self.probes.push(probe);
        Ok(report)
    }
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
                overload.reasons.iter().try_for_each(|reason| writeln!(f, "  - {reason}"))
            }
            (_, _, _) => writeln!(f, "\nnot even the lowest rate held"),
        }
    }
}
