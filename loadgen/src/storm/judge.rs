//! What a storm came to: every member's account against the rooms' heads.

use anyhow::Result;
use throng::base::Position;

use super::leaving::Drained;
use super::report;
use super::{Cut, Storm, Stormed};
use crate::line::Line;
use crate::member::Stage;
use crate::report::Verdict;

impl Storm<'_> {
    pub(super) fn judge(mut self) -> Result<Stormed> {
        let mut report = std::mem::take(&mut self.report);
        let (astray, many_gaps) = self.add_up(&mut report);
        self.back_ns.sort_unstable();
        let seconds = |ns: Option<&u64>| ns.map_or(0.0, |ns| *ns as f64 / 1e9);
        let share = |percent: usize| {
            seconds(self.back_ns.get((self.back_ns.len() * percent / 100).min(self.back_ns.len().saturating_sub(1))))
        };
        (report.back_p50_s, report.back_p99_s) = (share(50), share(99));
        report.back_all_s = seconds(self.back_ns.last());
        report.back = self.back_ns.len() as u64;
        report.seats_per_s_peak = if self.line.is_none() { report::peak(&self.back_ns) } else { 0 };
        report.line = self.line.take().map(Line::end).transpose()?;
        report.drained = self.leaving.take().map(super::Leaving::judged);
        let (verdict, reasons) = self.verdict(&report, astray, many_gaps);
        (report.verdict, report.exit_code, report.reasons) = (Some(verdict), verdict.exit_code(), reasons);
        report.offenders = self.company.offenders;
        Ok(report)
    }

    /// What it comes to, and why.
    fn verdict(&self, report: &Stormed, astray: u64, many_gaps: u64) -> (Verdict, Vec<String>) {
        let everybody = self.company.members.len() as u64;
        let here = self.company.members.iter().filter(|member| member.stage == Stage::Here).count() as u64;
        let mut broken = Vec::new();
        let mut wrong = |count: u64, what: &str| {
            if count > 0 {
                broken.push(format!("{count} {what}"));
            }
        };
        wrong(report.missing, "messages are missing and nobody said so");
        wrong(report.twice, "messages came twice");
        wrong(report.foreign, "words of other rooms came");
        wrong(report.corrupted, "messages were not what anybody sent");
        wrong(report.unanswered, "messages of publishers that stayed were neither acknowledged nor refused");
        wrong(astray, "sit in a room of another life than the publishers'");
        wrong(many_gaps, "were told of more than one gap for one loss");
        if let Some(drained) = &report.drained {
            judge_slots(drained, everybody, &mut wrong);
        }
        let late = report.late.max(everybody - here);
        let late = (late > 0).then(|| format!("{late} did not come back in time"));
        let limit = report.effort.limit.as_ref().filter(|_| late.is_some());
        let limit = limit.map(|limit| format!("the generator was at its own limit: {limit}"));
        let verdict = match (broken.is_empty(), &late, &limit) {
            (false, ..) | (true, Some(_), None) => Verdict::ProofFailed,
            (true, Some(_), Some(_)) => Verdict::GeneratorLimited,
            (true, None, _) if unknown(report, self.args.cut).is_empty() => Verdict::Passed,
            (true, None, _) => Verdict::Unknown,
        };
        let reasons = late.into_iter().chain(broken).chain(limit).chain(unknown(report, self.args.cut));
        (verdict, reasons.collect())
    }

    /// Sums what everybody lived through; how many sit where nobody speaks, and how many were told of too many gaps.
    fn add_up(&mut self, report: &mut Stormed) -> (u64, u64) {
        let (mut astray, mut many_gaps) = (0, 0);
        report.rooms_silent = self.heads.iter().filter(|head| head.is_none()).count() as u64;
        for n in 0..self.company.members.len() {
            let (lived, position) = (self.company.members[n].lived, self.company.members[n].position);
            report.tries += lived.tries;
            report.put_off += lived.put_off;
            report.resumed += lived.resumed;
            report.not_resumed += lived.not_resumed;
            report.recovered += lived.recovered;
            report.refused += lived.refused;
            report.heard += lived.heard;
            report.missing = report.missing.saturating_add(lived.missing);
            report.twice += lived.twice;
            report.foreign += lived.foreign;
            report.corrupted += lived.corrupted;
            report.gaps += lived.gaps;
            report.told_missing = report.told_missing.saturating_add(lived.told_missing);
            report.losses += self.losses[n];
            many_gaps += u64::from(lived.gaps > self.losses[n].max(1));
            if self.losses[n] == 0 {
                report.unanswered += self.said[n].saturating_sub(self.acked[n] + lived.refused);
            }
            let head = self.heads.get(n / self.args.room_size as usize).copied().flatten();
            match (head, position) {
                (Some(head), Some(position)) if head.epoch == position.epoch => {
                    let behind = head.offset.0.saturating_sub(position.offset.0);
                    report.missing = report.missing.saturating_add(behind);
                    self.company.note_behind(n, head.offset);
                }
                (Some(Position { .. }), _) => astray += 1,
                (None, _) => {}
            }
        }
        (astray, many_gaps)
    }
}

