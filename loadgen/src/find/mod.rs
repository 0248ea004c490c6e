//! `throng-load find`: the largest value that keeps an SLO, and what was the limit above it.
//!
//! Doubles until it no longer holds, bisects, and confirms with repeats: a value that holds once is luck. The limit is
//! named from figures of the lowest value that did not hold, never from a guess.

mod search;
mod table;

use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::args::{Publishers, RunArgs, positive};
use crate::coordinator::Standing;
use crate::plan::Plan;
use crate::report::{Limit, Report, Verdict};
use crate::say::tell;
use search::{Search, Step};

/// What is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    /// Messages a second in, over the whole crowd.
    Rate,
    /// Connections at once; each room keeps its rate.
    Connections,
    /// Connections let in a second.
    ConnectRate,
    /// Members of a room; the number of rooms and the rate stay.
    RoomSize,
}

#[derive(Args, Clone)]
pub(crate) struct FindArgs {
    /// What is looked for.
    #[arg(value_enum)]
    pub(crate) what: What,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Where to begin. Default: what the run would do; for connect-rate 100.
    #[arg(long, env = "THRONG_LOAD_FROM", value_parser = positive)]
    pub(crate) from: Option<f64>,
    /// Where to stop, held or not.
    #[arg(long, env = "THRONG_LOAD_TO", value_parser = positive)]
    pub(crate) to: Option<f64>,
    /// Percent between what holds and what does not, below which bisecting ends.
    #[arg(long, env = "THRONG_LOAD_PRECISION", default_value = "5", value_parser = positive)]
    pub(crate) precision: f64,
    /// How often the value found must hold again.
    #[arg(long, env = "THRONG_LOAD_REPEATS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) repeats: u32,
}

/// What came of looking.
#[derive(Serialize)]
pub(crate) struct Found {
    pub(crate) exit_code: u8,
    pub(crate) what: What,
    pub(crate) slo: String,
    /// The largest value all repeats of which held; none: not even the smallest did.
    pub(crate) value: Option<f64>,
    /// What was measured at it, over the repeats.
    pub(crate) measured: Vec<Spread>,
    pub(crate) limit: Limit,
    pub(crate) probes: Vec<Probe>,
    /// The last repeat at the value found.
    pub(crate) report: Option<Report>,
    /// Where nothing was found: the lowest value's that did not hold, or the last one's.
    #[serde(skip)]
    instead: Option<Report>,
}

impl Found {
    /// What a page is made of.
    pub(crate) fn page(&self) -> Option<&Report> {
        self.report.as_ref().or(self.instead.as_ref())
    }
}

/// One figure over the repeats.
#[derive(Serialize, Clone, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) name: &'static str,
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// One run at one value.
#[derive(Serialize, Clone, Debug)]
pub(crate) struct Probe {
    pub(crate) value: f64,
    /// A repeat of the value found.
    pub(crate) confirms: bool,
    /// None: the run could not be set up, see `why`.
    pub(crate) verdict: Option<Verdict>,
    pub(crate) deliveries_per_s: f64,
    pub(crate) connects_per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) open_p99_ms: f64,
    pub(crate) server_cores_busy: Option<f64>,
    pub(crate) generator_busiest_worker: f64,
    pub(crate) why: Vec<String>,
}

