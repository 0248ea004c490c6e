//! People apart from the measured crowd, all on one thread: who is due comes, what has come is read.
//!
//! Promises: whatever becomes of somebody is told once, in order; nobody is forgotten: who is lost stays away until told
//! when to come again. It measures how long people take, not the latency of messages.

use std::sync::Arc;

use anyhow::Result;
use throng::base::{Offset, Position};

use crate::latency::Latencies;
use crate::member::{Lost, Member, News, Offence, Stage};
use crate::mix::Random;
use crate::orders::Offender;
use crate::proof::Fault;
use crate::reach::Door;
use crate::sys::{self, Epoll};

/// What became of somebody.
#[derive(Debug)]
pub(crate) enum Happening {
    Seated,
    /// Its publish of this id has a position.
    Acked(u64, Position),
    /// The newest message of its room, as the server says.
    Head(Option<Offset>),
    /// The server leaves, and this is its slot.
    Slot {
        ms: u64,
    },
    /// Its connection ended, when it was here or on its way.
    Lost {
        lost: Lost,
        was: Stage,
    },
}

/// Whom it happened to, and what.
pub(crate) type Happened = Vec<(usize, Happening)>;

pub(crate) struct Company {
    epoll: Epoll,
    pub(crate) members: Vec<Member>,
    /// Where each of them connects to, and what it asks for there.
    doors: Vec<Arc<Door>>,
    /// When each that is away comes, by the monotonic clock.
    due_ns: Vec<u64>,
    /// When each was heard of by its connection.
    heard_ns: Vec<u64>,
    /// How often each has begun to connect: events of a former socket carry a former number.
    lives: Vec<u32>,
    coming: u32,
    /// Nobody who sits reads what comes.
    asleep: bool,
    /// When anybody last learned something.
    pub(crate) learned_ns: u64,
    pub(crate) random: Random,
    /// The first who met a fault.
    pub(crate) offenders: Vec<Offender>,
    /// The number of the first of them over the run, and the run's zero of the monotonic clock.
    first: u32,
    origin_ns: u64,
    /// From when somebody was due until it began to connect, where all may at once: our own doing.
    pub(crate) lateness: Latencies,
    news: Vec<News>,
    buffer: Vec<u8>,
}

/// Stays away until told otherwise.
const NEVER: u64 = u64::MAX;
/// How many of those who met a fault are named.
const OFFENDERS_MAX: usize = 16;

impl Company {
    /// Everybody is due at once, each at a door of its own. The first is connection number `first` of the run, whose zero of the
    /// monotonic clock is `origin_ns`.
    pub(crate) fn new(people: Vec<(Member, Arc<Door>)>, seed: u64, first: u32, origin_ns: u64) -> Result<Self> {
        let (members, doors): (Vec<_>, Vec<_>) = people.into_iter().unzip();
        Ok(Self {
            epoll: Epoll::new(1_024)?,
            due_ns: vec![0; members.len()],
            heard_ns: vec![0; members.len()],
            lives: vec![0; members.len()],
            members,
            doors,
            coming: 0,
            asleep: false,
            learned_ns: 0,
            random: Random::new(seed),
            offenders: Vec::new(),
            first,
            origin_ns,
            lateness: Latencies::new(),
            news: Vec::new(),
            buffer: vec![0; 64 << 10],
        })
    }

    pub(crate) fn all_here(&self) -> bool {
        self.members.iter().all(|member| member.stage == Stage::Here)
    }

    /// When `n` was last heard of.
    pub(crate) fn heard_ns(&self, n: usize) -> u64 {
        self.heard_ns[n]
    }

    /// Whoever is due comes, at most `connecting_max` at once; what has come within `wait_ns` is read.
    pub(crate) fn step(&mut self, connecting_max: Option<u32>, wait_ns: u64, happened: &mut Happened) -> Result<()> {
        let now_ns = sys::monotonic_ns();
        for n in 0..self.members.len() {
            let free = connecting_max.is_none_or(|max| self.coming < max);
            if free && self.members[n].stage == Stage::Away && self.due_ns[n] <= now_ns {
                // Due from the beginning: that is no time.
                if connecting_max.is_none() && self.due_ns[n] > 0 {
                    self.lateness.record_ns(now_ns - self.due_ns[n]);
                }
                self.comes(n, happened)?;
            }
        }
        let found = self.epoll.wait(wait_ns)?;
        for at in 0..found {
            let ready = self.epoll.event(at);
            let (n, life) = ((ready.token >> 32) as usize, ready.token as u32);
            if self.lives[n] != life || self.members[n].stage == Stage::Away {
                continue;
            }
            if ready.writable
                && let Err(lost) = self.members[n].asks(&self.doors[n])
            {
                self.lose(n, lost, happened);
                continue;
            }
            if ready.readable && !(self.asleep && self.members[n].stage == Stage::Here) {
                self.listens(n, happened);
            }
        }
        Ok(())
    }

    /// `n` connects.
    fn comes(&mut self, n: usize, happened: &mut Happened) -> Result<()> {
        self.lives[n] = self.lives[n].wrapping_add(1);
        let token = (n as u64) << 32 | u64::from(self.lives[n]);
        match self.members[n].comes(self.doors[n].address) {
            Ok(stream) => {
                self.epoll.add(stream, token)?;
                self.coming += 1;
                self.heard_ns[n] = sys::monotonic_ns();
            }
            Err(lost) => self.lose(n, lost, happened),
        }
        Ok(())
    }

