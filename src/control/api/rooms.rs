//! What is in rooms: who, what was said, and which rooms there are.

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

use super::publish::unexpected;
use super::{Api, Caller, Params, Problem, Segment, hear_all};
use crate::base::{Epoch, Offset, RoomName, ShardId};
use crate::shard::{Answer, HistoryFrom, HistoryQuestion, Question, RoomFacts};
use crate::wire::{SharedFrame, frame_content};

/// Who is in a room.
#[derive(Serialize, ToSchema)]
pub(super) struct Presence {
    room: String,
    /// In order of their names, at most 1,000.
    members: Vec<Member>,
    /// Distinct users, the true number.
    count: u32,
    /// Rises with every change that is told.
    version: u64,
    /// What the room tells of its people: `announced`, `counted` or `off` (then nobody is listed or counted).
    #[schema(value_type = String)]
    presence: &'static str,
    /// How far users have read, the furthest first, where the room keeps it.
    reads: Vec<ReadBy>,
}

/// How far one user has read.
#[derive(Serialize, ToSchema)]
pub(super) struct ReadBy {
    user: String,
    offset: u64,
}

/// One user in a room.
#[derive(Serialize, ToSchema)]
pub(super) struct Member {
    user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    info: Option<Box<RawValue>>,
    /// The user's connections in this room; 0: away, the last one was lost a moment ago.
    connections: u32,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryParams {
    /// The newest messages before this offset.
    before: Option<u64>,
    /// The oldest messages after this offset. Not together with `before`.
    after: Option<u64>,
    /// The life of the room that `after` is of: if it is another by now, a `gap` says so.
    epoch: Option<String>,
    /// At most so many messages, 1 to 1,000; 50 if it is not said. The answer also ends at about a mebibyte.
    limit: Option<usize>,
    /// With `after`: how long to wait for a message if there is none, at most 20,000.
    wait_ms: Option<u64>,
}

/// A piece of what was said in a room, oldest first.
#[derive(Serialize, ToSchema)]
pub(super) struct History {
    room: String,
    /// The room's life, 16 hex digits. Absent: there is no such room, nothing is kept of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<String>,
    /// The newest offset of the room.
    offset: u64,
    /// `message` envelopes, as a client hears them.
    #[schema(value_type = Vec<serde_json::Value>)]
    messages: Vec<Box<RawValue>>,
    /// What to give as `after` to go on.
    next: u64,
    /// What lies between `after` and the first message, and why it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<Gap>,
}

/// Messages that are not there any more: `from` to `to`, inclusive; `to < from` when nothing is known to be missing.
#[derive(Serialize, ToSchema)]
pub(super) struct Gap {
    from: u64,
    to: u64,
    /// `retention` or `epoch`.
    #[schema(value_type = String)]
    why: &'static str,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RoomsParams {
    /// Only rooms whose name begins so.
    prefix: Option<String>,
    /// At most so many, 1 to 1,000; 100 if it is not said.
    limit: Option<usize>,
    /// Where to go on: the `next` of the page before.
    cursor: Option<String>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TopParams {
    /// At most so many rooms, 1 to 100; 20 if it is not said.
    limit: Option<usize>,
}

/// A page of rooms.
#[derive(Serialize, ToSchema)]
pub(super) struct RoomPage {
    rooms: Vec<Room>,
    /// Where the next page begins. Absent: this was the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The fullest rooms.
#[derive(Serialize, ToSchema)]
pub(super) struct Top {
    /// By connections, most first.
    rooms: Vec<Room>,
    /// Whether every shard has answered.
    complete: bool,
}

/// One room.
#[derive(Serialize, ToSchema)]
pub(super) struct Room {
    room: String,
    /// The room's life, 16 hex digits.
    epoch: String,
    /// The newest offset.
    offset: u64,
    /// Distinct users.
    users: u32,
    connections: u64,
    /// Messages in the log, and their bytes.
    messages: u64,
    bytes: u64,
}

/// Who is in a room.
#[utoipa::path(get, path = "/rooms/{room}/presence", tag = "rooms",
    params(("room" = String, Path, description = "A room name, `/` and `+` percent-encoded")),
    responses((status = 200, body = Presence)))]
pub(super) async fn presence(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Segment(room): Segment,
) -> Result<Json<Presence>, Problem> {
    let room = RoomName::parse(&room)?;
    let home = api.desk.home(room.as_str())?;
    let answer = api.desk.ask(home, Question::Presence { room: room.clone() }, caller.patience)?.next().await?;
    let Answer::Presence(roll) = answer else { return Err(unexpected(answer)) };
    let members = roll.members.iter().flat_map(|members| members.iter()).map(|member| Member {
        user: member.identity.user().to_owned(),
        info: member.identity.info().and_then(|info| RawValue::from_string(info.to_owned()).ok()),
        connections: member.connections,
    });
    let reads = roll.reads.iter().flat_map(|reads| reads.iter());
    let reads = reads.map(|read| ReadBy { user: read.who.user().to_owned(), offset: read.offset.0 });
    Ok(Json(Presence {
        room: room.as_str().to_owned(),
        members: members.collect(),
        count: roll.count,
        version: roll.version,
        presence: roll.presence.name(),
        reads: reads.collect(),
    }))
}

/// What was said in a room.
///
/// Without `before` and `after` the newest messages. To follow a room, ask again with `after` = `next`, `epoch`, and
/// `wait_ms`: the answer then waits until something is said.
#[utoipa::path(get, path = "/rooms/{room}/history", tag = "rooms",
    params(("room" = String, Path, description = "A room name, `/` and `+` percent-encoded"), HistoryParams),
    responses((status = 200, body = History)))]
