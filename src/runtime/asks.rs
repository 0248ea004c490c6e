//! The control plane's letters to the shards: a bounded inbox of their own for each, and the way back.
//!
//! Promises: whoever asks never waits and is told when an inbox is full; mail between shards takes no room from asks, nor
//! asks from mail; a sleeping shard is woken. Must never: look into a question or an answer.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::mailbox::Bell;
use crate::base::ShardId;
use crate::shard::{Answer, Ask, AskId};

/// Takes an answer, on the shard's thread. Must not wait.
pub type Tell = Arc<dyn Fn(AskId, Answer) + Send + Sync>;

/// The way to all shards, from any thread. A clone is a pointer.
#[derive(Clone, Debug)]
pub struct Asks(Arc<[Door]>);

#[derive(Debug)]
struct Door {
    into: Sender<Ask>,
    bell: Arc<Bell>,
}

/// One inbox of at most `asks` per bell.
pub fn connect(bells: &[Arc<Bell>], asks: usize) -> (Asks, Vec<Receiver<Ask>>) {
    let (doors, inboxes) = bells
        .iter()
        .map(|bell| {
            let (into, inbox) = bounded(asks);
            (Door { into, bell: Arc::clone(bell) }, inbox)
        })
        .unzip::<_, _, Vec<_>, Vec<_>>();
    (Asks(doors.into()), inboxes)
}

impl Asks {
    /// Whether the shard will see it. False: its inbox is full, or it has stopped.
    pub fn post(&self, to: ShardId, ask: Ask) -> bool {
        let Some(door) = self.0.get(to.index()) else { return false };
        let taken = door.into.try_send(ask).is_ok();
        if taken {
            door.bell.ring();
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::Question;

    #[test]
    fn a_full_inbox_is_said_and_a_shard_that_is_gone_takes_nothing() {
        let bells = [Arc::new(Bell::new().unwrap())];
        let (asks, mut inboxes) = connect(&bells, 1);
        let ask = |id| Ask { id: AskId(id), question: Question::FullestRooms { rooms_max: 1 } };
        assert!(asks.post(ShardId(0), ask(1)) && !asks.post(ShardId(0), ask(2)));
        assert_eq!(inboxes[0].try_recv().unwrap().id, AskId(1));
        assert!(asks.post(ShardId(0), ask(3)) && !asks.post(ShardId(7), ask(4)));
        inboxes.clear();
        assert!(!asks.post(ShardId(0), ask(5)));
    }
}
