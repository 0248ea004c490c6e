//! The process that people start: plans, starts the workers, keeps the edges of phases, merges what they found.

mod coming;

use std::rc::Rc;

use anyhow::{Context, Result, bail};

use crate::about::About;
use crate::args::{RunArgs, Switch};
use crate::beside::{Guests, Habits, Slow, SlowReport};
use crate::crew::Worker;
use crate::edges::{Edges, Spent};
use crate::kernel::{KernelReading, KernelReport};
use crate::live::Live;
use crate::orders::{Order, Parted, WorkerReport};
use crate::plan::Plan;
use crate::proc::Process;
use crate::report::{Asked, Measured, Opened, Report, Server};
use crate::say::tell;
use crate::stage::Stage;
use crate::steady::Gathering;
use crate::sys::{self, Epoll};
use crate::timeline::Timeline;
use crate::watch::Watch;

/// From the order to run until the first message may be due: every worker must have read it.
const LEAD_NS: u64 = 500_000_000;

/// How often it is asked whether those beside the crowd are as far as they shall be.
const LOOK_S: f64 = 0.02;

/// One crowd, one phase after the other.
pub(crate) fn run(args: RunArgs) -> Result<Report> {
    let plan = Rc::new(Plan::new(args)?);
    tell!("plan\n{}", plan.describe().trim_end());
    let mut crowd = Standing::open(plan)?;
    // Those of whoever came in.
    let stages = crowd.plan.stages.clone();
    let mut measured = Vec::new();
    for stage in &stages {
        measured.push(crowd.measure(stage)?);
        // Whoever was lost in a phase would be missing in the next, and be blamed on it.
        if measured.last().is_some_and(Measured::is_broken) {
            break;
        }
    }
    let mut report = crowd.report(&measured)?;
    let left_out: Vec<&str> = stages[measured.len()..].iter().map(|stage| stage.name.as_str()).collect();
    if !left_out.is_empty() {
        report.reasons.push(format!("not run after that: {}", left_out.join(", ")));
    }
    crowd.dismiss()?;
    Ok(report)
}

/// A crowd that sits in its rooms and can be put under load, more than once.
pub(crate) struct Standing {
    plan: Rc<Plan>,
    workers: Vec<Worker>,
    epoll: Epoll,
    opened: Opened,
    /// Private bytes of all workers, and per connection above an empty worker.
    memory: (u64, f64),
    server: Option<Watched>,
    /// The host before anybody came, and when everybody sat.
    kernel: [Option<KernelReading>; 2],
    phases: u64,
    about: About,
    timeline: Timeline,
    watch: Watch,
    live: Live,
    guests: Option<Guests>,
    /// In a phase whose end is held against its begin.
    steady: Option<Gathering>,
    /// The number of the next connection beside the crowd.
    next_beside: u32,
}

/// The server's process and what it was before and after the joins.
struct Watched {
    pid: u32,
    process: Process,
    memory_before: u64,
    memory_joined: u64,
}

impl Standing {
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// One measured phase by itself.
    pub(crate) fn phase(&mut self, stage: &Stage) -> Result<Report> {
        let measured = self.measure(stage)?;
        self.report(&[measured])
    }

    /// Puts the crowd through a phase and waits until everything owed has come, or has not.
    pub(crate) fn measure(&mut self, stage: &Stage) -> Result<Measured> {
        let slow = if stage.slow > 0 { Some(self.seat_slow(stage.slow)?) } else { None };
        let mut measured = self.measure_crowd(stage)?;
        measured.slow = slow.map(|slow| self.wake_slow(slow, measured.window_s)).transpose()?;
        self.guests.iter().for_each(Guests::call);
        while self.guests.as_ref().is_some_and(Guests::are_looking) {
            self.rest(LOOK_S)?;
        }
        measured.guests = self.guests.as_mut().map(Guests::reckon).transpose()?;
        Ok(measured)
    }

