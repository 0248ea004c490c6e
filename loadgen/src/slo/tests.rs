//! Conditions: how they are written, what holds them, what misses them.

use super::*;

fn quantiles(count: u64, p99_ms: f64) -> Quantiles {
    Quantiles { count, p50_ms: 1.0, p90_ms: 2.0, p99_ms, p999_ms: 2.0 * p99_ms, max_ms: 3.0 * p99_ms }
}

fn judged(slo: &str, delivery: &Quantiles, refused: u64) -> (usize, usize) {
    let (ack, open) = (quantiles(5, 9.0), quantiles(200, 40.0));
    let slo: Slo = slo.parse().expect("an SLO");
    let outcome = slo.judge(&Figures { delivery, ack: &ack, open: &open, refused, steady: None });
    let missed = [outcome.missed, outcome.missed_coming_in, outcome.missed_in_any_case];
    (missed.iter().map(Vec::len).sum(), outcome.unknown.len())
}

#[test]
fn conditions_are_written_as_they_are_read() {
    for text in [
        "p99<100ms,lost=0",
        "p99.9<1500ms",
        "max<0.8ms,ack.p50<2ms,open.p99<500ms,refused=0",
        "memory.growth<10%,p99.growth<100%,server.closes=0,server.refusals=0",
    ] {
        assert_eq!(text.parse::<Slo>().map(|slo| slo.to_string()), Ok(text.to_owned()));
    }
    assert_eq!(
        "p99 < 1.5s & misordered=0".parse::<Slo>().map(|slo| slo.to_string()),
        Ok("p99<1500ms,misordered=0".to_owned())
    );
    assert!("lost=0".parse::<Slo>().is_ok_and(|slo| slo.is_empty()), "nothing that is not always asked");
}

#[test]
fn a_report_from_before_open_had_its_name_is_read() {
    let read = Slo::try_from("p99<100ms,join.p99<1000ms".to_owned()).map(|slo| slo.to_string());
    assert_eq!(read, Ok("p99<100ms,open.p99<1000ms".to_owned()));
}

#[test]
fn what_is_no_condition_is_told_what_may_have_been_meant() {
    for (bad, word) in [
        ("", "p99<100ms"),
        ("p99", "no condition"),
        ("p98<1ms", "p99"),
        ("p99<100", "100ms"),
        ("p99<-1ms", "no time"),
        ("lost=1", "none is allowed"),
        ("lots=0", "lost"),
        ("acks.p99<1ms", "ack.p99"),
        ("join.p99<1s", "`open.p99`"),
        ("memory.grwoth<10%", "did you mean `memory.growth`"),
        ("p99.growht<10%", "did you mean `p99.growth`"),
        ("memory.growth<10", "write `10%`"),
        ("server.close=0", "server.closes"),
        ("server.closes=1", "none is allowed"),
    ] {
        let said = bad.parse::<Slo>().expect_err(bad);
        assert!(said.contains(word), "{bad}: {said}");
    }
}

#[test]
fn what_must_be_steady_holds_is_missed_or_cannot_be_told() {
    let slo: Slo = "memory.growth<10%,p99.growth<50%,server.closes=0,server.refusals=0".parse().expect("an SLO");
    assert!(slo.asks_steadiness() && slo.asks_memory() && !Slo::p99_ms(5.0).asks_steadiness());
    let judged = |steady: Option<&Steadiness>| {
        let some = quantiles(1_000, 5.0);
        slo.judge(&Figures { delivery: &some, ack: &some, open: &some, refused: 0, steady })
    };
    let calm = Steadiness {
        memory_bytes: Some((100 << 20, 109 << 20)),
        p99_ms: Some((10.0, 14.0)),
        closes: Some(0),
        refusals: Some(0),
        ..Steadiness::default()
    };
    assert_eq!(judged(Some(&calm)), Outcome::default());
    let closes_by = [("silent".to_owned(), 1), ("slow".to_owned(), 2)].into();
    for (one, word) in [
        (Steadiness { memory_bytes: Some((100 << 20, 111 << 20)), ..calm.clone() }, "memory.growth is 11.0 %"),
        (Steadiness { p99_ms: Some((10.0, 16.0)), ..calm.clone() }, "p99.growth is 60.0 %"),
        (
            Steadiness { closes: Some(3), closes_by, ..calm.clone() },
            "server.closes moved by 3 (silent 1, slow 2), asked was 0",
        ),
        (Steadiness { refusals: Some(1), ..calm }, "server.refusals moved by 1"),
    ] {
        let Outcome { missed, missed_in_any_case, unknown, .. } = judged(Some(&one));
        let by_lateness = word.starts_with("p99");
        let (found, none) = if by_lateness { (missed, missed_in_any_case) } else { (missed_in_any_case, missed) };
        assert!(found.len() == 1 && found[0].starts_with(word), "{word}: {found:?}");
        assert!(none.is_empty() && unknown.is_empty(), "{word}: {none:?} {unknown:?}");
    }
    for nothing in [None, Some(&Steadiness::default())] {
        let Outcome { missed, missed_in_any_case, unknown, .. } = judged(nothing);
        assert_eq!((missed.len(), missed_in_any_case.len(), unknown.len()), (0, 0, 4), "{unknown:?}");
    }
}

#[test]
fn a_condition_holds_is_missed_or_cannot_be_told() {
    let many = quantiles(1_000, 50.0);
    assert_eq!(judged("p99<50ms,lost=0,refused=0", &many, 0), (0, 0));
    assert_eq!(judged("p99<49ms,p99.9<99ms,max<1s", &many, 0), (2, 0));
    assert_eq!(judged("refused=0", &many, 1), (1, 0));
    assert_eq!(judged("ack.p99<1s,open.p99<20ms", &many, 0), (1, 1), "five answers have no p99");
    assert_eq!(judged("p99<50ms,p50<5ms", &quantiles(99, 10.0), 0), (0, 1));
    let both = Slo::p99_ms(100.0).and(&Slo::p99_ms(100.0)).and(&"lost=0".parse().expect("an SLO"));
    assert_eq!(both.to_string(), "p99<100ms,lost=0");
}
