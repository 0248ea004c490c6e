//! Says in the log which limits were reached: one line for each of them every ten seconds in which it happened, with how
//! often and by which setting it moves.
//!
//! Promises: reads counters as a scrape does and costs the shards nothing; whoever runs against a limit a million times
//! a second makes one line of it.

use std::time::Duration;

use super::metrics::{Family, HTTP_REFUSED, Scrape, Value};
use crate::wire::{CloseReason, Refusal};

/// How long is looked back, and how often.
const PERIOD: Duration = Duration::from_secs(10);

/// The counters that rise when a limit is reached, and the settings by which it moves. Which refusals and ends are none
/// of a limit: those that the client's own request, token or leaving brought about.
const CLOSES: &[(CloseReason, &str)] = &[
    (CloseReason::TooBig, "limits.message_bytes_max, limits.fragments_max, limits.hello_bytes_max"),
    (CloseReason::Slow, "limits.no_progress_ms"),
    (CloseReason::Silent, "limits.dead_after_ms"),
    (CloseReason::UserFull, "limits.connections_per_user_max"),
    (CloseReason::NoHello, "limits.handshake_ms"),
    (CloseReason::Full, "server.max_connections, limits.connections_per_shard_max"),
    (CloseReason::HandshakesFull, "limits.handshakes_pending_max, limits.heads_bytes_max"),
    (CloseReason::AddressFull, "limits.connections_per_address_max"),
    (CloseReason::HandshakeRate, "limits.handshakes_per_address_per_s"),
    (CloseReason::FailedTooOften, "limits.failures_per_address_per_minute"),
    (CloseReason::HandshakeTimeout, "limits.handshake_ms"),
    (CloseReason::HeadTooLong, "limits.head_bytes_max"),
];
const REFUSALS: &[(Refusal, &str)] = &[
    (Refusal::TooManyRooms, "limits.rooms_per_connection_max"),
    (Refusal::TooDeep, "limits.depth_max"),
    (Refusal::TooLong, "the class of rooms"),
    (Refusal::RoomFull, "the class of rooms"),
];
/// Counters of their own, whatever their labels.
const COUNTS: &[(&str, &str)] = &[
    ("throng_joins_too_often", "limits.joins_per_user_per_minute"),
    ("throng_messages_too_often", "limits.publishes_per_user_per_minute"),
    ("throng_bytes_too_often", "limits.bytes_per_user_per_minute"),
    ("throng_commands_too_often", "limits.commands_per_user_per_minute"),
    ("throng_class_too_often", "the class of rooms"),
    ("throng_refreshes_too_often", "limits.tick_ms"),
    ("throng_strikes_exceeded", "limits.strikes_per_minute"),
    ("throng_inflated_too_much", "limits.inflated_per_tick_max"),
    ("throng_idempotency_keys_full", "limits.idempotency_keys_max"),
    ("throng_logs_full", "limits.logs_bytes_max"),
    ("throng_letters_full", "limits.letters_waiting_max, limits.letters_bytes_max"),
    ("throng_delivers_bounced", "limits.letters_waiting_max, limits.letters_bytes_max"),
    ("throng_rooms_pushed_out", "limits.idle_rooms_max, limits.idle_inboxes_max, limits.logs_bytes_max"),
    ("throng_typing_full", "limits.typing_max"),
    ("throng_presence_counted", "limits.announced_max"),
    ("throng_readers_fell_behind", "limits.outbox_hard_bytes_max, limits.pending_messages_max"),
    ("throng_gaps", "limits.log_messages_max, limits.log_bytes_max, limits.logs_bytes_max"),
    ("throng_typing_dropped", "limits.outbox_soft_bytes_max"),
    ("throng_presence_dropped", "limits.outbox_soft_bytes_max"),
    ("throng_announcements_passed_over", "limits.outbox_soft_bytes_max"),
    ("throng_class_dropped", "limits.outbox_soft_bytes_max, limits.letters_waiting_max"),
    ("throng_pings_put_off", "limits.pings_per_tick"),
    ("throng_send_budget_exhausted", "limits.sends_per_tick"),
    ("throng_tickets_full", "limits.tickets_max"),
    ("throng_io_refused_no_files", "the limit on open files"),
    ("throng_io_hand_over_failed", "the limit on open files"),
    ("throng_io_refused_engine", "the limits on open files and locked memory"),
    (HTTP_REFUSED.0, "connections of the control plane"),
    ("throng_rates_uncounted", "limits.rate_keys_max"),
    ("throng_grant_sets_full", "limits.grant_sets_bytes_max"),
    ("throng_revocations_full", "limits.revocations_max"),
    ("throng_away_full", "limits.away_max"),
    ("throng_sessions_forgotten", "limits.sessions_kept_max, limits.sessions_kept_bytes_max"),
    ("throng_reads_forgotten", "limits.receipts_kept_max"),
    ("throng_deflate_passed_over", "limits.answers_deflated_per_tick_max"),
];