    fn measure_crowd(&mut self, stage: &Stage) -> Result<Measured> {
        let plan = self.plan.clone();
        let start_ns = sys::monotonic_ns() - plan.origin_ns + LEAD_NS;
        let span_ms = (stage.warmup_s + stage.duration_s) * 1e3;
        let Opened { heartbeat_ms, heartbeat_round_ms, .. } = self.opened;
        // Some other servers say nothing of heartbeats.
        let heartbeat_needed =
            plan.args.hold.is_some() && heartbeat_ms > 0 && span_ms >= (heartbeat_ms + heartbeat_round_ms) as f64;
        for (index, worker) in self.workers.iter_mut().enumerate() {
            let phase = plan.phase(index, self.phases, stage, start_ns, heartbeat_needed);
            worker.order(&Order::Run(phase))?;
        }
        self.phases += 1;
        let window_from_ns = plan.origin_ns + start_ns + (stage.warmup_s * 1e9) as u64;
        let window_to_ns = window_from_ns + (stage.duration_s * 1e9) as u64;
        self.live.begin(stage, plan.origin_ns + start_ns, window_to_ns);
        let (from_ns, to_ns) = (window_from_ns - plan.origin_ns, window_to_ns - plan.origin_ns);
        let asked = stage.slo.asks_steadiness();
        let (memory, newest) = (self.server_memory(stage), self.watch.newest());
        self.steady = asked.then(|| Gathering::new(from_ns, to_ns, memory, newest));
        let mut edges = Edges::new(self.server.as_ref().map(|server| server.process), window_from_ns, window_to_ns);
        let results = self.collect_timed(&mut edges, |report| match report {
            WorkerReport::Phase(result) => Some(*result),
            WorkerReport::Progress(_)
            | WorkerReport::Ready(_)
            | WorkerReport::Parted(_)
            | WorkerReport::Failed { .. } => None,
        })?;
        let since = |ns: u64| (ns - plan.origin_ns) as f64 / 1e9;
        let window_s = (since(window_from_ns), since(window_to_ns));
        let (stage, spent) = (stage.clone(), edges.spent());
        while self.steady.as_ref().is_some_and(|steady| steady.waits(sys::monotonic_ns() - plan.origin_ns)) {
            self.rest(LOOK_S)?;
        }
        let steady = self.steady.take().map(|gathered| gathered.found(self.server_memory(&stage)));
        Ok(Measured { stage, window_s, spent, results, heartbeat_needed, slow: None, guests: None, steady })
    }

    /// The server's memory, where this phase asks for it and it can be read.
    fn server_memory(&self, stage: &Stage) -> Option<u64> {
        self.server.as_ref().filter(|_| stage.slo.asks_memory())?.process.memory_bytes()
    }

    fn invite_guests(&mut self) -> Result<()> {
        let args = &self.plan.args;
        if args.guests == 0 {
            return Ok(());
        }
        let habits = Habits { stay_s: args.stay, think_s: args.think };
        let company = self.plan.company(self.next_beside, args.guests, false)?;
        self.next_beside += args.guests;
        let settle_ns = (self.plan.args.settle * 1e9) as u64;
        self.guests = Some(Guests::start(company, habits, settle_ns)?);
        Ok(())
    }

    /// So many who sit, and from now on are slow to read.
    fn seat_slow(&mut self, count: u32) -> Result<Slow> {
        let company = self.plan.company(self.next_beside, count, true)?;
        self.next_beside += count;
        let settle_ns = (self.plan.args.settle * 1e9) as u64;
        let slow = Slow::start(company, self.plan.args.slow_read, settle_ns)?;
        loop {
            match slow.is_seated() {
                Ok(true) => return Ok(slow),
                Ok(false) => self.rest(LOOK_S)?,
                // Its own words say more.
                Err(error) => return Err(slow.end().err().unwrap_or(error)),
            }
        }
    }

    /// They read again; how that went. The phase's measured time was `window_s`.
    fn wake_slow(&mut self, slow: Slow, window_s: (f64, f64)) -> Result<SlowReport> {
        // Until now, when they still sleep.
        let most = |name: &str| self.timeline.most(name, window_s.0 as u64, u64::MAX);
        let (unsent_bytes_max, readers_behind_max) = (most("throng_unsent_bytes"), most("throng_readers_behind"));
        slow.wake();
        while !slow.is_over() {
            self.rest(LOOK_S)?;
        }
        Ok(SlowReport { unsent_bytes_max, readers_behind_max, ..slow.end()? })
    }

