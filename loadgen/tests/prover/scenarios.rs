//! Every scenario that comes with the program, small, against an honest server; and the commands about scenarios.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};

use super::fake::{Fake, Lie, SECRET};

/// These tests run beside others on whatever cores there are: being late is no fault here.
const CALM: &str = "--settle 1 --lateness-p99-ms 60000 --slo p99<60s --json -";

pub(crate) fn throng_load(line: &str) -> Output {
    let words = line.split_whitespace();
    Command::new(env!("CARGO_BIN_EXE_throng-load")).args(words).output().expect("the prover runs")
}

pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a scenario against an honest server and gives its report.
fn run(scenario: &str, options: &str) -> serde_json::Value {
    let server = Fake::start(Lie::Honest);
    let to = format!("--url ws://{}/ws --secret", server.address);
    let words = format!("run {scenario} {options} {CALM} {to}");
    let output = Command::new(env!("CARGO_BIN_EXE_throng-load"))
        .args(words.split_whitespace())
        .arg(SECRET)
        .output()
        .expect("the prover runs");
    assert_eq!(output.status.code(), Some(0), "{scenario}: {}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["verdict"], "passed");
    assert_eq!(report["asked"]["scenario"], scenario);
    assert_eq!(report["proof"]["expected"], report["proof"]["received"]);
    report
}

#[test]
fn scenarios_of_one_phase_run() {
    for (scenario, options) in [
        ("idle", "--connections 100 --room-size 10 --hold 0.5"),
        ("echo", "--connections 20 --rate 200 --duration 1 --warmup 0"),
        ("fanout", "--connections 40 --room-size 20 --rate 50 --duration 1 --warmup 0"),
        ("rooms", "--connections 40 --room-size 20 --rate 50 --duration 1 --warmup 0"),
        ("pairs", "--connections 40 --rate 200 --duration 1 --warmup 0"),
        ("whale", "--connections 60 --room-size 60 --rate 20 --duration 1 --warmup 0"),
        ("soak", "--connections 40 --room-size 20 --rate 50 --duration 1 --warmup 0"),
    ] {
        let report = run(scenario, options);
        assert_eq!(report["phases"].as_array().map(Vec::len), Some(1), "{scenario}");
    }
}

#[test]
fn scenarios_of_phases_run() {
    let small = "--connections 40 --room-size 20 --rate 50";
    for (scenario, phases, names) in [
        ("ramp-hold", "name=ramp,times=0.1..1,duration=1,slo=p99<60s;name=hold,duration=1", vec!["ramp", "hold"]),
        (
            "spike",
            "name=before,duration=1;name=spike,times=5,duration=1;name=after,duration=1",
            vec!["before", "spike", "after"],
        ),
    ] {
        let report = run(scenario, &format!("{small} --phase {phases}"));
        let phases = report["phases"].as_array().expect("a list of phases");
        let run: Vec<&str> = phases.iter().filter_map(|phase| phase["stage"]["name"].as_str()).collect();
        assert_eq!(run, names);
        let sent: Vec<u64> = phases.iter().filter_map(|phase| phase["proof"]["sent"].as_u64()).collect();
        assert!(if scenario == "spike" { sent[1] > 4 * sent[0] } else { sent[0] < sent[1] }, "{scenario}: {sent:?}");
    }
}

#[test]
fn churn_and_siege_run() {
    let server = Fake::start(Lie::Honest);
    let admin = metrics();
    // Somebody whose memory stays as it is.
    let mut sleeper = Command::new("sleep").arg("600").stdout(Stdio::null()).spawn().expect("sleeps");
    let output = throng_load(&format!(
        "run churn --total 200 --at-once 40 --room-size 10 --talk 0.3 --rest 0 --settle 30 --server-pid {} --admin {admin} --url ws://{}/ws --secret-file {}",
        sleeper.id(),
        server.address,
        secret_file("churn"),
    ));
    sleeper.kill().expect("it still sleeps");
    sleeper.wait().expect("it is ours");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("200 connections came and went: everything returned"));
    let output =
        throng_load(&format!("run siege --address {} --slow 5 --bombs 3 --duration 1 --json -", server.address));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let siege: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(siege["bombs_thrown"].as_u64().is_some_and(|bombs| (1..=3).contains(&bombs)), "{siege:#}");
}

#[test]
fn a_scenario_of_ones_own_is_a_file_that_show_begins() {
    let shown = throng_load("show rooms");
    assert_eq!(shown.status.code(), Some(0));
    let path = format!("{}/own-{}.toml", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let text = String::from_utf8(shown.stdout).expect("text").replace("connections = 5_000", "connections = 40");
    fs::write(&path, text.replace("room_size = 50", "room_size = 20")).expect("writes");
    let server = Fake::start(Lie::Honest);
    let output = throng_load(&format!(
        "run {path} --rate 50 --duration 1 --warmup 0 {CALM} --url ws://{}/ws --secret-file {}",
        server.address,
        secret_file("own")
    ));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    fs::write(&path, "room_sise = 3\nrate = 'much'\n").expect("writes");
    let output = throng_load(&format!("run {path}"));
    assert_eq!(output.status.code(), Some(4));
    assert!(said(&output).contains(":1: unknown key `room_sise`: did you mean `room_size`?"), "{}", said(&output));
    assert!(said(&output).contains(":2: `rate` cannot be"), "{}", said(&output));
    let listed = throng_load("list");
    assert!(said(&listed).lines().count() > 8 && said(&listed).contains("whale"));
    assert_eq!(throng_load("run nothing-like-it").status.code(), Some(4));
}

/// The secret of the fake server in a file, for command lines that are split at spaces.
pub(crate) fn secret_file(name: &str) -> String {
    let path = format!("{}/secret-{name}-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    fs::write(&path, SECRET).expect("writes");
    path
}

/// An admin listener of an empty server.
pub(crate) fn metrics() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let answer = "HTTP/1.1 200 OK\r\n\r\nthrong_connections 0\nthrong_sockets 0\nthrong_rings 1\nthrong_rooms 0\n\
        throng_idempotency_keys 0\nthrong_receipts 0\nthrong_ring_overflows_total 0\nthrong_ring_stale_total 0\n# EOF\n";
    let serve = move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accepts");
            let asked = BufReader::new(&stream).lines().find(|line| line.as_ref().is_ok_and(String::is_empty));
            asked.expect("a request ends with an empty line").expect("the prover asks");
            stream.write_all(answer.as_bytes()).expect("and listens");
        }
    };
    std::thread::Builder::new().spawn(serve).expect("a thread starts");
    address
}
