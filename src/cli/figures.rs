//! What the shards count, under the names that a scrape shows.
//!
//! Promises: closed label sets only; every counter of the shards and of the runtime is there, and in `docs/operations.md`
//! by its name.

use throng::base::Classes;
use throng::control::{Family, Histogram, Kind, Sample, Value};
use throng::runtime::engine::Engine;
use throng::runtime::scrape::{OfShard, Shown, Totals};
use throng::runtime::turn::TURN_BUCKETS_US;
use throng::shard::{ClassCount, Count, Counters, Gauges, LATENCY_BUCKETS_MS, Tables};
use throng::wire::{CloseReason, Command, Event, Refusal};

/// All metrics of the data plane, and of the process around it.
pub(crate) fn families(engine: Engine, totals: &Totals, classes: &Classes) -> Vec<Family> {
    let mut families = vec![messages(totals), latency(totals), runs_on(engine)];
    families.extend(
        Gauges::ALL
            .iter()
            .zip(totals.gauges.values())
            .map(|((name, help), value)| Family::single(name, help, Kind::Gauge, value)),
    );
    let (name, help) = CONNECTIONS_MAX;
    families.push(Family::single(name, help, Kind::Gauge, totals.connections_max));
    families.extend(Count::ALL.iter().map(|count| {
        let (name, help) = count.describe();
        Family::single(name, help, Kind::Counter, totals.cells[count.index()])
    }));
    families.extend(of_classes(totals, classes));
    families.push(refusals(totals));
    families.push(closes(totals));
    families.extend(totals.runtime.shown().map(|Shown { name, help, only_rises, value }| {
        Family::single(name, help, if only_rises { Kind::Counter } else { Kind::Gauge }, value)
    }));
    families.push(turns(totals));
    families.push(silence(totals));
    families.push(nudges(totals));
    families.extend(by_shard(totals));
    families.push(tables(totals));
    families.extend(resident());
    families
}

/// The names a user's habit expects.
fn messages(totals: &Totals) -> Family {
    let sample = |direction: &str, event: &str, value| Sample {
        labels: vec![("direction", direction.to_owned()), ("event", event.to_owned())],
        value: Value::Number(value),
    };
    let cell = |at: usize| totals.cells[at];
    let commands = Command::NAMES.iter().chain(&[NO_COMMAND]).enumerate();
    let commands = commands.map(|(nth, name)| sample("in", name, cell(Counters::COMMANDS_AT + nth)));
    let events = Event::NAMES.iter().enumerate();
    let events = events.map(|(nth, name)| sample("out", name, cell(Counters::EVENTS_AT + nth)));
    let messages = sample("out", "message", cell(Count::Deliveries.index()));
    let help = "WebSocket messages by direction and kind: commands received, and what was said to connections";
    let samples = commands.chain(events).chain([messages]).collect();
    Family { name: "websocket_messages", help, kind: Kind::Counter, samples }
}

fn latency(totals: &Totals) -> Family {
    let cells = &totals.cells[Counters::LATENCY_AT..Counters::CLASSES_AT];
    let (counts, sum_ms) = (&cells[..=LATENCY_BUCKETS_MS.len()], cells[LATENCY_BUCKETS_MS.len() + 1]);
    let ends = LATENCY_BUCKETS_MS.iter().map(|ms| *ms as f64 / 1e3);
    let help = "From a message's offset until the kernel took it for the last live reader of a shard; one sample per room, \
                shard and write, of its oldest message. Readers that are behind are not in it";
    histogram("websocket_message_latency_seconds", help, ends, counts, sum_ms as f64 / 1e3)
}

fn turns(totals: &Totals) -> Family {
    let ends = TURN_BUCKETS_US.iter().map(|us| *us as f64 / 1e6);
    let help = "How long turns of shards took, from waking to posting";
    histogram("throng_turn_seconds", help, ends, &totals.turns.buckets, totals.turns.sum_us as f64 / 1e6)
}

fn histogram(
    name: &'static str,
    help: &'static str,
    ends: impl Iterator<Item = f64>,
    counts: &[u64],
    sum: f64,
) -> Family {
    let buckets = ends.chain([f64::INFINITY]).zip(counts.iter().copied()).collect();
    let value = Value::Histogram(Histogram { buckets, sum });
    Family { name, help, kind: Kind::Histogram, samples: vec![Sample { labels: Vec::new(), value }] }
}

/// The labels are what the operator wrote: patterns of rooms, and `default`.
fn of_classes(totals: &Totals, classes: &Classes) -> impl Iterator<Item = Family> {
    ClassCount::ALL.iter().enumerate().map(|(nth, count)| {
        let (name, help) = count.describe();
        let cells = totals.cells[Counters::CLASSES_AT + nth..].iter().step_by(ClassCount::LEN);
        Family { name, help, kind: Kind::Counter, samples: labelled("class", classes.names().zip(cells)) }
    })
}