    /// Merges and judges the phases since the last report.
    pub(crate) fn report(&mut self, measured: &[Measured]) -> Result<Report> {
        self.rest(self.plan.args.rest)?;
        let spent = Spent::sum(measured.iter().map(|phase| &phase.spent));
        let server = self.server_report(&spent, measured)?;
        let host = spent.host();
        let mut report = Report::new(self.asked(measured), self.opened.clone(), self.memory, server, host, measured);
        report.about = Some(self.about.clone());
        report.timeline = self.timeline.seconds();
        report.metrics = self.watch.asked().cloned();
        report.agents = self.workers.iter().filter_map(|worker| worker.agent().cloned()).collect();
        report.calm = self.timeline.calm();
        let [before, joined] = self.kernel.clone();
        report.host_kernel = before
            .zip(joined)
            .zip(KernelReading::now())
            .map(|((before, joined), held)| KernelReport::new(before, joined, held, self.plan.args.connections));
        Ok(report)
    }

    /// Closes every connection, half of them with a close frame and half by a reset.
    pub(crate) fn part(&mut self) -> Result<Parted> {
        for worker in &mut self.workers {
            worker.order(&Order::Part)?;
        }
        let parted = self.collect(|report| match report {
            WorkerReport::Parted(parted) => Some(parted),
            WorkerReport::Progress(_)
            | WorkerReport::Ready(_)
            | WorkerReport::Phase(_)
            | WorkerReport::Failed { .. } => None,
        })?;
        Ok(parted.iter().fold(Parted::default(), |sum, one| Parted {
            goodbyes: sum.goodbyes + one.goodbyes,
            answered: sum.answered + one.answered,
            reset: sum.reset + one.reset,
        }))
    }

    /// How long it took until everybody sat, and how often somebody had to try again.
    pub(crate) fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Lets everybody go.
    pub(crate) fn dismiss(mut self) -> Result<()> {
        if let Some(guests) = &mut self.guests {
            guests.end()?;
        }
        for worker in &mut self.workers {
            worker.dismiss()?;
        }
        Ok(())
    }

    fn collect<T>(&mut self, pick: impl Fn(WorkerReport) -> Option<T>) -> Result<Vec<T>> {
        self.collect_timed(&mut Edges::none(), pick)
    }

    /// Waits for one picked report of every worker, in the workers' order.
    fn collect_timed<T>(&mut self, edges: &mut Edges, pick: impl Fn(WorkerReport) -> Option<T>) -> Result<Vec<T>> {
        let mut picked: Vec<Option<T>> = self.workers.iter().map(|_| None).collect();
        while picked.iter().any(Option::is_none) {
            edges.pass(sys::monotonic_ns());
            for (at, report) in self.hear(edges.wake_ns())? {
                if let Some(report) = pick(report) {
                    picked[at] = Some(report);
                }
            }
        }
        Ok(picked.into_iter().flatten().collect())
    }

    /// What workers report until something comes or it is this time of the monotonic clock: the places of those who did, and
    /// what. Progress is taken here; a worker that cannot go on ends the run.
    fn hear(&mut self, until_ns: u64) -> Result<Vec<(usize, WorkerReport)>> {
        let now_ns = sys::monotonic_ns();
        self.look(now_ns);
        let found = self.epoll.wait(until_ns.min(self.live.at_ns()).saturating_sub(now_ns))?;
        let mut heard = Vec::new();
        for event in 0..found {
            let number = self.epoll.event(event).token as usize;
            let Some(at) = self.workers.iter().position(|worker| worker.number == number) else { continue };
            for report in self.workers[at].read_reports()? {
                match report {
                    WorkerReport::Progress(interval) => {
                        self.timeline.take(number, &interval);
                        self.steady.iter_mut().for_each(|steady| steady.take(&interval));
                    }
                    WorkerReport::Failed { sentence } => bail!("{}{sentence}", self.workers[at].whose()),
                    other @ (WorkerReport::Ready(_) | WorkerReport::Phase(_) | WorkerReport::Parted(_)) => {
                        heard.push((at, other));
                    }
                }
            }
        }
        self.workers.iter().try_for_each(Worker::is_heard_of)?;
        Ok(heard)
    }

