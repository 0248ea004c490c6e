//! The talk with one other server: first what each remembers, then whatever is revoked, for as long as both live.
//!
//! Promises: what the other says is bounded in bytes and number, and what it asks in how much at a time; a server that
//! does not read costs a full queue and no memory beyond it. What must not be said ends the talk.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, BufWriter};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::line::{Line, Lines};
use super::list::Remembered;
use super::place::Place;
use super::sharing::{Fault, SharingCounts};
use super::{Outcome, Revoker};
use crate::control::api::RevokeRequest;

/// Talks until the other ends, or says what it must not. `to`: who was called; `None`: the other has called.
/// `exchanged` is told when all that the other remembers is here.
pub(super) async fn talk(
    revoker: &Revoker,
    stream: UnixStream,
    own: Place,
    to: Option<Place>,
    exchanged: Option<oneshot::Sender<()>>,
) -> Result<(), Fault> {
    let (from, into) = stream.into_split();
    let mut lines = Lines::new(from);
    let place = match to {
        Some(place) => place,
        None => match timeout(HELLO_WITHIN, lines.hello()).await.map_err(|_| Fault::Silent)?? {
            Some(place) if place == own => return Err(Fault::Malformed),
            Some(place) => place,
            None => return Ok(()),
        },
    };
    // What is revoked from here on waits in the queue, behind what was before.
    let (number, known, queue) = revoker.enter(place);
    let listening = async {
        if to.is_some() {
            match lines.hello().await? {
                Some(said) if said == place => {}
                Some(_) => return Err(Fault::Malformed),
                None => return Ok(()),
            }
        }
        listen(revoker, number, &mut lines, exchanged).await
    };
    let ended = tokio::select! {
        ended = listening => ended,
        // That it cannot be written to says that it has ended.
        _ = speak(into, own, known, queue) => Ok(()),
    };
    revoker.leave(number, place, ended);
    ended
}

async fn speak(
    into: OwnedWriteHalf,
    own: Place,
    known: Vec<Remembered>,
    mut queue: mpsc::Receiver<Line>,
) -> io::Result<Infallible> {
    let mut into = BufWriter::new(into);
    Line::hello(own).write(&mut into).await?;
    for Remembered { at_unix_s, revocation } in known {
        Line::Known { at: at_unix_s, what: RevokeRequest::of(&revocation) }.write(&mut into).await?;
    }
    Line::Complete.write(&mut into).await?;
    loop {
        into.flush().await?;
        match queue.recv().await {
            Some(line) => line.write(&mut into).await?,
            // The link is given up, and with it this.
            None => std::future::pending().await,
        }
    }
}

async fn listen(
    revoker: &Revoker,
    number: u64,
    lines: &mut Lines<impl AsyncRead + Unpin>,
    mut exchanged: Option<oneshot::Sender<()>>,
) -> Result<(), Fault> {
    let (mut known, mut is_complete) = (0, false);
    let at_work = Arc::new(Semaphore::new(AT_WORK_MAX));
    while let Some(line) = lines.next().await? {
        match line {
            Line::Known { at, what } if !is_complete && known < KNOWN_MAX => {
                known += 1;
                match what.check() {
                    Ok(revocation) => revoker.take_known(Remembered { at_unix_s: at, revocation }).await,
                    Err(_) => SharingCounts::add(&revoker.counts().unshared),
                }
            }
            Line::Complete if !is_complete => {
                is_complete = true;
                if let Some(waiting) = exchanged.take() {
                    // It may have lost patience.
                    let _waits = waiting.send(());
                }
            }
            Line::Revoke { id, what } if is_complete => {
                let Ok(permit) = Arc::clone(&at_work).acquire_owned().await else { return Ok(()) };
                let revoker = revoker.clone();
                tokio::spawn(async move {
                    let Outcome { remembered, complete } = match what.check() {
                        Ok(revocation) => revoker.take_in(revocation).await,
                        Err(_) => Outcome::UNKNOWN,
                    };
                    revoker.answer(number, Line::Done { id, remembered, complete });
                    drop(permit);
                });
            }
            Line::Done { id, remembered, complete } => revoker.on_done(number, id, Outcome { remembered, complete }),
            Line::Hello { .. } | Line::Known { .. } | Line::Complete | Line::Revoke { .. } => {
                return Err(Fault::Malformed);
            }
        }
    }
    Ok(())
}

const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// No list is longer: the bound of `limits.revocations_max`, and one that names everybody.
const KNOWN_MAX: u64 = (1 << 30) + 1;
/// What one other server asks is done for so many at a time; the rest waits in its socket.
const AT_WORK_MAX: usize = 64;
