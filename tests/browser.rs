//! The page in two real tabs: people talk, markup stays text, and the page comes back by itself when the server does.

#[path = "browser/cdp.rs"]
mod cdp;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cdp::{Browser, Tab};
use serde_json::json;

/// The server under test; killed when dropped.
struct Server(Child);

impl Server {
    /// Started with `--dev` and ready: its banner is there.
    fn start(port: u16) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_throng"))
            .args(["serve", "--dev", "--shards", "2", "--listen", &format!("127.0.0.1:{port}")])
            .env_remove("THRONG_JWT_HS256_SECRET")
            .env_remove("THRONG_JWT_SECRET_FILE")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut lines = BufReader::new(process.stdout.take().expect("stdout is piped")).lines();
        let ready = lines.any(|line| line.expect("the banner is text").contains("serves at"));
        assert!(ready, "the server ended without having served");
        // The rest of the banner must find a reader.
        std::thread::Builder::new().spawn(move || lines.for_each(drop)).expect("a thread starts");
        Self(process)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(Some(status)) = self.0.try_wait() {
            eprintln!("the server had ended by itself: {status}");
        }
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}

const MARKUP: &str = "<img src=x onerror=alert(1)><b>hi</b>";

#[test]
fn two_tabs_talk_and_survive_the_server() {
    let port = free_port();
    let mut server = Server::start(port);
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut browser = Browser::start(pictures.join(format!("chromium-{}", std::process::id())));
    let ann = browser.open(&format!("http://127.0.0.1:{port}/?user=ann&room=lobby"));
    let bob = browser.open(&format!("http://127.0.0.1:{port}/?user=bob&room=lobby"));
    for tab in [&ann, &bob] {
        browser.wait(tab, OPEN);
        browser.wait(tab, &here(&["ann", "bob"]));
    }

    say(&mut browser, &ann, "good morning");
    browser.wait(&bob, &heard("ann", "good morning", 1));
    say(&mut browser, &bob, "morning, ann");
    browser.wait(&ann, &heard("bob", "morning, ann", 1));
    browser.wait(&bob, &heard("bob", "morning, ann", 1));

    say(&mut browser, &ann, MARKUP);
    browser.wait(&bob, &heard("ann", MARKUP, 1));
    for tab in [&ann, &bob] {
        assert_eq!(browser.run(tab, "document.querySelectorAll('#messages img, #messages b, pre img').length"), 0);
        let frames = "[...document.querySelectorAll('#frame-list .type')].map((type) => type.textContent)";
        for kind in ["welcome", "join", "reply", "message"] {
            assert_eq!(
                browser.run(tab, &format!("{frames}.includes({})", json!(kind))),
                true,
                "{kind} is not in the pane"
            );
        }
    }
    browser.screenshot(&bob, 1360, 820, false, &pictures.join("page-light.png"));
    browser.screenshot(&bob, 1360, 820, true, &pictures.join("page-dark.png"));
    browser.screenshot(&bob, 400, 800, false, &pictures.join("page-phone.png"));

    drop(server);
    for tab in [&ann, &bob] {
        browser.wait(tab, "['waiting', 'connecting'].includes(document.getElementById('state').dataset.state)");
    }
    server = Server::start(port);
    for tab in [&ann, &bob] {
        browser.wait(tab, OPEN);
        browser.wait(tab, &here(&["ann", "bob"]));
    }
    say(&mut browser, &bob, "you are back");
    browser.wait(&ann, &heard("bob", "you are back", 1));
    // What was there before the restart is there still, and once.
    browser.wait(&ann, &heard("bob", "morning, ann", 1));
    browser.screenshot(&ann, 1360, 820, false, &pictures.join("page-after-restart.png"));
    drop(server);

    let bad = ["Page.javascriptDialogOpening", "Runtime.exceptionThrown"];
    let bad: Vec<_> = browser.events.iter().filter(|event| bad.iter().any(|bad| event["method"] == *bad)).collect();
    assert!(bad.is_empty(), "{bad:?}");
    let refused =
        |event: &&serde_json::Value| event["params"]["entry"]["text"].to_string().contains("Content Security");
    assert!(!browser.events.iter().any(|event| refused(&event)), "the page breaks its own policy");
}

const OPEN: &str = "document.getElementById('state')?.dataset.state === 'open'";

/// An expression: exactly these users are listed.
fn here(users: &[&str]) -> String {
    let names = "[...document.querySelectorAll('#members:not(.stale) .name')].map((name) => name.textContent)";
    format!("JSON.stringify({names}) === {}", json!(json!(users).to_string()))
}

/// An expression: `user` said `text` so many times, as text.
fn heard(user: &str, text: &str, times: usize) -> String {
    format!(
        "[...document.querySelectorAll('#messages .message')].filter((row) =>
           row.querySelector('.name').textContent === {} && row.querySelector('.text').textContent === {}
         ).length === {times}",
        json!(user),
        json!(text)
    )
}

/// Types and sends, as a person does.
fn say(browser: &mut Browser, tab: &Tab, text: &str) {
    let script = format!(
        "document.getElementById('text').value = {}; document.getElementById('say').requestSubmit()",
        json!(text)
    );
    browser.run(tab, &script);
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    listener.local_addr().expect("it has an address").port()
}
