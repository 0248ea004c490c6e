//! Users and their connections: where they are, and out with them.

use axum::body::Bytes;
use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::publish::unexpected;
use super::rooms::limit;
use super::{Api, Caller, Ending, Ends, Params, Problem, Segment, hear_all, read};
use crate::base::{ConnKey, Encoding, Identity, RoomName, ShardId};
use crate::shard::{Answer, Closed, ConnectionFacts, Question};
use crate::wire::CloseReason;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ConnectionsParams {
    /// At most so many are listed, 1 to 1,000; 100 if it is not said.
    limit: Option<usize>,
}

/// The connections of a user.
#[derive(Serialize, ToSchema)]
pub(super) struct Connections {
    user: String,
    connections: Vec<Connection>,
    /// The true number.
    count: u64,
    /// Whether every shard has answered.
    complete: bool,
}

/// One connection.
#[derive(Serialize, ToSchema)]
pub(super) struct Connection {
    /// 16 hex digits; good for as long as the connection lives.
    connection: String,
    /// `json` or `msgpack`.
    #[schema(value_type = String)]
    encoding: &'static str,
    rooms: Vec<String>,
    /// Seconds since a byte came.
    silent_s: u32,
    /// Seconds until its token ends, grace included.
    expires_in_s: u32,
    /// Its socket takes nothing at the moment.
    stalled: bool,
    /// Bytes that wait for it.
    unsent_bytes: u64,
}

/// How to say goodbye. An empty body is the same as `{}`.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DisconnectRequest {
    /// `true`: the close code is 4006, which a client answers by coming back. `false`: 4501, which it does not. The
    /// token stays good either way.
    come_back: bool,
}

/// What became of it.
#[derive(Serialize, ToSchema)]
pub(super) struct Disconnected {
    /// Connections that were sent a close frame.
    closed: u64,
    /// Whether every shard had looked when this was answered. `false`: call again, with the same Idempotency-Key if there
    /// was one.
    complete: bool,
}

/// Where a user is connected.
///
/// Connections stand in no index by user: every shard looks through its table, 1,024 rows per turn.
#[utoipa::path(get, path = "/users/{user}/connections", tag = "people",
    params(("user" = String, Path, description = "The `sub` of the user's tokens"), ConnectionsParams),
    responses((status = 200, body = Connections)))]
pub(super) async fn connections(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Segment(user): Segment,
    Params(params): Params<ConnectionsParams>,
) -> Result<Json<Connections>, Problem> {
    let connections_max = limit(params.limit, 100, 1_000)?;
    let identity = Identity::new(&user, None)?;
    let question = || Question::Connections { user: identity.clone(), connections_max };
    let (mut call, asked) = api.desk.ask_all(question, caller.patience)?;
    let (mut connections, mut count) = (Vec::new(), 0);
    let answered = hear_all(&mut call, asked, |answer| {
        let Answer::Connections { list, count: here } = answer else { return Err(answer) };
        connections.extend(list.into_iter().map(Connection::from));
        count += here;
        Ok(())
    })
    .await?;
    connections.sort_by(|a, b| a.connection.cmp(&b.connection));
    connections.truncate(connections_max);
    let complete = answered == api.desk.shards();
    Ok(Json(Connections { user, connections, count, complete }))
}

/// Close all connections of a user.
#[utoipa::path(post, path = "/users/{user}/disconnect", tag = "people", request_body = Option<DisconnectRequest>,
    params(("user" = String, Path, description = "The `sub` of the user's tokens")),
    responses((status = 200, body = Disconnected)))]
pub(super) async fn disconnect_user(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Segment(user): Segment,
    body: Bytes,
) -> Result<Ends<Disconnected>, Problem> {
    let whom = Closed::User(Identity::new(&user, None)?);
    close_everywhere(&api, &caller, whom, reason(&body)?).await
}

/// Close all connections that sit in a room.
///
/// They are closed, not only moved out: a client that comes back joins its rooms again.
#[utoipa::path(post, path = "/rooms/{room}/disconnect", tag = "people", request_body = Option<DisconnectRequest>,
    params(("room" = String, Path, description = "A room name, `/` and `+` percent-encoded")),
    responses((status = 200, body = Disconnected)))]
