//! What is asked of a run beside the proof: `p99<100ms,lost=0`.
//!
//! Promises: a quantile is judged only by enough messages to have one beyond it; with fewer the answer is "unknown",
//! never "held". Loss and every other fault always fail a run: to ask for their absence is allowed and changes nothing.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::latency::Quantiles;
use crate::nearest::or_nearest;
use crate::proof::Fault;
use crate::steady::Steadiness;
use crate::timeline::Second;

/// All conditions of a run, of which each must hold.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Slo(Vec<Condition>);

#[derive(Clone, PartialEq, Debug)]
enum Condition {
    /// A quantile of a latency is below so many milliseconds.
    Below { what: What, quantile: Quantile, ms: f64 },
    /// None of a fault; always so.
    No(Fault),
    /// The server refused no message.
    NoRefusal,
    /// Between the first and the last quarter of the time something grew by less than so many percent.
    Grows { what: Grown, percent: f64 },
    /// A counter of the server did not move.
    Still(Counter),
}

/// What must not grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Grown {
    Memory,
    P99,
}

/// What must not move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Counter {
    Closes,
    Refusals,
}

/// Which latency.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Delivery,
    Ack,
    /// Coming in: connect, upgrade, welcome and join together.
    Open,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Quantile {
    P50,
    P90,
    P99,
    P999,
    Max,
}

/// A latency that must be below so many milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    what: What,
    quantile: Quantile,
    pub(crate) ms: f64,
}

/// The figures that conditions are held against.
pub(crate) struct Figures<'a> {
    pub(crate) delivery: &'a Quantiles,
    pub(crate) ack: &'a Quantiles,
    pub(crate) open: &'a Quantiles,
    pub(crate) refused: u64,
    /// Gathered where it is asked.
    pub(crate) steady: Option<&'a Steadiness>,
}

/// What came of the conditions, each a sentence.
#[derive(Default, PartialEq, Debug)]
pub(crate) struct Outcome {
    /// Latencies, which a generator that was late itself may have made.
    pub(crate) missed: Vec<String>,
    /// Latencies of coming in, which had its own time.
    pub(crate) missed_coming_in: Vec<String>,
    /// What nobody's lateness explains: what the server refused or closed, and its memory.
    pub(crate) missed_in_any_case: Vec<String>,
    /// Too few messages to say.
    pub(crate) unknown: Vec<String>,
}

impl Slo {
    pub(crate) fn p99_ms(ms: f64) -> Self {
        Self(vec![Condition::Below { what: What::Delivery, quantile: Quantile::P99, ms }])
    }

    /// Whether nothing was asked that could be missed.
    pub(crate) fn is_empty(&self) -> bool {
        !self.0.iter().any(|condition| !matches!(condition, Condition::No(_)))
    }

    /// What 99 of 100 deliveries must be below, if that is asked.
    pub(crate) fn p99_bound_ms(&self) -> Option<f64> {
        self.0.iter().find_map(|condition| match condition {
            Condition::Below { what: What::Delivery, quantile: Quantile::P99, ms } => Some(*ms),
            Condition::Below { .. }
            | Condition::No(_)
            | Condition::NoRefusal
            | Condition::Grows { .. }
            | Condition::Still(_) => None,
        })
    }

    /// The latencies that have a bound.
    pub(crate) fn bounds(&self) -> impl Iterator<Item = Bound> {
        self.0.iter().filter_map(|condition| match condition {
            Condition::Below { what, quantile, ms } => Some(Bound { what: *what, quantile: *quantile, ms: *ms }),
            Condition::No(_) | Condition::NoRefusal | Condition::Grows { .. } | Condition::Still(_) => None,
        })
    }

    /// Whether the end of a phase has to be held against its begin.
    pub(crate) fn asks_steadiness(&self) -> bool {
        self.0.iter().any(|condition| matches!(condition, Condition::Grows { .. } | Condition::Still(_)))
    }

    /// Whether the server's memory must be read while it works.
    pub(crate) fn asks_memory(&self) -> bool {
        self.0.iter().any(|condition| matches!(condition, Condition::Grows { what: Grown::Memory, .. }))
    }

    /// These conditions and those.
    pub(crate) fn and(mut self, more: &Self) -> Self {
        self.0.extend(more.0.iter().filter(|condition| !self.0.contains(condition)).cloned().collect::<Vec<_>>());
        self
    }

