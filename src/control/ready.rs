//! `/healthz` (does it live?) and `/readyz` (should it be sent people now?), each "no" with its reasons.
//!
//! Promises: looks at numbers the shards leave behind and never waits for a shard, so that it answers when one stands
//! still; every reason is a word of a closed set and a sentence. Must never say more than a number about users or rooms.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use crate::runtime::Shortage;
use crate::runtime::scrape::{Counts, silence_ms_max};

/// A shard that has not taken a tick for so long, and for four ticks, stands still.
pub const STALLED_MS: u64 = 5_000;

/// Where the house is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// Not all shards accept yet.
    Starting,
    Serving,
    /// It was asked to end: nobody new is taken in.
    Draining,
}

/// How the house is now.
#[derive(Clone, Debug)]
pub struct Standing {
    pub life: Life,
    /// How many places for connections there are, if newcomers find none of them.
    pub full: Option<u64>,
    /// What newcomers lack at each shard, in the order of shards.
    pub shortages: Vec<Option<Shortage>>,
    /// Milliseconds since each shard took its last tick, in the order of shards.
    pub silent_ms: Vec<u64>,
    /// The tick, in milliseconds.
    pub tick_ms: u64,
    /// Needed dependencies that are away: which, and why, as a sentence.
    pub away: Vec<(&'static str, String)>,
}

/// Asked at each request, on the control plane's thread. It may read atomics; it must not wait.
pub type Look = Arc<dyn Fn() -> Standing + Send + Sync>;

/// Why the house should not be sent people, or is not well.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Reason {
    /// `starting`, `draining`, `full`, `stalled` or `dependency`.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

impl Standing {
    /// Nothing runs yet.
    pub fn starting() -> Self {
        let (full, shortages, silent_ms, away) = (None, Vec::new(), Vec::new(), Vec::new());
        Self { life: Life::Starting, full, shortages, silent_ms, tick_ms: 0, away }
    }

    /// What the shards left behind at their last tick.
    pub fn of(counts: &Counts) -> Self {
        let life = if counts.is_leaving() { Life::Draining } else { Life::Serving };
        let (silent_ms, tick_ms) = (counts.silent_ms().collect(), counts.tick_ms());
        let full = counts.is_full().then(|| counts.places().1);
        Self { life, full, shortages: counts.shortages().collect(), silent_ms, tick_ms, away: Vec::new() }
    }

    /// Whether every shard has taken a tick within `patience_ms`, or within four ticks.
    pub fn turns_within(&self, patience_ms: u64) -> bool {
        let most_ms = silence_ms_max(patience_ms, self.tick_ms);
        self.silent_ms.iter().all(|silent_ms| *silent_ms <= most_ms)
    }

    /// Shards that stand still.
    pub fn stalled(&self) -> Vec<Reason> {
        let stalled_ms = silence_ms_max(STALLED_MS, self.tick_ms);
        let silent = self.silent_ms.iter().enumerate().filter(|(_, silent_ms)| **silent_ms >= stalled_ms);
        let sentence = |(shard, silent_ms): (usize, &u64)| {
            let seconds = silent_ms / 1_000;
            Reason { reason: "stalled", message: format!("shard {shard} has not turned for {seconds} s") }
        };
        silent.map(sentence).collect()
    }

