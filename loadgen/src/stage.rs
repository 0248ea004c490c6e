//! A phase of a scenario: `name=ramp,times=0.1..1,duration=10`.
//!
//! Rates are multiples of the run's own, so that a scenario keeps its shape at any size. At its end every phase is
//! drained and proved by itself.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::args::{not_negative, positive};
use crate::nearest::or_nearest;
use crate::schedule::{Arrivals, Slope};
use crate::slo::Slo;

/// One phase, as it is written.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct StageSpec {
    pub(crate) name: String,
    /// Multiples of the run's rate at its begin and its end.
    pub(crate) times: (f64, f64),
    pub(crate) duration_s: f64,
    pub(crate) warmup_s: f64,
    pub(crate) arrivals: Option<Arrivals>,
    /// Replaces the run's own.
    pub(crate) slo: Option<Slo>,
    pub(crate) slow: u32,
}

/// One phase, decided.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Stage {
    pub(crate) name: String,
    /// Messages a second, on average.
    pub(crate) rate: f64,
    pub(crate) slope: Slope,
    pub(crate) warmup_s: f64,
    pub(crate) duration_s: f64,
    pub(crate) arrivals: Arrivals,
    pub(crate) slo: Slo,
    /// Connections beside the crowd that are slow to read while it lasts.
    #[serde(default)]
    pub(crate) slow: u32,
}

impl Stage {
    /// Messages a second at its busiest moment.
    pub(crate) fn peak_rate(&self) -> f64 {
        self.rate * self.slope.from.max(self.slope.to)
    }

    /// For people.
    pub(crate) fn describe(&self, hearers: f64) -> String {
        let Self { rate, slope, warmup_s, duration_s, .. } = *self;
        let rates = if slope == Slope::FLAT {
            format!("{rate:.1}")
        } else {
            format!("{:.1} to {:.1}", rate * slope.from, rate * slope.to)
        };
        let warmup = if warmup_s > 0.0 { format!(" after {warmup_s} s of warm-up") } else { String::new() };
        let slo = if self.slo.is_empty() { String::new() } else { format!(", {}", self.slo) };
        let slow = if self.slow > 0 { format!(", {} slow readers beside", self.slow) } else { String::new() };
        format!(
            "{duration_s} s{warmup}, {rates} messages/s in ({}), {:.0} deliveries/s out{slow}{slo}",
            self.arrivals.name(),
            rate * hearers
        )
    }
}

/// What a phase may say.
const KEYS: [&str; 7] = ["name", "times", "duration", "warmup", "arrivals", "slo", "slow"];
/// All of them come from one address.
const SLOW_MAX: u32 = 20_000;

impl FromStr for StageSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut stage = Self {
            name: "hold".to_owned(),
            times: (1.0, 1.0),
            duration_s: 0.0,
            warmup_s: 0.0,
            arrivals: None,
            slo: None,
            slow: 0,
        };
        for part in text.split(',').map(str::trim) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(format!("{part:?}: a phase is written like `name=spike,times=5,duration=10`"));
            };
            let (key, value) = (key.trim(), value.trim());
            let wrong = |why: String| format!("`{key}` of a phase must be {why}");
            match key {
                "name" if !value.is_empty() => value.clone_into(&mut stage.name),
                "name" => return Err(wrong("a word".to_owned())),
                "times" => stage.times = times(value).map_err(wrong)?,
                "duration" => stage.duration_s = positive(value).map_err(wrong)?,
                "warmup" => stage.warmup_s = not_negative(value).map_err(wrong)?,
                "arrivals" => {
                    let arrivals = clap::ValueEnum::from_str(value, false);
                    stage.arrivals = Some(arrivals.map_err(|_| wrong("`even` or `poisson`".to_owned()))?);
                }
                "slo" => stage.slo = Some(value.parse().map_err(wrong)?),
                "slow" => {
                    let slow = value.parse().ok().filter(|slow| *slow <= SLOW_MAX);
                    stage.slow = slow.ok_or_else(|| wrong(format!("a number of connections, at most {SLOW_MAX}")))?;
                }
                _ => return Err(format!("a phase has no `{key}`{}", or_nearest(key, KEYS.into_iter()))),
            }
        }
        if stage.duration_s == 0.0 {
            return Err(format!("the phase {:?} does not say its `duration`, in seconds", stage.name));
        }
        if stage.times.0 != stage.times.1 && stage.warmup_s > 0.0 {
            return Err(format!("the phase {:?} rises or falls: it has no `warmup`", stage.name));
        }
        Ok(stage)
    }
}

/// `5`, or `0.1..1` for a rate that goes from one to the other.
fn times(text: &str) -> Result<(f64, f64), String> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let ends = not_negative(from).and_then(|from| Ok((from, not_negative(to)?)));
    ends.ok()
        .filter(|(from, to)| from + to > 0.0)
        .ok_or_else(|| "a multiple of the rate like `5`, or `0.1..1` for one that rises".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_read_from_words() {
        let ramp: StageSpec = "name=ramp, times=0.1..1, duration=10, slo=p99<1s&refused=0".parse().expect("a phase");
        assert_eq!((ramp.name.as_str(), ramp.times, ramp.duration_s, ramp.warmup_s), ("ramp", (0.1, 1.0), 10.0, 0.0));
        assert_eq!(ramp.slo.map(|slo| slo.to_string()).as_deref(), Some("p99<1000ms,refused=0"));
        let hold: StageSpec = "duration=5,warmup=2,arrivals=poisson,slow=7".parse().expect("a phase");
        assert_eq!((hold.slow, ramp.slow), (7, 0));
        assert_eq!((hold.name.as_str(), hold.times, hold.arrivals), ("hold", (1.0, 1.0), Some(Arrivals::Poisson)));
    }

    #[test]
    fn what_is_no_phase_is_said() {
        for (bad, word) in [
            ("", "written like"),
            ("spike", "written like"),
            ("name=x", "duration"),
            ("duration=0", "above 0"),
            ("duration=1,time=3", "`times`"),
            ("duration=1,times=0", "multiple"),
            ("duration=1,times=a..b", "multiple"),
            ("duration=1,times=1..2,warmup=1", "warmup"),
            ("duration=1,slo=p98<1s", "p99"),
            ("duration=1,arrivals=late", "poisson"),
            ("duration=1,slow=20001", "at most"),
        ] {
            let said = bad.parse::<StageSpec>().expect_err(bad);
            assert!(said.contains(word), "{bad}: {said}");
        }
    }
}
