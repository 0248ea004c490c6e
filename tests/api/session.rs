//! The session in `docs/operations.md`, typed into a shell as it stands there: it answers what the page says.
//!
//! Keys, epochs, tickets and times are another every time and are not compared. After a wanted change:
//! `THRONG_BLESS=1 cargo test --test api session`, then read the difference.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::server::banner::Lines;
use crate::server::{engine, throng};

/// One line that is typed, and what comes.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Typed {
    line: String,
    output: String,
}

/// A shell in a folder of its own; it and what it started end when dropped.
struct Shell {
    bash: Child,
    typing: ChildStdin,
    screen: Lines,
    folder: PathBuf,
    /// Instead of the ports of the page.
    ports: [(&'static str, String); 2],
}

#[test]
fn the_session_on_the_page_is_what_the_shell_shows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = fs::read_to_string(&path).expect("the page is there");
    let (before, rest) = page.split_once(BEGIN).expect("the page shows a session");
    let (session, after) = rest.split_once(END).expect("which ends");
    let written = read(session);
    assert!(written.len() > 10, "a session of {} lines", written.len());
    let mut shell = Shell::open();
    let mut shown = Vec::new();
    for typed in &written {
        shown.push(shell.types(&typed.line));
        if typed.line.ends_with("/readyz; echo") {
            let runs = format!("throng_engine{{engine=\"{}\"}} 1", engine::asked());
            let scrape = shell.types("curl -sf http://127.0.0.1:8081/metrics").output;
            assert!(scrape.lines().any(|line| line == runs), "the server of the page runs on something else: {scrape}");
        }
    }
    #[expect(clippy::disallowed_methods, reason = "who changes the session writes the page by this")]
    if std::env::var("THRONG_BLESS").is_ok() {
        let mut session = String::new();
        for Typed { line, output } in &shown {
            write!(session, "$ {line}\n{output}").expect("a text takes everything");
        }
        fs::write(&path, [before, BEGIN, &session, END, after].concat()).expect("the page is written");
        return;
    }
    for (written, shown) in written.iter().zip(&shown) {
        assert_eq!(lasting(&written.output), lasting(&shown.output), "$ {}", written.line);
    }
}

fn read(session: &str) -> Vec<Typed> {
    let mut typed: Vec<Typed> = Vec::new();
    for line in session.lines() {
        match (line.strip_prefix("$ "), typed.last_mut()) {
            (Some(line), _) => typed.push(Typed { line: line.to_owned(), output: String::new() }),
            (None, Some(last)) => last.output += &format!("{line}\n"),
            (None, None) => panic!("the session begins with what nobody typed: {line}"),
        }
    }
    typed
}

/// Without what is another every time: long words with digits in them, moments, times of day.
fn lasting(output: &str) -> String {
    let mut lasting = String::new();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut rest = output;
    while let Some(start) = rest.find(is_part) {
        lasting += &rest[..start];
        let end = rest[start..].find(|c| !is_part(c)).map_or(rest.len(), |len| start + len);
        let word = &rest[start..end];
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let varies = digits > 0 && word.len() >= 16 || digits == word.len() && digits >= 10;
        let of_the_day = digits == 2 && word.len() == 2 && (rest[end..].starts_with(':') || lasting.ends_with(':'));
        lasting += if varies || of_the_day { "…" } else { word };
        rest = &rest[end..];
    }
    lasting + rest
}

impl Shell {
    fn open() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("session-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|at| at.local_addr()).expect("a free port").to_string();
        let ports = [("127.0.0.1:8080", free()), ("127.0.0.1:8081", free())];
        let binary = Path::new(throng().get_program()).parent().expect("a folder of programs").to_owned();
        #[expect(clippy::disallowed_methods, reason = "a shell finds its programs in PATH")]
        let programs = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("bash");
        command.args(["--norc", "--noprofile"]).current_dir(&folder).process_group(0);
        command.env("PATH", format!("{}:{programs}", binary.display()));
        command.env("THRONG_ADMIN_LISTEN", &ports[1].1).env("THRONG_ADMIN", format!("http://{}", ports[1].1));
        for variable in ["THRONG_JWT_SECRET_FILE", "THRONG_API_KEY", "THRONG_API_KEY_FILE", "THRONG_JWT_HS256_SECRET"] {
            command.env_remove(variable);
        }
        let mut bash = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bash is there");
        let mut typing = bash.stdin.take().expect("stdin is piped");
        typing.write_all(b"exec 2>&1\n").expect("the shell listens");
        let screen = Lines::of(bash.stdout.take().expect("stdout is piped"));
        Self { bash, typing, screen, folder, ports }
    }

    fn types(&mut self, typed: &str) -> Typed {
        let real = self.ports.iter().fold(typed.to_owned(), |line, (shown, real)| line.replace(shown, real));
        // In the shell itself and not in a part of it, so that what is set stays set.
        writeln!(self.typing, "{real}\nprintf '%s\\n' '{DONE}'").expect("the shell listens");
        let mut output = String::new();
        loop {
            let line = self.screen.next(&real).unwrap_or_else(|| panic!("the shell ended after {real}: {output}"));
            if let Some(unfinished) = line.strip_suffix(DONE) {
                assert_eq!(unfinished, "", "$ {real} ended in the middle of a line: {output}");
                return Typed { line: typed.to_owned(), output };
            }
            output += &line;
            output.push('\n');
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let group = format!("-{}", self.bash.id());
        let _ended = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _reaped = self.bash.wait();
        let _removed = fs::remove_dir_all(&self.folder);
    }
}

const BEGIN: &str = "A session with `curl` and the verbs:\n\n```console\n";
const END: &str = "```\n";
const DONE: &str = "-- the shell has done it --";
