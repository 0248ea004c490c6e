//! What one connection has been told about one room, and whether what it hears next fits.

use throng::base::{Epoch, Offset, Position};
use throng::wire::GapWhy;

use crate::company::Company;
use crate::reference::Reference;
use crate::weather::Weather;

/// How a join was asked for.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Wish {
    pub(crate) since: Option<Position>,
    pub(crate) history: u32,
    pub(crate) presence: bool,
    /// As a room of a `resume`.
    pub(crate) resumes: bool,
}

/// One seat as its owner sees it. Commands are known by the order in which they were sent.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// Told so by an answer, and not told otherwise since.
    pub(crate) seated: bool,
    /// A join or leave without `id` is out: nothing will say what became of it.
    pub(crate) joined_silently: bool,
    pub(crate) left_silently: bool,
    /// Told so only by a refusal: it may be that the seat was still asked for, and is refused without a name.
    presumed: bool,
    pub(crate) epoch: Option<u64>,
    /// The next offset lies between these two (inclusive); equal: it is known.
    low: Offset,
    high: Offset,
    /// Asked with a position of another life, or resumed without one: such a gap must come before anything else.
    awaits_gap: Option<GapWhy>,
    /// The newest that such a gap may say is missing.
    head_at_join: Offset,
    /// It joined here: from here on an answer stands for its own words, and what lies before comes whoever said it.
    own_from: Offset,
    left_at: u64,
    /// The newest command sent by the time the server took the seat away.
    removed_at: u64,
    pub(crate) company: Company,
}

/// What an answer to a join says.
pub(crate) struct JoinAnswer {
    pub(crate) sequence: u64,
    pub(crate) epoch: Epoch,
    pub(crate) head: Offset,
    pub(crate) recovered: Option<bool>,
}

const ANYWHERE: Offset = Offset(u64::MAX);

impl View {
    pub(crate) fn join_silently(&mut self) {
        self.joined_silently = true;
        if !self.seated {
            (self.low, self.high) = (Offset(1), ANYWHERE);
            self.epoch = None;
        }
    }

    /// V1: a seat is given once, and not after it was given up. The start is what was asked for.
    pub(crate) fn on_joined(&mut self, wish: &Wish, answer: &JoinAnswer, weather: &Weather) -> Result<(), String> {
        if answer.sequence < self.left_at {
            return Err("V1 seated after it had been told that it left".into());
        }
        if self.seated && !self.left_silently {
            return Err("V1 seated twice".into());
        }
        let head = answer.head;
        (self.seated, self.joined_silently, self.left_silently) = (true, false, false);
        self.presumed = false;
        self.epoch = Some(answer.epoch.0);
        (self.awaits_gap, self.head_at_join, self.own_from) = (None, head, head.next());
        if answer.recovered.is_some() != (wish.since.is_some() || wish.resumes) {
            return Err(format!("V1 {wish:?} was answered with recovered {:?}", answer.recovered));
        }
        let Some(since) = wish.since else {
            if wish.resumes {
                self.awaits_gap = Some(GapWhy::Unknown);
                return if answer.recovered == Some(false) {
                    Ok(())
                } else {
                    Err("V1 recovered who knows what".into())
                };
            }
            let newest = (wish.history as usize).min(weather.limits.history_on_join_max) as u64;
            let kept = newest.min(weather.limits.log_messages_max as u64);
            self.low = Offset((head.0 + 1).saturating_sub(kept).max(1));
            self.high = if weather.plain_log() { self.low } else { head.next() };
            return Ok(());
        };
        if since.epoch != answer.epoch || since.offset > head {
            self.awaits_gap = Some(GapWhy::Epoch);
            return if answer.recovered == Some(false) { Ok(()) } else { Err("V1 recovered another life".into()) };
        }
        (self.low, self.high) = (since.offset.next(), since.offset.next());
        let first_kept = Offset((head.0 + 1).saturating_sub(weather.limits.log_messages_max as u64).max(1));
        if weather.plain_log() && answer.recovered != Some(self.low >= first_kept) {
            return Err(format!("V1 since {since:?} of {head:?} was answered with recovered {:?}", answer.recovered));
        }
        Ok(())
    }

    pub(crate) fn on_left(&mut self, sequence: u64) {
        *self = Self { left_at: sequence, ..Self::default() };
    }

    /// The server took the seat away; a join that was under way may have been meant.
    pub(crate) fn on_removed(&mut self, sequence: u64) {
        *self = Self { left_at: self.left_at, removed_at: sequence, ..Self::default() };
    }

    /// It may not ask any more who is there.
    pub(crate) fn stop_watching(&mut self) {
        self.company.stop_watching();
    }

    /// The server says we sit here already.
    pub(crate) fn on_already_joined(&mut self) {
        if !self.seated {
            self.seated = true;
            self.joined_silently = false;
            self.presumed = true;
        }
    }

    /// Some join without `id` found its room full, and nobody says which.
    pub(crate) fn on_nameless_refusal(&mut self) {
        if std::mem::take(&mut self.presumed) && self.seated {
            (self.seated, self.joined_silently) = (false, true);
        }
    }

