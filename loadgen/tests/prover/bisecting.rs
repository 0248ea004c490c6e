//! `bisect` as a command: what it finds, what no load excuses, whose limit it was.

use serde_json::Value;

use super::fake::{Fake, Lie};
use super::scenarios::{said, secret_file, throng_load};

/// 180, 270 and at twice the best 540 deliveries; being late is no fault here.
fn bisect(server: &Fake, name: &str, options: &str) -> (Option<i32>, Value) {
    let output = throng_load(&format!(
        "bisect --connections 20 --room-size 10 --duration 1 --warmup 0 --settle 1 --from 20 --to 40 --steps 1 \
         --slo-p99-ms 60000 {options} --json - --url ws://{}/ws --secret-file {}",
        server.address,
        secret_file(name)
    ));
    eprintln!("{}", said(&output));
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

const CALM: &str = "--lateness-p99-ms 60000";

#[test]
fn bisecting_finds_a_rate_that_holds_and_offers_twice_as_much() {
    let (code, found) = bisect(&Fake::start(Lie::Honest), "bisect", &format!("{CALM} --keep 10"));
    assert_eq!((code, &found["verdict"]), (Some(0), &"passed".into()), "{found:#}");
    assert_eq!(found["best"]["asked"]["rate_per_s"], 30.0);
    assert_eq!(found["overload"]["asked"]["rate_per_s"], 60.0);
    assert_eq!(found["probes"].as_array().map(Vec::len), Some(3));
}

/// It looked at what was kept of the peak and at nothing else: exit code 0.
#[test]
fn a_message_lost_at_twice_the_peak_fails_it_and_a_told_gap_does_not() {
    // The 700th delivery is of the last probe.
    let (code, found) = bisect(&Fake::lying(Lie::Drops, 700), "bisect-drops", &format!("{CALM} --keep 10"));
    assert_eq!((code, &found["verdict"]), (Some(2), &"proof_failed".into()), "{found:#}");
    assert_eq!(found["overload"]["proof"]["faults"]["lost"], 1, "{found:#}");
    assert_eq!(found["reasons"][0], "at 60.0 messages/s: 1 lost", "{found:#}");
    assert!(found["goodput_kept_percent"].as_f64().is_some_and(|kept| kept > 10.0), "{found:#}");
    let (code, found) = bisect(&Fake::lying(Lie::Gaps, 700), "bisect-gaps", &format!("{CALM} --keep 10"));
    assert_eq!((code, &found["verdict"]), (Some(0), &"passed".into()), "{found:#}");
    assert_eq!(found["overload"]["proof"]["faults"].to_string(), "{\"gap\":1}", "{found:#}");
}

/// It was 1, the server's, whatever the generator had been.
#[test]
fn less_kept_than_asked_is_the_generators_where_it_was_at_its_limit() {
    for (late_ms, code, verdict) in [("60000", 1, "slo_missed"), ("0.000001", 3, "generator_limited")] {
        let options = format!("--lateness-p99-ms {late_ms} --keep 1000");
        let (got, found) = bisect(&Fake::start(Lie::Honest), &format!("bisect-keep-{code}"), &options);
        assert_eq!((got, found["verdict"].as_str()), (Some(code), Some(verdict)), "{found:#}");
        assert!(found["reasons"].to_string().contains("1000 % were asked"), "{found:#}");
    }
}
