//! `Idempotency-Key`: a call that is made again gets the answer it got, and nothing is done twice.
//!
//! Promises: equal key and equal request give the first answer; equal key and another request are refused; a table of
//! bounded size and age, per API key. What was surely not done is not kept: making it again is what a retry is for. What
//! may have been done is kept, whatever else is not known of it. Of what was done in part the rest is done.

use std::collections::{BTreeMap, HashMap};

use axum::http::StatusCode;
use bytes::Bytes;
use tokio::time::{Duration, Instant};

/// Whose key, and which.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct CallKey {
    pub(super) caller: String,
    pub(super) key: String,
}

/// An answer as it was given.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// What to do with a call.
#[derive(Debug)]
pub(super) enum Standing {
    /// It is new: do it, then [`Calls::finish`]. `before`: what it was answered when it was done in part.
    New { before: Option<Bytes> },
    /// It was done: this was the answer.
    Done(Kept),
    /// It is being done.
    UnderWay,
    /// The key was used for something else.
    OtherRequest,
    /// The table holds as many calls, or as many bytes of answers, as it may, and the oldest is under way.
    Full,
}

/// How a call ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Made again, it gets this answer.
    Done(Kept),
    /// Nothing was done of it, or it may be done again: made again, it is done.
    Undone,
    /// A part of it was done. Made again, it is done with this in its hands.
    Partly(Bytes),
}

/// Calls with a key, by key.
#[derive(Default, Debug)]
pub(super) struct Calls {
    by_key: HashMap<CallKey, Entry>,
    /// The same ones in the order they began, for age and number.
    order: BTreeMap<u64, CallKey>,
    /// How many began so far.
    begun: u64,
    kept_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    /// SHA-256 of method, path and body.
    request: [u8; 32],
    began: Instant,
    /// Its place in the order.
    nth: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    UnderWay { before: Option<Bytes> },
    Partly(Bytes),
    Done(Kept),
}

impl State {
    fn bytes(&self) -> usize {
        match self {
            Self::UnderWay { before } => before.as_ref().map_or(0, Bytes::len),
            Self::Partly(body) | Self::Done(Kept { body, .. }) => body.len(),
        }
    }
}

impl Calls {
    /// Looks a call up and notes a new one.
    pub(super) fn begin(&mut self, key: &CallKey, request: [u8; 32], now: Instant) -> Standing {
        self.forget_old(now);
        if let Some(entry) = self.by_key.get_mut(key) {
            return match &entry.state {
                _ if entry.request != request => Standing::OtherRequest,
                State::Done(kept) => Standing::Done(kept.clone()),
                State::UnderWay { .. } => Standing::UnderWay,
                State::Partly(before) => {
                    let before = Some(before.clone());
                    entry.state = State::UnderWay { before: before.clone() };
                    Standing::New { before }
                }
            };
        }
        // More bytes than may be: the oldest is under way, and keeps those behind it from being forgotten.
        if self.by_key.len() >= CALLS_MAX || self.kept_bytes > KEPT_BYTES_MAX {
            return Standing::Full;
        }
        let nth = self.begun;
        self.begun += 1;
        self.by_key.insert(key.clone(), Entry { request, began: now, nth, state: State::UnderWay { before: None } });
        self.order.insert(nth, key.clone());
        Standing::New { before: None }
    }

    /// The call came to its end.
    pub(super) fn finish(&mut self, key: &CallKey, ended: Ended) {
        let Some(entry) = self.by_key.get_mut(key) else { return };
        let bytes_before = entry.state.bytes();
        let state = match (ended, &mut entry.state) {
            (Ended::Done(kept), _) if kept.body.len() <= BODY_BYTES_MAX => Some(State::Done(kept)),
            (Ended::Partly(body), _) if body.len() <= BODY_BYTES_MAX => Some(State::Partly(body)),
            // What was done of it before stays done.
            (Ended::Undone, State::UnderWay { before }) => before.take().map(State::Partly),
            (Ended::Done(_) | Ended::Partly(_) | Ended::Undone, _) => None,
        };
        match state {
            Some(state) => {
                self.kept_bytes = self.kept_bytes - bytes_before + state.bytes();
                entry.state = state;
            }
            None => {
                self.kept_bytes -= bytes_before;
                self.order.remove(&entry.nth);
                self.by_key.remove(key);
            }
        }
    }

    /// Those past the window, and the oldest that are not under way when there are too many.
    fn forget_old(&mut self, now: Instant) {
        while let Some(oldest) = self.order.first_entry() {
            let goes = self.by_key.get(oldest.get()).is_none_or(|entry| {
                let rests = !matches!(entry.state, State::UnderWay { .. });
                let old = now.saturating_duration_since(entry.began) >= WINDOW;
                let many = self.by_key.len() >= CALLS_MAX || self.kept_bytes > KEPT_BYTES_MAX;
                rests && (old || many)
            });
            if !goes {
                return;
            }
            let entry = self.by_key.remove(&oldest.remove());
            self.kept_bytes -= entry.map_or(0, |entry| entry.state.bytes());
        }
    }
}

