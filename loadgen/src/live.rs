//! What a run looks like while it goes on: a panel in a terminal, a line a second anywhere else.
//!
//! Promises: writes to standard error only, at most once a second; says nothing that the report will not.

use std::collections::VecDeque;
use std::io::{IsTerminal, stderr};

use console::style;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::orders::Progress;
use crate::say::tell;
use crate::stage::Stage;
use crate::sys::SECOND_NS;
use crate::timeline::{Second, Timeline};

/// The view of one run.
pub(crate) struct Live {
    origin_ns: u64,
    /// When it is to be shown again: shortly after whole seconds since the origin.
    at_ns: u64,
    before: Progress,
    panel: Option<Panel>,
}

/// The lines of a terminal.
struct Panel {
    lines: MultiProgress,
    phase: ProgressBar,
    people: ProgressBar,
    traffic: ProgressBar,
    latency: ProgressBar,
    cost: ProgressBar,
    connections: u32,
    /// The phase under way: where it begins and ends.
    span_ns: Option<(u64, u64)>,
    p99_ms: VecDeque<f64>,
}

const HEARD_NS: u64 = 200_000_000;
/// Seconds of the little chart.
const SPARKS: usize = 40;

impl Live {
    /// `origin_ns` is the run's zero; the panel is for people who look at a terminal.
    pub(crate) fn new(origin_ns: u64, now_ns: u64, connections: u32) -> Self {
        let panel = stderr().is_terminal().then(|| Panel::new(connections));
        Self { origin_ns, at_ns: next(origin_ns, now_ns), before: Progress::default(), panel }
    }

    /// When something is to be shown next.
    pub(crate) fn at_ns(&self) -> u64 {
        self.at_ns
    }

    /// A phase begins; times of the monotonic clock.
    pub(crate) fn begin(&mut self, stage: &Stage, from_ns: u64, to_ns: u64) {
        if let Some(panel) = &mut self.panel {
            panel.phase.set_prefix(stage.name.clone());
            panel.span_ns = Some((from_ns, to_ns));
        }
    }

    /// Says something once, above what is shown.
    pub(crate) fn say(&self, sentence: &str) {
        match &self.panel {
            // A terminal that is gone has no reader.
            Some(panel) => panel.lines.println(sentence).unwrap_or_default(),
            None => tell!("{sentence}"),
        }
    }

    /// Shows what is known, if it is time to.
    pub(crate) fn show(&mut self, now_ns: u64, timeline: &Timeline) {
        if now_ns < self.at_ns {
            return;
        }
        self.at_ns = next(self.origin_ns, now_ns);
        let totals = timeline.totals();
        let before = std::mem::replace(&mut self.before, totals);
        let last = timeline.last();
        match &mut self.panel {
            Some(panel) => panel.show(now_ns, &totals, &before, last.as_ref()),
            None => tell!("{}", line((now_ns - self.origin_ns) as f64 / 1e9, &totals, &before, last.as_ref())),
        }
    }
}

impl Drop for Live {
    /// The panel makes room for the report.
    fn drop(&mut self) {
        if let Some(panel) = &self.panel {
            panel.lines.clear().unwrap_or_default();
        }
    }
}

/// The workers speak at whole seconds since the origin; a little later everybody has been heard.
fn next(origin_ns: u64, now_ns: u64) -> u64 {
    let since_ns = (now_ns - origin_ns).saturating_sub(HEARD_NS);
    origin_ns + (since_ns / SECOND_NS + 1) * SECOND_NS + HEARD_NS
}

fn line(s: f64, all: &Progress, before: &Progress, last: Option<&Second>) -> String {
    let latency = last.map(|second| &second.delivery).filter(|delivery| delivery.count > 0);
    let latency = latency.map_or_else(String::new, |delivery| format!("  p99 {:.1} ms", delivery.p99_ms));
    format!(
        "{s:>6.1} s  open {} ({:+})  sent {} ({}/s)  heard {} ({}/s){latency}  refused {}  cut {}  faults {}",
        all.open,
        all.open as i64 - before.open as i64,
        all.sent,
        all.sent - before.sent,
        all.received,
        all.received - before.received,
        all.refused,
        all.cut,
        all.faults
    )
}

