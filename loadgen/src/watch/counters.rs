//! What a server says that it closed and refused, by name, as it counts: never divided by a time.
//!
//! Promises: whom the server sent away is told from who left; what it does not count is not known, never 0. Pure.

use std::collections::BTreeMap;

use throng::wire::CloseReason;

use super::metrics::label;

/// Counts by name.
pub(crate) type Named = BTreeMap<String, u64>;

/// What one answer of `/metrics` says.
#[derive(Clone, Default, PartialEq, Debug)]
pub(crate) struct Counters {
    /// Connections that the server ended against somebody, by reason. None: it does not count them.
    pub(crate) closes: Option<Named>,
    /// By code; likewise.
    pub(crate) refusals: Option<Named>,
    /// Bytes of its memory that are resident.
    pub(crate) resident: Option<u64>,
}

/// An answer and when it was given; since the run's origin.
#[derive(Clone, Default, PartialEq, Debug)]
pub(crate) struct Reading {
    pub(crate) asked_ns: u64,
    pub(crate) answered_ns: u64,
    pub(crate) counters: Counters,
}

impl Counters {
    pub(super) fn parse(answer: &str) -> Self {
        let mut counters = Self::default();
        for (name, value) in answer.lines().filter_map(|line| line.rsplit_once(' ')) {
            let Ok(value) = value.trim().parse::<f64>() else { continue };
            let (family, labels) = name.split_once('{').unwrap_or((name, ""));
            let (counted, label_name) = match family {
                "throng_closes_total" => (&mut counters.closes, "reason"),
                "throng_refusals_total" => (&mut counters.refusals, "code"),
                "process_resident_memory_bytes" => {
                    counters.resident = Some(value as u64);
                    continue;
                }
                _ => continue,
            };
            let counted = counted.get_or_insert_default();
            let name = label(labels, label_name).unwrap_or("unnamed");
            if family != "throng_closes_total" || is_sent_away(name) {
                *counted.entry(name.to_owned()).or_default() += value as u64;
            }
        }
        counters
    }
}

/// Whether an end was the server's decision against somebody. Who says goodbye or is gone has left; a session that goes on by
/// another socket has lost nothing; and a plain HTTP request, as a load balancer's for `/healthz`, was answered.
fn is_sent_away(reason: &str) -> bool {
    let known = CloseReason::ALL.into_iter().find(|known| known.name() == reason);
    known.is_none_or(|reason| match reason {
        CloseReason::Bye | CloseReason::Gone | CloseReason::TakenOver | CloseReason::HandedOver => false,
        CloseReason::GoingAway
        | CloseReason::Protocol
        | CloseReason::WrongKind
        | CloseReason::NotUtf8
        | CloseReason::TooBig
        | CloseReason::Busy
        | CloseReason::Restart
        | CloseReason::Slow
        | CloseReason::Silent
        | CloseReason::Expired
        | CloseReason::UserFull
        | CloseReason::NoHello
        | CloseReason::Kicked
        | CloseReason::Flooding
        | CloseReason::Revoked
        | CloseReason::Banned
        | CloseReason::BadToken
        | CloseReason::Origin
        | CloseReason::Version
        | CloseReason::Full
        | CloseReason::Draining
        | CloseReason::HandshakesFull
        | CloseReason::AddressFull
        | CloseReason::HandshakeRate
        | CloseReason::FailedTooOften
        | CloseReason::HandshakeTimeout
        | CloseReason::HeadTooLong
        | CloseReason::BadHandshake
        | CloseReason::BadProxy => true,
    })
}

/// What moved from one reading to a later one, by name. None: one of them does not say, or the server was started anew.
pub(crate) fn moved(before: Option<&Named>, after: Option<&Named>) -> Option<Named> {
    let (before, after) = (before?, after?);
    let mut moved = Named::new();
    for (name, now) in after {
        let grown = now.checked_sub(before.get(name).copied().unwrap_or(0))?;
        if grown > 0 {
            moved.insert(name.clone(), grown);
        }
    }
    let all_there = before.iter().all(|(name, count)| *count == 0 || after.contains_key(name));
    all_there.then_some(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(counts: &[(&str, u64)]) -> Named {
        counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    /// `server.closes=0` failed runs with guests, who say goodbye, and beside load balancers, who ask for `/healthz`.
    #[test]
    fn who_left_was_not_sent_away() {
        let counters = Counters::parse(
            "HTTP/1.1 200 OK\r\n\r\n# TYPE throng_closes counter\nthrong_closes_total{reason=\"bye\"} 40\n\
             throng_closes_total{reason=\"gone\"} 7\nthrong_closes_total{reason=\"handed_over\"} 90\n\
             throng_closes_total{reason=\"taken_over\"} 2\nthrong_closes_total{reason=\"slow\"} 3\n\
             throng_closes_total{reason=\"silent\"} 0\nthrong_closes_total{reason=\"of_tomorrow\"} 1\n\
             throng_refusals_total{code=\"busy\"} 5\nprocess_resident_memory_bytes 123\n# EOF\n",
        );
        assert_eq!(counters.closes, Some(named(&[("of_tomorrow", 1), ("silent", 0), ("slow", 3)])));
        assert_eq!((counters.refusals, counters.resident), (Some(named(&[("busy", 5)])), Some(123)));
        let nobody = Counters::parse("throng_closes_total{reason=\"bye\"} 40\nthrong_connections 3\n");
        assert_eq!((nobody.closes, nobody.refusals, nobody.resident), (Some(Named::new()), None, None));
    }

    #[test]
    fn what_moved_is_named_and_what_was_not_said_or_began_anew_is_not_known() {
        let (first, last) = (named(&[("slow", 3), ("silent", 1)]), named(&[("slow", 5), ("silent", 1), ("kicked", 2)]));
        assert_eq!(moved(Some(&first), Some(&last)), Some(named(&[("kicked", 2), ("slow", 2)])));
        assert_eq!(moved(Some(&first), Some(&first)), Some(Named::new()));
        assert_eq!((moved(None, Some(&last)), moved(Some(&first), None)), (None, None));
        assert_eq!(moved(Some(&last), Some(&first)), None, "it was started anew");
        assert_eq!(moved(Some(&first), Some(&named(&[("slow", 9)]))), None, "what it counted it still counts");
    }
}
