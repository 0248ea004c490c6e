//! The rooms of a `resume`: joins with positions, many in one command.

use std::borrow::Cow;

use super::decode::{ID_MAX, NO_ID, No, no_envelope, room_of};
use super::entries::Value;
use crate::base::{Epoch, Limits, Offset, Position};
use crate::wire::payload::Broken;
use crate::wire::refusal::Refusal;

/// A room of a `resume`: a join with a position, answered like one if it has an `id` of its own.
#[derive(Clone, PartialEq, Debug)]
pub struct ResumeRoom<'a> {
    pub room: Cow<'a, str>,
    /// At most 2^53 − 1.
    pub id: Option<u64>,
    pub since: Option<Position>,
    /// The newest n messages, where there is no position; not yet cut to the limit.
    pub history: Option<u32>,
    pub presence: bool,
}

/// All of them; none are as good as an empty list.
pub(super) fn read_rooms<'a>(value: Option<Value<'a>>, limits: &Limits) -> Result<Vec<ResumeRoom<'a>>, No> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let Some(mut elements) = value.array(limits.depth_max) else {
        return Err(No::malformed("`rooms` is not an array"));
    };
    let mut rooms = Vec::new();
    while let Some(value) = elements.next_element().map_err(no_envelope)? {
        if rooms.len() >= limits.rooms_per_connection_max {
            return Err(Refusal::TooManyRooms.into());
        }
        rooms.push(read_room(&value, limits.depth_max)?);
    }
    Ok(rooms)
}

/// `{room, id?, epoch?, offset?, history?, presence?}`; unknown keys are passed over.
fn read_room<'a>(value: &Value<'a>, depth_max: usize) -> Result<ResumeRoom<'a>, No> {
    let Some(mut entries) = value.map(depth_max) else {
        return Err(No::malformed("`rooms` holds something that is no map"));
    };
    let [mut room, mut id, mut epoch, mut offset, mut history, mut presence] = [None; 6];
    while let Some((key, value)) = entries.next_entry().map_err(no_envelope)? {
        let field = match key.as_ref() {
            "room" => &mut room,
            "id" => &mut id,
            "epoch" => &mut epoch,
            "offset" => &mut offset,
            "history" => &mut history,
            "presence" => &mut presence,
            _ => continue,
        };
        if field.replace(value).is_some() {
            return Err(no_envelope(Broken { at: value.at(), why: "a key is given twice" }));
        }
    }
    let there = |value: Option<Value<'a>>| value.filter(|value| !value.is_null());
    let number = |value: Option<Value<'a>>, otherwise| match there(value).map(|value| value.unsigned()) {
        Some(None) => Err(No::malformed(otherwise)),
        Some(number) => Ok(number),
        None => Ok(None),
    };
    let (epoch, offset) = (there(epoch), number(offset, "`offset` in `rooms` is not an integer from 0 on")?);
    let since = match (epoch, offset) {
        (None, None) => None,
        (Some(epoch), Some(offset)) => match epoch.text().and_then(|text| Epoch::parse(&text)) {
            Some(epoch) => Some(Position { epoch, offset: Offset(offset) }),
            None => return Err(No::malformed("`epoch` in `rooms` is not 16 lower-case hex digits")),
        },
        (Some(_), None) | (None, Some(_)) => {
            return Err(No::malformed("a position in `rooms` has both, `epoch` and `offset`"));
        }
    };
    let history = number(history, "`history` in `rooms` is not an integer from 0 on")?;
    let presence = match there(presence).map(|value| value.boolean()) {
        Some(None) => return Err(No::malformed("`presence` in `rooms` is not a boolean")),
        Some(Some(presence)) => presence,
        None => false,
    };
    let id = number(id, NO_ID)?;
    if id.is_some_and(|id| id > ID_MAX) {
        return Err(No::malformed(NO_ID));
    }
    let history = history.map(|newest| u32::try_from(newest).unwrap_or(u32::MAX));
    Ok(ResumeRoom { room: room_of(there(room))?, id, since, history, presence })
}
