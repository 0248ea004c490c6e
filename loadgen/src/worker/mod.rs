//! One worker process: a crowd of connections on one thread, a plain epoll loop.
//!
//! Promises: an idle connection costs a row of 32 bytes and a seat's proof of 32, no buffer, no timer; every read
//! goes through one shared buffer until the socket is short; what is due to be sent is sent between two
//! connections' reads, so that a flood of deliveries does not delay the schedule more than one read.
//! Must never wait for the coordinator: orders come in as any other event.

mod arrive;
mod connection;
mod dated;
mod hear;
mod known;
mod opening;
mod other;
mod parting;
mod phase;
mod spread;
pub(crate) mod upgrade;

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, StdinLock, Write};

use anyhow::{Context, Result};
use throng::base::Encoding;
use throng::wire::websocket::{FrameKind, FrameLimits, Partial, write_frame};

use crate::effort::Usage;
use crate::latency::Latencies;
use crate::mix::Random;
use crate::orders::{Crew, Interval, Offender, Order, Phase, Progress, Ready, WorkerReport};
use crate::payload;
use crate::proc::Process;
use crate::proof::{Fault, Ledger};
use crate::ramp::{Floor, Stopped};
use crate::steps::Steps;
use crate::sys::{self, Epoll, SECOND_NS};
use crate::token::Signer;
use connection::{Connection, Stage};
pub(crate) use known::Frames;
use opening::Openings;
use parting::Parting;
use phase::Running;
pub(crate) use phase::UNANSWERED_MAX;

/// The epoll token of standard input; connections use their index.
const ORDERS: u64 = u64::MAX;
const EVENTS_MAX: usize = 1_024;
/// One read takes at most this; a connection that has more is read again at once.
const READ_BYTES: usize = 256 << 10;
/// Bounds on sending what is due, so that a worker that is behind goes on reading.
const SENDS_PER_TURN: usize = 256;
const SENDS_PER_READ: usize = 8;
/// How many first offenders a worker names.
const OFFENDERS_MAX: usize = 16;
const LIMITS: FrameLimits = FrameLimits { message_bytes_max: 16 << 20, fragments_max: 1_024 };

/// Runs the orders that come on standard input until `quit` or its end.
pub(crate) fn run() -> Result<()> {
    let mut input = io::stdin().lock();
    let mut first = String::new();
    input.read_line(&mut first)?;
    let Order::Open(crew) = serde_json::from_str(&first).context("the first order must be `open`")? else {
        anyhow::bail!("the first order must be `open`");
    };
    if crew.dialect.is_some() { work::<true>(*crew, input) } else { work::<false>(*crew, input) }
}

fn work<const OTHER: bool>(crew: Crew, input: StdinLock<'static>) -> Result<()> {
    let mut worker = Worker::<OTHER>::new(crew, input)?;
    let result = worker.turns();
    if let Err(error) = &result {
        worker.report(&WorkerReport::Failed { sentence: format!("{error:#}") })?;
    }
    Ok(())
}

/// `OTHER`: for servers that are not throng. Decided when it is compiled, so that it costs throng's workers nothing.
struct Worker<const OTHER: bool> {
    crew: Crew,
    encoding: Encoding,
    epoll: Epoll,
    orders: StdinLock<'static>,
    orders_unread: Vec<u8>,
    connections: Vec<Connection>,
    openings: Openings,
    memory_floor: Floor,
    /// Why this worker stopped the ramp, if it did.
    stopped: Option<Stopped>,
    ledger: Ledger,
    /// Frames verified by somebody in the room.
    known: Frames,
    signer: Signer,
    payloads: payload::Writer,
    random: Random,
    /// Bytes of one read, lent to whoever is read.
    buffer: Vec<u8>,
    partial: Partial,
    /// The envelope, then the frame, of what is being sent.
    envelope: Vec<u8>,
    frame: Vec<u8>,
    room_prefix: String,
    /// Nanoseconds since the run's origin; read once per turn and after each read.
    now_ns: u64,
    running: Option<Box<Running>>,
    parting: Option<Parting>,
    offenders: Vec<Offender>,
    closes: BTreeMap<u16, u64>,
    refusals: BTreeMap<String, u64>,
    faults: u64,
    /// Who came in before the last interval was reported, and since.
    opened: Steps<Latencies>,
    opened_since_logged: Steps<Latencies>,
    heartbeat_ms: u64,
    ready_reported: bool,
    memory_empty_bytes: u64,
    /// When the ramp began.
    usage_empty: Usage,
    progress: Progress,
    progress_at_ns: u64,
    /// CPU time and waiting for it when the last interval was reported.
    usage_logged: (u64, u64),
    over: bool,
}

