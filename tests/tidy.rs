//! House rules that no compiler checks: arrows between floors, length of files, docs, formatting, lints, README. What pages
//! name is looked for in `tidy/pages.rs`.
//!
//! Promises: each rule speaks with file and line; exceptions are listed here, signed with a reason, and complain when
//! they are no longer needed.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "tidy/pages.rs"]
mod pages;
#[path = "tidy/paths.rs"]
mod paths;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use paths::{Named, code_of, module_of, paths};

/// Lines a source file may have.
const LINES_MAX: usize = 500;

/// Files that may be longer: path and why.
const LONG_FILES: &[(&str, &str)] = &[];

/// Where `unsafe_code` may be lifted, and why.
const UNSAFE_FILES: &[(&str, &str)] = &[
    ("src/runtime/sys/mod.rs", "the one door to system calls that std has not"),
    ("loadgen/src/sys.rs", "the same for the generator, which shares nothing of floor 4"),
    ("tests/host/filter.rs", "std can neither install a seccomp filter nor run anything between fork and exec"),
    ("tests/rings/interrupts.rs", "std can neither install a signal handler nor send a signal to a thread"),
];

/// Which part of the library each part may name. `base` stands on nothing; a wing sees no other wing's inside.
const MAY_USE: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("wire", &["base"]),
    ("room", &["base", "wire"]),
    ("shard", &["base", "wire", "room"]),
    ("runtime", &["base", "wire", "room", "shard"]),
    ("control", &["base", "wire", "room", "shard", "runtime"]),
    ("config", &["base", "wire", "room", "shard", "control"]),
];

/// What the pure floors must never name: clocks, randomness, threads, files, sockets, the environment, tokio, glommio.
/// Nor what lies above one of these: of `std::time` they name what they mean. (`std::io` is not here: its traits also write
/// into memory.)
const IMPURE: &[&str] = &[
    "std::time::Instant",
    "std::time::SystemTime",
    "std::thread",
    "std::net",
    "std::fs",
    "std::env",
    "std::os",
    "std::process",
    "std::sync::Condvar",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::mpsc",
    "std::sync::atomic",
    "core::sync::atomic",
    "std::hash::RandomState",
    "std::collections::hash_map::RandomState",
    "getrandom",
    "tokio",
    "glommio",
    "libc",
];

/// And what they must not do.
const IMPURE_WORDS: &[&str] = &["async fn", "async move", "async {", ".await"];

