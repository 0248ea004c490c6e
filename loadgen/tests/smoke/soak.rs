//! What a server closes and refuses while a soak goes on: whom it sent away, and who only left.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use super::attempt;
use super::real::{SECRET, Server, free_address};

const CROWD: &str = "--connections 40 --room-size 20 --rate 100 --payload lognormal:150,1.0,max=4000 --settle 20 \
    --lateness-p99-ms 60000";
const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const STRANGER: &str = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: throng.v1.json\r\nAuthorization: Bearer nonsense\r\n\r\n";

/// Runs, and puts this request to the server whenever the prover says something: once a second.
fn with_somebody(server: &Server, options: &str, request: &'static str) -> Output {
    let mut prover = Command::new(env!("CARGO_BIN_EXE_throng-load"))
        .args(["run", "soak", "--json", "-"])
        .args(CROWD.split_whitespace())
        .args(options.split_whitespace())
        .args(["--admin", &server.admin.to_string()])
        .args(server.url().split_whitespace())
        .env("THRONG_LOAD_SECRET", SECRET)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the prover runs");
    let said = BufReader::new(prover.stderr.take().expect("stderr is piped")).lines();
    std::thread::scope(|scope| {
        let ask = || {
            for line in said {
                eprintln!("{}", line.expect("text"));
                server.is_asked(request);
            }
        };
        std::thread::Builder::new().spawn_scoped(scope, ask).expect("a thread starts");
        prover.wait_with_output().expect("it ends")
    })
}

/// So short that memory may do what it likes; but all of it must have been read. Guests come and go, and a load balancer asks
/// how the server is: nobody of them is sent away.
pub(super) fn holds() {
    let server = Server::anywhere();
    let slo = "--slo p99<60s,memory.growth<900%,refused=0,server.closes=0,server.refusals=0";
    let pid = server.pid();
    let options = format!("--warmup 1 --duration 4 --guests 20 --stay 0.5 --think 0.2 --server-pid {pid} {slo}");
    let output = with_somebody(&server, &options, HEALTH);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert_eq!((output.status.code(), &report["verdict"]), (Some(0), &"passed".into()), "{report:#}");
    let steady = &report["phases"][0]["steady"];
    assert!(steady["memory_bytes"][1].as_u64().is_some_and(|bytes| bytes > 0), "{steady:#}");
    assert_eq!((&steady["closes"], &steady["refusals"]), (&0.into(), &0.into()), "{steady:#}");
    for left in ["bye", "handed_over"] {
        let count = server.counted(&format!("throng_closes_total{{reason=\"{left}\"}}"));
        assert!(count > 0, "nobody was {left}: this shows nothing");
    }
    let url = server.url();
    let unread = attempt("soak", &format!("{CROWD} --warmup 1 --duration 1 --slo memory.growth<10% {url}"));
    let said = String::from_utf8_lossy(&unread.stdout);
    assert!(
        unread.status.code() == Some(2) && said.contains("--server-pid"),
        "what was not read is not steady: {said}"
    );
}

/// Misses what was asked, and says by which names.
fn misses(server: &Server, options: &str, request: &'static str, reasons: [&str; 2]) {
    let output = with_somebody(server, options, request);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert_eq!(output.status.code(), Some(1), "{options}: {report:#}");
    let said = report["reasons"].to_string();
    assert!(reasons.iter().all(|reason| said.contains(reason)), "{reasons:?} in {said}");
}

#[test]
fn whoever_the_server_sends_away_or_refuses_meanwhile_is_told_by_name() {
    let closes = "--warmup 0 --duration 4 --slo p99<60s,server.closes=0,server.refusals=0";
    misses(&Server::anywhere(), closes, STRANGER, ["server.closes moved by ", "(bad_token "]);
    let server = Server::start(free_address(), &["THRONG_LIMITS_PUBLISHES_PER_USER_PER_MINUTE=2"]);
    let refusals = "--warmup 0 --duration 4 --slo p99<60s,server.closes=0,server.refusals=0";
    misses(&server, refusals, HEALTH, ["server.refusals moved by ", "(too_often "]);
}