/// One for the engine that runs, none for the other.
fn runs_on(engine: Engine) -> Family {
    let runs = Engine::ALL.map(|one| (one.name(), u64::from(one == engine)));
    let samples = labelled("engine", runs.iter().map(|(name, runs)| (*name, runs)));
    let help = "1 for the engine that carries the sockets, 0 for the other";
    Family { name: "throng_engine", help, kind: Kind::Gauge, samples }
}

fn refusals(totals: &Totals) -> Family {
    let cells = &totals.cells[Counters::REFUSALS_AT..];
    let samples = labelled("code", Refusal::ALL.iter().map(|refusal| refusal.code()).zip(cells));
    Family { name: "throng_refusals", help: "Commands refused, by code", kind: Kind::Counter, samples }
}

fn closes(totals: &Totals) -> Family {
    let cells = &totals.cells[Counters::CLOSES_AT..];
    let samples = labelled("reason", CloseReason::ALL.iter().map(|reason| reason.name()).zip(cells));
    Family { name: "throng_closes", help: "Connections ended, by reason", kind: Kind::Counter, samples }
}

fn nudges(totals: &Totals) -> Family {
    let help = "Shards that had not turned for two seconds and were woken by a signal. Stays 0 on a host that leaves its cores";
    Family::single("throng_shard_nudges", help, Kind::Counter, totals.nudges)
}

fn silence(totals: &Totals) -> Family {
    let value = Value::Fraction(totals.silent_ms as f64 / 1e3);
    let samples = vec![Sample { labels: Vec::new(), value }];
    let help = "Seconds since the shard that was silent longest took its last tick";
    Family { name: "throng_shard_silence_seconds", help, kind: Kind::Gauge, samples }
}

/// What a shard alone did, by its number: a figure of all hides the one that is busy.
fn by_shard(totals: &Totals) -> impl Iterator<Item = Family> {
    let number = |pick: fn(&OfShard) -> u64| move |shard: &OfShard| Value::Number(pick(shard));
    let family = |name, help, kind, value: &dyn Fn(&OfShard) -> Value| {
        let sample =
            |(nth, shard): (usize, &OfShard)| Sample { labels: vec![("shard", nth.to_string())], value: value(shard) };
        Family { name, help, kind, samples: totals.shards.iter().enumerate().map(sample).collect() }
    };
    let busy = |shard: &OfShard| Value::Fraction(shard.busy_us as f64 / 1e6);
    [
        family(
            "throng_shard_busy_seconds",
            "Time in turns, by shard: a second of it in a second is all there is",
            Kind::Counter,
            &busy,
        ),
        family(
            "throng_shard_deliveries",
            "Room messages written to readers, by shard",
            Kind::Counter,
            &number(|shard| shard.deliveries),
        ),
        family(
            "throng_shard_ticks_stretched",
            "Ticks at which the last tick's writing was not done yet, by shard",
            Kind::Counter,
            &number(|shard| shard.ticks_stretched),
        ),
        family(
            "throng_shard_inbox_parcels",
            "Parcels of mail waiting in an inbox, by shard",
            Kind::Gauge,
            &number(|shard| shard.inbox_parcels),
        ),
        family(
            "throng_shard_readers_behind",
            "Readers that pull from a log, by shard",
            Kind::Gauge,
            &number(|shard| shard.behind_readers),
        ),
    ]
    .into_iter()
}

fn tables(totals: &Totals) -> Family {
    let values: Vec<u64> = totals.tables.values().collect();
    let samples = labelled("table", Tables::ALL.iter().map(|(name, _)| *name).zip(&values));
    let help = "Bytes in use by table, without what the allocator and the kernel add";
    Family { name: "throng_memory_bytes", help, kind: Kind::Gauge, samples }
}

/// What the kernel counts as this process's memory; absent where it does not say.
fn resident() -> Option<Family> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    let help = "Resident memory of the process";
    Some(Family::single("process_resident_memory_bytes", help, Kind::Gauge, pages * PAGE_BYTES))
}

fn labelled<'a>(label: &'static str, values: impl Iterator<Item = (&'a str, &'a u64)>) -> Vec<Sample> {
    let sample =
        |(name, value): (&str, &u64)| Sample { labels: vec![(label, name.to_owned())], value: Value::Number(*value) };
    values.map(sample).collect()
}

const CONNECTIONS_MAX: (&str, &str) =
    ("throng_connections_max", "Connections all shards together may hold; more are answered 503");
