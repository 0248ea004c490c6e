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
mod payload;
mod place;
mod plan;
mod proc;
mod proof;
mod ramp;
mod reach;
mod report;
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

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Serialize;

use args::Command;
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
            problems.iter().for_each(|problem| eprintln!("throng-load: {problem}"));
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
            eprintln!("throng-load: {error:#}");
            ExitCode::from(SET_UP)
        }
    }
}

fn command(command: Command) -> Result<u8> {
    match command {
        Command::Run(args) => {
            let (json, html) = (args.json.clone(), args.html.clone());
            let report = coordinator::run(*args)?;
            if let Some(html) = &html {
                report::write_html(html, &[&report])?;
            }
            publish(json.as_deref(), &report)?;
            Ok(report.exit_code)
        }
        Command::Plan(args) => {
            let json = args.json.clone();
            let needs = needs::needs(*args)?;
            publish(json.as_deref(), &needs)?;
            Ok(needs.exit_code)
        }
        Command::Find(args) => {
            let (json, html) = (args.run.json.clone(), args.run.html.clone());
            let found = find::find(*args)?;
            if let (Some(html), Some(report)) = (&html, &found.report) {
                report::write_html(html, &[report])?;
            }
            publish(json.as_deref(), &found)?;
            Ok(found.exit_code)
        }
        Command::Report(args) => report::command(&args),
        Command::List => {
            print!("{}", scenario::list());
            Ok(0)
        }
        Command::Show { name } => {
            print!("{}", scenario::show(&name).map_err(anyhow::Error::msg)?);
            Ok(0)
        }
        Command::Bisect(args) => {
            let (json, html) = (args.run.json.clone(), args.run.html.clone());
            let found = bisect::bisect(*args)?;
            if let (Some(html), Some(best)) = (&html, &found.best) {
                report::write_html(html, &[best])?;
            }
            publish(json.as_deref(), &found)?;
            Ok(found.exit_code)
        }
        Command::Churn(args) => {
            let found = churn::churn(&args)?;
            publish(args.json.as_deref(), &found)?;
            Ok(found.exit_code)
        }
        Command::Floor(args) => {
            let found = floor::run(&args)?;
            publish(args.json.as_deref(), &found)?;
            Ok(found.exit_code)
        }
        Command::Siege(args) => {
            let found = siege::run(&args)?;
            publish(args.json.as_deref(), &found)?;
            Ok(0)
        }
        Command::Storm(args) => {
            let stormed = storm::run(&args)?;
            publish(args.json.as_deref(), &stormed)?;
            Ok(stormed.exit_code)
        }
        Command::Sink(args) => floor::run_sink(&args).map(|()| 0),
        Command::Worker(args) => agent::command(&args).map(|()| 0),
    }
}

/// The table to standard output, JSON where it was asked for.
fn publish(json: Option<&Path>, result: &(impl Serialize + Display)) -> Result<()> {
    match json {
        Some(path) if path == Path::new("-") => println!("{}", serde_json::to_string_pretty(result)?),
        Some(path) => {
            println!("{result}");
            let text = serde_json::to_string_pretty(result)? + "\n";
            std::fs::write(path, text).with_context(|| format!("--json {}", path.display()))?;
        }
        None => println!("{result}"),
    }
    Ok(())
}