pub(super) async fn disconnect_room(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Segment(room): Segment,
    body: Bytes,
) -> Result<Ends<Disconnected>, Problem> {
    let whom = Closed::Room(RoomName::parse(&room)?);
    close_everywhere(&api, &caller, whom, reason(&body)?).await
}

/// Close one connection.
#[utoipa::path(post, path = "/connections/{connection}/disconnect", tag = "people",
    request_body = Option<DisconnectRequest>,
    params(("connection" = String, Path, description = "As `/users/{user}/connections` names it")),
    responses((status = 200, body = Disconnected)))]
pub(super) async fn disconnect_connection(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Segment(connection): Segment,
    body: Bytes,
) -> Result<Json<Disconnected>, Problem> {
    let (shard, conn) =
        parse_connection(&connection).filter(|(shard, _)| shard.index() < api.desk.shards()).ok_or_else(|| {
            Problem::malformed("this names no connection: 16 hex digits, as /users/{user}/connections gives them")
        })?;
    let question = Question::Close { whom: Closed::Connection(conn), reason: reason(&body)? };
    let answer = api.desk.ask(shard, question, caller.patience)?.next().await?;
    let Answer::Reached { connections, .. } = answer else { return Err(unexpected(answer)) };
    Ok(Json(Disconnected { closed: connections, complete: true }))
}

async fn close_everywhere(
    api: &Api,
    caller: &Caller,
    whom: Closed,
    reason: CloseReason,
) -> Result<Ends<Disconnected>, Problem> {
    let question = || Question::Close { whom: whom.clone(), reason };
    let (mut call, asked) = api.desk.ask_all(question, caller.patience)?;
    let mut closed = 0;
    let answered = hear_all(&mut call, asked, |answer| {
        let Answer::Reached { connections, .. } = answer else { return Err(answer) };
        closed += connections;
        Ok(())
    })
    .await?;
    let complete = answered == api.desk.shards();
    Ok(Ends(Disconnected { closed, complete }, (!complete).then_some(Ending::Again)))
}

fn reason(body: &[u8]) -> Result<CloseReason, Problem> {
    let request: DisconnectRequest = if body.is_empty() { DisconnectRequest::default() } else { read(body)? };
    Ok(if request.come_back { CloseReason::Kicked } else { CloseReason::Banned })
}

impl From<ConnectionFacts> for Connection {
    fn from(facts: ConnectionFacts) -> Self {
        let (shard, conn) = (facts.address.shard, facts.address.conn);
        Self {
            connection: format!("{:04x}{:08x}{:04x}", shard.0, conn.index(), conn.generation()),
            encoding: match facts.encoding {
                Encoding::Json => "json",
                Encoding::MessagePack => "msgpack",
            },
            rooms: facts.rooms.iter().map(|room| room.as_str().to_owned()).collect(),
            silent_s: facts.silent_s,
            expires_in_s: facts.expires_in_s,
            stalled: facts.stalled,
            unsent_bytes: facts.unsent_bytes,
        }
    }
}

/// The other way round.
fn parse_connection(text: &str) -> Option<(ShardId, ConnKey)> {
    if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = |from: usize, to: usize| u16::from_str_radix(&text[from..to], 16).ok();
    Some((ShardId(number(0, 4)?), ConnKey::new(number(4, 8)?, number(8, 12)?, number(12, 16)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ConnAddress;

    #[test]
    fn a_connection_is_found_again_by_its_name() {
        let (shard, conn) = (ShardId(7), ConnKey::new(2, 18_999, 65_535));
        let facts = ConnectionFacts {
            address: ConnAddress { shard, conn },
            encoding: Encoding::Json,
            rooms: Vec::new(),
            silent_s: 0,
            expires_in_s: 0,
            stalled: false,
            unsent_bytes: 0,
        };
        let name = Connection::from(facts).connection;
        assert_eq!(parse_connection(&name), Some((shard, conn)));
        for bad in ["", "0", "00070002_a37ffff", "0007000204a37ffff0", "€€€€€1"] {
            assert_eq!(parse_connection(bad), None, "{bad}");
        }
    }
}