    pub(crate) fn leave_silently(&mut self) {
        self.left_silently = true;
    }

    pub(crate) fn left_after(&self, sequence: u64) -> bool {
        self.left_at > sequence || self.removed_at >= sequence || self.left_silently
    }

    /// Whether messages may come.
    fn is_audible(&self) -> bool {
        self.seated || self.joined_silently
    }

    /// V2: only in a room one sits in. V3: offsets rise by one; what is passed over is one's own.
    pub(crate) fn on_message(
        &mut self,
        client: usize,
        room: usize,
        offset: Offset,
        reference: &mut Reference,
    ) -> Result<(), String> {
        if !self.is_audible() {
            return Err(format!("V2 heard {offset:?} of a room it is not seated in"));
        }
        if let Some(why) = self.awaits_gap {
            return Err(format!("V3 heard {offset:?} before the gap of {why:?}"));
        }
        self.expect(client, room, offset, reference).map_err(|error| format!("V3 heard {offset:?}: {error}"))?;
        (self.low, self.high) = (offset.next(), offset.next());
        Ok(())
    }

    /// V4: a gap begins where the reader stands.
    pub(crate) fn on_gap(
        &mut self,
        client: usize,
        room: usize,
        gap: (Epoch, Offset, Offset, GapWhy),
        reference: &mut Reference,
    ) -> Result<(), String> {
        let (epoch, from, to, why) = gap;
        if !self.is_audible() {
            return Err("V4 a gap in a room it is not seated in".into());
        }
        if self.epoch.is_some_and(|known| known != epoch.0) {
            return Err(format!("V4 a gap of another life: {epoch:?}"));
        }
        self.epoch = Some(epoch.0);
        match why {
            GapWhy::Epoch => {
                if self.awaits_gap.take() != Some(why) || from != Offset(1) {
                    return Err(format!("V4 the room did not forget, but a gap from {from:?} says so"));
                }
            }
            GapWhy::Unknown => {
                if self.awaits_gap.take() != Some(why) || from != Offset(1) || to > self.head_at_join {
                    return Err(format!("V4 nobody asked without a position, but a gap {from:?} to {to:?} says so"));
                }
            }
            GapWhy::Retention | GapWhy::Slow => {
                if self.awaits_gap.is_some() || to < from {
                    return Err(format!("V4 a gap from {from:?} to {to:?}, {why:?}"));
                }
                self.expect(client, room, from, reference).map_err(|error| format!("V4 gap {from:?}: {error}"))?;
            }
        }
        (self.low, self.high) = (to.next(), to.next());
        Ok(())
    }

    /// V5: news of people only in a room one sits in, or has just left or joined without asking for an answer.
    pub(crate) fn hears_of_people(&self) -> Result<(), String> {
        if self.is_audible() { Ok(()) } else { Err("V5 news of people of a room it is not seated in".into()) }
    }

    /// V6: at quiet a seat has everything up to the head.
    pub(crate) fn is_complete(
        &self,
        client: usize,
        room: usize,
        home: (u64, Offset),
        reference: &mut Reference,
    ) -> Result<(), String> {
        let (epoch, head) = home;
        if self.epoch.is_some_and(|known| known != epoch) {
            return Err(format!(
                "V6 it sits in life {:016x} of the room, the home has {epoch:016x}",
                self.epoch.unwrap_or(0)
            ));
        }
        if let Some(why) = self.awaits_gap {
            return Err(format!("V6 the gap of {why:?} never came"));
        }
        if self.epoch.is_none() || self.high == ANYWHERE {
            return Ok(());
        }
        self.expect(client, room, head.next(), reference)
            .map_err(|error| format!("V6 the head is {head:?}: {error} (stands at {:?}..={:?})", self.low, self.high))
    }

    /// The reader stands at `offset` now: everything before was heard, announced or its own.
    fn expect(&self, client: usize, room: usize, offset: Offset, reference: &mut Reference) -> Result<(), String> {
        if offset < self.low {
            return Err(format!("it had {:?} already", Offset(self.low.0 - 1)));
        }
        let Some(epoch) = self.epoch else {
            let fits = self.high == ANYWHERE || offset == self.high;
            // Without an epoch nothing tells whose the messages between were.
            return if fits || offset > self.high { Ok(()) } else { Err("out of order".into()) };
        };
        if offset <= self.high {
            return Ok(());
        }
        for missed in self.high.0..offset.0 {
            if missed < self.own_from.0 {
                return Err(format!("it was never given {missed}, which was said before it joined"));
            }
            reference.passed_over(client, room, epoch, Offset(missed))?;
        }
        Ok(())
    }

    pub(crate) fn own_from(&self) -> Offset {
        self.own_from
    }

    /// The position of the newest message it has.
    pub(crate) fn position(&self) -> Option<Position> {
        let epoch = Epoch(self.epoch?);
        (self.low == self.high && self.awaits_gap.is_none()).then(|| Position { epoch, offset: Offset(self.low.0 - 1) })
    }
}
