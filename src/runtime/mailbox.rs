//! Mail between shards: one FIFO inbox each, many writers, one reader, and a bell for the sleeping.
//!
//! Promises: parcels of one sender arrive in the order they were posted; a full inbox takes nothing and loses
//! nothing; whoever posts to a sleeping shard wakes it, and no system call is made for one that is awake.
//! Must never: look into the mail, or wait.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::sys::EventFd;
use crate::base::ShardId;

/// A shard's one doorbell: its rings, its mail and the clock all ring this eventfd.
///
/// The two-step protocol: who sleeps says so, looks again whether there is work, and only then waits; who has work
/// for another puts it down, and then looks whether the other sleeps. Each writes before it reads, with a full fence
/// between, so at least one of them sees the other.
#[derive(Debug)]
pub struct Bell {
    eventfd: Arc<EventFd>,
    asleep: AtomicBool,
}

impl Bell {
    /// # Errors
    /// `EMFILE`, `ENFILE`.
    pub fn new() -> io::Result<Self> {
        Ok(Self { eventfd: Arc::new(EventFd::new()?), asleep: AtomicBool::new(false) })
    }

    /// What the sleeper waits for, and what rings of its own ring.
    pub fn eventfd(&self) -> &Arc<EventFd> {
        &self.eventfd
    }

    /// Wakes the owner if it sleeps. What it shall find must have been put down before.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            self.eventfd.signal();
        }
    }

    /// The owner is about to sleep; it must look for work once more after this.
    pub fn say_asleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The owner is awake again, or did not go to sleep after all.
    pub fn say_awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}

/// Mail of one turn from one shard to one other.
type Parcel<M> = Vec<M>;

/// One shard's end of the post: its inbox, and the way into everybody's.
#[derive(Debug)]
pub struct Mailbox<M> {
    me: ShardId,
    inbox: Receiver<(ShardId, Parcel<M>)>,
    doors: Arc<[Door<M>]>,
    /// Emptied parcels, kept to be filled again.
    spare: Vec<Parcel<M>>,
}

#[derive(Debug)]
struct Door<M> {
    into: Sender<(ShardId, Parcel<M>)>,
    bell: Arc<Bell>,
    /// Somebody found the inbox full since its owner last made room.
    turned_away: AtomicBool,
}

/// One mailbox per bell; each inbox holds at most `parcels`.
///
/// `parcels` × 32 bytes are resident from birth.
pub fn connect<M: Send>(bells: &[Arc<Bell>], parcels: usize) -> Vec<Mailbox<M>> {
    let (senders, inboxes): (Vec<_>, Vec<_>) = bells.iter().map(|_| bounded(parcels)).unzip();
    let doors: Arc<[Door<M>]> = senders
        .into_iter()
        .zip(bells)
        .map(|(into, bell)| Door { into, bell: Arc::clone(bell), turned_away: AtomicBool::new(false) })
        .collect();
    let with_id = inboxes.into_iter().enumerate();
    with_id
        .map(|(id, inbox)| Mailbox { me: ShardId(id as u16), inbox, doors: Arc::clone(&doors), spare: Vec::new() })
        .collect()
}

impl<M: Send> Mailbox<M> {
    /// Posts all of `mail` as one parcel and leaves it empty. False: the inbox is full, `mail` is as it was; whoever makes
    /// room there rings back. A shard whose reader has stopped for good swallows its mail: the server is ending.
    pub fn post(&mut self, to: ShardId, mail: &mut Vec<M>) -> bool {
        if mail.is_empty() {
            return true;
        }
        let door = &self.doors[to.index()];
        let parcel = std::mem::replace(mail, self.spare.pop().unwrap_or_default());
        match door.into.try_send((self.me, parcel)) {
            Ok(()) => door.bell.ring(),
            Err(TrySendError::Full((_, parcel))) => {
                door.turned_away.store(true, Ordering::SeqCst);
                self.keep(std::mem::replace(mail, parcel));
                return false;
            }
            Err(TrySendError::Disconnected(_)) => {}
        }
        true
    }

    /// The oldest parcel. Give it back empty by [`Mailbox::keep`].
    pub fn take(&mut self) -> Option<(ShardId, Vec<M>)> {
        let taken = self.inbox.try_recv().ok();
        let own = &self.doors[self.me.index()];
        let has_room = self.inbox.len() <= self.inbox.capacity().unwrap_or(usize::MAX) / 2;
        if has_room && own.turned_away.load(Ordering::Relaxed) && own.turned_away.swap(false, Ordering::SeqCst) {
            // Few shards, and rarely: who was turned away is not worth a list.
            for (_, door) in self.doors.iter().enumerate().filter(|(id, _)| *id != self.me.index()) {
                door.bell.ring();
            }
        }
        taken
    }

    /// Whether a parcel for this shard would be taken now. To be asked once more before falling asleep over mail that
    /// was refused: room may have been made before anybody could hear the bell.
    pub fn has_room(&self, to: ShardId) -> bool {
        !self.doors[to.index()].into.is_full()
    }

