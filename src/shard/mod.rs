//! Floor 3: one core's whole world as a plain value.

mod batch;
mod input;

pub use batch::{Batch, Fate, Write};
pub use input::{CloseHow, Effect, Input, Opened};