    /// Once a second: what is seen of the server, and what is shown of the run.
    fn look(&mut self, now_ns: u64) {
        if now_ns >= self.live.at_ns() {
            let at_ns = now_ns - self.plan.origin_ns;
            let (readings, said) = self.watch.look(at_ns, &mut self.timeline);
            said.iter().for_each(|sentence| self.live.say(sentence));
            if let Some(steady) = &mut self.steady {
                readings.into_iter().for_each(|reading| steady.take_reading(reading));
            }
            if let (Some(steady), Some(server)) = (&mut self.steady, &self.server)
                && steady.wants_memory(at_ns)
                && let Some(bytes) = server.process.memory_bytes()
            {
                steady.take_memory(at_ns, bytes);
            }
        }
        self.live.show(now_ns, &self.timeline);
    }

    /// Lets time pass; a worker that fails meanwhile ends the run.
    fn rest(&mut self, seconds: f64) -> Result<()> {
        let until_ns = sys::monotonic_ns() + (seconds * 1e9) as u64;
        while sys::monotonic_ns() < until_ns {
            self.hear(until_ns)?;
        }
        Ok(())
    }

    fn server_report(&self, spent: &Spent, measured: &[Measured]) -> Result<Option<Server>> {
        let Some(watched) = &self.server else { return Ok(None) };
        let memory_after = watched.memory()?;
        let cpu_s = spent.cpu_ns.context("the server's process ended during the run")? as f64 / 1e9;
        let results = measured.iter().flat_map(|phase| &phase.results);
        let deliveries: u64 = results.map(|result| result.received_in_window).sum();
        let seconds: f64 = measured.iter().map(|phase| phase.stage.duration_s).sum();
        let per_connection =
            |bytes: u64| bytes.saturating_sub(watched.memory_before) as f64 / f64::from(self.plan.args.connections);
        Ok(Some(Server {
            pid: watched.pid,
            cpu_s,
            cores_busy: cpu_s / seconds,
            cpu_s_per_million_deliveries: (deliveries > 0).then(|| cpu_s * 1e6 / deliveries as f64),
            memory_before: watched.memory_before,
            memory_joined: watched.memory_joined,
            memory_after,
            bytes_per_connection_joined: per_connection(watched.memory_joined),
            bytes_per_connection_after: per_connection(memory_after),
            busiest_thread: spent.busiest_thread(seconds),
        }))
    }

    fn asked(&self, measured: &[Measured]) -> Asked {
        let (plan, args) = (&*self.plan, &self.plan.args);
        let stages = || measured.iter().map(|phase| &phase.stage);
        let duration_s: f64 = stages().map(|stage| stage.duration_s).sum();
        let rate = stages().map(|stage| stage.rate * stage.duration_s).sum::<f64>() / duration_s;
        Asked {
            scenario: args.scenario.clone(),
            url: args.url.join(","),
            connections: plan.connections_asked,
            rooms: plan.rooms_asked,
            room_size: args.room_size,
            sizes: args.sizes,
            guests: args.guests,
            publishers_per_room: plan.crowds.first().map_or(0, |crowd| crowd.publishers),
            rate_per_s: rate,
            deliveries_per_s: rate * plan.hearers(),
            warmup_s: stages().map(|stage| stage.warmup_s).sum(),
            duration_s,
            payload_bytes: args.payload.mean_bytes() as u32,
            payload: Some(args.payload.clone()),
            protocol: args.protocol,
            encoding: args.encoding,
            arrivals: args.arrivals,
            acks: plan.rules.acks,
            own_copies: plan.rules.own_copy,
            presence: args.presence == Switch::On,
            hold: args.hold.is_some(),
            workers: plan.crowds.len(),
            seed: plan.seed,
            run: plan.run.clone(),
            slo: plan.slo.clone(),
            slo_p99_ms: args.slo_p99_ms,
            lateness_p99_ms_max: args.lateness_p99_ms,
        }
    }
}

impl Watched {
    fn new(pid: u32) -> Result<Self> {
        let process = Process::of(pid).with_context(|| format!("--server-pid {pid}: there is no such process"))?;
        let mut watched = Self { pid, process, memory_before: 0, memory_joined: 0 };
        watched.memory_before = watched.memory()?;
        Ok(watched)
    }

    fn memory(&self) -> Result<u64> {
        let pid = self.pid;
        self.process
            .memory_bytes()
            .with_context(|| format!("--server-pid {pid}: its memory cannot be read; run as the same user"))
    }
}
