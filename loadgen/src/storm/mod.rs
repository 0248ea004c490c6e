//! `throng-load storm`: everybody is lost at once and comes back, while messages go on.
//!
//! A crowd sits in rooms; publishers that sit nowhere say something in each room, again and again. Then all of the crowd is
//! cut (by a reset, or by the server's death, which is somebody else's doing), waits with full jitter, connects, and resumes
//! with its session and its position. Promises: every message that was accepted is heard once, or told missing by one gap;
//! what is neither is counted and fails the run. One process, one thread: it measures how long a crowd takes, not latency.

mod member;
mod report;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use throng::base::{Epoch, Position};
use throng::wire::client::CommandOut;
use throng::wire::prove;

use crate::args::{Cores, positive};
use crate::mix::Random;
use crate::proc::Process;
use crate::sys::{self, Epoll};
use crate::token::Signer;
pub(crate) use report::Stormed;

use member::{ENCODING, Lost, Member, News, PUBLISH_FROM, Stage};

/// Who ends the connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Cut {
    /// We, all at once; the server lives and the publishers go on.
    Clients,
    /// Whoever watches for the line that says so, by ending the server and starting another at the same address.
    Server,
}

#[derive(Args, Clone)]
pub(crate) struct StormArgs {
    /// Where the server listens.
    #[arg(long, env = "THRONG_LOAD_URL", default_value = "ws://127.0.0.1:8080/ws")]
    pub(crate) url: String,
    /// The crowd, each a user of its own. A multiple of the room size. One source address: at most 25,000.
    #[arg(long, env = "THRONG_LOAD_CONNECTIONS", default_value_t = 19_000, value_parser = clap::value_parser!(u32).range(1..=25_000))]
    pub(crate) connections: u32,
    /// Members of each room.
    #[arg(long, env = "THRONG_LOAD_ROOM_SIZE", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) room_size: u32,
    /// Messages a second in each room.
    #[arg(long, env = "THRONG_LOAD_RATE", default_value = "1", value_parser = positive)]
    pub(crate) rate: f64,
    /// Connections that publish, and are never cut by us.
    #[arg(long, env = "THRONG_LOAD_PUBLISHERS", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) publishers: u32,
    /// Seconds of traffic before the cut, and again after everybody is back.
    #[arg(long, env = "THRONG_LOAD_DURATION", default_value = "5", value_parser = positive)]
    pub(crate) duration: f64,
    /// Who ends the connections.
    #[arg(long, env = "THRONG_LOAD_CUT", value_enum, default_value_t = Cut::Clients)]
    pub(crate) cut: Cut,
    /// Seconds from the cut within which everybody must be back.
    #[arg(long, env = "THRONG_LOAD_WITHIN", default_value = "60", value_parser = positive)]
    pub(crate) within: f64,
    /// Milliseconds of the first wait, doubled with each failure up to five times as much; anything from nothing to that.
    #[arg(long, env = "THRONG_LOAD_BACKOFF_MS", default_value = "1000", value_parser = positive)]
    pub(crate) backoff_ms: f64,
    /// Connections being opened at once at the beginning. After the cut there is no such limit.
    #[arg(long, env = "THRONG_LOAD_CONNECTING", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=25_000))]
    pub(crate) connecting: u32,
    /// Seconds without any arrival after which what is still owed counts as missing.
    #[arg(long, env = "THRONG_LOAD_SETTLE", default_value = "5", value_parser = positive)]
    pub(crate) settle: f64,
    /// The server's HS256 secret.
    #[arg(long, env = "THRONG_LOAD_SECRET", hide_env_values = true)]
    pub(crate) secret: Option<String>,
    /// A file that holds it; the end of its line is not part of it.
    #[arg(long, env = "THRONG_LOAD_SECRET_FILE", conflicts_with = "secret")]
    pub(crate) secret_file: Option<PathBuf>,
    /// The server's process on this host: reports its CPU time while everybody came back, and its private memory.
    #[arg(long, env = "THRONG_LOAD_SERVER_PID")]
    pub(crate) server_pid: Option<u32>,
    /// The core it is pinned to.
    #[arg(long, env = "THRONG_LOAD_PIN", value_parser = crate::args::cores)]
    pub(crate) pin: Option<Cores>,
    /// Writes the report there (`-`: to standard output, instead of the table).
    #[arg(long, env = "THRONG_LOAD_JSON")]
    pub(crate) json: Option<PathBuf>,
}

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
    ensure!(
        u64::from(args.connections + args.publishers) + 16 <= files,
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
    storm.cut()?;
    storm.come_back()?;
    let spent_ns = cpu_ns(&server).zip(cpu_before_ns).map(|(after, before)| after - before);
    storm.report.server_cpu_s = spent_ns.map(|ns| ns as f64 / 1e9);
    storm.talk(args.duration)?;
    storm.settle()?;
    storm.report.memory_after = server.as_ref().and_then(Process::memory_bytes);
    Ok(storm.judge())
}