pub(super) async fn history(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Segment(room): Segment,
    Params(params): Params<HistoryParams>,
) -> Result<Json<History>, Problem> {
    let room = RoomName::parse(&room)?;
    let from = history_from(&params)?;
    let wait_ms = match (params.wait_ms, from) {
        (None, _) => 0,
        (Some(wait_ms), HistoryFrom::After { .. }) if wait_ms <= WAIT_MS_MAX => wait_ms,
        (Some(_), HistoryFrom::After { .. }) => {
            return Err(Problem::malformed(format!("`wait_ms` is at most {WAIT_MS_MAX}: ask again when it is over")));
        }
        (Some(_), HistoryFrom::Newest | HistoryFrom::Before(_)) => {
            return Err(Problem::malformed("`wait_ms` waits for what is said after `after`, which is not given"));
        }
    };
    let Ok(_place) = (wait_ms > 0).then(|| Arc::clone(&api.polls).try_acquire_owned()).transpose() else {
        return Err(Problem::busy("too many calls wait for news: ask again, or without `wait_ms`"));
    };
    let question = HistoryQuestion {
        room: room.clone(),
        from,
        messages_max: limit(params.limit, 50, 1_000)?,
        bytes_max: PAGE_BYTES_MAX,
        wait_ms,
    };
    let home = api.desk.home(room.as_str())?;
    let patience = caller.patience + Duration::from_millis(wait_ms);
    let answer = api.desk.ask(home, Question::History(Box::new(question)), patience)?.next().await?;
    let Answer::History(page) = answer else { return Err(unexpected(answer)) };
    let text = |frame: &SharedFrame| {
        let text = String::from_utf8(frame_content(frame.plain()).to_vec()).map_err(drop)?;
        RawValue::from_string(text).map_err(drop)
    };
    let messages: Result<Vec<_>, ()> = page.messages.iter().map(text).collect();
    let messages = messages.map_err(|()| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "a message of the log is not JSON")
    })?;
    Ok(Json(History {
        room: room.as_str().to_owned(),
        epoch: page.epoch.map(|epoch| epoch.to_string()),
        offset: page.head.0,
        messages,
        next: page.last.0,
        gap: page.gap.map(|(from, to, why)| Gap { from: from.0, to: to.0, why: why.name() }),
    }))
}

