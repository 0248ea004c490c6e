//! The lines of the charts, out of a report's seconds.

use super::super::{PhaseReport, Report};
use super::server;
use crate::timeline::{Second, ServerSecond};

/// A line: name, colour, and (x, y) where there is something to show.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) color: (u8, u8, u8),
    pub(super) dashed: bool,
    pub(super) points: Vec<(f64, f64)>,
}

/// One chart before it is drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chart {
    pub(super) title: &'static str,
    /// The vertical axis in powers of ten.
    pub(super) log: bool,
    /// The horizontal axis in nines (`1`: 90 %), not in seconds.
    pub(super) nines: bool,
    pub(super) height: u32,
    pub(super) lines: Vec<Line>,
}

/// Heights of charts, in their own measure.
const TALL: u32 = 210;

pub(super) const BLUE: (u8, u8, u8) = (37, 99, 235);
pub(super) const RED: (u8, u8, u8) = (200, 30, 30);
pub(super) const AMBER: (u8, u8, u8) = (202, 138, 4);
pub(super) const GREEN: (u8, u8, u8) = (22, 128, 61);
pub(super) const PURPLE: (u8, u8, u8) = (124, 58, 173);
pub(super) const GREY: (u8, u8, u8) = (120, 128, 140);
/// For the shards, in turn.
pub(super) const SHARDS: [(u8, u8, u8); 6] = [BLUE, PURPLE, GREEN, AMBER, (8, 145, 178), (190, 24, 93)];

/// All charts that have something to show.
pub(super) fn charts(report: &Report) -> Vec<Chart> {
    let over_time = |title, log, lines| Chart { title, log, nines: false, height: TALL, lines };
    let percentiles =
        Chart { nines: true, ..over_time("Latency by percentile of the messages, ms", true, percentiles(report)) };
    let mut charts = vec![
        over_time("Latency of each second, ms", true, latency(report)),
        percentiles,
        over_time("Deliveries a second", false, deliveries(report)),
        over_time("Messages a second", false, messages(report)),
        over_time("Connections", false, connections(report)),
        over_time("CPU, cores: generator, server, and the server's shards", false, cpu(report)),
    ];
    charts.extend(server::charts(report));
    charts.iter_mut().for_each(|chart| chart.lines.retain(|line| !line.points.is_empty()));
    charts.retain(|chart| !chart.lines.is_empty());
    charts
}

pub(super) fn line(
    report: &Report,
    name: impl Into<String>,
    color: (u8, u8, u8),
    of: impl Fn(&Second) -> Option<f64>,
) -> Line {
    let points = report.timeline.iter().filter_map(|second| Some((second.second as f64 + 0.5, of(second)?))).collect();
    Line { name: name.into(), color, dashed: false, points }
}

fn dashed(line: Line) -> Line {
    Line { dashed: true, ..line }
}

fn latency(report: &Report) -> Vec<Line> {
    let heard = |second: &Second, ms: f64| (second.delivery.count > 0).then_some(ms);
    let mut lines = vec![
        line(report, "delivery max", GREY, |second| heard(second, second.delivery.max_ms)),
        line(report, "delivery p99", AMBER, |second| heard(second, second.delivery.p99_ms)),
        line(report, "delivery p50", BLUE, |second| heard(second, second.delivery.p50_ms)),
        line(report, "p99 of answers to publishes", PURPLE, |second| second.ack.known_p99_ms()),
        line(report, "p99 of coming in", GREEN, |second| second.opening.known_p99_ms()),
    ];
    for phase in &report.phases {
        if let Some(bound_ms) = phase.stage.slo.p99_bound_ms() {
            let points = vec![(phase.window_s.0, bound_ms), (phase.window_s.1, bound_ms)];
            lines.push(Line { name: "delivery p99 asked".to_owned(), color: RED, dashed: true, points });
        }
    }
    lines
}

fn percentiles(report: &Report) -> Vec<Line> {
    let latency = &report.latency;
    let line = |name: &str, color, points: &[(f64, f64)], count: u64| {
        // The greatest is one in so many.
        let nines =
            |quantile: f64| if quantile < 1.0 { -(1.0 - quantile).log10() } else { (count.max(1) as f64).log10() };
        let points = points.iter().map(|(quantile, ms)| (nines(*quantile), *ms)).collect();
        Line { name: name.to_owned(), color, dashed: false, points }
    };
    vec![
        line("delivery from the intended time", BLUE, &latency.delivery_points, latency.delivery.count),
        line("answer to a publish", PURPLE, &latency.ack_points, latency.ack.count),
        line("fan-out: first to last hearer", GREEN, &latency.spread_points, latency.spread.count),
    ]
}

fn deliveries(report: &Report) -> Vec<Line> {
    let hearers = report.asked.deliveries_per_s / report.asked.rate_per_s.max(f64::MIN_POSITIVE);
    let mut lines = offered(report, hearers);
    lines.extend([
        line(report, "heard", GREEN, |second| Some(per_s(second, second.received))),
        dashed(line(report, "written by the server", PURPLE, |second| metric(second, "throng_deliveries_total"))),
    ]);
    lines
}

fn messages(report: &Report) -> Vec<Line> {
    let mut lines = offered(report, 1.0);
    lines.extend([
        line(report, "sent", BLUE, |second| Some(per_s(second, second.sent))),
        line(report, "refused", RED, |second| (second.refused > 0).then_some(second.refused as f64)),
    ]);
    lines
}

/// What each phase asked for, `times` over: a line each, all of one name.
fn offered(report: &Report, times: f64) -> Vec<Line> {
    let line = |phase: &PhaseReport| {
        let (rate, slope) = (phase.stage.rate * times, phase.stage.slope);
        let points = vec![(phase.window_s.0, rate * slope.from), (phase.window_s.1, rate * slope.to)];
        Line { name: "asked".to_owned(), color: GREY, dashed: true, points }
    };
    report.phases.iter().map(line).collect()
}

fn connections(report: &Report) -> Vec<Line> {
    vec![
        line(report, "in their rooms", BLUE, |second| Some(second.open as f64)),
        dashed(line(report, "rows of the server", PURPLE, |second| metric(second, "throng_connections"))),
        line(report, "cut", RED, |second| (second.cut > 0).then_some(second.cut as f64)),
    ]
}

fn cpu(report: &Report) -> Vec<Line> {
    let mut lines = vec![
        line(report, "generator", GREY, |second| Some(second.generator_cores / second.span_s.max(1) as f64)),
        dashed(line(report, "server, all threads", RED, |second| seen(second)?.cores)),
    ];
    let mut shards: Vec<&String> = report
        .timeline
        .iter()
        .filter_map(seen)
        .flat_map(|server| server.threads.keys().filter(|name| name.starts_with("shard-")))
        .collect();
    shards.sort_by_key(|name| (name.len(), *name));
    shards.dedup();
    for (name, color) in shards.into_iter().zip(SHARDS.into_iter().cycle()) {
        lines.push(line(report, name, color, |second| seen(second)?.threads.get(name).copied()));
    }
    lines
}

fn per_s(second: &Second, count: u64) -> f64 {
    count as f64 / second.span_s.max(1) as f64
}

pub(super) fn seen(second: &Second) -> Option<&ServerSecond> {
    second.server.as_ref()
}

pub(super) fn metric(second: &Second, name: &str) -> Option<f64> {
    seen(second)?.metrics.get(name).copied()
}