#[test]
fn arrows_between_floors_point_down_only() {
    let mut wrong = Vec::new();
    let src = root().join("src");
    for (floor, may_use) in MAY_USE {
        for file in rust_files(&src.join(floor)) {
            let module = module_of(&file, &src);
            for named in paths(&code_of(&file)) {
                let Some(absolute) = named.absolute(&module) else { continue };
                let Some((other, _)) = MAY_USE.iter().find(|(other, _)| absolute.first().is_some_and(|it| it == other))
                else {
                    // The whole crate at once hides what is meant.
                    if absolute.first().is_some_and(|it| it == "*") {
                        wrong.push(format!("{}:{}: names {}", show(&file), named.line, named.shown()));
                    }
                    continue;
                };
                if other != floor && !may_use.contains(other) {
                    wrong.push(format!(
                        "{}:{}: {floor} must not know {other}: {}",
                        show(&file),
                        named.line,
                        named.shown()
                    ));
                }
            }
        }
    }
    for file in rust_files(&root().join("loadgen/src")) {
        for named in paths(&code_of(&file)).iter().filter(|named| named.parts[0] == "throng") {
            if !named.parts.get(1).is_some_and(|part| part == "wire" || part == "base") {
                wrong.push(format!(
                    "{}:{}: the generator uses throng::wire and throng::base only: {}",
                    show(&file),
                    named.line,
                    named.shown()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_pure_floors_touch_nothing_of_the_world() {
    let mut wrong = Vec::new();
    for floor in ["base", "wire", "room", "shard"] {
        for file in rust_files(&root().join("src").join(floor)) {
            let code = code_of(&file);
            for named in paths(&code).iter().filter(|named| is_impure(named)) {
                wrong.push(format!("{}:{}: `{}` in a pure floor", show(&file), named.line, named.shown()));
            }
            for (index, line) in code.lines().enumerate() {
                for word in IMPURE_WORDS.iter().filter(|word| line.contains(**word)) {
                    wrong.push(format!("{}:{}: `{word}` in a pure floor: {}", show(&file), index + 1, line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Something of this list, or a module as a whole that has something of it.
fn is_impure(named: &Named) -> bool {
    let parts = named.parts.strip_suffix(&["*".to_owned()][..]).unwrap_or(&named.parts);
    IMPURE.iter().any(|impure| {
        let impure: Vec<&str> = impure.split("::").collect();
        parts.iter().zip(&impure).all(|(part, of)| part == of)
    })
}

#[test]
fn what_walks_around_the_rules_is_seen() {
    let impure = |code: &str| paths(code).iter().any(is_impure);
    for code in ["use std::{thread, fs};", "use std::time;", "use std::sync::*;", "use std as s;", "::libc::read(fd)"] {
        assert!(impure(code), "{code}");
    }
    for code in ["use std::{sync::Arc, time::Duration};", "use core::net::IpAddr;", "self.fs.thread()"] {
        assert!(!impure(code), "{code}");
    }
}

#[test]
fn unsafe_lives_where_it_is_signed_for() {
    let mut wrong = Vec::new();
    for file in all_rust_files() {
        let lifted = UNSAFE_FILES.iter().any(|(path, _)| *path == show(&file));
        let text = fs::read_to_string(&file).unwrap();
        if text.contains(concat!("(unsafe", "_code")) && !lifted {
            wrong.push(format!("{}: lifts unsafe_code and is not in UNSAFE_FILES", show(&file)));
        }
        if text.contains(concat!("#[", "allow(")) || text.contains(concat!("#![", "allow(")) {
            wrong.push(format!("{}: allow(…) instead of #[expect(…, reason = \"…\")]", show(&file)));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_file_is_too_long_and_each_says_what_it_is() {
    let mut wrong = Vec::new();
    for file in all_rust_files() {
        let (path, text) = (show(&file), fs::read_to_string(&file).unwrap());
        let lines = text.lines().count();
        let excused = LONG_FILES.iter().any(|(long, _)| *long == path);
        if lines > LINES_MAX && !excused {
            wrong.push(format!("{path}: {lines} lines, more than {LINES_MAX}: which noun wants a file of its own?"));
        }
        if lines <= LINES_MAX && excused {
            wrong.push(format!("{path}: {lines} lines: the exception is no longer needed"));
        }
        if !text.starts_with("//!") {
            wrong.push(format!("{path}: begins without saying what it is (//!)"));
        }
    }
    for (long, _) in LONG_FILES.iter().filter(|(long, _)| !root().join(long).exists()) {
        wrong.push(format!("{long}: an exception for a file that is gone"));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), concat!("unimplemented", "!(")];
    let mut wrong = Vec::new();
    for file in all_rust_files() {
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                wrong.push(format!("{}:{}: {}", show(&file), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn readme_commands_exist() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let aliases = fs::read_to_string(root().join(".cargo/config.toml")).unwrap();
    let mut seen = 0;
    for line in readme.lines().map(str::trim) {
        for script in line.split(|c: char| c.is_whitespace() || c == '`').filter(|word| word.starts_with("./")) {
            assert!(root().join(script).is_file(), "README names {script}, which is not there");
            seen += 1;
        }
        if let Some(command) = line.strip_prefix("cargo ") {
            let command = command.split_whitespace().next().unwrap_or_default();
            let known = ["test", "build", "run", "bench", "check", "clippy", "fmt"].contains(&command);
            assert!(known || aliases.contains(&format!("\n{command} = ")), "README names cargo {command}");
            seen += 1;
        }
    }
    assert!(seen >= 4, "README names no commands");
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(ci.trim_end().ends_with("./tuning/ready test"), "CI runs what the README says and nothing else");
}

#[test]
fn everything_is_formatted() {
    cargo(&["fmt", "--all", "--check"]);
}

#[test]
fn clippy_has_nothing_to_say() {
    cargo(&["clippy", "--workspace", "--all-targets", "--features", "throng/planted-bugs", "--", "--deny", "warnings"]);
}

#[test]
fn the_pure_floors_build_alone() {
    cargo(&["clippy", "--lib", "--no-default-features", "--", "--deny", "warnings"]);
}

fn cargo(arguments: &[&str]) {
    let done = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "cargo {}\n{}", arguments.join(" "), String::from_utf8_lossy(&said));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// As written in this file's lists.
fn show(file: &Path) -> String {
    file.strip_prefix(root()).unwrap().display().to_string()
}

fn all_rust_files() -> Vec<PathBuf> {
    let roots = ["src", "loadgen/src", "loadgen/tests", "tests", "benches", "loadgen/benches", "fuzz/src"];
    roots.iter().flat_map(|folder| rust_files(&root().join(folder))).collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
