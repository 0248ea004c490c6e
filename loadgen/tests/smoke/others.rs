//! Servers that are not throng, under the same `run`: a plain `ws` server and Socket.IO from npm (`loadgen/examples`), and
//! throng's own echo. Node and npm are needed, and asked for by name where they are missing: nothing is left out.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::real::Server;
use serde_json::Value;

/// Being late is no fault here: these tests run beside others on whatever cores there are.
const CALM: &str = "--warmup 0 --duration 2 --settle 5 --lateness-p99-ms 60000 --slo p99<60s --json -";

/// A server of `loadgen/examples`; killed when dropped, and its folder with it.
struct Example {
    process: Child,
    address: String,
    folder: PathBuf,
}

impl Example {
    /// Copied, so that what npm installs never lies among the sources. `lie` is what it does wrong.
    fn start(name: &str, lie: &str) -> Self {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
        // These tests may run twice at the same time: on either engine.
        let own = format!("{name}-{lie}-{}", std::process::id());
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples").join(own);
        fs::create_dir_all(&to).expect("a folder");
        for file in ["package.json", "package-lock.json", "server.js", "rooms.toml"] {
            fs::copy(from.join(file), to.join(file)).expect("copies");
        }
        let installed = Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"])
            .current_dir(&to)
            .output()
            .expect("npm is needed for the examples: apt-get install npm");
        assert!(installed.status.success(), "npm ci: {}", String::from_utf8_lossy(&installed.stderr));
        let mut process = Command::new("node")
            .arg("server.js")
            .current_dir(&to)
            .env("PORT", "0")
            .env("LIE", lie)
            .stdout(Stdio::piped())
            .spawn()
            .expect("node is needed for the examples: apt-get install nodejs");
        let mut lines = BufReader::new(process.stdout.take().expect("stdout is piped")).lines();
        let said = lines.next().expect("it says where it listens").expect("text");
        let address = said.strip_prefix("listens at ").expect("an address").to_owned();
        Self { process, address, folder: to }
    }

    /// Its own scenario, small, at its own address.
    fn run(&self, options: &str) -> (Output, Value) {
        let scenario = self.folder.join("rooms.toml");
        let text = fs::read_to_string(&scenario).expect("reads");
        let url = text.lines().find_map(|line| line.strip_prefix("url = \"ws://")).expect("a url");
        let target = url.split_once('/').map_or("", |(_, target)| target.trim_end_matches('"'));
        let scenario = scenario.to_str().expect("text");
        run(&["run", scenario, "--url", &format!("ws://{}/{target}", self.address)], options)
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = self.process.kill();
        let _reaped = self.process.wait();
        let _removed = fs::remove_dir_all(&self.folder);
    }
}

/// No secret: others know no tokens of ours.
fn run(words: &[&str], options: &str) -> (Output, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_throng-load"))
        .args(words)
        .args(CALM.split_whitespace())
        .args(options.split_whitespace())
        .env_remove("THRONG_LOAD_SECRET")
        .output()
        .expect("the prover runs");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, report)
}

fn passes(name: &str, (output, report): (Output, Value)) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{name}: {said}\n{report:#}");
    let proof = &report["proof"];
    assert_eq!(proof["expected"], proof["received"], "{name}");
    assert!(proof["received"].as_u64().is_some_and(|received| received > 300), "{name}: {proof:#}");
    assert_eq!(report["latency"]["delivery"]["count"], proof["received"], "{name}");
}

fn is_caught(name: &str, fault: &str, (output, report): (Output, Value)) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{name}: {said}\n{report:#}");
    assert!(report["proof"]["faults"][fault].as_u64().is_some_and(|count| count > 0), "{name}: {:#}", report["proof"]);
}

const SMALL: &str = "--connections 60 --room-size 10 --rate 200";

#[test]
fn a_plain_ws_server_is_proved_and_caught_when_it_lies() {
    passes("ws", Example::start("ws", "").run(SMALL));
    is_caught("ws", "lost", Example::start("ws", "drops").run(SMALL));
    is_caught("ws", "duplicated", Example::start("ws", "doubles").run(SMALL));
}

#[test]
fn socket_io_is_proved_and_caught_when_it_lies() {
    passes("socketio", Example::start("socketio", "").run(SMALL));
    is_caught("socketio", "lost", Example::start("socketio", "drops").run(SMALL));
}

#[test]
fn an_echo_is_proved_and_what_others_do_not_have_is_refused() {
    let server = Server::start(super::real::free_address(), &["--echo"]);
    let url = format!("ws://{}/echo", server.address);
    let echo = ["run", "echo", "--protocol", "echo", "--url", url.as_str()];
    passes("echo", run(&echo, "--connections 20 --rate 200 --workers 2"));
    for (options, word) in [
        ("--acks on", "--acks off"),
        ("--presence on", "--presence off"),
        ("--room-size 2", "--room-size 1"),
        ("--guests 3", "guests"),
        ("--publish nothing", "{data}"),
        ("--join x", "no rooms"),
    ] {
        let (output, _) = run(&echo, options);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(4) && said.contains(word), "{options}: {said}");
    }
}