impl Panel {
    fn new(connections: u32) -> Self {
        let lines = MultiProgress::new();
        let plain = |name: &'static str| {
            let bar = lines.add(ProgressBar::new_spinner());
            bar.set_style(text_style("{prefix:>10.bold}  {msg}"));
            bar.set_prefix(name);
            bar
        };
        let phase = lines.add(ProgressBar::new(1_000));
        phase.set_style(text_style("{prefix:>10.bold.cyan}  [{bar:40.cyan/dim}] {msg}").progress_chars("━╸─"));
        phase.set_prefix("opening");
        let [people, traffic, latency, cost] = ["people", "traffic", "latency", "cost"].map(plain);
        Self {
            phase,
            people,
            traffic,
            latency,
            cost,
            lines,
            connections,
            span_ns: None,
            p99_ms: VecDeque::with_capacity(SPARKS),
        }
    }

    fn show(&mut self, now_ns: u64, all: &Progress, before: &Progress, last: Option<&Second>) {
        let (done, left) = match self.span_ns {
            Some((from_ns, to_ns)) => {
                let passed = now_ns.saturating_sub(from_ns) as f64 / to_ns.saturating_sub(from_ns).max(1) as f64;
                let left = to_ns.saturating_sub(now_ns) as f64 / 1e9;
                (passed, if left > 0.0 { format!("{left:.0} s to go") } else { "waiting for what is owed".to_owned() })
            }
            None => {
                (all.open as f64 / f64::from(self.connections.max(1)), format!("{} of {}", all.open, self.connections))
            }
        };
        self.phase.set_position((done.min(1.0) * 1e3) as u64);
        self.phase.set_message(left);
        let broken = |count: u64, name: &str| {
            let text = format!("{name} {count}");
            if count > 0 { style(text).red().bold().to_string() } else { style(text).green().to_string() }
        };
        self.people.set_message(format!(
            "{} open ({:+}/s)   {}   {}",
            all.open,
            all.open as i64 - before.open as i64,
            broken(all.cut, "cut"),
            broken(all.faults, "faults")
        ));
        self.traffic.set_message(format!(
            "{}/s sent   {}/s heard   {} refused",
            all.sent - before.sent,
            all.received - before.received,
            all.refused
        ));
        let Some(second) = last else { return };
        self.show_latency(second);
        let cores = second.server.as_ref().and_then(|server| server.cores);
        let server = cores.map_or_else(String::new, |cores| format!("   server {cores:.2} cores"));
        self.cost.set_message(format!(
            "generator {:.2} cores, busiest worker {:.0} %, sends late by {:.1} ms at p99{server}",
            second.generator_cores,
            second.busiest_worker * 100.0,
            second.lateness_p99_ms
        ));
    }

    fn show_latency(&mut self, second: &Second) {
        let delivery = &second.delivery;
        if delivery.count == 0 {
            return;
        }
        if self.p99_ms.len() == SPARKS {
            self.p99_ms.pop_front();
        }
        self.p99_ms.push_back(delivery.p99_ms);
        self.latency.set_message(format!(
            "p50 {:.1}   p90 {:.1}   p99 {:.1}   max {:.1} ms   {} p99 by second",
            delivery.p50_ms,
            delivery.p90_ms,
            delivery.p99_ms,
            delivery.max_ms,
            style(sparks(self.p99_ms.make_contiguous())).cyan()
        ));
    }
}

/// The styles of this file are constants, so they are right or a test fails.
fn text_style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is a constant")
}

/// A chart of one line, from nothing to the greatest.
fn sparks(values: &[f64]) -> String {
    let greatest = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let steps = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let step = |value: &f64| steps[((value / greatest * 8.0) as usize).min(7)];
    values.iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::ServerSecond;

    #[test]
    fn a_line_says_what_passed_in_the_second() {
        let all = Progress { open: 10, sent: 30, received: 90, cut: 1, refused: 2, faults: 3 };
        let before = Progress { open: 12, sent: 10, received: 40, ..Progress::default() };
        let said = line(2.0, &all, &before, None);
        assert_eq!(said, "   2.0 s  open 10 (-2)  sent 30 (20/s)  heard 90 (50/s)  refused 2  cut 1  faults 3");
    }

    #[test]
    fn sparks_rise_with_the_values() {
        assert_eq!(sparks(&[0.0, 4.0, 8.0]), "▁▅█");
        assert_eq!(sparks(&[]), "");
        assert_eq!(sparks(&[0.0]), "▁");
    }

    #[test]
    fn a_panel_can_be_drawn() {
        let mut panel = Panel::new(10);
        let all = Progress { open: 10, faults: 1, ..Progress::default() };
        let mut second = Second::default();
        (second.delivery.count, second.delivery.p99_ms) = (5, 7.0);
        second.server = Some(ServerSecond { cores: Some(1.25), ..ServerSecond::default() });
        panel.show(1, &all, &Progress::default(), Some(&second));
        assert_eq!(panel.phase.position(), 1_000);
        panel.span_ns = Some((0, 4));
        panel.show(1, &all, &Progress::default(), Some(&second));
        assert_eq!((panel.phase.position(), panel.p99_ms.len()), (250, 2));
        assert!(panel.latency.message().contains("p99 7.0"));
        assert!(panel.cost.message().contains("server 1.25 cores"));
    }

    #[test]
    fn each_second_is_shown_shortly_after_its_end() {
        assert_eq!(next(500, 500), 500 + SECOND_NS + HEARD_NS);
        assert_eq!(next(500, 500 + SECOND_NS), 500 + SECOND_NS + HEARD_NS);
        assert_eq!(next(500, 500 + SECOND_NS + HEARD_NS), 500 + 2 * SECOND_NS + HEARD_NS);
    }
}
