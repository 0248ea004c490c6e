//! The prover against servers that keep the promises and servers that break one: the binary itself, by its exit code.

#[path = "prover/bisecting.rs"]
mod bisecting;
mod fake;
#[path = "prover/finding.rs"]
mod finding;
#[path = "prover/outputs.rs"]
mod outputs;
#[path = "prover/reports.rs"]
mod reports;
#[path = "prover/scenarios.rs"]
mod scenarios;

use std::process::{Command, Output};

use fake::{Fake, Lie, SECRET};

/// 100 people in rooms of 10, some 5,000 deliveries in two seconds.
/// Being late is no fault here: these tests run beside others on whatever cores there are.
const CROWD: &str =
    "--connections 100 --room-size 10 --rate 300 --duration 2 --warmup 0 --settle 1 --lateness-p99-ms 60000 --json -";

fn prove(server: &Fake, options: &str) -> (Output, serde_json::Value) {
    let url = format!("ws://{}/ws", server.address);
    let output = Command::new(env!("CARGO_BIN_EXE_throng-load"))
        .args(["run", "--url", &url, "--secret", SECRET])
        .args(options.split_whitespace())
        .output()
        .expect("the prover runs");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, report)
}

/// Runs against a server with this habit and gives the report, checking the exit code.
fn judge(lie: Lie, options: &str, code: i32) -> serde_json::Value {
    let (output, report) = prove(&Fake::start(lie), &[CROWD, options].join(" "));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{lie:?} {options}\n{said}\n{report:#}");
    report
}

fn caught(lie: Lie, options: &str, fault: &str) {
    let report = judge(lie, options, 2);
    let count = report["proof"]["faults"][fault].as_u64().unwrap_or(0);
    assert!(count >= 1, "{lie:?} {options}: {fault} in {:#}", report["proof"]);
    assert_eq!(report["verdict"], "proof_failed");
    assert!(report["proof"]["offenders"].as_array().is_some_and(|list| !list.is_empty()), "{lie:?}");
}

#[test]
fn an_honest_server_passes_with_and_without_acks_and_own_copies_in_both_encodings() {
    for options in [
        "--acks on --echo off --encoding msgpack",
        "--acks on --echo on --encoding json",
        "--acks off --echo off --encoding json --workers 3",
        "--acks off --echo on --encoding msgpack --arrivals poisson",
        "--acks on --echo off --publishers 1 --payload 1000 --presence on",
    ] {
        let report = judge(Lie::Honest, options, 0);
        let proof = &report["proof"];
        assert_eq!(proof["expected"], proof["received"], "{options}");
        assert!(proof["sent"].as_u64().is_some_and(|sent| sent > 400), "{options}: {proof:#}");
        assert_eq!(proof["heartbeats_per_connection_min"], 0, "the one ping came before the phase");
        assert_eq!(report["latency"]["delivery"]["count"], proof["received"], "{options}");
    }
}

#[test]
fn a_server_that_drops_one_in_ten_thousand_is_caught() {
    // Between one and two times ten thousand deliveries.
    let crowd = "--connections 100 --room-size 10 --rate 800 --duration 2 --warmup 0 --settle 1 --lateness-p99-ms 60000 --json -";
    for options in ["--acks on --payload uniform:64-300", "--acks off", "--acks off --echo on --encoding json"] {
        let (output, report) = prove(&Fake::start(Lie::Drops), &[crowd, options].join(" "));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{options}: {said}\n{report:#}");
        let proof = &report["proof"];
        assert!(proof["expected"].as_u64().is_some_and(|expected| expected > 10_000), "{options}: {proof:#}");
        assert_eq!(proof["faults"]["lost"], 1, "{options}: {proof:#}");
        let [offender] = proof["offenders"].as_array().expect("a list").as_slice() else {
            panic!("{options}: {proof:#}")
        };
        assert_eq!(offender["fault"], "lost", "{options}: {offender:#}");
        for known in ["room", "connection", "publisher", "seq", "at_ms"] {
            assert!(offender[known].is_u64(), "{options}: {known} in {offender:#}");
        }
        let told = offender["detail"].as_str().is_some_and(|detail| detail.starts_with("offset "));
        assert_eq!(told, options.starts_with("--acks on"), "{options}: {offender:#}");
    }
}

#[test]
fn payloads_of_all_lengths_are_verified() {
    let crowd = "--connections 100 --room-size 10 --rate 800 --duration 2 --warmup 0 --settle 1 --lateness-p99-ms 60000 --json -";
    for (payload, encoding) in [("uniform:64-1024", "json"), ("64:90,1024:9,9000:1", "msgpack")] {
        let server = Fake::start(Lie::Honest);
        let (output, report) = prove(&server, &format!("{crowd} --payload {payload} --encoding {encoding}"));
        assert_eq!(output.status.code(), Some(0), "{payload}: {report:#}");
        assert_eq!(report["asked"]["payload"], payload);
        // What the server was really told: 1,600 messages.
        let lengths = server.lengths();
        if payload.starts_with("uniform") {
            assert!(lengths.len() > 500 && lengths.iter().all(|bytes| (64..=1024).contains(bytes)), "{lengths:?}");
        } else {
            assert_eq!(lengths, [64, 1024, 9000].into(), "{payload}");
        }
    }
    caught(Lie::Corrupts, "--payload lognormal:150,1.0 --encoding json", "corrupted");
}

#[test]
fn a_server_that_duplicates_is_caught() {
    caught(Lie::Duplicates, "--acks on", "duplicated");
    caught(Lie::Duplicates, "--acks off --encoding json", "duplicated");
}

#[test]
fn a_server_that_swaps_is_caught() {
    caught(Lie::Swaps, "--acks on", "misordered");
    caught(Lie::Swaps, "--acks off --echo on", "misordered");
}

#[test]
fn a_server_that_leaks_to_another_room_is_caught() {
    caught(Lie::Leaks, "--acks on", "foreign");
    caught(Lie::Leaks, "--acks off --workers 2", "foreign");
}

#[test]
fn a_server_that_corrupts_is_caught() {
    caught(Lie::Corrupts, "--encoding msgpack", "corrupted");
    caught(Lie::Corrupts, "--encoding json", "corrupted");
    caught(Lie::Misattributes, "--acks off", "corrupted");
}

/// A small storm at a server with this habit: its exit code and its report.
fn storm(lie: Lie, options: &str) -> (Option<i32>, serde_json::Value) {
    let url = format!("ws://{}/ws", Fake::start(lie).address);
    let small = "--connections 60 --room-size 10 --rate 40 --duration 1 --settle 1 --json -";
    let calm = "--within 300 --backoff-ms 50 --lateness-p99-ms 60000";
    let output = Command::new(env!("CARGO_BIN_EXE_throng-load"))
        .args(["run", "reconnect-storm", "--url", &url, "--secret", SECRET])
        .args(small.split_whitespace())
        .args(if options.is_empty() { calm } else { options }.split_whitespace())
        .output()
        .expect("the prover runs");
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

/// Members of storms keep no ledger: they know what they hear by its room, its payload and its sender.
fn stormed(lie: Lie, fault: Option<&str>) {
    let (code, report) = storm(lie, "");
    assert_eq!(code, Some(if fault.is_some() { 2 } else { 0 }), "{lie:?}: {report:#}");
    for other in ["foreign", "corrupted"] {
        let found = report[other].as_u64().is_some_and(|count| count > 0);
        assert_eq!(found, fault == Some(other), "{lie:?} {other}: {report:#}");
    }
    assert_eq!(report["back"], 60, "{lie:?}: {report:#}");
}

/// A storm in which nothing was ever acknowledged owed nothing, and held.
#[test]
fn a_storm_notices_publishes_that_nobody_answers() {
    let (code, report) = storm(Lie::NeverAcks, "");
    assert_eq!((code, &report["verdict"]), (Some(2), &"proof_failed".into()), "{report:#}");
    assert_eq!(report["acknowledged"], 0, "{report:#}");
    assert!(report["unanswered"].as_u64().is_some_and(|count| count > 100), "{report:#}");
    let reasons = report["reasons"].to_string();
    assert!(reasons.contains("were neither acknowledged nor refused"), "{reasons}");
    // One in a hundred of publishers that stayed.
    let (code, report) = storm(Lie::WithholdsAck, "");
    assert_eq!(code, Some(2), "{report:#}");
    assert!(report["unanswered"].as_u64().is_some_and(|count| count > 0), "{report:#}");
}

#[test]
fn a_storm_names_the_first_who_met_a_fault() {
    let (_, report) = storm(Lie::Duplicates, "");
    let first = &report["offenders"][0];
    assert_eq!(first["fault"], "duplicated", "{report:#}");
    for known in ["room", "connection", "publisher", "seq", "at_ms"] {
        assert!(first[known].is_u64(), "{known} in {first:#}");
    }
}

/// Nobody is back after a moment: whose fault that is says how late the generator was itself, which was never measured. Nor was
/// it noticed who came back too late, and yet before the end.
#[test]
fn a_storm_that_is_not_over_in_time_is_the_generators_only_where_it_was_late() {
    for (late_ms, code, verdict) in [("60000", 2, "proof_failed"), ("0.0000001", 3, "generator_limited")] {
        let options = format!("--within 0.3 --backoff-ms 3000 --lateness-p99-ms {late_ms}");
        let (got, report) = storm(Lie::Honest, &options);
        assert_eq!((got, report["verdict"].as_str()), (Some(code), Some(verdict)), "{report:#}");
        assert!(report["late"].as_u64().is_some_and(|late| late > 0), "{report:#}");
        assert!(report["effort"]["lateness"]["count"].as_u64().is_some_and(|count| count > 0), "{report:#}");
        assert_eq!(report["effort"]["limit"].is_string(), code == 3, "{report:#}");
    }
}

#[test]
fn an_honest_server_weathers_a_storm() {
    stormed(Lie::Honest, None);
}

#[test]
fn a_storm_notices_a_leak_to_another_room() {
    stormed(Lie::Leaks, Some("foreign"));
}

#[test]
fn a_storm_notices_a_corrupted_payload_and_a_wrong_sender() {
    stormed(Lie::Corrupts, Some("corrupted"));
    stormed(Lie::Misattributes, Some("corrupted"));
}

/// There are more guests than people of the crowd, and one delivery in a hundred is a lie, so that guests are among those
/// who are lied to, however few a busy machine lets in.
#[test]
fn guests_notice_leaks_and_corruptions() {
    let many = "--connections 20 --room-size 10 --rate 400 --duration 2 --warmup 0 --settle 1 --lateness-p99-ms 60000 \
        --guests 60 --stay 20 --think 1 --json -";
    for (lie, fault, word) in [
        (Lie::Leaks, "foreign", "words of other rooms came to guests"),
        (Lie::Corrupts, "corrupted", "messages to guests were not what anybody sent"),
    ] {
        let (output, report) = prove(&Fake::lying(lie, 100), many);
        assert_eq!(output.status.code(), Some(2), "{lie:?}: {}", String::from_utf8_lossy(&output.stderr));
        let guests = &report["phases"][0]["guests"];
        assert!(guests[fault].as_u64().is_some_and(|count| count > 0), "{lie:?}: {guests:#}");
        assert!(report["reasons"].to_string().contains(word), "{lie:?}: {:#}", report["reasons"]);
    }
}

/// Who heard nothing more, and went, passed: nobody had asked how far the others were. Most go again, or most are there at the end.
#[test]
fn guests_who_hear_nothing_more_fail_a_run() {
    for stay in [1, 20] {
        let chat = format!(
            "--connections 64 --room-size 16 --rate 100 --duration 3 --warmup 0 --settle 1 --guests 60 --stay {stay} --think 0.5 \
             --lateness-p99-ms 60000 --slo p99<60s --json -"
        );
        let ask = |lie: Lie| {
            let url = format!("ws://{}/ws", Fake::start(lie).address);
            let output = Command::new(env!("CARGO_BIN_EXE_throng-load"))
                .args(["run", "chat", "--url", &url, "--secret", SECRET])
                .args(chat.split_whitespace())
                .output()
                .expect("the prover runs");
            let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            (output.status.code(), report)
        };
        let (code, report) = ask(Lie::MutesLater);
        let guests = &report["phases"][0]["guests"];
        assert_eq!(code, Some(2), "stay {stay}: {guests:#} {:#}", report["reasons"]);
        assert!(guests["missing"].as_u64().is_some_and(|missing| missing > 0), "stay {stay}: {guests:#}");
        assert_eq!((&guests["unknown"], &guests["unanswered"]), (&0.into(), &0.into()), "stay {stay}: {guests:#}");
        let first = &guests["offenders"][0];
        assert_eq!(first["fault"], "lost", "stay {stay}: {guests:#}");
        assert!(first["connection"].as_u64().is_some_and(|connection| connection >= 50), "behind the crowd: {first:#}");
        assert!(report["proof"]["faults"].as_object().is_some_and(serde_json::Map::is_empty), "the crowd heard all");
        let (code, report) = ask(Lie::Honest);
        assert_eq!(code, Some(0), "stay {stay}: {:#} {:#}", report["phases"][0]["guests"], report["reasons"]);
    }
}

/// Guests went to their rooms' doors and asked there for the first one's `Host` and path.
#[test]
fn guests_ask_each_server_for_its_own_name() {
    let servers = [Fake::that_knows_its_name(), Fake::that_knows_its_name()];
    let guests = "--guests 30 --stay 0.5 --think 0.2 --slo p99<60s";
    let (output, report) = prove(&servers[0], &format!("{CROWD} {guests} --url ws://{}/ws", servers[1].address));
    let guests = &report["phases"][0]["guests"];
    assert_eq!(output.status.code(), Some(0), "{guests:#} {:#}", report["reasons"]);
    assert!(guests["visits"].as_u64().is_some_and(|visits| visits > 0), "{guests:#}");
    assert_eq!((&guests["turned_away"], &guests["kept_out"]), (&0.into(), &0.into()), "{guests:#}");
    assert!(servers.iter().all(|server| server.publishes() > 0), "each has rooms");
}

/// A run passed whose guests were answered 404.
#[test]
fn guests_who_are_not_let_in_fail_a_run() {
    let guests = "--guests 60 --stay 4 --think 1 --slo p99<60s";
    let (output, report) = prove(&Fake::of_at_most(104), &format!("{CROWD} {guests}"));
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    let guests = &report["phases"][0]["guests"];
    assert!(guests["turned_away"].as_u64().is_some_and(|count| count > 0), "{guests:#}");
    let reasons = report["reasons"].to_string();
    assert!(reasons.contains("times a guest was turned away (first: HTTP/1.1 404 Not Found"), "{reasons}");
}

#[test]
fn a_server_that_forgets_what_it_accepted_or_acks_elsewhere_is_caught() {
    caught(Lie::ForgetsAccepted, "--acks on", "lost");
    caught(Lie::WithholdsAck, "--acks on", "unanswered");
    caught(Lie::AcksElsewhere, "--acks on", "disagreed");
}

#[test]
fn a_gap_and_a_cut_connection_fail_the_proof() {
    caught(Lie::Gaps, "--acks on", "gap");
    caught(Lie::Cuts, "--acks on", "cut");
}

#[test]
fn silence_cannot_pass() {
    caught(Lie::Mutes, "--acks off --echo on", "silent");
    caught(Lie::MutesAll, "--acks on", "silent");
}

#[test]
fn an_honest_refusal_is_no_loss_but_misses_the_rate() {
    for options in ["--acks on", "--acks off"] {
        let report = judge(Lie::Busy, options, 1);
        assert_eq!(report["verdict"], "slo_missed");
        assert!(report["proof"]["refusals"]["busy"].as_u64().is_some_and(|busy| busy >= 50));
        let by_number = report["proof"]["count_only_rooms"].as_u64();
        assert_eq!(by_number == Some(0), options == "--acks on", "{options}: {by_number:?}");
    }
}

#[test]
fn in_a_hold_everybody_hears_one_message_and_a_missing_heartbeat_is_a_fault() {
    let hold = "--connections 100 --room-size 10 --hold 1 --settle 1 --lateness-p99-ms 60000 --json -";
    let (output, report) = prove(&Fake::start(Lie::NoHeartbeat), hold);
    assert_eq!(output.status.code(), Some(2), "{report:#}");
    assert_eq!(report["proof"]["faults"]["no_heartbeat"], 100);
    assert_eq!(report["proof"]["deliveries_per_connection_min"], 1);
    let short = "--connections 100 --room-size 10 --hold 0.5 --settle 1 --lateness-p99-ms 60000 --json -";
    let (output, report) = prove(&Fake::start(Lie::NoHeartbeat), short);
    assert_eq!(output.status.code(), Some(0), "too short for a heartbeat: {report:#}");
}

#[test]
fn what_cannot_be_set_up_is_said_in_a_sentence() {
    let server = Fake::start(Lie::Honest);
    let (output, _) = prove(&server, &format!("{CROWD} --connections 101"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    let wrong = ["run", "--url", &format!("ws://{}/ws", server.address), "--secret", "another"];
    let output = Command::new(env!("CARGO_BIN_EXE_throng-load")).args(wrong).output().expect("the prover runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("4503") && said.contains("--secret"), "{said}");
}
