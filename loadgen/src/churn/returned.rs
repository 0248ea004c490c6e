//! Whether the memory of a server returned after each round. What is left differs from round to round with the rooms that are
//! kept and the pages the allocator has not given back yet, so medians of several rounds are compared where there are several.

use super::round::mib;

/// The first round whose memory is a measure: by then pools and tables have the size they need.
pub(super) const SETTLED_ROUND: usize = 3;
/// At most so many rounds at either end.
const ROUNDS_MAX: usize = 5;
const SLACK_PERCENT: u64 = 2;
/// Less is no growth: every process has that.
const SLACK_BYTES: u64 = 1 << 20;

/// A sentence if memory grew; `after` are bytes after each round.
pub(super) fn growth(after: &[u64]) -> Option<String> {
    let measured = after.get(SETTLED_ROUND - 1..).filter(|measured| measured.len() > 1)?;
    let rounds = (measured.len() / 2).min(ROUNDS_MAX);
    let (first, last) = (median(&measured[..rounds])?, median(&measured[measured.len() - rounds..])?);
    (last > first + (first * SLACK_PERCENT / 100).max(SLACK_BYTES)).then(|| {
        let whose = |first: usize, last: usize| match first == last {
            true => format!("after round {first}"),
            false => format!("after rounds {first} to {last} (median)"),
        };
        let settled = whose(SETTLED_ROUND, SETTLED_ROUND + rounds - 1);
        let end = whose(after.len() - rounds + 1, after.len());
        format!("memory grew from {:.2} MiB {settled} to {:.2} MiB {end}", mib(first), mib(last))
    })
}

/// A sentence if more is kept after the first rounds, with nobody there, than the whole first crowd took while it was there:
/// what each of them left is what later ones are held against.
pub(super) fn settled_too_high(after: &[u64], first_joined: u64) -> Option<String> {
    let settled = *after.get(SETTLED_ROUND - 1)?;
    let most = first_joined + (first_joined * SLACK_PERCENT / 100).max(SLACK_BYTES);
    (settled > most).then(|| {
        format!(
            "memory after round {SETTLED_ROUND} was {:.2} MiB with nobody there, more than the first crowd took while it was there ({:.2} MiB)",
            mib(settled),
            mib(first_joined)
        )
    })
}

/// The lower one of two in the middle.
fn median(bytes: &[u64]) -> Option<u64> {
    let mut sorted = bytes.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn few_rounds_are_compared_one_with_one() {
        assert_eq!(growth(&[]), None);
        assert_eq!(growth(&[MIB, MIB, 9 * MIB]), None, "one round alone is the measure of nothing");
        assert_eq!(growth(&[MIB, MIB, 10 * MIB, 11 * MIB]), None);
        let grown = growth(&[MIB, MIB, 10 * MIB, 12 * MIB]).unwrap();
        assert_eq!(grown, "memory grew from 10.00 MiB after round 3 to 12.00 MiB after round 4");
    }

    /// Regression: a round that was low by chance, held against one that was high, was growth.
    #[test]
    fn of_many_rounds_medians_are_compared() {
        let noisy = [50, 51, 49, 52, 50, 51, 52, 49, 51, 50, 51, 52].map(|mib| mib * MIB);
        assert_eq!(growth(&noisy), None, "49 in the third and 52 in the last");
        let grows: Vec<u64> = (0..50).map(|round| (50 * 16 + round) * MIB / 16).collect();
        let grown = growth(&grows).unwrap();
        assert!(grown.contains("after rounds 3 to 7 (median)") && grown.contains("after rounds 46 to 50"), "{grown}");
    }
}
