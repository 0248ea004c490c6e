//! Which value is tried next: doubling, bisecting, confirming. Pure.
//!
//! Promises: ends; never tries beyond `to`; what it finds held each of so many times in a row.

/// What to do next.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Step {
    Try { value: f64, confirms: bool },
    Done,
}

/// A search under way.
pub(super) struct Search {
    next: f64,
    /// The largest that held, and the smallest that did not.
    low: Option<f64>,
    high: Option<f64>,
    to: f64,
    precision: f64,
    grain: f64,
    least: f64,
    confirming: bool,
    held_again: u32,
    halvings: u32,
    lowerings: u32,
    done: bool,
}

/// Below a thousandth of where it began nothing is looked for.
const HALVINGS_MAX: u32 = 10;
/// How often a value that did not hold again is made smaller.
const LOWERINGS_MAX: u32 = 20;

impl Search {
    /// From `from`, at most to `to`; values are multiples of `grain` (0: any) and at least `least`.
    pub(super) fn new(from: f64, to: Option<f64>, precision: f64, (grain, least): (f64, f64)) -> Self {
        let mut search = Self {
            next: from,
            low: None,
            high: None,
            to: to.unwrap_or(f64::INFINITY),
            precision,
            grain,
            least,
            confirming: false,
            held_again: 0,
            halvings: 0,
            lowerings: 0,
            done: false,
        };
        search.next = search.on_grain(from);
        search
    }

    /// What to try; `repeats` is how often a value must hold again.
    pub(super) fn step(&mut self, repeats: u32) -> Step {
        if self.confirming && self.held_again >= repeats {
            self.done = true;
        }
        if self.done { Step::Done } else { Step::Try { value: self.next, confirms: self.confirming } }
    }

    /// How the last try went.
    pub(super) fn take(&mut self, held: bool) {
        match (self.confirming, held) {
            (true, true) => self.held_again += 1,
            (true, false) => self.lower(),
            (false, true) => {
                self.low = Some(self.next);
                self.aim();
            }
            (false, false) => {
                self.high = Some(self.next);
                self.aim();
            }
        }
    }

    /// Nothing more can be told: what was found is what is confirmed by now, which is nothing.
    pub(super) fn stop(&mut self) {
        (self.done, self.low) = (true, None);
    }

    /// What was found.
    pub(super) fn found(&self) -> Option<f64> {
        self.low.filter(|_| self.done && self.confirming)
    }

    fn aim(&mut self) {
        match (self.low, self.high) {
            (Some(low), None) if low >= self.to => self.confirm(),
            (Some(low), None) => self.next = self.on_grain((low * 2.0).min(self.to)),
            (None, _) => {
                self.halvings += 1;
                let half = self.on_grain(self.next / 2.0);
                self.done = self.halvings > HALVINGS_MAX || half >= self.next;
                self.next = half;
            }
            (Some(low), Some(high)) => {
                let middle = self.on_grain(f64::midpoint(low, high));
                if high - low <= low * self.precision || middle <= low || middle >= high {
                    self.confirm();
                } else {
                    self.next = middle;
                }
            }
        }
        if self.low.is_some_and(|low| self.next <= low) && !self.confirming {
            self.confirm();
        }
    }

    fn confirm(&mut self) {
        (self.confirming, self.held_again) = (true, 0);
        self.next = self.low.unwrap_or(self.next);
    }

    /// It held once and not again: a little less.
    fn lower(&mut self) {
        self.lowerings += 1;
        let less = self.on_grain(self.next * (1.0 - self.precision.min(0.5)));
        let less = if less >= self.next { self.next - self.grain } else { less };
        if self.lowerings > LOWERINGS_MAX || less <= 0.0 || less < self.least {
            (self.done, self.low) = (true, None);
            return;
        }
        self.low = Some(less);
        self.confirm();
    }

    fn on_grain(&self, value: f64) -> f64 {
        if self.grain > 0.0 { ((value / self.grain).floor() * self.grain).max(self.least) } else { value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: (f64, f64) = (0.0, 0.0);

    /// Searches where exactly values up to `limit` hold; gives what was found and how often was tried.
    fn search(mut search: Search, limit: f64) -> (Option<f64>, u32) {
        let mut tries = 0;
        while let Step::Try { value, .. } = search.step(5) {
            tries += 1;
            assert!(tries < 200, "it ends");
            search.take(value <= limit);
        }
        (search.found(), tries)
    }

    #[test]
    fn the_limit_is_found_within_the_precision_from_below_and_from_above() {
        for (from, limit) in [(100.0, 7_300.0), (7_300.0, 7_300.0), (50_000.0, 7_300.0), (7_200.0, 7_300.0)] {
            let (found, tries) = search(Search::new(from, None, 0.05, ANY), limit);
            let found = found.expect("it is found");
            assert!(found <= limit && found > limit * 0.94, "{from}: {found}");
            assert!(tries <= 30, "{from}: {tries}");
        }
    }

    #[test]
    fn values_stay_on_the_grain_and_below_the_end() {
        let (found, _) = search(Search::new(120.0, None, 0.05, (50.0, 50.0)), 777.0);
        assert!(found.is_some_and(|found| found % 50.0 == 0.0 && (700.0..=777.0).contains(&found)), "{found:?}");
        assert_eq!(search(Search::new(100.0, Some(500.0), 0.05, ANY), f64::INFINITY).0, Some(500.0));
        assert_eq!(search(Search::new(2.0, Some(8.0), 0.05, (1.0, 2.0)), 1.0).0, None, "none smaller is tried");
        assert_eq!(search(Search::new(2.0, Some(8.0), 0.05, (1.0, 2.0)), 3.5).0, Some(3.0), "room sizes are whole");
    }

    #[test]
    fn where_nothing_holds_nothing_is_found_and_soon() {
        let (found, tries) = search(Search::new(100.0, None, 0.05, ANY), 0.0);
        assert!(found.is_none() && tries <= HALVINGS_MAX + 2);
        assert_eq!(search(Search::new(50.0, None, 0.05, (50.0, 50.0)), 0.0), (None, 1), "there is nothing smaller");
    }

    #[test]
    fn what_held_by_luck_is_lowered_until_it_holds_again() {
        let mut search = Search::new(100.0, Some(100.0), 0.05, ANY);
        let (mut lucky, mut confirmed) = (true, 0);
        while let Step::Try { value, confirms } = search.step(5) {
            let held = std::mem::take(&mut lucky) || value <= 90.0;
            confirmed += u32::from(confirms && held);
            search.take(held);
        }
        assert!(search.found().is_some_and(|found| found < 90.3 && found > 80.0));
        assert_eq!(confirmed, 5);
    }
}
