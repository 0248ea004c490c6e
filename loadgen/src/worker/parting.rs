//! How a crowd leaves: every other connection with a close frame, the others by a reset, all at once.
//!
//! Promises: who says goodbye waits for the server's close frame, as RFC 6455, 7.1.1 wants it, and counts whether it
//! came; who resets leaves no TIME_WAIT behind. Nobody waits for ever.

use anyhow::Result;
use throng::wire::websocket::write_close;

use super::hear::NO_CLOSE_FRAME;
use super::{Stage, Worker};
use crate::orders::{Parted, WorkerReport};

/// A parting under way.
pub(super) struct Parting {
    parted: Parted,
    waiting: u64,
    /// Moves on with each goodbye that is answered.
    deadline_ns: u64,
}

/// "Normal closure", RFC 6455, 7.4.1.
const NORMAL: u16 = 1000;

impl<const OTHER: bool> Worker<OTHER> {
    pub(super) fn begin_parting(&mut self) {
        let mut parting = Parting { parted: Parted::default(), waiting: 0, deadline_ns: 0 };
        for member in 0..self.connections.len() as u32 {
            let connection = &mut self.connections[member as usize];
            if connection.stage != Stage::Open {
                continue;
            }
            if !member.is_multiple_of(2) {
                connection.reset();
                parting.parted.reset += 1;
                self.progress.open -= 1;
                continue;
            }
            let mask = (self.random.draw() as u32).to_le_bytes();
            self.frame.clear();
            write_close(&mut self.frame, NORMAL, "", Some(mask));
            parting.parted.goodbyes += 1;
            match connection.send(&self.frame) {
                Ok(()) => parting.waiting += 1,
                Err(_) => {
                    connection.end(Stage::Over);
                    self.progress.open -= 1;
                }
            }
        }
        parting.deadline_ns = self.now_ns + self.crew.settle_ns;
        self.parting = Some(parting);
    }

    /// Whether the end of an open connection is one that was wanted.
    pub(super) fn on_parting_end(&mut self, code: u16) -> bool {
        let Some(parting) = &mut self.parting else { return false };
        parting.waiting -= 1;
        parting.parted.answered += u64::from(code != NO_CLOSE_FRAME);
        parting.deadline_ns = self.now_ns + self.crew.settle_ns;
        true
    }

    /// Reports when everybody is gone, or nothing more is to be hoped for.
    pub(super) fn advance_parting(&mut self) -> Result<()> {
        match self.parting.take() {
            Some(parting) if parting.waiting == 0 || self.now_ns >= parting.deadline_ns => {
                for connection in &mut self.connections {
                    connection.end(Stage::Over);
                }
                self.report(&WorkerReport::Parted(parting.parted))
            }
            other => {
                self.parting = other;
                Ok(())
            }
        }
    }

    pub(super) fn parting_wake_ns(&self) -> Option<u64> {
        let parting = self.parting.as_ref()?;
        Some(if parting.waiting == 0 { self.now_ns } else { parting.deadline_ns })
    }
}