    /// Everything that speaks against sending people here. None: it is ready.
    pub fn reasons(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let mut say = |reason, message: String| reasons.push(Reason { reason, message });
        match self.life {
            Life::Starting => say("starting", "not all shards take connections yet".to_owned()),
            Life::Draining => say("draining", "it was asked to end and takes nobody new".to_owned()),
            Life::Serving => {}
        }
        if let Some(places) = self.full {
            say("full", format!("all {places} places are taken"));
        }
        for (shard, shortage) in self.shortages.iter().enumerate() {
            // Where all are taken they are taken at each shard, too.
            if let Some(shortage) = shortage.filter(|what| self.full.is_none() || *what != Shortage::Places) {
                say("full", shortage.sentence(shard));
            }
        }
        for (name, why) in &self.away {
            say("dependency", format!("{name} is away: {why}"));
        }
        reasons.extend(self.stalled());
        reasons
    }
}

/// `/healthz` alone: for the public listener, too.
pub(super) fn health_routes(look: Look) -> Router {
    Router::new().route("/healthz", get(health).with_state(look))
}

/// `/readyz` alone.
pub(super) fn ready_routes(look: Look) -> Router {
    Router::new().route("/readyz", get(ready).with_state(look))
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    reasons: Vec<Reason>,
}

#[derive(Serialize)]
struct Illness {
    healthy: bool,
    reasons: Vec<Reason>,
}

async fn health(State(look): State<Look>) -> Response {
    let reasons = look().stalled();
    if reasons.is_empty() {
        return fresh(StatusCode::OK, "ok\n");
    }
    fresh(StatusCode::SERVICE_UNAVAILABLE, Json(Illness { healthy: false, reasons }))
}

async fn ready(State(look): State<Look>) -> Response {
    let reasons = look().reasons();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    fresh(status, Json(Readiness { ready: reasons.is_empty(), reasons }))
}

/// Yesterday's answer is nobody's answer.
fn fresh(status: StatusCode, body: impl IntoResponse) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serving(silent_ms: &[u64]) -> Standing {
        Standing { life: Life::Serving, silent_ms: silent_ms.to_vec(), tick_ms: 100, ..Standing::starting() }
    }

    fn words(standing: &Standing) -> Vec<&'static str> {
        standing.reasons().into_iter().map(|reason| reason.reason).collect()
    }

    #[test]
    fn each_reason_has_its_word_and_its_sentence() {
        let well = || serving(&[0, STALLED_MS - 1]);
        assert_eq!(words(&well()), [""; 0]);
        assert_eq!(words(&Standing::starting()), ["starting"]);
        assert_eq!(words(&Standing { life: Life::Draining, ..well() }), ["draining"]);
        let full = Standing { full: Some(10), ..well() };
        assert_eq!(full.reasons()[0].message, "all 10 places are taken");
        let away = Standing { away: vec![("jwks", "no answer for 30 s".to_owned())], ..well() };
        assert_eq!(away.reasons()[0].message, "jwks is away: no answer for 30 s");
        let still = serving(&[7_200, 100]);
        assert_eq!(words(&still), ["stalled"]);
        assert_eq!(still.stalled()[0].message, "shard 0 has not turned for 7 s");
    }

    /// Regression: only the places of the whole process were looked at, and one full shard of several turned its part of the
    /// newcomers away while the server said that it was ready.
    #[test]
    fn one_shard_that_lacks_something_for_newcomers_is_enough_and_is_named() {
        let lacks = |what| Standing { shortages: vec![None, Some(what)], ..serving(&[0, 0]) };
        for what in [Shortage::Places, Shortage::Descriptors, Shortage::Engine] {
            let reasons = lacks(what).reasons();
            assert_eq!((reasons.len(), reasons[0].reason), (1, "full"), "{what:?}");
            assert!(
                reasons[0].message.starts_with("shard 1 had no ") || reasons[0].message.starts_with("shard 1 has no ")
            );
        }
        let all = Standing { full: Some(10), ..lacks(Shortage::Places) };
        assert_eq!(words(&all), ["full"], "what holds for all is not said of each");
    }

    /// Regression: with a tick of 8 s every shard stood still for three seconds of every eight.
    #[test]
    fn a_shard_is_not_silent_before_it_has_missed_some_ticks() {
        let of = |tick_ms, silent_ms| Standing { tick_ms, ..serving(&[silent_ms]) };
        for (tick_ms, bound_ms) in [(1, STALLED_MS), (1_250, STALLED_MS), (2_000, 8_000), (10_000, 40_000)] {
            assert!(of(tick_ms, bound_ms - 1).stalled().is_empty(), "a tick of {tick_ms} ms");
            assert_eq!(words(&of(tick_ms, bound_ms)), ["stalled"], "a tick of {tick_ms} ms");
        }
        // The watchdog's patience is short, and the tick is longer.
        assert!(of(8_000, 8_100).turns_within(500) && !of(8_000, 32_001).turns_within(500));
        assert!(of(100, 500).turns_within(500) && !of(100, 501).turns_within(500));
    }
}
