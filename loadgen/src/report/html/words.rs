//! The figures of a report in sentences.

use super::{figure, ms};
use crate::lengths::Lengths;
use crate::report::{Limit, Report, Verdict};
use crate::shape::Sizes;
use crate::timeline::Second;

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
    let dated = report.offenders().into_iter().find_map(|offender| Some((offender.at_ms?, offender)));
    if let Some((at_ms, offender)) = dated {
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
    lines.extend(first_slow_second(report));
    lines.extend(report.reasons.iter().take(3).cloned());
    lines
}

/// The first second in which a latency with a bound was above it by itself: in its phase, and of coming in at any time.
fn first_slow_second(report: &Report) -> Option<String> {
    let slow = report.phases.iter().flat_map(|phase| {
        let (from, to) = phase.window_s;
        phase.stage.slo.bounds().filter_map(move |bound| {
            let measured =
                |second: &&Second| !bound.is_of_phases() || (from..to).contains(&(second.second as f64 + 0.5));
            let found = report.timeline.iter().filter(measured).find_map(|second| {
                bound.of(second).filter(|value| *value > bound.ms).map(|value| (second.second, value))
            });
            found.map(|(at_s, value)| (at_s, value, bound, phase.stage.name.as_str()))
        })
    });
    let (at_s, value, bound, phase) = slow.min_by_key(|(at_s, ..)| *at_s)?;
    let place = if bound.is_of_phases() { format!(", in “{phase}”") } else { String::new() };
    Some(format!("at {at_s} s{place}: {} of that second {} ms, asked {} ms", bound.name(), ms(value), ms(bound.ms)))
}

pub(super) fn limit(report: &Report) -> Vec<String> {
    let mut lines = match (&report.limit, report.verdict) {
        // Of what was looked for, above what held.
        _ if !report.search.is_empty() => report.search.clone(),
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