impl<const OTHER: bool> Worker<OTHER> {
    fn new(crew: Crew, orders: StdinLock<'static>) -> Result<Self> {
        if let Some(core) = crew.pin {
            sys::pin(core).with_context(|| format!("pinning to core {core}"))?;
        }
        sys::wake_on_time();
        let files = sys::raise_file_limit().context("raising the limit of open files")?;
        let count = crew.crowd.connections();
        anyhow::ensure!(
            u64::from(count) + FILES_BESIDE <= files,
            "{count} connections do not fit {files} open files: use more --workers, or raise `ulimit -n`"
        );
        let epoll = Epoll::new(EVENTS_MAX)?;
        sys::set_nonblocking(&orders)?;
        epoll.add(&orders, ORDERS)?;
        let memory_empty_bytes = Process::this().memory_bytes().unwrap_or(0);
        let now_ns = sys::monotonic_ns() - crew.origin_ns;
        let encoding = Encoding::from(crew.encoding);
        let seed = crew.seed ^ u64::from(crew.worker) << 40;
        Ok(Self {
            encoding,
            epoll,
            orders,
            orders_unread: Vec::new(),
            connections: (0..count).map(|_| Connection::new()).collect(),
            openings: Openings::new(count, crew.connecting, crew.ramp_rate, now_ns, crew.give_up_ns),
            memory_floor: Floor::new(crew.memory_floor_bytes),
            stopped: None,
            ledger: Ledger::new(crew.crowd, crew.rules),
            // Without positions nothing says that two frames are one message.
            known: if OTHER { Frames::none() } else { Frames::new(crew.crowd, crew.payload.mean_bytes()) },
            signer: Signer::new(&crew.secret, &crew.run, sys::unix_s() + crew.token_ttl_s),
            payloads: payload::Writer::new(encoding, &crew.payload, crew.seed),
            random: Random::new(seed),
            buffer: vec![0; READ_BYTES],
            partial: Partial::default(),
            envelope: Vec::new(),
            frame: Vec::new(),
            room_prefix: format!("load:{}:", crew.run),
            now_ns,
            running: None,
            parting: None,
            offenders: Vec::new(),
            closes: BTreeMap::new(),
            refusals: BTreeMap::new(),
            faults: 0,
            opened: Steps::default(),
            opened_since_logged: Steps::default(),
            heartbeat_ms: 0,
            ready_reported: false,
            memory_empty_bytes,
            usage_empty: Usage::at(now_ns),
            progress: Progress::default(),
            progress_at_ns: next_second_ns(now_ns),
            usage_logged: (0, 0),
            over: false,
            crew,
        })
    }

    fn turns(&mut self) -> Result<()> {
        while !self.over {
            self.tick();
            let turn_ns = self.now_ns;
            self.begin_openings()?;
            self.send_due(SENDS_PER_TURN);
            self.advance_phase()?;
            self.advance_parting()?;
            self.report_progress()?;
            self.keep_pace(turn_ns);
            let timeout_ns = self.wake_ns().saturating_sub(self.now_ns);
            let found = self.epoll.wait(timeout_ns)?;
            self.tick();
            for index in 0..found {
                let ready = self.epoll.event(index);
                if ready.token == ORDERS {
                    self.take_orders()?;
                    continue;
                }
                let member = ready.token as u32;
                if ready.writable {
                    self.on_writable(member)?;
                }
                if ready.readable {
                    self.on_readable(member)?;
                }
                self.send_due(SENDS_PER_READ);
            }
        }
        Ok(())
    }

    /// Rests until the next turn is due.
    fn keep_pace(&mut self, turn_ns: u64) {
        let Some(running) = &self.running else { return };
        let next_ns = running.next_turn_ns(turn_ns);
        self.tick();
        if self.now_ns < next_ns {
            sys::rest_until(self.crew.origin_ns + next_ns);
            self.tick();
        }
    }

    fn tick(&mut self) {
        self.now_ns = sys::monotonic_ns() - self.crew.origin_ns;
    }

    /// When the next turn must begin even if no socket says anything.
    fn wake_ns(&self) -> u64 {
        let openings = self.openings.wake_ns();
        let phase = self.running.as_ref().map(|running| running.wake_ns(self.now_ns));
        [openings, phase, self.parting_wake_ns()]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(u64::MAX)
            .min(self.progress_at_ns)
    }

