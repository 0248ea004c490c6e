//! `throng-load storm`: people are lost and come back, while messages go on.
//!
//! A crowd sits in rooms; publishers that sit nowhere say something in each room, again and again. Then the crowd is cut: all
//! at once by a reset, by the server's death (which is somebody else's doing), in slots by a server that leaves, or one by one
//! by a bad line. Whoever is cut waits with full jitter (or comes in its slot), connects, and resumes with its session and its
//! position. Promises: every message that was accepted is heard once and as it was sent, by its own room alone, or told missing
//! by one gap; what is neither is counted and fails the run, and so does a message without an answer. Where nothing was accepted,
//! or nobody recovered anything, it is unknown. One process, one thread: it measures how long a crowd takes, not latency, and how
//! late it is itself.

mod args;
mod judge;
mod leaving;
mod report;

use std::net::ToSocketAddrs;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use throng::base::{Offset, Position};
use throng::wire::client::CommandOut;
use throng::wire::prove;

use crate::args::Cores;
use crate::company::{Company, Happened, Happening};
use crate::effort::{Effort, Usage};
use crate::latency::Latencies;
use crate::lengths::Lengths;
use crate::line::{Line, Weather};
use crate::member::{ENCODING, Lost, Member, PUBLISH_FROM, Stage};
use crate::mix::mix;
use crate::payload::{Marker, Writer};
use crate::place::Place;
use crate::proc::Process;
use crate::reach::Door;
use crate::say::tell;
use crate::sys;
use crate::token::Signer;
pub(crate) use args::{Cut, StormArgs};
use leaving::{Leaving, RESTART};
pub(crate) use report::Stormed;

pub(crate) fn run(args: &StormArgs) -> Result<Stormed> {
    if let Some(Cores(cores)) = &args.pin
        && let Some(core) = cores.first()
    {
        sys::pin(*core).context("--pin")?;
    }
    ensure!(
        args.connections.is_multiple_of(args.room_size),
        "--connections {} must be a multiple of --room-size {}",
        args.connections,
        args.room_size
    );
    let files = sys::raise_file_limit()?;
    // A line has both its ends here, and those of connections it broke.
    let files_each = if args.cut == Cut::Line { 5 } else { 1 };
    ensure!(
        u64::from(args.connections + args.publishers) * files_each + 16 <= files,
        "--connections {}: only {files} files may be open; raise `ulimit -n`",
        args.connections
    );
    let mut storm = Storm::new(args)?;
    storm.gather()?;
    storm.talk(args.duration)?;
    let server = match args.server_pid {
        Some(pid) => Some(Process::of(pid).with_context(|| format!("--server-pid {pid}: there is no such process"))?),
        None => None,
    };
    let cpu_ns = |server: &Option<Process>| server.as_ref().and_then(Process::cpu_ns);
    storm.report.memory_before = server.as_ref().and_then(Process::memory_bytes);
    let cpu_before_ns = cpu_ns(&server);
    let usage = storm.begins();
    storm.cut()?;
    storm.come_back()?;
    storm.is_over(&usage);
    let spent_ns = cpu_ns(&server).zip(cpu_before_ns).map(|(after, before)| after.saturating_sub(before));
    storm.report.server_cpu_s = spent_ns.map(|ns| ns as f64 / 1e9);
    storm.talk(args.duration)?;
    storm.settle()?;
    storm.report.memory_after = server.as_ref().and_then(Process::memory_bytes);
    storm.judge()
}

struct Storm<'a> {
    args: &'a StormArgs,
    /// The crowd, then the publishers.
    company: Company,
    rooms: Vec<Place>,
    payloads: Writer,
    /// The newest acknowledged position of each room.
    heads: Vec<Option<Position>>,
    line: Option<Line>,
    leaving: Option<Leaving>,
    /// How often each member was lost after it had been here.
    losses: Vec<u64>,
    cut_ns: Option<u64>,
    /// Nanoseconds from the cut at which members were seated again; of a line, from each one's own loss.
    back_ns: Vec<u64>,
    lost_ns: Vec<u64>,
    /// By member: messages said, and those that were given a position.
    said: Vec<u64>,
    acked: Vec<u64>,
    /// From when a message was due until it was said.
    lateness: Latencies,
    talking: Option<Talk>,
    happened: Happened,
    report: Stormed,
}

