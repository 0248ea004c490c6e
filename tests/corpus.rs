//! The kept corpus of the fuzzer (`docs/fuzzing.md`), lived through once in every test run.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "../fuzz/src/targets/mod.rs"]
mod targets;

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use targets::{TARGETS, Target};

/// What a target's corpus may weigh: it is checked out with the code and run with the tests.
const FILES_MAX: usize = 400;
const BYTES_MAX: usize = 1 << 20;
/// Fewer would be no corpus.
const FILES_MIN: usize = 10;

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name);
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn every_kept_input_keeps_every_promise() {
    for target in &TARGETS {
        for (path, bytes) in corpus(target) {
            let reached = catch_unwind(|| (target.run)(&bytes));
            let reached = reached.unwrap_or_else(|_| panic!("{} breaks a promise", path.display()));
            assert!(!reached, "{} reaches what is planted, so that finding it would prove nothing", path.display());
        }
    }
}

#[test]
fn each_target_has_a_corpus_and_none_is_a_burden() {
    for target in &TARGETS {
        let corpus = corpus(target);
        let bytes: usize = corpus.iter().map(|(_, bytes)| bytes.len()).sum();
        println!("{}: {} files, {bytes} bytes", target.name, corpus.len());
        assert!(
            (FILES_MIN..=FILES_MAX).contains(&corpus.len()) && bytes <= BYTES_MAX,
            "{}: {bytes} bytes",
            target.name
        );
    }
    let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")).unwrap().count();
    assert_eq!(folders, TARGETS.len(), "a folder without a target, or a target without a folder");
}
