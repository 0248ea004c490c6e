//! Commands out.

use super::super::envelope::{Command, HistoryFrom, ResumeRoom, Writer};
use super::super::payload::Data;
use crate::base::{Encoding, Epoch, Offset, Position};

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum CommandOut<'a> {
    Join {
        room: &'a str,
        since: Option<Position>,
        history: Option<u32>,
        presence: bool,
    },
    Leave {
        room: &'a str,
    },
    Publish {
        room: &'a str,
        data: Data<'a>,
        event: Option<&'a str>,
        echo: Option<bool>,
        key: Option<&'a str>,
    },
    Send {
        user: &'a str,
        data: Data<'a>,
        event: Option<&'a str>,
        echo: Option<bool>,
        key: Option<&'a str>,
    },
    Presence {
        room: &'a str,
    },
    Typing {
        room: &'a str,
        on: bool,
    },
    Read {
        room: &'a str,
        offset: Offset,
    },
    Unread {
        room: &'a str,
    },
    Ping,
    /// The first message of a connection that brought no token otherwise.
    Hello {
        token: &'a str,
        session: Option<&'a str>,
    },
    Refresh {
        token: &'a str,
    },
    History {
        room: &'a str,
        from: HistoryFrom,
        messages_max: Option<u32>,
    },
    Resume {
        session: Option<&'a str>,
        rooms: &'a [ResumeOut<'a>],
    },
}

impl<'a> CommandOut<'a> {
    /// A command that was read, to be written again. `rooms` are those of a resume, as [`ResumeOut::all`] gives them.
    pub fn of(command: &'a Command<'_>, rooms: &'a [ResumeOut<'a>]) -> Self {
        match command {
            Command::Join { room, since, history, presence } => {
                Self::Join { room, since: *since, history: *history, presence: *presence }
            }
            Command::Leave { room } => Self::Leave { room },
            Command::Publish { room, data, event, echo, key } => {
                Self::Publish { room, data: *data, event: event.as_deref(), echo: *echo, key: key.as_deref() }
            }
            Command::Presence { room } => Self::Presence { room },
            Command::Typing { room, on } => Self::Typing { room, on: *on },
            Command::Read { room, offset } => Self::Read { room, offset: *offset },
            Command::Unread { room } => Self::Unread { room },
            Command::Ping => Self::Ping,
            Command::Hello { token, session } => Self::Hello { token: &token.0, session: session.as_deref() },
            Command::Resume { session, rooms: _ } => Self::Resume { session: session.as_deref(), rooms },
            Command::Send { user, data, event, echo, key } => {
                Self::Send { user, data: *data, event: event.as_deref(), echo: *echo, key: key.as_deref() }
            }
            Command::Refresh { token } => Self::Refresh { token: &token.0 },
            Command::History { room, from, messages_max } => {
                Self::History { room, from: *from, messages_max: *messages_max }
            }
        }
    }
}

/// A room of a `resume`, answered like a join if it has an `id`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ResumeOut<'a> {
    pub room: &'a str,
    pub id: Option<u64>,
    pub since: Option<Position>,
    pub history: Option<u32>,
    pub presence: bool,
}

impl<'a> ResumeOut<'a> {
    /// The rooms of a resume that was read; other commands have none.
    pub fn all(command: &'a Command<'_>) -> Vec<Self> {
        let Command::Resume { rooms, .. } = command else { return Vec::new() };
        let out = |entry: &'a ResumeRoom<'_>| {
            let ResumeRoom { room, id, since, history, presence } = entry;
            Self { room, id: *id, since: *since, history: *history, presence: *presence }
        };
        rooms.iter().map(out).collect()
    }
}

