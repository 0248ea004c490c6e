//! Revoking, here and on the other servers of this address: while one takes over from another, people sit on both.
//!
//! ```text
//!  POST /revoke ─► every shard ─┐
//!        └───────► each sibling ┴─► one answer       a sibling: another server of this user at this address
//!
//!  start --takeover: find the siblings ─► what they remember ─► the list ─► the shards are born with it
//! ```
//!
//! Promises: a revocation that begins before a link is in what the new sibling is given, one that begins after it in its
//! queue; what came from a sibling goes to no other; everybody whom it did not reach makes the answer incomplete. A sibling
//! is waited for no longer than the shards. Must never keep a server from starting.

mod line;
mod link;
mod list;
mod place;
mod sharing;
mod siblings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

pub use list::Remembered;
pub use sharing::families;
pub use siblings::Sharing;

use super::api::RevokeRequest;
use super::desk::{Call, Desk, NoAnswer};
use super::metrics::Family;
use crate::runtime::clock::Clock;
use crate::shard::{Answer, Question, Revocation, Revoked};
use line::Line;
use list::{Bounds, Noted, RevocationList};
use place::{Names, Place};
use sharing::SharingCounts;

/// The way to whoever must know of a revocation. A clone is a pointer.
#[derive(Clone, Debug)]
pub(super) struct Revoker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    desk: Desk,
    state: Mutex<State>,
    names: OnceLock<Names>,
    counts: SharingCounts,
}

#[derive(Default, Debug)]
struct State {
    list: RevocationList,
    /// The shards are born with what stood in the list then; what comes later they are told.
    inherited: bool,
    links: BTreeMap<u64, Link>,
    /// Siblings that live and cannot be told.
    missing: BTreeSet<Place>,
    /// There was one at the start that could not be found; when it ends is not known either.
    not_found: bool,
    numbers: u64,
}

#[derive(Debug)]
struct Link {
    place: Place,
    queue: mpsc::Sender<Line>,
    /// Who waits for a `Done` of this number.
    waiting: HashMap<u64, oneshot::Sender<Outcome>>,
}

/// What became of a revocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Outcome {
    /// Everybody who took it in has room for it.
    pub(super) remembered: bool,
    /// Every shard took it in.
    pub(super) complete: bool,
}

impl Outcome {
    const DONE: Self = Self { remembered: true, complete: true };
    const UNKNOWN: Self = Self { remembered: false, complete: false };

    fn and(self, other: Self) -> Self {
        Self { remembered: self.remembered && other.remembered, complete: self.complete && other.complete }
    }
}

/// A revocation on its way to all siblings.
#[derive(Debug)]
struct Passed {
    kept: Outcome,
    answers: Vec<(Place, oneshot::Receiver<Outcome>)>,
    missing: usize,
}

impl Revoker {
    pub(super) fn new(desk: Desk) -> Self {
        let (state, names, counts) = (Mutex::default(), OnceLock::new(), SharingCounts::default());
        Self(Arc::new(Shared { desk, state, names, counts }))
    }

    /// All that is to be remembered. Once, before the shards are made: what comes later they are told.
    pub(super) fn inherit(&self) -> Vec<Remembered> {
        let mut state = self.lock();
        state.inherited = true;
        state.list.all()
    }

    /// Revokes on every shard of every server of this address.
    ///
    /// # Errors
    /// Nothing was done.
    pub(super) async fn revoke(&self, revocation: Revocation, patience: Duration) -> Result<Outcome, NoAnswer> {
        let until = Instant::now() + patience;
        let (call, asked) = self.0.desk.ask_all(|| Question::Revoke(revocation.clone()), patience)?;
        let passed = self.pass_on(revocation);
        let (here, there) = tokio::join!(self.hear_shards(call, asked), self.hear_siblings(passed, until));
        Ok(here.and(there))
    }

    pub(super) fn families(&self) -> Vec<Family> {
        let state = self.lock();
        self.0.counts.families(state.links.len(), state.missing.len() + usize::from(state.not_found))
    }

    /// Writes it down and puts it into every queue, in one go.
    fn pass_on(&self, revocation: Revocation) -> Passed {
        let now_s = unix_s();
        let mut state = self.lock();
        let kept = self.note(&mut state, now_s, Remembered { at_unix_s: now_s, revocation: revocation.clone() });
        let mut answers = Vec::new();
        for number in state.links.keys().copied().collect::<Vec<_>>() {
            let id = state.next_number();
            let Some(link) = state.links.get_mut(&number) else { continue };
            link.waiting.retain(|_, answer| !answer.is_closed());
            let (answer, heard) = oneshot::channel();
            let line = Line::Revoke { id, what: RevokeRequest::of(&revocation) };
            // A full queue drops the answer, which is found out where it is waited for.
            if link.queue.try_send(line).is_ok() {
                link.waiting.insert(id, answer);
            }
            answers.push((link.place, heard));
        }
        let kept = Outcome { remembered: kept != Noted::Full, complete: true };
        Passed { kept, answers, missing: state.missing.len() + usize::from(state.not_found) }
    }