/// Something that was reached, and how often.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Reached {
    what: &'static str,
    times: u64,
    setting: &'static str,
}

/// The values of one reading, in the order of the three tables.
type Reading = Vec<u64>;

/// Looks and logs. Never returns.
pub(super) async fn watch(scrape: Scrape) {
    let mut before = read(&scrape());
    loop {
        tokio::time::sleep(PERIOD).await;
        let now = read(&scrape());
        for Reached { what, times, setting } in compare(&before, &now) {
            tracing::warn!(what, times, in_s = PERIOD.as_secs(), setting, "a limit was reached");
        }
        before = now;
    }
}

/// Everything that is watched: the name of its family, the value of its label, its name in the log, its setting.
fn watched() -> impl Iterator<Item = (&'static str, Option<&'static str>, &'static str, &'static str)> {
    let closes = CLOSES.iter().map(|(reason, setting)| ("throng_closes", Some(reason.name()), reason.name(), *setting));
    let refusals =
        REFUSALS.iter().map(|(refusal, setting)| ("throng_refusals", Some(refusal.code()), refusal.code(), *setting));
    let counts = COUNTS.iter().map(|(name, setting)| (*name, None, *name, *setting));
    closes.chain(refusals).chain(counts)
}

fn read(families: &[Family]) -> Reading {
    watched().map(|(family, label, ..)| value(families, family, label)).collect()
}

fn value(families: &[Family], name: &str, label: Option<&str>) -> u64 {
    let samples = families.iter().filter(|family| family.name == name).flat_map(|family| &family.samples);
    let labelled = |sample: &&super::Sample| match label {
        Some(label) => sample.labels.iter().any(|(_, value)| value == label),
        None => true,
    };
    let numbers = samples.filter(labelled).map(|sample| match sample.value {
        Value::Number(number) => number,
        Value::Fraction(_) | Value::Histogram(_) => 0,
    });
    numbers.sum()
}

fn compare(before: &Reading, now: &Reading) -> Vec<Reached> {
    let risen = before.iter().zip(now).map(|(before, now)| now.saturating_sub(*before));
    let reached = watched().zip(risen).filter(|(_, times)| *times > 0);
    reached.map(|((_, _, what, setting), times)| Reached { what, times, setting }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Sample};
    use super::*;
    use crate::runtime::scrape::RuntimeCounts;
    use crate::shard::{ClassCount, Count};

    fn closes(address_full: u64, bye: u64) -> Vec<Family> {
        let sample =
            |name: &str, value| Sample { labels: vec![("reason", name.to_owned())], value: Value::Number(value) };
        let samples = vec![sample("bye", bye), sample("address_full", address_full)];
        let gaps = Family::single("throng_gaps", "Gaps", Kind::Counter, 3);
        vec![Family { name: "throng_closes", help: "Ends", kind: Kind::Counter, samples }, gaps]
    }

    #[test]
    fn a_limit_that_was_reached_is_said_once_with_how_often_and_what_moves_it() {
        let (before, now) = (read(&closes(2, 0)), read(&closes(7, 90)));
        let setting = "limits.connections_per_address_max";
        assert_eq!(compare(&before, &now), [Reached { what: "address_full", times: 5, setting }]);
        assert_eq!(compare(&now, &now), []);
    }

    /// Regression: what was dropped, put off or refused for want of a descriptor was counted, and the log said nothing.
    #[test]
    fn what_is_dropped_or_put_off_is_said_too() {
        let names: Vec<&str> = COUNTS.iter().map(|(name, _)| *name).collect();
        for name in [
            "throng_pings_put_off",
            "throng_send_budget_exhausted",
            "throng_io_refused_no_files",
            "throng_http_refused",
            "throng_typing_dropped",
            "throng_presence_dropped",
            "throng_tickets_full",
            "throng_commands_too_often",
        ] {
            assert!(names.contains(&name), "{name}");
        }
    }

    #[test]
    fn every_name_is_one_that_exists() {
        let of_classes = ClassCount::ALL.iter().map(|count| count.describe().0);
        let of_runtime = RuntimeCounts::default().shown().map(|shown| shown.name).collect::<Vec<_>>();
        let others = of_classes.chain(of_runtime).chain([HTTP_REFUSED.0]);
        let counts: Vec<&str> = Count::ALL.iter().map(|count| count.describe().0).chain(others).collect();
        assert!(COUNTS.iter().all(|(name, _)| counts.contains(name)));
        let page = include_str!("../../docs/config.md");
        for (.., setting) in watched() {
            for name in setting.split(", ").filter(|name| !name.contains(' ')) {
                let (_, key) = name.split_once('.').unwrap();
                assert!(page.contains(&format!("| `{key}` |")), "{name} is no setting");
            }
        }
    }
}
