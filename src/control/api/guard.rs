//! What stands before every call: the key, the bounds, the calls that were made before.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use axum::Extension;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::Body as _;
use tokio::time::{Instant, timeout};

use super::super::idempotency::{CallKey, Ended, Kept, Standing};
use super::super::keys::{self, GUESS_AGAIN_AFTER};
use super::super::metrics::{Family, Kind, Sample, Value};
use super::super::routes::Peer;
use super::{Api, Caller, Ending, Problem};

/// How calls ended.
#[derive(Default, Debug)]
pub(in super::super) struct ApiCounts {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    wrong_keys: AtomicU64,
    replayed: AtomicU64,
}

/// A closed set, for the label.
#[derive(Clone, Copy)]
enum Outcome {
    Done,
    Refused,
    Unavailable,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Done, Self::Refused, Self::Unavailable];

    fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            0..400 => Self::Done,
            400..500 => Self::Refused,
            500.. => Self::Unavailable,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

impl ApiCounts {
    /// For the scrape; `late` is the desk's.
    pub(in super::super) fn families(&self, late: u64) -> Vec<Family> {
        let sample = |outcome: &Outcome| Sample {
            labels: vec![("outcome", outcome.name().to_owned())],
            value: Value::Number(self.outcomes[*outcome as usize].load(Ordering::Relaxed)),
        };
        let single = |name, help, value| Family::single(name, help, Kind::Counter, value);
        vec![
            Family {
                name: "throng_api_calls",
                help: "Calls of the HTTP API, by how they ended",
                kind: Kind::Counter,
                samples: Outcome::ALL.iter().map(sample).collect(),
            },
            single("throng_api_wrong_keys", "Calls without a known key", self.wrong_keys.load(Ordering::Relaxed)),
            single(
                "throng_api_replayed",
                "Calls answered as their Idempotency-Key had been before",
                self.replayed.load(Ordering::Relaxed),
            ),
            single("throng_api_answers_late", "Answers of shards that nobody waited for any more", late),
        ]
    }
}

/// What a server that was never called would show, for whoever has to know their names.
pub fn families() -> Vec<Family> {
    ApiCounts::default().families(0)
}

/// Lets a call through, or says why not.
pub(super) async fn guard(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let counts = Arc::clone(&api.counts);
    let answer = match admit(&api, peer, request, next).await {
        Ok(answer) => answer,
        Err(problem) => problem.into_response(),
    };
    counts.outcomes[Outcome::of(answer.status()) as usize].fetch_add(1, Ordering::Relaxed);
    answer
}

async fn admit(api: &Api, peer: Peer, request: Request, next: Next) -> Result<Response, Problem> {
    let name = authenticate(api, peer, request.headers())?;
    let Ok(permit) = Arc::clone(&api.permits).try_acquire_owned() else {
        return Err(Problem::busy("too many calls at a time: nothing was done"));
    };
    let (mut parts, body) = request.into_parts();
    let Ok(body) = timeout(BODY_TIME_MAX, read_body(body, api.desk.rules().body_bytes_max())).await else {
        let sentence = "the body did not come within 10 s";
        return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "slow_body", sentence));
    };
    let body = body?;
    let key = call_key(&parts.method, &parts.headers, &name)?;
    let Some(key) = key else {
        parts.extensions.insert(Caller { name, patience: api.patience.plain, before: None });
        let answer = next.run(Request::from_parts(parts, Body::from(body))).await;
        drop(permit);
        return Ok(answer);
    };
    let print = fingerprint(&parts.method, parts.uri.path(), &body);
    let standing = api.calls.lock().unwrap_or_else(PoisonError::into_inner).begin(&key, print, Instant::now());
    let before = match standing {
        Standing::New { before } => before,
        Standing::Done(kept) => {
            api.counts.replayed.fetch_add(1, Ordering::Relaxed);
            return Ok(replay(kept));
        }
        Standing::UnderWay => return Err(under_way()),
        Standing::OtherRequest => {
            let sentence =
                "this Idempotency-Key was used for another request: draw a new key for each thing to be done";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_other_request", sentence));
        }
        Standing::Full => return Err(Problem::busy("too many calls with an Idempotency-Key are under way")),
    };
    parts.extensions.insert(Caller { name, patience: api.patience.with_key, before });
    let work = run_to_the_end(api.clone(), key, next, Request::from_parts(parts, Body::from(body)));
    // On its own, so that it comes to its end even if the caller goes away.
    let work = tokio::spawn(async move {
        let answer = work.await;
        drop(permit);
        answer
    });
    match timeout(api.patience.told, work).await {
        Ok(Ok((kept, retry_after))) => {
            let mut answer = answer_of(kept);
            answer.headers_mut().extend(retry_after.map(|seconds| (header::RETRY_AFTER, seconds)));
            Ok(answer)
        }
        Ok(Err(_)) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the call broke off: our fault")),
        Err(_) => Err(under_way()),
    }
}

