//! What a run is going to do, decided and printed before anything is sent.

mod bounds;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::args::{Publishers, RunArgs, Switch};
use crate::company::Company;
use crate::dialect::{self, Dialect};
use crate::member::Member;
use crate::mix::{Random, mix};
use crate::orders::{Crew, Phase};
use crate::place::Place;
use crate::proof::{Crowd, Rules};
use crate::ramp;
use crate::reach::{self, Door, secret_of};
use crate::schedule::Slope;
use crate::shape::{self, Shape, Sizes};
use crate::slo::Slo;
use crate::source::{Net, PORTS_PER_ADDRESS, Sources};
use crate::stage::Stage;
use crate::sys;
use crate::token::Signer;
pub(crate) use bounds::{Memory, mib};

/// What the kernel may hold unread for somebody who is slow: so little that it is the server that has to.
const SLOW_RECEIVE_BYTES: usize = 4_096;
/// How long a run is that says nothing of it.
const DURATION_S: f64 = 10.0;
/// Messages a second that a worker follows, and how often they are heard, at most.
const FOLLOWED_PER_S: f64 = 1_000.0;
const FOLLOWED_HEARD_PER_S: f64 = 50_000.0;
/// Messages sent and heard in a second by one worker above which it paces its turns.
const PACED_ABOVE_PER_S: f64 = 5_000.0;
const PACE_NS: u64 = 1_000_000;

/// A run, decided.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) args: RunArgs,
    /// As many as fit whole rooms, however many came in then (those are in `args`).
    pub(crate) connections_asked: u32,
    pub(crate) rooms_asked: u32,
    /// The first of its doors.
    pub(crate) server: SocketAddr,
    doors: Vec<Door>,
    secret: Vec<u8>,
    pub(crate) rooms: u32,
    /// Over all rooms.
    pub(crate) publishers: u32,
    pub(crate) rules: Rules,
    pub(crate) rate: f64,
    pub(crate) warmup_s: f64,
    pub(crate) duration_s: f64,
    pub(crate) slo: Slo,
    /// What the crowd goes through; at least one.
    pub(crate) stages: Vec<Stage>,
    pub(crate) seed: u64,
    /// Names rooms and users, so that no other run is mistaken for this one.
    pub(crate) run: String,
    pub(crate) crowds: Vec<Crowd>,
    source: Option<Net>,
    /// How a server is spoken to that is not throng.
    dialect: Option<Dialect>,
    pub(crate) origin_ns: u64,
}

impl Plan {
    /// Says in a sentence what is wrong when the run cannot be.
    pub(crate) fn new(args: RunArgs) -> Result<Self> {
        let mut plan = Self::decide(args)?;
        // Agents have their own, and other servers know none.
        if plan.dialect.is_none() && (plan.args.agents.is_empty() || plan.beside() > 0) {
            plan.secret = secret_of(plan.args.secret.as_deref(), plan.args.secret_file.as_deref())?;
        }
        plan.check_room_for_sockets()?;
        Ok(plan)
    }