/// Looks.
pub(crate) fn find(args: FindArgs) -> Result<Found> {
    let slo = args.run.slo.clone().unwrap_or_default();
    ensure!(
        !slo.is_empty() || args.run.slo_p99_ms.is_some(),
        "find needs to know what must hold: --slo 'p99<100ms,lost=0'"
    );
    ensure!(args.run.phase.is_empty(), "find measures one phase at a time: without --phase");
    let plan = Plan::new(args.run.clone())?;
    tell!("plan (looking for the largest {})\n{}", args.what.words(), plan.describe().trim_end());
    let from = args.from.unwrap_or_else(|| args.what.begin(&plan));
    ensure!(args.to.is_none_or(|to| to >= from), "--to must not be below --from {from}");
    let mut finder = Finder { args: &args, plan, crowd: None, probes: Vec::new(), failed: None, last: None };
    let mut search = Search::new(from, args.to, args.precision / 100.0, args.what.grain(&finder.plan));
    let mut confirmed = Vec::new();
    while let Step::Try { value, confirms } = search.step(args.repeats) {
        let report = finder.probe(value, confirms)?;
        let verdict = finder.probes.last().and_then(|probe| probe.verdict);
        let held = verdict == Some(Verdict::Passed);
        if verdict == Some(Verdict::Unknown) {
            // With too little to judge here, there is less still at anything smaller.
            search.stop();
        } else {
            search.take(held);
        }
        if !(confirms && held) {
            confirmed.clear();
        }
        confirmed.extend(report.filter(|_| confirms && held));
    }
    if let Some(crowd) = finder.crowd.take() {
        crowd.dismiss()?;
    }
    Ok(finder.found(slo.to_string(), search.found(), confirmed))
}

impl What {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Rate => "rate (messages/s)",
            Self::Connections => "number of connections",
            Self::ConnectRate => "rate of connecting (connections/s)",
            Self::RoomSize => "room (members)",
        }
    }

    fn begin(self, plan: &Plan) -> f64 {
        match self {
            Self::Rate => plan.rate,
            Self::Connections => f64::from(plan.args.connections),
            Self::ConnectRate => 100.0,
            Self::RoomSize => f64::from(plan.args.room_size),
        }
    }

    /// What values are multiples of, and the least there is.
    fn grain(self, plan: &Plan) -> (f64, f64) {
        match self {
            Self::Rate | Self::ConnectRate => (0.0, 0.0),
            Self::Connections => (f64::from(plan.args.room_size), f64::from(plan.args.room_size)),
            // In a room of one there must be an own copy to be heard.
            Self::RoomSize => (1.0, if plan.rules.own_copy { 1.0 } else { 2.0 }),
        }
    }

    /// The run at `value`.
    fn run(self, plan: &Plan, value: f64) -> RunArgs {
        let mut args = plan.args.clone();
        match self {
            Self::Rate => args.rate = Some(value),
            Self::Connections => {
                args.connections = value as u32;
                args.rate = Some(plan.rate * value / f64::from(plan.args.connections));
            }
            Self::ConnectRate => {
                args.ramp_rate = Some(value);
                // Open loop: who waits for an answer must not keep the next from coming, up to a second's worth.
                args.connecting = args.connecting.max(value.min(CONNECTING_MAX) as u32);
            }
            Self::RoomSize => {
                args.room_size = value as u32;
                args.connections = plan.rooms * args.room_size;
                // `all` stays all, and a number of publishers stays that number where it fits.
                if let Some(Publishers::PerRoom(publishers)) = args.publishers {
                    args.publishers = Some(Publishers::PerRoom(publishers.min(args.room_size)));
                }
            }
        }
        args
    }
}

/// The lowest value that did not hold, how, and why.
struct Failed {
    value: f64,
    exit_code: u8,
    limit: Limit,
    report: Option<Report>,
}

/// By the one phase of a probe, with what was said of connecting.
fn limit_of(report: &mut Report) -> Limit {
    if let Some(stopped) = &report.opened.stopped {
        return Limit::of_ramp(stopped);
    }
    let (reasons, verdict) = (report.reasons.clone(), report.verdict);
    let of_ramp = report.opened.limit().filter(|_| verdict == Verdict::GeneratorLimited).cloned();
    report.phases.first_mut().map_or(Limit::NotReached, |phase| {
        (phase.reasons, phase.verdict) = (reasons, verdict);
        if phase.generator.limit.is_none() {
            phase.generator.limit = of_ramp;
        }
        Limit::of(phase)
    })
}

struct Finder<'a> {
    args: &'a FindArgs,
    plan: Plan,
    /// Kept between probes where only the rate changes.
    crowd: Option<Standing>,
    probes: Vec<Probe>,
    failed: Option<Failed>,
    /// What was measured last.
    last: Option<Report>,
}