    async fn hear_shards(&self, mut call: Call, asked: usize) -> Outcome {
        let (mut outcome, mut answered) = (Outcome::DONE, 0);
        for _ in 0..asked {
            match call.next().await {
                Ok(Answer::Revoked(revoked)) => {
                    answered += 1;
                    outcome.remembered &= revoked == Revoked::Kept;
                }
                // Not done there.
                Ok(_) => {}
                Err(_) => break,
            }
        }
        outcome.complete = answered == self.0.desk.shards();
        outcome
    }

    async fn hear_siblings(&self, passed: Passed, until: Instant) -> Outcome {
        let mut outcome = passed.kept;
        for (place, answer) in passed.answers {
            let heard = match timeout_at(until, answer).await {
                Ok(Ok(heard)) => heard,
                // Nobody is there any more.
                Ok(Err(_)) if self.has_ended(place) => Outcome::DONE,
                Ok(Err(_)) | Err(_) => Outcome::UNKNOWN,
            };
            SharingCounts::add(if heard.complete { &self.0.counts.told } else { &self.0.counts.unshared });
            outcome = outcome.and(heard);
        }
        for _ in 0..passed.missing {
            SharingCounts::add(&self.0.counts.unshared);
            outcome = Outcome::UNKNOWN;
        }
        if !outcome.complete {
            tracing::warn!("a revocation did not reach every server of this address: its caller is told to call again");
        }
        outcome
    }

    /// A sibling remembers this.
    async fn take_known(&self, one: Remembered) {
        let (noted, tell) = {
            let mut state = self.lock();
            let noted = self.note(&mut state, unix_s(), one.clone());
            (noted, state.inherited && noted != Noted::Known)
        };
        SharingCounts::add(&self.0.counts.heard);
        let told = if tell { self.tell_shards(&one.revocation).await } else { Outcome::DONE };
        if noted == Noted::Full || !told.complete {
            SharingCounts::add(&self.0.counts.unshared);
            tracing::error!(
                setting = "limits.revocations_max",
                "a revocation of another server of this address could not be taken in, or not by every shard"
            );
        }
    }

    /// A sibling was asked for this.
    async fn take_in(&self, revocation: Revocation) -> Outcome {
        let now_s = unix_s();
        let (noted, inherited) = {
            let mut state = self.lock();
            let one = Remembered { at_unix_s: now_s, revocation: revocation.clone() };
            (self.note(&mut state, now_s, one), state.inherited)
        };
        SharingCounts::add(&self.0.counts.heard);
        let kept = Outcome { remembered: noted != Noted::Full, complete: true };
        if inherited { self.tell_shards(&revocation).await.and(kept) } else { kept }
    }

    /// Tells every shard, again and again for a while where not all take it in.
    async fn tell_shards(&self, revocation: &Revocation) -> Outcome {
        let mut until = Instant::now() + TELL_WITHIN;
        loop {
            match self.0.desk.ask_all(|| Question::Revoke(revocation.clone()), TELL_WITHIN) {
                Ok((call, asked)) => {
                    let outcome = self.hear_shards(call, asked).await;
                    if outcome.complete || Instant::now() >= until {
                        return outcome;
                    }
                }
                // They are born and cannot be asked yet; nobody has come to them so far, or a moment ago.
                Err(NoAnswer::Starting) => until = Instant::now() + TELL_WITHIN,
                Err(NoAnswer::NotTaken | NoAnswer::TimeOut) if Instant::now() >= until => return Outcome::UNKNOWN,
                Err(NoAnswer::NotTaken | NoAnswer::TimeOut) => {}
            }
            sleep(ASK_AGAIN).await;
        }
    }

    /// Answers a sibling. What finds no room is not waited for: the other's patience ends.
    fn answer(&self, number: u64, line: Line) {
        if let Some(link) = self.lock().links.get(&number) {
            let _there_was_room = link.queue.try_send(line);
        }
    }

    fn on_done(&self, number: u64, id: u64, outcome: Outcome) {
        let answer = self.lock().links.get_mut(&number).and_then(|link| link.waiting.remove(&id));
        if let Some(answer) = answer {
            // Whoever asked may have given up.
            let _waits = answer.send(outcome);
        }
    }

    fn note(&self, state: &mut State, now_s: u64, one: Remembered) -> Noted {
        let rules = self.0.desk.rules();
        let bounds = Bounds { entries_max: rules.revocations_max, life_s: rules.revocation_life_s };
        state.list.note(now_s, &one, bounds)
    }

    fn counts(&self) -> &SharingCounts {
        &self.0.counts
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

fn unix_s() -> u64 {
    Duration::from_millis(Clock::start().now().unix_ms).as_secs()
}

/// How long the shards may take over what a sibling says.
const TELL_WITHIN: Duration = Duration::from_secs(4);
const ASK_AGAIN: Duration = Duration::from_millis(20);
