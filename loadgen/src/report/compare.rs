//! `throng-load report`: one result, or two beside each other, and whether the second got worse.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::{Report, SCHEMA, Verdict};
use crate::nearest::or_nearest;
use crate::outputs::Outputs;
use crate::say::answer;

#[derive(Args, Clone)]
pub(crate) struct ReportArgs {
    /// A result of `run --json FILE` (or of `find`, or one kept by tuning/measure).
    pub(crate) first: PathBuf,
    /// Another, to compare with the first.
    pub(crate) second: Option<PathBuf>,
    /// How much worse the second may be: `p99=10%`; several with commas. Exit code 1 where it is worse, 2 where its proof failed
    /// or it could not be judged, 3 where the generator was its limit.
    #[arg(long, env = "THRONG_LOAD_MAX_REGRESS", value_delimiter = ',', requires = "second")]
    pub(crate) max_regress: Vec<Regress>,
    /// Writes it there as one HTML file that needs nothing else.
    #[arg(long, env = "THRONG_LOAD_HTML")]
    pub(crate) html: Option<PathBuf>,
}

/// A figure and how many percent worse it may be.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Regress {
    figure: &'static Figure,
    percent: f64,
}

/// Something two runs can be compared by.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) key: &'static str,
    pub(super) name: &'static str,
    more_is_better: bool,
    of: fn(&Report) -> Option<f64>,
}

impl PartialEq for Figure {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

macro_rules! figures {
    ($($key:literal $name:literal $better:ident |$report:ident| $of:expr,)*) => {
        /// All of them, in the order of the table.
        pub(super) static FIGURES: &[Figure] = &[$(
            Figure { key: $key, name: $name, more_is_better: stringify!($better).len() == 4, of: |$report| $of },
        )*];
    };
}

figures! {
    "sent" "messages/s sent" more |report| Some(report.rates.sent_per_s),
    "deliveries" "deliveries/s" more |report| Some(report.rates.deliveries_per_s),
    "p50" "delivery p50, ms" fewer |report| heard(report, report.latency.delivery.p50_ms),
    "p90" "delivery p90, ms" fewer |report| heard(report, report.latency.delivery.p90_ms),
    "p99" "delivery p99, ms" fewer |report| heard(report, report.latency.delivery.p99_ms),
    "p99.9" "delivery p99.9, ms" fewer |report| heard(report, report.latency.delivery.p999_ms),
    "max" "delivery max, ms" fewer |report| heard(report, report.latency.delivery.max_ms),
    "ack.p99" "ack p99, ms" fewer |report| report.latency.ack.known_p99_ms(),
    "open.p99" "coming in p99, ms" fewer |report| Some(report.opened.latency.p99_ms),
    "connect.p99" "connect p99, ms" fewer |report| report.opened.steps.connect.known_p99_ms(),
    "upgrade.p99" "upgrade p99, ms" fewer |report| report.opened.steps.upgrade.known_p99_ms(),
    "spread.p99" "fan-out spread p99, ms" fewer |report| report.latency.spread.known_p99_ms(),
    "connects" "connections/s opened" more |report| Some(report.opened.per_s),
    "cpu" "server CPU s per million deliveries" fewer |report| report.server.as_ref()?.cpu_s_per_million_deliveries,
    "memory" "server bytes a connection" fewer |report| Some(report.server.as_ref()?.bytes_per_connection_joined),
}

fn heard(report: &Report, ms: f64) -> Option<f64> {
    (report.latency.delivery.count > 0).then_some(ms)
}

impl FromStr for Regress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?}: write a figure and a share of it, like `p99=10%`");
        let (key, percent) = text.split_once('=').ok_or_else(wrong)?;
        let percent: f64 =
            percent.trim().strip_suffix('%').and_then(|percent| percent.parse().ok()).ok_or_else(wrong)?;
        if key.trim() == "join.p99" {
            return Err("join.p99: coming in, all its steps, is `open.p99`".to_owned());
        }
        let figure = FIGURES.iter().find(|figure| figure.key == key.trim());
        let names = FIGURES.iter().map(|figure| figure.key);
        let figure = figure.ok_or_else(|| format!("{key:?} is no figure of a report{}", or_nearest(key, names)))?;
        if percent.is_finite() && percent >= 0.0 { Ok(Self { figure, percent }) } else { Err(wrong()) }
    }
}

impl Figure {
    pub(super) fn of(&self, report: &Report) -> Option<f64> {
        (self.of)(report)
    }

    /// By how many percent `to` is worse than `from`; negative when better.
    pub(super) fn worse_percent(&self, from: f64, to: f64) -> f64 {
        let change = (to - from) / from.abs().max(f64::MIN_POSITIVE) * 100.0;
        if self.more_is_better { -change } else { change }
    }
}

/// Prints, writes, compares; gives the exit code.
pub(crate) fn command(args: &ReportArgs) -> Result<u8> {
    let outputs = Outputs::checked(None, args.html.as_deref())?;
    let first = read(&args.first)?;
    let Some(path) = &args.second else {
        outputs.publish(&first, Some(&first))?;
        return Ok(0);
    };
    let second = read(path)?;
    if let Some(html) = &args.html {
        super::write_html(html, &[&first, &second])?;
    }
    let (verdict, worse) = judge(&first, &second, &args.max_regress);
    answer!("{}", table(&first, &second).trim_end());
    worse.iter().for_each(|sentence| answer!("WORSE      {sentence}"));
    Ok(verdict.exit_code())
}

