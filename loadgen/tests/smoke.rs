//! Every scenario that comes with the program, small, against the server itself: its exit code, and that it did what it is for.

#[path = "smoke/lent.rs"]
mod lent;
#[path = "smoke/others.rs"]
mod others;
#[path = "smoke/ramp.rs"]
mod ramp;
mod real;
#[path = "smoke/soak.rs"]
mod soak;

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use real::{SECRET, Server, free_address};
use serde_json::Value;

/// These tests run beside others on whatever cores there are: being late is no fault here, and no latency is asked for.
const CALM: &str = "--lateness-p99-ms 60000 --slo p99<60s";

/// Runs a scenario and gives its report; it must end well.
fn run(scenario: &str, options: &str) -> Value {
    let output = attempt(scenario, options);
    let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{scenario}:\n{said}\n{out}");
    serde_json::from_str(&out).expect("JSON")
}

fn attempt(scenario: &str, options: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_throng-load"))
        .args(["run", scenario, "--json", "-"])
        .args(options.split_whitespace())
        .env("THRONG_LOAD_SECRET", SECRET)
        .output()
        .expect("the prover runs")
}

/// A run of the crowd, proved.
fn proved(scenario: &str, options: &str) -> Value {
    let report = run(scenario, &format!("{CALM} --settle 20 {options}"));
    assert_eq!((&report["verdict"], &report["asked"]["scenario"]), (&"passed".into(), &scenario.into()));
    let proof = &report["proof"];
    assert!(proof["received"].as_u64().is_some_and(|received| received > 0), "{proof:#}");
    assert_eq!(proof["expected"], proof["received"]);
    report
}

/// A scenario's name, and how it is made small.
type Small = (&'static str, fn());

const SMALL: &[Small] = &[
    ("idle", || one("idle", "--connections 100 --room-size 10 --hold 1")),
    ("echo", || one("echo", "--connections 20 --rate 200 --duration 1 --warmup 0")),
    ("fanout", || one("fanout", "--connections 40 --room-size 20 --rate 50 --duration 1 --warmup 0")),
    ("rooms", || one("rooms", "--connections 40 --room-size 20 --rate 50 --duration 1 --warmup 0")),
    ("pairs", || one("pairs", "--connections 40 --rate 200 --duration 1 --warmup 0")),
    ("whale", || one("whale", "--connections 60 --room-size 60 --rate 20 --duration 1 --warmup 0")),
    ("soak", soak::holds),
    ("zipf", zipf),
    ("chat", chat),
    ("ramp-hold", || {
        let phases = "name=ramp,times=0.1..1,duration=1,slo=p99<60s;name=hold,duration=1";
        one("ramp-hold", &format!("--connections 40 --room-size 20 --rate 100 --phase {phases}"));
    }),
    ("spike", || {
        let phases = "name=before,duration=1;name=spike,times=5,duration=1;name=after,duration=1";
        one("spike", &format!("--connections 40 --room-size 20 --rate 50 --phase {phases}"));
    }),
    ("slow-consumer", slow_consumer),
    ("reconnect-storm", reconnect_storm),
    ("lossy", lossy),
    ("drain", drain),
    ("churn", churn),
    ("siege", siege),
];

/// A server of its own each, so that nothing of one is seen in another.
fn one(scenario: &str, options: &str) {
    let server = Server::anywhere();
    proved(scenario, &format!("{options} {}", server.url()));
}

#[test]
fn every_scenario_runs_small_against_the_server() {
    let listed = Command::new(env!("CARGO_BIN_EXE_throng-load")).arg("list").output().expect("the prover runs");
    let listed = String::from_utf8(listed.stdout).expect("text");
    let mut names: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let mut here: Vec<&str> = SMALL.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    here.sort_unstable();
    assert_eq!(names, here, "each has its smoke run");
    // They mostly wait: a few at a time.
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let take = || {
            while let Some((name, smoke)) = SMALL.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                smoke();
                println!("{name} held");
            }
        };
        let hands: Vec<_> =
            (0..4).map(|_| std::thread::Builder::new().spawn_scoped(scope, take).expect("a thread starts")).collect();
        // A scenario that fails says so itself.
        hands.into_iter().for_each(|hand| hand.join().expect("all of them hold"));
    });
}

