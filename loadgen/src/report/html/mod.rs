//! The report for people as one HTML file: verdict on top, then why, then everything over time.
//!
//! Promises: one file, no script, nothing fetched; all foreign text is escaped (maud escapes it). The verdict is the
//! report's own, never computed here.

mod charts;
mod series;
mod server;
mod words;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::compare::FIGURES;
use super::table::SLABS_SHOWN;
use super::{Report, Verdict};
use crate::about::date;
use crate::plan::mib;

/// Writes one report, or several beside each other.
pub(crate) fn write(path: &Path, reports: &[&Report]) -> Result<()> {
    fs::write(path, page(reports).into_string()).with_context(|| format!("--html {}", path.display()))
}

fn page(reports: &[&Report]) -> Markup {
    let beside = reports.len() > 1;
    let charts = charts::all(reports);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { (title(reports)) }
                style { (PreEscaped(STYLE)) }
            }
            body class=[beside.then_some("beside")] {
                @if let [first, second] = reports { (comparison(first, second)) }
                div.runs {
                    @for (report, charts) in reports.iter().zip(charts) {
                        main {
                            (header(report))
                            (verdict(report))
                            (cards(report))
                            (phases(report))
                            (latencies(report))
                            (charts)
                            (proof(report))
                            (costs(report))
                        }
                    }
                }
            }
        }
    }
}

fn title(reports: &[&Report]) -> String {
    let one = |report: &&Report| format!("{} {}", name(report), report.verdict.words());
    format!("throng-load: {}", reports.iter().map(one).collect::<Vec<_>>().join(" | "))
}

fn name(report: &Report) -> &str {
    report.asked.scenario.as_deref().unwrap_or("run")
}

fn header(report: &Report) -> Markup {
    html! {
        header {
            h1 { (name(report)) span.url { (report.asked.url) } }
            @if let Some(about) = &report.about {
                p.about {
                    (date(about.began_unix_s)) " · commit " (about.commit.as_deref().unwrap_or("unknown"))
                    " · " (about.host) ", " (about.cores) " cores, " (about.cpu) ", " (mib(about.memory_bytes)) ", Linux " (about.kernel)
                    " · " (about.program) ", seed " (report.asked.seed)
                }
                pre.command { (about.command) }
            }
        }
    }
}

fn verdict(report: &Report) -> Markup {
    let (class, word) = match report.verdict {
        Verdict::Passed => ("passed", "PASSED"),
        Verdict::SloMissed => ("failed", "FAILED: the SLO was missed"),
        Verdict::ProofFailed => ("failed", "FAILED: a promise was broken"),
        Verdict::GeneratorLimited => ("unknown", "UNKNOWN: the generator was the limit"),
        Verdict::Unknown => ("unknown", "UNKNOWN: too little to judge"),
    };
    html! {
        section class={ "verdict " (class) } {
            p.word { (word) }
            p { (words::in_a_sentence(report)) }
            @for line in &report.search { p { (line) } }
        }
    }
}

fn cards(report: &Report) -> Markup {
    html! {
        section.cards {
            div { h2 { "What was asked" } ul { @for line in words::asked(report) { li { (line) } } } }
            div { h2 { "What held" } ul { @for line in words::held(report) { li { (line) } } } }
            div { h2 { "What broke first" } ul { @for line in words::broke(report) { li { (line) } } } }
            div { h2 { "Whose limit" } ul { @for line in words::limit(report) { li { (line) } } } }
        }
    }
}

fn phases(report: &Report) -> Markup {
    html! {
        @if report.phases.len() > 1 {
            section {
                h2 { "Phases" }
                table {
                    tr { th { "phase" } th { "messages/s asked" } th { "sent" } th { "deliveries/s" } th { "p50 ms" } th { "p99 ms" } th { "max ms" } th { "asked" } th.left { "verdict" } }
                    @for phase in &report.phases {
                        tr {
                            td.left { (phase.stage.name) }
                            td { (figure(phase.rates.offered_per_s)) }
                            td { (figure(phase.rates.sent_per_s)) }
                            td { (figure(phase.rates.deliveries_per_s)) }
                            td { (ms(phase.latency.delivery.p50_ms)) }
                            td { (ms(phase.latency.delivery.p99_ms)) }
                            td { (ms(phase.latency.delivery.max_ms)) }
                            td { (phase.stage.slo) }
                            td class={ "left " (class_of(phase.verdict)) } { (phase.verdict.words()) }
                        }
                    }
                }
            }
        }
    }
}

