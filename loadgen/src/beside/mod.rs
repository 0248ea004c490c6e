//! People beside the measured crowd, in its rooms: guests who come and go, and readers who are slow.
//!
//! Each kind lives on a thread of its own in the coordinator's process, so that the crowd's workers are what they are without
//! them. Promises: they publish nothing, so that the crowd's proof is untouched; what they hear is judged by position (dense from
//! the answer to the join on, or told missing), and must have been said in their room, as they hear it.

mod guests;
mod slow;

use serde::{Deserialize, Serialize};

pub(crate) use guests::{Guests, Habits};
pub(crate) use slow::Slow;

use crate::latency::Quantiles;
use crate::member::Lived;
use crate::orders::Offender;

/// What guests lived through.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(crate) struct GuestReport {
    pub(crate) guests: u32,
    pub(crate) visits: u64,
    /// From connecting until seated.
    pub(crate) coming: Quantiles,
    /// What they said: that they type or no longer do, and how far they have read.
    pub(crate) typing_said: u64,
    pub(crate) receipts_said: u64,
    pub(crate) heard: u64,
    pub(crate) presence_heard: u64,
    pub(crate) typing_heard: u64,
    pub(crate) receipts_heard: u64,
    pub(crate) stale: u64,
    pub(crate) refused: u64,
    pub(crate) missing: u64,
    pub(crate) twice: u64,
    /// Of another room; and not as it was sent.
    #[serde(default)]
    pub(crate) foreign: u64,
    #[serde(default)]
    pub(crate) corrupted: u64,
    pub(crate) gaps: u64,
    /// Lost while they sat.
    pub(crate) cut: u64,
    /// How often somebody was told not to come again, and what the first of them was told.
    #[serde(default)]
    pub(crate) turned_away: u64,
    #[serde(default)]
    pub(crate) turned_away_by: Option<String>,
    /// Who had tried again and again by the end, and was not let in.
    #[serde(default)]
    pub(crate) kept_out: u64,
    /// How often somebody asked for the newest message of its room, before its goodbye or at the end of a phase, and was told
    /// that it is not for it; and was not answered.
    #[serde(default)]
    pub(crate) unknown: u64,
    #[serde(default)]
    pub(crate) unanswered: u64,
    /// The first who met a fault.
    #[serde(default)]
    pub(crate) offenders: Vec<Offender>,
}

/// What readers that were slow in a phase lived through.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(crate) struct SlowReport {
    pub(crate) connections: u32,
    pub(crate) bytes_per_s: u32,
    /// Messages read in the phase, and those read when they woke after it.
    pub(crate) heard: u64,
    pub(crate) heard_late: u64,
    pub(crate) gaps: u64,
    pub(crate) told_missing: u64,
    pub(crate) missing: u64,
    pub(crate) twice: u64,
    /// Of another room; and not as it was sent.
    #[serde(default)]
    pub(crate) foreign: u64,
    #[serde(default)]
    pub(crate) corrupted: u64,
    /// Connections the server ended, by its close code (0: without one).
    pub(crate) closed: std::collections::BTreeMap<u16, u64>,
    /// Not in their rooms again, or not up to date there, when nothing more came.
    pub(crate) not_back: u64,
    /// Whose room's newest message the server did not tell.
    pub(crate) unknown: u64,
    /// What the server's `/metrics` said in the phase, at most.
    pub(crate) unsent_bytes_max: Option<f64>,
    pub(crate) readers_behind_max: Option<f64>,
    /// Of everybody else's deliveries in the phase before, for comparison.
    pub(crate) p99_before_ms: Option<f64>,
    /// The first who met a fault.
    #[serde(default)]
    pub(crate) offenders: Vec<Offender>,
}

impl GuestReport {
    /// Each a sentence: what no server may do.
    pub(crate) fn broken(&self) -> Vec<String> {
        sentences(&[
            (self.missing, "messages were missing for guests, and nobody said so"),
            (self.twice, "messages came twice to guests"),
            (self.foreign, "words of other rooms came to guests"),
            (self.corrupted, "messages to guests were not what anybody sent"),
            (self.gaps, "gaps were told to guests who read at once"),
            (self.cut, "guests were cut off"),
            (self.unanswered, "times a guest asked for the newest message of its room and was not answered"),
        ])
    }

