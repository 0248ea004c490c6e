//! A backend that speaks to a room of many while others talk: `./tuning/measure/api-publish` runs it, and takes the figures
//! from the line that is printed.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::crowd::{Plan, percentile_ms, speak};
use crate::server::{SECRET, Server};

#[test]
#[ignore = "it takes the whole machine: ./tuning/measure/api-publish runs it, and ends it if it hangs"]
fn a_crowd_hears_the_backend_under_load() {
    throng::runtime::host::raise_open_files().unwrap();
    let of = |name: &str, usual: usize| number(name).unwrap_or(usual);
    let (readers, seconds) = (of("THRONG_API_READERS", 1_000), of("THRONG_API_SECONDS", 20));
    let (pace_ms, others) = (of("THRONG_API_PACE_MS", 100), of("THRONG_API_OTHERS", 5_000));
    let rate = of("THRONG_API_OTHERS_RATE", 1_000);
    let server = Server::start();
    let mut load = None;
    let plan = Plan { readers, messages: seconds * 1_000 / pace_ms, pace_ms: pace_ms as u64 };
    let figures = speak(&server, plan, || {
        let begun = load.insert(Load::start(&server, others, rate, seconds));
        begun.wait_for_sessions(&server, readers + others);
    });
    let (code, report) = load.expect("it was begun").ends();
    let shown = |us: &[u64]| {
        let [p50, p99, max] = [50, 99, 100].map(|percent| percentile_ms(us, percent));
        json!({"p50_ms": p50, "p99_ms": p99, "max_ms": max})
    };
    let figures = json!({
        "readers": readers,
        "messages": plan.messages,
        "owed": readers * plan.messages,
        "heard": figures.heard,
        "call": shown(&figures.call_us),
        "until_the_last_reader": shown(&figures.last_us),
        "said_late": shown(&figures.late_us),
        "others": {
            "connections": others,
            "asked_per_s": rate,
            "exit_code": code,
            "verdict": report["verdict"],
            "limit": report["generator"]["limit"],
            "sent_per_s": report["rates"]["sent_per_s"],
            "expected": report["proof"]["expected"],
            "received": report["proof"]["received"],
            "delivery": report["latency"]["delivery"],
            "sent_late": report["latency"]["lateness"],
        },
    });
    println!("figures {figures}");
    // 2: a promise broke. That the generator was the limit says nothing about who was asked.
    assert!(!matches!(code, None | Some(2 | 4)), "the others: {}", report["reasons"]);
}

/// People in other rooms who talk, by the generator; ended when dropped.
struct Load(Child);

impl Load {
    fn start(server: &Server, connections: usize, rate: usize, seconds: usize) -> Self {
        let program = text("THRONG_LOAD").expect("THRONG_LOAD names the generator's program");
        let (connections, rate) = (connections.to_string(), rate.to_string());
        // Its opening counts on neither side; it talks for as long as the backend does, and longer.
        let duration = (seconds + 5).to_string();
        let child = Command::new(program)
            .args(["run", "--url", &format!("ws://{}/ws", server.public), "--connections", &connections])
            .args(["--room-size", "50", "--rate", &rate, "--warmup", "1", "--duration", &duration, "--workers", "1"])
            .args(["--json", "-"])
            .env("THRONG_LOAD_SECRET", SECRET)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Waits until so many people are connected.
    fn wait_for_sessions(&mut self, server: &Server, count: usize) {
        let url = server.url("/metrics");
        let sessions = || {
            let text = server.get_with(&url, None).text;
            let line = text.lines().find_map(|line| line.strip_prefix("websocket_connections "));
            line.and_then(|number| number.parse::<usize>().ok()).unwrap_or(0)
        };
        while sessions() < count {
            assert!(self.0.try_wait().unwrap().is_none(), "the others ended before they were all here");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// How it ended, and what it reports.
    fn ends(mut self) -> (Option<i32>, Value) {
        let report = self.0.stdout.take().map(serde_json::from_reader).and_then(Result::ok);
        (self.0.wait().unwrap().code(), report.unwrap_or_default())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has no command line of its own: the size comes from outside")]
fn text(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number(name: &str) -> Option<usize> {
    let text = text(name)?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}