/// Messages at even intervals.
#[derive(Clone, Copy)]
struct Talk {
    from_ns: u64,
    said: u64,
}

impl<'a> Storm<'a> {
    fn new(args: &'a StormArgs) -> Result<Self> {
        let (host, target) = crate::reach::split_url(&args.url)?;
        let server = host.to_socket_addrs().ok().and_then(|mut all| all.next());
        let server = server.with_context(|| format!("--url: cannot resolve {host}"))?;
        let secret = crate::reach::secret_of(args.secret.as_deref(), args.secret_file.as_deref())?;
        let origin_ns = sys::monotonic_ns();
        let run = format!("{:08x}", origin_ns as u32);
        let seed = args.seed.unwrap_or_else(|| mix(origin_ns) >> 11);
        let signer = Signer::new(&secret, &run, sys::unix_s() + 86_400);
        let room = |number| Place {
            room: format!("storm:{run}:{number}"),
            number,
            run: run.clone(),
            payload: Lengths::SHORTEST,
            seed,
        };
        let rooms: Vec<Place> = (0..args.connections / args.room_size).map(room).collect();
        let weather = Weather {
            faults_per_s: args.faults,
            kinds: args.kinds.clone(),
            delay_ns: (args.delay_ms * 1e6) as u64,
            seed,
        };
        let line = (args.cut == Cut::Line).then(|| Line::start(server, weather)).transpose()?;
        let asked_at = |address| Arc::new(Door { address, host: host.clone(), target: target.clone() });
        let (open, door) = (asked_at(server), asked_at(line.as_ref().map_or(server, |line| line.address)));
        let mut people = Vec::new();
        for n in 0..args.connections + args.publishers {
            let token = signer.sign(n).context("a token cannot be signed")?;
            let place = rooms.get((n / args.room_size) as usize).cloned();
            let door = if place.is_some() { &door } else { &open };
            people.push((Member::new(token, place), Arc::clone(door)));
        }
        Ok(Self {
            args,
            losses: vec![0; people.len()],
            lost_ns: vec![0; people.len()],
            said: vec![0; people.len()],
            acked: vec![0; people.len()],
            lateness: Latencies::new(),
            company: Company::new(people, seed, 0, origin_ns)?,
            heads: vec![None; rooms.len()],
            line,
            leaving: None,
            cut_ns: None,
            back_ns: Vec::new(),
            talking: None,
            happened: Vec::new(),
            payloads: Writer::new(ENCODING, &Lengths::SHORTEST, seed),
            report: Stormed { connections: args.connections, rooms: rooms.len() as u32, ..Stormed::default() },
            rooms,
        })
    }

    /// Everybody comes for the first time, not more at once than the listen queue holds.
    fn gather(&mut self) -> Result<()> {
        let began_ns = sys::monotonic_ns();
        let until_ns = began_ns + GATHER_NS;
        while !self.company.all_here() {
            ensure!(sys::monotonic_ns() < until_ns, "not everybody came in time: {:?}", self.report.failures);
            self.step(Some(self.args.connecting))?;
        }
        self.report.open_s = (sys::monotonic_ns() - began_ns) as f64 / 1e9;
        self.report.failures.clear();
        Ok(())
    }

    fn talk(&mut self, seconds: f64) -> Result<()> {
        let now_ns = sys::monotonic_ns();
        self.talking.get_or_insert(Talk { from_ns: now_ns, said: 0 });
        let until_ns = now_ns + (seconds * 1e9) as u64;
        while sys::monotonic_ns() < until_ns {
            self.step(None)?;
        }
        Ok(())
    }

    /// From here on it counts how late we are ourselves.
    fn begins(&mut self) -> Usage {
        self.lateness = Latencies::new();
        self.company.lateness = Latencies::new();
        Usage::at(sys::monotonic_ns())
    }

    /// Everybody is back, or nothing is to be hoped for.
    fn is_over(&mut self, from: &Usage) {
        let spent = Usage::at(sys::monotonic_ns()).since(from);
        self.lateness.add(&self.company.lateness);
        let what = "its own messages and comings were";
        self.report.effort = Effort::new(what, &self.lateness, &[spent], self.args.lateness_p99_ms);
    }