impl Finder<'_> {
    /// `None`: it could not be set up at this value, which is an answer, too.
    fn probe(&mut self, value: f64, confirms: bool) -> Result<Option<Report>> {
        let outcome = self.measure(value);
        let (probe, limit, report) = match outcome {
            Ok(mut report) => {
                let missed = self.missed_connecting(&report, value);
                if let (Some(missed), Verdict::Passed) = (&missed, report.verdict) {
                    let limit =
                        report.opened.limit().map(|limit| format!("the generator was at its own limit: {limit}"));
                    let ours = limit.is_some();
                    report.verdict = if ours { Verdict::GeneratorLimited } else { Verdict::SloMissed };
                    report.exit_code = report.verdict.exit_code();
                    report.reasons.push(missed.clone());
                    report.reasons.extend(limit);
                }
                (Probe::of(value, confirms, &report), limit_of(&mut report), Some(report))
            }
            // The first probe says whether anything works at all; and a smaller crowd may do what a larger one cannot.
            Err(error) if self.probes.is_empty() || self.args.what == What::Rate => return Err(error),
            Err(error) => {
                let sentence = format!("{error:#}");
                (Probe::failed(value, confirms, sentence.clone()), Limit::SetUp { sentence }, None)
            }
        };
        tell!("probe  {}", probe.line());
        // Where there was too little to judge, nothing was a limit.
        let failed = !matches!(probe.verdict, Some(Verdict::Passed | Verdict::Unknown));
        if failed && self.failed.as_ref().is_none_or(|lowest| value <= lowest.value) {
            let exit_code = probe.verdict.map_or(crate::SET_UP, Verdict::exit_code);
            self.failed = Some(Failed { value, exit_code, limit, report: report.clone() });
        }
        self.last = report.clone().or_else(|| self.last.take());
        self.probes.push(probe);
        Ok(report)
    }

    fn measure(&mut self, value: f64) -> Result<Report> {
        let kept = self.crowd.take();
        let mut crowd = match kept {
            Some(crowd) => crowd,
            None => {
                let plan = Rc::new(Plan::new(self.args.what.run(&self.plan, value))?);
                // A rate over fewer than were asked is another rate.
                if self.args.what == What::Rate { Standing::open_whole(plan)? } else { Standing::open(plan)? }
            }
        };
        let stage = match self.args.what {
            What::Rate => crowd.plan().stage(value),
            What::Connections | What::ConnectRate | What::RoomSize => crowd.plan().stage(crowd.plan().rate),
        };
        let report = crowd.phase(&stage)?;
        if self.args.what == What::Rate && report.crowd_is_whole() {
            self.crowd = Some(crowd);
        } else {
            crowd.part().context("letting the crowd go")?;
            crowd.dismiss()?;
        }
        Ok(report)
    }

    /// Whether connecting was slower than asked.
    fn missed_connecting(&self, report: &Report, value: f64) -> Option<String> {
        let reached = report.opened.per_s;
        (self.args.what == What::ConnectRate && reached < value * CONNECT_RATE_KEPT)
            .then(|| format!("{reached:.0} connections/s came in, {value:.0} were asked"))
    }

    fn found(self, slo: String, value: Option<f64>, confirmed: Vec<Report>) -> Found {
        let exit_code = Verdict::Unknown.exit_code();
        let nothing = Failed { value: 0.0, exit_code, limit: Limit::NotReached, report: None };
        let Failed { exit_code: failed_with, limit, report: lowest, value: lowest_value } =
            self.failed.unwrap_or(nothing);
        let words = self.args.what.words();
        let search = [
            value.map_or_else(
                || format!("find: {words}: nothing tried held with {slo}"),
                |value| format!("find: {words}: {value:.1} held with {slo}, each of {} times more", confirmed.len()),
            ),
            match (limit == Limit::NotReached, value) {
                (true, None) => "find: there was too little to judge".to_owned(),
                (true, Some(_)) => format!("find: its limit: {limit}"),
                (false, _) => format!("find: the limit at {lowest_value:.1}, the lowest that did not hold: {limit}"),
            },
        ];
        let exit_code = match (&value, &limit) {
            (Some(_), Limit::Generator { .. }) => Verdict::GeneratorLimited.exit_code(),
            (Some(_), _) => 0,
            (None, _) => failed_with,
        };
        let measured = if confirmed.is_empty() { Vec::new() } else { spreads(&confirmed) };
        let told = |report: Report| Report { search: search.to_vec(), ..report };
        let report = confirmed.into_iter().next_back().map(told);
        let instead = lowest.or(self.last).filter(|_| report.is_none()).map(told);
        Found { exit_code, what: self.args.what, slo, value, measured, limit, probes: self.probes, report, instead }
    }
}