    /// Keeps an emptied parcel for the next post; a few, and no giants.
    pub fn keep(&mut self, mut parcel: Vec<M>) {
        parcel.clear();
        if self.spare.len() < SPARE_MAX && (1..=SPARE_MAIL_MAX).contains(&parcel.capacity()) {
            self.spare.push(parcel);
        }
    }

    /// Parcels that wait here.
    pub fn waiting(&self) -> usize {
        self.inbox.len()
    }
}

const SPARE_MAX: usize = 16;
/// A parcel that once was larger gives its memory back.
const SPARE_MAIL_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::*;

    fn pair(parcels: usize) -> (Vec<Arc<Bell>>, Mailbox<u64>, Mailbox<u64>) {
        let bells: Vec<_> = (0..2).map(|_| Arc::new(Bell::new().unwrap())).collect();
        let mut boxes = connect(&bells, parcels).into_iter();
        (bells, boxes.next().unwrap(), boxes.next().unwrap())
    }

    #[test]
    fn who_was_turned_away_is_rung_when_there_is_room() {
        let (bells, mut ann, mut bob) = pair(4);
        for letter in 0..4 {
            assert!(ann.post(ShardId(1), &mut vec![letter]));
        }
        assert!(!ann.post(ShardId(1), &mut vec![4]) && !ann.has_room(ShardId(1)));
        bells[0].say_asleep();
        let rings = || !bells[0].asleep.load(Ordering::Relaxed);
        assert!(bob.take().is_some() && !rings(), "three of four are still there");
        assert!(bob.take().is_some() && rings() && ann.has_room(ShardId(1)));
    }

    #[test]
    fn a_full_inbox_takes_nothing_and_loses_nothing() {
        let (_bells, mut ann, mut bob) = pair(2);
        let mut mail = vec![1, 2];
        assert!(ann.post(ShardId(1), &mut mail) && mail.is_empty());
        mail.push(3);
        assert!(ann.post(ShardId(1), &mut mail));
        mail.extend([4, 5]);
        assert!(!ann.post(ShardId(1), &mut mail));
        assert_eq!(mail, [4, 5]);
        assert_eq!(bob.take(), Some((ShardId(0), vec![1, 2])));
        assert!(ann.post(ShardId(1), &mut mail));
        assert_eq!(
            [bob.take(), bob.take(), bob.take()],
            [Some((ShardId(0), vec![3])), Some((ShardId(0), vec![4, 5])), None]
        );
    }

    #[test]
    fn nobody_rings_for_a_shard_that_is_awake() {
        let (bells, mut ann, mut bob) = pair(8);
        let mut counter = File::from(bells[1].eventfd().as_fd().try_clone_to_owned().unwrap());
        assert!(ann.post(ShardId(1), &mut vec![1]));
        bells[1].say_asleep();
        assert_eq!(bob.waiting(), 1, "who looks again finds it");
        for n in 2..5 {
            assert!(ann.post(ShardId(1), &mut vec![n]));
        }
        let mut rung = [0; 8];
        counter.read_exact(&mut rung).unwrap();
        assert_eq!(u64::from_ne_bytes(rung), 1, "once for three parcels, and not for the one before sleep");
        assert_eq!(std::iter::from_fn(|| bob.take()).count(), 4);
    }

    /// Both sides sleep whenever they find nothing: one lost wake and this never ends.
    #[test]
    fn a_million_letters_between_sleepers_lose_no_wake() {
        const LETTERS: u64 = 1_000_000;
        let (bells, ann, bob) = pair(64);
        std::thread::scope(|scope| {
            for (mut own, bell, other) in [(ann, &bells[0], ShardId(1)), (bob, &bells[1], ShardId(0))] {
                scope.spawn(move || {
                    let mut door = File::from(bell.eventfd().as_fd().try_clone_to_owned().unwrap());
                    let (mut next, mut expected, mut mail) = (0, 0, Vec::new());
                    while next < LETTERS || !mail.is_empty() || expected < LETTERS {
                        // Parcels of changing size; a letter waits for an answer now and then, so that both sleep.
                        while mail.len() < (next % 7) as usize + 1 && next < LETTERS && next < expected + 500 {
                            mail.push(next);
                            next += 1;
                        }
                        let mut busy = !mail.is_empty() && own.post(other, &mut mail);
                        while let Some((_, parcel)) = own.take() {
                            for letter in &parcel {
                                assert_eq!(*letter, expected, "in order, each once");
                                expected += 1;
                            }
                            own.keep(parcel);
                            busy = true;
                        }
                        if busy || !mail.is_empty() || expected == LETTERS {
                            continue;
                        }
                        bell.say_asleep();
                        if own.waiting() == 0 {
                            door.read_exact(&mut [0; 8]).unwrap();
                        }
                        bell.say_awake();
                    }
                });
            }
        });
    }
}
