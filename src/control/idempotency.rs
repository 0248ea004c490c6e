//! `Idempotency-Key`: a call that is made again gets the answer it got, and nothing is done twice.
//!
//! Promises: equal key and equal request give the first answer; equal key and another request are refused; a table of
//! bounded size and age, per API key. What failed on our side is not kept: making it again is what a retry is for.

use std::collections::{HashMap, VecDeque};

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
    /// It is new: do it, then [`Calls::finish`].
    New,
    /// It was done: this was the answer.
    Done(Kept),
    /// It is being done.
    UnderWay,
    /// The key was used for something else.
    OtherRequest,
    /// The table holds as many calls, or as many bytes of answers, as it may, and the oldest is under way.
    Full,
}

/// Calls with a key, by key.
#[derive(Default, Debug)]
pub(super) struct Calls {
    by_key: HashMap<CallKey, Entry>,
    /// In the order they began, for age and number.
    order: VecDeque<(Instant, CallKey)>,
    kept_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    /// SHA-256 of method, path and body.
    request: [u8; 32],
    began: Instant,
    answer: Option<Kept>,
}

impl Calls {
    /// Looks a call up and notes a new one.
    pub(super) fn begin(&mut self, key: &CallKey, request: [u8; 32], now: Instant) -> Standing {
        self.forget_old(now);
        if let Some(entry) = self.by_key.get(key) {
            return match &entry.answer {
                _ if entry.request != request => Standing::OtherRequest,
                Some(kept) => Standing::Done(kept.clone()),
                None => Standing::UnderWay,
            };
        }
        // More bytes than may be: the oldest is under way, and keeps those behind it from being forgotten.
        if self.by_key.len() >= CALLS_MAX || self.kept_bytes > KEPT_BYTES_MAX {
            return Standing::Full;
        }
        self.by_key.insert(key.clone(), Entry { request, began: now, answer: None });
        self.order.push_back((now, key.clone()));
        Standing::New
    }

    /// The call came to its end; `None`: as if it had never been.
    pub(super) fn finish(&mut self, key: &CallKey, answer: Option<Kept>) {
        let kept = answer.filter(|kept| kept.body.len() <= BODY_BYTES_MAX);
        match (kept, self.by_key.get_mut(key)) {
            (Some(kept), Some(entry)) => {
                self.kept_bytes += kept.body.len();
                entry.answer = Some(kept);
            }
            (None, _) => drop(self.by_key.remove(key)),
            (Some(_), None) => {}
        }
    }

    /// Those past the window, and the oldest that are done when there are too many.
    fn forget_old(&mut self, now: Instant) {
        while let Some((began, key)) = self.order.front() {
            let entry = self.by_key.get(key).filter(|entry| entry.began == *began);
            let (gone, done) = (entry.is_none(), entry.is_some_and(|entry| entry.answer.is_some()));
            let old = now.saturating_duration_since(*began) >= WINDOW;
            let many = self.by_key.len() >= CALLS_MAX || self.kept_bytes > KEPT_BYTES_MAX;
            if !(gone || done && (old || many)) {
                return;
            }
            if let Some((_, key)) = self.order.pop_front()
                && done
            {
                let removed = self.by_key.remove(&key).and_then(|entry| entry.answer);
                self.kept_bytes -= removed.map_or(0, |kept| kept.body.len());
            }
        }
    }
}

/// How long an answer is kept.
const WINDOW: Duration = Duration::from_secs(600);
const CALLS_MAX: usize = 10_000;
/// Of one answer; a longer one is not kept. The longest that changes something has a thousand lines of 150 bytes.
const BODY_BYTES_MAX: usize = 256 << 10;
const KEPT_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str) -> CallKey {
        CallKey { caller: "backend".to_owned(), key: key.to_owned() }
    }

    fn done() -> Option<Kept> {
        Some(Kept { status: StatusCode::OK, body: Bytes::from_static(b"{}") })
    }

    #[test]
    fn a_call_is_done_once_and_answered_alike_until_its_window_ends() {
        let (mut calls, now) = (Calls::default(), Instant::now());
        assert!(matches!(calls.begin(&key("a"), [1; 32], now), Standing::New));
        assert!(matches!(calls.begin(&key("a"), [1; 32], now), Standing::UnderWay));
        assert!(matches!(calls.begin(&key("a"), [2; 32], now), Standing::OtherRequest));
        calls.finish(&key("a"), done());
        assert!(matches!(calls.begin(&key("a"), [1; 32], now), Standing::Done(kept) if &kept.body[..] == b"{}"));
        assert!(matches!(calls.begin(&key("a"), [2; 32], now), Standing::OtherRequest));
        let elsewhere = CallKey { caller: "ops".to_owned(), ..key("a") };
        assert!(matches!(calls.begin(&elsewhere, [2; 32], now), Standing::New), "keys are each caller's own");
        assert!(matches!(calls.begin(&key("a"), [2; 32], now + WINDOW), Standing::New));
    }

    #[test]
    fn what_failed_may_be_done_again_and_is_not_forgotten_by_its_former_life() {
        let (mut calls, now) = (Calls::default(), Instant::now());
        for round in 0..3 {
            let at = now + Duration::from_secs(round);
            assert!(matches!(calls.begin(&key("a"), [1; 32], at), Standing::New));
            calls.finish(&key("a"), None);
        }
        assert!(matches!(calls.begin(&key("a"), [1; 32], now + Duration::from_secs(590)), Standing::New));
        calls.finish(&key("a"), done());
        assert!(matches!(calls.begin(&key("a"), [1; 32], now + WINDOW), Standing::Done(_)));
    }

    #[test]
    fn the_table_is_bounded_and_lets_go_of_the_oldest_that_are_done() {
        let (mut calls, now) = (Calls::default(), Instant::now());
        for n in 0..CALLS_MAX {
            assert!(matches!(calls.begin(&key(&n.to_string()), [0; 32], now), Standing::New));
        }
        assert!(matches!(calls.begin(&key("more"), [0; 32], now), Standing::Full));
        calls.finish(&key("0"), done());
        assert!(matches!(calls.begin(&key("more"), [0; 32], now), Standing::New));
        assert_eq!((calls.by_key.len(), calls.kept_bytes), (CALLS_MAX, 0));
    }

    #[test]
    fn answers_are_bounded_in_bytes_even_while_the_oldest_call_is_under_way() {
        let (mut calls, now) = (Calls::default(), Instant::now());
        assert!(matches!(calls.begin(&key("slow"), [0; 32], now), Standing::New));
        let long = || Some(Kept { status: StatusCode::OK, body: Bytes::from(vec![b'x'; BODY_BYTES_MAX]) });
        let mut done = 0;
        while matches!(calls.begin(&key(&done.to_string()), [0; 32], now), Standing::New) {
            calls.finish(&key(&done.to_string()), long());
            done += 1;
        }
        assert_eq!(done, KEPT_BYTES_MAX / BODY_BYTES_MAX + 1);
        calls.finish(&key("slow"), None);
        assert!(matches!(calls.begin(&key("more"), [0; 32], now), Standing::New));
        assert!(calls.kept_bytes <= KEPT_BYTES_MAX);
    }
}
