//! What all rounds came to.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::counts::Counts;
use super::returned;
use super::round::{Round, mib};
use crate::report::Verdict;

#[derive(Debug, Serialize)]
pub(crate) struct Churned {
    verdict: Verdict,
    pub(crate) exit_code: u8,
    /// Each a sentence: what did not return, or was not what was asked.
    reasons: Vec<String>,
    memory_before: u64,
    before: Counts,
    /// What may be kept for the logs of empty rooms: rooms, and members each of them has had.
    rooms_kept: u64,
    room_size: u64,
    connections: u64,
    rounds: Vec<Round>,
    /// Some round did not return, or broke a promise; some round was less than was asked, each with whether that was the
    /// generator's own limit.
    #[serde(skip)]
    kept: bool,
    #[serde(skip)]
    fell_short: Vec<bool>,
}

impl Churned {
    pub(super) fn new(memory_before: u64, before: Counts, rooms_kept: u64, room_size: u32) -> Self {
        Self {
            verdict: Verdict::Passed,
            exit_code: 0,
            reasons: Vec::new(),
            memory_before,
            before,
            rooms_kept,
            room_size: u64::from(room_size),
            connections: 0,
            rounds: Vec::new(),
            kept: false,
            fell_short: Vec::new(),
        }
    }

    pub(super) fn connections(&self) -> u64 {
        self.connections
    }

    pub(super) fn rounds_done(&self) -> usize {
        self.rounds.len()
    }

    /// Whether all rounds so far have returned.
    pub(super) fn holds(&self) -> bool {
        !self.kept
    }

    pub(super) fn take(&mut self, round: Round) {
        let number = self.rounds.len() + 1;
        let mut wrong = Vec::new();
        let (counts, before, parted) = (&round.counts, &self.before, &round.parted);
        for (what, now, first) in [
            ("rows", counts.rows, 0),
            ("sockets", counts.sockets, before.sockets),
            ("rings", counts.rings, before.rings),
            ("rooms", counts.rooms, before.rooms + self.rooms_kept),
            ("keys of publishes", counts.keys, before.keys + counts.rooms * self.room_size),
            ("read positions", counts.receipts, before.receipts + counts.rooms * self.room_size),
            ("completions that outgrew their queue", counts.overflows, before.overflows),
            ("completions for a slot's former owner", counts.stale, before.stale),
        ] {
            if now > first {
                wrong.push(format!("{now} {what}, at most {first} may be left"));
            }
        }
        wrong.extend(round.said.broken());
        if parted.answered < parted.goodbyes {
            wrong.push(format!("{} of {} goodbyes were answered", parted.answered, parted.goodbyes));
        }
        if parted.goodbyes + parted.reset < u64::from(round.connections) {
            let gone = u64::from(round.connections) - parted.goodbyes - parted.reset;
            wrong.push(format!("{gone} connections ended before they were closed"));
        }
        self.kept |= !wrong.is_empty();
        if round.asked_to_talk && wrong.is_empty() && round.said.said < u64::from(round.connections) {
            let why = round
                .limit()
                .map_or_else(String::new, |limit| format!(": the generator was at its own limit, {limit}"));
            wrong.push(format!("{} of {} had their say{why}", round.said.said, round.connections));
            self.fell_short.push(round.limit().is_some());
        }
        self.reasons.extend(wrong.into_iter().map(|sentence| format!("round {number}: {sentence}")));
        self.connections += u64::from(round.connections);
        self.rounds.push(round);
    }

    pub(super) fn judge(&mut self) {
        let after: Vec<u64> = self.rounds.iter().map(|round| round.memory_after).collect();
        let first_joined = self.rounds.first().map_or(0, |round| round.memory_joined);
        let memory: Vec<String> =
            returned::growth(&after).into_iter().chain(returned::settled_too_high(&after, first_joined)).collect();
        self.kept |= !memory.is_empty();
        self.reasons.extend(memory);
        self.verdict = match (self.kept, self.fell_short.as_slice()) {
            (true, _) => Verdict::ProofFailed,
            (false, []) => Verdict::Passed,
            // Where the generator was on time it was somebody else who kept people from talking.
            (false, short) if short.iter().all(|limited| *limited) => Verdict::GeneratorLimited,
            (false, _) => Verdict::SloMissed,
        };
        self.exit_code = self.verdict.exit_code();
    }

