//! Patterns of room names: a literal, or a prefix with one trailing `*`; in grants either may hold `{user}`.
//!
//! Promises: nothing in a pattern can match in two ways, so that nothing is ever tried again and the cost is the length.

use super::RoomName;

/// Bytes of one pattern, the same as of a room name.
pub const BYTES_MAX: usize = RoomName::BYTES_MAX;

/// Takes a literal, or a prefix with one trailing `*`, each with any number of `{user}`. The error says what a person has
/// to mend.
pub fn check(pattern: &str) -> Result<(), &'static str> {
    if pattern.len() > BYTES_MAX {
        return Err("`match` is longer than 128 bytes");
    }
    let prefix = pattern.strip_suffix('*').unwrap_or(pattern);
    if prefix.contains('*') {
        return Err("`match` may hold one `*`, at its end");
    }
    if prefix.len() < pattern.len() && prefix.ends_with(USER) {
        // inbox:{user}* would let ann into inbox:annabel.
        return Err("`match` needs a separator between {user} and *");
    }
    let literal = prefix.replace(USER, "");
    if pattern.is_empty() || (!literal.is_empty() && RoomName::check(&literal).is_err()) {
        return Err("`match` holds what no room name holds (A-Z a-z 0-9 : _ . - @ / + and {user})");
    }
    Ok(())
}

/// Whether a pattern that was checked fits this room. Walks both side by side; `{user}` stands for exactly `user`.
pub fn matches(pattern: &str, room: &str, user: &str) -> bool {
    let (mut pattern, open_end) = match pattern.strip_suffix('*') {
        Some(prefix) => (prefix, true),
        None => (pattern, false),
    };
    let mut rest = room;
    while let Some((literal, after)) = pattern.split_once(USER) {
        let Some(left) = rest.strip_prefix(literal).and_then(|rest| rest.strip_prefix(user)) else { return false };
        (pattern, rest) = (after, left);
    }
    match rest.strip_prefix(pattern) {
        Some(left) => open_end || left.is_empty(),
        None => false,
    }
}

/// What stands for the token's own user.
pub const USER: &str = "{user}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_literal_or_a_prefix() {
        for good in ["lobby", "chat:*", "*", "@{user}", "dm:{user}:*"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "a*b", "**", "a b", "{room}", "{user}*"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(matches("chat:*", "chat:", "") && !matches("chat:*", "chat", "") && !matches("a", "ab", ""));
        assert!(matches("@{user}", "@ann", "ann") && !matches("@{user}", "@annabel", "ann"));
    }
}
