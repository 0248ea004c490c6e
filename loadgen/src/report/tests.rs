//! Which figures lead to which verdict.

use std::collections::BTreeMap;

use super::*;
use crate::beside::{GuestReport, SlowReport};
use crate::dialect::Protocol;
use crate::edges::Spent;
use crate::latency::Latencies;
use crate::proof::{Fault, Judgement};
use crate::schedule::Slope;
use crate::shape::Sizes;
use crate::stage::Stage;
use crate::steady::Steadiness;

fn asked() -> Asked {
    Asked {
        scenario: None,
        url: "ws://127.0.0.1:1/ws".to_owned(),
        connections: 100,
        rooms: 2,
        room_size: 50,
        sizes: Sizes::Fixed,
        guests: 0,
        publishers_per_room: 50,
        rate_per_s: 100.0,
        deliveries_per_s: 4_900.0,
        warmup_s: 0.0,
        duration_s: 10.0,
        payload_bytes: 128,
        payload: Some(128.into()),
        protocol: Protocol::Throng,
        encoding: Wire::Msgpack,
        arrivals: Arrivals::Even,
        acks: true,
        own_copies: false,
        presence: false,
        hold: false,
        workers: 1,
        seed: 1,
        run: "00000001".to_owned(),
        slo: Slo::p99_ms(100.0),
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
        spread: Latencies::new(),
        spread_every: 1,
        spread_unfinished: 0,
        spread_skipped: 0,
        ack: Latencies::new(),
        lateness: Latencies::new(),
        delivery,
        sent_in_window: 1_000,
        received_in_window: 49_000,
        bytes_in_window: 1,
        cpu_ns: 1_000_000_000,
        waited_for_cpu_ns: 0,
        window_ns: 10_000_000_000,
        held_back: 0,
        heartbeats_min: 0,
        heartbeats: 0,
        open: 100,
        closes: BTreeMap::new(),
        refusals: BTreeMap::new(),
    }
}

fn report(asked: Asked, result: PhaseResult) -> Report {
    let measured = phase("run", &asked, result);
    Report::new(asked, opened(), (0, 0.0), None, None, &[measured])
}

/// For the tests of what is made of a report.
pub(super) fn passed() -> Report {
    report(asked(), good())
}

/// Something was lost.
pub(super) fn broken() -> Report {
    let mut result = slow();
    result.judgement.faults.insert(Fault::Lost, 3);
    report(asked(), result)
}

fn opened() -> Opened {
    Opened { seconds: 1.0, per_s: 100.0, heartbeat_ms: 25_000, seated: 100, ..Opened::nobody() }
}