/// A report by itself, or inside of what `find` and tuning/measure keep.
fn read(path: &Path) -> Result<Report> {
    let place = path.display();
    let text = fs::read_to_string(path).with_context(|| place.to_string())?;
    let mut value: serde_json::Value = serde_json::from_str(&text).with_context(|| format!("{place} is no JSON"))?;
    if let Some(inside) = value.get_mut("report").filter(|inside| inside.is_object()) {
        value = inside.take();
    }
    let report: Report = serde_json::from_value(value)
        .with_context(|| format!("{place} holds no report of a run (`run --json FILE`)"))?;
    ensure!(
        report.schema <= SCHEMA,
        "{place} has the form {} and this program knows up to {SCHEMA}: a newer throng-load wrote it",
        report.schema
    );
    Ok(report)
}

/// What the second is worse in than allowed, a sentence each.
fn regressed(first: &Report, second: &Report, allowed: &[Regress]) -> Vec<String> {
    let mut worse = Vec::new();
    for Regress { figure, percent } in allowed {
        match (figure.of(first), figure.of(second)) {
            (Some(from), Some(to)) if figure.worse_percent(from, to) > *percent => worse.push(format!(
                "{} went from {from:.2} to {to:.2}: {:.1} % worse, {percent} % allowed",
                figure.name,
                figure.worse_percent(from, to)
            )),
            (Some(_), Some(_)) => {}
            (None, _) | (_, None) => worse.push(format!("{} is not known of both: it cannot be compared", figure.name)),
        }
    }
    worse
}

/// What the second run is beside the first, where that was asked, and why: one whose proof failed or that could not be judged is
/// no better for the other's having failed, too; figures of a generator at its own limit are not the server's.
pub(super) fn judge(first: &Report, second: &Report, allowed: &[Regress]) -> (Verdict, Vec<String>) {
    let mut worse = regressed(first, second, allowed);
    if allowed.is_empty() {
        return (Verdict::Passed, worse);
    }
    let why = second.reasons.join("; ");
    // Slow readers and guests have proofs of their own: the verdict knows of all of them.
    let verdict = match second.verdict {
        Verdict::ProofFailed => {
            worse.push(why);
            Verdict::ProofFailed
        }
        Verdict::Unknown => {
            worse.push(format!("the second cannot be judged: {why}"));
            Verdict::Unknown
        }
        Verdict::GeneratorLimited => {
            worse.push(format!("the second's figures are not the server's: {why}"));
            Verdict::GeneratorLimited
        }
        Verdict::Passed | Verdict::SloMissed if worse.is_empty() => Verdict::Passed,
        Verdict::Passed | Verdict::SloMissed => Verdict::SloMissed,
    };
    (verdict, worse)
}

type Of = fn(&Report) -> f64;

fn table(first: &Report, second: &Report) -> String {
    let mut text = String::new();
    let mut line = |name: &str, a: String, b: String, change: String| {
        writeln!(text, "{name:<38} {a:>16} {b:>16} {change:>10}").unwrap_or_default();
    };
    let name = |report: &Report| report.asked.scenario.clone().unwrap_or_else(|| "run".to_owned());
    line("", name(first), name(second), "change".to_owned());
    line("verdict", first.verdict.words().to_owned(), second.verdict.words().to_owned(), String::new());
    let asked: [(&str, Of); 4] = [
        ("connections asked", |report| f64::from(report.asked.connections)),
        ("connections that came in", |report| f64::from(report.seated())),
        ("room size", |report| f64::from(report.asked.room_size)),
        ("messages/s asked", |report| report.asked.rate_per_s),
    ];
    for (name, of) in asked {
        line(name, format!("{:.0}", of(first)), format!("{:.0}", of(second)), String::new());
    }
    for figure in FIGURES {
        let (Some(from), Some(to)) = (figure.of(first), figure.of(second)) else { continue };
        let change = (to - from) / from.abs().max(f64::MIN_POSITIVE) * 100.0;
        line(figure.name, format!("{from:.2}"), format!("{to:.2}"), format!("{change:+.1} %"));
    }
    let faults = |report: &Report| report.proof.faults.values().sum::<u64>().to_string();
    line("faults", faults(first), faults(second), String::new());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_names_a_figure_and_a_share() {
        assert_eq!(
            "p99=10%".parse::<Regress>().map(|regress| (regress.figure.key, regress.percent)),
            Ok(("p99", 10.0))
        );
        for (bad, word) in [
            ("p99", "p99=10%"),
            ("p99=10", "p99=10%"),
            ("p98=1%", "did you mean `p9"),
            ("p99=-1%", "p99=10%"),
            ("join.p99=5%", "`open.p99`"),
        ] {
            assert!(bad.parse::<Regress>().is_err_and(|said| said.contains(word)), "{bad}");
        }
    }

    #[test]
    fn worse_is_slower_or_fewer() {
        let of = |key: &str| FIGURES.iter().find(|figure| figure.key == key).expect("a figure");
        assert_eq!(of("p99").worse_percent(100.0, 125.0), 25.0);
        assert_eq!(of("p99").worse_percent(100.0, 80.0), -20.0);
        assert_eq!(of("deliveries").worse_percent(100.0, 80.0), 20.0);
    }
}
