//! What a storm came to: every member's account against the rooms' heads.

use anyhow::Result;
use throng::base::Position;

use super::leaving::Drained;
use super::report;
use super::{Cut, Storm, Stormed};
use crate::line::Line;
use crate::member::Stage;

/// The exit code of a broken promise, and of too little to judge.
const BROKEN: u8 = 2;

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
        let here = self.company.members.iter().filter(|member| member.stage == Stage::Here).count();
        let mut reasons = Vec::new();
        let mut wrong = |count: u64, what: &str| {
            if count > 0 {
                reasons.push(format!("{count} {what}"));
            }
        };
        wrong((self.company.members.len() - here) as u64, "did not come back in time");
        wrong(report.missing, "messages are missing and nobody said so");
        wrong(report.twice, "messages came twice");
        wrong(report.foreign, "words of other rooms came");
        wrong(report.corrupted, "messages were not what anybody sent");
        wrong(astray, "sit in a room of another life than the publishers'");
        wrong(many_gaps, "were told of more than one gap for one loss");
        wrong(u64::from(report.heard == 0), "run in which nobody heard anything");
        if let Some(drained) = &report.drained {
            judge_slots(drained, self.company.members.len() as u64, &mut wrong);
        }
        if self.args.cut == Cut::Line && report.line.is_none_or(|line| line.ended() == 0) {
            reasons.push(
                "the line ended no connection, so there is nothing to judge: longer, or more --faults".to_owned(),
            );
        }
        report.exit_code = if reasons.is_empty() { 0 } else { BROKEN };
        report.reasons = reasons;
        Ok(report)
    }

    /// Sums what everybody lived through; how many sit where nobody speaks, and how many were told of too many gaps.
    fn add_up(&self, report: &mut Stormed) -> (u64, u64) {
        let (mut astray, mut many_gaps) = (0, 0);
        for (n, member) in self.company.members.iter().enumerate() {
            let lived = member.lived;
            report.tries += lived.tries;
            report.put_off += lived.put_off;
            report.resumed += lived.resumed;
            report.not_resumed += lived.not_resumed;
            report.recovered += lived.recovered;
            report.heard += lived.heard;
            report.missing = report.missing.saturating_add(lived.missing);
            report.twice += lived.twice;
            report.foreign += lived.foreign;
            report.corrupted += lived.corrupted;
            report.gaps += lived.gaps;
            report.told_missing = report.told_missing.saturating_add(lived.told_missing);
            report.losses += self.losses[n];
            many_gaps += u64::from(lived.gaps > self.losses[n].max(1));
            let head = self.heads.get(n / self.args.room_size as usize).copied().flatten();
            match (head, member.position) {
                (Some(head), Some(position)) if head.epoch == position.epoch => {
                    let behind = head.offset.0.saturating_sub(position.offset.0);
                    report.missing = report.missing.saturating_add(behind);
                }
                (Some(Position { .. }), _) => astray += 1,
                (None, _) => {}
            }
        }
        (astray, many_gaps)
    }
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
