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
                        outcome.missed.push(format!("{name} is {value:.1} ms, asked were {ms} ms"));
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
mod tests {
    use super::*;

    fn quantiles(count: u64, p99_ms: f64) -> Quantiles {
        Quantiles { count, p50_ms: 1.0, p90_ms: 2.0, p99_ms, p999_ms: 2.0 * p99_ms, max_ms: 3.0 * p99_ms }
    }

    fn judged(slo: &str, delivery: &Quantiles, refused: u64) -> (usize, usize) {
        let (ack, open) = (quantiles(5, 9.0), quantiles(200, 40.0));
        let slo: Slo = slo.parse().expect("an SLO");
        let outcome = slo.judge(&Figures { delivery, ack: &ack, open: &open, refused, steady: None });
        (outcome.missed.len() + outcome.missed_in_any_case.len(), outcome.unknown.len())
    }

    #[test]
    fn conditions_are_written_as_they_are_read() {
        for text in [
            "p99<100ms,lost=0",
            "p99.9<1500ms",
            "max<0.8ms,ack.p50<2ms,open.p99<500ms,refused=0",
            "memory.growth<10%,p99.growth<100%,server.closes=0,server.refusals=0",
        ] {
            assert_eq!(text.parse::<Slo>().map(|slo| slo.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(
            "p99 < 1.5s & misordered=0".parse::<Slo>().map(|slo| slo.to_string()),
            Ok("p99<1500ms,misordered=0".to_owned())
        );
        assert!("lost=0".parse::<Slo>().is_ok_and(|slo| slo.is_empty()), "nothing that is not always asked");
    }

    #[test]
    fn a_report_from_before_open_had_its_name_is_read() {
        let read = Slo::try_from("p99<100ms,join.p99<1000ms".to_owned()).map(|slo| slo.to_string());
        assert_eq!(read, Ok("p99<100ms,open.p99<1000ms".to_owned()));
    }

    #[test]
    fn what_is_no_condition_is_told_what_may_have_been_meant() {
        for (bad, word) in [
            ("", "p99<100ms"),
            ("p99", "no condition"),
            ("p98<1ms", "p99"),
            ("p99<100", "100ms"),
            ("p99<-1ms", "no time"),
            ("lost=1", "none is allowed"),
            ("lots=0", "lost"),
            ("acks.p99<1ms", "ack.p99"),
            ("join.p99<1s", "`open.p99`"),
            ("memory.grwoth<10%", "did you mean `memory.growth`"),
            ("p99.growht<10%", "did you mean `p99.growth`"),
            ("memory.growth<10", "write `10%`"),
            ("server.close=0", "server.closes"),
            ("server.closes=1", "none is allowed"),
        ] {
            let said = bad.parse::<Slo>().expect_err(bad);
            assert!(said.contains(word), "{bad}: {said}");
        }
    }

    #[test]
    fn what_must_be_steady_holds_is_missed_or_cannot_be_told() {
        let slo: Slo = "memory.growth<10%,p99.growth<50%,server.closes=0,server.refusals=0".parse().expect("an SLO");
        assert!(slo.asks_steadiness() && slo.asks_memory() && !Slo::p99_ms(5.0).asks_steadiness());
        let judged = |steady: Option<&Steadiness>| {
            let some = quantiles(1_000, 5.0);
            slo.judge(&Figures { delivery: &some, ack: &some, open: &some, refused: 0, steady })
        };
        let calm = Steadiness {
            memory_bytes: Some((100 << 20, 109 << 20)),
            p99_ms: Some((10.0, 14.0)),
            closes: Some(0),
            refusals: Some(0),
            ..Steadiness::default()
        };
        assert_eq!(judged(Some(&calm)), Outcome::default());
        let closes_by = [("silent".to_owned(), 1), ("slow".to_owned(), 2)].into();
        for (one, word) in [
            (Steadiness { memory_bytes: Some((100 << 20, 111 << 20)), ..calm.clone() }, "memory.growth is 11.0 %"),
            (Steadiness { p99_ms: Some((10.0, 16.0)), ..calm.clone() }, "p99.growth is 60.0 %"),
            (
                Steadiness { closes: Some(3), closes_by, ..calm.clone() },
                "server.closes moved by 3 (silent 1, slow 2), asked was 0",
            ),
            (Steadiness { refusals: Some(1), ..calm }, "server.refusals moved by 1"),
        ] {
            let Outcome { missed, missed_in_any_case, unknown } = judged(Some(&one));
            let by_lateness = word.starts_with("p99");
            let (found, none) = if by_lateness { (missed, missed_in_any_case) } else { (missed_in_any_case, missed) };
            assert!(found.len() == 1 && found[0].starts_with(word), "{word}: {found:?}");
            assert!(none.is_empty() && unknown.is_empty(), "{word}: {none:?} {unknown:?}");
        }
        for nothing in [None, Some(&Steadiness::default())] {
            let Outcome { missed, missed_in_any_case, unknown } = judged(nothing);
            assert_eq!((missed.len(), missed_in_any_case.len(), unknown.len()), (0, 0, 4), "{unknown:?}");
        }
    }

    #[test]
    fn a_condition_holds_is_missed_or_cannot_be_told() {
        let many = quantiles(1_000, 50.0);
        assert_eq!(judged("p99<50ms,lost=0,refused=0", &many, 0), (0, 0));
        assert_eq!(judged("p99<49ms,p99.9<99ms,max<1s", &many, 0), (2, 0));
        assert_eq!(judged("refused=0", &many, 1), (1, 0));
        assert_eq!(judged("ack.p99<1s,open.p99<20ms", &many, 0), (1, 1), "five answers have no p99");
        assert_eq!(judged("p99<50ms,p50<5ms", &quantiles(99, 10.0), 0), (0, 1));
        let both = Slo::p99_ms(100.0).and(&Slo::p99_ms(100.0)).and(&"lost=0".parse().expect("an SLO"));
        assert_eq!(both.to_string(), "p99<100ms,lost=0");
    }
}
