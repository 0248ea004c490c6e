//! The command line, with a scenario's values as the defaults of the command it is for.

use std::ffi::OsString;
use std::path::Path;

use clap::{Command, CommandFactory, FromArgMatches};

use super::{Scenario, builtin, read, source};
use crate::args::Cli;
use crate::nearest::or_nearest;

/// Commands that take a scenario, and how many words stand before its name.
const TAKE_SCENARIOS: &[(&str, usize)] = &[("run", 0), ("plan", 0), ("find", 1), ("bisect", 0)];

/// What went wrong: clap's own words, or sentences of ours.
pub(crate) enum Wrong {
    Clap(clap::Error),
    Scenario(Vec<String>),
}

/// Reads the command line; `words` begins with the program's name.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, Wrong> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    let mut program = Cli::command();
    let Some(at) = place_of_name(&words) else {
        let command = words.get(1).map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        program = source::decide(program, &command, &words, &mut Vec::new());
        return read_words(program, words, None);
    };
    let name = words.remove(at).to_string_lossy().into_owned();
    let mut scenario = find(&name, &program).map_err(Wrong::Scenario)?;
    let asked = words[1].to_string_lossy().into_owned();
    if asked == "run" {
        words[1] = scenario.command.clone().into();
    } else if scenario.command != "run" && scenario.command != asked {
        let sentence = format!(
            "{name} is a scenario for `{}`: `{asked}` needs one for `run`. `throng-load run {name}` does what it says",
            scenario.command
        );
        return Err(Wrong::Scenario(vec![sentence]));
    }
    let command = words[1].to_string_lossy().into_owned();
    program = source::decide(program, &command, &words, &mut scenario.values);
    program = program.mut_subcommand(command, |command| with_defaults(command, &scenario));
    read_words(program, words, Some(scenario.name))
}

/// Where a scenario's name stands: directly behind the command.
fn place_of_name(words: &[OsString]) -> Option<usize> {
    let command = words.get(1)?.to_str()?;
    let is_name = |word: &OsString| word.to_str().is_some_and(|word| !word.is_empty() && !word.starts_with('-'));
    let (_, before) = TAKE_SCENARIOS.iter().find(|(known, _)| *known == command)?;
    let at = 2 + before;
    words.get(2..=at)?.iter().all(is_name).then_some(at)
}

fn read_words(program: Command, words: Vec<OsString>, scenario: Option<String>) -> Result<Cli, Wrong> {
    let matches = program.clone().try_get_matches_from(words).map_err(Wrong::Clap)?;
    source::refuse_what_counts_for_nothing(&matches).map_err(|sentence| Wrong::Scenario(vec![sentence]))?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(|error| Wrong::Clap(error.format(&mut program.clone())))?;
    cli.name_scenario(scenario);
    Ok(cli)
}

/// A file if it looks like one, else a built-in.
fn find(name: &str, program: &Command) -> Result<Scenario, Vec<String>> {
    let path = Path::new(name);
    if path.extension().is_some_and(|extension| extension == "toml") || name.contains('/') {
        let text = std::fs::read_to_string(path).map_err(|error| vec![format!("{name}: {error}")])?;
        let stem = path.file_stem().map_or_else(|| name.to_owned(), |stem| stem.to_string_lossy().into_owned());
        return read::read(name, &stem, &text, program);
    }
    match builtin::text(name) {
        Some(text) => read::read(name, name, text, program),
        None if program.find_subcommand(name).is_some() => Err(vec![format!(
            "{name:?} is a command, `throng-load {name}`, and no scenario: what scenarios there are says `throng-load list`"
        )]),
        None => Err(vec![format!(
            "{name:?} is no built-in scenario{} (a file's name ends with .toml)",
            or_nearest(name, builtin::names())
        )]),
    }
}

fn with_defaults(mut command: Command, scenario: &Scenario) -> Command {
    for (key, value) in &scenario.values {
        let value = value.clone();
        command = command.mut_arg(key, |arg| {
            // What a scenario gives need not be given again.
            let arg = arg.required(false);
            match arg.get_value_delimiter() {
                Some(delimiter) => {
                    let values: Vec<String> = value.split(delimiter).map(str::to_owned).collect();
                    arg.default_values(values)
                }
                None => arg.default_value(value),
            }
        });
    }
    command
}

#[cfg(test)]
mod tests {
    use super::super::builtin::BUILT_IN;
    use super::*;
    use crate::args::{Command as Asked, Publishers, RunArgs};
    use crate::find::What;
    use crate::schedule::Arrivals;

