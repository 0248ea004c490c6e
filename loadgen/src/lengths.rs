//! How long the texts of messages are: one length, or a distribution of them.
//!
//! Promises: a length follows from the run's seed, the publisher and the number of its message, so that whoever hears it
//! knows how long it has to be, and one byte too few is found like any other; every length lies between the marker's and
//! what three bytes of a string's header can say.

use std::fmt::{self, Display, Formatter};
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::mix::{Random, message_name, mix};
use crate::payload::{PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN};

/// Of all messages of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Lengths {
    Fixed(usize),
    /// Each length between them as often as any other.
    Uniform(usize, usize),
    /// The logarithm is normal around that of the median: many short ones, few long ones. Cut at both ends.
    LogNormal {
        median: f64,
        sigma: f64,
        max: usize,
    },
    /// Lengths and how often each comes beside the others.
    Weighted(Vec<(usize, u32)>),
}

const ALLOWED: RangeInclusive<usize> = PAYLOAD_BYTES_MIN..=PAYLOAD_BYTES_MAX;
/// More lengths than a histogram of real traffic has.
const WEIGHTED_MAX: usize = 64;

impl Lengths {
    /// The marker and nothing else.
    pub(crate) const SHORTEST: Self = Self::Fixed(PAYLOAD_BYTES_MIN);

    /// All of one length. Errors: what is allowed.
    pub(crate) fn fixed(bytes: usize) -> Result<Self, String> {
        let (least, most) = (ALLOWED.start(), ALLOWED.end());
        if ALLOWED.contains(&bytes) {
            Ok(Self::Fixed(bytes))
        } else {
            Err(format!("a message's text has {least} to {most} bytes (the marker alone takes {least}), not {bytes}"))
        }
    }

    /// Of message `seq` of `publisher`.
    pub(crate) fn of(&self, seed: u64, publisher: u32, seq: u32) -> usize {
        if let Self::Fixed(bytes) = self {
            return *bytes;
        }
        let mut random = Random::new(mix(seed) ^ message_name(publisher, seq));
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::Uniform(least, most) => least + random.below(most - least + 1),
            Self::LogNormal { .. } => {
                // Box and Muller's.
                let radius = (-2.0 * random.fraction().ln()).sqrt();
                self.at(radius * (std::f64::consts::TAU * random.fraction()).cos()) as usize
            }
            Self::Weighted(lengths) => {
                let mut place = random.below(lengths.iter().map(|(_, weight)| *weight as usize).sum());
                let found = lengths.iter().find(|(_, weight)| {
                    let here = place < *weight as usize;
                    place = place.saturating_sub(*weight as usize);
                    here
                });
                found.map_or(PAYLOAD_BYTES_MIN, |(bytes, _)| *bytes)
            }
        }
    }

    /// On average.
    pub(crate) fn mean(&self) -> f64 {
        match self {
            Self::Fixed(bytes) => *bytes as f64,
            Self::Uniform(least, most) => (least + most) as f64 / 2.0,
            Self::LogNormal { .. } => {
                // Eight standard deviations to both sides, in steps of a hundredth.
                let steps = (-800..=800).map(|step| f64::from(step) / 100.0);
                let (sum, weights) = steps.fold((0.0, 0.0), |(sum, weights), z| {
                    let weight = (-z * z / 2.0).exp();
                    (sum + weight * self.at(z), weights + weight)
                });
                sum / weights
            }
            Self::Weighted(lengths) => {
                let sum = |pick: fn(&(usize, u32)) -> f64| lengths.iter().map(pick).sum::<f64>();
                sum(|(bytes, weight)| *bytes as f64 * f64::from(*weight)) / sum(|(_, weight)| f64::from(*weight))
            }
        }
    }

    /// The mean in whole bytes, for what is reckoned with.
    pub(crate) fn mean_bytes(&self) -> usize {
        self.mean().round() as usize
    }

    /// For people.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Fixed(bytes) => format!("{bytes} bytes"),
            Self::Uniform(..) | Self::LogNormal { .. } | Self::Weighted(_) => {
                format!("{self} bytes ({:.0} on average)", self.mean())
            }
        }
    }

    pub(crate) fn max(&self) -> usize {
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::Uniform(_, most) => *most,
            Self::LogNormal { max, .. } => *max,
            Self::Weighted(lengths) => lengths.iter().map(|(bytes, _)| *bytes).max().unwrap_or(PAYLOAD_BYTES_MIN),
        }
    }

    /// The log-normal length so many standard deviations from the median.
    fn at(&self, z: f64) -> f64 {
        let Self::LogNormal { median, sigma, max } = self else { return self.mean() };
        (median * (sigma * z).exp()).floor().clamp(PAYLOAD_BYTES_MIN as f64, *max as f64)
    }
}

#[cfg(test)]
impl From<usize> for Lengths {
    fn from(bytes: usize) -> Self {
        Self::fixed(bytes).expect("a length that is allowed")
    }
}

impl FromStr for Lengths {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None => Ok(Self::Fixed(bytes(text)?)),
            Some(("uniform", range)) => uniform(range),
            Some(("lognormal", parts)) => log_normal(parts),
            Some(_) => weighted(text),
        }
    }
}

const WRITTEN: &str = "write `128`, `uniform:64-1024`, `lognormal:200,1.0,max=16384` (median, sigma) or `64:90,1024:9,16384:1` (bytes:weight)";

fn bytes(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let number: usize = text.parse().map_err(|_| format!("{text:?} is no number of bytes: {WRITTEN}"))?;
    Lengths::fixed(number).map(|_| number)
}

