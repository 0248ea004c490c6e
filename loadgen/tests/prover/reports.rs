//! What a run leaves behind: its exit code, its seconds, its page; and two results beside each other.

use std::fs;

use serde_json::{Value, json};

use super::fake::{Fake, Lie};
use super::scenarios::{metrics, said, secret_file, throng_load};

/// A run in a small crowd; gives its exit code and its report.
fn run(lie: Lie, name: &str, options: &str) -> (Option<i32>, Value) {
    let server = Fake::start(lie);
    let duration = if options.contains("--duration") { "" } else { "--duration 0.5" };
    let output = throng_load(&format!(
        "run --connections 20 --room-size 10 {duration} --warmup 0 --settle 1 {options} --json - --url ws://{}/ws --secret-file {}",
        server.address,
        secret_file(name)
    ));
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

fn file(name: &str) -> String {
    format!("{}/{name}-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id())
}

#[test]
fn every_verdict_has_its_exit_code() {
    let calm = "--rate 100 --lateness-p99-ms 60000";
    for (lie, name, options, code, verdict) in [
        (Lie::Honest, "code-0", format!("{calm} --slo p99<60s,lost=0"), 0, "passed"),
        (Lie::Honest, "code-1", format!("{calm} --slo p99<0.001us"), 1, "slo_missed"),
        (Lie::MutesAll, "code-2", calm.to_owned(), 2, "proof_failed"),
        (Lie::Honest, "code-2u", "--rate 5 --lateness-p99-ms 60000".to_owned(), 2, "unknown"),
        (Lie::Honest, "code-2q", format!("{calm} --slo p99.9<60s"), 2, "unknown"),
        (
            Lie::Honest,
            "code-3",
            "--rate 100 --lateness-p99-ms 0.000001 --slo p99<0.001us".to_owned(),
            3,
            "generator_limited",
        ),
    ] {
        let (got, report) = run(lie, name, &options);
        assert_eq!((got, report["verdict"].as_str()), (Some(code), Some(verdict)), "{options}: {report:#}");
        assert_eq!(report["limit"].is_null(), code == 0 || verdict == "unknown", "{}", report["limit"]);
    }
    let (code, _) = run(Lie::Honest, "code-4", "--rate 100 --slo p98<1ms");
    assert_eq!(code, Some(4));
}

#[test]
fn the_seconds_of_a_run_add_up_to_it() {
    let admin = metrics();
    let options = format!(
        "--rate 200 --duration 3 --lateness-p99-ms 60000 --server-pid {} --admin {admin} --commit 0123abc",
        std::process::id()
    );
    let (code, report) = run(Lie::Honest, "seconds", &options);
    assert_eq!(code, Some(0), "{report:#}");
    let seconds = report["timeline"].as_array().expect("seconds");
    let sum = |key: &str| seconds.iter().filter_map(|second| second[key].as_u64()).sum::<u64>();
    assert_eq!(Some(sum("sent")), report["proof"]["sent"].as_u64());
    assert_eq!(Some(sum("received")), report["proof"]["received"].as_u64());
    let heard: u64 = seconds.iter().filter_map(|second| second["delivery"]["count"].as_u64()).sum();
    assert_eq!(Some(heard), report["latency"]["delivery"]["count"].as_u64());
    assert!(seconds.windows(2).all(|two| two[0]["second"].as_u64() < two[1]["second"].as_u64()));
    let seen = |key: &str| seconds.iter().filter(|second| !second["server"][key].is_null()).count();
    assert!(seen("cores") >= 1 && seen("metrics") >= 1, "{seconds:#?}");
    assert_eq!(report["about"]["commit"], "0123abc");
    assert_eq!(report["schema"], 2);
}

#[test]
fn a_result_becomes_a_page_and_two_are_compared() {
    let (first, second, page) = (file("first.json"), file("second.json"), file("page.html"));
    let (code, mut report) = run(Lie::Honest, "page", &format!("--rate 200 --lateness-p99-ms 60000 --html {page}"));
    assert_eq!(code, Some(0), "{report:#}");
    let html = fs::read_to_string(&page).expect("was written");
    assert!(html.contains("PASSED") && html.contains("<svg") && html.contains("--room-size 10"), "{html}");
    fs::write(&first, report.to_string()).expect("writes");
    let p99_ms = report["latency"]["delivery"]["p99_ms"].as_f64().expect("a p99");
    report["latency"]["delivery"]["p99_ms"] = json!(p99_ms * 1.5);
    fs::write(&second, json!({"commit": "x", "report": report}).to_string()).expect("writes");

    let same = throng_load(&format!("report {first}"));
    assert!(same.status.success() && said(&same).contains("VERDICT passed"), "{}", said(&same));
    let worse = throng_load(&format!("report {first} {second} --max-regress p99=10% --html {page}"));
    assert_eq!(worse.status.code(), Some(1), "{}", said(&worse));
    assert!(said(&worse).contains("50.0 % worse, 10 % allowed"), "{}", said(&worse));
    assert!(fs::read_to_string(&page).expect("was written").contains("Two runs"));
    assert_eq!(throng_load(&format!("report {first} {second} --max-regress p99=60%,sent=1%")).status.code(), Some(0));
    assert_eq!(throng_load(&format!("report {second} {first} --max-regress p99=10%")).status.code(), Some(0));
    assert_eq!(throng_load(&format!("report {page}")).status.code(), Some(4), "a page is no result");
    // What older runs have left can still be read.
    let old = concat!(env!("CARGO_MANIFEST_DIR"), "/../tuning/results/2026-11-22-pairs-a-1.json");
    let compared = throng_load(&format!("report {old} {first}"));
    assert_eq!(compared.status.code(), Some(0), "{}", said(&compared));
}