    pub(crate) fn judge(&self, figures: &Figures<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        for condition in &self.0 {
            match condition {
                Condition::Below { what, quantile, ms } => {
                    let quantiles = what.of(figures);
                    let (value, needed) = (quantile.of(quantiles), quantile.samples_needed());
                    let name = what.name(*quantile);
                    if quantiles.count < needed {
                        outcome.unknown.push(format!(
                            "{name} cannot be told from {} samples: at least {needed} are needed",
                            quantiles.count
                        ));
                    } else if value > *ms {
                        let missed = match what {
                            What::Open => &mut outcome.missed_coming_in,
                            What::Delivery | What::Ack => &mut outcome.missed,
                        };
                        missed.push(format!("{name} is {value:.1} ms, asked were {ms} ms"));
                    }
                }
                Condition::NoRefusal if figures.refused > 0 => {
                    let sentence = format!("{} messages were refused, asked was none", figures.refused);
                    outcome.missed_in_any_case.push(sentence);
                }
                Condition::Grows { what, percent } => what.judge(*percent, figures, &mut outcome),
                Condition::Still(counter) => counter.judge(figures, &mut outcome),
                Condition::NoRefusal | Condition::No(_) => {}
            }
        }
        outcome
    }
}

impl Bound {
    pub(crate) fn name(&self) -> String {
        self.what.name(self.quantile)
    }

    /// Whether it is held in a phase: coming in is over by then.
    pub(crate) fn is_of_phases(&self) -> bool {
        self.what != What::Open
    }

    /// What it was in one second by itself; none: nothing was measured in it.
    pub(crate) fn of(&self, second: &Second) -> Option<f64> {
        let quantiles = match self.what {
            What::Delivery => &second.delivery,
            What::Ack => &second.ack,
            What::Open => &second.opening,
        };
        (quantiles.count > 0).then(|| self.quantile.of(quantiles))
    }
}

impl What {
    fn of<'a>(self, figures: &'a Figures<'_>) -> &'a Quantiles {
        match self {
            Self::Delivery => figures.delivery,
            Self::Ack => figures.ack,
            Self::Open => figures.open,
        }
    }

    fn name(self, quantile: Quantile) -> String {
        match self {
            Self::Delivery => quantile.name().to_owned(),
            Self::Ack => format!("ack.{}", quantile.name()),
            Self::Open => format!("open.{}", quantile.name()),
        }
    }
}

impl Grown {
    const ALL: [Self; 2] = [Self::Memory, Self::P99];

    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory.growth",
            Self::P99 => "p99.growth",
        }
    }

    fn judge(self, allowed: f64, figures: &Figures<'_>, outcome: &mut Outcome) {
        let (growth, needs) = match self {
            Self::Memory => (figures.steady.and_then(Steadiness::memory), "--server-pid or --admin"),
            Self::P99 => (figures.steady.and_then(Steadiness::p99), "100 deliveries in the first and the last quarter"),
        };
        let name = self.name();
        let missed = match self {
            Self::Memory => &mut outcome.missed_in_any_case,
            Self::P99 => &mut outcome.missed,
        };
        match growth {
            Some(growth) if growth.percent >= allowed => missed.push(format!(
                "{name} is {:.1} %, asked was less than {allowed} %: {} from the first to the last quarter",
                growth.percent, growth.words
            )),
            Some(_) => {}
            None => outcome.unknown.push(format!("{name} cannot be told: it needs {needs}")),
        }
    }
}

impl Counter {
    const ALL: [Self; 2] = [Self::Closes, Self::Refusals];

    fn name(self) -> &'static str {
        match self {
            Self::Closes => "server.closes",
            Self::Refusals => "server.refusals",
        }
    }

    fn judge(self, figures: &Figures<'_>, outcome: &mut Outcome) {
        let name = self.name();
        let moved = figures.steady.and_then(|steady| match self {
            Self::Closes => Some((steady.closes?, steady.closes_text()?)),
            Self::Refusals => Some((steady.refusals?, steady.refusals_text()?)),
        });
        match moved {
            Some((0, _)) => {}
            Some((_, counted)) => outcome.missed_in_any_case.push(format!("{name} moved by {counted}, asked was 0")),
            None => outcome.unknown.push(format!(
                "{name} cannot be told: it needs --admin, and its answers just before and behind the measured time"
            )),
        }
    }
}

impl Quantile {
    const ALL: [Self; 5] = [Self::P50, Self::P90, Self::P99, Self::P999, Self::Max];

    fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::Max => "max",
        }
    }

    fn of(self, quantiles: &Quantiles) -> f64 {
        match self {
            Self::P50 => quantiles.p50_ms,
            Self::P90 => quantiles.p90_ms,
            Self::P99 => quantiles.p99_ms,
            Self::P999 => quantiles.p999_ms,
            Self::Max => quantiles.max_ms,
        }
    }

    /// So many that one lies beyond it.
    fn samples_needed(self) -> u64 {
        match self {
            Self::P50 => 2,
            Self::P90 => 10,
            Self::P99 => 100,
            Self::P999 => 1_000,
            Self::Max => 1,
        }
    }
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let conditions = text.split([',', '&']).map(str::trim).filter(|part| !part.is_empty());
        let conditions: Vec<Condition> = conditions.map(condition).collect::<Result<_, _>>()?;
        if conditions.is_empty() { Err("conditions like `p99<100ms,lost=0`".to_owned()) } else { Ok(Self(conditions)) }
    }
}

fn condition(text: &str) -> Result<Condition, String> {
    if let Some((name, bound)) = text.split_once('<') {
        if let Some(what) = Grown::ALL.into_iter().find(|grown| grown.name() == name.trim()) {
            return Ok(Condition::Grows { what, percent: percent(bound.trim())? });
        }
        let (what, quantile) = match name.trim().split_once('.') {
            Some(("ack", quantile)) => (What::Ack, quantile),
            Some(("open", quantile)) => (What::Open, quantile),
            Some(("join", quantile)) => {
                return Err(format!(
                    "{name:?}: coming in, from the ramp's wish to the seat, is `open.{quantile}`; the join is its last step only"
                ));
            }
            Some(_) | None => (What::Delivery, name.trim()),
        };
        let found = Quantile::ALL.into_iter().find(|known| known.name() == quantile);
        let quantile = found.ok_or_else(|| {
            let grown = Grown::ALL.iter().map(|known| known.name());
            let names = Quantile::ALL.iter().map(|known| known.name()).chain(grown);
            format!(
                "{quantile:?} is no quantile{} (for the answer to a publish `ack.p99`, to come in `open.p99`)",
                or_nearest(quantile, names)
            )
        })?;
        return Ok(Condition::Below { what, quantile, ms: milliseconds(bound.trim())? });
    }
    let Some((name, "0")) = text.split_once('=').map(|(name, number)| (name.trim(), number.trim())) else {
        return Err(format!("{text:?} is no condition: write `p99<100ms`, or `lost=0` (of a fault none is allowed)"));
    };
    if name == "refused" {
        return Ok(Condition::NoRefusal);
    }
    if let Some(counter) = Counter::ALL.into_iter().find(|counter| counter.name() == name) {
        return Ok(Condition::Still(counter));
    }
    let counters = Counter::ALL.iter().map(|counter| counter.name());
    let names = Fault::ALL.iter().map(|fault| fault.name()).chain(["refused"]).chain(counters);
    let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name);
    fault.map(Condition::No).ok_or_else(|| format!("{name:?} is nothing that is counted{}", or_nearest(name, names)))
}

/// `10%`.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    number
        .filter(|percent| percent.is_finite() && *percent > 0.0)
        .ok_or_else(|| format!("{text:?} is no growth: write `10%`"))
}

/// `100ms`, `1.5s`, `800us`.
fn milliseconds(text: &str) -> Result<f64, String> {
    let units = [("ms", 1.0), ("us", 1e-3), ("s", 1e3)];
    let found = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim(), factor)));
    let value = found.and_then(|(number, factor)| Some(number.parse::<f64>().ok()? * factor));
    value
        .filter(|ms| ms.is_finite() && *ms > 0.0)
        .ok_or_else(|| format!("{text:?} is no time: write `100ms`, `1.5s` or `800us`"))
}

impl Display for Slo {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (at, condition) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { "," })?;
            match condition {
                Condition::Below { what, quantile, ms } => write!(f, "{}<{ms}ms", what.name(*quantile))?,
                Condition::No(fault) => write!(f, "{}=0", fault.name())?,
                Condition::NoRefusal => f.write_str("refused=0")?,
                Condition::Grows { what, percent } => write!(f, "{}<{percent}%", what.name())?,
                Condition::Still(counter) => write!(f, "{}=0", counter.name())?,
            }
        }
        Ok(())
    }
}

impl From<Slo> for String {
    fn from(slo: Slo) -> Self {
        slo.to_string()
    }
}

impl TryFrom<String> for Slo {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // As reports say it from before `open.` had its name.
        let text = text.replace("join.", "open.");
        if text.is_empty() { Ok(Self::default()) } else { text.parse() }
    }
}

#[cfg(test)]
mod tests;
