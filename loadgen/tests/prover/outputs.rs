//! Where results go, and from where settings come: nothing is lost for a reader who is gone or a name with a slip in it.

use std::fs;
use std::process::{Command, Output, Stdio};

use super::fake::{Fake, Lie, SECRET};
use super::scenarios::{said, secret_file};

const SMALL: &str =
    "--connections 20 --room-size 10 --rate 100 --duration 0.5 --warmup 0 --settle 1 --lateness-p99-ms 60000";

fn throng_load(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_throng-load"));
    command.args(line.split_whitespace());
    command
}

fn ends(command: &mut Command) -> Output {
    command.output().expect("the prover runs")
}

fn place(name: &str) -> String {
    format!("{}/{name}-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id())
}

/// A pipe that nobody reads.
fn nobody() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// It ended with 134, and the file was never written.
#[test]
fn a_reader_who_is_gone_costs_neither_the_file_nor_the_exit_code() {
    let json = place("nobody.json");
    let status = throng_load(&format!("plan rooms --json {json}")).stdout(nobody()).status().expect("it runs");
    assert_eq!(status.code(), Some(0));
    assert!(fs::read_to_string(&json).expect("was written").contains("\"connections\""));
    let server = Fake::start(Lie::Honest);
    let url = format!("ws://{}/ws", server.address);
    fs::remove_file(&json).expect("it is ours");
    let run = format!("run {SMALL} --url {url} --secret-file {} --json {json}", secret_file("nobody"));
    let status = throng_load(&run).stdout(nobody()).stderr(nobody()).status().expect("it runs");
    assert_eq!(status.code(), Some(0));
    assert!(fs::read_to_string(&json).expect("was written").contains("\"verdict\""));
}

/// The run was over when it was noticed, and its result lost.
#[test]
fn a_place_that_cannot_be_written_to_is_refused_before_anybody_speaks() {
    let server = Fake::start(Lie::Honest);
    let to = format!("--url ws://{}/ws --secret-file {}", server.address, secret_file("places"));
    for (option, path) in [("--json", "/nowhere/at/all.json"), ("--html", "/nowhere/at/all.html"), ("--html", "/tmp")] {
        let output = ends(&mut throng_load(&format!("run {SMALL} {to} {option} {path}")));
        assert_eq!(output.status.code(), Some(4), "{}", said(&output));
        assert!(said(&output).contains(&format!("{option} {path}")), "{}", said(&output));
    }
    assert_eq!(server.publishes(), 0);
}

/// Nothing was written, and nothing said.
#[test]
fn where_nothing_was_found_there_is_a_page_that_names_the_limit() {
    let server = Fake::start(Lie::Honest);
    let to = format!("--url ws://{}/ws --secret-file {}", server.address, secret_file("pages"));
    let of = |command: &str, name: &str| {
        let page = place(name);
        let output = ends(&mut throng_load(&format!("{command} {SMALL} {to} --html {page}")));
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        fs::read_to_string(&page).unwrap_or_else(|error| panic!("{error}: {}", said(&output)))
    };
    let found = of("find rate --slo p99<0.001us", "find-nothing.html");
    assert!(found.contains("nothing tried held with p99") && found.contains("find: the limit at"), "{found}");
    let bisected = of("bisect --slo-p99-ms 0.000001 --from 100 --to 200", "bisect-nothing.html");
    assert!(bisected.contains("bisect: not even the lowest rate held"), "{bisected}");
    let page = place("find-something.html");
    let find = format!("find rate --slo p99<60s --from 100 --to 100 --repeats 1 {SMALL} {to} --html {page}");
    let output = ends(&mut throng_load(&find));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let found = fs::read_to_string(&page).expect("was written");
    assert!(found.contains("find: rate (messages/s): 100.0 held") && found.contains("find: its limit"), "{found}");
}

/// A variable beat the flag, or the two were refused as a conflict, in the workers again.
#[test]
fn a_flag_beats_the_variable_for_secrets_too() {
    let server = Fake::start(Lie::Honest);
    let run = format!("run {SMALL} --url ws://{}/ws", server.address);
    let (right, wrong) = (secret_file("right"), place("wrong"));
    fs::write(&wrong, "another").expect("writes");
    let by_file = throng_load(&format!("{run} --secret-file {right}"))
        .env("THRONG_LOAD_SECRET", "another")
        .env("THRONG_LOAD_SECRET_FILE", &wrong)
        .output()
        .expect("it runs");
    assert_eq!(by_file.status.code(), Some(0), "{}", said(&by_file));
    let itself = throng_load(&run).args(["--secret", SECRET]).env("THRONG_LOAD_SECRET_FILE", &wrong).output();
    let itself = itself.expect("it runs");
    assert_eq!(itself.status.code(), Some(0), "{}", said(&itself));
    let both = throng_load(&format!("{run} --secret-file {right} --secret x")).output().expect("it runs");
    assert_eq!(both.status.code(), Some(4), "two flags are one too many: {}", said(&both));
}

/// `THRONG_LOAD_PUBLISHERS=all`, meant for `run`, kept `storm` from beginning; `THRONG_LOAD_RATE` meant something else there.
#[test]
fn variables_that_mean_something_else_in_a_storm_are_not_asked_there() {
    let server = Fake::start(Lie::Honest);
    let storm = format!(
        "run reconnect-storm --url ws://{}/ws --secret-file {} --connections 20 --room-size 10 --duration 0.5 --settle 1 \
         --within 300 --backoff-ms 50 --json -",
        server.address,
        secret_file("storm")
    );
    let output = throng_load(&storm)
        .env("THRONG_LOAD_PUBLISHERS", "all")
        .env("THRONG_LOAD_RATE", "100000")
        .env("THRONG_LOAD_STORM_RATE", "20")
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(report["published"].as_u64().is_some_and(|count| (10..2_000).contains(&count)), "{report:#}");
}