struct Storm<'a> {
    args: &'a StormArgs,
    server: SocketAddr,
    host: String,
    target: String,
    epoll: Epoll,
    /// The crowd, then the publishers.
    members: Vec<Member>,
    /// When each that is away comes, by the monotonic clock.
    due_ns: Vec<u64>,
    /// How often each has begun to connect: events of a former socket carry a former number.
    lives: Vec<u32>,
    rooms: Vec<String>,
    /// The newest acknowledged position of each room.
    heads: Vec<Option<Position>>,
    random: Random,
    coming: u32,
    cut_ns: Option<u64>,
    /// Nanoseconds from the cut at which members were seated again.
    back_ns: Vec<u64>,
    talking: Option<Talk>,
    news: Vec<News>,
    buffer: Vec<u8>,
    heard_ns: u64,
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
        let (host, target) = crate::plan::split_url(&args.url)?;
        let server = host.to_socket_addrs().ok().and_then(|mut all| all.next());
        let server = server.with_context(|| format!("--url: cannot resolve {host}"))?;
        let secret = crate::plan::secret_of(args.secret.as_deref(), args.secret_file.as_deref())?;
        let run = format!("{:08x}", sys::monotonic_ns() as u32);
        let signer = Signer::new(&secret, &run, sys::unix_s() + 86_400);
        let rooms: Vec<String> =
            (0..args.connections / args.room_size).map(|room| format!("storm:{run}:{room}")).collect();
        let mut members = Vec::new();
        for n in 0..args.connections + args.publishers {
            let token = signer.sign(n).context("a token cannot be signed")?;
            members.push(Member::new(token, rooms.get((n / args.room_size) as usize).cloned()));
        }
        Ok(Self {
            args,
            server,
            host,
            target,
            epoll: Epoll::new(1_024)?,
            due_ns: vec![0; members.len()],
            lives: vec![0; members.len()],
            members,
            heads: vec![None; rooms.len()],
            random: Random::new(sys::monotonic_ns()),
            coming: 0,
            cut_ns: None,
            back_ns: Vec::new(),
            talking: None,
            news: Vec::new(),
            buffer: vec![0; 64 << 10],
            heard_ns: 0,
            report: Stormed { connections: args.connections, rooms: rooms.len() as u32, ..Stormed::default() },
            rooms,
        })
    }

    /// Everybody comes for the first time, not more at once than the listen queue holds.
    fn gather(&mut self) -> Result<()> {
        let began_ns = sys::monotonic_ns();
        let until_ns = began_ns + GATHER_NS;
        while !self.all_here() {
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

    /// The crowd is lost.
    fn cut(&mut self) -> Result<()> {
        match self.args.cut {
            Cut::Clients => {
                let now_ns = sys::monotonic_ns();
                self.cut_ns = Some(now_ns);
                for n in 0..self.args.connections as usize {
                    self.members[n].is_cut();
                    self.waits(n);
                }
            }
            Cut::Server => {
                eprintln!("storm: {} are seated: end the server now", self.args.connections);
                let until_ns = sys::monotonic_ns() + GATHER_NS;
                while self.cut_ns.is_none() {
                    ensure!(sys::monotonic_ns() < until_ns, "nobody ended the server");
                    self.step(None)?;
                }
            }
        }
        Ok(())
    }

    fn come_back(&mut self) -> Result<()> {
        let Some(cut_ns) = self.cut_ns else { bail!("nobody was cut") };
        let until_ns = cut_ns + (self.args.within * 1e9) as u64;
        // Of a server that dies the last may notice it after the first are back.
        while sys::monotonic_ns() < until_ns
            && !(self.back_ns.len() >= self.args.connections as usize && self.all_here())
        {
            self.step(None)?;
        }
        Ok(())
    }

    /// Nothing new is said; what is under way arrives.
    fn settle(&mut self) -> Result<()> {
        self.talking = None;
        let quiet_ns = (self.args.settle * 1e9) as u64;
        self.heard_ns = sys::monotonic_ns();
        while sys::monotonic_ns() < self.heard_ns + quiet_ns {
            self.step(None)?;
        }
        Ok(())
    }

    fn all_here(&self) -> bool {
        self.members.iter().all(|member| member.stage == Stage::Here)
    }

    /// Whoever is due comes, what is due is said, what has come is read.
    fn step(&mut self, connecting_max: Option<u32>) -> Result<()> {
        let now_ns = sys::monotonic_ns();
        for n in 0..self.members.len() {
            let free = connecting_max.is_none_or(|max| self.coming < max);
            if free && self.members[n].stage == Stage::Away && self.due_ns[n] <= now_ns {
                self.comes(n)?;
            }
        }
        self.say_what_is_due(now_ns);
        let found = self.epoll.wait(STEP_NS)?;
        for at in 0..found {
            let ready = self.epoll.event(at);
            let (n, life) = ((ready.token >> 32) as usize, ready.token as u32);
            if self.lives[n] != life || self.members[n].stage == Stage::Away {
                continue;
            }
            let mut outcome = Ok(());
            if ready.writable {
                outcome = self.members[n].asks(&self.host, &self.target);
            }
            if ready.readable && outcome.is_ok() {
                outcome = self.members[n].reads(&mut self.buffer, &mut self.news);
                self.heard_ns = sys::monotonic_ns();
            }
            self.take_note(n);
            if let Err(lost) = outcome {
                self.is_lost(n, lost);
            }
        }
        Ok(())
    }

    fn comes(&mut self, n: usize) -> Result<()> {
        self.lives[n] = self.lives[n].wrapping_add(1);
        let token = (n as u64) << 32 | u64::from(self.lives[n]);
        let begun = match self.members[n].comes(self.server) {
            Ok(stream) => {
                self.epoll.add(stream, token)?;
                self.coming += 1;
                Ok(())
            }
            Err(lost) => Err(lost),
        };
        if let Err(lost) = begun {
            self.is_lost(n, lost);
        }
        Ok(())
    }

    fn take_note(&mut self, n: usize) {
        for news in std::mem::take(&mut self.news) {
            match news {
                News::Seated => {
                    let member = &mut self.members[n];
                    member.failures = 0;
                    if member.stage == Stage::Coming {
                        self.coming -= 1;
                    }
                    member.stage = Stage::Here;
                    if let (Some(cut_ns), true) = (self.cut_ns, n < self.args.connections as usize) {
                        self.back_ns.push(sys::monotonic_ns() - cut_ns);
                    }
                }
                News::Acked(id, position) => {
                    self.report.acknowledged += 1;
                    let room = ((id - PUBLISH_FROM) % self.rooms.len() as u64) as usize;
                    let head = self.heads[room].get_or_insert(position);
                    let newer = head.epoch != position.epoch || head.offset < position.offset;
                    if newer {
                        *head = position;
                    }
                }
            }
        }
    }

    fn is_lost(&mut self, n: usize, Lost(why): Lost) {
        let member = &mut self.members[n];
        if member.stage == Stage::Coming {
            self.coming = self.coming.saturating_sub(1);
            *self.report.failures.entry(why).or_default() += 1;
        } else if self.args.cut == Cut::Server && self.talking.is_some() {
            self.cut_ns.get_or_insert_with(sys::monotonic_ns);
        } else {
            *self.report.failures.entry(format!("lost: {why}")).or_default() += 1;
        }
        self.members[n].is_cut();
        self.waits(n);
    }

    /// Full jitter: anything from nothing to the doubled wait.
    fn waits(&mut self, n: usize) {
        let member = &mut self.members[n];
        let most_ms =
            (self.args.backoff_ms * f64::from(1_u32 << member.failures.min(8))).min(self.args.backoff_ms * 5.0);
        member.failures += 1;
        self.due_ns[n] = sys::monotonic_ns() + (self.random.fraction() * most_ms * 1e6) as u64;
    }

    fn say_what_is_due(&mut self, now_ns: u64) {
        let Some(mut talk) = self.talking else { return };
        let interval_ns = 1e9 / (self.args.rate * self.rooms.len() as f64);
        while talk.from_ns + (talk.said as f64 * interval_ns) as u64 <= now_ns {
            let number = self.report.published;
            talk.said += 1;
            let publisher = self.args.connections as usize + (number % u64::from(self.args.publishers)) as usize;
            self.report.published += 1;
            if self.members[publisher].stage != Stage::Here {
                // Nobody there to say it: it was never said.
                continue;
            }
            let room = &self.rooms[(number % self.rooms.len() as u64) as usize];
            let Ok(data) = prove(ENCODING, b"\xa5storm", 1) else { return };
            let command = CommandOut::Publish { room, data, event: None, echo: None, key: None };
            if let Err(lost) = self.members[publisher].publishes(PUBLISH_FROM + number, &command) {
                self.is_lost(publisher, lost);
            }
        }
        self.talking = Some(talk);
    }

    fn judge(mut self) -> Stormed {
        let mut report = std::mem::take(&mut self.report);
        let (mut behind, mut astray, mut many_gaps) = (0, 0, 0_u64);
        for (n, member) in self.members.iter().enumerate() {
            let lived = member.lived;
            report.tries += lived.tries;
            report.put_off += lived.put_off;
            report.resumed += lived.resumed;
            report.not_resumed += lived.not_resumed;
            report.recovered += lived.recovered;
            report.heard += lived.heard;
            report.missing += lived.missing;
            report.twice += lived.twice;
            report.gaps += lived.gaps;
            report.told_missing += lived.told_missing;
            many_gaps += u64::from(lived.gaps > 1);
            let head = self.heads.get(n / self.args.room_size as usize).copied().flatten();
            match (head, member.position) {
                (Some(head), Some(position)) if head.epoch == position.epoch => {
                    behind += head.offset.0.saturating_sub(position.offset.0);
                }
                (Some(Position { epoch: Epoch(_), .. }), _) => astray += 1,
                (None, _) => {}
            }
        }
        report.missing += behind;
        self.back_ns.sort_unstable();
        let seconds = |ns: Option<&u64>| ns.map_or(0.0, |ns| *ns as f64 / 1e9);
        let share = |percent: usize| {
            seconds(self.back_ns.get((self.back_ns.len() * percent / 100).min(self.back_ns.len().saturating_sub(1))))
        };
        (report.back_p50_s, report.back_p99_s) = (share(50), share(99));
        report.back_all_s = seconds(self.back_ns.last());
        report.back = self.back_ns.len() as u64;
        report.seats_per_s_peak = report::peak(&self.back_ns);
        let here = self.members.iter().filter(|member| member.stage == Stage::Here).count();
        let mut wrong = |count: u64, what: &str| {
            if count > 0 {
                report.reasons.push(format!("{count} {what}"));
            }
        };
        wrong((self.members.len() - here) as u64, "did not come back in time");
        wrong(report.missing, "messages are missing and nobody said so");
        wrong(report.twice, "messages came twice");
        wrong(astray, "sit in a room of another life than the publishers'");
        wrong(many_gaps, "were told of more than one gap");
        wrong(u64::from(report.heard == 0), "run in which nobody heard anything");
        report.exit_code = if report.reasons.is_empty() { 0 } else { BROKEN };
        report
    }
}

const STEP_NS: u64 = 5_000_000;
const GATHER_NS: u64 = 600_000_000_000;
/// The exit code of a broken promise.
const BROKEN: u8 = 2;
