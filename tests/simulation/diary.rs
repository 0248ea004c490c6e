//! One line for everything a client is told.

use throng::wire::client::ServerEvent;

/// In short: `joined 3` (the head), `ack 4`, `#4` (a message), `gap 2..=3 slow`, `refused 7 busy`.
pub(crate) fn line(event: &ServerEvent<'_>) -> String {
    match event {
        ServerEvent::Welcome(_) => "welcome".to_owned(),
        ServerEvent::Reply(reply) if reply.messages.is_some() => "history".to_owned(),
        ServerEvent::Reply(reply) => match (&reply.level, reply.offset, reply.recovered, reply.count) {
            (Some(_), Some(offset), ..) => format!("ack {}", offset.0),
            (None, Some(offset), None, _) => format!("joined {}", offset.0),
            (None, Some(offset), Some(true), _) => format!("joined {} recovered", offset.0),
            (None, Some(offset), Some(false), _) => format!("joined {} not recovered", offset.0),
            (_, None, _, Some(count)) => format!("{count} there"),
            (_, None, _, None) => format!("done {}", reply.id),
        },
        ServerEvent::Error { id, refusal, .. } => format!("refused {} {}", id.unwrap_or(0), refusal.code()),
        ServerEvent::Message(message) => format!("#{}", message.offset.0),
        ServerEvent::PresenceJoined { users, .. } => format!("+{}", names(users.iter().map(|p| &*p.user))),
        ServerEvent::PresenceLeft { users, .. } => format!("-{}", names(users.iter().map(|p| &*p.user))),
        ServerEvent::PresenceAway { users, .. } => format!("~{}", names(users.iter().map(|p| &*p.user))),
        ServerEvent::PresenceBack { users, .. } => format!("!{}", names(users.iter().map(|p| &*p.user))),
        ServerEvent::PresenceCounted { count, version, .. } => format!("{count} of version {version}"),
        ServerEvent::Stale { .. } => "stale".to_owned(),
        ServerEvent::Typing { users, .. } => format!("typing {}", names(users.iter().map(|p| &*p.user))),
        ServerEvent::Read { reads, .. } => {
            let reads: Vec<String> = reads.iter().map(|read| format!("{} {}", read.user, read.offset.0)).collect();
            format!("read {}", reads.join(","))
        }
        ServerEvent::Gap { from, to, why, .. } => format!("gap {}..={} {}", from.0, to.0, why.name()),
        ServerEvent::Expiring { in_ms } => format!("ends in {in_ms}"),
        ServerEvent::Removed { room, why } => format!("put out of {room}: {}", why.name()),
        ServerEvent::Drain { reconnect_in_ms } => format!("drain {reconnect_in_ms}"),
        ServerEvent::Unknown { kind } => format!("unknown {kind}"),
    }
}

fn names<'a>(users: impl Iterator<Item = &'a str>) -> String {
    users.collect::<Vec<_>>().join(",")
}
