//! The messages of a sweep as they lie in the arena of a batch: back to back, once for each form that somebody reads.

use std::collections::VecDeque;

use super::batch::Batch;
use super::seats::Pending;
use crate::base::Form;

/// Where a frame ends that was laid into the arena, from the first one's beginning.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct End {
    pub(super) at: u32,
    /// By how much it and those before it are shorter than they were without having been deflated.
    pub(super) saved: u32,
    /// How many there are up to it: what was overtaken on its way has no frame.
    pub(super) messages: u32,
}

/// What of a sweep lies in the arena of the running batch.
#[derive(Default)]
pub(super) struct Laid {
    /// Where it begins, by form.
    pub(super) starts: [Option<u32>; 4],
    /// Some of the frames have a deflated form; else all who read an encoding are sent the same bytes.
    pub(super) has_deflated: bool,
}

/// Puts the first `frames` messages into the arena back to back, notes where each ends, and tells where they begin.
pub(super) fn lay(
    pending: &VecDeque<Pending>,
    form: Form,
    frames: u32,
    ends: &mut [Vec<End>; 4],
    batch: &mut Batch,
) -> u32 {
    let (start, mut saved, mut messages) = (batch.arena.len(), 0, 0);
    let ends = &mut ends[form.index()];
    ends.clear();
    for message in pending.iter().take(frames as usize) {
        if let Some(frame) = message.frame(form.encoding) {
            let bytes = frame.bytes(form.deflated);
            saved += (frame.plain().len() - bytes.len()) as u32;
            messages += 1;
            batch.arena.extend_from_slice(bytes);
        }
        ends.push(End { at: (batch.arena.len() - start) as u32, saved, messages });
    }
    start as u32
}