fn phase(name: &str, asked: &Asked, result: PhaseResult) -> Measured {
    let stage = Stage {
        name: name.to_owned(),
        rate: asked.rate_per_s,
        slope: Slope::FLAT,
        warmup_s: asked.warmup_s,
        duration_s: asked.duration_s,
        arrivals: asked.arrivals,
        slo: asked.slo.clone(),
        slow: 0,
    };
    let (window_s, spent) = ((0.0, asked.duration_s), Spent::default());
    let results = vec![result];
    Measured { stage, window_s, spent, results, heartbeat_needed: asked.hold, slow: None, guests: None, steady: None }
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
fn every_kind_of_latency_that_was_measured_is_shown_and_no_other() {
    let mut result = good();
    (result.spread_every, result.spread_unfinished, result.spread_skipped) = (8, 2, 5);
    (0..300).for_each(|_| result.spread.record_ns(7_000_000));
    let mut measured = phase("run", &asked(), result.clone());
    measured.results.push(result);
    let mut opened = opened();
    opened.steps.upgrade = Quantiles { count: 100, p99_ms: 3.0, ..Quantiles::default() };
    let report = Report::new(asked(), opened, (0, 0.0), None, None, &[measured]);
    let latency = &report.latency;
    assert_eq!((latency.spread.count, latency.spread_every, latency.spread_unfinished), (600, 8, 4), "workers added");
    let shown = report.to_string();
    for there in [
        "fan-out: first to last, 1 in 8",
        "upgrade: request to 101",
        "4 messages were not followed to the end",
        "10 messages were not followed: too many",
    ] {
        assert!(shown.contains(there), "{there}: {shown}");
    }
    assert!(!shown.contains("ack from") && !shown.contains("connect from"), "not measured: {shown}");
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
    let nothing = report(asked(), result);
    assert_eq!((nothing.verdict, nothing.exit_code), (Verdict::Unknown, 2));
    let mut result = good();
    result.judgement.deliveries_min = 0;
    assert_eq!(report(asked(), result.clone()).exit_code, 0, "a lone publisher without echo hears nothing, rightly");
    assert_eq!(report(Asked { hold: true, ..asked() }, result).exit_code, 2, "in a hold everybody must hear something");
}

#[test]
fn a_missed_p99_is_the_servers_unless_the_generator_was_late_or_saturated() {
    assert_eq!(report(asked(), slow()).verdict, Verdict::SloMissed);
    assert_eq!(report(Asked { slo: Slo::default(), ..asked() }, slow()).verdict, Verdict::Passed);
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

#[test]
fn too_little_to_judge_is_unknown() {
    let mut result = good();
    (result.judgement.expected, result.judgement.received) = (99, 99);
    let few = report(asked(), result.clone());
    assert_eq!((few.verdict, few.exit_code), (Verdict::Unknown, 2));
    assert!(few.reasons[0].contains("99 deliveries"), "{:?}", few.reasons);
    let hold = report(Asked { hold: true, slo: Slo::default(), ..asked() }, result);
    assert_eq!(hold.verdict, Verdict::Passed, "in a hold one each is enough");
    let mut result = good();
    result.delivery = Latencies::new();
    (0..999).for_each(|_| result.delivery.record_ns(5_000_000));
    let asked = Asked { slo: "p99.9<1s".parse().expect("an SLO"), ..asked() };
    assert_eq!(report(asked, result).verdict, Verdict::Unknown, "999 deliveries have no p99.9");
}

#[test]
fn the_worst_phase_is_the_runs_verdict_and_each_is_judged_by_its_own() {
    let mut lenient = phase("spike", &asked(), slow());
    lenient.stage.slo = Slo::p99_ms(1_000.0);
    let phases = [phase("before", &asked(), good()), lenient, phase("after", &asked(), slow())];
    let report = Report::new(asked(), opened(), (0, 0.0), None, None, &phases);
    let verdicts: Vec<Verdict> = report.phases.iter().map(|phase| phase.verdict).collect();
    assert_eq!(verdicts, [Verdict::Passed, Verdict::Passed, Verdict::SloMissed]);
    assert_eq!((report.verdict, report.exit_code), (Verdict::SloMissed, 1));
    assert!(report.reasons.len() == 1 && report.reasons[0].starts_with("after: p99"), "{:?}", report.reasons);
    assert_eq!((report.proof.sent, report.proof.open_at_end), (3_000, 100));
    assert!(report.to_string().contains("spike"));
    let text = serde_json::to_string(&report).expect("writes");
    let read: Report = serde_json::from_str(&text).expect("reads");
    assert_eq!(serde_json::to_string(&read).expect("writes"), text, "what is kept can be read again");
}

#[test]
fn what_failed_says_whose_limit_it_was_and_what_passed_has_none() {
    assert_eq!(passed().limit, None);
    assert!(matches!(broken().limit, Some(Limit::Promise { .. })));
    assert!(matches!(report(asked(), slow()).limit, Some(Limit::Slo { .. })));
    let mut late = slow();
    (0..1_000).for_each(|_| late.lateness.record_ns(50_000_000));
    assert!(matches!(report(asked(), late).limit, Some(Limit::Generator { .. })));
}

#[test]
fn a_busy_thread_and_a_host_without_idle_time_are_limits() {
    let mut missed = report(asked(), slow()).phases.remove(0);
    missed.busiest_thread = Some(Thread { name: "shard-0".to_owned(), share: 0.95 });
    let Limit::ServerCpu { sentence } = Limit::of(&missed) else { panic!("{:?}", Limit::of(&missed)) };
    assert!(sentence.contains("shard-0 used 95 %"), "{sentence}");
    missed.busiest_thread = None;
    missed.host = Some(Host { cores: 2, idle: 0.01, stolen: 0.2 });
    assert!(matches!(Limit::of(&missed), Limit::HostCpu { .. }));
    missed.generator.limit = Some("its own sends were late".to_owned());
    assert!(matches!(Limit::of(&missed), Limit::HostCpu { .. }), "the server's in any case, says the verdict");
    missed.verdict = Verdict::GeneratorLimited;
    let Limit::Generator { sentence } = Limit::of(&missed) else { panic!("{:?}", Limit::of(&missed)) };
    assert!(sentence.ends_with("(this host was idle 1.0 % of the time, 20.0 % taken by other guests)"), "{sentence}");
    (missed.generator.limit, missed.verdict) = (None, Verdict::SloMissed);
    missed.host = Some(Host { cores: 2, idle: 0.5, stolen: 0.0 });
    assert!(matches!(Limit::of(&missed), Limit::Slo { .. }));
}

#[test]
fn the_limit_is_that_of_the_phase_that_decides() {
    let mut late = slow();
    (0..1_000).for_each(|_| late.lateness.record_ns(50_000_000));
    let phases = [phase("before", &asked(), late), phase("after", &asked(), slow())];
    let report = Report::new(asked(), opened(), (0, 0.0), None, None, &phases);
    assert_eq!(report.verdict, Verdict::SloMissed, "the second was not the generator's");
    assert!(matches!(report.limit, Some(Limit::Slo { .. })), "{:?}", report.limit);
    assert!(report.reasons[0].starts_with("after:"), "{:?}", report.reasons);
}

#[test]
fn a_second_run_is_worse_only_beyond_what_is_allowed() {
    let (first, mut second) = (passed(), passed());
    let judged = |first: &Report, second: &Report, text: &str| {
        let (verdict, worse) = compare::judge(first, second, &[text.parse().expect("an allowance")]);
        (verdict.exit_code(), worse.len())
    };
    second.latency.delivery.p99_ms = first.latency.delivery.p99_ms * 1.2;
    assert_eq!(judged(&first, &second, "p99=25%"), (0, 0));
    assert_eq!(judged(&first, &second, "p99=10%"), (1, 1));
    assert_eq!(judged(&second, &first, "p99=10%"), (0, 0), "better is not worse");
    assert_eq!(judged(&first, &second, "cpu=10%"), (1, 1), "not known is not equal");
    assert_eq!(compare::judge(&first, &broken(), &[]).0, Verdict::Passed, "nothing was asked");
}

/// A broken proof was 1, and 0 where the first's was broken, too; a generator at its own limit was not looked at.
#[test]
fn a_second_run_that_failed_by_itself_has_its_own_exit_code_whatever_the_first_did() {
    let of = |verdict, why: &str| Report { verdict, reasons: vec![why.to_owned()], ..passed() };
    let lost_to_slow = of(Verdict::ProofFailed, "slow readers missed 3");
    assert!(lost_to_slow.proof.faults.is_empty(), "the crowd's own proof holds");
    for (second, code) in [
        (lost_to_slow, 2),
        (of(Verdict::Unknown, "too little"), 2),
        (of(Verdict::GeneratorLimited, "it was late"), 3),
        (of(Verdict::SloMissed, "p99"), 0),
    ] {
        for first in [passed(), of(Verdict::ProofFailed, "lost"), of(Verdict::GeneratorLimited, "late")] {
            let (verdict, worse) = compare::judge(&first, &second, &["p99=10%".parse().expect("an allowance")]);
            assert_eq!(verdict.exit_code(), code, "{:?} after {:?}: {worse:?}", second.verdict, first.verdict);
            assert_eq!(worse.len(), usize::from(code != 0), "{worse:?}");
        }
    }
}

/// What `open.p99` came to was excused by the lateness of another time, or by nobody's.
#[test]
fn coming_in_is_the_generators_only_where_it_was_late_while_they_came() {
    let late_sends = |ms: u64| {
        let mut result = good();
        (0..1_000).for_each(|_| result.lateness.record_ns(ms * 1_000_000));
        result
    };
    let judged = |slo: &str, ramp: Option<&str>, ms: u64| {
        let asked = Asked { slo: slo.parse().expect("an SLO"), ..asked() };
        let effort = Effort { limit: ramp.map(str::to_owned), ..Effort::default() };
        let latency = Quantiles { count: 100, p99_ms: 900.0, ..Quantiles::default() };
        let opened = Opened { latency, effort: Some(effort), ..opened() };
        let measured = phase("run", &asked, late_sends(ms));
        let report = Report::new(asked, opened, (0, 0.0), None, None, &[measured]);
        (report.verdict, report.limit)
    };
    let (verdict, limit) = judged("open.p99<1ms", Some("its own connecting was late"), 0);
    assert_eq!(verdict, Verdict::GeneratorLimited);
    assert!(matches!(limit, Some(Limit::Generator { sentence }) if sentence.contains("connecting")));
    assert_eq!(judged("open.p99<1ms", None, 0).0, Verdict::SloMissed);
    assert_eq!(judged("open.p99<1ms", None, 50).0, Verdict::SloMissed, "late when all were in");
    assert_eq!(judged("p99<1ms", Some("late"), 0).0, Verdict::SloMissed, "late before anybody spoke");
    assert_eq!(judged("p99<1ms,open.p99<1ms", Some("late"), 0).0, Verdict::SloMissed, "one of both is the server's");
    assert_eq!(judged("p99<1ms,open.p99<1ms", Some("late"), 50).0, Verdict::GeneratorLimited);
    assert_eq!(judged("open.p99<1s", Some("late"), 0), (Verdict::Passed, None), "late, and all held");
}

/// The acks of an honest server were called `disagreed`.
#[test]
fn messages_held_back_behind_too_many_unanswered_are_the_generators_limit() {
    let mut result = good();
    (result.sent_in_window, result.held_back) = (500, 500);
    let report = report(asked(), result);
    assert_eq!((report.verdict, report.exit_code), (Verdict::GeneratorLimited, 3), "{:?}", report.reasons);
    let said = report.reasons.join("; ");
    assert!(said.contains("500 messages were not sent, each behind 65535"), "{said}");
}

#[test]
fn what_is_not_known_to_the_last_message_is_said() {
    let mut result = good();
    result.judgement.faults.insert(Fault::Misordered, 1);
    (result.judgement.late_or_copies, result.judgement.told_missing) = (1, 7);
    let shown = report(asked(), result).to_string();
    assert!(shown.contains("lost and duplicated are at least that many: 1 came more than 32 offsets late"), "{shown}");
    assert!(shown.contains("gaps told of 7 of the lost"), "{shown}");
    assert!(!passed().to_string().contains("at least that many"));
}

#[test]
fn those_beside_the_crowd_fail_a_run_that_would_pass_and_show_something_or_it_is_unknown() {
    let judged = |slow: Option<SlowReport>, guests: Option<GuestReport>| {
        let before = phase("before", &asked(), good());
        let during = Measured { slow, guests, ..phase("slow", &asked(), good()) };
        Report::new(asked(), opened(), (0, 0.0), None, None, &[before, during])
    };
    let slow = SlowReport { connections: 5, gaps: 3, ..SlowReport::default() };
    let report = judged(Some(slow.clone()), None);
    assert_eq!(report.verdict, Verdict::Passed, "{:?}", report.reasons);
    assert!(report.phases[1].slow.as_ref().is_some_and(|slow| slow.p99_before_ms.is_some()));
    assert!(report.to_string().contains("5 slow readers"), "{report}");
    assert_eq!(judged(Some(SlowReport { missing: 1, ..slow.clone() }), None).exit_code, 2);
    let unknown = judged(Some(SlowReport { gaps: 0, ..slow.clone() }), None);
    assert_eq!((unknown.verdict, unknown.exit_code), (Verdict::Unknown, 2));
    // Whose room's newest message is not known was up to date, and the run passed.
    let untold = judged(Some(SlowReport { unknown: 2, ..slow }), None);
    assert_eq!((untold.verdict, untold.exit_code), (Verdict::Unknown, 2));
    assert!(untold.reasons[0].contains("did not tell 2 slow readers the newest message"), "{:?}", untold.reasons);
    let guests = GuestReport { guests: 2, visits: 4, heard: 9, ..GuestReport::default() };
    assert_eq!(judged(None, Some(guests.clone())).verdict, Verdict::Passed);
    assert_eq!(judged(None, Some(GuestReport { twice: 1, ..guests.clone() })).verdict, Verdict::ProofFailed);
    for missed in [
        GuestReport { refused: 1, ..guests.clone() },
        GuestReport { turned_away: 1, ..guests.clone() },
        GuestReport { kept_out: 1, ..guests.clone() },
    ] {
        assert_eq!(judged(None, Some(missed)).verdict, Verdict::SloMissed);
    }
    assert_eq!(judged(None, Some(GuestReport { unanswered: 1, ..guests.clone() })).exit_code, 2);
    assert_eq!(judged(None, Some(GuestReport { unknown: 1, ..guests.clone() })).verdict, Verdict::Unknown);
    assert_eq!(judged(None, Some(GuestReport { visits: 0, ..guests })).verdict, Verdict::Unknown);
}

#[test]
fn a_soak_is_judged_by_its_end_beside_its_begin() {
    let asked = Asked { slo: "p99<100ms,memory.growth<10%,server.closes=0".parse().expect("an SLO"), ..asked() };
    let judged = |steady: Option<Steadiness>| {
        let measured = Measured { steady, ..phase("soak", &asked, good()) };
        Report::new(asked.clone(), opened(), (0, 0.0), None, None, &[measured])
    };
    let steady = Steadiness { memory_bytes: Some((50 << 20, 51 << 20)), closes: Some(0), ..Steadiness::default() };
    let held = judged(Some(steady.clone()));
    assert_eq!((held.verdict, held.exit_code), (Verdict::Passed, 0), "{:?}", held.reasons);
    assert!(held.to_string().contains("server's memory 50.0 to 51.0 MiB"), "{held}");
    let leaked = judged(Some(Steadiness { memory_bytes: Some((50 << 20, 60 << 20)), ..steady.clone() }));
    assert_eq!((leaked.verdict, leaked.exit_code), (Verdict::SloMissed, 1));
    assert!(leaked.reasons[0].starts_with("memory.growth is 20.0 %"), "{:?}", leaked.reasons);
    assert_eq!(judged(Some(Steadiness { closes: Some(1), ..steady })).exit_code, 1);
    let unread = judged(Some(Steadiness::default()));
    assert_eq!((unread.verdict, unread.exit_code), (Verdict::Unknown, 2));
    assert!(unread.reasons[0].contains("--server-pid"), "{:?}", unread.reasons);
}

/// A leak, and whoever was sent away or refused, passed for "the generator was the limit" where it had been late.
#[test]
fn what_lateness_cannot_explain_is_missed_however_late_the_generator_was() {
    let slo = "p99<100ms,refused=0,memory.growth<10%,p99.growth<50%,server.closes=0".parse();
    let asked = Asked { slo: slo.expect("an SLO"), ..asked() };
    let calm = Steadiness {
        memory_bytes: Some((50 << 20, 50 << 20)),
        p99_ms: Some((10.0, 10.0)),
        closes: Some(0),
        ..Steadiness::default()
    };
    let judged = |steady: Steadiness, spoil: fn(&mut PhaseResult)| {
        let mut result = good();
        (0..1_000).for_each(|_| result.lateness.record_ns(50_000_000));
        spoil(&mut result);
        let measured = Measured { steady: Some(steady), ..phase("soak", &asked, result) };
        Report::new(asked.clone(), opened(), (0, 0.0), None, None, &[measured])
    };
    let nothing: fn(&mut PhaseResult) = |_| ();
    let late: fn(&mut PhaseResult) = |result| (0..20).for_each(|_| result.delivery.record_ns(500_000_000));
    let refused: fn(&mut PhaseResult) = |result| {
        (result.judgement.accepted, result.judgement.refused) = (900, 100);
    };
    assert_eq!(judged(calm.clone(), nothing).verdict, Verdict::Passed, "late, and all held");
    let slower = Steadiness { p99_ms: Some((10.0, 90.0)), ..calm.clone() };
    assert_eq!(judged(calm.clone(), late).exit_code, 3);
    assert_eq!(judged(slower, nothing).exit_code, 3);
    let leaked = Steadiness { memory_bytes: Some((50 << 20, 60 << 20)), ..calm.clone() };
    let sent_away = Steadiness { closes: Some(1), ..calm.clone() };
    for (steady, spoil) in [(leaked, nothing), (sent_away.clone(), nothing), (sent_away, late), (calm, refused)] {
        let report = judged(steady, spoil);
        assert_eq!((report.verdict, report.exit_code), (Verdict::SloMissed, 1), "{:?}", report.reasons);
        assert!(!matches!(report.limit, Some(Limit::Generator { .. })), "{:?}", report.limit);
        let last = report.reasons.last().expect("there are reasons");
        assert!(last.starts_with("the generator was at its own limit"), "it is said all the same: {last}");
    }
}

#[test]
fn a_ramp_that_was_stopped_says_how_many_came_in_and_whose_limit_it_was() {
    let stopped = |by, result: PhaseResult| {
        let stopped = Stopped { by, sentence: "the reading".to_owned() };
        let opened = Opened { seated: 50, stopped: Some(stopped), ..opened() };
        let report = Report::new(asked(), opened, (0, 0.0), None, None, &[phase("run", &asked(), result)]);
        let reading = "only 50 of 100 connections came in: the reading";
        assert!(report.reasons.iter().any(|reason| reason == reading), "{:?}", report.reasons);
        assert!(report.to_string().contains("opened     50 connections"), "{report}");
        assert!(!report.crowd_is_whole(), "there are fewer than asked");
        report
    };
    let memory = stopped(LimitedBy::Memory, good());
    assert_eq!((memory.verdict, memory.exit_code), (Verdict::GeneratorLimited, 3));
    assert!(matches!(memory.limit, Some(Limit::HostMemory { .. })), "{:?}", memory.limit);
    let server = stopped(LimitedBy::Server, good());
    assert_eq!((server.verdict, server.exit_code), (Verdict::SloMissed, 1));
    assert!(matches!(server.limit, Some(Limit::Door { .. })), "{:?}", server.limit);
    let files = stopped(LimitedBy::Generator, good());
    assert!(files.exit_code == 3 && matches!(files.limit, Some(Limit::Generator { .. })), "{:?}", files.limit);
    let mut lost = good();
    lost.judgement.faults.insert(Fault::Lost, 1);
    let broken = stopped(LimitedBy::Memory, lost);
    assert_eq!(broken.exit_code, 2, "a broken promise outranks it");
    assert!(matches!(broken.limit, Some(Limit::Promise { .. })), "{:?}", broken.limit);
}