/// Why there is nothing to judge, a sentence each.
fn unknown(report: &Stormed, cut: Cut) -> Vec<String> {
    // A server that begins anew knows nothing to recover, and has to say so.
    let begins_anew = matches!(cut, Cut::Server | Cut::Drain) && report.gaps > 0;
    let ended = report.line.is_some_and(|line| line.ended() > 0);
    let nothing = [
        (report.heard == 0, "nobody heard anything"),
        (report.acknowledged == 0, "no message was acknowledged, so that nothing was owed: a higher --rate, or longer"),
        (
            report.recovered == 0 && !begins_anew,
            "nobody recovered its room after it was lost, so that resuming was not judged",
        ),
        (
            cut == Cut::Line && !ended,
            "the line ended no connection, so there is nothing to judge: longer, or more --faults",
        ),
    ];
    nothing.into_iter().filter(|(is, _)| *is).map(|(_, sentence)| sentence.to_owned()).collect()
}

/// A slot of one's own, kept, and a goodbye of 1012: for everybody.
fn judge_slots(drained: &Drained, everybody: u64, wrong: &mut impl FnMut(u64, &str)) {
    let otherwise: u64 = drained.otherwise.values().sum();
    wrong(otherwise, "were ended otherwise than by 1012 while the server left");
    wrong(everybody.saturating_sub(drained.sent_away + otherwise), "were not sent away in time");
    wrong(drained.without_slot, "were sent away without having been told a slot");
    wrong(drained.told_twice, "were told a slot twice");
    wrong(drained.early, "were sent away before their slot can have come");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_was_owed_or_nobody_recovered_there_is_nothing_to_judge() {
        let good = || Stormed { acknowledged: 5, heard: 9, recovered: 3, ..Stormed::default() };
        assert!(unknown(&good(), Cut::Clients).is_empty());
        for (bad, cut, word) in [
            (Stormed { acknowledged: 0, ..good() }, Cut::Clients, "acknowledged"),
            (Stormed { heard: 0, ..good() }, Cut::Clients, "heard"),
            (Stormed { recovered: 0, ..good() }, Cut::Clients, "recovered"),
            (Stormed { recovered: 0, gaps: 3, ..good() }, Cut::Clients, "recovered"),
            (Stormed { recovered: 0, ..good() }, Cut::Server, "recovered"),
            (good(), Cut::Line, "the line ended no connection"),
        ] {
            let said = unknown(&bad, cut);
            assert!(said.len() == 1 && said[0].contains(word), "{word}: {said:?}");
        }
        let anew = Stormed { recovered: 0, gaps: 3, ..good() };
        assert!(unknown(&anew, Cut::Server).is_empty(), "a server that begins anew tells gaps");
    }
}
