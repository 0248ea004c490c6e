//! Log lines: to stderr, for a person or for a machine, and never more than a reader can take.
//!
//! Promises: of each kind of line (each place in the code) at most [`LINES_PER_SECOND`] a second; how many were left out
//! is said with the next line of that kind. Nothing below the chosen level costs more than one comparison.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};

use throng::config::LogForm;
use throng::runtime::clock::Clock;
use tracing::callsite::Identifier;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use super::Failure;

/// The way to change what is logged while the process runs.
#[derive(Clone, Debug)]
pub(crate) struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// From now on.
    pub(crate) fn set(&self, level: &str) -> Result<(), Failure> {
        let broken = |error: reload::Error| Failure::Broken(format!("the log level cannot be changed: {error}"));
        self.0.reload(parse(level)?).map_err(broken)
    }
}

/// Starts logging for the whole process.
pub(crate) fn start(form: LogForm, level: &str) -> Result<Level, Failure> {
    let (filter, handle) = reload::Layer::new(parse(level)?);
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match form {
        LogForm::Human => lines.boxed(),
        LogForm::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(Sampling::new(Clock::start()))
        .with(lines)
        .try_init()
        .map_err(|error| Failure::Broken(format!("logging could not be started: {error}")))?;
    Ok(Level(handle))
}

/// Whether a level would be understood.
pub(crate) fn check(level: &str) -> Result<(), Failure> {
    parse(level).map(drop)
}

fn parse(level: &str) -> Result<EnvFilter, Failure> {
    let misused = |error| Failure::Misused(format!("`level` in [log] is {level:?}, which is not understood: {error}"));
    EnvFilter::builder().parse(level).map_err(misused)
}

/// Lets the first lines of each kind and second through.
struct Sampling {
    clock: Clock,
    kinds: Mutex<HashMap<Identifier, Window>>,
}

/// One kind's present second.
#[derive(Default)]
struct Window {
    second: u64,
    lines: u32,
    left_out: u64,
}

impl Sampling {
    fn new(clock: Clock) -> Self {
        Self { clock, kinds: Mutex::default() }
    }
}

impl<S: Subscriber> Layer<S> for Sampling {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let second = self.clock.now().mono_ms / 1_000;
        let left_out = {
            let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
            kinds.entry(event.metadata().callsite()).or_default().admit(second)
        };
        if let Some(left_out @ 1..) = left_out {
            // A kind of its own, and asked for only after the lock is free: this line comes back here.
            let (place, line) = (event.metadata().file(), event.metadata().line());
            tracing::warn!(left_out, place, line, "lines like the next one were left out");
        }
        left_out.is_some()
    }
}

impl Window {
    /// `None`: not this one. Else how many were left out since the last that was let through.
    fn admit(&mut self, second: u64) -> Option<u64> {
        if self.second != second {
            (self.second, self.lines) = (second, 0);
        }
        if self.lines == LINES_PER_SECOND {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// Of one kind.
const LINES_PER_SECOND: u32 = 20;

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let mut window = Window::default();
        let admitted = (0..1_000).filter(|_| window.admit(7).is_some()).count();
        assert_eq!(admitted, 20);
        assert_eq!(window.admit(8), Some(980));
        assert_eq!(window.admit(8), Some(0));
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn one_kind_that_floods_does_not_hide_another() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::registry()
            .with(EnvFilter::new("debug"))
            .with(Sampling::new(Clock::start()))
            .with(tracing_subscriber::fmt::layer().with_writer(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            for connection in 0..10_000 {
                tracing::debug!(connection, "closed");
            }
            tracing::debug!("the other kind");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let closed = text.matches("closed").count();
        // At least one second's worth; how many seconds ten thousand lines take is the machine's business.
        assert!((20..10_000).contains(&closed), "{closed}");
        assert!(text.contains("the other kind"));
    }
}
