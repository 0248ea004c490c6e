//! House rules that no compiler checks: arrows between floors, length of files, docs, formatting, lints, README.
//!
//! Promises: each rule speaks with file and line; exceptions are listed here, signed with a reason, and complain when
//! they are no longer needed.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines a source file may have.
const LINES_MAX: usize = 600;

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
/// (`std::io` is not here: its traits also write into memory.)
const IMPURE: &[&str] = &[
    "std::time::Instant",
    "std::time::SystemTime",
    "std::thread",
    "std::net",
    "std::fs",
    "std::env",
    "std::process",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::mpsc",
    "std::sync::atomic",
    "RandomState",
    "getrandom",
    "tokio",
    "glommio",
    "libc::",
    "async fn",
    "async move",
    ".await",
];

#[test]
fn arrows_between_floors_point_down_only() {
    let mut wrong = Vec::new();
    for (floor, may_use) in MAY_USE {
        for file in rust_files(&root().join("src").join(floor)) {
            for (number, line) in code_lines(&file) {
                for (other, _) in MAY_USE {
                    let names =
                        line.contains(&format!("crate::{other}::")) || line.contains(&format!("crate::{other};"));
                    if names && other != floor && !may_use.contains(other) {
                        wrong.push(format!("{}:{number}: {floor} must not know {other}: {}", show(&file), line.trim()));
                    }
                }
            }
        }
    }
    for file in rust_files(&root().join("loadgen/src")) {
        for (number, line) in code_lines(&file) {
            for part in line.split("throng::").skip(1) {
                if !part.starts_with("wire")
                    && !part.starts_with("base")
                    && !part.starts_with("{base")
                    && !part.starts_with("{wire")
                {
                    wrong.push(format!(
                        "{}:{number}: the generator uses throng::wire and throng::base only",
                        show(&file)
                    ));
                }
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
            for (number, line) in code_lines(&file) {
                for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                    wrong.push(format!("{}:{number}: `{word}` in a pure floor: {}", show(&file), line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
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
        for target in line.split("](").skip(1) {
            let target = target.split([')', '#']).next().unwrap_or_default();
            let foreign = target.is_empty() || target.contains("://");
            assert!(foreign || root().join(target).exists(), "README links to {target}, which is not there");
        }
    }
    assert!(seen >= 4, "README names no commands");
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(ci.trim_end().ends_with("./tuning/ready test"), "CI runs what the README says and nothing else");
}

/// `docs/promises.md` names tests as `file::function`, and properties by letter and number before the file that checks
/// them.
#[test]
fn every_promise_is_shown_by_tests_that_exist() {
    let page = fs::read_to_string(root().join("docs/promises.md")).unwrap();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    let names = page.split('`').skip(1).step_by(2).filter_map(|name| Some((name, name.split_once("::")?)));
    for (name, (file, function)) in names {
        seen += 1;
        let text = fs::read_to_string(root().join(file)).unwrap_or_default();
        let Some((before, _)) = text.split_once(&format!("fn {function}(")) else {
            wrong.push(format!("docs/promises.md names {name}, which is not there"));
            continue;
        };
        let attributes = before.trim_end_matches("pub(crate) ").trim_end().rsplit("\n\n").next().unwrap_or_default();
        let on_sockets = !file.starts_with("tests/simulation") && file.starts_with("tests/");
        if on_sockets && !attributes.contains("#[test]") || attributes.contains("#[ignore") {
            wrong.push(format!("docs/promises.md names {name}, which no run of the tests runs"));
        }
    }
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.contains(" **"));
    for row in rows {
        // A cell of properties: `R1, R2 file::function …; V3 file::function`.
        let cell = row.split('|').nth(2).unwrap_or_default();
        for part in cell.split(';') {
            let file = part.split('`').nth(1).and_then(|name| name.split("::").next()).unwrap_or_default();
            let text = fs::read_to_string(root().join(file)).unwrap_or_default();
            let words = part.split('`').next().unwrap_or_default().split([' ', ',']);
            let is_property = |word: &&str| {
                word.len() == 2 && word.as_bytes()[0].is_ascii_uppercase() && word.as_bytes()[1].is_ascii_digit()
            };
            for property in words.filter(is_property).filter(|property| !text.contains(&format!("\"{property} "))) {
                wrong.push(format!("docs/promises.md says that {file} checks {property}, which it does not"));
            }
        }
        assert_eq!(row.matches('|').count(), 4, "a row of docs/promises.md has three cells: {row}");
    }
    assert!(seen > 30, "docs/promises.md names {seen} tests");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
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

/// Numbered lines that are neither comments nor tests beside the code.
fn code_lines(file: &Path) -> Vec<(usize, String)> {
    if file.file_stem().is_some_and(|stem| stem == "tests" || stem.to_string_lossy().ends_with("_tests")) {
        return Vec::new();
    }
    let text = fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(|two| two[0] == "#[cfg(test)]" && two[1].starts_with("mod tests {"));
    let numbered = lines[..tests.unwrap_or(lines.len())].iter().enumerate();
    numbered
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, (*line).to_owned()))
        .collect()
}
