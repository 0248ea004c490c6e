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

use crate::runtime::scrape::Counts;

/// A shard that has not taken a tick for so long stands still.
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
    /// Connections and places of each shard, and milliseconds since its last tick; in the order of shards.
    pub shards: Vec<ShardStanding>,
    /// Needed dependencies that are away: which, and why, as a sentence.
    pub away: Vec<(&'static str, String)>,
}

/// How one shard is now.
#[derive(Clone, Copy, Debug)]
pub struct ShardStanding {
    pub connections: u64,
    pub connections_max: u64,
    pub silent_ms: u64,
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
        Self { life: Life::Starting, shards: Vec::new(), away: Vec::new() }
    }

    /// What the shards left behind at their last tick.
    pub fn of(counts: &Counts) -> Self {
        let shards = counts.gauges().zip(counts.silent_ms()).map(|(gauges, silent_ms)| ShardStanding {
            connections: gauges.connections,
            connections_max: gauges.connections_max,
            silent_ms,
        });
        let life = if counts.is_leaving() { Life::Draining } else { Life::Serving };
        Self { life, shards: shards.collect(), away: Vec::new() }
    }

    /// Shards that stand still.
    pub fn stalled(&self) -> Vec<Reason> {
        let silent = self.shards.iter().enumerate().filter(|(_, shard)| shard.silent_ms >= STALLED_MS);
        let sentence = |(shard, standing): (usize, &ShardStanding)| {
            let seconds = standing.silent_ms / 1_000;
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
        for (shard, standing) in self.shards.iter().enumerate() {
            let ShardStanding { connections, connections_max, .. } = *standing;
            if connections >= connections_max {
                say("full", format!("shard {shard} holds {connections} connections and may hold {connections_max}"));
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

    fn serving(shards: &[(u64, u64, u64)]) -> Standing {
        let shard =
            |&(connections, connections_max, silent_ms)| ShardStanding { connections, connections_max, silent_ms };
        Standing { life: Life::Serving, shards: shards.iter().map(shard).collect(), away: Vec::new() }
    }

    fn words(standing: &Standing) -> Vec<&'static str> {
        standing.reasons().into_iter().map(|reason| reason.reason).collect()
    }

    #[test]
    fn each_reason_has_its_word_and_its_sentence() {
        assert_eq!(words(&serving(&[(9, 10, 0), (0, 10, STALLED_MS - 1)])), [""; 0]);
        assert_eq!(words(&Standing::starting()), ["starting"]);
        assert_eq!(words(&Standing { life: Life::Draining, ..serving(&[(0, 10, 0)]) }), ["draining"]);
        let full = serving(&[(0, 10, 0), (10, 10, 0)]);
        assert_eq!(full.reasons()[0].message, "shard 1 holds 10 connections and may hold 10");
        let away = Standing { away: vec![("jwks", "no answer for 30 s".to_owned())], ..serving(&[]) };
        assert_eq!(away.reasons()[0].message, "jwks is away: no answer for 30 s");
        let still = serving(&[(0, 10, 7_200), (0, 10, 100)]);
        assert_eq!(
            (words(&still), still.stalled()[0].message.as_str()),
            (vec!["stalled"], "shard 0 has not turned for 7 s")
        );
    }
}
