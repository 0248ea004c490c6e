//! The lent machine: takes coordinators in, and gives each a worker process of its own.
//!
//! Promises: never serves beyond this host without a key; the worker ends when its coordinator goes, and the coordinator is told
//! when the worker ends. Bounded: so many connections at once, handshakes included.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use super::{Key, PROGRAM, Role, VERSION, Word, hear, nonce, say};
use crate::crew;
use crate::orders::{Order, WorkerReport};
use crate::reach::secret_of;
use crate::say::{answer, tell};
use crate::sys;

#[derive(Args, Clone)]
pub(crate) struct WorkerArgs {
    /// Lends this machine to coordinators (`run --agents`) that connect here. Without it: one worker of a run on this host,
    /// which reads its orders from standard input.
    #[arg(long, env = "THRONG_LOAD_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,
    /// The key that agents and coordinators share, at least 16 bytes. Needed unless `listen` is a loopback address.
    #[arg(long, env = "THRONG_LOAD_AGENT_KEY", hide_env_values = true)]
    pub(crate) agent_key: Option<String>,
    /// A file that holds it; the end of its line is not part of it.
    #[arg(long, env = "THRONG_LOAD_AGENT_KEY_FILE", conflicts_with = "agent_key")]
    pub(crate) agent_key_file: Option<PathBuf>,
    /// The HS256 secret of the server under test: agents sign tokens themselves, coordinators never send it.
    #[arg(long, env = "THRONG_LOAD_SECRET", hide_env_values = true)]
    pub(crate) secret: Option<String>,
    /// A file that holds it; the end of its line is not part of it.
    #[arg(long, env = "THRONG_LOAD_SECRET_FILE", conflicts_with = "secret")]
    pub(crate) secret_file: Option<PathBuf>,
}

/// Connections at once: workers, and those who still have to prove who they are.
const CONNECTIONS_MAX: usize = 256;
/// How long a handshake may pause.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of the longest first order.
const ORDER_BYTES_MAX: u64 = 1 << 20;

/// A worker on standard input, or an agent that serves until it is ended.
pub(crate) fn command(args: &WorkerArgs) -> Result<()> {
    let Some(listen) = args.listen else { return crate::worker::run() };
    let key = match key(args)? {
        Some(key) => key,
        None => {
            ensure!(
                is_this_host(listen.ip()),
                "--listen {listen} without --agent-key-file: whoever reaches it could make this machine attack others"
            );
            Key::of_this_host()
        }
    };
    let secret = match (&args.secret, &args.secret_file) {
        (None, None) => None,
        (given, file) => Some(secret_of(given.as_deref(), file.as_deref())?),
    };
    let listener = TcpListener::bind(listen).with_context(|| format!("--listen {listen}"))?;
    answer!("agent listens at {}", listener.local_addr()?);
    let lent = Arc::new(Lent { key, secret, connections: AtomicUsize::new(0) });
    loop {
        let Ok((stream, peer)) = listener.accept() else { continue };
        let lent = Arc::clone(&lent);
        let serve = move || {
            if let Err(error) = lent.serve(&stream, peer) {
                tell!("agent: {peer}: {error:#}");
            }
            // Who has gone already needs no goodbye.
            stream.shutdown(Shutdown::Both).unwrap_or_default();
        };
        // Without a thread for it the connection ends, and the coordinator is told by that.
        let _served = std::thread::Builder::new().name("agent".to_owned()).spawn(serve);
    }
}

fn is_this_host(address: IpAddr) -> bool {
    address.is_loopback()
}

fn key(args: &WorkerArgs) -> Result<Option<Key>> {
    key_of(args.agent_key.as_deref(), args.agent_key_file.as_deref())
}

/// The key, given or in a file; none: for agents on this host.
pub(super) fn key_of(given: Option<&str>, file: Option<&std::path::Path>) -> Result<Option<Key>> {
    if given.is_none() && file.is_none() {
        return Ok(None);
    }
    secret_of(given, file).and_then(Key::new).context("--agent-key, --agent-key-file").map(Some)
}

/// What everybody who is served shares.
struct Lent {
    key: Key,
    secret: Option<Vec<u8>>,
    connections: AtomicUsize,
}

