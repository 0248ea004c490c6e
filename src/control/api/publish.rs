//! Saying something by API: to a room, to many rooms, to everybody, to one user.
//!
//! Promises: what is said is proved before it goes to a shard; it goes through the room's home like everything else that
//! is said there, one letter per call and home, and the answer is its position.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;

use super::super::desk::NoAnswer;
use super::{Api, Caller, Ending, Ends, Problem, Segment, person, read};
use crate::base::{Encoding, Identity, Position, RoomName, ShardId};
use crate::shard::{Answer, Audience, Notice, Question};
use crate::wire::{Refusal, is_event_name, prove};

/// One message for one room.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishRequest {
    /// 1 to 128 bytes of `A-Z a-z 0-9 : _ . - @ / +`.
    room: String,
    /// Any JSON value. Carried as it came.
    #[schema(value_type = serde_json::Value)]
    data: Box<RawValue>,
    /// A name for what the message is: 1 to 64 bytes of `A-Z a-z 0-9 : _ . -`.
    event: Option<String>,
    /// Who says it, as readers see it. Default: the name of the API key.
    from: Option<Author>,
}

/// Who says something.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Author {
    /// 1 to 128 bytes without control characters.
    user: String,
    /// Shown to readers beside the user: at most 256 bytes of JSON.
    info: Option<serde_json::Value>,
}

/// Many messages, each for its room.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchRequest {
    /// At most 1,000. Those of one room are published in this order.
    messages: Vec<PublishRequest>,
}

/// A message that needs no room to be named.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AnnounceRequest {
    /// Any JSON value. Carried as it came.
    #[schema(value_type = serde_json::Value)]
    data: Box<RawValue>,
    /// A name for what the message is: 1 to 64 bytes of `A-Z a-z 0-9 : _ . -`.
    event: Option<String>,
    /// Who says it, as readers see it. Default: the name of the API key.
    from: Option<Author>,
}

/// The receipt of a message.
#[derive(Serialize, ToSchema)]
pub(super) struct Published {
    room: String,
    /// The room's life, 16 hex digits.
    epoch: String,
    /// The message's place in it.
    offset: u64,
    /// How safely it is kept: `memory`.
    #[schema(value_type = String)]
    level: &'static str,
}

/// What became of each message, in the order given.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct BatchResult {
    #[schema(value_type = Vec<Outcome>)]
    results: Vec<Box<RawValue>>,
}

/// What became of one message.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Outcome {
    Published(Published),
    Refused(Problem),
}

/// The receipt of a message that goes to people wherever they sit.
#[derive(Serialize, ToSchema)]
pub(super) struct Announced {
    #[serde(flatten)]
    published: Published,
    /// Connections it was written to, or will be in a moment.
    reached: u64,
    /// Connections that read too slowly to be told.
    passed_over: u64,
    /// Whether every shard had told its people when this was answered. `false`: it goes on where it can, and the counts
    /// are of the shards that have reported. It is published either way, and not to be said again.
    complete: bool,
}

/// Say something in a room.
#[utoipa::path(post, path = "/publish", tag = "messages", request_body = PublishRequest,
    responses((status = 200, body = Published)))]
pub(super) async fn publish(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<Published>, Problem> {
    let request: PublishRequest = read(&body)?;
    let notice = notice(&api, &caller, request)?;
    let room = notice.room.clone();
    let home = api.desk.home(room.as_str())?;
    match ask_to_publish(&api, &caller, home, vec![notice]).await?.pop() {
        Some(Ok(position)) => Ok(Json(Published::new(&room, position))),
        Some(Err(refusal)) => Err(refusal.into()),
        None => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the shard gave no position")),
    }
}

/// Say many things at once.
///
/// Each message is accepted or refused for itself. One letter goes to each shard that is home to some of the rooms. Made
/// again with the same Idempotency-Key, those are tried again whose result has a `retry_after_ms`, and no others.
#[utoipa::path(post, path = "/publish/batch", tag = "messages", request_body = BatchRequest,
    responses((status = 200, body = BatchResult)))]