    /// The crowd is lost.
    fn cut(&mut self) -> Result<()> {
        let now_ns = sys::monotonic_ns();
        match self.args.cut {
            Cut::Clients => {
                self.cut_ns = Some(now_ns);
                for n in 0..self.args.connections as usize {
                    self.company.members[n].is_cut();
                    self.company.waits(n, self.args.backoff_ms);
                }
            }
            Cut::Server => {
                tell!("storm: {} are seated: end the server now", self.args.connections);
                let until_ns = now_ns + GATHER_NS;
                while self.cut_ns.is_none() {
                    ensure!(sys::monotonic_ns() < until_ns, "nobody ended the server");
                    self.step(None)?;
                }
            }
            Cut::Drain => {
                self.leaving = Some(Leaving::new(now_ns, self.company.members.len(), &self.heads));
                let seated = self.args.connections;
                tell!("storm: {seated} are seated: start the next server (--takeover), and tell this one to leave");
                let until_ns = now_ns + GATHER_NS;
                while self.cut_ns.is_none() {
                    ensure!(sys::monotonic_ns() < until_ns, "nobody told the server to leave");
                    self.step(None)?;
                }
            }
            Cut::Line => {
                self.cut_ns = Some(now_ns);
                self.line.iter().for_each(Line::rough);
                self.talk(self.args.duration)?;
                self.line.iter().for_each(Line::calm);
            }
        }
        Ok(())
    }

    fn come_back(&mut self) -> Result<()> {
        let Some(cut_ns) = self.cut_ns else { bail!("nobody was cut") };
        let now_ns = sys::monotonic_ns();
        let until_ns = now_ns + (self.args.within * 1e9) as u64;
        let crowd = self.args.connections as usize;
        loop {
            let back = match self.args.cut {
                // Of a server that dies the last may notice it after the first are back.
                Cut::Clients | Cut::Server => self.back_ns.len() >= crowd,
                Cut::Drain => self.leaving.as_ref().is_some_and(Leaving::all_gone),
                // Whoever sits at the end of a dead line has not noticed yet.
                Cut::Line => (0..crowd).all(|n| self.company.heard_ns(n) > now_ns),
            };
            if back && self.company.all_here() {
                break;
            }
            if sys::monotonic_ns() >= until_ns {
                let not_here = self.company.members.iter().filter(|member| member.stage != Stage::Here);
                self.report.late = not_here.count() as u64;
                break;
            }
            self.step(None)?;
        }
        self.report.over_s = (sys::monotonic_ns() - cut_ns) as f64 / 1e9;
        Ok(())
    }

    /// Nothing new is said; what is under way arrives.
    fn settle(&mut self) -> Result<()> {
        self.talking = None;
        let quiet_ns = (self.args.settle * 1e9) as u64;
        let from_ns = sys::monotonic_ns();
        while sys::monotonic_ns() < self.company.learned_ns.max(from_ns) + quiet_ns {
            self.step(None)?;
        }
        Ok(())
    }

    /// Whoever is due comes, what is due is said, what has come is read.
    fn step(&mut self, connecting_max: Option<u32>) -> Result<()> {
        let now_ns = sys::monotonic_ns();
        if self.line.is_some() {
            self.suspect(now_ns);
        }
        self.say_what_is_due(now_ns);
        let mut happened = std::mem::take(&mut self.happened);
        self.company.step(connecting_max, STEP_NS, &mut happened)?;
        for (n, what) in happened.drain(..) {
            self.take_note(n, what);
        }
        self.happened.append(&mut happened);
        Ok(())
    }

    /// Whoever has heard nothing for long asks, and then gives up.
    fn suspect(&mut self, now_ns: u64) {
        let patience_ns = (self.args.patience * 1e9) as u64;
        for n in 0..self.args.connections as usize {
            let silent_ns = now_ns.saturating_sub(self.company.heard_ns(n));
            let stage = self.company.members[n].stage;
            if stage == Stage::Away || silent_ns < patience_ns / 2 {
                continue;
            }
            let outcome = if silent_ns >= patience_ns {
                Err(Lost::new("silent for too long"))
            } else if stage == Stage::Here {
                self.company.members[n].pings()
            } else {
                Ok(())
            };
            if let Err(lost) = outcome {
                self.company.lose(n, lost, &mut self.happened);
            }
        }
    }