fn uniform(range: &str) -> Result<Lengths, String> {
    let (least, most) = range.split_once('-').ok_or_else(|| format!("uniform:{range} is no range: {WRITTEN}"))?;
    let (least, most) = (bytes(least)?, bytes(most)?);
    if least > most {
        return Err(format!("uniform:{range} goes from more to less: the smaller one first"));
    }
    Ok(Lengths::Uniform(least, most))
}

fn log_normal(parts: &str) -> Result<Lengths, String> {
    let wrong = || format!("lognormal:{parts} does not say median and sigma: {WRITTEN}");
    let (median, rest) = parts.split_once(',').ok_or_else(wrong)?;
    let (sigma, max) = rest.split_once(',').map_or((rest, None), |(sigma, max)| (sigma, Some(max)));
    let sigma: f64 = sigma.trim().parse().map_err(|_| wrong())?;
    if !(0.0..=4.0).contains(&sigma) {
        return Err(format!("lognormal: sigma is 0 to 4 (of the natural logarithm; 1.0 is wide), not {sigma}"));
    }
    let max = match max {
        Some(max) => bytes(max.trim().strip_prefix("max=").ok_or_else(wrong)?)?,
        None => PAYLOAD_BYTES_MAX,
    };
    let median = bytes(median)?;
    if median > max {
        return Err(format!("lognormal: the median {median} lies above max={max}"));
    }
    Ok(Lengths::LogNormal { median: median as f64, sigma, max })
}

fn weighted(text: &str) -> Result<Lengths, String> {
    let one = |part: &str| {
        let (length, weight) = part.split_once(':').ok_or_else(|| format!("{part:?} has no weight: {WRITTEN}"))?;
        let weight = weight.trim().parse().ok().filter(|weight| (1..=1_000_000).contains(weight));
        let weight = weight.ok_or_else(|| format!("{part:?}: a weight is a whole number from 1 to 1,000,000"))?;
        Ok((bytes(length)?, weight))
    };
    let lengths = text.split(',').map(one).collect::<Result<Vec<_>, String>>()?;
    if lengths.len() > WEIGHTED_MAX {
        return Err(format!("{} lengths are more than {WEIGHTED_MAX}: take fewer", lengths.len()));
    }
    Ok(Lengths::Weighted(lengths))
}

impl Display for Lengths {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(bytes) => write!(f, "{bytes}"),
            Self::Uniform(least, most) => write!(f, "uniform:{least}-{most}"),
            Self::LogNormal { median, sigma, max } => write!(f, "lognormal:{median},{sigma},max={max}"),
            Self::Weighted(lengths) => lengths
                .iter()
                .enumerate()
                .try_for_each(|(at, (bytes, weight))| write!(f, "{}{bytes}:{weight}", if at == 0 { "" } else { "," })),
        }
    }
}

impl From<Lengths> for String {
    fn from(lengths: Lengths) -> Self {
        lengths.to_string()
    }
}

impl TryFrom<String> for Lengths {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Lengths {
        text.parse().expect(text)
    }

    #[test]
    fn lengths_are_written_as_they_are_read() {
        for text in ["128", "uniform:64-1024", "lognormal:200,1,max=16384", "64:90,1024:9,16384:1"] {
            assert_eq!(read(text).to_string(), text);
        }
        assert_eq!(read("lognormal:200,0.5").to_string(), "lognormal:200,0.5,max=65535");
    }

    #[test]
    fn what_is_no_length_is_said_with_what_would_be() {
        for (bad, word) in [
            ("", "no number of bytes"),
            ("63", "64 to 65535"),
            ("65536", "64 to 65535"),
            ("uniform:64", "no range"),
            ("uniform:900-100", "smaller one first"),
            ("lognormal:200", "median and sigma"),
            ("lognormal:200,9", "sigma is 0 to 4"),
            ("lognormal:200,1,16384", "median and sigma"),
            ("lognormal:200,1,max=100", "lies above"),
            ("64:1,128", "no weight"),
            ("64:0", "whole number"),
            ("normal:5", "no number of bytes"),
        ] {
            let said = bad.parse::<Lengths>().expect_err(bad);
            assert!(said.contains(word), "{bad}: {said}");
        }
    }

    #[test]
    fn a_distribution_has_its_mean_its_bounds_and_repeats_itself_by_the_seed() {
        for text in ["100", "uniform:64-1024", "lognormal:200,1.0,max=16384", "64:90,1024:9,16384:1"] {
            let lengths = read(text);
            let drawn: Vec<usize> = (0..40_000).map(|seq| lengths.of(5, 3, seq)).collect();
            let mean = drawn.iter().sum::<usize>() as f64 / drawn.len() as f64;
            assert!((mean / lengths.mean() - 1.0).abs() < 0.1, "{text}: {mean} of {}", lengths.mean());
            assert!(drawn.iter().all(|bytes| (64..=lengths.max()).contains(bytes)), "{text}");
            assert_eq!(drawn, (0..40_000).map(|seq| lengths.of(5, 3, seq)).collect::<Vec<_>>());
            let different =
                |seed, publisher| (0..100).any(|seq| lengths.of(seed, publisher, seq) != drawn[seq as usize]);
            assert_eq!((different(6, 3), different(5, 4)), (text != "100", text != "100"), "{text}");
        }
        let mut drawn: Vec<usize> = (0..10_001).map(|seq| read("lognormal:200,1.0").of(5, 3, seq)).collect();
        drawn.sort_unstable();
        assert!((190..210).contains(&drawn[5_000]), "the median is {}", drawn[5_000]);
        let short = (0..10_000).filter(|seq| read("64:90,1024:9,16384:1").of(5, 3, *seq) == 64).count();
        assert!((8_850..9_150).contains(&short), "{short}");
    }
}
