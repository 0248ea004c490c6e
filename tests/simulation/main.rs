//! Whole rooms on many shards, in seeded worlds without a kernel: everything that may come between people comes.
//!
//! `cargo sim` lives through the default number of seeds; `THRONG_SIM_SEED=N cargo sim` replays one,
//! `THRONG_SIM_SEEDS=N cargo sim` runs as many as you like. A bug that was found here leaves its seed in
//! [`REGRESSIONS`].

mod audit;
mod client;
mod coming_back;
mod company;
mod crowd;
mod deeds;
mod desk;
mod diary;
mod dice;
mod fleeting;
mod frames;
mod leaving;
mod letters;
mod pages;
mod people;
#[cfg(feature = "planted-bugs")]
mod planted;
mod reference;
mod resuming;
mod scene;
mod scenes;
mod socket;
mod swarm;
mod tally;
mod tokens;
mod view;
mod weather;
mod world;

use std::io::Write;

use swarm::Swarm;
use tally::Lived;

/// Seeds beyond the default number that once failed; what failed is told letter by letter in `scenes`.
const REGRESSIONS: &[u64] = &[];
const SEEDS: u64 = 200;
/// Fifty seeds in which one of these never came to pass prove nothing about it.
const MUST_BE_LIVED: &[Lived] = &[
    Lived::Joins,
    Lived::Bounced,
    Lived::Gaps,
    Lived::Stretched,
    Lived::HalfWritten,
    Lived::SentAway,
    Lived::WentAway,
    Lived::CameBack,
    Lived::Counted,
    Lived::Typing,
    Lived::Reads,
    Lived::RefreshedAlike,
    Lived::RefreshedOtherwise,
    Lived::RefreshesRefused,
    Lived::Removed,
    Lived::RulesChanged,
    Lived::Revocations,
    Lived::RevocationsNotKept,
    Lived::Revoked,
    Lived::UserFull,
    Lived::AddressFull,
    Lived::AddressRate,
    Lived::ApiPublishes,
    Lived::Announced,
    Lived::ApiCloses,
    Lived::ApiLooks,
    Lived::ApiHistory,
    Lived::Forgotten,
    Lived::RoomsPushedOut,
    Lived::TooOften,
    Lived::RoomFull,
    Lived::Flooding,
    Lived::LogsFull,
    Lived::KeysFull,
    Lived::Dups,
    Lived::Histories,
    Lived::PagedOn,
    Lived::PagedOverGaps,
    Lived::OwnHistory,
    Lived::OwnValues,
    Lived::FleetingRefused,
    Lived::WentForAWhile,
    Lived::SatInBroadcasts,
    Lived::Letters,
    Lived::LettersWaited,
    Lived::Resumed,
    Lived::NotResumed,
    Lived::TakenOver,
    Lived::Recovered,
    Lived::UnknownGaps,
    Lived::Overtaken,
    Lived::Dropped,
    Lived::Inflated,
    Lived::InflatedByServer,
    Lived::FellBehind,
    Lived::CaughtUp,
    Lived::Pages,
    Lived::Slow,
    Lived::Silent,
    Lived::Expired,
    Lived::Slots,
    Lived::LeftUnread,
    Lived::SessionsForgotten,
    Lived::PeopleDropped,
    Lived::ListsStale,
];

#[test]
fn whatever_happens_everybody_hears_everything_once_and_in_order() {
    let seeds: Vec<u64> = match (number("THRONG_SIM_SEED"), number("THRONG_SIM_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, count) => REGRESSIONS.iter().copied().chain(1..=count.unwrap_or(SEEDS)).collect(),
    };
    let swarm = Swarm::run(&seeds, |_| {});
    say(&format!("{} seeds lived through {}", seeds.len(), swarm.tally));
    for failure in &swarm.failures {
        say(&format!(
            "seed {}: {}\n    replay: THRONG_SIM_SEED={} cargo sim",
            failure.seed, failure.what, failure.seed
        ));
    }
    assert!(swarm.failures.is_empty(), "{} of {} seeds failed", swarm.failures.len(), seeds.len());
    if seeds.len() >= 50 {
        for lived in MUST_BE_LIVED {
            let n = swarm.least(*lived);
            assert!(n > 0, "fifty seeds in which {lived:?} never came to pass prove nothing about it");
        }
    }
}

#[test]
fn the_same_seed_lives_the_same_life() {
    for seed in [3, 14, 15] {
        assert_eq!(swarm::live(seed, |_| {}).unwrap().trace, swarm::live(seed, |_| {}).unwrap().trace);
    }
    assert_ne!(swarm::live(3, |_| {}).unwrap().trace, swarm::live(14, |_| {}).unwrap().trace);
}

/// A line for whoever watches: it is seen when the test passes, too.
fn say(line: &str) {
    // Of what the print macros write a passing test shows nothing.
    writeln!(std::io::stderr(), "simulation: {line}").expect("somebody listens to stderr");
}

#[expect(clippy::disallowed_methods, reason = "a test has no command line of its own: the seed comes from outside")]
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}
