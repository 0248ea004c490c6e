//! What the server said of itself, shard by shard: a chart for each figure that ever was anything but nothing.
//!
//! Promises: the names are those of `/metrics`; where it tells no shards apart the figure is of all together, and says so.

use std::collections::BTreeSet;

use super::super::Report;
use super::series::{AMBER, Chart, GREY, Line, PURPLE, RED, SHARDS, line, metric, seen};
use crate::timeline::Second;

/// Lower than the others: there are many, below each other on one axis.
const LOW: u32 = 150;

/// A figure of each shard, and what stands for it where `/metrics` has it of all shards only.
struct Figure {
    title: &'static str,
    by_shard: &'static str,
    of_all: Option<&'static str>,
    /// What one of it is shown as.
    factor: f64,
}

const FIGURES: [Figure; 5] = [
    Figure { title: BUSY, by_shard: "throng_shard_busy_seconds_total", of_all: None, factor: 100.0 },
    Figure {
        title: "Server: deliveries a second written, by shard",
        by_shard: "throng_shard_deliveries_total",
        // It stands beside what was heard.
        of_all: None,
        factor: 1.0,
    },
    Figure {
        title: "Server: parcels waiting in inboxes, by shard",
        by_shard: "throng_shard_inbox_parcels",
        of_all: Some("throng_inbox_parcels"),
        factor: 1.0,
    },
    Figure {
        title: "Server: readers behind, by shard",
        by_shard: "throng_shard_readers_behind",
        of_all: Some("throng_readers_behind"),
        factor: 1.0,
    },
    Figure {
        title: "Server: ticks a second stretched by writing, by shard",
        by_shard: "throng_shard_ticks_stretched_total",
        of_all: Some("throng_ticks_stretched_total"),
        factor: 1.0,
    },
];
const BUSY: &str = "Server: time spent in turns, %, by shard";
const TROUBLE: &str = "Server: gaps, refusals, slow turns and late ticks a second, all shards";

pub(super) fn charts(report: &Report) -> Vec<Chart> {
    let chart = |title, log, lines| Chart { title, log, nines: false, height: LOW, lines };
    let turns = line(report, "99 of 100 turns took at most", AMBER, |second| seen(second)?.turn_p99_ms);
    let mut charts: Vec<Chart> =
        FIGURES.iter().map(|figure| chart(figure.title, false, figure.lines(report))).collect();
    charts.insert(1, chart("Server: turn time p99 (end of its bucket), ms, all shards", true, vec![turns]));
    charts.push(chart(TROUBLE, false, trouble(report)));
    charts.iter_mut().for_each(|chart| {
        // A chart of nothing is a sentence, see [`quiet`].
        if !chart.lines.iter().any(happened) {
            chart.lines.clear();
        }
    });
    charts
}

/// What was asked of the server and never happened, for a sentence; nothing where nothing was asked.
pub(super) fn quiet(report: &Report) -> Option<String> {
    let is_asked = |name: &str| report.timeline.iter().any(|second| metric(second, name).is_some());
    let never: Vec<&str> = [
        ("parcels waiting in inboxes", "throng_inbox_parcels"),
        ("readers behind", "throng_readers_behind"),
        ("ticks stretched", "throng_ticks_stretched_total"),
        ("late ticks", "throng_ticks_late_total"),
        ("slow turns", "throng_turns_slow_total"),
        ("gaps", "throng_gaps_total"),
        ("refusals", "throng_refusals_total"),
    ]
    .into_iter()
    .filter(|(_, name)| is_asked(name) && !happened(&line(report, "", GREY, |second| metric(second, name))))
    .map(|(words, _)| words)
    .collect();
    (!never.is_empty()).then(|| format!("Seen at no second of the server: {}.", never.join(", ")))
}

fn happened(line: &Line) -> bool {
    line.points.iter().any(|(_, value)| *value > 0.0)
}

impl Figure {
    fn lines(&self, report: &Report) -> Vec<Line> {
        let of_shards = |second: &'_ Second| {
            let shards = seen(second)?.shards.get(self.by_shard)?;
            Some(shards.keys().cloned().collect::<Vec<_>>())
        };
        let shards: BTreeSet<String> = report.timeline.iter().filter_map(of_shards).flatten().collect();
        let mut shards: Vec<String> = shards.into_iter().collect();
        shards.sort_by_key(|shard| (shard.len(), shard.clone()));
        if let (true, Some(of_all)) = (shards.is_empty(), self.of_all) {
            return vec![line(report, "all shards together", GREY, |second| metric(second, of_all))];
        }
        let of =
            |second: &Second, shard: &str| Some(seen(second)?.shards.get(self.by_shard)?.get(shard)? * self.factor);
        let lines = shards.iter().zip(SHARDS.into_iter().cycle());
        lines.map(|(shard, color)| line(report, format!("shard {shard}"), color, |second| of(second, shard))).collect()
    }
}

fn trouble(report: &Report) -> Vec<Line> {
    [
        ("gaps", "throng_gaps_total", RED),
        ("refusals", "throng_refusals_total", PURPLE),
        ("slow turns", "throng_turns_slow_total", GREY),
        ("late ticks", "throng_ticks_late_total", AMBER),
    ]
    .into_iter()
    .map(|(name, key, color)| line(report, name, color, |second| metric(second, key)))
    // What never happened needs no line.
    .filter(happened)
    .collect()
}
