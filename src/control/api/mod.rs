//! `/api/v1`: a backend speaks, an operator sees and stops.
//!
//! Promises: nothing happens without a key; what is read is bounded in size, number and time; each call costs the shards
//! one letter, or one each where all must look; every "no" is a [`Problem`]. It must never know a room: it asks.

mod document;
mod guard;
mod people;
mod problem;
mod publish;
mod rooms;
#[cfg(test)]
mod tests;
mod tokens;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

pub use document::document;
pub(super) use guard::ApiCounts;
pub use guard::families;
pub(super) use problem::Problem;
pub(super) use tokens::RevokeRequest;

use super::admin::AdminRules;
use super::desk::{Call, Desk};
use super::idempotency::Calls;
use super::keys::Guesses;
use super::revoker::Revoker;
use crate::base::{Encoding, Identity};
use crate::shard::Answer;
use crate::wire::prove;

/// What every call shares.
#[derive(Clone)]
pub(super) struct Api {
    desk: Desk,
    revoker: Revoker,
    calls: Arc<Mutex<Calls>>,
    guesses: Arc<Mutex<Guesses>>,
    permits: Arc<Semaphore>,
    /// Of calls that wait until something is said.
    polls: Arc<Semaphore>,
    patience: Patience,
    counts: Arc<ApiCounts>,
}

/// Whose key a call came with.
#[derive(Clone, Debug)]
struct Caller {
    name: String,
    /// How long the shards may take.
    patience: Duration,
    /// With an Idempotency-Key: the body this call was answered with when it was done in part.
    before: Option<Bytes>,
}

/// What is left of a call with an Idempotency-Key; travels with its answer to the guard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    /// The call may be made again, and is done again.
    Again,
    /// Likewise, but for the part that is done.
    Partly,
}

/// An answer, and what is left; `None`: made again, the call gets this very answer.
struct Ends<T>(T, Option<Ending>);

impl<T: Serialize> IntoResponse for Ends<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.0).into_response();
        if let Some(ending) = self.1 {
            response.extensions_mut().insert(ending);
        }
        response
    }
}

/// How long calls may take.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// What the shards are given.
    plain: Duration,
    /// Likewise where a key makes sure that the answer is found again.
    with_key: Duration,
    /// After this a caller with a key is told to ask again.
    told: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        // A caller's own time-out comes first: a second more than without a key.
        Self { plain: Duration::from_secs(5), with_key: Duration::from_secs(60), told: Duration::from_secs(6) }
    }
}

impl Api {
    pub(super) fn new(desk: Desk, revoker: Revoker, counts: Arc<ApiCounts>) -> Self {
        Self {
            desk,
            revoker,
            calls: Arc::default(),
            guesses: Arc::default(),
            permits: Arc::new(Semaphore::new(CALLS_MAX)),
            polls: Arc::new(Semaphore::new(POLLS_MAX)),
            patience: Patience::default(),
            counts,
        }
    }

    /// All routes, to be nested at `/api/v1`.
    pub(super) fn router(self) -> Router {
        let guarded = Router::new()
            .route("/publish", post(publish::publish))
            .route("/publish/batch", post(publish::publish_batch))
            .route("/broadcast", post(publish::broadcast))
            .route("/users/{user}/messages", post(publish::send))
            .route("/users/{user}/connections", get(people::connections))
            .route("/users/{user}/disconnect", post(people::disconnect_user))
            .route("/connections/{connection}/disconnect", post(people::disconnect_connection))
            .route("/rooms", get(rooms::rooms))
            .route("/rooms/{room}/presence", get(rooms::presence))
            .route("/rooms/{room}/history", get(rooms::history))
            .route("/rooms/{room}/disconnect", post(people::disconnect_room))
            .route("/top", get(rooms::top))
            .route("/tickets", post(tokens::ticket))
            .route("/revoke", post(tokens::revoke))
            .fallback(async || {
                let sentence = "there is no such call: see /api/v1/openapi.json";
                Problem::new(StatusCode::NOT_FOUND, "not_found", sentence)
            })
            .method_not_allowed_fallback(async || {
                let sentence = "this call is made with another method: see /api/v1/openapi.json";
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", sentence)
            })
            .layer(middleware::from_fn_with_state(self.clone(), guard::guard))
            .with_state(self);
        Router::new().route("/openapi.json", get(document::serve)).fallback_service(guarded)
    }
}

/// A piece of the path, decoded.
struct Segment(String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let taken: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        match taken {
            Ok(Path(text)) => Ok(Self(text)),
            Err(error) => Err(Problem::malformed(format!("the path is not percent-encoded UTF-8: {error}"))),
        }
    }
}

/// What stands behind the `?`.
struct Params<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let taken: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        match taken {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => Err(Problem::malformed(error.body_text())),
        }
    }
}

/// Somebody, and what others are shown beside the name: as bounded as the `info` of a token.
fn person(rules: &AdminRules, user: &str, info: Option<&serde_json::Value>) -> Result<Identity, Problem> {
    let info = info.map(serde_json::Value::to_string);
    if let Some(info) = &info {
        prove(Encoding::Json, info.as_bytes(), rules.depth_max)?;
    }
    Ok(Identity::new(user, info.as_deref())?)
}

/// The body as JSON. The sentence of a body that is not what is wanted says where.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body)
        .map_err(|error| Problem::malformed(format!("the body is not what this call takes: {error}")))
}

/// Hears the shards that were asked, or those that answer in time. Tells how many did what was asked.
async fn hear_all(
    call: &mut Call,
    asked: usize,
    mut take: impl FnMut(Answer) -> Result<(), Answer>,
) -> Result<usize, Problem> {
    let (mut heard, mut answered) = (0, 0);
    while heard < asked
        && let Ok(answer) = call.next().await
    {
        heard += 1;
        if !matches!(answer, Answer::Refused(_)) {
            take(answer).map_err(publish::unexpected)?;
            answered += 1;
        }
    }
    Ok(answered)
}

/// Calls served at once; one more is told `busy`.
const CALLS_MAX: usize = 256;
/// Of these, calls that wait for news; one more is told `busy`. Fewer than the admin listener has connections, so that
/// followers keep nobody from revoking.
const POLLS_MAX: usize = 96;
const _: () = assert!(POLLS_MAX + 32 <= super::admin::CONNECTIONS_MAX && POLLS_MAX + 32 <= CALLS_MAX);
