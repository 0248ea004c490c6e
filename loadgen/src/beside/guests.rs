//! Guests: they come to the crowd's rooms, stay a while, type, confirm what they have read, and go.
//!
//! How long they stay, are away and think is drawn at random around the given means. Their edges are defined: what counts
//! begins behind the position that the answer to their join names, and ends with the newest message of the room, for which each
//! asks before its goodbye, and everybody who is there at the end of a phase: until it has heard that one nobody is let off.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use throng::base::Offset;
use throng::wire::client::CommandOut;

use super::{BACKOFF_MS, CONNECTING, GuestReport, STEP_NS, sum};
use crate::company::{Company, Happened, Happening};
use crate::latency::Latencies;
use crate::member::{Lived, Stage};
use crate::orders::Offender;
use crate::place::Place;
use crate::sys;

/// How guests are, on average.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Habits {
    /// Seconds they stay, and are away between two visits.
    pub(crate) stay_s: f64,
    /// Seconds between two things they do while they are here.
    pub(crate) think_s: f64,
}

/// The thread they live on. Dropped, it ends by itself.
pub(crate) struct Guests {
    guests: u32,
    account: Arc<Mutex<Account>>,
    calls: Arc<Calls>,
    thread: Option<JoinHandle<Result<()>>>,
    /// The account at the last reckoning.
    reckoned: Account,
}

/// What is asked of them.
#[derive(Default)]
struct Calls {
    /// How often everybody who is there was to say whether it has heard all, and how often that is done.
    made: AtomicU32,
    answered: AtomicU32,
}

/// In place of a number of calls: go home.
const OVER: u32 = u32::MAX;

/// Everything so far.
#[derive(Clone)]
struct Account {
    visits: u64,
    coming: Latencies,
    typing_said: u64,
    receipts_said: u64,
    cut: u64,
    turned_away: u64,
    turned_away_by: Option<String>,
    unknown: u64,
    unanswered: u64,
    offenders: Vec<Offender>,
    /// Now.
    kept_out: u64,
    lived: Lived,
}

impl Account {
    fn new() -> Self {
        let (lived, coming) = (Lived::default(), Latencies::new());
        Self {
            visits: 0,
            coming,
            typing_said: 0,
            receipts_said: 0,
            cut: 0,
            turned_away: 0,
            turned_away_by: None,
            unknown: 0,
            unanswered: 0,
            offenders: Vec::new(),
            kept_out: 0,
            lived,
        }
    }
}

impl Guests {
    /// They begin to come. Of messages that somebody waits for, silence for `settle_ns` is the end of hope.
    pub(crate) fn start(company: Company, habits: Habits, settle_ns: u64) -> Result<Self> {
        let (account, calls) = (Arc::new(Mutex::new(Account::new())), Arc::new(Calls::default()));
        let guests = company.members.len();
        let (theirs, heard) = (Arc::clone(&account), Arc::clone(&calls));
        let live = move || {
            let visits = vec![Visit::default(); guests];
            Party { company, habits, settle_ns, visits, account: theirs }.live(&heard)
        };
        let thread =
            std::thread::Builder::new().name("guests".to_owned()).spawn(live).context("starting the guests")?;
        Ok(Self { guests: guests as u32, account, calls, thread: Some(thread), reckoned: Account::new() })
    }

    /// Nothing more is said in their rooms: whoever is there looks whether it has heard all.
    pub(crate) fn call(&self) {
        self.calls.made.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether they are still about it.
    pub(crate) fn are_looking(&self) -> bool {
        let here = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        here && self.calls.answered.load(Ordering::Acquire) < self.calls.made.load(Ordering::Relaxed)
    }

    /// What they lived through since this was asked the last time; an error when they cannot go on.
    pub(crate) fn reckon(&mut self) -> Result<GuestReport> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            self.end()?;
        }
        let now = lock(&self.account).clone();
        let before = std::mem::replace(&mut self.reckoned, now.clone());
        let (lived, old) = (now.lived, before.lived);
        Ok(GuestReport {
            guests: self.guests,
            visits: now.visits - before.visits,
            coming: now.coming.since(&before.coming).quantiles(),
            typing_said: now.typing_said - before.typing_said,
            receipts_said: now.receipts_said - before.receipts_said,
            heard: lived.heard - old.heard,
            presence_heard: lived.presence - old.presence,
            typing_heard: lived.typing - old.typing,
            receipts_heard: lived.receipts - old.receipts,
            stale: lived.stale - old.stale,
            refused: lived.refused - old.refused,
            missing: lived.missing.saturating_sub(old.missing),
            twice: lived.twice - old.twice,
            foreign: lived.foreign - old.foreign,
            corrupted: lived.corrupted - old.corrupted,
            gaps: lived.gaps - old.gaps,
            cut: now.cut - before.cut,
            turned_away: now.turned_away - before.turned_away,
            turned_away_by: now.turned_away_by.filter(|_| now.turned_away > before.turned_away),
            kept_out: now.kept_out,
            unknown: now.unknown - before.unknown,
            unanswered: now.unanswered - before.unanswered,
            offenders: now.offenders.into_iter().skip(before.offenders.len()).collect(),
        })
    }

    /// Sends everybody home.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.calls.made.store(OVER, Ordering::Relaxed);
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| anyhow!("the guests' thread panicked"))?.context("the guests"),
            None => Ok(()),
        }
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        self.calls.made.store(OVER, Ordering::Relaxed);
    }
}

