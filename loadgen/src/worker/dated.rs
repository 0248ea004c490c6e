//! What was lost, as offenders with a time: the one at which the schedule wanted the message sent.
//!
//! Nobody notes when a message went out. The schedule is seeded: where it has to be known, it is gone through once more.

use std::collections::BTreeMap;

use crate::orders::{Offender, Phase};
use crate::proof::{Fault, Loss, Message};
use crate::schedule::Schedule;

impl Phase {
    /// When each of this worker's `publishers` is to send.
    pub(super) fn schedule(&self, publishers: u32) -> Schedule {
        let span_ns = self.warmup_ns + self.duration_ns;
        Schedule::new((self.arrivals, self.slope), self.start_ns, span_ns, self.messages, publishers, self.seed)
    }
}

/// The earliest of the losses of a phase, at most `most`.
pub(super) fn offenders(losses: &[Loss], phase: &Phase, publishers: u32, most: usize) -> Vec<Offender> {
    let due = due(losses, phase, publishers);
    let mut offenders: Vec<Offender> = losses.iter().map(|lost| offender(lost, &due)).collect();
    offenders.sort_by_key(|offender| offender.at_ms.unwrap_or(u64::MAX));
    offenders.truncate(most);
    offenders
}

/// By local publisher and its number in the phase.
type Due = BTreeMap<(u32, u32), u64>;

/// Where it stands in [`Due`], if that is known.
fn turn(message: Message) -> Option<(u32, u32)> {
    Some((message.local, message.nth?))
}

/// When those of the lost messages were due that are known.
fn due(losses: &[Loss], phase: &Phase, publishers: u32) -> Due {
    let messages = losses.iter().filter_map(|lost| lost.message);
    let mut due: Due = messages.filter_map(turn).map(|turn| (turn, 0)).collect();
    if due.is_empty() {
        return due;
    }
    let mut sent = vec![0_u32; publishers as usize];
    let (mut schedule, mut left) = (phase.schedule(publishers), due.len());
    while let Some((at_ns, publisher)) = schedule.take_due(u64::MAX).filter(|_| left > 0) {
        let nth = &mut sent[publisher as usize];
        if let Some(when) = due.get_mut(&(publisher, *nth)) {
            *when = at_ns;
            left -= 1;
        }
        *nth += 1;
    }
    due
}

fn offender(lost: &Loss, due: &Due) -> Offender {
    let due_ns = lost.message.and_then(turn).and_then(|turn| due.get(&turn)).copied();
    let at_ns = due_ns.or_else(|| lost.seen.map(|seen| seen.at_ns));
    Offender {
        fault: Fault::Lost,
        room: lost.room,
        connection: lost.connection,
        publisher: lost.message.map(|message| message.publisher),
        seq: lost.message.map(|message| message.seq),
        at_ms: at_ns.map(|at_ns| at_ns / 1_000_000),
        detail: lost.describe(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::SeenMissing;
    use crate::schedule::{Arrivals, Slope};

    #[test]
    fn a_lost_message_is_dated_by_its_schedule_and_the_earliest_come_first() {
        for arrivals in [Arrivals::Even, Arrivals::Poisson] {
            let phase = Phase {
                arrivals,
                slope: Slope::FLAT,
                start_ns: 5_000_000_000,
                warmup_ns: 0,
                duration_ns: 1_000_000_000,
                messages: 1_000,
                seed: 7,
                heartbeat_needed: false,
                lateness_ns_max: 0,
                pace_ns: 0,
                spread_every: 1,
            };
            let mut schedule = phase.schedule(4);
            let sent: Vec<_> = std::iter::from_fn(|| schedule.take_due(u64::MAX)).collect();
            let of =
                |publisher: u32, nth: usize| sent.iter().filter(|(_, by)| *by == publisher).nth(nth).map(|(at, _)| *at);
            let plain = Loss {
                room: 3,
                connection: 9,
                count: 1,
                others: 0,
                message: None,
                offset: None,
                seen: None,
                newest: None,
            };
            let lost = |local, nth| {
                let message = Message { publisher: 40 + local, local, seq: 100 + nth, nth: Some(nth) };
                Loss { message: Some(message), ..plain }
            };
            let seen = SeenMissing { from: Some(1), to: 2, at_ns: 5_000_000_001 };
            let seen = Loss { seen: Some(seen), ..plain };
            let losses = [plain, lost(2, 100), lost(1, 30), seen];
            let found = offenders(&losses, &phase, 4, 9);
            let expected = [Some(5_000_000_001), of(1, 30), of(2, 100), None];
            let at: Vec<_> = found.iter().map(|offender| offender.at_ms).collect();
            assert_eq!(at, expected.map(|at| at.map(|at| at / 1_000_000)), "{arrivals:?}");
            assert_eq!((found[1].publisher, found[1].seq), (Some(41), Some(130)));
            assert_eq!(offenders(&losses, &phase, 4, 2).len(), 2);
        }
    }
}
