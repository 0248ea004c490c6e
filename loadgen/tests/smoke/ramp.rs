//! Ramps that end before everybody sits: the run goes on with those who do, and says by what it was limited.

use std::process::Output;

use serde_json::Value;

use super::real::{Server, free_address};
use super::{CALM, attempt};

/// Twenty for each of three workers, one after the other, since only one may be connecting.
fn ramp(server: &Server, options: &str) -> (Output, Value) {
    let crowd = "--connections 60 --room-size 10 --workers 3 --connecting 1 --hold 1 --settle 20 --give-up 1";
    let output = attempt("idle", &format!("{CALM} {crowd} {options} {}", server.url()));
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    (output, report)
}

#[test]
fn a_server_that_is_full_ends_the_ramp_and_whole_rooms_go_on() {
    // Of the second worker nobody or one room stays, the third never begins.
    for (most, seated) in [("25", 20), ("35", 30)] {
        let server = Server::start(free_address(), &["--max-connections", most]);
        let (output, report) = ramp(&server, "");
        assert_eq!(output.status.code(), Some(1), "{report:#}");
        assert_eq!((&report["asked"]["connections"], &report["opened"]["seated"]), (&60.into(), &seated.into()));
        assert_eq!((&report["opened"]["stopped"]["by"], &report["limit"]["who"]), (&"server".into(), &"door".into()));
        let proof = &report["proof"];
        assert_eq!((&proof["open_at_end"], &proof["expected"]), (&seated.into(), &seated.into()), "{proof:#}");
        assert_eq!((&proof["expected"], &proof["faults"]), (&proof["received"], &serde_json::json!({})), "{proof:#}");
        let said = report["reasons"][0].as_str().unwrap_or_default();
        assert!(said.starts_with(&format!("only {seated} of 60 connections came in: ")), "{said}");
    }
}

#[test]
fn a_host_whose_memory_is_at_its_floor_lets_nobody_begin() {
    let (output, _) = ramp(&Server::anywhere(), "--memory-floor 1000000000");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("nobody came in") && said.contains("--memory-floor"), "{said}");
}