/// Which rooms there are.
///
/// Every room that is there from the first page to the last is on exactly one of them; what comes or goes meanwhile may
/// be missed. A page can be short, or empty, and not the last: go on until there is no `next`. One page costs one letter
/// to one shard.
#[utoipa::path(get, path = "/rooms", tag = "rooms", params(RoomsParams), responses((status = 200, body = RoomPage)))]
pub(super) async fn rooms(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Params(params): Params<RoomsParams>,
) -> Result<Json<RoomPage>, Problem> {
    let (shard, from) = match &params.cursor {
        None => (ShardId(0), 0),
        Some(cursor) => cursor_of(cursor).filter(|(shard, _)| shard.index() < api.desk.shards()).ok_or_else(|| {
            Problem::malformed(
                "this `cursor` is not of this server: begin without one, and give the `next` of each page",
            )
        })?,
    };
    let prefix = params.prefix.unwrap_or_default().into_boxed_str();
    let question = Question::Rooms { from, rooms_max: limit(params.limit, 100, 1_000)?, prefix };
    let answer = api.desk.ask(shard, question, caller.patience)?.next().await?;
    let Answer::Rooms { rooms, next } = answer else { return Err(unexpected(answer)) };
    let next = match next {
        Some(place) => Some((shard, place)),
        None => Some((ShardId(shard.0 + 1), 0)).filter(|(shard, _)| shard.index() < api.desk.shards()),
    };
    let next = next.map(|(shard, place)| format!("{}.{place}", shard.0));
    Ok(Json(RoomPage { rooms: rooms.into_iter().map(Room::from).collect(), next }))
}

/// The fullest rooms.
///
/// Every shard looks through its rooms, a slice per turn.
#[utoipa::path(get, path = "/top", tag = "rooms", params(TopParams), responses((status = 200, body = Top)))]
pub(super) async fn top(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Params(params): Params<TopParams>,
) -> Result<Json<Top>, Problem> {
    let rooms_max = limit(params.limit, 20, 100)?;
    let (mut call, asked) = api.desk.ask_all(|| Question::FullestRooms { rooms_max }, caller.patience)?;
    let mut facts = Vec::new();
    let answered = hear_all(&mut call, asked, |answer| {
        let Answer::Rooms { rooms, .. } = answer else { return Err(answer) };
        facts.extend(rooms);
        Ok(())
    })
    .await?;
    facts.sort_by(|a: &RoomFacts, b| (b.connections, &a.name).cmp(&(a.connections, &b.name)));
    facts.truncate(rooms_max);
    let complete = answered == api.desk.shards();
    Ok(Json(Top { rooms: facts.into_iter().map(Room::from).collect(), complete }))
}

impl From<RoomFacts> for Room {
    fn from(facts: RoomFacts) -> Self {
        Self {
            room: facts.name.as_str().to_owned(),
            epoch: facts.epoch.to_string(),
            offset: facts.head.0,
            users: facts.users,
            connections: facts.connections,
            messages: facts.messages_kept,
            bytes: facts.bytes_kept,
        }
    }
}

fn history_from(params: &HistoryParams) -> Result<HistoryFrom, Problem> {
    let epoch = match &params.epoch {
        None => None,
        Some(text) => Some(
            Epoch::parse(text)
                .ok_or_else(|| Problem::malformed("`epoch` is 16 lower-case hex digits, as answers give it"))?,
        ),
    };
    match (params.before, params.after) {
        (Some(_), Some(_)) => Err(Problem::malformed("`before` and `after` are both given: give one")),
        (None, None) if epoch.is_some() => Err(Problem::malformed("`epoch` belongs to `after`, which is not given")),
        (Some(_), None) if epoch.is_some() => Err(Problem::malformed("`epoch` belongs to `after`, not to `before`")),
        (None, None) => Ok(HistoryFrom::Newest),
        (Some(before), None) => Ok(HistoryFrom::Before(Offset(before))),
        (None, Some(after)) => Ok(HistoryFrom::After { epoch, offset: Offset(after) }),
    }
}

fn cursor_of(text: &str) -> Option<(ShardId, u32)> {
    let (shard, place) = text.split_once('.')?;
    Some((ShardId(shard.parse().ok()?), place.parse().ok()?))
}

/// A number of things to list.
pub(super) fn limit(given: Option<usize>, default: usize, max: usize) -> Result<usize, Problem> {
    match given {
        None => Ok(default),
        Some(limit) if (1..=max).contains(&limit) => Ok(limit),
        Some(_) => Err(Problem::malformed(format!("`limit` is a number from 1 to {max}"))),
    }
}

const WAIT_MS_MAX: u64 = 20_000;
const PAGE_BYTES_MAX: usize = 1 << 20;