    pub(crate) fn missed(&self) -> Vec<String> {
        let by = self.turned_away_by.as_ref().map_or_else(String::new, |why| format!(" (first: {why})"));
        sentences(&[
            (self.refused, "words of guests were refused"),
            (self.turned_away, &format!("times a guest was turned away{by}")),
            (self.kept_out, "guests tried again and again and were not let in"),
        ])
    }

    /// For people.
    pub(crate) fn sentences(&self) -> Vec<String> {
        vec![
            format!(
                "{} guests came {} times (p99 {:.1} ms), heard {} messages, {} news of people, {} of typing, {} of reading",
                self.guests,
                self.visits,
                self.coming.p99_ms,
                self.heard,
                self.presence_heard,
                self.typing_heard,
                self.receipts_heard
            ),
            format!(
                "they said {} times that they type or no longer do and {} times what they have read; {} refused, {} told stale",
                self.typing_said, self.receipts_said, self.refused, self.stale
            ),
        ]
    }

    /// Why they show nothing of the server, if they do not.
    pub(crate) fn shows_nothing(&self) -> Option<String> {
        if self.visits == 0 || self.heard == 0 {
            return Some("no guest came and heard anything: more --guests, a shorter --stay, or longer".to_owned());
        }
        (self.unknown > 0).then(|| {
            format!(
                "{} times the server did not tell a guest the newest message of its room, so that nobody knows whether it heard \
                 all of them: it needs the grant `history`",
                self.unknown
            )
        })
    }
}

impl SlowReport {
    /// Each a sentence: what no server may do.
    pub(crate) fn broken(&self) -> Vec<String> {
        sentences(&[
            (self.missing, "messages were missing for slow readers, and nobody said so"),
            (self.twice, "messages came twice to slow readers"),
            (self.foreign, "words of other rooms came to slow readers"),
            (self.corrupted, "messages to slow readers were not what anybody sent"),
            (self.not_back, "slow readers were not up to date when they read again"),
        ])
    }

    /// For people; everybody else's p99 in the phase was `p99_ms`.
    pub(crate) fn sentences(&self, p99_ms: f64) -> Vec<String> {
        let before =
            self.p99_before_ms.map_or_else(String::new, |before| format!(", {before:.2} ms in the phase before"));
        let closed: Vec<String> = self.closed.iter().map(|(code, count)| format!("{count} with {code}")).collect();
        let closed = if closed.is_empty() { "none".to_owned() } else { closed.join(", ") };
        vec![
            format!("the others' p99 was {p99_ms:.2} ms with {} slow readers{before}", self.connections),
            match (self.unsent_bytes_max, self.readers_behind_max) {
                (Some(unsent), Some(behind)) => {
                    format!("held for slow readers at most: {unsent:.0} bytes, {behind:.0} of them behind")
                }
                _ => {
                    "what the server held for slow readers is not known: no answer of its /metrics (--admin)".to_owned()
                }
            },
            format!(
                "they read {} B/s: {} messages in time, {} afterwards, {} told missing by {} gaps; closed: {closed}",
                self.bytes_per_s, self.heard, self.heard_late, self.told_missing, self.gaps
            ),
        ]
    }

    /// Why they show nothing of the server, if they do not.
    pub(crate) fn shows_nothing(&self) -> Option<String> {
        if !self.was_slow() {
            let nothing = "the server never held anything back for the slow readers: a higher --rate, a larger --payload, or longer";
            return Some(nothing.to_owned());
        }
        (self.unknown > 0).then(|| {
            format!(
                "the server did not tell {} slow readers the newest message of their room, so that nobody knows whether they \
                 were up to date when they read again: they need the grant `history`",
                self.unknown
            )
        })
    }

    /// Whether anybody was slow as the server sees it.
    fn was_slow(&self) -> bool {
        let held = |value: Option<f64>| value.is_some_and(|value| value > 0.0);
        self.gaps > 0 || !self.closed.is_empty() || held(self.unsent_bytes_max) || held(self.readers_behind_max)
    }
}

fn sentences(counts: &[(u64, &str)]) -> Vec<String> {
    counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
}

