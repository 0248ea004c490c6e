//! `find` and `plan` as commands: what they find, what they call the limit, how they end.

use serde_json::Value;

use super::fake::{Fake, Lie};
use super::scenarios::{said, secret_file, throng_load};

/// Looks in a small crowd; being late is no fault here.
fn find(what: &str, options: &str, lie: Lie) -> (Option<i32>, Value) {
    let server = Fake::start(lie);
    let output = throng_load(&format!(
        "find {what} --connections 20 --room-size 10 --duration 0.5 --warmup 0 --settle 1 {options} --json - --url ws://{}/ws --secret-file {}",
        server.address,
        secret_file(what)
    ));
    let found = serde_json::from_slice(&output.stdout).unwrap_or_default();
    eprintln!("{}", said(&output));
    (output.status.code(), found)
}

fn values(found: &Value) -> Vec<f64> {
    found["probes"].as_array().expect("probes").iter().filter_map(|probe| probe["value"].as_f64()).collect()
}

const CALM: &str = "--rate 100 --slo p99<60s,lost=0 --lateness-p99-ms 60000";

#[test]
fn what_all_holds_is_found_at_the_end_and_confirmed() {
    let (code, found) = find("rate", &format!("{CALM} --from 400 --to 500 --repeats 2"), Lie::Honest);
    assert_eq!((code, values(&found)), (Some(0), vec![400.0, 500.0, 500.0, 500.0]), "{found:#}");
    assert_eq!((found["value"].as_f64(), &found["limit"]["who"]), (Some(500.0), &Value::from("not_reached")));
    let (median, min) = (found["measured"][0]["median"].as_f64(), found["measured"][0]["min"].as_f64());
    // On a machine without idle time a window of half a second may hear nothing.
    assert!(median >= min && min.is_some(), "{found:#}");
    let heard_min = found["report"]["proof"]["deliveries_per_connection_min"].as_u64();
    assert!(heard_min.is_some_and(|heard| heard > 0), "but everybody heard in the end: {found:#}");
    let (code, found) = find("connections", &format!("{CALM} --to 40 --repeats 1"), Lie::Honest);
    assert_eq!((code, values(&found)), (Some(0), vec![20.0, 40.0, 40.0]), "{found:#}");
    assert_eq!(found["report"]["asked"]["rate_per_s"].as_f64(), Some(200.0), "each room keeps its rate");
    let (code, found) = find("room-size", &format!("{CALM} --to 15 --repeats 1"), Lie::Honest);
    assert_eq!((code, values(&found)), (Some(0), vec![10.0, 15.0, 15.0]), "{found:#}");
    let (_, found) = find("connect-rate", &format!("{CALM} --from 30 --to 30 --repeats 1"), Lie::Honest);
    let reached = found["probes"][0]["connects_per_s"].as_f64();
    assert!(reached.is_some_and(|reached| (1.0..33.0).contains(&reached)), "paced, however slow: {found:#}");
}

#[test]
fn what_never_holds_is_not_found_and_its_limit_is_named() {
    let (code, found) = find("rate", "--rate 100 --slo p99<0.001us --lateness-p99-ms 60000", Lie::Honest);
    assert_eq!((code, &found["value"]), (Some(1), &Value::Null), "{found:#}");
    // On a machine without idle time it is that machine's.
    assert!(found["limit"]["who"] == "slo" || found["limit"]["who"] == "host_cpu", "{found:#}");
    let (_, found) = find("room-size", "--rate 1000 --slo lost=0,p99<60s --to 10 --repeats 1", Lie::Duplicates);
    assert_eq!(found["probes"][0]["verdict"], "proof_failed", "{found:#}");
    assert_eq!(found["limit"]["who"], "promise", "{found:#}");
    let (code, found) = find("rate", "--rate 100 --slo p99<0.001us --lateness-p99-ms 0.000001", Lie::Honest);
    assert_eq!((code, &found["limit"]["who"]), (Some(3), &Value::from("generator")), "{found:#}");
    assert_eq!(throng_load("find rate --secret x").status.code(), Some(4), "without an SLO there is nothing to find");
}

/// How late the ramp itself was belonged to nobody's figures: `open.` was the server's in any case.
#[test]
fn a_ramp_that_was_late_itself_is_the_generators_limit() {
    let server = Fake::start(Lie::Honest);
    for (late_ms, code) in [("60000", 1), ("0.000001", 3)] {
        let output = throng_load(&format!(
            "run --connections 20 --room-size 10 --rate 100 --duration 0.5 --warmup 0 --settle 1 --ramp-rate 200 \
             --slo open.p50<0.001us --lateness-p99-ms {late_ms} --json - --url ws://{}/ws --secret-file {}",
            server.address,
            secret_file("ramp")
        ));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        assert_eq!(output.status.code(), Some(code), "{report:#}");
        assert_eq!(report["opened"]["effort"]["lateness"]["count"], 20, "{:#}", report["opened"]);
        let why = report["limit"]["sentence"].as_str().unwrap_or_default();
        assert_eq!(why.contains("its own connecting was"), code == 3, "{:#}", report["limit"]);
    }
}

#[test]
fn a_plan_is_made_without_a_server_or_a_secret() {
    let output = throng_load("plan whale --connections 2000 --room-size 2000");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("max_connections: at least 2000"));
    let output = throng_load("plan idle --connections 900000000 --room-size 1000 --json -");
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
}
