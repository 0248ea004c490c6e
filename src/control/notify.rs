//! Tells a supervisor how the server is, by the protocol of `sd_notify(3)`: one datagram per word.
//!
//! Promises: without a supervisor it does nothing; the watchdog is fed only when every shard has turned since it was fed
//! last (or within four ticks, where those are longer), so the slowest shard decides. A word that does not arrive is logged, never waited for.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use super::ready::Look;

/// The way to the supervisor; a clone is a pointer.
#[derive(Clone, Debug, Default)]
pub struct Notify(Option<Arc<Channel>>);

#[derive(Debug)]
struct Channel {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notify {
    /// `NOTIFY_SOCKET`: a path, or a name behind `@` that no file has. `None`: nobody wants to know.
    ///
    /// # Errors
    /// When it is neither.
    pub fn new(socket: Option<OsString>) -> io::Result<Self> {
        let Some(name) = socket else { return Ok(Self(None)) };
        let address = match name.as_bytes() {
            [b'@', hidden @ ..] => SocketAddr::from_abstract_name(hidden)?,
            _ => SocketAddr::from_pathname(&name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self(Some(Arc::new(Channel { socket, address }))))
    }

    /// It serves, and at which address.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// It was asked to end and needs up to this long: nobody shall kill it before.
    pub fn stopping(&self, budget: Duration) {
        let extend_us = (budget + EXTRA).as_micros();
        self.send(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={extend_us}\nSTATUS=leaving"));
    }

    fn watchdog(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, words: &str) {
        let Some(channel) = &self.0 else { return };
        if let Err(error) = channel.socket.send_to_addr(words.as_bytes(), &channel.address) {
            tracing::warn!(%error, "the supervisor could not be told");
        }
    }
}

/// How often the supervisor wants to hear that all shards turn.
#[derive(Clone, Debug)]
pub struct Watchdog {
    pub notify: Notify,
    /// It kills after this.
    pub patience: Duration,
}

/// Feeds the watchdog four times in its patience as long as every shard has turned since the last time. Never returns.
pub(super) async fn feed(watchdog: Watchdog, look: Look) {
    let pause = watchdog.patience / 4;
    let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    let mut beat = tokio::time::interval(pause);
    // What was missed is not made up for: a late word is one word.
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        if look().turns_within(pause_ms) {
            watchdog.notify.watchdog();
        }
    }
}

/// Beyond the budget: for the last answers.
const EXTRA: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::ready::Standing;
    use super::*;

    fn supervisor(name: &str) -> (UnixDatagram, Notify) {
        let name = format!("throng-test-{}-{name}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        (socket, Notify::new(Some(format!("@{name}").into())).unwrap())
    }

    fn hear(supervisor: &UnixDatagram) -> String {
        let mut words = [0; 512];
        let length = supervisor.recv(&mut words).unwrap();
        String::from_utf8(words[..length].to_vec()).unwrap()
    }

    #[test]
    fn words_arrive_as_one_datagram_each() {
        let (supervisor, notify) = supervisor("words");
        notify.ready("serving at 127.0.0.1:8080");
        notify.stopping(Duration::from_secs(30));
        assert_eq!(hear(&supervisor), "READY=1\nSTATUS=serving at 127.0.0.1:8080");
        assert_eq!(hear(&supervisor), "STOPPING=1\nEXTEND_TIMEOUT_USEC=35000000\nSTATUS=leaving");
        // Nobody listens, or nobody asked: nothing happens.
        drop(supervisor);
        notify.ready("");
        Notify::new(None).unwrap().ready("");
        assert!(Notify::new(Some("x".repeat(200).into())).is_err());
    }

    #[test]
    fn the_watchdog_is_fed_until_one_shard_stands_still() {
        let (supervisor, notify) = supervisor("dog");
        let (silent_ms, asked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (silent, asks) = (Arc::clone(&silent_ms), Arc::clone(&asked));
        let look: Look = Arc::new(move || {
            asks.fetch_add(1, Ordering::SeqCst);
            Standing { silent_ms: vec![0, silent.load(Ordering::SeqCst)], ..Standing::starting() }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let dog = Watchdog { notify, patience: Duration::from_millis(40) };
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let feeding = std::thread::Builder::new().spawn(move || {
            runtime.block_on(async {
                tokio::select! { () = feed(dog, look) => {}, _ = &mut stopped => {} }
            });
        });
        for _ in 0..3 {
            assert_eq!(hear(&supervisor), "WATCHDOG=1");
        }
        silent_ms.store(60_000, Ordering::SeqCst);
        // Looks that began before may still feed it; when the third after this has begun, the second is over.
        let later = asked.load(Ordering::SeqCst) + 3;
        while asked.load(Ordering::SeqCst) < later {
            std::thread::yield_now();
        }
        supervisor.set_nonblocking(true).unwrap();
        while supervisor.recv(&mut [0; 64]).is_ok() {}
        let later = asked.load(Ordering::SeqCst) + 5;
        while asked.load(Ordering::SeqCst) < later {
            std::thread::yield_now();
        }
        assert_eq!(supervisor.recv(&mut [0; 64]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        stop.send(()).unwrap();
        feeding.unwrap().join().unwrap();
    }
}
