//! A worker as its coordinator sees it: a process of this host, or one that an agent lends.
//!
//! Promises: a worker that goes away ends the run with a sentence, never a pass; a run that failed leaves no process behind.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::agent::{Agent, Reached, reach};
use crate::orders::{Crew, Order, WorkerReport};
use crate::plan::Plan;
use crate::sys::{self, Epoll};

pub(crate) struct Worker {
    /// Counted over the run; the token of its reports.
    pub(crate) number: usize,
    place: Place,
    orders: Option<File>,
    reports: File,
    unread: Vec<u8>,
    heard_ns: u64,
}

/// Where it runs.
enum Place {
    Here(Child),
    There(Agent),
}

/// Workers speak once a second; one elsewhere that says nothing for so long is lost.
const SILENCE_NS: u64 = 30_000_000_000;

impl Worker {
    /// Starts a worker, its reports watched by `epoll`, and gives it its crew.
    pub(crate) fn start(plan: &Plan, mut crew: Crew, epoll: &Epoll) -> Result<Self> {
        let agents = &plan.args.agents;
        let number = crew.worker as usize;
        let (place, orders, reports) = match agents.get(number % agents.len().max(1)) {
            None => here()?,
            Some(name) => {
                let (key, file) = (plan.args.agent_key.as_deref(), plan.args.agent_key_file.as_deref());
                let Reached { agent, stream } = reach(name, key, file, plan.server)?;
                crew.origin_ns = agent.clock(crew.origin_ns)?;
                // It has its own; ours never goes over the line.
                crew.secret = Vec::new();
                (Place::There(agent), stream.try_clone()?, stream)
            }
        };
        sys::set_nonblocking(&reports)?;
        epoll.add(&reports, number as u64)?;
        let (unread, heard_ns) = (Vec::new(), sys::monotonic_ns());
        let mut worker = Self { number, place, orders: Some(orders), reports, unread, heard_ns };
        worker.order(&Order::Open(Box::new(crew)))?;
        Ok(worker)
    }

    pub(crate) fn agent(&self) -> Option<&Agent> {
        match &self.place {
            Place::Here(_) => None,
            Place::There(agent) => Some(agent),
        }
    }

    /// What is put before a sentence of its own.
    pub(crate) fn whose(&self) -> String {
        self.agent().map_or_else(String::new, |agent| format!("agent {}: ", agent.name))
    }

    pub(crate) fn order(&mut self, order: &Order) -> Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        let orders = self.orders.as_mut().context("a worker that was let go takes no orders")?;
        orders.write_all(&line).with_context(|| ended(&self.place))
    }

    /// Lets it go, and waits for it where it is our own.
    pub(crate) fn dismiss(&mut self) -> Result<()> {
        self.order(&Order::Quit)?;
        self.orders = None;
        if let Place::Here(child) = &mut self.place {
            child.wait()?;
        }
        Ok(())
    }

    /// An error when a worker elsewhere has said nothing for too long: no end of it may ever come here.
    pub(crate) fn is_heard_of(&self) -> Result<()> {
        let silent_ns = sys::monotonic_ns().saturating_sub(self.heard_ns);
        if self.agent().is_some() && silent_ns > SILENCE_NS {
            bail!("{}: nothing was heard of it for {} s", ended(&self.place), silent_ns / 1_000_000_000);
        }
        Ok(())
    }

    /// All whole lines that are there.
    pub(crate) fn read_reports(&mut self) -> Result<Vec<WorkerReport>> {
        let mut ends = None;
        let mut bytes = [0; 65_536];
        loop {
            match self.reports.read(&mut bytes) {
                Ok(0) => {
                    ends = Some(anyhow::Error::msg(ended(&self.place)));
                    break;
                }
                Ok(length) => self.unread.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    ends = Some(anyhow::Error::new(error).context(ended(&self.place)));
                    break;
                }
            }
            self.heard_ns = sys::monotonic_ns();
        }
        let mut reports = Vec::new();
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            reports.push(serde_json::from_slice(&line).context("a worker said something else than a report")?);
        }
        let said_why = reports.iter().any(|report| matches!(report, WorkerReport::Failed { .. }));
        match ends {
            Some(error) if !said_why => Err(error),
            Some(_) | None => Ok(reports),
        }
    }
}

fn here() -> Result<(Place, File, File)> {
    let (child, orders, reports) = process()?;
    Ok((Place::Here(child), File::from(OwnedFd::from(orders)), File::from(OwnedFd::from(reports))))
}

/// A worker process of this host, where its orders go and where its reports come from.
pub(crate) fn process() -> Result<(Child, ChildStdin, ChildStdout)> {
    let program = std::env::current_exe().context("finding this program for its workers")?;
    let mut child = Command::new(program)
        .arg("worker")
        .env_remove("THRONG_LOAD_LISTEN")
        // Orders hold what it must know of them; two of a kind would be refused.
        .env_remove("THRONG_LOAD_SECRET")
        .env_remove("THRONG_LOAD_SECRET_FILE")
        .env_remove("THRONG_LOAD_AGENT_KEY")
        .env_remove("THRONG_LOAD_AGENT_KEY_FILE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting a worker process")?;
    let orders = child.stdin.take().context("a worker's standard input is piped")?;
    let reports = child.stdout.take().context("a worker's standard output is piped")?;
    Ok((child, orders, reports))
}

fn ended(place: &Place) -> String {
    match place {
        Place::Here(child) => format!("worker process {} ended without a word", child.id()),
        Place::There(agent) => {
            format!("agent {} went away: what its part of the crowd lived through is not known", agent.name)
        }
    }
}

impl Drop for Worker {
    /// A run that failed leaves nobody behind.
    fn drop(&mut self) {
        self.orders = None;
        if let Place::Here(child) = &mut self.place {
            // Without orders it ends by itself; should it hang, it is ended.
            child.kill().unwrap_or_default();
            child.wait().map(|_| ()).unwrap_or_default();
        }
    }
}