/// Everybody's account together.
fn sum(lives: impl Iterator<Item = Lived>) -> Lived {
    lives.fold(Lived::default(), |sum, one| Lived {
        heard: sum.heard + one.heard,
        twice: sum.twice + one.twice,
        // By offsets, which the server gives: any number may come.
        missing: sum.missing.saturating_add(one.missing),
        foreign: sum.foreign + one.foreign,
        corrupted: sum.corrupted + one.corrupted,
        gaps: sum.gaps + one.gaps,
        told_missing: sum.told_missing.saturating_add(one.told_missing),
        tries: sum.tries + one.tries,
        put_off: sum.put_off + one.put_off,
        resumed: sum.resumed + one.resumed,
        not_resumed: sum.not_resumed + one.not_resumed,
        recovered: sum.recovered + one.recovered,
        presence: sum.presence + one.presence,
        typing: sum.typing + one.typing,
        receipts: sum.receipts + one.receipts,
        stale: sum.stale + one.stale,
        refused: sum.refused + one.refused,
    })
}

/// Milliseconds of the first wait of somebody who was not let in.
const BACKOFF_MS: f64 = 200.0;
/// How many of them open at once.
const CONNECTING: u32 = 12;
/// How often they look at the clock.
const STEP_NS: u64 = 20_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_that_a_lying_server_filled_are_added_up_all_the_same() {
        let full = Lived { heard: 1, missing: u64::MAX, told_missing: u64::MAX, ..Lived::default() };
        assert_eq!(sum([full, full].into_iter()), Lived { heard: 2, ..full });
    }

    #[test]
    fn what_is_broken_is_said_and_what_shows_nothing_is_not_enough() {
        let guests = GuestReport { visits: 3, heard: 9, ..GuestReport::default() };
        assert!(guests.shows_nothing().is_none() && guests.broken().is_empty() && guests.missed().is_empty());
        let nobody = GuestReport { heard: 0, ..guests.clone() };
        assert!(nobody.shows_nothing().is_some_and(|why| why.contains("no guest came")));
        let untold = GuestReport { unknown: 2, ..guests.clone() };
        assert!(untold.shows_nothing().is_some_and(|why| why.starts_with("2 times") && why.contains("history")));
        for (bad, word) in [
            (GuestReport { missing: 1, ..guests.clone() }, "missing"),
            (GuestReport { twice: 1, ..guests.clone() }, "twice"),
            (GuestReport { foreign: 1, ..guests.clone() }, "other rooms"),
            (GuestReport { corrupted: 1, ..guests.clone() }, "not what anybody sent"),
            (GuestReport { gaps: 1, ..guests.clone() }, "gaps"),
            (GuestReport { cut: 1, ..guests.clone() }, "cut off"),
            (GuestReport { unanswered: 1, ..guests.clone() }, "not answered"),
        ] {
            assert!(matches!(bad.broken().as_slice(), [one] if one.contains(word)), "{bad:?}");
        }
        let turned_away_by = Some("HTTP/1.1 404 Not Found".to_owned());
        let missed = GuestReport { refused: 2, turned_away: 3, turned_away_by, kept_out: 1, ..guests }.missed();
        let away = "3 times a guest was turned away (first: HTTP/1.1 404 Not Found)";
        let out = "1 guests tried again and again and were not let in";
        assert_eq!(missed, ["2 words of guests were refused", away, out]);
        let slow = SlowReport::default();
        assert!(!slow.was_slow() && slow.broken().is_empty());
        assert!(SlowReport { gaps: 1, ..SlowReport::default() }.was_slow());
        assert!(SlowReport { closed: [(4001, 1)].into(), ..SlowReport::default() }.was_slow());
        assert!(SlowReport { unsent_bytes_max: Some(9.0), ..SlowReport::default() }.was_slow());
        // Whoever was not told where the others are counted as up to date.
        let untold = SlowReport { gaps: 1, unknown: 3, ..SlowReport::default() };
        assert!(untold.shows_nothing().is_some_and(|why| why.contains("did not tell 3 slow readers")));
        assert!(SlowReport { unknown: 0, ..untold }.shows_nothing().is_none());
        for bad in [
            SlowReport { not_back: 1, ..SlowReport::default() },
            SlowReport { foreign: 1, ..SlowReport::default() },
            SlowReport { corrupted: 1, ..SlowReport::default() },
        ] {
            assert_eq!(bad.broken().len(), 1, "{bad:?}");
        }
    }
}