fn class_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "good",
        Verdict::SloMissed | Verdict::ProofFailed => "bad",
        Verdict::Unknown | Verdict::GeneratorLimited => "dim",
    }
}

fn latencies(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Latency, ms" }
            table {
                tr { th.left { "" } th { "count" } th { "p50" } th { "p90" } th { "p99" } th { "p99.9" } th { "max" } }
                @for (name, row) in report.kinds() {
                    tr {
                        td class=(if name.starts_with(' ') { "left step" } else { "left" }) { (name) }
                        td { (figure(row.count as f64)) }
                        td { (ms(row.p50_ms)) } td { (ms(row.p90_ms)) } td { (ms(row.p99_ms)) }
                        td { (ms(row.p999_ms)) } td { (ms(row.max_ms)) }
                    }
                }
            }
            @for sentence in report.latency.unfollowed() { p { (sentence) } }
        }
    }
}

fn proof(report: &Report) -> Markup {
    let proof = &report.proof;
    html! {
        section {
            h2 { "Proof" }
            p {
                (figure(proof.sent as f64)) " messages sent, " (figure(proof.accepted as f64)) " accepted, "
                (figure(proof.refused as f64)) " refused; " (figure(proof.expected as f64)) " deliveries owed, "
                (figure(proof.received as f64)) " heard; " (figure(proof.open_at_end as f64)) " of "
                (figure(f64::from(report.seated()))) " connections there at the end."
            }
            table {
                tr { @for fault in crate::proof::Fault::ALL { th { (fault.name()) } } }
                tr { @for fault in crate::proof::Fault::ALL {
                    @let count = proof.faults.get(&fault).copied().unwrap_or(0);
                    td class=[(count > 0).then_some("bad")] { (figure(count as f64)) }
                } }
            }
            @for line in proof.inexact() { p { (line) } }
            @if !report.offenders().is_empty() {
                h3 { "The first offenders" }
                table {
                    tr { th.left { "fault" } th { "room" } th { "connection" } th { "publisher" } th { "sequence" } th { "at, s" } th.left { "" } }
                    @for offender in report.offenders() {
                        tr {
                            td.left { (offender.fault.name()) } td { (offender.room) } td { (offender.connection) }
                            td { (offender.publisher.map_or_else(String::new, |publisher| publisher.to_string())) }
                            td { (offender.seq.map_or_else(String::new, |seq| seq.to_string())) }
                            td { (offender.at_ms.map_or_else(|| "at the end".to_owned(), |at_ms| format!("{:.3}", at_ms as f64 / 1e3))) }
                            td.left { (offender.detail) }
                        }
                    }
                }
            }
            @if let Some(line) = report.heartbeats_not_judged() { p { (line) } }
            @for line in report.beside() { p { (line) } }
            @for (code, count) in &proof.refusals { p { (figure(*count as f64)) " refused: " code { (code) } } }
            @for (code, count) in &proof.closes { p { (figure(*count as f64)) " connections closed with " (code) } }
        }
    }
}

