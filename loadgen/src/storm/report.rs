//! What a storm came to, and how it is told.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::leaving::Drained;
use crate::effort::Effort;
use crate::line::Broken;
use crate::orders::Offender;
use crate::report::Verdict;

/// What a storm came to.
#[derive(Serialize, Default, Debug)]
pub(crate) struct Stormed {
    pub(crate) verdict: Option<Verdict>,
    pub(crate) exit_code: u8,
    /// Each a sentence: what was broken, missed, or cannot be told.
    pub(crate) reasons: Vec<String>,
    pub(crate) connections: u32,
    pub(crate) rooms: u32,
    pub(crate) open_s: f64,
    /// From the cut (of the server: from the first that noticed or was told; of a line: from each one's loss) until a member was seated
    /// again.
    pub(crate) back_p50_s: f64,
    pub(crate) back_p99_s: f64,
    pub(crate) back_all_s: f64,
    pub(crate) back: u64,
    /// From the cut until everybody was back, or the time for it was over; and who was not back then.
    pub(crate) over_s: f64,
    pub(crate) late: u64,
    /// How often somebody who sat was lost.
    pub(crate) losses: u64,
    /// Most seats taken within one second.
    pub(crate) seats_per_s_peak: u64,
    pub(crate) tries: u64,
    pub(crate) put_off: u64,
    pub(crate) resumed: u64,
    pub(crate) not_resumed: u64,
    pub(crate) recovered: u64,
    pub(crate) published: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    /// Said by publishers that were never lost, and neither acknowledged nor refused.
    pub(crate) unanswered: u64,
    /// Rooms in which nothing was acknowledged: nothing was owed there.
    pub(crate) rooms_silent: u64,
    pub(crate) heard: u64,
    pub(crate) missing: u64,
    pub(crate) twice: u64,
    /// Of another room; and not as it was sent.
    pub(crate) foreign: u64,
    pub(crate) corrupted: u64,
    pub(crate) gaps: u64,
    pub(crate) told_missing: u64,
    /// CPU time of the server from the cut until everybody was back.
    pub(crate) server_cpu_s: Option<f64>,
    /// Its private dirty bytes before the cut, and at the end.
    pub(crate) memory_before: Option<u64>,
    pub(crate) memory_after: Option<u64>,
    /// What a bad line did.
    pub(crate) line: Option<Broken>,
    /// What came of the slots of a server that left.
    pub(crate) drained: Option<Drained>,
    /// The generator's own part, from the cut until everybody was back.
    pub(crate) effort: Effort,
    /// The first who met a fault.
    pub(crate) offenders: Vec<Offender>,
    /// Why tries failed, and how often.
    pub(crate) failures: BTreeMap<String, u64>,
}

/// The most within any one second.
pub(super) fn peak(sorted_ns: &[u64]) -> u64 {
    let (mut from, mut most) = (0, 0);
    for (to, ns) in sorted_ns.iter().enumerate() {
        while ns - sorted_ns[from] > 1_000_000_000 {
            from += 1;
        }
        most = most.max(to + 1 - from);
    }
    most as u64
}

impl Display for Stormed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "storm      {} in {} rooms, there after {:.1} s", self.connections, self.rooms, self.open_s)?;
        write!(
            f,
            "  back     {} after {:.2} s (half after {:.2} s, 99 % after {:.2} s)",
            self.back, self.back_all_s, self.back_p50_s, self.back_p99_s
        )?;
        match &self.line {
            None => writeln!(f, ", at most {} in a second", self.seats_per_s_peak)?,
            Some(line) => writeln!(
                f,
                " of its own loss, {} losses\n  line     {} delayed, {} cut, {} gone dead, {} half open",
                self.losses, line.delayed, line.cut, line.blackholed, line.half_open
            )?,
        }
        if let Some(drained) = &self.drained {
            writeln!(
                f,
                "  slots    {} told, the latest after {:.2} s; {} sent away, half within {:.3} s of their slot and all within {:.3} s",
                drained.told, drained.slot_max_s, drained.sent_away, drained.after_slot_p50_s, drained.after_slot_max_s
            )?;
            for (why, count) in drained.otherwise.iter().take(8) {
                writeln!(f, "  ended    {count} × {why}")?;
            }
        }
        writeln!(
            f,
            "  tries    {}, {} put off; {} sessions resumed, {} not; {} rooms recovered",
            self.tries, self.put_off, self.resumed, self.not_resumed, self.recovered
        )?;
        writeln!(
            f,
            "  messages {} published, {} acknowledged, {} refused, {} without an answer, {} heard, {} missing, {} twice, {} of another room, {} corrupted; {} gaps that told of {}",
            self.published,
            self.acknowledged,
            self.refused,
            self.unanswered,
            self.heard,
            self.missing,
            self.twice,
            self.foreign,
            self.corrupted,
            self.gaps,
            self.told_missing
        )?;
        if self.rooms_silent > 0 {
            writeln!(f, "           in {} rooms nothing was acknowledged: nothing was owed there", self.rooms_silent)?;
        }
        writeln!(f, "  own      {}", self.effort.sentence())?;
        if let (Some(cpu_s), Some(before), Some(after)) = (self.server_cpu_s, self.memory_before, self.memory_after) {
            writeln!(
                f,
                "  server   {cpu_s:.2} s of CPU time while they came back; {} MiB before the cut, {} MiB at the end",
                before >> 20,
                after >> 20
            )?;
        }
        self.offenders.iter().try_for_each(|offender| writeln!(f, "  {offender}"))?;
        for (why, count) in self.failures.iter().take(8) {
            writeln!(f, "  failed   {count} × {why}")?;
        }
        let reasons = if self.reasons.is_empty() { String::new() } else { format!(": {}", self.reasons.join("; ")) };
        let verdict = self.verdict.map_or("none", Verdict::words).to_owned() + &reasons;
        write!(f, "  verdict  {verdict} (exit {})", self.exit_code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_that_of_any_second() {
        let ms = |at: &[u64]| at.iter().map(|ms| ms * 1_000_000).collect::<Vec<_>>();
        assert_eq!(peak(&ms(&[])), 0);
        assert_eq!(peak(&ms(&[0, 900, 1_000, 1_001, 1_900, 5_000])), 4);
    }
}