fn lock(account: &Mutex<Account>) -> MutexGuard<'_, Account> {
    account.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Who has failed so often, one try after the other, is kept out.
const TRIES_IN_VAIN: u32 = 5;

/// One guest now.
#[derive(Clone, Copy, Default)]
struct Visit {
    began_ns: u64,
    until_ns: u64,
    /// When it does something next.
    acts_ns: u64,
    types: bool,
    /// It has asked for the newest message of its room.
    asked: Option<Asked>,
}

/// Somebody who looks whether it has heard all.
#[derive(Clone, Copy)]
struct Asked {
    /// The newest message, when the server has told it.
    head: Option<Offset>,
    /// The newest it has heard itself, and since when nothing more came of what it waits for.
    heard: Option<Offset>,
    since_ns: u64,
    /// It goes then; else it stays.
    goes: bool,
    /// Everybody was called to look.
    called: bool,
}

impl Asked {
    fn from(now_ns: u64) -> Self {
        Self { head: None, heard: None, since_ns: now_ns, goes: false, called: false }
    }
}

struct Party {
    company: Company,
    habits: Habits,
    settle_ns: u64,
    visits: Vec<Visit>,
    account: Arc<Mutex<Account>>,
}

impl Party {
    fn live(mut self, calls: &Calls) -> Result<()> {
        let from_ns = sys::monotonic_ns();
        for n in 0..self.visits.len() {
            // Half of them are here soon, as later on.
            let wait_ns = self.around(self.habits.stay_s / 2.0);
            self.plan_visit(n, from_ns + wait_ns);
        }
        let (mut happened, mut heard) = (Happened::new(), 0);
        loop {
            let made = calls.made.load(Ordering::Relaxed);
            if made == OVER {
                return Ok(());
            }
            self.company.step(Some(CONNECTING), STEP_NS, &mut happened)?;
            let now_ns = sys::monotonic_ns();
            for (n, what) in std::mem::take(&mut happened) {
                self.take_note(n, &what, now_ns);
            }
            for n in 0..self.visits.len() {
                if self.company.members[n].stage == Stage::Here {
                    if made > heard {
                        self.is_called(n, now_ns, &mut happened);
                    }
                    self.lives_on(n, now_ns, &mut happened);
                }
            }
            heard = made;
            self.keep_account();
            if !self.visits.iter().any(|visit| visit.asked.is_some_and(|asked| asked.called)) {
                calls.answered.store(heard, Ordering::Release);
            }
        }
    }

    fn keep_account(&self) {
        let lived = sum(self.company.members.iter().map(|member| member.lived));
        let kept_out = self.company.members.iter().filter(|member| member.failures >= TRIES_IN_VAIN).count();
        let mut account = lock(&self.account);
        (account.lived, account.kept_out) = (lived, kept_out as u64);
        let noted = account.offenders.len();
        account.offenders.extend_from_slice(&self.company.offenders[noted..]);
    }

    /// Exponential around the mean, at most ten times as long.
    fn around(&mut self, mean_s: f64) -> u64 {
        (-self.company.random.fraction().ln().max(-10.0) * mean_s * 1e9) as u64
    }

    fn plan_visit(&mut self, n: usize, at_ns: u64) {
        self.visits[n] = Visit { began_ns: at_ns, ..Visit::default() };
        self.company.comes_at(n, at_ns);
    }

