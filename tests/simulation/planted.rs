//! Bugs planted on purpose: a simulation that does not find them would not find others either.

use throng::shard::PlantedBug;

use crate::{SEEDS, say, swarm};

#[test]
fn every_planted_bug_is_found_within_200_seeds_and_only_because_it_is_there() {
    let found: Vec<Result<String, String>> = PlantedBug::ALL.into_iter().map(look_for).collect();
    for told in &found {
        say(&format!("planted {}", told.as_ref().unwrap_or_else(|missed| missed)));
    }
    let caught = found.iter().filter(|told| told.is_ok()).count();
    say(&format!("planted bugs: {caught} of {} found", PlantedBug::ALL.len()));
    assert_eq!(
        caught,
        PlantedBug::ALL.len(),
        "{:?}",
        found.iter().filter_map(|told| told.as_ref().err()).collect::<Vec<_>>()
    );
}

/// By which seed it was found, and which invariant told of it; or why that is not so.
fn look_for(bug: PlantedBug) -> Result<String, String> {
    let lives = |seed| swarm::live(seed, |config| config.planted = Some(bug));
    let found = (1..=SEEDS).find_map(|seed| Some((seed, lives(seed).err()?)));
    let (seed, what) = found.ok_or_else(|| format!("{bug:?} lived through {SEEDS} seeds unseen"))?;
    let invariant = what.split([' ', ':']).find(|word| is_invariant(word));
    let invariant = invariant.ok_or_else(|| format!("{bug:?} was stumbled upon, not recognized: {what}"))?;
    for healthy in 1..=seed {
        if let Err(lived) = swarm::live(healthy, |_| {}) {
            return Err(format!("{bug:?}: seed {healthy} fails without it as well: {lived}"));
        }
    }
    Ok(format!("{bug:?}: found by seed {seed}, {invariant} ({what})"))
}

/// A letter and a number, as the invariants are called where they are checked.
fn is_invariant(word: &str) -> bool {
    let (letter, number) = word.split_at(word.len().min(1));
    letter.starts_with(|c: char| c.is_ascii_uppercase())
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
}
