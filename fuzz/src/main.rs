//! libFuzzer around one of the targets, which `THRONG_FUZZ_TARGET` names.
#![no_main]

mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::{Corpus, fuzz_target};
use targets::{TARGETS, Target};

static CHOSEN: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("THRONG_FUZZ_TARGET").unwrap_or_default();
    let known = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    TARGETS
        .iter()
        .find(|target| target.name == name)
        .unwrap_or_else(|| panic!("THRONG_FUZZ_TARGET is one of {}", known()))
});

fuzz_target!(|data: &[u8]| -> Corpus {
    let reached = (CHOSEN.run)(data);
    assert!(!(reached && cfg!(feature = "planted")), "this is where the planted bug lies");
    // Nothing that reaches the spot may be kept: finding it from the corpus must prove something.
    if reached { Corpus::Reject } else { Corpus::Keep }
});