/// A figure of a run; NaN where it is not known.
type Figure = fn(&Report) -> f64;

fn spreads(reports: &[Report]) -> Vec<Spread> {
    let figures: [(&str, Figure); 6] = [
        ("deliveries/s", |report| report.rates.deliveries_per_s),
        ("p50 ms", |report| report.latency.delivery.p50_ms),
        ("p99 ms", |report| report.latency.delivery.p99_ms),
        ("open p99 ms", |report| report.opened.latency.p99_ms),
        ("connections/s", |report| report.opened.per_s),
        ("server CPU s per million", |report| {
            report.server.as_ref().and_then(|server| server.cpu_s_per_million_deliveries).unwrap_or(f64::NAN)
        }),
    ];
    let spread = |(name, of): (&'static str, Figure)| Spread::of(name, reports.iter().map(of).collect());
    figures.into_iter().filter_map(spread).collect()
}

impl Spread {
    /// `None` when the figure is not known everywhere.
    fn of(name: &'static str, mut values: Vec<f64>) -> Option<Self> {
        if values.is_empty() || values.iter().any(|value| value.is_nan()) {
            return None;
        }
        values.sort_by(f64::total_cmp);
        let (lower, upper) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { name, median: f64::midpoint(lower, upper), min: values[0], max: values[values.len() - 1] })
    }
}

impl Probe {
    fn of(value: f64, confirms: bool, report: &Report) -> Self {
        Self {
            value,
            confirms,
            verdict: Some(report.verdict),
            deliveries_per_s: report.rates.deliveries_per_s,
            connects_per_s: report.opened.per_s,
            p50_ms: report.latency.delivery.p50_ms,
            p99_ms: report.latency.delivery.p99_ms,
            open_p99_ms: report.opened.latency.p99_ms,
            server_cores_busy: report.server.as_ref().map(|server| server.cores_busy),
            generator_busiest_worker: report.generator.busiest_worker,
            why: report.reasons.clone(),
        }
    }

    fn failed(value: f64, confirms: bool, why: String) -> Self {
        Self {
            value,
            confirms,
            verdict: None,
            deliveries_per_s: 0.0,
            connects_per_s: 0.0,
            p50_ms: 0.0,
            p99_ms: 0.0,
            open_p99_ms: 0.0,
            server_cores_busy: None,
            generator_busiest_worker: 0.0,
            why: vec![why],
        }
    }
}

/// Connections under way at once, at most, when their rate is looked for.
const CONNECTING_MAX: f64 = 4_096.0;
/// A rate of connecting is kept if this share of it came in.
const CONNECT_RATE_KEPT: f64 = 0.95;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_median_least_and_greatest_or_nothing() {
        let of =
            |values: &[f64]| Spread::of("x", values.to_vec()).map(|spread| (spread.median, spread.min, spread.max));
        assert_eq!(of(&[5.0, 1.0, 3.0]), Some((3.0, 1.0, 5.0)));
        assert_eq!(of(&[5.0, 1.0, 3.0, 4.0]), Some((3.5, 1.0, 5.0)));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[1.0, f64::NAN]), None);
    }
}