    /// Decides everything, without a secret to sign by and whether or not this host can do it.
    pub(crate) fn decide(mut args: RunArgs) -> Result<Self> {
        let doors = reach::doors(&args.url)?;
        let server = doors[0].address;
        let hold = args.hold.is_some();
        let publishers = args.publishers.unwrap_or(if hold { Publishers::PerRoom(1) } else { Publishers::All });
        let own_copy = args.echo.map_or(hold, |echo| echo == Switch::On);
        let dialect = dialect::settle(&mut args)?;
        let rules = Rules { acks: args.acks == Some(Switch::On), own_copy, positions: dialect.is_none() };
        let shape = Shape {
            connections: args.connections,
            room_size: args.room_size,
            sizes: args.sizes,
            publishers,
            own_copy,
            workers: args.workers,
            files: sys::raise_file_limit().context("reading the limit of open files")?,
        };
        let mut crowds = shape.crowds()?;
        let agents = args.agents.len() as u32;
        if args.workers.is_none() && (crowds.len() as u32) < agents {
            crowds = Shape { workers: Some(agents), ..shape }.crowds()?;
        }
        ensure!(
            crowds.len() >= args.agents.len(),
            "--agents: {} of them, and only {} rooms to deal out: name fewer",
            args.agents.len(),
            crowds.len()
        );
        // As many as fit whole rooms.
        args.connections = shape::connections(&crowds);
        let rooms = crowds.iter().map(|crowd| crowd.rooms).sum();
        let publishers = crowds.iter().map(|crowd| crowd.rooms * crowd.publishers).sum();
        let duration_s = args.hold.or(args.duration).unwrap_or(DURATION_S);
        let warmup_s = args.warmup.unwrap_or(if hold { 0.0 } else { 2.0 });
        // In a hold every room has a message, also where smaller rooms have a smaller share of them.
        let share = |crowd: &Crowd| f64::from(crowd.connections()) / f64::from(args.connections);
        let all_hear = crowds.iter().map(|crowd| f64::from(crowd.rooms) / share(crowd)).fold(0.0, f64::max);
        let default_rate = if hold { all_hear / duration_s } else { f64::from(rooms) };
        let rate = args.rate.unwrap_or(default_rate);
        let slo = args.slo.clone().unwrap_or_default();
        let slo = slo.and(&args.slo_p99_ms.map(Slo::p99_ms).unwrap_or_default());
        let origin_ns = sys::monotonic_ns();
        let seed = args.seed.unwrap_or_else(|| mix(origin_ns) >> 11);
        // The run's name must be fresh even when the seed is given again: a server may still know its rooms.
        let run = format!("{:08x}", mix(seed ^ mix(sys::unix_s() << 20 ^ origin_ns)) as u32);
        let loopback = server.ip().is_loopback() && server.is_ipv4();
        let source = match args.source {
            Some(net) => {
                ensure!(server.is_ipv4(), "--source is for IPv4 servers");
                ensure!(net.is_loopback() == loopback, "--source: from that net {server} cannot be reached");
                Some(net)
            }
            None if loopback => Some("127.0.0.0/8".parse().map_err(anyhow::Error::msg)?),
            None => None,
        };
        let mut plan = Self {
            server,
            doors,
            secret: Vec::new(),
            rooms,
            publishers,
            rules,
            rate,
            warmup_s,
            duration_s,
            slo,
            stages: Vec::new(),
            seed,
            run,
            crowds,
            source,
            dialect,
            origin_ns,
            connections_asked: args.connections,
            rooms_asked: rooms,
            args,
        };
        plan.stages = plan.decide_stages()?;
        Ok(plan)
    }

    fn decide_stages(&self) -> Result<Vec<Stage>> {
        let args = &self.args;
        if args.phase.is_empty() {
            return Ok(vec![self.stage(self.rate)]);
        }
        ensure!(args.hold.is_none(), "--hold is a phase of its own: it cannot stand beside --phase");
        ensure!(args.warmup.is_none(), "--warmup cannot stand beside --phase: a phase has a `warmup` of its own");
        let decided = args.phase.iter().map(|spec| {
            let (from, to) = spec.times;
            let mean = f64::midpoint(from, to);
            Stage {
                name: spec.name.clone(),
                rate: self.rate * mean,
                slope: Slope { from: from / mean, to: to / mean },
                warmup_s: spec.warmup_s,
                duration_s: spec.duration_s,
                arrivals: spec.arrivals.unwrap_or(args.arrivals),
                slo: spec.slo.clone().unwrap_or_else(|| self.slo.clone()),
                slow: spec.slow,
            }
        });
        Ok(decided.collect())
    }

    /// The one phase of a run without any, at `rate`.
    pub(crate) fn stage(&self, rate: f64) -> Stage {
        Stage {
            name: if self.args.hold.is_some() { "hold" } else { "run" }.to_owned(),
            rate,
            slope: Slope::FLAT,
            warmup_s: self.warmup_s,
            duration_s: self.duration_s,
            arrivals: self.args.arrivals,
            slo: self.slo.clone(),
            slow: 0,
        }
    }

    /// Connections beside the crowd, at most at once.
    pub(crate) fn beside(&self) -> u32 {
        self.args.guests + self.slow_most()
    }

    fn slow_most(&self) -> u32 {
        self.stages.iter().map(|stage| stage.slow).max().unwrap_or(0)
    }

    /// So many people beside the crowd, spread over its rooms; `first` is behind all connections that have a name already.
    pub(crate) fn company(&self, first: u32, count: u32, slow: bool) -> Result<Company> {
        let signer = Signer::new(&self.secret, &self.run, sys::unix_s() + self.args.token_ttl);
        let mut random = Random::new(self.seed ^ u64::from(first));
        let doors: Vec<Arc<Door>> = self.doors.iter().cloned().map(Arc::new).collect();
        let mut people = Vec::new();
        for number in first..first + count {
            let room = self.room_at(random.below(self.rooms as usize) as u32);
            let place = Place {
                room: format!("load:{}:{room:08x}", self.run),
                number: room,
                run: self.run.clone(),
                payload: self.args.payload.clone(),
                seed: self.seed,
            };
            let mut member = Member::new(signer.sign(number).context("a token cannot be signed")?, Some(place));
            member.presence = self.args.presence == Switch::On;
            member.receive_bytes = slow.then_some(SLOW_RECEIVE_BYTES);
            people.push((member, Arc::clone(&doors[room as usize % doors.len()])));
        }
        Company::new(people, random.draw(), first, self.origin_ns)
    }

