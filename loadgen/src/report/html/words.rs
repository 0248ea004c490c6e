//! The figures of a report in sentences.

use super::{figure, ms};
use crate::lengths::Lengths;
use crate::report::{Limit, Report, Verdict};
use crate::shape::Sizes;

/// What a reader should know who reads one line only.
pub(super) fn in_a_sentence(report: &Report) -> String {
    let (proof, delivery) = (&report.proof, &report.latency.delivery);
    match report.verdict {
        Verdict::Passed => format!(
            "All {} deliveries came once, in order, to whom they were owed; 99 of 100 within {} ms.",
            figure(proof.expected as f64),
            ms(delivery.p99_ms)
        ),
        Verdict::SloMissed | Verdict::ProofFailed | Verdict::Unknown | Verdict::GeneratorLimited => {
            report.reasons.first().cloned().unwrap_or_default()
        }
    }
}

pub(super) fn asked(report: &Report) -> Vec<String> {
    let asked = &report.asked;
    let mut lines = vec![
        format!(
            "{} connections in {} rooms of {}{}",
            figure(f64::from(asked.connections)),
            figure(f64::from(asked.rooms)),
            if asked.sizes == Sizes::Zipf { "2 to " } else { "" },
            asked.room_size
        ),
        format!(
            "{} messages/s in, {} deliveries/s out, {} each",
            figure(asked.rate_per_s),
            figure(asked.deliveries_per_s),
            asked.payload.as_ref().map_or_else(|| format!("{} bytes", asked.payload_bytes), Lengths::words)
        ),
        format!("for {} s", figure(asked.duration_s)),
    ];
    if asked.guests > 0 {
        lines.push(format!("{} guests who come and go", figure(f64::from(asked.guests))));
    }
    if asked.hold {
        lines.push("everybody hears a message and answers heartbeats".to_owned());
    }
    if !asked.slo.is_empty() {
        lines.push(asked.slo.to_string().replace(',', ", "));
    }
    lines.push("every message once, in order".to_owned());
    lines
}

pub(super) fn held(report: &Report) -> Vec<String> {
    let (proof, rates) = (&report.proof, &report.rates);
    let mut lines = vec![format!("{} connections in their rooms", figure(f64::from(report.seated())))];
    lines.push(format!("{} deliveries/s, {} messages/s in", figure(rates.deliveries_per_s), figure(rates.sent_per_s)));
    if report.latency.delivery.count > 0 {
        let delivery = &report.latency.delivery;
        lines.push(format!(
            "reached p50 {} ms, p99 {} ms, max {} ms",
            ms(delivery.p50_ms),
            ms(delivery.p99_ms),
            ms(delivery.max_ms)
        ));
    }
    if proof.faults.is_empty() && proof.expected > 0 {
        lines.push(format!("nothing lost of {}", figure(proof.expected as f64)));
    }
    let passed = report.phases.iter().filter(|phase| phase.verdict == Verdict::Passed);
    if report.phases.len() > 1 {
        let names: Vec<&str> = passed.map(|phase| phase.stage.name.as_str()).collect();
        lines.push(if names.is_empty() { "no phase".to_owned() } else { format!("phases: {}", names.join(", ")) });
    }
    lines
}

/// What broke, the earliest first.
pub(super) fn broke(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    let dated = report.proof.offenders.iter().filter_map(|offender| Some((offender.at_ms?, offender)));
    if let Some((at_ms, offender)) = dated.min_by_key(|(at_ms, _)| *at_ms) {
        lines.push(format!(
            "at {:.1} s: {} in room {}, connection {}",
            at_ms as f64 / 1e3,
            offender.fault.name(),
            offender.room,
            offender.connection
        ));
    }
    if report.verdict == Verdict::Passed {
        return vec!["nothing".to_owned()];
    }
    if let Some((second, phase, bound_ms)) = first_slow_second(report) {
        lines.push(format!(
            "at {} s, in “{}”: p99 of that second {} ms, asked {} ms",
            second.second,
            phase,
            ms(second.delivery.p99_ms),
            ms(bound_ms)
        ));
    }
    lines.extend(report.reasons.iter().take(3).cloned());
    lines
}

/// The first second of a phase with a bound on p99 whose own p99 was above it.
fn first_slow_second(report: &Report) -> Option<(&crate::timeline::Second, &str, f64)> {
    report.phases.iter().find_map(|phase| {
        let bound_ms = phase.stage.slo.p99_bound_ms()?;
        let inside = |second: &&crate::timeline::Second| {
            (phase.window_s.0..phase.window_s.1).contains(&(second.second as f64 + 0.5))
        };
        let slow = |second: &&crate::timeline::Second| second.delivery.count > 0 && second.delivery.p99_ms > bound_ms;
        let second = report.timeline.iter().filter(inside).find(slow)?;
        Some((second, phase.stage.name.as_str(), bound_ms))
    })
}

pub(super) fn limit(report: &Report) -> Vec<String> {
    let mut lines = match (&report.limit, report.verdict) {
        (Some(limit), _) => vec![whose(limit)],
        (None, Verdict::Passed) => vec!["nobody's: all that was asked held".to_owned()],
        (None, _) => vec!["not known: there was too little to judge".to_owned()],
    };
    if let Some(server) = report.server.as_ref().filter(|_| report.limit.is_none()) {
        let thread = server.busiest_thread.as_ref();
        let thread =
            thread.map_or_else(String::new, |thread| format!(", {} at {:.0} %", thread.name, thread.share * 100.0));
        lines.push(format!("the server used {:.2} cores{thread}", server.cores_busy));
    }
    lines.push(format!(
        "the generator's busiest worker used {:.0} % of a core",
        report.generator.busiest_worker * 100.0
    ));
    lines
}

fn whose(limit: &Limit) -> String {
    match limit {
        Limit::NotReached => "nobody's".to_owned(),
        Limit::Generator { sentence } => format!("the generator's, so the server may do more: {sentence}"),
        Limit::ServerCpu { sentence } => format!("the server's CPU: {sentence}"),
        Limit::Promise { .. } => "the server's: it broke a promise".to_owned(),
        Limit::HostCpu { sentence } => format!("the host's CPU: {sentence}"),
        Limit::HostMemory { sentence } => format!("the host's memory: {sentence}"),
        Limit::Door { sentence } => format!("the server's, which let nobody more in: {sentence}"),
        Limit::Slo { .. } => {
            "not told by any figure: neither the generator nor a thread of the server, nor the host was at its end"
                .to_owned()
        }
        Limit::SetUp { sentence } => format!("the set-up's: {sentence}"),
    }
}