/// Appends one envelope, without a WebSocket frame: the caller frames and masks.
pub fn write_command(out: &mut Vec<u8>, encoding: Encoding, id: Option<u64>, command: &CommandOut<'_>) {
    let mut writer = Writer::new(out, encoding);
    let w = &mut writer;
    let (kind, more) = match *command {
        CommandOut::Join { since, history, presence, .. } => {
            ("join", 1 + usize::from(since.is_some()) + usize::from(history.is_some()) + usize::from(presence))
        }
        CommandOut::Leave { .. } => ("leave", 1),
        CommandOut::Publish { event, echo, key, .. } | CommandOut::Send { event, echo, key, .. } => {
            let kind = if matches!(command, CommandOut::Send { .. }) { "send" } else { "publish" };
            (kind, 2 + [event.is_some(), echo.is_some(), key.is_some()].into_iter().filter(|there| *there).count())
        }
        CommandOut::History { from, messages_max, .. } => {
            ("history", 1 + usize::from(from != HistoryFrom::Newest) + usize::from(messages_max.is_some()))
        }
        CommandOut::Presence { .. } => ("presence", 1),
        CommandOut::Typing { .. } => ("typing", 2),
        CommandOut::Read { .. } => ("read", 2),
        CommandOut::Unread { .. } => ("unread", 1),
        CommandOut::Ping => ("ping", 0),
        CommandOut::Refresh { .. } => ("refresh", 1),
        CommandOut::Hello { session, .. } => ("hello", 1 + usize::from(session.is_some())),
        CommandOut::Resume { session, .. } => ("resume", 1 + usize::from(session.is_some())),
    };
    w.map(1 + usize::from(id.is_some()) + more);
    w.text_field("type", kind);
    if let Some(id) = id {
        w.unsigned_field("id", id);
    }
    match *command {
        CommandOut::Join { room, since, history, presence } => {
            w.text_field("room", room);
            if let Some(since) = since {
                write_since(w, Some(since.epoch), since.offset);
            }
            if let Some(history) = history {
                w.unsigned_field("history", u64::from(history));
            }
            if presence {
                w.boolean_field("presence", true);
            }
        }
        CommandOut::History { room, from, messages_max } => {
            w.text_field("room", room);
            match from {
                HistoryFrom::Newest => {}
                HistoryFrom::Before(offset) => w.unsigned_field("before", offset.0),
                HistoryFrom::After { epoch, offset } => write_since(w, epoch, offset),
            }
            if let Some(messages_max) = messages_max {
                w.unsigned_field("limit", u64::from(messages_max));
            }
        }
        CommandOut::Publish { room: to, data, event, echo, key }
        | CommandOut::Send { user: to, data, event, echo, key } => {
            w.text_field(if kind == "send" { "user" } else { "room" }, to);
            if let Some(event) = event {
                w.text_field("event", event);
            }
            if let Some(key) = key {
                w.text_field("key", key);
            }
            if let Some(echo) = echo {
                w.boolean_field("echo", echo);
            }
            w.data_field("data", data);
        }
        CommandOut::Leave { room } | CommandOut::Presence { room } | CommandOut::Unread { room } => {
            w.text_field("room", room);
        }
        CommandOut::Typing { room, on } => {
            w.text_field("room", room);
            w.boolean_field("on", on);
        }
        CommandOut::Read { room, offset } => {
            w.text_field("room", room);
            w.unsigned_field("offset", offset.0);
        }
        CommandOut::Hello { token, session } => {
            w.text_field("token", token);
            if let Some(session) = session {
                w.text_field("session", session);
            }
        }
        CommandOut::Resume { session, rooms } => {
            if let Some(session) = session {
                w.text_field("session", session);
            }
            w.key("rooms");
            w.array(rooms.len());
            for room in rooms {
                w.element();
                write_resume_room(w, room);
            }
            w.end_array();
        }
        CommandOut::Ping => {}
        CommandOut::Refresh { token } => w.text_field("token", token),
    }
    w.end_map();
}

fn write_since(w: &mut Writer<'_>, epoch: Option<Epoch>, offset: Offset) {
    w.key("since");
    w.map(1 + usize::from(epoch.is_some()));
    if let Some(epoch) = epoch {
        w.text_field("epoch", &epoch.to_string());
    }
    w.unsigned_field("offset", offset.0);
    w.end_map();
}

fn write_resume_room(w: &mut Writer<'_>, entry: &ResumeOut<'_>) {
    let ResumeOut { room, id, since, history, presence } = *entry;
    let position = 2 * usize::from(since.is_some());
    w.map(1 + usize::from(id.is_some()) + position + usize::from(history.is_some()) + usize::from(presence));
    w.text_field("room", room);
    if let Some(id) = id {
        w.unsigned_field("id", id);
    }
    if let Some(Position { epoch, offset }) = since {
        w.text_field("epoch", &epoch.to_string());
        w.unsigned_field("offset", offset.0);
    }
    if let Some(history) = history {
        w.unsigned_field("history", u64::from(history));
    }
    if presence {
        w.boolean_field("presence", true);
    }
    w.end_map();
}