    /// Which workers come in together.
    pub(crate) fn waves(&self) -> Vec<Range<usize>> {
        ramp::waves(self.crowds.len(), self.args.connecting as usize, self.args.agents.len()).collect()
    }

    /// What worker `index` must know, which comes in with `wave`; `others_sit`: somebody of an earlier one does.
    pub(crate) fn crew(&self, index: usize, wave: &Range<usize>, others_sit: bool) -> Crew {
        let (at_once, together, place) = (self.args.connecting as usize, wave.len(), index - wave.start);
        let in_wave: u32 = self.crowds[wave.clone()].iter().map(Crowd::connections).sum();
        let crowd = self.crowds[index];
        let pin = self.args.pin.as_ref().map(|cores| cores.0[index % cores.0.len()]);
        Crew {
            worker: index as u32,
            doors: self.doors.clone(),
            encoding: self.args.encoding,
            crowd,
            rules: self.rules,
            presence: self.args.presence == Switch::On,
            by_keys: self.args.by_keys,
            dialect: self.dialect.clone(),
            run: self.run.clone(),
            seed: self.seed,
            secret: self.secret.clone(),
            token_ttl_s: self.args.token_ttl,
            payload: self.args.payload.clone(),
            sources: self.sources(index),
            connecting: at_once / together + usize::from(place < at_once % together),
            ramp_rate: self.args.ramp_rate.map(|rate| rate * f64::from(crowd.connections()) / f64::from(in_wave)),
            others_sit,
            give_up_ns: (self.args.give_up * 1e9) as u64,
            memory_floor_bytes: self.memory_floor_bytes(),
            pin,
            origin_ns: self.origin_ns,
            settle_ns: (self.args.settle * 1e9) as u64,
        }
    }

    /// Goes on with those who came in: so many rooms of each crowd that has begun to. Everybody speaks as often as was planned.
    pub(crate) fn keep(&mut self, rooms: &[u32]) {
        self.crowds.truncate(rooms.len());
        for (crowd, rooms) in self.crowds.iter_mut().zip(rooms) {
            crowd.rooms = *rooms;
        }
        self.crowds.retain(|crowd| crowd.rooms > 0);
        let connections = shape::connections(&self.crowds);
        let share = f64::from(connections) / f64::from(self.args.connections);
        self.args.connections = connections;
        self.rooms = self.crowds.iter().map(|crowd| crowd.rooms).sum();
        self.publishers = self.crowds.iter().map(|crowd| crowd.rooms * crowd.publishers).sum();
        self.rate *= share;
        self.stages.iter_mut().for_each(|stage| stage.rate *= share);
    }

    /// The number of the room at `place` of those there are (`0..rooms`).
    fn room_at(&self, mut place: u32) -> u32 {
        for crowd in &self.crowds {
            if place < crowd.rooms {
                return crowd.first_room + place;
            }
            place -= crowd.rooms;
        }
        place
    }

    /// Worker `index`'s share of a phase, the `number`th of this crowd.
    pub(crate) fn phase(
        &self,
        index: usize,
        number: u64,
        stage: &Stage,
        start_ns: u64,
        heartbeat_needed: bool,
    ) -> Phase {
        let share = self.share(index);
        let Stage { rate, warmup_s, duration_s, .. } = *stage;
        Phase {
            arrivals: stage.arrivals,
            slope: stage.slope,
            start_ns,
            warmup_ns: (warmup_s * 1e9) as u64,
            duration_ns: (duration_s * 1e9) as u64,
            messages: (rate * (warmup_s + duration_s) * share).round().max(1.0) as u64,
            seed: mix(self.seed ^ mix(number << 16 | index as u64)),
            heartbeat_needed,
            lateness_ns_max: (self.args.lateness_p99_ms * 1e6) as u64,
            pace_ns: self.pace_ns(rate * share, self.heard_by(index)),
            spread_every: self.spread_every(stage),
        }
    }

    /// Worker `index`'s share of everything: everybody speaks as often as anybody else.
    fn share(&self, index: usize) -> f64 {
        f64::from(self.crowds[index].connections()) / f64::from(self.args.connections)
    }

    /// A worker that would wake for every message is slow itself and keeps the server from working in batches, which
    /// no crowd of thousands of machines does to it. What waits for a turn counts as latency.
    fn pace_ns(&self, rate: f64, hearers: f64) -> u64 {
        let messages_per_s = rate * (1.0 + hearers);
        if messages_per_s > PACED_ABOVE_PER_S { PACE_NS } else { 0 }
    }

