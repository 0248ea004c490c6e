//! Tokens by API: tickets for those who cannot carry one, and revocation of those that were given out.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::publish::unexpected;
use super::{Api, Caller, Ending, Ends, Problem, person, read};
use crate::base::Identity;
use crate::control::revoker::Outcome;
use crate::runtime::clock::Clock;
use crate::shard::{Answer, Question, Revocation};
use crate::wire::token::JTI_BYTES_MAX;
use crate::wire::{Grants, Verified};

/// Whom a ticket is for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TicketRequest {
    /// 1 to 128 bytes without control characters.
    user: String,
    /// Shown to others beside the user: at most 256 bytes of JSON.
    info: Option<serde_json::Value>,
    /// What the session may do, as in the `rooms` claim of a token. Absent: the server's default grants.
    rooms: Option<serde_json::Value>,
    /// How long the session may last, 1 to 604,800 seconds; 3,600 if it is not said. The ticket itself must be used
    /// within seconds.
    session_s: Option<u64>,
}

/// A ticket.
#[derive(Serialize, ToSchema)]
pub(super) struct TicketMade {
    /// To be used once: `GET /ws?ticket=…`.
    ticket: String,
    /// When the session it opens ends, in seconds since 1970.
    session_ends: u64,
}

/// What is not to be believed any more: exactly one of `jti`, `user`, `everybody`.
#[derive(Serialize, Deserialize, ToSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct RevokeRequest {
    /// The tokens with this `jti`, 1 to 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    /// The tokens of this user that were issued before `issued_before`.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// `true`: all tokens that were issued before `issued_before`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    everybody: bool,
    /// Seconds since 1970, compared with `iat`; a token without `iat` is older than any time. Absent: the next second,
    /// so everything issued until now. More than a minute ahead is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_before: Option<u64>,
}

/// What became of it.
#[derive(Serialize, ToSchema)]
pub(super) struct RevokeResult {
    /// Whether it is remembered: `false` when the list is full. Whoever is named and here goes all the same, but could
    /// come back: revoke by time then, which always fits.
    remembered: bool,
    /// Whether every shard knows of it, on each server of this address while one takes over from another. `false`: call
    /// again, with the same Idempotency-Key if there was one.
    complete: bool,
}

/// Make a one-time ticket.
///
/// For a browser that must not have a token, or cannot send one: your backend vouches for the user.
#[utoipa::path(post, path = "/tickets", tag = "tokens", request_body = TicketRequest,
    responses((status = 200, body = TicketMade)))]
pub(super) async fn ticket(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<TicketMade>, Problem> {
    let request: TicketRequest = read(&body)?;
    let identity = person(&api.desk.rules(), &request.user, request.info.as_ref())?;
    let grants = request.rooms.as_ref().map(Grants::from_claim).transpose();
    let grants = grants.map_err(|why| Problem::malformed(format!("`rooms` {why}")))?;
    let session_s = request.session_s.unwrap_or(SESSION_S);
    if !(1..=SESSION_S_MAX).contains(&session_s) {
        return Err(Problem::malformed(format!("`session_s` is a number from 1 to {SESSION_S_MAX}")));
    }
    let now_s = unix_s();
    let session_ends = now_s + session_s;
    let verified = Verified { identity, grants, expires_unix_s: session_ends, issued_unix_s: Some(now_s), jti: None };
    let shard = api.desk.next_shard()?;
    let answer = api.desk.ask(shard, Question::Ticket(Box::new(verified)), caller.patience)?.next().await?;
    let Answer::Ticket(made) = answer else { return Err(unexpected(answer)) };
    match made {
        Some(code) => Ok(Json(TicketMade { ticket: code.to_string(), session_ends })),
        None => Err(Problem::busy("as many tickets as may be are waiting to be used: ask again")),
    }
}

/// Revoke tokens.
///
/// Whoever is connected with one is closed with 4500 within a second, and nobody comes in with one any more. While another
/// server takes over it holds on both, whichever of them is asked, and the next one remembers it. A restart without that
/// forgets it: let tokens end soon, or change the key.
#[utoipa::path(post, path = "/revoke", tag = "tokens", request_body = RevokeRequest,
    responses((status = 200, body = RevokeResult)))]
pub(super) async fn revoke(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Ends<RevokeResult>, Problem> {
    let revocation = read::<RevokeRequest>(&body)?.check()?;
    let Outcome { remembered, complete } = api.revoker.revoke(revocation, caller.patience).await?;
    let result = RevokeResult { remembered: remembered && complete, complete };
    Ok(Ends(result, (!complete).then_some(Ending::Again)))
}

impl RevokeRequest {
    /// The request that asks for this.
    pub(in crate::control) fn of(revocation: &Revocation) -> Self {
        let (jti, user, everybody, issued_before) = match revocation {
            Revocation::Token { jti } => (Some(jti.to_string()), None, false, None),
            Revocation::User { user, issued_before_unix_s } => {
                (None, Some(user.to_string()), false, Some(*issued_before_unix_s))
            }
            Revocation::Issued { before_unix_s } => (None, None, true, Some(*before_unix_s)),
        };
        Self { jti, user, everybody, issued_before }
    }

    /// What is asked for, if that can be.
    pub(in crate::control) fn check(self) -> Result<Revocation, Problem> {
        let now_s = unix_s();
        let before_unix_s = self.issued_before.unwrap_or(now_s + 1);
        if before_unix_s > now_s + AHEAD_S_MAX {
            // What was meant is in the past; this would keep out tokens that are still to be made, with no way to undo it.
            return Err(Problem::malformed(
                "`issued_before` lies in the future: seconds since 1970, not milliseconds?",
            ));
        }
        match (self.jti, self.user, self.everybody) {
            (Some(_), None, false) if self.issued_before.is_some() => {
                Err(Problem::malformed("`issued_before` belongs to `user` and `everybody`, not to `jti`"))
            }
            (Some(jti), None, false) if !(1..=JTI_BYTES_MAX).contains(&jti.len()) => {
                Err(Problem::malformed(format!("`jti` has 1 to {JTI_BYTES_MAX} bytes: no token has another")))
            }
            (Some(jti), None, false) => Ok(Revocation::Token { jti: jti.into() }),
            (None, Some(user), false) => {
                let user = Identity::new(&user, None)?;
                Ok(Revocation::User { user: user.user().into(), issued_before_unix_s: before_unix_s })
            }
            (None, None, true) => Ok(Revocation::Issued { before_unix_s }),
            _ => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "malformed",
                "say what is revoked by exactly one of `jti`, `user` and `everybody: true`",
            )),
        }
    }
}

fn unix_s() -> u64 {
    Duration::from_millis(Clock::start().now().unix_ms).as_secs()
}

/// Clocks of those who revoke may be ahead of this one.
const AHEAD_S_MAX: u64 = 60;
const SESSION_S: u64 = 3_600;
/// A week: what is longer is for tokens, which can be refreshed and are revoked by their own name.
const SESSION_S_MAX: u64 = 604_800;