    fn take_note(&mut self, n: usize, what: &Happening, now_ns: u64) {
        match what {
            Happening::Seated => {
                let (stay_ns, think_ns) = (self.around(self.habits.stay_s), self.around(self.habits.think_s));
                let visit = &mut self.visits[n];
                (visit.until_ns, visit.acts_ns) = (now_ns + stay_ns, now_ns + think_ns);
                let mut account = lock(&self.account);
                account.visits += 1;
                account.coming.record_ns(now_ns.saturating_sub(visit.began_ns));
            }
            Happening::Lost { lost, was } => {
                let mut account = lock(&self.account);
                account.cut += u64::from(*was == Stage::Here);
                if *was == Stage::Coming && lost.for_good {
                    account.turned_away += 1;
                    account.turned_away_by.get_or_insert_with(|| lost.why.clone());
                }
                drop(account);
                // What it had asked it will not hear: it was cut, and that is counted.
                self.visits[n].asked = None;
                self.company.waits(n, BACKOFF_MS);
            }
            Happening::Head(Some(head)) => {
                if let Some(asked) = &mut self.visits[n].asked {
                    (asked.head, asked.since_ns) = (Some(*head), now_ns);
                }
            }
            Happening::Head(None) => {
                lock(&self.account).unknown += 1;
                self.looked(n, now_ns);
            }
            Happening::Acked(..) | Happening::Slot { .. } => {}
        }
    }

    /// Everybody is to look whether it has heard all.
    fn is_called(&mut self, n: usize, now_ns: u64, happened: &mut Happened) {
        match &mut self.visits[n].asked {
            // It looks already, as things were before.
            Some(asked) => asked.called = true,
            None => self.asks(n, now_ns, Asked { called: true, ..Asked::from(now_ns) }, happened),
        }
    }

    fn asks(&mut self, n: usize, now_ns: u64, asked: Asked, happened: &mut Happened) {
        let member = &mut self.company.members[n];
        let heard = member.position.map(|position| position.offset);
        self.visits[n].asked = Some(Asked { heard, since_ns: now_ns, ..asked });
        if let Err(lost) = member.asks_for_head() {
            self.company.lose(n, lost, happened);
        }
    }

    /// It waits for what it has not heard yet, unless there is no hope.
    fn looks(&mut self, n: usize, asked: Asked, now_ns: u64) {
        let heard = self.company.members[n].position.map(|position| position.offset);
        let is_hopeless = now_ns >= asked.since_ns + self.settle_ns;
        match asked.head {
            Some(head) if heard >= Some(head) => self.looked(n, now_ns),
            _ if heard > asked.heard => self.visits[n].asked = Some(Asked { heard, since_ns: now_ns, ..asked }),
            Some(head) if is_hopeless => {
                self.company.stays_behind(n, head);
                self.looked(n, now_ns);
            }
            None if is_hopeless => {
                lock(&self.account).unanswered += 1;
                self.looked(n, now_ns);
            }
            Some(_) | None => {}
        }
    }

    /// It knows whether it has heard all; who wanted to go goes.
    fn looked(&mut self, n: usize, now_ns: u64) {
        if self.visits[n].asked.take().is_some_and(|asked| asked.goes) {
            let away_ns = self.around(self.habits.stay_s);
            self.company.leaves(n, now_ns + away_ns);
            self.visits[n] = Visit { began_ns: now_ns + away_ns, ..Visit::default() };
        }
    }

    /// It makes ready to go if it has stayed long enough, or does something if it has thought long enough.
    fn lives_on(&mut self, n: usize, now_ns: u64, happened: &mut Happened) {
        let visit = self.visits[n];
        if let Some(asked) = visit.asked {
            return self.looks(n, asked, now_ns);
        }
        if now_ns >= visit.until_ns {
            return self.asks(n, now_ns, Asked { goes: true, ..Asked::from(now_ns) }, happened);
        }
        if now_ns < visit.acts_ns {
            return;
        }
        self.visits[n].acts_ns = now_ns + self.around(self.habits.think_s);
        let reads = !visit.types && self.company.random.fraction() < 0.5;
        let member = &mut self.company.members[n];
        let (Some(Place { room, .. }), Some(position)) = (member.place.clone(), member.position) else { return };
        let command = if reads {
            CommandOut::Read { room: &room, offset: position.offset }
        } else {
            self.visits[n].types = !visit.types;
            CommandOut::Typing { room: &room, on: !visit.types }
        };
        match member.says(None, &command) {
            Ok(()) => {
                let mut account = lock(&self.account);
                *(if reads { &mut account.receipts_said } else { &mut account.typing_said }) += 1;
            }
            Err(lost) => self.company.lose(n, lost, happened),
        }
    }
}
