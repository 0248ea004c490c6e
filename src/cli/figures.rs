//! What the shards count, under the names that a scrape shows.
//!
//! Promises: closed label sets only; every counter of the shards and of the runtime is there.

use throng::control::{Family, Kind, Sample};
use throng::runtime::scrape::Totals;
use throng::shard::Count;
use throng::wire::{CloseReason, Refusal};

/// All metrics of the data plane.
pub(crate) fn families(totals: &Totals) -> Vec<Family> {
    let mut families = vec![messages(totals)];
    families.extend(gauges(totals));
    families.extend(Count::ALL.iter().map(|count| {
        let (name, help) = count.describe();
        Family::single(name, help, Kind::Counter, totals.cells[count.index()])
    }));
    families.push(refusals(totals));
    families.push(closes(totals));
    families.push(runtime(totals));
    families
}

/// The names a user's habit expects.
fn messages(totals: &Totals) -> Family {
    let labels = |direction: &str, event: &str| vec![("direction", direction.to_owned()), ("event", event.to_owned())];
    let of = |count: Count| totals.cells[count.index()];
    let samples = vec![
        Sample { labels: labels("in", "any"), value: of(Count::MessagesIn) },
        Sample { labels: labels("in", "publish"), value: of(Count::Publishes) },
        Sample { labels: labels("out", "message"), value: of(Count::Deliveries) },
    ];
    let help = "WebSocket messages received and room messages written";
    Family { name: "websocket_messages", help, kind: Kind::Counter, samples }
}

fn gauges(totals: &Totals) -> Vec<Family> {
    let gauges = &totals.gauges;
    let single = |(name, help, value)| Family::single(name, help, Kind::Gauge, value);
    let all = [
        ("websocket_connections", "Sessions now", gauges.sessions),
        ("throng_connections", "Rows in use: handshakes, sessions, goodbyes", gauges.connections),
        ("throng_rooms", "Rooms with people or a log", gauges.rooms_home),
        ("throng_rooms_seated", "Rooms with seats, counted once per shard", gauges.rooms_seated),
        ("throng_readers_behind", "Readers that pull from a log", gauges.behind_readers),
        ("throng_unsent_bytes", "Bytes of messages not written to everybody yet", gauges.unsent_bytes),
        ("throng_letters_waiting", "Letters to other shards whose inbox is full", gauges.letters_waiting),
        ("throng_sockets", "Direct descriptors in use: no tool of the system shows them", totals.runtime.sockets),
        ("throng_rings", "io_uring instances that hold sockets", totals.runtime.rings),
    ];
    all.into_iter().map(single).collect()
}

fn refusals(totals: &Totals) -> Family {
    let sample = |(nth, refusal): (usize, &Refusal)| Sample {
        labels: vec![("code", refusal.code().to_owned())],
        value: totals.cells[Count::LEN + nth],
    };
    let samples = Refusal::ALL.iter().enumerate().map(sample).collect();
    Family { name: "throng_refusals", help: "Commands refused, by code", kind: Kind::Counter, samples }
}

fn closes(totals: &Totals) -> Family {
    let sample = |(nth, reason): (usize, &CloseReason)| Sample {
        labels: vec![("reason", reason.name().to_owned())],
        value: totals.cells[Count::LEN + Refusal::ALL.len() + nth],
    };
    let samples = CloseReason::ALL.iter().enumerate().map(sample).collect();
    Family { name: "throng_closes", help: "Connections ended, by reason", kind: Kind::Counter, samples }
}

/// What the loops around the shards count.
fn runtime(totals: &Totals) -> Family {
    let gauge = |name: &str| matches!(name, "sockets" | "rings");
    let sample = |(name, value): (&'static str, u64)| Sample { labels: vec![("what", name.to_owned())], value };
    let samples = totals.runtime.named().filter(|(name, _)| !gauge(name)).map(sample).collect();
    Family {
        name: "throng_runtime",
        help: "Turns, reads, writes and oddities of the I/O loops",
        kind: Kind::Counter,
        samples,
    }
}

#[cfg(test)]
mod tests {
    use throng::runtime::scrape::{RuntimeCounts, Totals};
    use throng::shard::{Counters, Gauges};

    use super::*;

    #[test]
    fn every_counter_has_a_name_of_its_own() {
        let cells = (0..Counters::CELLS as u64).collect();
        let all = families(&Totals { runtime: RuntimeCounts::default(), cells, gauges: Gauges::default() });
        let mut names: Vec<&str> = all.iter().map(|family| family.name).collect();
        let shown: usize =
            all.iter().filter(|family| family.name != "websocket_messages").map(|f| f.samples.len()).sum();
        assert!(shown > Counters::CELLS, "{shown}");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
        let last = all.iter().find(|family| family.name == "throng_closes").and_then(|family| family.samples.last());
        assert_eq!(last.map(|sample| sample.value), Some(Counters::CELLS as u64 - 1));
    }
}