    fn words(line: &str) -> Vec<OsString> {
        ["throng-load"].into_iter().chain(line.split_whitespace()).map(OsString::from).collect()
    }

    fn run(line: &str) -> RunArgs {
        match parse(words(line)) {
            Ok(Cli { command: Asked::Run(args) }) => *args,
            Ok(_) => panic!("{line}: not a run"),
            Err(Wrong::Clap(error)) => panic!("{line}: {error}"),
            Err(Wrong::Scenario(problems)) => panic!("{line}: {problems:?}"),
        }
    }

    fn wrong(text: &str) -> String {
        match read::read("file.toml", "file", text, &Cli::command()) {
            Ok(scenario) => panic!("{text}: {scenario:?}"),
            Err(problems) => problems.join("\n"),
        }
    }

    #[test]
    fn every_built_in_is_a_whole_command_line() {
        for (name, _) in BUILT_IN {
            // Churn has no default for the process it looks at.
            let more = if *name == "churn" { "--server-pid 1" } else { "" };
            match parse(words(&format!("run {name} {more}"))) {
                Ok(_) => {}
                Err(Wrong::Clap(error)) => panic!("{name}: {error}"),
                Err(Wrong::Scenario(problems)) => panic!("{name}: {problems:?}"),
            }
        }
    }

    #[test]
    fn a_flag_outdoes_the_scenario_and_the_scenario_the_default() {
        let whale = run("run whale --rate 7 --arrivals poisson");
        assert_eq!((whale.connections, whale.room_size, whale.rate), (1_000, 1_000, Some(7.0)));
        assert_eq!((whale.publishers, whale.arrivals), (Some(Publishers::PerRoom(10)), Arrivals::Poisson));
        assert_eq!(whale.scenario.as_deref(), Some("whale"));
        let plain = run("run");
        assert_eq!((plain.rate, plain.scenario), (None, None));
    }