    /// What stays of a server that has had a crowd, beside what it was before.
    fn settled(&self) -> Option<String> {
        let round = self.rounds.get(returned::SETTLED_ROUND - 1)?;
        let kept = round.memory_after.saturating_sub(self.memory_before);
        Some(format!(
            "kept: {:.2} MiB after round {}, {:.2} MiB more than before anybody came ({:.0} B for each of {} at once)",
            mib(round.memory_after),
            returned::SETTLED_ROUND,
            mib(kept),
            kept as f64 / f64::from(round.connections.max(1)),
            round.connections
        ))
    }
}

impl Display for Churned {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let before = &self.before;
        writeln!(
            f,
            "before: {:.2} MiB private dirty, {} sockets, {} rings, {} rooms",
            mib(self.memory_before),
            before.sockets,
            before.rings,
            before.rooms
        )?;
        writeln!(f, "{}", Round::TITLES)?;
        for (number, round) in (1..).zip(&self.rounds) {
            writeln!(f, "{number:>5} {round}")?;
        }
        self.settled().iter().try_for_each(|line| writeln!(f, "{line}"))?;
        for (number, round) in (1..).zip(&self.rounds).filter(|(_, round)| round.limit().is_some()) {
            writeln!(f, "round {number}: the generator while they came: {}", round.coming.sentence())?;
            writeln!(f, "round {number}: the generator while they talked: {}", round.said.talking.sentence())?;
        }
        let verdict = if self.kept { "not everything returned" } else { "everything returned" };
        writeln!(f, "\n{} connections came and went: {verdict} (exit {})", self.connections, self.exit_code)?;
        self.reasons.iter().try_for_each(|reason| writeln!(f, "  - {reason}"))?;
        self.rounds.iter().flat_map(|round| &round.said.offenders).try_for_each(|offender| writeln!(f, "  {offender}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::round::Said;
    use super::*;
    use crate::effort::Effort;
    use crate::orders::{Offender, Parted};
    use crate::proof::Fault;

    const NONE: Counts =
        Counts { rows: 0, sockets: 0, rings: 1, rooms: 0, keys: 0, receipts: 0, overflows: 0, stale: 0 };

    fn after(rounds: &[Round]) -> Churned {
        let mut churned = Churned::new(4 << 20, NONE, 3, 10);
        rounds.iter().for_each(|round| churned.take(round.clone()));
        churned.judge();
        churned
    }

    fn good() -> Round {
        Round {
            connections: 100,
            open_s: 0.1,
            tried_again: 0,
            coming: Effort::default(),
            asked_to_talk: true,
            said: Said { said: 100, heard: 1_000, ..Said::default() },
            parted: Parted { goodbyes: 50, answered: 50, reset: 50 },
            return_s: 0.1,
            memory_joined: 12 << 20,
            memory_after: 10 << 20,
            counts: Counts { rooms: 3, keys: 30, receipts: 30, ..NONE },
        }
    }

    #[test]
    fn what_returned_passes_and_memory_may_move_a_little() {
        let last = Round { memory_after: 11 << 20, ..good() };
        let churned = after(&[good(), good(), good(), last]);
        assert_eq!((churned.exit_code, churned.connections), (0, 400), "{:?}", churned.reasons);
        let shown = churned.to_string();
        assert!(shown.contains("kept: 10.00 MiB after round 3, 6.00 MiB more than before anybody came"), "{shown}");
    }

    #[test]
    fn each_thing_that_does_not_return_is_named() {
        let faults = Said { faults: 2, faults_by_name: [(Fault::Cut, 2)].into(), ..good().said };
        for (bad, word) in [
            (Round { memory_after: (11 << 20) + 1, ..good() }, "memory"),
            (Round { counts: Counts { rows: 1, ..NONE }, ..good() }, "rows"),
            (Round { counts: Counts { sockets: 1, ..NONE }, ..good() }, "sockets"),
            (Round { counts: Counts { rings: 2, ..NONE }, ..good() }, "rings"),
            (Round { counts: Counts { rooms: 4, ..NONE }, ..good() }, "rooms"),
            (Round { counts: Counts { rooms: 1, keys: 11, ..NONE }, ..good() }, "keys"),
            (Round { counts: Counts { receipts: 1, ..NONE }, ..good() }, "read positions"),
            (Round { said: faults, ..good() }, "2 faults while everybody talked: 2 cut"),
            (Round { counts: Counts { overflows: 1, ..NONE }, ..good() }, "outgrew"),
            (Round { counts: Counts { stale: 1, ..NONE }, ..good() }, "former owner"),
            (Round { parted: Parted { goodbyes: 50, answered: 49, reset: 50 }, ..good() }, "49 of 50"),
            (Round { parted: Parted { goodbyes: 50, answered: 50, reset: 49 }, ..good() }, "1 connections"),
        ] {
            let churned = after(&[good(), good(), good(), bad]);
            assert_eq!(churned.exit_code, 2, "{word}");
            assert!(churned.reasons.len() == 1 && churned.reasons[0].contains(word), "{word}: {:?}", churned.reasons);
        }
    }

    /// Cut, silent and told of a gap were all "lost, doubled or misplaced", and nobody was named.
    #[test]
    fn faults_have_their_names_and_the_first_offenders_are_told() {
        let offender = Offender {
            fault: Fault::Silent,
            room: 3,
            connection: 31,
            publisher: None,
            seq: None,
            at_ms: Some(1_500),
            detail: "1 by the count at the end".to_owned(),
        };
        let said = Said {
            faults: 3,
            faults_by_name: [(Fault::Silent, 1), (Fault::Gap, 2)].into(),
            offenders: vec![offender],
            ..good().said
        };
        let churned = after(&[good(), good(), good(), Round { said, ..good() }]);
        let shown = churned.to_string();
        assert!(shown.contains("round 4: 3 faults while everybody talked: 2 gap, 1 silent"), "{shown}");
        assert!(shown.contains("silent       room 3 connection 31 at 1.500 s"), "{shown}");
    }

    /// What three rounds left was the measure of all others, however much it was.
    #[test]
    fn what_is_kept_after_the_first_rounds_is_no_more_than_a_crowd_takes() {
        let grown = |mib: u64| Round { memory_after: mib << 20, ..good() };
        let churned = after(&[grown(12), grown(20), grown(28), grown(28)]);
        assert_eq!(churned.exit_code, 2);
        let said = churned.reasons.join("; ");
        assert!(
            said.contains("28.00 MiB") && said.contains("the first crowd took while it was there (12.00 MiB)"),
            "{said}"
        );
    }

    /// The generator's own lateness was never measured here.
    #[test]
    fn a_round_that_fell_short_is_the_generators_only_where_it_was_at_its_limit() {
        let short = |limit: Option<&str>| {
            let talking = Effort { limit: limit.map(str::to_owned), ..Effort::default() };
            Round { said: Said { said: 90, talking, ..good().said }, ..good() }
        };
        let of = |bad: Round| {
            let churned = after(&[good(), good(), good(), bad]);
            (churned.verdict, churned.exit_code, churned.reasons.join("; "))
        };
        let (verdict, code, said) = of(short(Some("it was late")));
        assert_eq!((verdict, code), (Verdict::GeneratorLimited, 3), "{said}");
        assert!(said.contains("90 of 100 had their say: the generator was at its own limit, it was late"), "{said}");
        assert_eq!(of(short(None)).1, 1);
        assert_eq!(of(Round { asked_to_talk: false, ..short(None) }).1, 0, "nobody was to say anything");
        let broken = Said { faults: 1, faults_by_name: [(Fault::Lost, 1)].into(), ..short(Some("late")).said };
        assert_eq!(of(Round { said: broken, ..good() }).1, 2, "a broken promise outranks it");
    }
}
