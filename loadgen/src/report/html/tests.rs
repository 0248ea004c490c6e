//! What a page says, by what it was made of.

use super::super::tests as reports;
use super::*;
use crate::latency::Quantiles;
use crate::timeline::{Second, ServerSecond};

fn page_of(report: &Report) -> String {
    page(&[report]).into_string()
}

#[test]
fn the_verdict_stands_first_and_is_the_reports_own() {
    let mut passed = reports::passed();
    passed.timeline = (0..12)
        .map(|second| Second {
            second,
            open: 100,
            sent: 100,
            received: 4_900,
            delivery: passed.latency.delivery,
            ..Second::default()
        })
        .collect();
    let page = page_of(&passed);
    assert!(page.contains("PASSED") && !page.contains("FAILED") && page.matches("<svg").count() >= 5, "{page}");
    assert!(page.contains("All 49,000 deliveries came once, in order"));
    let failed = page_of(&reports::broken());
    assert!(failed.contains("FAILED: a promise was broken") && failed.contains("the server's: it broke a promise"));
    assert!(failed.find("FAILED").expect("is there") < failed.find("What was asked").expect("is there"));
}

/// Two shards of which one is busy, and readers behind in one second.
fn seen(second: u64) -> Second {
    let shards = |values: [f64; 2]| ["0", "1"].map(str::to_owned).into_iter().zip(values).collect();
    let server = ServerSecond {
        metrics: [("throng_gaps_total", 0.0), ("throng_readers_behind", 3.0), ("throng_inbox_parcels", 0.0)]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
        shards: [("throng_shard_busy_seconds_total".to_owned(), shards([0.02, 0.9]))].into(),
        turn_p99_ms: Some(2.5),
        ..ServerSecond::default()
    };
    Second { second, server: Some(server), ..Second::default() }
}

#[test]
fn the_servers_shards_stand_apart_and_what_never_happened_is_a_sentence() {
    let mut report = reports::passed();
    report.timeline = (0..4).map(seen).collect();
    report.metrics = Some(crate::watch::Scrapes {
        address: "127.0.0.1:9".to_owned(),
        times: 6,
        failed: 2,
        why: Some("no <answer>".to_owned()),
    });
    let page = page_of(&report);
    for there in [
        "time spent in turns, %, by shard",
        "shard 0",
        "shard 1",
        "turn time p99",
        "all shards together",
        "did not answer 2 of 6 times (first: no &lt;answer&gt;)",
    ] {
        assert!(page.contains(there), "{there}");
    }
    assert!(page.contains("Seen at no second of the server: parcels waiting in inboxes, gaps."));
    assert!(!page.contains("Server: parcels waiting"), "a chart of nothing is none");
    report.timeline = vec![Second::default()];
    let page = page_of(&report);
    assert!(!page.contains("Server:") && !page.contains("Seen at no second"), "nobody asked");
}

#[test]
fn a_page_is_one_file_and_foreign_text_stays_text() {
    let mut report = reports::passed();
    report.asked.url = "ws://<script>alert(1)</script>".to_owned();
    report.phases.push(report.phases[0].clone());
    report.phases[0].stage.name = "</svg><script>".to_owned();
    let page = page_of(&report);
    assert!(!page.contains("<script"), "{page}");
    let fetched = ["src=", "href=", "@import", "url("];
    assert!(fetched.iter().all(|word| !page.contains(word)), "nothing is fetched");
}

/// A latency of a second.
type Figure = fn(&mut Second) -> &mut Quantiles;

/// Only a p99 of deliveries was looked for.
#[test]
fn what_broke_first_is_told_of_every_latency_that_has_a_bound() {
    let quantiles = |ms: f64| Quantiles { count: 200, p50_ms: ms, p90_ms: ms, p99_ms: ms, p999_ms: ms, max_ms: ms };
    let of = |slo: &str, slow: Figure| {
        let mut report = reports::broken();
        report.phases[0].stage.slo = slo.parse().expect("an SLO");
        report.timeline = (0..8).map(|second| Second { second, ..Second::default() }).collect();
        *slow(&mut report.timeline[5]) = quantiles(80.0);
        words::broke(&report)
    };
    let cases: [(&str, Figure, &str); 5] = [
        ("p50<10ms", |second| &mut second.delivery, "in “run”: p50"),
        ("p99.9<10ms", |second| &mut second.delivery, "in “run”: p99.9"),
        ("max<10ms", |second| &mut second.delivery, "in “run”: max"),
        ("ack.p99<10ms", |second| &mut second.ack, "in “run”: ack.p99"),
        ("open.p99<10ms", |second| &mut second.opening, "at 5 s: open.p99"),
    ];
    for (slo, slow, said) in cases {
        let lines = of(slo, slow);
        let whole = "of that second 80.0 ms, asked 10.0 ms";
        assert!(lines.iter().any(|line| line.contains(said) && line.contains(whole)), "{slo}: {lines:?}");
    }
    assert!(!of("p99<100ms", |second| &mut second.delivery).iter().any(|line| line.contains("of that second")));
}

#[test]
fn a_payload_of_many_lengths_is_shown_as_it_was_asked() {
    let mut report = reports::passed();
    assert!(page_of(&report).contains("deliveries/s out, 128 bytes each"));
    report.asked.payload = Some("uniform:64-1024".parse().expect("lengths"));
    assert!(page_of(&report).contains("out, uniform:64-1024 bytes (544 on average) each"), "{}", page_of(&report));
    report.asked.payload = None;
    assert!(page_of(&report).contains("deliveries/s out, 128 bytes each"), "an old report knows the mean only");
}

/// On a host on which others gave memory back it said "-412 B a connection taken".
#[test]
fn memory_that_others_gave_back_is_a_sentence() {
    use crate::kernel::{KernelReading, KernelReport};
    let reading = |memory_free| KernelReading { memory_free, ..KernelReading::default() };
    let mut report = reports::passed();
    report.host_kernel = Some(KernelReport::new(reading(1_000), reading(41_000), reading(41_000), 100));
    let page = page_of(&report);
    assert!(page.contains("what others gave back meanwhile") && !page.contains("-400"), "{page}");
}

#[test]
fn two_runs_stand_beside_each_other() {
    let (first, second) = (reports::passed(), reports::broken());
    let page = page(&[&first, &second]).into_string();
    assert_eq!(page.matches("<main>").count(), 2);
    assert!(page.contains("Two runs") && page.contains("delivery p99, ms"));
}

#[test]
fn figures_are_written_as_people_write_them() {
    for (value, said) in [(0.0, "0"), (12.5, "12.5"), (999.0, "999"), (1_234_567.4, "1,234,567"), (-2_500.0, "-2,500")]
    {
        assert_eq!(figure(value), said);
    }
    assert_eq!((ms(0.123).as_str(), ms(12.34).as_str(), ms(123.4).as_str()), ("0.12", "12.3", "123"));
}
