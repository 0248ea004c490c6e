//! What somebody may have meant.

/// The known name that is fewest typing mistakes away, if it is near enough to be meant.
pub(super) fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A name longer than any of ours is no typing mistake, and comparing costs the product of the lengths.
    if written.len() > WRITTEN_BYTES_MAX {
        return None;
    }
    let far = |name: &&str| strsim::damerau_levenshtein(&written.to_lowercase(), &name.to_lowercase());
    let found = known.map(|name| (far(&name), name)).min_by_key(|(far, _)| *far)?;
    let longest = written.chars().count().max(found.1.len());
    (found.0 <= (longest / 3).max(1)).then_some(found.1)
}

const WRITTEN_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognized_and_a_different_word_is_not() {
        let of = |written| nearest(written, ["listen", "shards", "max_connections"].into_iter());
        assert_eq!(of("lisen"), Some("listen"));
        assert_eq!(of("Shard"), Some("shards"));
        assert_eq!(of("max_conections"), Some("max_connections"));
        assert_eq!(of("maximum_connections"), Some("max_connections"));
        assert_eq!(of("colour"), None);
        assert_eq!(of(&"listen".repeat(50)), None);
        assert_eq!(nearest("x", std::iter::empty()), None);
    }
}