/// The label of a message that was no command we carry out.
const NO_COMMAND: &str = "invalid";
/// The only page size io_uring's hosts of ours have.
const PAGE_BYTES: u64 = 4_096;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use throng::base::{Limits, RoomClass};
    use throng::control::HTTP_REFUSED;
    use throng::control::jwks::Jwks;
    use throng::runtime::scrape::RuntimeCounts;
    use throng::runtime::turn::TurnTimes;

    use super::super::reload::ReloadCounts;
    use super::*;

    fn classes() -> Classes {
        let limits = Limits::default();
        Classes::new(&limits, &[("chat:*", RoomClass::of(&limits))], None).unwrap()
    }

    fn counted() -> Totals {
        Totals {
            runtime: RuntimeCounts::default(),
            turns: TurnTimes::default(),
            cells: (0..Counters::CELLS as u64).collect(),
            gauges: Gauges::default(),
            tables: Tables::default(),
            silent_ms: 1_500,
            nudges: 0,
            connections_max: 10,
            shards: vec![
                OfShard { busy_us: 1_500_000, ..OfShard::default() },
                OfShard { deliveries: 7, ..OfShard::default() },
            ],
        }
    }

    #[test]
    fn every_counter_has_a_name_of_its_own_and_its_own_number() {
        let all = families(Engine::IoUring, &counted(), &classes());
        let names: BTreeSet<&str> = all.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), all.len());
        let value = |name: &str, label: &str| {
            let family = all.iter().find(|family| family.name == name).unwrap();
            let has = |sample: &&Sample| label.is_empty() || sample.labels.iter().any(|(_, value)| value == label);
            family.samples.iter().find(has).unwrap().value.clone()
        };
        let number = |at: usize| Value::Number(at as u64);
        let last = Refusal::ALL[Refusal::ALL.len() - 1].code();
        assert_eq!(value("throng_refusals", last), number(Counters::CLOSES_AT - 1));
        assert_eq!(value("throng_closes", "handed_over"), number(Counters::COMMANDS_AT - 1));
        assert_eq!(value("websocket_messages", "invalid"), number(Counters::EVENTS_AT - 1));
        let last = Event::NAMES[Event::NAMES.len() - 1];
        assert_eq!(value("websocket_messages", last), number(Counters::LATENCY_AT - 1));
        assert_eq!(value("throng_shard_silence_seconds", ""), Value::Fraction(1.5));
        assert_eq!(value("throng_shard_busy_seconds", "0"), Value::Fraction(1.5));
        assert_eq!(value("throng_shard_deliveries", "1"), Value::Number(7));
        let Value::Histogram(latency) = value("websocket_message_latency_seconds", "") else { panic!("a histogram") };
        assert_eq!(latency.buckets.len(), LATENCY_BUCKETS_MS.len() + 1);
        assert_eq!(latency.sum, (Counters::CLASSES_AT - 1) as f64 / 1e3);
        let second = |nth: usize| number(Counters::CLASSES_AT + ClassCount::LEN + nth);
        assert_eq!(value("throng_class_joins", "chat:*"), second(0));
        assert_eq!(value("throng_class_publishes", "chat:*"), second(1));
        assert!(all.iter().all(|family| family.help.len() > 3 && !family.help.ends_with('.')));
    }

    #[test]
    fn the_documented_metrics_are_all_there_are() {
        let page = include_str!("../../docs/operations.md");
        let (_, section) = page.split_once("## Metrics\n").expect("the section is there");
        let section = section.split("\n## ").next().unwrap_or_default();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
        let documented: Vec<(String, String)> =
            rows.map(|(name, rest)| (name.to_owned(), rest.trim_matches([' ', '|']).to_owned())).collect();
        let no_addresses = Jwks::start(&[], None, Arc::new(|| 0), Arc::new(|| {})).unwrap();
        let mut control = throng::control::api_families();
        control.extend(throng::control::sharing_families());
        control.extend(no_addresses.status().families());
        control.extend(ReloadCounts::default().families());
        no_addresses.stop();
        let mut shown: Vec<(String, String)> = families(Engine::IoUring, &counted(), &classes())
            .iter()
            .map(|family| (family.name, family.kind, family.help))
            .chain([(HTTP_REFUSED.0, Kind::Counter, HTTP_REFUSED.1)])
            .chain(control.iter().map(|family| (family.name, family.kind, family.help)))
            .map(|(name, kind, help)| {
                (if kind == Kind::Counter { format!("{name}_total") } else { name.to_owned() }, help.to_owned())
            })
            .collect();
        let (mut missing, mut stale) = (shown.clone(), documented.clone());
        missing.retain(|row| !documented.contains(row));
        stale.retain(|row| !shown.contains(row));
        let rows: Vec<String> = missing.iter().map(|(name, help)| format!("| `{name}` | {help} |")).collect();
        assert!(
            missing.is_empty() && stale.is_empty(),
            "docs/operations.md, \"Metrics\"\nmissing:\n{}\nstale: {stale:?}",
            rows.join("\n")
        );
        shown.sort_unstable();
        shown.dedup();
        assert_eq!(shown.len(), documented.len(), "each once");
    }
}