    /// One message in so many is followed to the last who hears it: few enough to cost a worker next to nothing, and as
    /// many in all workers and phases, so that all weigh alike.
    fn spread_every(&self, stage: &Stage) -> u32 {
        let most = self.stages.iter().map(Stage::peak_rate).fold(stage.peak_rate(), f64::max);
        let times = (0..self.crowds.len()).map(|index| {
            let messages = most * self.share(index);
            (messages / FOLLOWED_PER_S).max(messages * self.heard_by(index) / FOLLOWED_HEARD_PER_S)
        });
        (times.fold(1.0, f64::max).ceil() as u32).next_power_of_two()
    }

    /// How many hear one message of worker `index`.
    fn heard_by(&self, index: usize) -> f64 {
        f64::from(self.crowds[index].room_size - 1 + u32::from(self.rules.own_copy))
    }

    /// How many hear one message, on average over all of them.
    pub(crate) fn hearers(&self) -> f64 {
        let heard =
            (0..self.crowds.len()).map(|index| f64::from(self.crowds[index].connections()) * self.heard_by(index));
        heard.sum::<f64>() / f64::from(self.args.connections)
    }

    /// The rooms in words.
    pub(crate) fn rooms_text(&self) -> String {
        let size = self.args.room_size;
        match self.args.sizes {
            Sizes::Fixed => format!("{} rooms of {size}", self.rooms),
            Sizes::Zipf => format!("{} rooms of 2 to {size} (zipf)", self.rooms),
        }
    }

    /// For people.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| writeln!(text, "  {name:<12} {value}").unwrap_or_default();
        let args = &self.args;
        let addresses: Vec<String> = self.doors.iter().map(|door| door.address.to_string()).collect();
        line("server", format!("{} ({})", args.url.join(", "), addresses.join(", ")));
        line("crowd", format!("{} connections in {}", args.connections, self.rooms_text()));
        line("publishers", format!("{} in all", self.publishers));
        line(
            "traffic",
            format!("{:.1} messages/s, {} each, {:.1} hear one", self.rate, args.payload.words(), self.hearers()),
        );
        for stage in &self.stages {
            line(&stage.name, stage.describe(self.hearers()));
        }
        let on = |on| if on { "on" } else { "off" };
        line(
            "wire",
            format!(
                "{:?}, {:?}, acks {}, own copies {}, presence {:?}",
                args.protocol,
                args.encoding,
                on(self.rules.acks),
                on(self.rules.own_copy),
                args.presence
            ),
        );
        let lent = if args.agents.is_empty() { String::new() } else { format!(" lent by {}", args.agents.join(", ")) };
        line("workers", format!("{} processes{lent}, {} connecting at once", self.crowds.len(), args.connecting));
        let sources = match self.source {
            Some(_) => format!("{} addresses, explicit (address, port) binds", self.addresses()),
            None => "chosen by the kernel".to_owned(),
        };
        line("sources", sources);
        line("memory", self.memory_text());
        line("seed", format!("{} (run {})", self.seed, self.run));
        text
    }

    /// How many addresses are bound explicitly; none: the kernel chooses.
    pub(crate) fn addresses_bound(&self) -> Option<u32> {
        self.source.map(|_| self.addresses())
    }

    /// What the server sees from one address, at most.
    pub(crate) fn connections_per_address(&self) -> u32 {
        match self.source {
            Some(_) => {
                let ports = PORTS_PER_ADDRESS / 2 * self.doors.len() as u32;
                self.crowds.iter().map(|crowd| crowd.connections()).max().unwrap_or(0).min(ports)
            }
            None => self.args.connections,
        }
    }

    /// Local pairs of address and port that a worker's crowd takes: each once towards every door.
    pub(crate) fn pairs(&self, crowd: &Crowd) -> u32 {
        crowd.rooms.div_ceil(self.doors.len() as u32) * crowd.room_size
    }

    /// How many connections could be had from the net that connections are bound to, if it is known.
    pub(crate) fn connections_possible(&self) -> Option<u64> {
        let pairs = u64::from(self.source?.usable()) * u64::from(PORTS_PER_ADDRESS / 2);
        Some(pairs * self.doors.len() as u64)
    }

    fn addresses(&self) -> u32 {
        self.crowds.iter().map(|crowd| Sources::addresses(self.pairs(crowd))).sum()
    }

    fn sources(&self, index: usize) -> Option<Sources> {
        let net = self.source?;
        let before: u32 = self.crowds[..index].iter().map(|crowd| Sources::addresses(self.pairs(crowd))).sum();
        let spread = net.usable().saturating_sub(self.addresses()) as usize;
        let run = u64::from_str_radix(&self.run, 16).unwrap_or(0);
        Some(Sources::new(net, Random::new(run).below(spread + 1) as u32 + before))
    }
}

#[cfg(test)]
mod tests;
