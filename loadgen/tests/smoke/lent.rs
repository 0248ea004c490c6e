//! Machines that others lend: agents on this host, a coordinator that uses them, and what it says when one goes away.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use super::real::{SECRET, Server};
use serde_json::Value;

const KEY: &str = "a key of the agents of this test";

/// An agent at a port of its own choice; killed when dropped.
struct Agent {
    process: Child,
    address: String,
}

impl Agent {
    fn start(options: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_throng-load"))
            .args(["worker", "--listen", "127.0.0.1:0", "--agent-key", KEY])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the agent starts");
        let mut lines = BufReader::new(process.stdout.take().expect("stdout is piped")).lines();
        let said = lines.next().expect("it says where it listens").expect("text");
        let address = said.strip_prefix("agent listens at ").expect("an address").to_owned();
        Self { process, address }
    }

    fn with_secret() -> Self {
        Self::start(&["--secret", SECRET])
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// The coordinator knows no secret.
fn coordinator(server: &Server, agents: &[&Agent], options: &str) -> Command {
    let addresses: Vec<&str> = agents.iter().map(|agent| agent.address.as_str()).collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_throng-load"));
    command
        .args(["run", "rooms", "--connections", "60", "--room-size", "10", "--rate", "100", "--warmup", "0"])
        .args(["--lateness-p99-ms", "60000", "--slo", "p99<60s", "--settle", "20", "--json", "-"])
        .args(["--agents", &addresses.join(",")])
        .args(server.url().split_whitespace())
        .args(options.split_whitespace());
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn two_lent_machines_are_one_run_whose_clocks_are_known() {
    let (server, one, other) = (Server::anywhere(), Agent::with_secret(), Agent::with_secret());
    for workers in ["", "--workers 3"] {
        let options = format!("--duration 1 {workers}");
        let output = coordinator(&server, &[&one, &other], &options).args(["--agent-key", KEY]).output().expect("runs");
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(report["proof"]["expected"], report["proof"]["received"]);
        assert!(report["proof"]["received"].as_u64().is_some_and(|received| received > 500), "{:#}", report["proof"]);
        let agents = report["agents"].as_array().expect("a list");
        assert_eq!(agents.len(), if workers.is_empty() { 2 } else { 3 });
        for agent in agents {
            // It is this host's own clock: the truth is within the bound.
            let (offset, bound) = (agent["clock_offset_ns"].as_i64(), agent["clock_bound_ns"].as_i64());
            assert!(offset.zip(bound).is_some_and(|(offset, bound)| offset.abs() <= bound), "{agent:#}");
        }
        assert!(said(&output).contains("give or take"), "{}", said(&output));
    }
}

#[test]
fn who_has_no_key_is_neither_served_nor_used() {
    let (server, agent) = (Server::anywhere(), Agent::with_secret());
    for key in [&[][..], &["--agent-key", "another key of the agents"]] {
        let output = coordinator(&server, &[&agent], "--duration 1").args(key).output().expect("runs");
        assert_eq!(output.status.code(), Some(4), "{}", said(&output));
        assert!(said(&output).contains("the key is another one"), "{}", said(&output));
    }
    let short = coordinator(&server, &[&agent], "").args(["--agent-key", "short"]).output().expect("runs");
    assert!(short.status.code() == Some(4) && said(&short).contains("at least 16 bytes"), "{}", said(&short));
    let open = Command::new(env!("CARGO_BIN_EXE_throng-load")).args(["worker", "--listen", "0.0.0.0:0"]).output();
    let open = open.expect("it ends");
    assert!(open.status.code() == Some(4) && said(&open).contains("--agent-key-file"), "{}", said(&open));
}

#[test]
fn an_agent_without_a_secret_or_that_nobody_reaches_ends_the_run_with_a_sentence() {
    let (server, poor) = (Server::anywhere(), Agent::start(&[]));
    let output = coordinator(&server, &[&poor], "--duration 1").args(["--agent-key", KEY]).output().expect("runs");
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("give it --secret-file") && said(&output).contains(&poor.address));
    let gone = Agent {
        process: Command::new("true").spawn().expect("runs"),
        address: super::real::free_address().to_string(),
    };
    let output = coordinator(&server, &[&gone], "").args(["--agent-key", KEY]).output().expect("runs");
    assert!(output.status.code() == Some(4) && said(&output).contains("cannot be reached"), "{}", said(&output));
}

/// In the middle of a run that would last an hour.
#[test]
fn an_agent_that_goes_away_is_no_pass() {
    let (server, stays, goes) = (Server::anywhere(), Agent::with_secret(), Agent::with_secret());
    let mut run = coordinator(&server, &[&stays, &goes], "--duration 3600")
        .args(["--agent-key", KEY])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    let mut lines = BufReader::new(run.stderr.take().expect("stderr is piped")).lines();
    // A line a second; with traffic it says how late that is.
    let under_way = lines.any(|line| line.expect("text").contains("  p99 "));
    assert!(under_way, "it ended before there was traffic");
    let address = goes.address.clone();
    drop(goes);
    let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
    assert_eq!(run.wait().expect("it ends").code(), Some(4), "{rest:?}");
    let told = rest.iter().any(|line| line.contains("went away") && line.contains(&address));
    assert!(told, "{rest:?}");
}
