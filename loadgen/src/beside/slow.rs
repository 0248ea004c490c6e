//! Readers that are slow while a phase lasts: they sit in the crowd's rooms and read nothing, or a byte now and then.
//!
//! When the phase is over they wake, read what is left, come again if they were closed, and must then be where the others are:
//! everything heard once, or told missing.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow, bail};
use throng::base::Offset;

use super::{BACKOFF_MS, CONNECTING, STEP_NS, SlowReport, sum};
use crate::company::{Company, Happening};
use crate::member::Stage;
use crate::sys::{self, SECOND_NS};

/// The thread they live on. Dropped, it ends by itself.
pub(crate) struct Slow {
    seated: Receiver<()>,
    wake: Sender<()>,
    thread: JoinHandle<Result<SlowReport>>,
}

impl Slow {
    /// Everybody of `company` comes, and then reads `bytes_per_s`. Silence for `settle_ns` is the end of hope.
    pub(crate) fn start(company: Company, bytes_per_s: u32, settle_ns: u64) -> Result<Self> {
        let ((is_seated, seated), (wake, woken)) = (channel(), channel());
        let readers = Readers {
            heads: vec![Head::NotAsked; company.members.len()],
            report: SlowReport { connections: company.members.len() as u32, bytes_per_s, ..SlowReport::default() },
            company,
            bytes_per_s,
            settle_ns,
        };
        let live = move || readers.live(&is_seated, &woken);
        let thread = std::thread::Builder::new().name("slow".to_owned()).spawn(live);
        Ok(Self { seated, wake, thread: thread.context("starting the slow readers")? })
    }

    /// Whether everybody sits and sleeps; an error when that cannot be any more.
    pub(crate) fn is_seated(&self) -> Result<bool> {
        match self.seated.try_recv() {
            Ok(()) => Ok(true),
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => bail!("the slow readers ended before they sat"),
        }
    }

    /// They begin to read.
    pub(crate) fn wake(&self) {
        // A thread that has ended is noticed by its result.
        self.wake.send(()).unwrap_or_default();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// What they lived through; waits for it.
    pub(crate) fn end(self) -> Result<SlowReport> {
        self.thread.join().map_err(|_| anyhow!("the slow readers' thread panicked"))?
    }
}

/// What is known of the newest message of somebody's room.
#[derive(Clone, Copy)]
enum Head {
    NotAsked,
    Asked,
    Known(Offset),
    /// The server does not say.
    Unknown,
}

struct Readers {
    company: Company,
    bytes_per_s: u32,
    settle_ns: u64,
    heads: Vec<Head>,
    report: SlowReport,
}

impl Readers {
    fn live(mut self, is_seated: &Sender<()>, woken: &Receiver<()>) -> Result<SlowReport> {
        self.gather()?;
        self.company.falls_asleep();
        is_seated.send(()).context("the run is over")?;
        self.sleep(woken)?;
        self.report.heard = self.heard();
        self.wake_up()?;
        Ok(self.judged())
    }

    fn gather(&mut self) -> Result<()> {
        let until_ns = sys::monotonic_ns() + GATHER_NS;
        let mut happened = Vec::new();
        while !self.company.all_here() {
            anyhow::ensure!(sys::monotonic_ns() < until_ns, "slow readers: not everybody was let in");
            self.company.step(Some(CONNECTING), STEP_NS, &mut happened)?;
            for (n, what) in happened.drain(..) {
                if let Happening::Lost { lost, .. } = what {
                    anyhow::ensure!(!lost.for_good, "slow readers: the server turned one away: {}", lost.why);
                    self.company.waits(n, BACKOFF_MS);
                }
            }
        }
        Ok(())
    }

    fn sleep(&mut self, woken: &Receiver<()>) -> Result<()> {
        let mut happened = Vec::new();
        let mut sip_ns = sys::monotonic_ns() + SECOND_NS;
        loop {
            match woken.try_recv() {
                Ok(()) => break,
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => bail!("the run is over"),
            }
            self.company.step(None, STEP_NS, &mut happened)?;
            if self.bytes_per_s > 0 && sys::monotonic_ns() >= sip_ns {
                sip_ns += SECOND_NS;
                self.company.sips(self.bytes_per_s as usize, &mut happened);
            }
            // Whoever was closed comes again when it wakes.
            happened.drain(..).for_each(|(_, what)| self.note_loss(&what));
        }
        Ok(())
    }

    fn wake_up(&mut self) -> Result<()> {
        let (mut happened, from_ns) = (Vec::new(), sys::monotonic_ns());
        self.company.wakes(&mut happened);
        for n in 0..self.company.members.len() {
            if self.company.members[n].stage == Stage::Away {
                self.company.comes_at(n, from_ns);
            }
        }
        loop {
            for (n, what) in std::mem::take(&mut happened) {
                self.note_loss(&what);
                match what {
                    Happening::Lost { .. } => {
                        self.heads[n] = Head::NotAsked;
                        self.company.waits(n, BACKOFF_MS);
                    }
                    Happening::Head(Some(offset)) => self.heads[n] = Head::Known(offset),
                    Happening::Head(None) => self.heads[n] = Head::Unknown,
                    Happening::Seated | Happening::Acked(..) | Happening::Slot { .. } => {}
                }
            }
            for n in 0..self.company.members.len() {
                let member = &mut self.company.members[n];
                if member.stage == Stage::Here && matches!(self.heads[n], Head::NotAsked) {
                    self.heads[n] = Head::Asked;
                    if let Err(lost) = member.asks_for_head() {
                        self.company.lose(n, lost, &mut happened);
                    }
                }
            }
            let hopeless_ns = self.company.learned_ns.max(from_ns) + self.settle_ns;
            if self.behind().next().is_none() || sys::monotonic_ns() >= hopeless_ns {
                return Ok(());
            }
            self.company.step(Some(CONNECTING), STEP_NS, &mut happened)?;
        }
    }

    fn note_loss(&mut self, what: &Happening) {
        if let Happening::Lost { lost, was: Stage::Here } = what {
            *self.report.closed.entry(lost.code.unwrap_or(0)).or_default() += 1;
        }
    }

    /// Who is not where everybody else is.
    fn behind(&self) -> impl Iterator<Item = usize> {
        (0..self.heads.len()).filter(|n| {
            let member = &self.company.members[*n];
            member.stage != Stage::Here
                || match self.heads[*n] {
                    Head::NotAsked | Head::Asked => true,
                    Head::Known(head) => member.position.is_none_or(|position| position.offset < head),
                    Head::Unknown => false,
                }
        })
    }

    fn heard(&self) -> u64 {
        self.company.members.iter().map(|member| member.lived.heard).sum()
    }

    fn judged(mut self) -> SlowReport {
        let all = sum(self.company.members.iter().map(|member| member.lived));
        self.report.heard_late = all.heard - self.report.heard;
        (self.report.gaps, self.report.told_missing) = (all.gaps, all.told_missing);
        (self.report.missing, self.report.twice) = (all.missing, all.twice);
        (self.report.foreign, self.report.corrupted) = (all.foreign, all.corrupted);
        let behind: Vec<usize> = self.behind().collect();
        for n in &behind {
            if let Head::Known(head) = self.heads[*n] {
                self.company.note_behind(*n, head);
            }
        }
        self.report.not_back = behind.len() as u64;
        self.report.offenders = std::mem::take(&mut self.company.offenders);
        self.report.unknown = self.heads.iter().filter(|head| matches!(head, Head::Unknown)).count() as u64;
        self.report
    }
}

const GATHER_NS: u64 = 120_000_000_000;
