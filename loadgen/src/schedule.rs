//! When which publisher should send: the open loop. Pure: it never looks at a clock.
//!
//! Promises: times never go back; all lie inside the phase; the same seed gives the same schedule. A late
//! sender does not move it: what is due stays due, and latency counts from there.

use serde::{Deserialize, Serialize};

use crate::mix::Random;

/// How messages are spread over time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arrivals {
    /// At equal distances, publishers taking turns in a seeded order.
    Even,
    /// At exponential distances, publishers drawn at random.
    Poisson,
}

impl Arrivals {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Even => "even",
            Self::Poisson => "poisson",
        }
    }
}

/// How the rate goes through a phase: straight from one multiple of its mean to another.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Slope {
    pub(crate) from: f64,
    pub(crate) to: f64,
}

impl Slope {
    pub(crate) const FLAT: Self = Self { from: 1.0, to: 1.0 };

    /// The share of the time after which `share` of the messages have come.
    fn when(self, share: f64) -> f64 {
        let Self { from, to } = self;
        if from == to {
            return share;
        }
        // The share of messages at time t is (from t + (to - from) t² / 2) / mean, and the mean is (from + to) / 2.
        let root = (from * from + (to * to - from * from) * share).max(0.0).sqrt();
        (root - from) / (to - from)
    }
}

/// One worker's share of a phase.
pub(crate) struct Schedule {
    arrivals: Arrivals,
    slope: Slope,
    start_ns: u64,
    span_ns: u64,
    messages: u64,
    sent: u64,
    /// The next message, counted as if the rate were flat: a fraction behind the number already sent.
    place: f64,
    phase: f64,
    order: Vec<u32>,
    random: Random,
    next_ns: u64,
}

impl Schedule {
    /// `messages` in `start_ns .. start_ns + span_ns` over `publishers` senders (exactly with even arrivals,
    /// on average with Poisson).
    pub(crate) fn new(
        (arrivals, slope): (Arrivals, Slope),
        start_ns: u64,
        span_ns: u64,
        messages: u64,
        publishers: u32,
        seed: u64,
    ) -> Self {
        let mut random = Random::new(seed);
        let mut order: Vec<u32> = (0..publishers).collect();
        random.shuffle(&mut order);
        let phase = 1.0 - random.fraction();
        let messages = if publishers == 0 { 0 } else { messages };
        let mut schedule = Self {
            arrivals,
            slope,
            start_ns,
            span_ns,
            messages,
            sent: 0,
            place: 0.0,
            phase,
            order,
            random,
            next_ns: start_ns,
        };
        schedule.aim();
        schedule
    }

