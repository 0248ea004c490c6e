//! `throng-load`: loads rooms over WebSocket, measures from the intended send time, and proves that every accepted
//! message reached everyone who sat there, once, in order.
//!
//! ```text
//!  main ─► scenario ─► plan ─► coordinator ──orders──► worker processes ─► connections, openings, phase
//!                        find ─┘   │   │   ◄─reports──        │
//!        report (table, JSON, HTML)┘   timeline, live      proof (pure), schedule (pure), payload
//! ```
//!
//! Uses `wire` and `base` of the house and nothing above. Must never pass what it could not judge, and never call
//! its own limit the server's.

mod about;
mod agent;
mod args;
mod beside;
mod bisect;
mod calm;
mod churn;
mod company;
mod coordinator;
mod crew;
mod dialect;
mod edges;
mod effort;
mod find;
mod floor;
mod kernel;
mod latency;
mod lengths;
mod line;
mod live;
mod member;
mod mix;
mod nearest;
mod needs;
mod orders;
mod outputs;
mod payload;
mod place;
mod plan;
mod proc;
mod proof;
mod ramp;
mod reach;
mod report;
mod say;
mod scenario;
mod schedule;
mod scrape;
mod shape;
mod siege;
mod slo;
mod source;
mod stage;
mod steady;
mod steps;
mod storm;
mod sys;
mod timeline;
mod token;
mod watch;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use args::Command;
use outputs::Outputs;
use say::{answer, tell};
use scenario::Wrong;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The run could not be set up.
const SET_UP: u8 = 4;

fn main() -> ExitCode {
    // Workers are many and small: a huge page for each part of a heap would be most of what they cost.
    sys::refuse_huge_pages();
    let cli = match scenario::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(Wrong::Scenario(problems)) => {
            problems.iter().for_each(|problem| tell!("throng-load: {problem}"));
            return ExitCode::from(SET_UP);
        }
        Err(Wrong::Clap(error)) => {
            let code = if error.use_stderr() { SET_UP } else { 0 };
            error.print().unwrap_or_default();
            return ExitCode::from(code);
        }
    };
    match command(cli.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tell!("throng-load: {error:#}");
            ExitCode::from(SET_UP)
        }
    }
}

fn command(command: Command) -> Result<u8> {
    // Before the first connection: what is found must not be lost for a name with a slip in it.
    let of_run = |args: &args::RunArgs| Outputs::checked(args.json.as_deref(), args.html.as_deref());
    let only_json = |json: &Option<PathBuf>| Outputs::checked(json.as_deref(), None);
    match command {
        Command::Run(args) => {
            let outputs = of_run(&args)?;
            let report = coordinator::run(*args)?;
            outputs.publish(&report, Some(&report))?;
            Ok(report.exit_code)
        }
        Command::Plan(args) => {
            let outputs = only_json(&args.json)?;
            let needs = needs::needs(*args)?;
            outputs.publish(&needs, None)?;
            Ok(needs.exit_code)
        }
        Command::Find(args) => {
            let outputs = of_run(&args.run)?;
            let found = find::find(*args)?;
            outputs.publish(&found, found.page())?;
            Ok(found.exit_code)
        }
        Command::Report(args) => report::command(&args),
        Command::List => {
            answer!("{}", scenario::list().trim_end());
            Ok(0)
        }
        Command::Show { name } => {
            answer!("{}", scenario::show(&name).map_err(anyhow::Error::msg)?.trim_end());
            Ok(0)
        }
        Command::Bisect(args) => {
            let outputs = of_run(&args.run)?;
            let found = bisect::bisect(*args)?;
            outputs.publish(&found, found.page())?;
            Ok(found.exit_code)
        }
        Command::Churn(args) => {
            let outputs = only_json(&args.json)?;
            let found = churn::churn(&args)?;
            outputs.publish(&found, None)?;
            Ok(found.exit_code)
        }
        Command::Floor(args) => {
            let outputs = only_json(&args.json)?;
            let found = floor::run(&args)?;
            outputs.publish(&found, None)?;
            Ok(found.exit_code)
        }
        Command::Siege(args) => {
            let outputs = only_json(&args.json)?;
            let found = siege::run(&args)?;
            outputs.publish(&found, None)?;
            Ok(0)
        }
        Command::Storm(args) => {
            let outputs = only_json(&args.json)?;
            let stormed = storm::run(&args)?;
            outputs.publish(&stormed, None)?;
            Ok(stormed.exit_code)
        }
        Command::Sink(args) => floor::run_sink(&args).map(|()| 0),
        Command::Worker(args) => agent::command(&args).map(|()| 0),
    }
}
