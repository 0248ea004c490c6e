//! A built-in scenario as a file to edit: what it sets, and every other key as a comment.

use std::fmt::Write as _;

use clap::{Arg, CommandFactory};

use super::{builtin, read};
use crate::args::Cli;
use crate::nearest::or_nearest;

/// The text, or a sentence that names the nearest.
pub(crate) fn show(name: &str) -> Result<String, String> {
    let Some(text) = builtin::text(name) else {
        return Err(format!("{name:?} is no built-in scenario{}", or_nearest(name, builtin::names())));
    };
    let mut program = Cli::command();
    // Defaults and help are put into their places only by building.
    program.build();
    let scenario = read::read(name, name, text, &program).map_err(|problems| problems.join("\n"))?;
    let command = program.find_subcommand(&scenario.command).ok_or("a scenario's command is one of ours")?;
    let mut shown = format!(
        "{text}\n# Every other key; as a flag of `throng-load {}`, or as a variable, it outdoes this file.\n",
        scenario.command
    );
    let set = |arg: &&Arg| scenario.values.iter().any(|(key, _)| arg.get_id() == key.as_str());
    for arg in read::flags(command).into_iter().filter(|arg| !set(arg)) {
        comment(&mut shown, arg);
    }
    Ok(shown)
}

fn comment(shown: &mut String, arg: &Arg) {
    let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let help = help.replace('\n', " ");
    let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let default: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let value = match default.join(",") {
        empty if empty.is_empty() => "…".to_owned(),
        number if number.parse::<f64>().is_ok() => number,
        text => format!("{text:?}"),
    };
    writeln!(shown, "\n# {help} ({variable})\n# {} = {value}", arg.get_id()).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_the_scenario_and_can_be_read_again() {
        for name in builtin::names() {
            let shown = show(name).expect(name);
            let program = Cli::command();
            let read = |text: &str| read::read(name, name, text, &program).expect("reads").values;
            assert_eq!(read(&shown), read(builtin::text(name).expect("is built in")));
            assert!(shown.contains("THRONG_LOAD_"));
        }
        let shown = show("idle").expect("idle");
        assert!(shown.contains("\n# encoding = \"msgpack\"\n") && shown.contains("\n# payload = 128\n"));
        assert!(!shown.contains("# hold ="), "what is set is not said twice");
        assert!(show("idel").is_err_and(|said| said.contains("did you mean `idle`?")));
    }
}