/// Which caller this is.
fn authenticate(api: &Api, Peer(peer): Peer, headers: &HeaderMap) -> Result<String, Problem> {
    let (address, now) = (peer.to_canonical(), Instant::now());
    let rules = api.desk.rules();
    if rules.keys.is_empty() {
        let sentence = "this server has no API keys: make one with `throng api-key new` and start it with \
                        --api-key-sha256 or --api-keys-file";
        return Err(Problem::new(StatusCode::FORBIDDEN, "no_keys", sentence));
    }
    let bearer = |value: &HeaderValue| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().to_owned())
    };
    let text = headers.get(header::AUTHORIZATION).and_then(bearer);
    // First of all: whoever has the key is not kept out by others who guess at the same address, a proxy's perhaps.
    if let Some(key) = text.and_then(|text| keys::find(&rules.keys, &text)) {
        return Ok(key.name().to_owned());
    }
    api.counts.wrong_keys.fetch_add(1, Ordering::Relaxed);
    if !api.guesses.lock().unwrap_or_else(PoisonError::into_inner).note_wrong(address, now) {
        let wait_ms = u32::try_from(GUESS_AGAIN_AFTER.as_millis()).unwrap_or(u32::MAX);
        let sentence = "too many wrong keys came from this address: wait a second before another";
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "guessing", sentence).again_after_ms(wait_ms));
    }
    let sentence = "no key of this server came with the call: send `Authorization: Bearer <key>`";
    Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", sentence))
}

/// The whole body. What is too long is read on for a while and thrown away: who is still sending does not look for an
/// answer.
async fn read_body(mut body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let (mut taken, mut discarded) = (Vec::new(), 0);
    while discarded <= DISCARDED_BYTES_MAX
        && let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
    {
        let frame = frame.map_err(|_| Problem::malformed("the body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if discarded > 0 || taken.len() + data.len() > bytes_max {
            discarded += taken.len() + data.len();
            taken = Vec::new();
        } else {
            taken.extend_from_slice(&data);
        }
    }
    if discarded == 0 {
        return Ok(Bytes::from(taken));
    }
    let sentence = format!("the body is longer than {bytes_max} bytes");
    Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_big", sentence))
}

fn call_key(method: &Method, headers: &HeaderMap, caller: &str) -> Result<Option<CallKey>, Problem> {
    let Some(key) = headers.get("idempotency-key").filter(|_| method == Method::POST) else { return Ok(None) };
    match key.to_str().ok().filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len())) {
        Some(key) => Ok(Some(CallKey { caller: caller.to_owned(), key: key.to_owned() })),
        None => {
            let sentence = format!("an Idempotency-Key has 1 to {KEY_BYTES_MAX} printable characters of ASCII");
            Err(Problem::new(StatusCode::BAD_REQUEST, "idempotency_key", sentence))
        }
    }
}

/// Does the call and keeps its answer, unless it is to be made again.
async fn run_to_the_end(api: Api, key: CallKey, next: Next, request: Request) -> (Kept, Option<HeaderValue>) {
    let (mut parts, body) = next.run(request).await.into_parts();
    // Our own answers lie in memory whole.
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let kept = Kept { status: parts.status, body };
    let ended = match parts.extensions.get() {
        None => Ended::Done(kept.clone()),
        Some(Ending::Again) => Ended::Undone,
        Some(Ending::Partly) => Ended::Partly(kept.body.clone()),
    };
    api.calls.lock().unwrap_or_else(PoisonError::into_inner).finish(&key, ended);
    (kept, parts.headers.remove(header::RETRY_AFTER))
}

fn answer_of(kept: Kept) -> Response {
    let kind = if kept.status.is_success() { "application/json" } else { "application/problem+json" };
    (kept.status, [(header::CONTENT_TYPE, kind)], kept.body).into_response()
}

fn replay(kept: Kept) -> Response {
    let mut answer = answer_of(kept);
    answer.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    answer
}

fn under_way() -> Problem {
    let sentence = "the call with this Idempotency-Key is still under way: ask again with the same key";
    Problem::new(StatusCode::CONFLICT, "idempotency_under_way", sentence).again_after_ms(1_000)
}

/// SHA-256 over what a call asks for.
fn fingerprint(method: &Method, path: &str, body: &Bytes) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in [method.as_str().as_bytes(), path.as_bytes()] {
        context.update(part);
        context.update(b"\n");
    }
    context.update(body);
    let mut print = [0; 32];
    print.copy_from_slice(context.finish().as_ref());
    print
}

const BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// Of a body that is too long.
const DISCARDED_BYTES_MAX: usize = 16 << 20;
const KEY_BYTES_MAX: usize = 128;
