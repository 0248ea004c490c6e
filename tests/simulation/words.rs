//! What a client asks, and how what it asked wrongly is refused.

use throng::wire::Refusal;

use crate::client::{Client, FORBIDDEN, Surroundings};
use crate::tally::Lived;
use crate::view::Wish;

/// What the answer with a certain `id` belongs to.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Join(usize, Wish),
    Leave(usize),
    Publish(usize, usize),
    Presence(usize),
    Ping,
    /// A command that must be refused with this.
    Wrong(Refusal),
    /// With the ids of its rooms.
    Resume(Vec<u64>),
}

/// How something is said to a room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    pub(crate) room: usize,
    pub(crate) with_id: bool,
    pub(crate) echo: Option<bool>,
    /// How many bytes of padding the payload carries.
    pub(crate) filler: usize,
    /// Fragments of the WebSocket message.
    pub(crate) pieces: usize,
}

/// Where a client is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// The request is out.
    Opening,
    Open,
    /// It said goodbye first.
    Leaving,
    /// It has read a close frame.
    Closed,
    /// Turned away with an HTTP status.
    TurnedAway,
    /// The socket is gone.
    Ended,
}

impl Client {
    /// C2 of errors: a refusal has the id of a command that has no answer yet, and is one that command may get.
    pub(crate) fn on_error(
        &mut self,
        id: Option<u64>,
        refusal: Refusal,
        around: &mut Surroundings<'_>,
    ) -> Result<(), String> {
        if refusal == Refusal::Busy {
            around.tally.add(Lived::Busy, 1);
        }
        let Some(id) = id else { return Ok(()) };
        let asked = self.outstanding.remove(&id).ok_or_else(|| format!("C2 nobody asked {id}: {refusal:?}"))?;
        let fits = match (&asked, refusal) {
            (Asked::Wrong(expected), _) => refusal == *expected,
            (Asked::Join(FORBIDDEN, _) | Asked::Publish(FORBIDDEN, _) | Asked::Presence(FORBIDDEN), _) => {
                refusal == Refusal::Forbidden
            }
            (Asked::Join(..), Refusal::Busy | Refusal::TooManyRooms) => true,
            (Asked::Join(..) | Asked::Publish(..) | Asked::Presence(_), Refusal::Forbidden) if self.lacks(&asked) => {
                if let Asked::Publish(_, tag) = asked {
                    around.reference.refused(tag)?;
                }
                true
            }
            (Asked::Resume(rooms), Refusal::Busy) => {
                rooms.iter().for_each(|id| drop(self.outstanding.remove(id)));
                true
            }
            (Asked::Join(room, _), Refusal::AlreadyJoined) => {
                // A join that is still unanswered is what the server means.
                if !self.is_asking(*room) {
                    self.view(*room).on_already_joined();
                }
                true
            }
            (Asked::Join(room, _), Refusal::NotJoined) => self.view(*room).left_after(id),
            (Asked::Leave(room), Refusal::NotJoined) => !self.view(*room).seated || self.view(*room).left_silently,
            (Asked::Publish(_, tag), Refusal::Busy) => return around.reference.refused(*tag),
            (Asked::Presence(_), Refusal::Busy) => true,
            _ => false,
        };
        if let Asked::Publish(FORBIDDEN, tag) = asked {
            around.reference.refused(tag)?;
        }
        if fits { Ok(()) } else { Err(format!("C2 {asked:?} was refused as {refusal:?}")) }
    }
}
