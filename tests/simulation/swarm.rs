//! Many worlds, one after the other, each from its seed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use throng::shard::ShardConfig;

use crate::dice::Dice;
use crate::tally::{Lived, Tally};
use crate::weather::Weather;
use crate::world::World;

/// How one world ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) trace: u64,
    pub(crate) tally: Tally,
}

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) what: String,
}

/// What a number of worlds came to.
pub(crate) struct Swarm {
    pub(crate) tally: Tally,
    pub(crate) failures: Vec<Failure>,
    /// Tallies of fifty seeds each.
    fifties: Vec<Tally>,
}

impl Swarm {
    pub(crate) fn run(seeds: &[u64], adjust: impl Fn(&mut ShardConfig) + Copy) -> Self {
        let mut swarm = Self { tally: Tally::default(), failures: Vec::new(), fifties: Vec::new() };
        for fifty in seeds.chunks(50) {
            let mut tally = Tally::default();
            for seed in fifty {
                match live(*seed, adjust) {
                    Ok(outcome) => tally.merge(&outcome.tally),
                    Err(what) => swarm.failures.push(Failure { seed: *seed, what }),
                }
            }
            swarm.tally.merge(&tally);
            if fifty.len() == 50 {
                swarm.fifties.push(tally);
            }
        }
        swarm
    }

    /// How often this came to pass in the poorest fifty seeds.
    pub(crate) fn least(&self, lived: Lived) -> u64 {
        self.fifties.iter().map(|tally| tally.of(lived)).min().unwrap_or(0)
    }
}

/// Lives through one world. The error says which invariant broke, and when.
pub(crate) fn live(seed: u64, adjust: impl Fn(&mut ShardConfig) + Copy) -> Result<Outcome, String> {
    let mut dice = Dice::new(seed);
    let weather = Weather::draw(&mut dice);
    let mut world = World::new(seed, weather, dice, adjust);
    let lived = catch_unwind(AssertUnwindSafe(|| world.live().and_then(|()| world.settle())));
    match lived {
        Ok(Ok(())) => Ok(Outcome { trace: world.trace(), tally: world.tally.clone() }),
        Ok(Err(what)) => Err(format!("at {} ms: {what}", world.now.mono_ms)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
            Err(format!("at {} ms: panic: {text}", world.now.mono_ms))
        }
    }
}
