//! The command line: what people type, and what they read back.
//!
//! Promises: every refusal is a sentence that says what to do; secrets are never printed; results go to stdout, logs to
//! stderr. It must decide nothing about rooms.

mod admin;
mod args;
mod banner;
mod boot;
mod check;
mod duration;
mod explain;
mod figures;
mod log;
mod operators;
mod reload;
mod rulebook;
mod secret;
mod serve;
mod settings;
mod sign;
mod token;
mod verbs;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use throng::runtime::clock::Clock;

use args::{Cli, Command};

/// Why a command ended without having done its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Exit code 1: asked rightly, did not work.
    Broken(String),
    /// Exit code 2: not asked rightly.
    Misused(String),
}

impl Failure {
    /// What to tell people.
    pub(crate) fn sentence(&self) -> &str {
        match self {
            Self::Broken(sentence) | Self::Misused(sentence) => sentence,
        }
    }
}

/// Does what the command line asks.
pub(crate) fn run() -> ExitCode {
    let matches = Cli::command().get_matches();
    // clap prints help and complaints itself, and exits with 0 or 2.
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if !matches!(cli.command, Command::Serve(_)) {
        throng::runtime::end_when_nobody_reads();
    }
    let done = match cli.command {
        Command::Serve(args) => serve::run(*args),
        Command::Token(args) => {
            let matches = matches.subcommand_matches("token").expect("clap chose this subcommand");
            token::run(&args, matches)
        }
        Command::ApiKey(args) => verbs::api_key(&args),
        Command::Publish(args) => verbs::publish(&args),
        Command::Tail(args) => verbs::tail(&args),
        Command::Who(args) => verbs::who(&args),
        Command::Kick(args) => verbs::kick(&args),
        Command::Top(args) => verbs::top(&args),
        Command::CheckConfig(args) => check::run(*args),
        Command::DefaultConfig => {
            print!("{}", throng::config::default_file());
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("throng: {}", failure.sentence());
            ExitCode::from(match failure {
                Failure::Broken(_) => 1,
                Failure::Misused(_) => 2,
            })
        }
    }
}

/// Seconds since 1970.
fn unix_s() -> u64 {
    Clock::start().now().unix_ms / 1_000
}
