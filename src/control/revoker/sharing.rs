//! How sharing with other servers goes, in numbers; and why talk with one of them ends before it has.

use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

use crate::control::metrics::{Family, Kind, Sample, Value};

/// Why a server of this address was not talked to any more, or never. A closed set, for the label.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(super) enum Fault {
    #[error("no place is free where others would find this server, or the system gives none")]
    NoPlace,
    #[error("a server listens at this address that is not to be found")]
    NotFound,
    #[error("it cannot be connected to")]
    Unreachable,
    #[error("another user's process has its name")]
    Stranger,
    #[error("too many talk to this server already")]
    TooMany,
    #[error("it has not said in time who it is")]
    Silent,
    #[error("it is of a version that shares revocations in another way")]
    Version,
    #[error("it said something that is too long")]
    TooLong,
    #[error("it said something that is not understood, or not at this point")]
    Malformed,
}

impl Fault {
    const ALL: [Self; 9] = [
        Self::NoPlace,
        Self::NotFound,
        Self::Unreachable,
        Self::Stranger,
        Self::TooMany,
        Self::Silent,
        Self::Version,
        Self::TooLong,
        Self::Malformed,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::NoPlace => "no_place",
            Self::NotFound => "not_found",
            Self::Unreachable => "unreachable",
            Self::Stranger => "stranger",
            Self::TooMany => "too_many",
            Self::Silent => "silent",
            Self::Version => "version",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
        }
    }
}

/// Written by the control plane's thread alone, read at a scrape.
#[derive(Default, Debug)]
pub(super) struct SharingCounts {
    /// Revocations that another server said it has.
    pub(super) told: AtomicU64,
    /// Those of another server that were taken in.
    pub(super) heard: AtomicU64,
    /// Those that did not come through, either way.
    pub(super) unshared: AtomicU64,
    faults: [AtomicU64; Fault::ALL.len()],
}

impl SharingCounts {
    pub(super) fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_fault(&self, fault: Fault) {
        Self::add(&self.faults[fault as usize]);
    }

    #[cfg(test)]
    pub(super) fn faults(&self, fault: Fault) -> u64 {
        self.faults[fault as usize].load(Ordering::Relaxed)
    }

    /// `linked`: servers that are told; `missing`: those that are there and cannot be.
    pub(super) fn families(&self, linked: usize, missing: usize) -> Vec<Family> {
        let read = |count: &AtomicU64| Value::Number(count.load(Ordering::Relaxed));
        let labelled = |label, name: &str, value| Sample { labels: vec![(label, name.to_owned())], value };
        let faults = Fault::ALL.iter().map(|fault| labelled("why", fault.name(), read(&self.faults[*fault as usize])));
        let gauge = |name, help, value: usize| Family::single(name, help, Kind::Gauge, value as u64);
        vec![
            gauge("throng_siblings", "Links to other servers at this address, which share what is revoked", linked),
            gauge(
                "throng_siblings_missing",
                "Other servers at this address that cannot be told what is revoked",
                missing,
            ),
            Family {
                name: "throng_sibling_faults",
                help: "Links to other servers at this address that broke or were not made, by why",
                kind: Kind::Counter,
                samples: faults.collect(),
            },
            Family {
                name: "throng_revocations_shared",
                help: "Revocations that another server at this address took in (out) or that were taken in from one (in)",
                kind: Kind::Counter,
                samples: vec![
                    labelled("direction", "in", read(&self.heard)),
                    labelled("direction", "out", read(&self.told)),
                ],
            },
            Family {
                name: "throng_revocations_unshared",
                help: "Revocations that did not come through to another server at this address, or from one",
                kind: Kind::Counter,
                samples: vec![Sample { labels: Vec::new(), value: read(&self.unshared) }],
            },
        ]
    }
}

/// What a server that never had another beside it would show, for whoever has to know their names.
pub fn families() -> Vec<Family> {
    SharingCounts::default().families(0, 0)
}
