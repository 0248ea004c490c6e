//! From where a value comes: a flag beats a variable, a variable the scenario, the scenario the default.
//!
//! Clap settles that for each option by itself. Here is settled what stands in two options: a secret, given or in a file, where
//! the nearer source decides; and how long a run takes, where one that would count for nothing is refused.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// Two ways to say the same.
const EITHER: [[&str; 2]; 2] = [["secret", "secret_file"], ["agent_key", "agent_key_file"]];
/// What takes the place of `duration`, and what to do.
const INSTEAD: [(&str, &str); 2] = [
    ("hold", "a hold takes its own time: say it with --hold, or THRONG_LOAD_HOLD"),
    ("phase", "each phase has a `duration` of its own: give others with --phase"),
];

/// The nearest last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Source {
    Nobody,
    Scenario,
    Variable,
    Flag,
}

/// Of two options that say the same the farther one is not asked: it is taken out of `program` and of the scenario's `values`.
pub(super) fn decide(
    mut program: Command,
    command: &str,
    words: &[OsString],
    values: &mut Vec<(String, String)>,
) -> Command {
    for [one, other] in EITHER {
        let Some(known) = program.find_subcommand(command) else { break };
        let (first, second) = (source(known, one, words, values), source(known, other, words, values));
        let farther = if first < second { one } else { other };
        if first == second || first.min(second) == Source::Nobody {
            continue;
        }
        values.retain(|(key, _)| key.as_str() != farther);
        program =
            program.mut_subcommand(command, |command| command.mut_arg(farther, |arg| arg.env(None::<&'static str>)));
    }
    program
}

fn source(command: &Command, key: &str, words: &[OsString], values: &[(String, String)]) -> Source {
    let Some(arg) = command.get_arguments().find(|arg| arg.get_id() == key) else { return Source::Nobody };
    let flag = format!("--{}", arg.get_long().unwrap_or(key));
    let is_flag = |word: &OsString| {
        let rest = word.to_str().and_then(|word| word.strip_prefix(flag.as_str()));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    if words.iter().any(is_flag) {
        Source::Flag
    } else if arg.get_env().is_some_and(|name| std::env::var_os(name).is_some()) {
        Source::Variable
    } else if values.iter().any(|(known, _)| known == key) {
        Source::Scenario
    } else {
        Source::Nobody
    }
}

/// An error: somebody said a duration, and something as near takes its place.
pub(super) fn refuse_what_counts_for_nothing(matches: &ArgMatches) -> Result<(), String> {
    let Some((command, matches)) = matches.subcommand() else { return Ok(()) };
    if !["run", "plan", "find", "bisect"].contains(&command) {
        return Ok(());
    }
    let of = |key: &str| match matches.value_source(key) {
        Some(ValueSource::CommandLine) => Source::Flag,
        Some(ValueSource::EnvVariable) => Source::Variable,
        Some(_) => Source::Scenario,
        None => Source::Nobody,
    };
    let said = of("duration");
    let instead =
        INSTEAD.iter().find(|(key, _)| of(key) > Source::Nobody && of(key) <= said && said > Source::Scenario);
    let name = if said == Source::Variable { "THRONG_LOAD_DURATION" } else { "--duration" };
    instead.map_or(Ok(()), |(_, sentence)| Err(format!("{name} would count for nothing: {sentence}")))
}