fn zipf() {
    let server = Server::anywhere();
    let options = "--connections 200 --room-size 32 --rate 100 --duration 1 --warmup 0";
    let report = proved("zipf", &format!("{options} {}", server.url()));
    let asked = &report["asked"];
    assert_eq!((&asked["workers"], &asked["rooms"], &asked["connections"]), (&5.into(), &38.into(), &184.into()));
}

fn chat() {
    let server = Server::anywhere();
    let options = "--connections 64 --room-size 16 --rate 100 --duration 3 --warmup 0 --guests 20 --stay 1 --think 0.2";
    let report = proved("chat", &format!("{options} {}", server.url()));
    let guests = &report["phases"][0]["guests"];
    for figure in
        ["visits", "heard", "presence_heard", "typing_said", "receipts_said", "typing_heard", "receipts_heard"]
    {
        assert!(guests[figure].as_u64().is_some_and(|count| count > 0), "{figure} in {guests:#}");
    }
    assert_eq!((&guests["missing"], &guests["twice"], &guests["gaps"]), (&0.into(), &0.into(), &0.into()));
    // Each asked for the newest message of its room before it went, and was told.
    assert_eq!((&guests["unknown"], &guests["unanswered"]), (&0.into(), &0.into()), "{guests:#}");
}

/// They fall behind and are told all of it when they wake. The rooms' logs are long: a prover that gets no core for seconds is
/// slow itself, and must not be told a gap for it.
fn slow_consumer() {
    let long = ["THRONG_LIMITS_LOG_MESSAGES_MAX=60000", "THRONG_LIMITS_LOG_BYTES_MAX=1000000000"];
    let server = Server::start(free_address(), &long);
    let phases = "name=before,duration=1;name=slow,slow=10,times=4,duration=4;name=after,duration=1";
    let options = "--connections 20 --room-size 5 --rate 100 --payload 20000";
    let admin = server.admin;
    let report = proved("slow-consumer", &format!("{options} --phase {phases} --admin {admin} {}", server.url()));
    let slow = &report["phases"][1]["slow"];
    assert!(slow["heard_late"].as_u64().is_some_and(|late| late > 0), "{slow:#}");
    for fault in ["missing", "twice", "not_back", "unknown"] {
        assert_eq!(slow[fault], 0, "{fault} in {slow:#}");
    }
    assert!(slow["p99_before_ms"].is_number() && report["phases"][0]["slow"].is_null(), "{slow:#}");
}

const STORMY: &str = "--connections 60 --room-size 10 --backoff-ms 50 --settle 3 --within 300";

fn stormed(scenario: &str, options: &str) -> Value {
    let report = run(scenario, &format!("{STORMY} {options}"));
    assert_eq!((&report["missing"], &report["twice"]), (&0.into(), &0.into()), "{report:#}");
    assert!(report["heard"].as_u64().is_some_and(|heard| heard > 0), "{report:#}");
    report
}

fn reconnect_storm() {
    let server = Server::anywhere();
    let report = stormed("reconnect-storm", &format!("--rate 5 --duration 1 {}", server.url()));
    assert_eq!((&report["back"], &report["resumed"]), (&60.into(), &60.into()), "{report:#}");
    assert!(report["recovered"].as_u64().is_some_and(|recovered| recovered > 0), "{report:#}");
    assert_eq!((&report["unanswered"], &report["verdict"]), (&0.into(), &"passed".into()), "{report:#}");
}

fn lossy() {
    let server = Server::anywhere();
    let options = "--rate 10 --duration 4 --faults 30 --patience 2 --delay-ms 100 --seed 7";
    let report = stormed("lossy", &format!("{options} {}", server.url()));
    let line = &report["line"];
    for kind in ["delayed", "cut", "blackholed", "half_open"] {
        assert!(line[kind].as_u64().is_some_and(|count| count > 0), "{kind} in {line:#}");
    }
    assert!(report["recovered"].as_u64().is_some_and(|recovered| recovered > 0), "{report:#}");
}