    /// Reads all there is for `n`.
    fn listens(&mut self, n: usize, happened: &mut Happened) {
        let before = self.members[n].lived;
        let outcome = self.members[n].reads(&mut self.buffer, &mut self.news);
        self.noted(n, before != self.members[n].lived, outcome, happened);
    }

    fn noted(&mut self, n: usize, learned: bool, outcome: Result<(), Lost>, happened: &mut Happened) {
        let now_ns = sys::monotonic_ns();
        self.heard_ns[n] = now_ns;
        if learned || !self.news.is_empty() {
            self.learned_ns = now_ns;
        }
        for news in std::mem::take(&mut self.news) {
            let what = match news {
                News::Seated => {
                    let member = &mut self.members[n];
                    member.failures = 0;
                    if member.stage == Stage::Coming {
                        self.coming -= 1;
                    }
                    member.stage = Stage::Here;
                    Happening::Seated
                }
                News::Acked(id, position) => Happening::Acked(id, position),
                News::Head(offset) => Happening::Head(offset),
                News::Slot { ms } => Happening::Slot { ms },
                News::Wronged(offence) => {
                    self.note(n, &offence, "");
                    continue;
                }
            };
            happened.push((n, what));
        }
        if let Err(lost) = outcome {
            self.lose(n, lost, happened);
        }
    }

    /// `n` has not heard the newest message of its room, and it is over: what it is behind by counts as missing, once.
    pub(crate) fn stays_behind(&mut self, n: usize, head: Offset) {
        self.note_behind(n, head);
        let member = &mut self.members[n];
        let Some(position) = member.position.filter(|position| position.offset < head) else { return };
        member.lived.missing = member.lived.missing.saturating_add(head.0 - position.offset.0);
        member.position = Some(Position { offset: head, ..position });
    }

    /// Remembers that `n` is behind the newest message of its room, if it is.
    pub(crate) fn note_behind(&mut self, n: usize, head: Offset) {
        let heard = self.members[n].position.map_or(0, |position| position.offset.0);
        if heard < head.0 {
            self.note(n, &Offence::at(Fault::Lost, (heard + 1, head.0)), ", and nothing more came");
        }
    }

    /// Remembers who met a fault, while there are few.
    fn note(&mut self, n: usize, offence: &Offence, more: &str) {
        if self.offenders.len() >= OFFENDERS_MAX {
            return;
        }
        self.offenders.push(Offender {
            fault: offence.fault,
            room: self.members[n].place.as_ref().map_or(0, |place| place.number),
            connection: self.first + n as u32,
            publisher: offence.marker.map(|(publisher, _)| publisher),
            seq: offence.marker.map(|(_, seq)| seq),
            at_ms: Some(sys::monotonic_ns().saturating_sub(self.origin_ns) / 1_000_000),
            detail: format!("{}{more}", offence.describe()),
        });
    }

    /// The connection of `n` is over; it stays away.
    pub(crate) fn lose(&mut self, n: usize, lost: Lost, happened: &mut Happened) {
        let was = self.members[n].stage;
        if was == Stage::Coming {
            self.coming = self.coming.saturating_sub(1);
        }
        self.members[n].is_cut();
        self.due_ns[n] = NEVER;
        happened.push((n, Happening::Lost { lost, was }));
    }

    /// `n` comes (again) at this time of the monotonic clock.
    pub(crate) fn comes_at(&mut self, n: usize, at_ns: u64) {
        self.due_ns[n] = at_ns;
    }

    /// `n` comes again after a while: full jitter, anything from nothing to the wait, which doubles with each failure.
    pub(crate) fn waits(&mut self, n: usize, backoff_ms: f64) {
        let member = &mut self.members[n];
        let most_ms = (backoff_ms * f64::from(1_u32 << member.failures.min(8))).min(backoff_ms * 5.0);
        member.failures += 1;
        self.due_ns[n] = sys::monotonic_ns() + (self.random.fraction() * most_ms * 1e6) as u64;
    }

    /// `n` leaves with a goodbye, and comes at `at_ns` as if it had never been there.
    pub(crate) fn leaves(&mut self, n: usize, at_ns: u64) {
        self.members[n].goes();
        self.due_ns[n] = at_ns;
    }

    /// From now on nobody who sits reads.
    pub(crate) fn falls_asleep(&mut self) {
        self.asleep = true;
    }

    /// Everybody who sits reads so many bytes.
    pub(crate) fn sips(&mut self, bytes: usize, happened: &mut Happened) {
        for n in 0..self.members.len() {
            if self.members[n].stage == Stage::Here {
                let before = self.members[n].lived;
                let outcome = self.members[n].sips(bytes, &mut self.buffer, &mut self.news);
                self.noted(n, before != self.members[n].lived, outcome, happened);
            }
        }
    }

    /// Everybody reads all that has come meanwhile, and goes on reading.
    pub(crate) fn wakes(&mut self, happened: &mut Happened) {
        self.asleep = false;
        for n in 0..self.members.len() {
            self.listens(n, happened);
        }
    }
}
