//! What people are told: on standard error while something goes on, on standard output what came of it.
//!
//! Promises: a reader who is gone (`… | head`) ends nothing. The files are written all the same, and the exit code is the
//! result's own.

use std::fmt::Arguments;
use std::io::{Write, stderr, stdout};

/// A line on standard error.
macro_rules! tell {
    ($($words:tt)*) => { $crate::say::told(format_args!($($words)*)) };
}

/// A line on standard output.
macro_rules! answer {
    ($($words:tt)*) => { $crate::say::answered(format_args!($($words)*)) };
}

pub(crate) use {answer, tell};

pub(crate) fn told(words: Arguments<'_>) {
    writeln!(stderr().lock(), "{words}").unwrap_or_default();
}

pub(crate) fn answered(words: Arguments<'_>) {
    let mut out = stdout().lock();
    writeln!(out, "{words}").and_then(|()| out.flush()).unwrap_or_default();
}
