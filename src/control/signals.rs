//! SIGINT and SIGTERM: the first asks the server to leave, the second to end at once.
//!
//! Promises: from [`Signals::listen`] on neither ends the process by itself; none is lost in between.

use std::io;
use std::sync::mpsc::{Receiver, channel};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for the process to be asked to end.
#[derive(Debug)]
pub struct Signals {
    first: Receiver<&'static str>,
}

impl Signals {
    /// Starts listening. `at_the_second` is called when the process is asked a second time, on a thread of its own.
    ///
    /// # Errors
    /// When the system has no descriptor or thread for it.
    pub fn listen(at_the_second: impl FnOnce(&'static str) + Send + 'static) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let entered = runtime.enter();
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(entered);
        let (tell, first) = channel();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                // Whoever listened may be gone: the second signal is heard all the same.
                let _told = tell.send(next(&mut interrupt, &mut terminate).await);
                at_the_second(next(&mut interrupt, &mut terminate).await);
            });
        })?;
        Ok(Self { first })
    }

    /// Blocks until the process is asked to end, and gives the signal's name.
    pub fn wait(&self) -> &'static str {
        // The thread sends before it ends.
        self.first.recv().unwrap_or("a lost signal")
    }
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        biased;
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}