    #[test]
    fn phases_are_tables_and_can_be_given_by_a_flag_too() {
        let spike = run("run spike");
        let names: Vec<&str> = spike.phase.iter().map(|phase| phase.name.as_str()).collect();
        assert_eq!(names, ["before", "spike", "after"]);
        assert_eq!((spike.phase[1].times, spike.phase[1].duration_s), ((5.0, 5.0), 10.0));
        let other = run("run spike --phase name=a,duration=1 --phase duration=2;name=c,duration=3");
        assert_eq!(other.phase.iter().map(|phase| phase.duration_s).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn everything_wrong_is_said_at_once_with_its_line() {
        let said = wrong("conections = 5\n\nrate = \"fast\"\narrivals = \"late\"\nhold = [1, [2]]\n");
        for part in [
            "file.toml:1: unknown key `conections`: did you mean `connections`?",
            "file.toml:3: `rate` cannot be \"fast\": a number above 0",
            "file.toml:4: `arrivals` cannot be \"late\": one of even, poisson",
            "file.toml:5: `hold` is neither a word nor a number",
        ] {
            assert!(said.contains(part), "{part} in\n{said}");
        }
        assert!(wrong("do = \"rum\"").contains("did you mean `run`?"));
        assert!(wrong("do = \"siege\"\nroom_size = 3").contains("file.toml:2: unknown key `room_size`"));
        assert!(wrong("[[phase]]\nname = \"x\"").contains("file.toml:1: `phase` cannot be"));
        assert!(wrong("[[phase]]\ndurations = 1").contains("did you mean `duration`?"));
        assert!(wrong("rate 5").contains("file.toml:1: this is not TOML"));
        assert!(wrong("scenario = \"idle\"").contains("unknown key"));
    }

    #[test]
    fn other_commands_take_scenarios_that_are_runs() {
        let find = parse(words("find rate pairs --slo p99<50ms --to 9000")).ok().map(|cli| cli.command);
        let Some(Asked::Find(find)) = find else { panic!("not a find") };
        assert_eq!((find.run.room_size, find.run.scenario.as_deref()), (2, Some("pairs")));
        assert_eq!(find.run.slo.map(|slo| slo.to_string()).as_deref(), Some("p99<50ms"));
        assert!(matches!(parse(words("plan whale")), Ok(Cli { command: Asked::Plan(_) })));
        assert!(
            matches!(parse(words("plan churn")), Err(Wrong::Scenario(problems)) if problems[0].contains("`plan` needs one for `run`"))
        );
    }

    #[test]
    fn what_is_looked_for_and_between_what_can_stand_in_a_scenario() {
        let file = |name: &str, text: &str| {
            let path = std::env::temp_dir().join(format!("throng-load-{name}-{}.toml", std::process::id()));
            std::fs::write(&path, text).expect("writes");
            path.display().to_string()
        };
        let command = |line: &str| match parse(words(line)) {
            Ok(cli) => cli.command,
            Err(Wrong::Clap(error)) => panic!("{line}: {error}"),
            Err(Wrong::Scenario(problems)) => panic!("{line}: {problems:?}"),
        };
        let common = "connections = 20\nroom_size = 10\nslo = \"p99<50ms\"\n";
        let found = "do = \"find\"\nwhat = \"room-size\"\nfrom = 5\nto = 80\nprecision = 2.5\nrepeats = 3\n";
        let find = file("find", &format!("{found}{common}"));
        for (line, what, to) in
            [(format!("run {find}"), What::RoomSize, 80.0), (format!("find rate {find} --to 90"), What::Rate, 90.0)]
        {
            let Asked::Find(args) = command(&line) else { panic!("{line}: not a find") };
            assert_eq!((args.what, args.from, args.to), (what, Some(5.0), Some(to)), "{line}");
            assert_eq!((args.precision, args.repeats, args.run.connections), (2.5, 3, 20), "{line}");
            assert!(args.run.scenario.is_some(), "{line}");
        }
        let bisected = "do = \"bisect\"\nfrom = 100\nto = 900\nsteps = 2\nkeep = 80\nagain = 4\n";
        let bisect = file("bisect", &format!("{bisected}{common}"));
        for (line, from) in [(format!("run {bisect}"), 100.0), (format!("bisect {bisect} --from 200"), 200.0)] {
            let Asked::Bisect(args) = command(&line) else { panic!("{line}: not a bisect") };
            assert_eq!((args.from, args.to, args.steps, args.keep, args.again), (from, 900.0, 2, 80.0, 4), "{line}");
            assert!(args.run.scenario.is_some(), "{line}");
        }
        let of_other = parse(words(&format!("bisect {find}")));
        assert!(
            matches!(of_other, Err(Wrong::Scenario(problems)) if problems[0].contains("`bisect` needs one for `run`"))
        );
        assert!(
            wrong("do = \"find\"\nwhat = \"rates\"").contains("file.toml:2: `what` cannot be \"rates\": one of rate,")
        );
        assert!(wrong("from = 5").contains("unknown key `from`"), "a run goes from nowhere to nowhere");
        for path in [find, bisect] {
            std::fs::remove_file(path).expect("it is ours");
        }
    }

    /// It was "no built-in scenario: did you mean `drain`?", and of one that is no run not what to do with it.
    #[test]
    fn what_cannot_be_planned_says_which_command_to_use() {
        for (line, part) in [
            ("plan storm", "a command, `throng-load storm`, and no scenario"),
            (
                "plan lossy",
                "a scenario for `storm`: `plan` needs one for `run`. `throng-load run lossy` does what it says",
            ),
            ("find rate churn --slo p99<1s", "`throng-load run churn` does what it says"),
        ] {
            let Err(Wrong::Scenario(problems)) = parse(words(line)) else { panic!("{line}") };
            assert!(problems[0].contains(part), "{line}: {problems:?}");
        }
    }

    /// `plan idle --duration 3` planned the minute that `idle` holds.
    #[test]
    fn a_duration_that_would_count_for_nothing_is_refused() {
        for line in [
            "plan idle --duration 3",
            "run --hold 5 --duration 3",
            "run spike --duration 3",
            "run --phase duration=1 --duration 3",
        ] {
            let Err(Wrong::Scenario(problems)) = parse(words(line)) else { panic!("{line}") };
            assert!(problems[0].starts_with("--duration "), "{line}: {problems:?}");
        }
        assert_eq!(run("run rooms --duration 3").duration, Some(3.0));
        assert_eq!(run("run chat --hold 5").hold, Some(5.0), "the scenario's own duration gives way to a flag");
        assert_eq!(run("run soak --phase duration=1").phase.len(), 1);
    }

    #[test]
    fn a_name_nobody_knows_is_told_the_nearest() {
        let said = |line: &str| match parse(words(line)) {
            Err(Wrong::Scenario(problems)) => problems.join("\n"),
            Ok(_) | Err(Wrong::Clap(_)) => panic!("{line}"),
        };
        assert!(said("run wale").contains("did you mean `whale`?"));
        assert!(said("run nowhere.toml").contains("nowhere.toml: No such file"));
        assert!(matches!(parse(words("run --rate 5 whale")), Err(Wrong::Clap(_))), "the name comes first");
    }
}
