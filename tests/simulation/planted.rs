//! Bugs planted on purpose: a simulation that does not find them would not find others either.

use throng::shard::PlantedBug;

use crate::{SEEDS, say, swarm};

#[test]
fn every_planted_bug_is_found_within_200_seeds_and_only_because_it_is_there() {
    for bug in PlantedBug::ALL {
        let lives = |seed| swarm::live(seed, |config| config.planted = Some(bug));
        let found = (1..=SEEDS).find_map(|seed| Some((seed, lives(seed).err()?)));
        let (seed, what) = found.unwrap_or_else(|| panic!("{bug:?} lived through {SEEDS} seeds unseen"));
        let invariant = what.split([' ', ':']).find(|word| is_invariant(word));
        let invariant = invariant.unwrap_or_else(|| panic!("{bug:?} was stumbled upon, not recognized: {what}"));
        say(&format!("planted {bug:?}: found by seed {seed}, {invariant} ({what})"));
        for healthy in 1..=seed {
            let lived = swarm::live(healthy, |_| {});
            assert!(lived.is_ok(), "seed {healthy} fails without {bug:?} as well: {lived:?}");
        }
    }
}

/// A letter and a number, as the invariants are called where they are checked.
fn is_invariant(word: &str) -> bool {
    let (letter, number) = word.split_at(word.len().min(1));
    letter.starts_with(|c: char| c.is_ascii_uppercase())
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
}