pub(super) async fn publish_batch(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Ends<BatchResult>, Problem> {
    let request: BatchRequest = read(&body)?;
    if request.messages.len() > BATCH_MAX {
        let sentence = format!("{} messages in one call: at most {BATCH_MAX} are taken", request.messages.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_big", sentence));
    }
    let mut results = settled(caller.before.as_deref(), request.messages.len());
    let mut by_home: Vec<Vec<(usize, Notice)>> = (0..api.desk.shards()).map(|_| Vec::new()).collect();
    let mut ending = None;
    for (at, message) in request.messages.into_iter().enumerate() {
        if results[at].is_some() {
            continue;
        }
        match notice(&api, &caller, message) {
            Ok(notice) => by_home[api.desk.home(notice.room.as_str())?.index()].push((at, notice)),
            Err(problem) => results[at] = Some(Outcome::Refused(problem).written()?),
        }
    }
    let mut calls = Vec::new();
    for (home, letters) in (0..).map(ShardId).zip(by_home).filter(|(_, letters)| !letters.is_empty()) {
        let places: Vec<(usize, RoomName)> = letters.iter().map(|(at, notice)| (*at, notice.room.clone())).collect();
        let notices = letters.into_iter().map(|(_, notice)| notice).collect();
        // All homes are asked before the first answer is awaited.
        let call = api.desk.ask(home, Question::Publish(notices), caller.patience);
        calls.push((places, call));
    }
    for (places, call) in calls {
        let answer = match call {
            Ok(mut call) => call.next().await,
            Err(none) => Err(none),
        };
        let positions = positions_of(answer, places.len());
        for ((at, room), position) in places.into_iter().zip(positions) {
            let outcome = match position {
                Ok(position) => Outcome::Published(Published::new(&room, position)),
                Err(problem) => Outcome::Refused(problem),
            };
            if matches!(&outcome, Outcome::Refused(problem) if problem.may_come_again()) {
                ending = Some(Ending::Partly);
            }
            results[at] = Some(outcome.written()?);
        }
    }
    Ok(Ends(BatchResult { results: results.into_iter().flatten().collect() }, ending))
}

/// The results that stand, of a batch that was answered before: of those that may be tried again there is none.
fn settled(before: Option<&[u8]>, messages: usize) -> Vec<Option<Box<RawValue>>> {
    #[derive(Deserialize)]
    struct Again {
        retry_after_ms: Option<u32>,
    }
    let stands = |result: &RawValue| {
        !serde_json::from_str(result.get()).is_ok_and(|Again { retry_after_ms }| retry_after_ms.is_some())
    };
    let before = before.and_then(|before| serde_json::from_slice::<BatchResult>(before).ok());
    // The same request: as many messages.
    match before.filter(|before| before.results.len() == messages) {
        Some(before) => before.results.into_iter().map(|result| Some(result).filter(|result| stands(result))).collect(),
        None => (0..messages).map(|_| None).collect(),
    }
}

/// Say something to everybody who is connected.
///
/// It is published in the room `@all` and goes to every connection, whether it sits there or not. It is paced: at most
/// 2,500 connections and 16 MiB per shard and tenth of a second.
#[utoipa::path(post, path = "/broadcast", tag = "messages", request_body = AnnounceRequest,
    responses((status = 200, body = Announced)))]
pub(super) async fn broadcast(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<Announced>, Problem> {
    announce(&api, &caller, Audience::Everybody, EVERYBODY.to_owned(), &body).await.map(Json)
}

/// Say something to one user.
///
/// It is published in the room `@` + user and goes to all connections the user has now. Nobody else hears it.
#[utoipa::path(post, path = "/users/{user}/messages", tag = "messages", request_body = AnnounceRequest,
    params(("user" = String, Path, description = "The `sub` of the user's tokens")),
    responses((status = 200, body = Announced)))]
pub(super) async fn send(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Segment(user): Segment,
    body: Bytes,
) -> Result<Json<Announced>, Problem> {
    let user = Identity::new(&user, None)?;
    let inbox = format!("@{}", user.user());
    // A user called `all` would be told in everybody's room.
    if RoomName::check(&inbox).is_err() || inbox == EVERYBODY {
        let sentence = "this user has no inbox: `@` and the user make no room name (1 to 128 bytes of \
                        A-Z a-z 0-9 : _ . - @ / +), or the one of everybody";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, Refusal::BadRoom.code(), sentence));
    }
    announce(&api, &caller, Audience::User(user), inbox, &body).await.map(Json)
}

