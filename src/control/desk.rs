//! Where the control plane's questions wait for their answers.
//!
//! Promises: an answer finds its question by number, wherever it comes from and however late; whoever waits has a time
//! limit; shards that answer never wait. A full inbox and a time that has run out are told apart from "no".

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::admin::AdminRules;
use crate::base::ShardId;
use crate::runtime::{Asks, Tell};
use crate::shard::{Answer, Ask, AskId, Homes, Question};

/// The way to the shards, and the questions under way. A clone is a pointer.
#[derive(Clone, Debug)]
pub struct Desk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Set once the data plane runs.
    plane: OnceLock<Plane>,
    waiting: Mutex<HashMap<AskId, mpsc::Sender<Answer>>>,
    numbers: AtomicU64,
    answers: mpsc::Sender<(AskId, Answer)>,
    late: AtomicU64,
    rules: Mutex<Arc<AdminRules>>,
}

#[derive(Debug)]
struct Plane {
    asks: Asks,
    homes: Homes,
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoAnswer {
    /// The data plane does not run yet.
    Starting,
    /// A shard's inbox is full, or it stops: the question was not asked.
    NotTaken,
    /// It was asked; what came of it is not known.
    TimeOut,
}

/// One question under way; forgotten when dropped.
#[derive(Debug)]
pub(super) struct Call {
    desk: Desk,
    id: AskId,
    answers: mpsc::Receiver<Answer>,
    until: Instant,
}

impl Desk {
    /// A desk, and the answers it must be fed with by [`Desk::listen`].
    pub(super) fn new(rules: AdminRules) -> (Self, mpsc::Receiver<(AskId, Answer)>) {
        let (answers, inbox) = mpsc::channel(ANSWERS_WAITING_MAX);
        let shared = Shared {
            plane: OnceLock::new(),
            waiting: Mutex::default(),
            numbers: AtomicU64::new(0),
            answers,
            late: AtomicU64::new(0),
            rules: Mutex::new(Arc::new(rules)),
        };
        (Self(Arc::new(shared)), inbox)
    }