fn costs(report: &Report) -> Markup {
    let generator = &report.generator;
    html! {
        section {
            h2 { "Costs" }
            table {
                tr {
                    td.left { "opened" }
                    td.left { (figure(f64::from(report.seated()))) " connections in " (ms(report.opened.seconds)) " s, " (figure(report.opened.per_s)) "/s, " (report.opened.retries) " tried again" }
                }
                tr {
                    td.left { "generator" }
                    td.left { (report.asked.workers) " processes, " (ms(generator.cpu_s)) " s CPU, the busiest " (percent(generator.busiest_worker)) " of a core; " (mib(generator.memory_bytes)) ", " (figure(generator.memory_per_connection)) " B a connection" }
                }
                @if let Some(server) = &report.server {
                    tr {
                        td.left { "server" }
                        td.left {
                            (ms(server.cpu_s)) " s CPU, " (ms(server.cores_busy)) " cores busy"
                            @if let Some(cpu_s) = server.cpu_s_per_million_deliveries { ", " (ms(cpu_s)) " s per million deliveries" }
                            @if let Some(thread) = &server.busiest_thread { "; busiest thread " (thread.name) " " (percent(thread.share)) " of a core" }
                            "; private memory " (mib(server.memory_before)) " empty, " (mib(server.memory_joined)) " with everybody there (" (figure(server.bytes_per_connection_joined)) " B a connection), " (mib(server.memory_after)) " after"
                        }
                    }
                }
                @if let Some(kernel) = &report.host_kernel {
                    tr {
                        td.left { "kernel" }
                        td.left {
                            (kernel.each_text()) "; free memory " (mib(kernel.before.memory_free)) " before, "
                            (mib(kernel.joined.memory_free)) " with everybody there, " (mib(kernel.held.memory_free)) " at the end (files " (mib(kernel.before.cached)) ", "
                            (mib(kernel.joined.cached)) ", " (mib(kernel.held.cached)) "); " (figure(kernel.joined.tcp_sockets as f64)) " TCP sockets, "
                            (mib(kernel.joined.tcp_bytes)) " in their queues"
                        }
                    }
                    tr {
                        td.left { "slabs" }
                        td.left {
                            @match kernel.slabs_text(SLABS_SHOWN) {
                                Some(slabs) => { (figure(kernel.slab_bytes())) " B a connection: " (slabs) }
                                None => { "by name: only root may read /proc/slabinfo" }
                            }
                        }
                    }
                }
                @if let Some(host) = &report.host {
                    tr { td.left { "host" } td.left { (host.cores) " cores, idle " (percent(host.idle)) ", taken by other guests " (percent(host.stolen)) } }
                }
            }
        }
    }
}

fn comparison(first: &Report, second: &Report) -> Markup {
    html! {
        section.comparison {
            h1 { "Two runs" }
            table {
                tr { th.left { "" } th { "left: " (name(first)) } th { "right: " (name(second)) } th { "change" } }
                tr { td.left { "asked: connections" } td { (figure(f64::from(first.asked.connections))) } td { (figure(f64::from(second.asked.connections))) } td {} }
                tr { td.left { "asked: messages/s" } td { (figure(first.asked.rate_per_s)) } td { (figure(second.asked.rate_per_s)) } td {} }
                tr { td.left { "asked: SLO" } td { (first.asked.slo) } td { (second.asked.slo) } td {} }
                tr { td.left { "verdict" } td class=(class_of(first.verdict)) { (first.verdict.words()) } td class=(class_of(second.verdict)) { (second.verdict.words()) } td {} }
                @for row in FIGURES {
                    @if let (Some(from), Some(to)) = (row.of(first), row.of(second)) {
                        @let worse = row.worse_percent(from, to);
                        tr {
                            td.left { (row.name) } td { (ms(from)) } td { (ms(to)) }
                            td class=(if worse > 5.0 { "bad" } else if worse < -5.0 { "good" } else { "dim" }) {
                                (format!("{:+.1} %", (to - from) / from.abs().max(f64::MIN_POSITIVE) * 100.0))
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A number as people write it: `1,234,567`, with a digit behind the point where it is small.
pub(super) fn figure(value: f64) -> String {
    if value.abs() < 100.0 && value.fract().abs() > 1e-9 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < -0.5 { format!("-{text}") } else { text }
}

/// Three digits or so.
pub(super) fn ms(value: f64) -> String {
    if value >= 1_000.0 {
        figure(value)
    } else if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

const STYLE: &str = include_str!("style.css");

#[cfg(test)]
mod tests;