async fn announce(api: &Api, caller: &Caller, to: Audience, room: String, body: &[u8]) -> Result<Announced, Problem> {
    let AnnounceRequest { data, event, from } = read(body)?;
    let notice = notice(api, caller, PublishRequest { room, data, event, from })?;
    let room = notice.room.clone();
    let home = api.desk.home(room.as_str())?;
    let mut call = api.desk.ask(home, Question::Announce { to, notice: Box::new(notice) }, caller.patience)?;
    let (mut position, mut reached, mut passed_over, mut reported) = (None, 0, 0, 0);
    while position.is_none() || reported < api.desk.shards() {
        match call.next().await {
            Ok(Answer::Announced(given)) => position = Some(given),
            Ok(Answer::Reached { connections, passed_over: slow }) => {
                (reached, passed_over, reported) = (reached + connections, passed_over + slow, reported + 1);
            }
            // A shard whose list of errands is full tells nobody.
            Ok(Answer::Refused(_)) if position.is_some() => break,
            Ok(answer) => return Err(unexpected(answer)),
            Err(none) if position.is_none() => return Err(Problem::unsaid(none)),
            Err(_) => break,
        }
    }
    let complete = reported == api.desk.shards();
    let Some(position) = position else { return Err(Problem::unsaid(NoAnswer::TimeOut)) };
    Ok(Announced { published: Published::new(&room, position), reached, passed_over, complete })
}

async fn ask_to_publish(
    api: &Api,
    caller: &Caller,
    home: ShardId,
    notices: Vec<Notice>,
) -> Result<Vec<Result<Position, Refusal>>, Problem> {
    let mut call = api.desk.ask(home, Question::Publish(notices), caller.patience)?;
    let answer = call.next().await.map_err(Problem::unsaid)?;
    let Answer::Published(positions) = answer else { return Err(unexpected(answer)) };
    Ok(positions)
}

/// One outcome for each message of a home, whatever came back.
fn positions_of(answer: Result<Answer, NoAnswer>, messages: usize) -> Vec<Result<Position, Problem>> {
    let problem = match answer {
        Ok(Answer::Published(positions)) => {
            return positions.into_iter().map(|position| position.map_err(Problem::from)).collect();
        }
        Ok(answer) => unexpected(answer),
        Err(none) => Problem::unsaid(none),
    };
    (0..messages).map(|_| Err(problem.clone())).collect()
}

/// Checks everything that can be checked without the room.
fn notice(api: &Api, caller: &Caller, request: PublishRequest) -> Result<Notice, Problem> {
    let rules = api.desk.rules();
    let room = RoomName::parse(&request.room)?;
    if let Some(event) = request.event.as_deref().filter(|event| !is_event_name(event)) {
        let sentence = format!("`event` has 1 to 64 bytes of A-Z a-z 0-9 : _ . -, and {} has not", quoted(event));
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_event", sentence));
    }
    let from = match request.from {
        Some(Author { user, info }) => person(&rules, &user, info.as_ref())?,
        None => Identity::new(&caller.name, None)?,
    };
    let data = request.data.get().as_bytes();
    if data.len() > rules.message_bytes_max {
        let sentence = format!("`data` has {} bytes: at most {} are taken", data.len(), rules.message_bytes_max);
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_big", sentence));
    }
    let payload = prove(Encoding::Json, data, rules.depth_max)?.to_payload();
    Ok(Notice { room, from, event: request.event.map(Box::from), payload })
}

/// A few characters of what somebody sent, for a sentence, which stays short however they are escaped.
fn quoted(text: &str) -> String {
    let escaped = format!("{:?}", text.chars().take(QUOTED_CHARS_MAX).collect::<String>());
    escaped.chars().take(QUOTED_CHARS_MAX).collect()
}

pub(super) fn unexpected(answer: Answer) -> Problem {
    match answer {
        Answer::Refused(refusal) => refusal.into(),
        Answer::Published(_)
        | Answer::Announced(_)
        | Answer::Reached { .. }
        | Answer::Presence(_)
        | Answer::History(_)
        | Answer::Rooms { .. }
        | Answer::Connections { .. }
        | Answer::Ticket(_)
        | Answer::Revoked(_) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "a shard answered another question")
        }
    }
}

impl Outcome {
    fn written(&self) -> Result<Box<RawValue>, Problem> {
        // A struct of numbers and strings cannot fail to be written.
        to_raw_value(self)
            .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "an outcome could not be written"))
    }
}

impl Published {
    fn new(room: &RoomName, position: Position) -> Self {
        Self {
            room: room.as_str().to_owned(),
            epoch: position.epoch.to_string(),
            offset: position.offset.0,
            level: "memory",
        }
    }
}

/// Messages of one call.
const BATCH_MAX: usize = 1_000;
const QUOTED_CHARS_MAX: usize = 80;
/// The room of broadcasts.
const EVERYBODY: &str = "@all";