    fn take_orders(&mut self) -> Result<()> {
        let mut bytes = [0; 4_096];
        loop {
            match self.orders.read(&mut bytes) {
                // The coordinator is gone.
                Ok(0) => {
                    self.over = true;
                    return Ok(());
                }
                Ok(length) => self.orders_unread.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        while let Some(end) = self.orders_unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.orders_unread.drain(..=end).collect();
            match serde_json::from_slice(&line).context("an order that is none")? {
                Order::Enough => self.enough(),
                Order::Run(phase) => self.begin_phase(phase),
                Order::Part => self.begin_parting(),
                Order::Quit => self.over = true,
                Order::Open(_) => anyhow::bail!("`open` is the first order only"),
            }
        }
        Ok(())
    }

    fn report(&self, report: &WorkerReport) -> Result<()> {
        let mut line = serde_json::to_vec(report)?;
        line.push(b'\n');
        io::stdout().lock().write_all(&line)?;
        Ok(())
    }

    fn report_progress(&mut self) -> Result<()> {
        if self.openings.done() && !self.ready_reported {
            self.ready_reported = true;
            if self.openings.is_stopped() {
                self.keep_whole_rooms();
            }
            let stopped = self.stopped.take();
            let mut opening = self.opened.clone();
            opening.add(&self.opened_since_logged);
            self.report(&WorkerReport::Ready(Box::new(Ready {
                rooms: self.crew.crowd.rooms,
                stopped,
                opening,
                retries: self.openings.retried,
                lateness: self.openings.lateness.clone(),
                spent: Usage::at(self.now_ns).since(&self.usage_empty),
                heartbeat_ms: self.heartbeat_ms,
                memory_bytes: Process::this().memory_bytes().unwrap_or(0),
                memory_empty_bytes: self.memory_empty_bytes,
            })))?;
        }
        if self.now_ns < self.progress_at_ns {
            return Ok(());
        }
        self.progress_at_ns = next_second_ns(self.now_ns);
        self.report_interval((self.now_ns / SECOND_NS).saturating_sub(1))
    }

    /// Says what passed since the last time, as part of `second`.
    fn report_interval(&mut self, second: u64) -> Result<()> {
        self.progress.faults = self.faults;
        let logged = self.running.as_mut().map(|running| running.log()).unwrap_or_default();
        let opened = std::mem::take(&mut self.opened_since_logged);
        self.opened.add(&opened);
        let usage = (sys::cpu_ns(), Process::this().waited_for_cpu_ns());
        let before = std::mem::replace(&mut self.usage_logged, usage);
        self.report(&WorkerReport::Progress(Box::new(Interval {
            second,
            totals: self.progress,
            delivery: logged.delivery,
            ack: logged.ack,
            lateness: logged.lateness,
            opening: opened.whole,
            cpu_ns: usage.0.saturating_sub(before.0),
            waited_ns: usage.1.saturating_sub(before.1),
        })))
    }

    /// Frames `self.envelope` as this connection's next data message and sends it.
    fn send_envelope(&mut self, member: u32) -> io::Result<()> {
        let kind = match self.encoding {
            Encoding::MessagePack => FrameKind::Binary,
            Encoding::Json => FrameKind::Text,
        };
        let mask = (self.random.draw() as u32).to_le_bytes();
        self.frame.clear();
        write_frame(&mut self.frame, kind, &self.envelope, Some(mask));
        self.connections[member as usize].send(&self.frame)
    }

    /// Counts a fault and remembers the first ones.
    fn blame(&mut self, fault: Fault, member: u32, marker: Option<&payload::Marker>, detail: impl FnOnce() -> String) {
        self.faults += 1;
        if self.offenders.len() < OFFENDERS_MAX {
            let crowd = self.crew.crowd;
            self.offenders.push(Offender {
                fault,
                room: crowd.first_room + member / crowd.room_size,
                connection: crowd.global(member),
                publisher: marker.map(|marker| marker.publisher),
                seq: marker.map(|marker| marker.seq),
                at_ms: Some(self.now_ns / 1_000_000),
                detail: detail(),
            });
        }
    }

    fn begin_phase(&mut self, phase: Phase) {
        let crowd = self.crew.crowd;
        let hearers = crowd.room_size - 1 + u32::from(self.crew.rules.own_copy);
        for connection in &mut self.connections {
            connection.heartbeats = 0;
        }
        self.running = Some(Box::new(Running::new(phase, crowd.rooms * crowd.publishers, hearers)));
    }

    fn is_open(&self, member: u32) -> bool {
        self.connections[member as usize].stage == Stage::Open
    }
}

/// The whole second since the run's origin that comes next: all workers report the same ones.
fn next_second_ns(now_ns: u64) -> u64 {
    (now_ns / SECOND_NS + 1) * SECOND_NS
}

/// Files of a worker that are no connections: standard streams, epoll, and what the runtime opens for a moment.
pub(crate) const FILES_BESIDE: u64 = 64;