    /// The next intended time; `None` when the phase has no more.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        let left = match self.arrivals {
            Arrivals::Even => self.sent < self.messages,
            Arrivals::Poisson => self.messages > 0 && self.next_ns < self.start_ns + self.span_ns,
        };
        left.then_some(self.next_ns)
    }

    /// Takes the next message if it is due: its intended time and its publisher (`0..publishers`).
    pub(crate) fn take_due(&mut self, now_ns: u64) -> Option<(u64, u32)> {
        let intended_ns = self.next_ns().filter(|next| *next <= now_ns)?;
        let place = match self.arrivals {
            Arrivals::Even => (self.sent % self.order.len() as u64) as usize,
            Arrivals::Poisson => self.random.below(self.order.len()),
        };
        self.sent += 1;
        self.aim();
        Some((intended_ns, self.order[place]))
    }

    /// Nothing more of this phase.
    pub(crate) fn stop(&mut self) {
        self.messages = 0;
    }

    fn aim(&mut self) {
        if self.messages == 0 {
            return;
        }
        self.place = match self.arrivals {
            Arrivals::Even => self.sent as f64 + self.phase,
            Arrivals::Poisson => self.place - self.random.fraction().ln(),
        };
        // Beyond the phase a rate that falls to nothing has no time for a message: it lies behind the end.
        let share = self.place / self.messages as f64;
        let when = if share < 1.0 { self.slope.when(share) } else { share };
        self.next_ns = self.start_ns + (when * self.span_ns as f64) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut schedule: Schedule) -> Vec<(u64, u32)> {
        std::iter::from_fn(|| schedule.take_due(u64::MAX)).collect()
    }

    #[test]
    fn even_arrivals_give_every_publisher_its_turn_inside_the_phase() {
        let sent = all(Schedule::new((Arrivals::Even, Slope::FLAT), 1_000, 1_000_000, 300, 100, 3));
        assert_eq!(sent.len(), 300);
        assert!(sent.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(sent.iter().all(|(at, _)| (1_000..1_001_000).contains(at)));
        let mut turns = [0; 100];
        sent.iter().for_each(|(_, publisher)| turns[*publisher as usize] += 1);
        assert_eq!(turns, [3; 100]);
    }

    #[test]
    fn poisson_arrivals_keep_the_rate_on_average_and_not_the_distance() {
        let sent = all(Schedule::new((Arrivals::Poisson, Slope::FLAT), 0, 1_000_000_000, 100_000, 10, 3));
        assert!((98_000..102_000).contains(&sent.len()), "{}", sent.len());
        let short = sent.windows(2).filter(|pair| pair[1].0 - pair[0].0 < 5_000).count();
        assert!((35_000..44_000).contains(&short), "e^-0.5 of the distances are longer than half the mean: {short}");
    }

    #[test]
    fn a_ramp_brings_the_same_number_and_more_of_them_late() {
        for (arrivals, slack) in [(Arrivals::Even, 2), (Arrivals::Poisson, 400)] {
            for (slope, first_half) in [
                (Slope { from: 0.0, to: 2.0 }, 2_500_i64),
                (Slope { from: 2.0, to: 0.0 }, 7_500),
                (Slope { from: 0.5, to: 1.5 }, 3_750),
                (Slope::FLAT, 5_000),
            ] {
                let sent = all(Schedule::new((arrivals, slope), 1_000, 1_000_000_000, 10_000, 10, 3));
                assert!((sent.len() as i64 - 10_000).abs() <= slack, "{slope:?}: {}", sent.len());
                assert!(sent.windows(2).all(|pair| pair[0].0 <= pair[1].0));
                assert!(sent.iter().all(|(at, _)| (1_000..1_000_001_000).contains(at)));
                let early = sent.iter().filter(|(at, _)| *at < 500_001_000).count() as i64;
                assert!((early - first_half).abs() <= slack, "{arrivals:?} {slope:?}: {early}");
            }
        }
    }

    #[test]
    fn nothing_is_taken_before_it_is_due_and_nothing_without_publishers() {
        let mut schedule = Schedule::new((Arrivals::Even, Slope::FLAT), 500, 1_000, 1, 1, 3);
        let due = schedule.next_ns().expect("one message is scheduled");
        assert_eq!(schedule.take_due(due - 1), None);
        assert_eq!(schedule.take_due(due), Some((due, 0)));
        assert_eq!(schedule.next_ns(), None);
        let mut stopped = Schedule::new((Arrivals::Even, Slope::FLAT), 0, 1_000, 5, 1, 3);
        stopped.stop();
        assert_eq!(stopped.next_ns(), None);
        assert_eq!(Schedule::new((Arrivals::Even, Slope::FLAT), 0, 1_000, 5, 0, 3).next_ns(), None);
        assert_eq!(Schedule::new((Arrivals::Poisson, Slope::FLAT), 0, 1_000, 5, 0, 3).next_ns(), None);
    }

    #[test]
    fn one_seed_is_one_schedule() {
        for arrivals in [Arrivals::Even, Arrivals::Poisson] {
            let make = |seed| all(Schedule::new((arrivals, Slope::FLAT), 0, 1_000_000, 50, 7, seed));
            assert_eq!(make(1), make(1));
            assert_ne!(make(1), make(2));
        }
    }
}