/// How long an answer is kept.
const WINDOW: Duration = Duration::from_secs(600);
const CALLS_MAX: usize = 10_000;
/// Of one answer; a longer one is not kept. The longest that changes something has a thousand lines of at most 400 bytes.
const BODY_BYTES_MAX: usize = 512 << 10;
const KEPT_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str) -> CallKey {
        CallKey { caller: "backend".to_owned(), key: key.to_owned() }
    }

    fn done() -> Ended {
        Ended::Done(Kept { status: StatusCode::OK, body: Bytes::from_static(b"{}") })
    }

    #[test]
    fn a_call_is_done_once_and_answered_alike_until_its_window_ends() {
        let (mut calls, now) = (Calls::default(), Instant::now());
        assert!(matches!(calls.begin(&key("a"), [1; 32], now), Standing::New { before: None }));
        assert!(matches!(calls.begin(&key("a"), [1; 32], now), Standing::UnderWay));
        assert!(matches!(calls.begin(&key("a"), [2; 32], now), Standing::OtherRequest));
        calls.finish(&key("a"), done());
        assert!(matches!(calls.begin(&key("a"), [1; 32], now), Standing::Done(kept) if &kept.body[..] == b"{}"));
        assert!(matches!(calls.begin(&key("a"), [2; 32], now), Standing::OtherRequest));
        let elsewhere = CallKey { caller: "ops".to_owned(), ..key("a") };
        assert!(
            matches!(calls.begin(&elsewhere, [2; 32], now), Standing::New { before: None }),
            "keys are each caller's own"
        );
        assert!(matches!(calls.begin(&key("a"), [2; 32], now + WINDOW), Standing::New { before: None }));
    }

    #[test]
    fn what_failed_may_be_done_again_and_is_not_forgotten_by_its_former_life() {
        let (mut calls, now) = (Calls::default(), Instant::now());
        for round in 0..3 {
            let at = now + Duration::from_secs(round);
            assert!(matches!(calls.begin(&key("a"), [1; 32], at), Standing::New { before: None }));
            calls.finish(&key("a"), Ended::Undone);
        }
        assert!(matches!(
            calls.begin(&key("a"), [1; 32], now + Duration::from_secs(590)),
            Standing::New { before: None }
        ));
        calls.finish(&key("a"), done());
        assert!(matches!(calls.begin(&key("a"), [1; 32], now + WINDOW), Standing::Done(_)));
    }

    #[test]
    fn what_was_done_in_part_goes_on_with_what_it_was_answered() {
        let (mut calls, now) = (Calls::default(), Instant::now());
        let part = |text: &'static str| Ended::Partly(Bytes::from_static(text.as_bytes()));
        assert!(matches!(calls.begin(&key("a"), [1; 32], now), Standing::New { before: None }));
        calls.finish(&key("a"), part("one"));
        assert!(matches!(calls.begin(&key("a"), [2; 32], now), Standing::OtherRequest));
        for ended in [part("one"), Ended::Undone, part("one and two")] {
            let again = calls.begin(&key("a"), [1; 32], now);
            assert!(matches!(again, Standing::New { before: Some(before) } if &before[..] == b"one"));
            assert!(matches!(calls.begin(&key("a"), [1; 32], now), Standing::UnderWay));
            calls.finish(&key("a"), ended);
        }
        assert_eq!(calls.kept_bytes, 11);
        assert!(matches!(calls.begin(&key("a"), [1; 32], now), Standing::New { before: Some(_) }));
        calls.finish(&key("a"), done());
        assert!(matches!(calls.begin(&key("a"), [1; 32], now), Standing::Done(_)));
        calls.finish(&key("a"), Ended::Undone);
        assert_eq!((calls.kept_bytes, calls.by_key.len()), (0, 0));
    }

    #[test]
    fn the_table_is_bounded_and_lets_go_of_the_oldest_that_are_done() {
        let (mut calls, now) = (Calls::default(), Instant::now());
        for n in 0..CALLS_MAX {
            assert!(matches!(calls.begin(&key(&n.to_string()), [0; 32], now), Standing::New { before: None }));
        }
        assert!(matches!(calls.begin(&key("more"), [0; 32], now), Standing::Full));
        calls.finish(&key("0"), done());
        assert!(matches!(calls.begin(&key("more"), [0; 32], now), Standing::New { before: None }));
        assert_eq!((calls.by_key.len(), calls.kept_bytes), (CALLS_MAX, 0));
    }

    /// Regression: a call of which nothing was done left its place in the order behind, for as long as an older one rested
    /// before it.
    #[test]
    fn calls_of_which_nothing_was_done_leave_nothing_behind() {
        let (mut calls, now) = (Calls::default(), Instant::now());
        assert!(matches!(calls.begin(&key("kept"), [0; 32], now), Standing::New { before: None }));
        calls.finish(&key("kept"), done());
        for n in 0..100_000 {
            let again = key(&(n % 7).to_string());
            assert!(matches!(calls.begin(&again, [0; 32], now), Standing::New { before: None }));
            calls.finish(&again, Ended::Undone);
        }
        assert_eq!((calls.by_key.len(), calls.order.len()), (1, 1));
        assert!(matches!(calls.begin(&key("kept"), [0; 32], now), Standing::Done(_)));
    }

    #[test]
    fn answers_are_bounded_in_bytes_even_while_the_oldest_call_is_under_way() {
        let (mut calls, now) = (Calls::default(), Instant::now());
        assert!(matches!(calls.begin(&key("slow"), [0; 32], now), Standing::New { before: None }));
        let long = || Ended::Done(Kept { status: StatusCode::OK, body: Bytes::from(vec![b'x'; BODY_BYTES_MAX]) });
        let mut done = 0;
        while matches!(calls.begin(&key(&done.to_string()), [0; 32], now), Standing::New { before: None }) {
            calls.finish(&key(&done.to_string()), long());
            done += 1;
        }
        assert_eq!(done, KEPT_BYTES_MAX / BODY_BYTES_MAX + 1);
        calls.finish(&key("slow"), Ended::Undone);
        assert!(matches!(calls.begin(&key("more"), [0; 32], now), Standing::New { before: None }));
        assert!(calls.kept_bytes <= KEPT_BYTES_MAX);
    }
}
