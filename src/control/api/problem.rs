//! "No" over HTTP: a status, a code, a sentence.
//!
//! Promises: the codes are those of the wire where the wire has one; what may be tried again says when; what may have been
//! done, and must not be done twice, does not.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::desk::NoAnswer;
use super::Ending;
use crate::base::BadName;
use crate::wire::Refusal;

/// Why a call was not carried out.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Problem {
    /// The HTTP status.
    #[serde(serialize_with = "as_number")]
    #[schema(value_type = u16)]
    status: StatusCode,
    /// What went wrong, for programs: a code of the wire's `error`, or one of `not_found`, `method`, `unauthorized`,
    /// `no_keys`, `guessing`, `too_big`, `slow_body`, `starting`, `time_out`, `idempotency_key`, `idempotency_under_way`,
    /// `idempotency_other_request`, `bad_user`, `bad_event`, `internal`.
    #[schema(value_type = String)]
    code: &'static str,
    /// What went wrong and what to do, for people.
    #[schema(value_type = String)]
    message: Cow<'static, str>,
    /// When the same call may be made again, in milliseconds. Absent: not before something is changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u32>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), retry_after_ms: None }
    }

    /// The same, and when to come back.
    pub(super) fn again_after_ms(self, retry_after_ms: u32) -> Self {
        Self { retry_after_ms: Some(retry_after_ms), ..self }
    }

    /// A request that cannot be read.
    pub(super) fn malformed(sentence: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Refusal::Malformed.code(), sentence)
    }

    pub(super) fn busy(sentence: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Refusal::Busy.code(), sentence).again_after_ms(BUSY_MS)
    }

    /// Nothing was heard of something that was to be said. It may have been said: whoever says it again may say it twice.
    pub(super) fn unsaid(none: NoAnswer) -> Self {
        match none {
            NoAnswer::Starting | NoAnswer::NotTaken => none.into(),
            NoAnswer::TimeOut => {
                let sentence = "no answer came in time: it may have been published, or may be yet. The room's history \
                                tells; by the same Idempotency-Key it is not published again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, TIME_OUT, sentence)
            }
        }
    }

    /// Whether the same call may be made again as it is.
    pub(super) fn may_come_again(&self) -> bool {
        self.retry_after_ms.is_some()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::TooOften => StatusCode::TOO_MANY_REQUESTS,
            Refusal::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::KeyReused => StatusCode::CONFLICT,
            Refusal::Forbidden | Refusal::BadToken | Refusal::OtherUser => StatusCode::FORBIDDEN,
            Refusal::Malformed | Refusal::UnknownCommand => StatusCode::BAD_REQUEST,
            Refusal::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Refusal::BadRoom
            | Refusal::AlreadyJoined
            | Refusal::NotJoined
            | Refusal::TooManyRooms
            | Refusal::RoomFull
            | Refusal::Unportable
            | Refusal::TooDeep => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self {
            status,
            code: refusal.code(),
            message: refusal.message().into(),
            retry_after_ms: refusal.retry_after_ms(),
        }
    }
}

impl From<BadName> for Problem {
    fn from(bad: BadName) -> Self {
        let code = match bad {
            BadName::Room => Refusal::BadRoom.code(),
            BadName::User | BadName::Info => "bad_user",
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, bad.to_string())
    }
}

impl From<NoAnswer> for Problem {
    fn from(none: NoAnswer) -> Self {
        match none {
            NoAnswer::Starting => {
                let sentence = "the server is starting: its rooms are not there yet";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "starting", sentence).again_after_ms(1_000)
            }
            NoAnswer::NotTaken => Self::busy("too many calls wait for the shard of this room: nothing was done"),
            NoAnswer::TimeOut => {
                let sentence =
                    "no answer came in time, and it may have been done all the same: call again, it does no harm";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, TIME_OUT, sentence).again_after_ms(1_000)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // A struct of numbers and strings cannot fail to be written.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if let Some(wait_ms) = self.retry_after_ms {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait_ms.div_ceil(1_000)));
        }
        if self.may_come_again() {
            response.extensions_mut().insert(Ending::Again);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

const BUSY_MS: u32 = 100;
const TIME_OUT: &str = "time_out";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_tried_again_says_when() {
        for (problem, status, code, again) in [
            (Problem::from(NoAnswer::NotTaken), 503, "busy", Some("1")),
            (Problem::from(NoAnswer::TimeOut), 503, "time_out", Some("1")),
            (Problem::unsaid(NoAnswer::TimeOut), 503, "time_out", None),
            (Problem::unsaid(NoAnswer::NotTaken), 503, "busy", Some("1")),
            (Problem::from(NoAnswer::Starting), 503, "starting", Some("1")),
            (Problem::from(Refusal::Busy), 503, "busy", Some("1")),
            (Problem::from(Refusal::TooDeep), 422, "too_deep", None),
            (Problem::from(BadName::User), 422, "bad_user", None),
        ] {
            assert_eq!(problem.code, code);
            let response = problem.into_response();
            let retry_after = response.headers().get(header::RETRY_AFTER).map(|value| value.to_str().unwrap());
            assert_eq!((response.status().as_u16(), retry_after), (status, again), "{code}");
        }
    }

    #[test]
    fn every_refusal_of_the_wire_is_a_status_that_fits() {
        for refusal in Refusal::ALL {
            let problem = Problem::from(refusal);
            let ours = matches!(refusal, Refusal::Busy | Refusal::Unsupported);
            assert_eq!(problem.status.is_server_error(), ours, "{refusal:?}");
            assert_eq!((problem.code, problem.retry_after_ms), (refusal.code(), refusal.retry_after_ms()));
        }
    }
}