fn drain() {
    let address = free_address();
    let old = Server::start(address, &["--drain-budget-ms", "2000"]);
    let mut storm = Command::new(env!("CARGO_BIN_EXE_throng-load"))
        .args(["run", "drain", "--rate", "5", "--duration", "1", "--json", "-"])
        .args(STORMY.split_whitespace())
        .args(old.url().split_whitespace())
        .env("THRONG_LOAD_SECRET", SECRET)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the prover runs");
    let mut said = BufReader::new(storm.stderr.take().expect("stderr is piped")).lines();
    let seated = said.any(|line| line.expect("text").contains("are seated: start the next server"));
    assert!(seated, "drain: it ended before anybody sat");
    let _new = Server::start(address, &["--drain-budget-ms", "2000", "--takeover"]);
    old.leave();
    let output = storm.wait_with_output().expect("it ends");
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "drain: {out}");
    let report: Value = serde_json::from_str(&out).expect("JSON");
    let drained = &report["drained"];
    // The crowd and its four publishers.
    assert_eq!((&drained["told"], &drained["sent_away"]), (&64.into(), &64.into()), "{report:#}");
    assert_eq!((&drained["early"], &report["missing"]), (&0.into(), &0.into()), "{report:#}");
}

fn churn() {
    let server = Server::anywhere();
    let (pid, admin) = (server.pid(), server.admin);
    let small = "--total 400 --at-once 100 --room-size 10 --rest 0.2 --settle 60";
    let report = run("churn", &format!("{small} --server-pid {pid} --admin {admin} {}", server.url()));
    assert_eq!(report["connections"], 400, "{report:#}");
}

fn siege() {
    let server = Server::anywhere();
    let report = run("siege", &format!("--slow 5 --bombs 3 --duration 1 --address {}", server.address));
    assert!(report["bombs_thrown"].as_u64().is_some_and(|bombs| bombs > 0), "{report:#}");
}

/// They know nothing of each other: each room lies at one of them.
#[test]
fn rooms_are_dealt_to_several_servers() {
    let servers = [Server::anywhere(), Server::anywhere()];
    let [one, other] = servers.each_ref().map(|server| format!("ws://{}/ws", server.address));
    let options = "--connections 60 --room-size 10 --rate 60 --duration 2 --warmup 0 --guests 20 --stay 1 --think 0.2";
    let report = proved("rooms", &format!("{options} --url {one},{other}"));
    assert_eq!(report["asked"]["url"], format!("{one},{other}"));
    assert_eq!(report["opened"]["retries"], 0, "{report:#}");
    let guests = &report["phases"][0]["guests"];
    assert_eq!((&guests["turned_away"], &guests["kept_out"]), (&0.into(), &0.into()), "{guests:#}");
    let published: Vec<u64> = servers.iter().map(|server| server.counted("throng_publishes_total")).collect();
    let sent = report["proof"]["accepted"].as_u64();
    assert!(published.iter().all(|count| *count > 0) && sent == Some(published.iter().sum()), "{published:?} {sent:?}");
}

/// What shows nothing is not passed.
#[test]
fn scenarios_in_which_nothing_happened_are_unknown() {
    let server = Server::anywhere();
    let calm = format!("{CALM} --connections 20 --room-size 10 --rate 50 --payload 64 {}", server.url());
    let nobody_slow = attempt("slow-consumer", &format!("{calm} --phase name=slow,slow=2,duration=1,slo=p99<60s"));
    let said = String::from_utf8_lossy(&nobody_slow.stdout).into_owned();
    assert_eq!(nobody_slow.status.code(), Some(2), "{said}");
    assert!(said.contains("never held anything back"), "{said}");
    let line = attempt("lossy", &format!("{STORMY} --rate 5 --duration 0.5 --faults 0.0001 {}", server.url()));
    let said = String::from_utf8_lossy(&line.stdout).into_owned();
    assert_eq!(line.status.code(), Some(2), "{said}");
    assert!(said.contains("nothing to judge"), "{said}");
}