impl Lent {
    fn serve(&self, stream: &TcpStream, peer: SocketAddr) -> Result<()> {
        let others = self.connections.fetch_add(1, Ordering::Relaxed);
        let served = if others < CONNECTIONS_MAX { self.welcome(stream, peer) } else { Err(full(stream)) };
        self.connections.fetch_sub(1, Ordering::Relaxed);
        served
    }

    /// The handshake, then the worker.
    fn welcome(&self, stream: &TcpStream, peer: SocketAddr) -> Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mine = nonce()?;
        say(stream, &Word::Agent { version: VERSION, program: PROGRAM.to_owned(), nonce: mine.clone() })?;
        let Word::Coordinator { version, program, nonce, proof } = hear(&mut reader)? else {
            bail!("spoke out of turn");
        };
        let refusal = if !self.key.proves(Role::Coordinator, &mine, &proof) {
            Some("the key is another one: --agent-key-file must be the same on both sides".to_owned())
        } else if version != VERSION || program != PROGRAM {
            Some(format!("this agent is {PROGRAM} (version {VERSION}), the coordinator {program} (version {version})"))
        } else {
            None
        };
        if let Some(sentence) = refusal {
            say(stream, &Word::Refused { sentence: sentence.clone() })?;
            bail!("refused: {sentence}");
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        say(stream, &Word::Welcome { proof: self.key.prove(Role::Agent, &nonce)?, cores })?;
        loop {
            match hear(&mut reader)? {
                Word::Clock { number } => say(stream, &Word::Time { number, now_ns: sys::monotonic_ns() })?,
                Word::Begin => break,
                Word::Agent { .. }
                | Word::Coordinator { .. }
                | Word::Welcome { .. }
                | Word::Refused { .. }
                | Word::Time { .. } => bail!("spoke out of turn"),
            }
        }
        tell!("agent: {peer}: a worker begins");
        self.lend(stream, reader)?;
        tell!("agent: {peer}: its worker has ended");
        Ok(())
    }

    /// A worker process whose standard input and output are this connection.
    fn lend(&self, stream: &TcpStream, mut reader: BufReader<TcpStream>) -> Result<()> {
        let mut first = String::new();
        reader.by_ref().take(ORDER_BYTES_MAX).read_line(&mut first).context("the first order")?;
        let Ok(Order::Open(mut crew)) = serde_json::from_str(&first) else { bail!("the first order must be `open`") };
        match &self.secret {
            Some(secret) => crew.secret.clone_from(secret),
            None if crew.needs_secret() => {
                let sentence = "the agent has no secret to sign tokens by: give it --secret-file".to_owned();
                let mut line = serde_json::to_vec(&WorkerReport::Failed { sentence })?;
                line.push(b'\n');
                return Ok((&mut &*stream).write_all(&line)?);
            }
            None => {}
        }
        // From here on it may be silent for as long as it likes.
        stream.set_read_timeout(None)?;
        let (mut child, mut orders, mut reports) = crew::process()?;
        let mut line = serde_json::to_vec(&Order::Open(crew))?;
        line.push(b'\n');
        orders.write_all(&line)?;
        let back = stream.try_clone()?;
        let relay = move || {
            pass_on(&mut reports, &mut &back);
            back.shutdown(Shutdown::Both).unwrap_or_default();
        };
        let relay = std::thread::Builder::new().name("reports".to_owned()).spawn(relay)?;
        // When the coordinator has gone the worker ends by the end of its orders.
        pass_on(&mut reader, &mut orders);
        drop(orders);
        child.wait()?;
        relay.join().unwrap_or_default();
        Ok(())
    }
}

/// Until there is no more to read, or nobody who takes it. Not `std::io::copy`: between a socket and a pipe that splices, and
/// Linux holds the pipe's lock while it waits for the socket, so that the worker could not even look for orders.
fn pass_on(from: &mut impl Read, to: &mut impl Write) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => return,
            Ok(len) if to.write_all(&bytes[..len]).is_ok() => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => return,
        }
    }
}

fn full(stream: &TcpStream) -> anyhow::Error {
    let sentence = format!("this agent has {CONNECTIONS_MAX} connections already");
    // Who has gone needs no answer.
    say(stream, &Word::Refused { sentence: sentence.clone() }).unwrap_or_default();
    anyhow::Error::msg(sentence)
}
