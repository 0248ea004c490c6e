//! What somebody may have meant by a name nobody knows.

/// `: did you mean …?`, or all there are where none is near.
pub(crate) fn or_nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    // A name longer than any of ours is no typing mistake, and comparing costs the product of the lengths.
    let near = known
        .iter()
        .filter(|_| written.len() <= WRITTEN_BYTES_MAX)
        .map(|name| (strsim::damerau_levenshtein(&written.to_lowercase(), name), name))
        .min_by_key(|(far, _)| *far)
        .filter(|(far, name)| *far <= (written.chars().count().max(name.len()) / 3).max(1));
    match near {
        Some((_, name)) => format!(": did you mean `{name}`?"),
        None => format!(": there are {}", known.join(", ")),
    }
}

const WRITTEN_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognized_and_for_another_word_all_are_named() {
        let of = |written| or_nearest(written, ["rate", "room_size"].into_iter());
        assert_eq!(of("raet"), ": did you mean `rate`?");
        assert_eq!(of("roomsize"), ": did you mean `room_size`?");
        assert_eq!(of("colour"), ": there are rate, room_size");
        assert_eq!(of(&"rate".repeat(50)), ": there are rate, room_size");
    }
}
