//! A configuration in words: what holds and why, and what a room would get.

use std::fmt::Write;

use super::list::SECTIONS;
use super::read::Settled;
use super::rooms::FIELDS;
use crate::base::{RoomClass, RoomName};
use crate::wire::{Grants, Verb};

/// Every setting with its value and where it came from. Secrets are not among the values.
pub fn explain(settled: &Settled) -> String {
    let mut text = String::new();
    for (section, _) in SECTIONS {
        let _infallible = writeln!(text, "[{section}]");
        for (setting, whence) in settled.each().filter(|(setting, _)| setting.section == *section) {
            let value = setting.show(&settled.config);
            if setting.hidden && value.is_none() {
                continue;
            }
            let value = value.unwrap_or_else(|| format!("({})", setting.unset));
            let _infallible = writeln!(text, "  {:<28} {value:<24} {whence}", setting.key);
        }
    }
    text
}

/// What this room would get, and what somebody whose token has no `rooms` may do there.
///
/// # Errors
/// What is wrong with the name.
pub fn explain_room(settled: &Settled, room: &str, user: Option<&str>) -> Result<String, String> {
    RoomName::check(room).map_err(|_| {
        format!("{room:?} is no room name: 1 to {} bytes of A-Z a-z 0-9 : _ . - @ / +", RoomName::BYTES_MAX)
    })?;
    let (mut text, limits) = (format!("room {room}\n"), &settled.config.limits);
    let dev = settled.config.server.dev;
    let grants = settled.config.grants.default.clone();
    let grants = grants.unwrap_or_else(|| if dev { Grants::everything() } else { Grants::nothing() });
    text.push_str(&granted(&grants, room, user));
    let classes = settled.config.rooms.classes(limits, None)?;
    let class = classes.class(classes.of_room(room));
    let _infallible = match &*class.name {
        RoomClass::DEFAULT_NAME => writeln!(text, "  no pattern in [rooms] fits: what [limits] says holds"),
        pattern => writeln!(
            text,
            "  class {pattern}, the longest pattern in [rooms] that fits; what it does not say is the default"
        ),
    };
    for field in FIELDS {
        let _infallible = writeln!(text, "  {:<21} {}", field.key, field.show(class));
    }
    let rows = [
        ("history on join", limits.history_on_join_max as u64, "messages at most"),
        ("nesting", limits.depth_max as u64, "levels at most"),
        ("members listed", limits.members_max as u64, "at most"),
    ];
    for (what, number, unit) in rows {
        let _infallible = writeln!(text, "  {what:<21} {number} {unit}");
    }
    Ok(text)
}

fn granted(grants: &Grants, room: &str, user: Option<&str>) -> String {
    let who = user.map_or_else(|| "somebody".to_owned(), |user| format!("{user:?}"));
    // Only a pattern with {user} asks who it is; a name that no user has matches none of those.
    let named = user.unwrap_or("\u{0}");
    let allowed = Verb::ALL.into_iter().filter(|verb| grants.allows(*verb, room, named));
    let verbs: Vec<&str> = allowed.map(Verb::name).collect();
    let verbs = if verbs.is_empty() { "do nothing".to_owned() } else { verbs.join(", ") };
    let mut text = format!("  {who} whose token has no `rooms` may here: {verbs}\n");
    let personal = grants.iter().map(|(pattern, _)| pattern).filter(|pattern| pattern.contains("{user}"));
    let personal: Vec<&str> = personal.collect();
    if user.is_none() && !personal.is_empty() {
        let _infallible =
            writeln!(text, "  and more, depending on who it is (ask with --user): {}", personal.join(", "));
    }
    text
}
