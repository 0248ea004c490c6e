//! Which figures lead to which verdict.

use super::*;
use crate::proof::Judgement;

fn asked() -> Asked {
    Asked {
        url: "ws://127.0.0.1:1/ws".to_owned(),
        connections: 100,
        rooms: 2,
        room_size: 50,
        publishers_per_room: 50,
        rate_per_s: 100.0,
        deliveries_per_s: 4_900.0,
        warmup_s: 0.0,
        duration_s: 10.0,
        payload_bytes: 128,
        encoding: "msgpack",
        arrivals: "even",
        acks: true,
        own_copies: false,
        presence: false,
        hold: false,
        workers: 1,
        seed: 1,
        run: "00000001".to_owned(),
        slo_p99_ms: Some(100.0),
        lateness_p99_ms_max: 10.0,
    }
}

/// Everything held: 1,000 messages in 10 s, 5 ms each.
fn good() -> PhaseResult {
    let mut delivery = Latencies::new();
    (0..1_000).for_each(|_| delivery.record_ns(5_000_000));
    let judgement = Judgement {
        sent: 1_000,
        accepted: 1_000,
        acked: 1_000,
        expected: 49_000,
        received: 49_000,
        deliveries_min: 400,
        ..Judgement::default()
    };
    PhaseResult {
        judgement,
        offenders: Vec::new(),
        delivery_from_send: delivery.clone(),
        ack: Latencies::new(),
        lateness: Latencies::new(),
        delivery,
        sent_in_window: 1_000,
        received_in_window: 49_000,
        bytes_in_window: 1,
        cpu_ns: 1_000_000_000,
        waited_for_cpu_ns: 0,
        window_ns: 10_000_000_000,
        heartbeats_min: 0,
        heartbeats: 0,
        open: 100,
        closes: BTreeMap::new(),
        refusals: BTreeMap::new(),
    }
}

fn report(asked: Asked, result: PhaseResult) -> Report {
    let opened = Opened { seconds: 1.0, per_s: 100.0, retries: 0, latency: Quantiles::default(), heartbeat_ms: 25_000 };
    Report::new(asked, opened, (0, 0.0), None, &[result])
}

fn slow() -> PhaseResult {
    let mut result = good();
    (0..20).for_each(|_| result.delivery.record_ns(500_000_000));
    result
}

#[test]
fn what_held_passes() {
    let report = report(asked(), good());
    assert_eq!((report.verdict, report.exit_code), (Verdict::Passed, 0));
    assert!(report.reasons.is_empty() && report.crowd_is_whole());
    assert!(report.to_string().contains("lost 0"));
}

#[test]
fn every_kind_of_fault_fails_the_proof_even_if_the_generator_was_late() {
    for fault in Fault::ALL {
        let mut result = slow();
        result.judgement.faults.insert(fault, 1);
        (0..1_000).for_each(|_| result.lateness.record_ns(50_000_000));
        let report = report(asked(), result);
        assert_eq!((report.verdict, report.exit_code), (Verdict::ProofFailed, 2), "{fault:?}");
        assert!(report.to_string().contains(fault.name()));
        assert!(!report.crowd_is_whole());
    }
}

#[test]
fn silence_is_not_a_pass() {
    let mut result = good();
    result.judgement = Judgement::default();
    assert_eq!(report(asked(), result).exit_code, 2);
    let mut result = good();
    result.judgement.deliveries_min = 0;
    assert_eq!(report(asked(), result.clone()).exit_code, 0, "a lone publisher without echo hears nothing, rightly");
    assert_eq!(report(Asked { hold: true, ..asked() }, result).exit_code, 2, "in a hold everybody must hear something");
}

#[test]
fn a_missed_p99_is_the_servers_unless_the_generator_was_late_or_saturated() {
    assert_eq!(report(asked(), slow()).verdict, Verdict::SloMissed);
    assert_eq!(report(Asked { slo_p99_ms: None, ..asked() }, slow()).verdict, Verdict::Passed);
    let mut late = slow();
    (0..1_000).for_each(|_| late.lateness.record_ns(50_000_000));
    assert_eq!(report(asked(), late).exit_code, 3);
    let mut starved = slow();
    (starved.cpu_ns, starved.waited_for_cpu_ns) = (4_000_000_000, 5_800_000_000);
    assert_eq!(report(asked(), starved).exit_code, 3);
    let mut busy = good();
    busy.cpu_ns = 9_900_000_000;
    assert_eq!(report(asked(), busy).verdict, Verdict::Passed, "saturated, and all held");
}

#[test]
fn a_rate_that_was_not_sent_or_not_accepted_is_missed() {
    let mut result = good();
    result.sent_in_window = 900;
    assert_eq!(report(asked(), result.clone()).verdict, Verdict::SloMissed);
    result.cpu_ns = 9_900_000_000;
    assert_eq!(report(asked(), result).verdict, Verdict::GeneratorLimited);
    let mut result = good();
    (result.judgement.accepted, result.judgement.refused) = (900, 100);
    assert_eq!(report(asked(), result).verdict, Verdict::SloMissed);
}
