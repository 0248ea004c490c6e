//! A scenario's TOML, key by key against the command's table.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};
use toml::de::{DeTable, DeValue};

use super::Scenario;
use crate::nearest::or_nearest;

/// The key that says which command a scenario is for.
const DO: &str = "do";
/// Commands that make sense under a name, with settings.
const COMMANDS: &[&str] = &["run", "find", "bisect", "churn", "siege", "floor", "storm"];
/// Tables of phases: each becomes the words of a `--phase`.
const PHASE: &str = "phase";

/// Reads `text`, which stands at `place` (a file, or a built-in's name); every problem is a sentence with its line.
pub(super) fn read(place: &str, name: &str, text: &str, program: &Command) -> Result<Scenario, Vec<String>> {
    let line = |byte: usize| 1 + text.as_bytes().iter().take(byte).filter(|byte| **byte == b'\n').count();
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(1, |span| line(span.start));
        vec![format!("{place}:{at}: this is not TOML: {}", error.message().trim().replace('\n', ", "))]
    })?;
    let mut problems = Vec::new();
    let mut command = "run".to_owned();
    if let Some((key, value)) = table.get_ref().get_key_value(DO) {
        let written = words(value.get_ref()).unwrap_or_default();
        if COMMANDS.contains(&written.as_str()) {
            command = written;
        } else {
            let at = line(key.span().start);
            problems.push(format!(
                "{place}:{at}: `do` names no command a scenario can be for{}",
                or_nearest(&written, COMMANDS.iter().copied())
            ));
        }
    }
    let known = program.find_subcommand(&command).map(flags).unwrap_or_default();
    let mut values = Vec::new();
    for (key, value) in table.get_ref().iter().filter(|(key, _)| key.get_ref() != DO) {
        let at = line(key.span().start);
        match one(key.get_ref(), value.get_ref(), &known) {
            Ok(text) => values.push((key.get_ref().to_string(), text)),
            Err(why) => problems.push(format!("{place}:{at}: {why}")),
        }
    }
    if problems.is_empty() { Ok(Scenario { name: name.to_owned(), command, values }) } else { Err(problems) }
}

/// The arguments of a command that a scenario can have as keys: its flags, and what `find` looks for.
pub(super) fn flags(command: &Command) -> Vec<&Arg> {
    command.get_arguments().filter(|arg| arg.get_long().is_none_or(|long| long != "help")).collect()
}

/// The value of one key in the words of the command line.
fn one(key: &str, value: &DeValue<'_>, known: &[&Arg]) -> Result<String, String> {
    let Some(arg) = known.iter().find(|arg| arg.get_id() == key) else {
        return Err(format!(
            "unknown key `{}`{}",
            key.chars().take(60).flat_map(char::escape_debug).collect::<String>(),
            or_nearest(key, known.iter().map(|arg| arg.get_id().as_str()).chain([DO]))
        ));
    };
    let text = match (key, value) {
        (PHASE, DeValue::Array(phases)) => {
            let phases: Option<Vec<String>> = phases.iter().map(|phase| phase_words(phase.get_ref())).collect();
            phases.map(|phases| phases.join(";"))
        }
        (_, DeValue::Boolean(on)) => Some(if *on { "on" } else { "off" }.to_owned()),
        (_, DeValue::Array(items)) => {
            let items: Option<Vec<String>> = items.iter().map(|item| words(item.get_ref())).collect();
            items.map(|items| items.join(","))
        }
        (_, value) => words(value),
    };
    let text = text.ok_or_else(|| format!("`{key}` is neither a word nor a number{}", list_of_phases(key)))?;
    checked(arg, &text)?;
    Ok(text)
}

fn list_of_phases(key: &str) -> &'static str {
    if key == PHASE { ", and no [[phase]] either" } else { "" }
}

/// A table of one phase as `key=value,…`.
fn phase_words(value: &DeValue<'_>) -> Option<String> {
    let DeValue::Table(phase) = value else { return words(value) };
    let parts: Option<Vec<String>> = phase
        .iter()
        // What separates conditions of an SLO would separate the phase's own words.
        .map(|(key, value)| Some(format!("{}={}", key.get_ref(), words(value.get_ref())?.replace(',', "&"))))
        .collect();
    parts.map(|parts| parts.join(","))
}

fn words(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.as_str().replace('_', "")),
        DeValue::Float(number) => Some(number.as_str().replace('_', "")),
        DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// Asks clap itself, as if the flag had been given.
fn checked(arg: &Arg, text: &str) -> Result<(), String> {
    let long = long_of(arg);
    // Only this flag, without those it must not stand beside.
    let alone = Command::new("scenario").no_binary_name(true).arg(plain(arg));
    let Err(error) = alone.try_get_matches_from([format!("--{long}={text}")]) else { return Ok(()) };
    let why = match (error.kind(), error.get(ContextKind::ValidValue)) {
        (ErrorKind::InvalidValue, Some(ContextValue::Strings(valid))) => format!("one of {}", valid.join(", ")),
        _ => std::error::Error::source(&error).map_or_else(|| error.kind().to_string(), ToString::to_string),
    };
    Err(format!("`{}` cannot be {text:?}: {why}", arg.get_id()))
}

/// What stands in a place of its own goes by its key here.
fn long_of(arg: &Arg) -> &str {
    arg.get_long().unwrap_or_else(|| arg.get_id().as_str())
}

fn plain(arg: &Arg) -> Arg {
    let mut plain = Arg::new(arg.get_id().clone()).value_parser(arg.get_value_parser().clone());
    plain = plain.long(long_of(arg).to_owned()).action(clap::ArgAction::Append);
    match arg.get_value_delimiter() {
        Some(delimiter) => plain.value_delimiter(delimiter),
        None => plain,
    }
}
