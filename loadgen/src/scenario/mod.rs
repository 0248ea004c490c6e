//! Scenarios: runs with a name, written as TOML.
//!
//! A key of a scenario is a flag of the command without its dashes, and both are the same entry of one table: clap's.
//! A scenario only moves defaults, so a variable outdoes it and a flag outdoes both. Promises: every key that is
//! unknown and every value that cannot be is named with its line, all of them at once.

mod builtin;
mod command_line;
mod read;
mod show;
mod source;

pub(crate) use builtin::list;
pub(crate) use command_line::{Wrong, parse};
pub(crate) use show::show;

/// A scenario, read.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// The command it is for.
    command: String,
    /// Keys and values in the words of the command line.
    values: Vec<(String, String)>,
}
