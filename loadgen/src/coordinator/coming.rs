//! How a crowd comes in: wave by wave, until everybody sits or the ramp is stopped, and then with those who do.

use std::ops::Range;
use std::rc::Rc;

use anyhow::{Result, bail, ensure};

use super::{Standing, Watched};
use crate::about::About;
use crate::crew::Worker;
use crate::effort::{Effort, Usage};
use crate::kernel::KernelReading;
use crate::latency::Latencies;
use crate::live::Live;
use crate::orders::{Order, Ready, WorkerReport};
use crate::plan::Plan;
use crate::ramp::{self, Stopped};
use crate::report::Opened;
use crate::say::tell;
use crate::steps::Steps;
use crate::sys::{self, Epoll};
use crate::timeline::Timeline;
use crate::watch::Watch;

impl Standing {
    /// Starts the workers and waits until everybody sits, or as many as can: at least somebody.
    pub(crate) fn open(plan: Rc<Plan>) -> Result<Self> {
        let mut server = plan.args.server_pid.map(Watched::new).transpose()?;
        let process = server.as_ref().map(|server| server.process);
        let before = KernelReading::now();
        let mut crowd = Self {
            about: About::now(plan.args.commit.as_deref()),
            timeline: Timeline::new(),
            watch: Watch::new(process, plan.args.admin, plan.origin_ns)?,
            live: Live::new(plan.origin_ns, sys::monotonic_ns(), plan.args.connections),
            guests: None,
            steady: None,
            next_beside: plan.args.connections,
            workers: Vec::new(),
            epoll: Epoll::new(plan.crowds.len())?,
            opened: Opened::nobody(),
            memory: (0, 0.0),
            server: None,
            kernel: [before, None],
            phases: 0,
            plan,
        };
        crowd.come()?;
        crowd.rest(crowd.plan.args.rest)?;
        if let Some(server) = &mut server {
            server.memory_joined = server.memory()?;
        }
        crowd.kernel[1] = KernelReading::now();
        crowd.server = server;
        crowd.invite_guests()?;
        Ok(crowd)
    }

    /// The same, where fewer than all are of no use.
    pub(crate) fn open_whole(plan: Rc<Plan>) -> Result<Self> {
        let crowd = Self::open(plan)?;
        if let Some(stopped) = &crowd.opened.stopped {
            bail!("only {} of {} connections came in: {stopped}", crowd.opened.seated, crowd.plan.connections_asked);
        }
        Ok(crowd)
    }

    fn come(&mut self) -> Result<()> {
        let (from_ns, mut ready, mut stopped) = (sys::monotonic_ns(), Vec::new(), None);
        for wave in self.plan.waves() {
            stopped = self.memory_is_low();
            if stopped.is_none() {
                self.start(&wave)?;
                let came = self.wave_comes(&wave)?;
                stopped = came.iter().find_map(|worker| worker.stopped.clone());
                ready.extend(came);
            }
            if stopped.is_some() {
                break;
            }
        }
        let seconds = (sys::monotonic_ns() - from_ns) as f64 / 1e9;
        self.keep_those_who_sit(&ready, stopped.as_ref())?;
        self.note_opened(&ready, seconds, stopped);
        Ok(())
    }

    /// What agents have left their workers see.
    fn memory_is_low(&self) -> Option<Stopped> {
        if self.plan.args.agents.is_empty() { ramp::below(self.plan.memory_floor_bytes()) } else { None }
    }

    fn start(&mut self, wave: &Range<usize>) -> Result<()> {
        let others_sit = self.timeline.totals().open > 0;
        for index in wave.clone() {
            let crew = self.plan.crew(index, wave, others_sit);
            let worker = Worker::start(&self.plan, crew, &self.epoll)?;
            if let Some(agent) = worker.agent() {
                tell!("agent  {}", agent.describe());
            }
            self.timeline.joins(index, sys::monotonic_ns() - self.plan.origin_ns);
            self.workers.push(worker);
        }
        Ok(())
    }

    /// Waits until everybody of a wave sits. When one worker stops, the others of it do, too.
    fn wave_comes(&mut self, wave: &Range<usize>) -> Result<Vec<Ready>> {
        let mut came: Vec<Option<Ready>> = wave.clone().map(|_| None).collect();
        while came.iter().any(Option::is_none) {
            for (at, report) in self.hear(u64::MAX)? {
                let WorkerReport::Ready(ready) = report else { continue };
                if ready.stopped.is_some() {
                    let others = self.workers[wave.clone()].iter_mut().zip(&came);
                    others.filter(|(_, came)| came.is_none()).try_for_each(|(other, _)| other.order(&Order::Enough))?;
                }
                came[at - wave.start] = Some(*ready);
            }
        }
        Ok(came.into_iter().flatten().collect())
    }

    /// After a ramp that was stopped the plan is one for those who sit; who has nobody is let go.
    fn keep_those_who_sit(&mut self, ready: &[Ready], stopped: Option<&Stopped>) -> Result<()> {
        let Some(stopped) = stopped else { return Ok(()) };
        let rooms: Vec<u32> = ready.iter().map(|worker| worker.rooms).collect();
        ensure!(rooms.iter().any(|rooms| *rooms > 0), "nobody came in: {stopped}");
        let mut plan = Plan::clone(&self.plan);
        plan.keep(&rooms);
        self.plan = Rc::new(plan);
        let (kept, left): (Vec<_>, Vec<_>) = self.workers.drain(..).zip(rooms).partition(|(_, rooms)| *rooms > 0);
        self.workers = kept.into_iter().map(|(worker, _)| worker).collect();
        for (mut worker, _) in left {
            self.timeline.leaves(worker.number);
            worker.dismiss()?;
        }
        tell!("ramp   {} of {} connections sit: {stopped}", self.plan.args.connections, self.plan.connections_asked);
        Ok(())
    }

    fn note_opened(&mut self, ready: &[Ready], seconds: f64, stopped: Option<Stopped>) {
        let mut steps = Steps::<Latencies>::default();
        ready.iter().for_each(|worker| steps.add(&worker.opening));
        let steps = steps.quantiles();
        let seated = self.plan.args.connections;
        let connections = f64::from(seated);
        let mut lateness = Latencies::new();
        ready.iter().for_each(|worker| lateness.add(&worker.lateness));
        let spent: Vec<Usage> = ready.iter().map(|worker| worker.spent).collect();
        let effort = Effort::new("its own connecting was", &lateness, &spent, self.plan.args.lateness_p99_ms);
        let heartbeat_ms = ready.iter().map(|worker| worker.heartbeat_ms).max().unwrap_or(0);
        self.opened = Opened {
            seconds,
            per_s: connections / seconds.max(1e-9),
            retries: ready.iter().map(|worker| worker.retries).sum(),
            latency: steps.whole,
            steps,
            effort: Some(effort),
            heartbeat_ms,
            heartbeat_round_ms: self.plan.heartbeat_round_ms().max(heartbeat_ms),
            seated,
            // The last of them may have come in after all.
            stopped: stopped.filter(|_| seated < self.plan.connections_asked),
        };
        let memory: u64 = ready.iter().map(|worker| worker.memory_bytes).sum();
        let empty: u64 = ready.iter().map(|worker| worker.memory_empty_bytes).sum();
        self.memory = (memory, memory.saturating_sub(empty) as f64 / connections);
    }
}
