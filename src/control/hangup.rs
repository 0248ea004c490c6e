//! SIGHUP: what an operator sends after changing the configuration.

use std::io;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears every SIGHUP. From its making on, SIGHUP no longer ends the process.
#[derive(Debug)]
pub struct Hangups {
    runtime: Runtime,
    signal: Signal,
}

impl Hangups {
    /// # Errors
    /// No descriptors left for a runtime, or the signal cannot be caught.
    pub fn listen() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let signal = runtime.block_on(async { signal(SignalKind::hangup()) })?;
        Ok(Self { runtime, signal })
    }

    /// Starts a thread that acts on each, one after the other; several that come meanwhile are one. It ends with the
    /// process.
    ///
    /// # Errors
    /// No thread is to be had.
    pub fn each(self, mut act: impl FnMut() + Send + 'static) -> io::Result<()> {
        let Self { runtime, mut signal } = self;
        let listen = move || {
            runtime.block_on(async {
                while signal.recv().await.is_some() {
                    act();
                }
            });
        };
        std::thread::Builder::new().name("reload".to_owned()).spawn(listen).map(drop)
    }
}
