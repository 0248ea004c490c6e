//! A shard's thread, pinned to its core: glommio's executor on io_uring, a plain thread on epoll. The turn is the pump's.
//!
//! Promises: a pump with work is turned, one without sleeps until its bell rings, an event comes that it waits for, or its
//! tick is due.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::Sender;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};

use super::alarm::Alarm;
use super::clock::Clock;
use super::engine::{EXECUTOR_IO_BYTES, Engine};
use super::mailbox::Bell;
use super::pump::{Parts, Pump};
use super::sys;
use crate::base::ShardId;

/// One running shard.
#[derive(Debug)]
pub(super) enum ShardThread {
    Executor(ExecutorJoinHandle<io::Result<()>>),
    Plain(JoinHandle<io::Result<()>>),
}

impl ShardThread {
    /// `make` is called on the thread; `started` hears one word when the shard takes connections, and is dropped if it never
    /// will.
    ///
    /// # Errors
    /// A sentence, when there is no thread.
    pub(super) fn start(
        engine: Engine,
        id: ShardId,
        core: usize,
        make: impl FnOnce() -> Parts + Send + 'static,
        started: Sender<()>,
    ) -> Result<Self, String> {
        let name = format!("shard-{}", id.0);
        match engine {
            Engine::IoUring => {
                let builder = LocalExecutorBuilder::new(Placement::Fixed(core)).name(&name);
                let builder = builder.io_memory(EXECUTOR_IO_BYTES).ring_depth(EXECUTOR_RING_DEPTH);
                let life = move || async move {
                    match born(make, started)? {
                        Some(pump) => on_executor(pump).await,
                        None => Ok(()),
                    }
                };
                builder.spawn(life).map(Self::Executor).map_err(|error| error.to_string())
            }
            Engine::Epoll => {
                let life = move || {
                    sys::stay_on_core(core)?;
                    born(make, started)?.map_or(Ok(()), on_thread)
                };
                thread::Builder::new().name(name).spawn(life).map(Self::Plain).map_err(|error| error.to_string())
            }
        }
    }

    /// Waits for its end: why it ended early, or a sentence if not even that is known.
    pub(super) fn join(self) -> Result<io::Result<()>, String> {
        match self {
            Self::Executor(executor) => executor.join().map_err(|error| error.to_string()),
            Self::Plain(thread) => thread.join().map_err(|_| "it panicked".to_owned()),
        }
    }
}

/// `None`: whoever wanted this shard is gone.
fn born(make: impl FnOnce() -> Parts, started: Sender<()>) -> io::Result<Option<Pump>> {
    let pump = Pump::new(make())?;
    // The channel holds one word of each shard.
    Ok(started.try_send(()).is_ok().then_some(pump))
}

/// Turns until told to stop, as a task of an executor: it sleeps by reading the bell, which everything rings, the time too.
///
/// # Errors
/// The bell could not be opened or read: the shard could never be woken.
async fn on_executor(mut pump: Pump) -> io::Result<()> {
    let bell = pump.bell().eventfd().as_glommio_file()?;
    let timer = keep_time(pump.clock(), pump.alarm(), Arc::clone(pump.bell()));
    let timer = glommio::spawn_local(timer);
    while !pump.is_over() {
        let busy = pump.turn();
        if !busy && pump.prepare_sleep() {
            let rung = bell.read_at(0, 8).await.map_err(io::Error::from);
            pump.wake();
            if let Err(error) = rung
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error);
            }
        } else {
            glommio::yield_if_needed().await;
        }
    }
    pump.say_goodbye();
    timer.cancel().await;
    Ok(())
}

/// Turns until told to stop; the thread itself sleeps.
///
/// # Errors
/// The bell could not be waited for: the shard could never be woken.
fn on_thread(mut pump: Pump) -> io::Result<()> {
    while !pump.is_over() {
        if !pump.turn() && pump.prepare_sleep() {
            let slept = pump.sleep();
            pump.wake();
            slept?;
        }
    }
    pump.say_goodbye();
    Ok(())
}

/// Wakes a sleeping pump when its alarm is due; one that is awake sees that for itself.
async fn keep_time(clock: Clock, alarm: Rc<Alarm>, bell: Arc<Bell>) {
    loop {
        glommio::timer::sleep(alarm.timer(clock.now().mono_ms)).await;
        if alarm.is_due(clock.now().mono_ms) {
            bell.ring();
        }
    }
}

/// The executor itself only reads the bell and keeps one timer.
const EXECUTOR_RING_DEPTH: usize = 128;