    /// What shards call with their answers. Never waits; what does not fit is lost, and its question runs out of time.
    pub fn tell(&self) -> Tell {
        let desk = self.clone();
        Arc::new(move |id, answer| {
            if desk.0.answers.try_send((id, answer)).is_err() {
                desk.0.late.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    /// From now on there is somebody to ask. Once per process.
    pub fn open(&self, asks: Asks, homes: Homes) {
        let _was_closed = self.0.plane.set(Plane { asks, homes });
    }

    /// From now on these keys and bounds hold; calls under way end under the former ones.
    pub fn set_rules(&self, rules: AdminRules) {
        *self.0.rules.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    pub(super) fn rules(&self) -> Arc<AdminRules> {
        Arc::clone(&self.0.rules.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Hands out answers for as long as it is polled.
    pub(super) async fn listen(self, mut inbox: mpsc::Receiver<(AskId, Answer)>) {
        while let Some((id, answer)) = inbox.recv().await {
            let waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = waiting.get(&id).is_some_and(|call| call.try_send(answer).is_ok());
            if !taken {
                self.0.late.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Answers that came when nobody waited for them any more, or that did not fit.
    pub(super) fn late(&self) -> u64 {
        self.0.late.load(Ordering::Relaxed)
    }

    /// How many shards there are; 0 before they run.
    pub(super) fn shards(&self) -> usize {
        self.0.plane.get().map_or(0, |plane| plane.homes.shards().count())
    }

    /// Some shard, in turn: for what any of them can do.
    pub(super) fn next_shard(&self) -> Result<ShardId, NoAnswer> {
        let shards = self.plane()?.homes.shards().count().max(1) as u64;
        Ok(ShardId((self.0.numbers.fetch_add(1, Ordering::Relaxed) % shards) as u16))
    }

    /// The home of a room.
    pub(super) fn home(&self, room: &str) -> Result<ShardId, NoAnswer> {
        Ok(self.plane()?.homes.of(room))
    }

    /// Asks one shard; further answers than the first come by [`Call::next`].
    pub(super) fn ask(&self, to: ShardId, question: Question, patience: Duration) -> Result<Call, NoAnswer> {
        let plane = self.plane()?;
        let call = self.call(patience);
        if plane.asks.post(to, Ask { id: call.id, question }) { Ok(call) } else { Err(NoAnswer::NotTaken) }
    }

    /// Asks every shard the same, under one number. Tells how many took it; if none did, that is no answer.
    pub(super) fn ask_all(
        &self,
        question: impl Fn() -> Question,
        patience: Duration,
    ) -> Result<(Call, usize), NoAnswer> {
        let plane = self.plane()?;
        let call = self.call(patience);
        let taken = plane.homes.shards().filter(|to| plane.asks.post(*to, Ask { id: call.id, question: question() }));
        match taken.count() {
            0 => Err(NoAnswer::NotTaken),
            taken => Ok((call, taken)),
        }
    }

    fn plane(&self) -> Result<&Plane, NoAnswer> {
        self.0.plane.get().ok_or(NoAnswer::Starting)
    }

    fn call(&self, patience: Duration) -> Call {
        let id = AskId(self.0.numbers.fetch_add(1, Ordering::Relaxed));
        // A home answers for itself and each shard once.
        let (into, answers) = mpsc::channel(self.shards() + 1);
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, into);
        Call { desk: self.clone(), id, answers, until: Instant::now() + patience }
    }
}

impl Call {
    /// The next answer.
    pub(super) async fn next(&mut self) -> Result<Answer, NoAnswer> {
        match timeout_at(self.until, self.answers.recv()).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) | Err(_) => Err(NoAnswer::TimeOut),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.desk.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// Answers on their way from the shards to the thread.
const ANSWERS_WAITING_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::asks::connect;
    use crate::runtime::mailbox::Bell;

    const SOON: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(600);

    fn desk() -> (Desk, mpsc::Receiver<(AskId, Answer)>) {
        Desk::new(AdminRules {
            keys: Vec::new(),
            message_bytes_max: 1,
            depth_max: 1,
            revocations_max: 1,
            revocation_life_s: 1,
        })
    }

    fn question() -> Question {
        Question::FullestRooms { rooms_max: 1 }
    }

    fn done() -> Answer {
        Answer::Reached { connections: 1, passed_over: 0 }
    }

    fn in_time(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test);
    }

    #[test]
    fn an_answer_finds_its_question_and_a_late_one_is_counted() {
        in_time(async {
            let (desk, inbox) = desk();
            assert_eq!(desk.ask(ShardId(0), question(), SOON).unwrap_err(), NoAnswer::Starting);
            let bells: Vec<_> = (0..2).map(|_| Arc::new(Bell::new().unwrap())).collect();
            let (asks, shards) = connect(&bells, 8);
            desk.open(asks, Homes::new([1, 2], 2));
            tokio::spawn(desk.clone().listen(inbox));
            let tell = desk.tell();
            let (mut first, mut second) =
                (desk.ask(ShardId(0), question(), LONG).unwrap(), desk.ask(ShardId(0), question(), LONG).unwrap());
            let ids: Vec<AskId> = shards[0].try_iter().map(|ask| ask.id).collect();
            tell(ids[1], Answer::Refused(crate::wire::Refusal::Busy));
            tell(ids[0], done());
            assert!(matches!(first.next().await, Ok(Answer::Reached { .. })));
            assert!(matches!(second.next().await, Ok(Answer::Refused(_))));
            let (mut all, asked) = desk.ask_all(question, LONG).unwrap();
            shards.iter().for_each(|shard| tell(shard.try_recv().unwrap().id, done()));
            assert_eq!(asked, 2);
            assert!(all.next().await.is_ok() && all.next().await.is_ok());
            drop((first, second));
            tell(ids[0], done());
            while desk.late() == 0 {
                tokio::task::yield_now().await;
            }
        });
    }

    #[test]
    fn a_full_inbox_and_a_time_that_runs_out_are_not_the_same() {
        in_time(async {
            let (desk, _inbox) = desk();
            let (asks, shards) = connect(&[Arc::new(Bell::new().unwrap())], 1);
            desk.open(asks, Homes::new([1, 2], 1));
            let mut slow = desk.ask(ShardId(0), question(), SOON).unwrap();
            assert_eq!(desk.ask(ShardId(0), question(), SOON).unwrap_err(), NoAnswer::NotTaken);
            assert_eq!(desk.ask_all(question, SOON).unwrap_err(), NoAnswer::NotTaken);
            assert_eq!(slow.next().await.unwrap_err(), NoAnswer::TimeOut);
            drop(shards);
            assert_eq!(desk.ask(ShardId(0), question(), SOON).unwrap_err(), NoAnswer::NotTaken);
            drop(slow);
            assert!(desk.0.waiting.lock().unwrap().is_empty(), "nothing is left of calls that are over");
        });
    }
}