    fn take_note(&mut self, n: usize, what: Happening) {
        let now_ns = sys::monotonic_ns();
        match what {
            Happening::Seated => {
                if let (Some(cut_ns), true) = (self.cut_ns, n < self.args.connections as usize) {
                    let from_ns = if self.line.is_some() { self.lost_ns[n] } else { cut_ns };
                    self.back_ns.push(now_ns - from_ns);
                }
            }
            Happening::Acked(id, position) => {
                self.report.acknowledged += 1;
                self.acked[n] += 1;
                let room = ((id - PUBLISH_FROM) % self.rooms.len() as u64) as usize;
                if let Some(leaving) = &mut self.leaving {
                    leaving.acked(room, position, now_ns);
                }
                let head = self.heads[room].get_or_insert(position);
                let newer = head.epoch != position.epoch || head.offset < position.offset;
                if newer {
                    *head = position;
                }
            }
            Happening::Slot { ms } => {
                if let Some(leaving) = &mut self.leaving {
                    self.cut_ns.get_or_insert(now_ns);
                    leaving.slot(n, now_ns, ms);
                }
            }
            Happening::Head(_) => {}
            Happening::Lost { lost, was } => self.is_lost(n, &lost, was, now_ns),
        }
    }

    fn is_lost(&mut self, n: usize, lost: &Lost, was: Stage, now_ns: u64) {
        if was == Stage::Here {
            self.losses[n] += 1;
            self.lost_ns[n] = now_ns;
            if let Some(leaving) = &mut self.leaving {
                let room = n / self.args.room_size as usize;
                let seat = self.company.members[n].position.filter(|_| room < self.rooms.len());
                let seat = seat.map(|position| (room, position));
                let owed = leaving.sent_away(n, now_ns, lost.code, &lost.why, seat).unwrap_or(0);
                self.report.missing = self.report.missing.saturating_add(owed);
                if let Some((_, position)) = seat.filter(|_| owed > 0) {
                    self.company.note_behind(n, Offset(position.offset.0.saturating_add(owed)));
                }
                if lost.code == Some(RESTART) {
                    // Its slot has come: another server may have the address already.
                    return self.company.comes_at(n, now_ns);
                }
            } else if self.args.cut == Cut::Server && self.talking.is_some() {
                self.cut_ns.get_or_insert(now_ns);
            } else {
                *self.report.failures.entry(format!("lost: {}", lost.why)).or_default() += 1;
            }
        } else {
            *self.report.failures.entry(lost.why.clone()).or_default() += 1;
        }
        self.company.waits(n, self.args.backoff_ms);
    }

    fn say_what_is_due(&mut self, now_ns: u64) {
        let Some(mut talk) = self.talking else { return };
        let interval_ns = 1e9 / (self.args.rate * self.rooms.len() as f64);
        loop {
            let due_ns = talk.from_ns + (talk.said as f64 * interval_ns) as u64;
            if due_ns > now_ns {
                break;
            }
            let number = self.report.published;
            talk.said += 1;
            let publisher = self.args.connections as usize + (number % u64::from(self.args.publishers)) as usize;
            self.report.published += 1;
            if self.company.members[publisher].stage != Stage::Here {
                // Nobody there to say it: it was never said.
                continue;
            }
            let Place { room, number: of_room, .. } = &self.rooms[(number % self.rooms.len() as u64) as usize];
            let (publisher_number, seq) = (publisher as u32, number as u32);
            let marker = Marker { room: *of_room, publisher: publisher_number, seq, intended_ns: now_ns, late_us: 0 };
            let Ok(data) = prove(ENCODING, self.payloads.write(&marker), 1) else { return };
            self.lateness.record_ns(now_ns - due_ns);
            self.said[publisher] += 1;
            let command = CommandOut::Publish { room, data, event: None, echo: None, key: None };
            if let Err(lost) = self.company.members[publisher].says(Some(PUBLISH_FROM + number), &command) {
                self.company.lose(publisher, lost, &mut self.happened);
            }
        }
        self.talking = Some(talk);
    }
}

const STEP_NS: u64 = 5_000_000;
const GATHER_NS: u64 = 600_000_000_000;
