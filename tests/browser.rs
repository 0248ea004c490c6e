//! The page in real tabs: people talk, markup stays text, the page comes back by itself when the server does, when it is
//! loaded again and when the network is back, and who is not let in reads why.

#[path = "browser/cdp.rs"]
mod cdp;
#[path = "browser/picture.rs"]
mod picture;
#[path = "client_js/proxy.rs"]
mod proxy;
#[path = "browser/server.rs"]
mod server;
#[path = "browser/travel.rs"]
mod travel;

use std::io::Write;
use std::path::{Path, PathBuf};

use cdp::{Browser, Tab};
use serde_json::json;
use server::{FAR_FUTURE, SECRET, Server, free_port, token};
use throng::control::NewKey;
use throng::runtime::clock::Clock;

const MARKUP: &str = "<img src=x onerror=alert(1)><b>hi</b>";

#[test]
fn two_tabs_talk_and_survive_the_server() {
    let port = free_port();
    let mut server = Server::start(port, &[]);
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut browser = Browser::start(profile("talk"));
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

    who_types_and_who_has_read_is_seen(&mut browser, [&ann, &bob], pictures);

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

    // Both browsers agreed on deflated messages, and a long one comes whole.
    let probe = format!(
        "new Promise((resolve) => {{
           const probe = new WebSocket('ws://127.0.0.1:{port}/ws', ['throng.v1.json']);
           probe.onopen = () => {{ resolve(probe.extensions); probe.close(); }};
           probe.onclose = (event) => resolve('closed ' + event.code);
         }})"
    );
    let agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(browser.run(&bob, &probe), agreed);
    let long = "said over and over, ".repeat(150);
    let long = long.trim();
    say(&mut browser, &ann, long);
    browser.wait(&bob, &heard("ann", long, 1));
    say(&mut browser, &bob, "a short one");
    browser.wait(&ann, &heard("bob", "a short one", 1));

    drop(server);
    for tab in [&ann, &bob] {
        browser.wait(tab, "['waiting', 'connecting'].includes(document.getElementById('state').dataset.state)");
    }
    server = Server::start(port, &[]);
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

    assert_nothing_bad(&browser);
}

/// Ann types, bob sees it; she sends it, nobody types any more; he has read it, and she sees that, too.
fn who_types_and_who_has_read_is_seen(browser: &mut Browser, [ann, bob]: [&Tab; 2], pictures: &Path) {
    let types = |text: &str| {
        format!(
            "document.getElementById('text').value = {}; \
             document.getElementById('text').dispatchEvent(new Event('input', {{ bubbles: true }}))",
            json!(text)
        )
    };
    let typing = |sentence: &str| format!("document.getElementById('typing').textContent === {}", json!(sentence));
    browser.run(ann, &types("did you"));
    browser.wait(bob, &typing("ann is typing…"));
    browser.screenshot(bob, 1360, 820, false, &pictures.join("page-typing.png"));
    say(browser, ann, "did you sleep well?");
    browser.wait(bob, &heard("ann", "did you sleep well?", 1));
    browser.wait(bob, &typing(""));
    browser.run(ann, &types("I"));
    browser.wait(bob, &typing("ann is typing…"));
    browser.run(ann, &types(""));
    browser.wait(bob, &typing(""));
    // Only a tab that is looked at reads.
    browser.front(bob);
    let last = "[...document.querySelectorAll('#messages .message')].at(-1)";
    browser.wait(ann, &format!("{last}.querySelector('.readers [title=\"read by bob\"]') !== null"));
    assert_eq!(browser.run(ann, "document.querySelectorAll('[title=\"read by bob\"]').length"), 1);
    browser.screenshot(ann, 1360, 820, false, &pictures.join("page-read.png"));
}

#[test]
fn who_is_not_let_in_reads_why_and_what_to_do() {
    let port = free_port();
    let _server = Server::start(port, &[]);
    let mut browser = Browser::start(profile("refused"));
    let page = |token: &str| format!("http://127.0.0.1:{port}/?user=ann&room=lobby#token={token}");

    let forged = browser.open(&page(&token("ann", "another secret of at least 32 bytes", FAR_FUTURE)));
    browser.wait(&forged, &told(&["token was not accepted", "signature", "4503", "throng token --user"]));
    let nonsense = browser.open(&page("nonsense"));
    browser.wait(&nonsense, &told(&["token was not accepted", "not a JWT", "4503"]));
    let expired = browser.open(&page(&token("ann", SECRET, 1_000_000_000)));
    browser.wait(&expired, &told(&["token has expired", "4003", "throng token --user"]));

    // Let in, and out of time while it talks: the server gives a few seconds of leeway.
    let now = browser.run(&expired, "Math.floor(Date.now() / 1000)").as_u64().expect("a time");
    let short = browser.open(&page(&token("ann", SECRET, now + 10)));
    browser.wait(&short, "document.querySelector('#messages') && document.querySelector('#frame-list .type')");
    browser.wait(&short, &told(&["token has expired", "4003"]));
    picture(&mut browser, &forged, "page-wrong-token.png");
    picture(&mut browser, &short, "page-expired.png");
    // None of them knocks again: the only token they have will not become better.
    for tab in [&forged, &nonsense, &expired, &short] {
        assert_eq!(browser.run(tab, "document.getElementById('state').dataset.state"), "closed");
    }
    let good = browser.open(&page(&token("ann", SECRET, FAR_FUTURE)));
    browser.wait(&good, OPEN);
    assert_eq!(browser.run(&good, "document.getElementById('problem').hidden"), true);
    assert_nothing_bad(&browser);
}

#[test]
fn a_page_of_another_origin_reads_who_can_let_it_in() {
    let port = free_port();
    // Whoever lists origins means these and no others: not even the server's own page under another name.
    let _server = Server::start(port, &["--origins", "https://chat.example"]);
    let mut browser = Browser::start(profile("origin"));
    let origin = format!("http://app.example:{port}");
    let page =
        |host: &str| format!("http://{host}:{port}/?user=ann&room=lobby#token={}", token("ann", SECRET, FAR_FUTURE));
    let foreign = browser.open(&page("app.example"));
    browser.wait(&foreign, &told(&["may not connect", "4504", &format!("allow the origin {origin}")]));
    picture(&mut browser, &foreign, "page-foreign-origin.png");
    let own = browser.open(&page("127.0.0.1"));
    browser.wait(&own, OPEN);
    // Without a token in its address it asks the server for one, which gives none to other hosts.
    let without = browser.open(&format!("{origin}/?user=ann&room=lobby"));
    browser.wait(&without, &told(&["to this host only", "throng token --user"]));
    assert_nothing_bad(&browser);
}

/// The page is told while it talks: the order of events is the test, the time is only said.
#[test]
fn a_revocation_by_the_api_is_seen_by_the_page_that_is_open() {
    let (port, admin) = (free_port(), free_port());
    let key = NewKey::draw().expect("the system gives randomness");
    let (listen, hash) = (format!("127.0.0.1:{admin}"), format!("test={}", key.sha256));
    let _server = Server::start(port, &["--admin-listen", &listen, "--api-key-sha256", &hash]);
    let mut browser = Browser::start(profile("revoked"));
    let page = |user: &str| {
        format!("http://127.0.0.1:{port}/?user={user}&room=lobby#token={}", token(user, SECRET, FAR_FUTURE))
    };
    let (ann, bob) = (browser.open(&page("ann")), browser.open(&page("bob")));
    for tab in [&ann, &bob] {
        browser.wait(tab, &here(&["ann", "bob"]));
    }
    let call = |path: &str, body: &str| {
        let answer = ureq::post(format!("http://{listen}/api/v1{path}"))
            .header("authorization", format!("Bearer {}", key.text))
            .send(body)
            .expect("the API answers");
        assert_eq!(answer.status(), 200);
    };
    call("/broadcast", r#"{"data":{"text":"tea is ready"}}"#);
    call("/users/bob/messages", r#"{"data":"and cake for you"}"#);
    browser.wait(&ann, &heard("test", "tea is ready", 1));
    browser.wait(&bob, &format!("{} && {}", heard("test", "tea is ready", 1), heard("test", "and cake for you", 1)));
    assert_eq!(browser.run(&ann, &heard("test", "and cake for you", 0)), true);
    picture(&mut browser, &bob, "page-announced.png");
    // Of somebody else's tokens nobody here is told.
    call("/revoke", r#"{"user":"carl"}"#);
    let since = Clock::start();
    call("/revoke", r#"{"user":"ann"}"#);
    browser.wait(&ann, &told(&["token was revoked", "4500", "throng token --user"]));
    let after_ms = since.now().mono_ms;
    writeln!(std::io::stderr(), "browser: the page explained the revocation {after_ms} ms after it was asked for")
        .expect("somebody listens to stderr");
    browser.wait(&bob, &here(&["bob"]));
    assert_eq!(browser.run(&bob, OPEN), true);
    picture(&mut browser, &ann, "page-revoked.png");
    // The same token does not come in again.
    let again = browser.open(&page("ann"));
    browser.wait(&again, &told(&["token was revoked", "4500"]));
    assert_nothing_bad(&browser);
}

/// To be looked at, in the folder of the tests.
fn picture(browser: &mut Browser, tab: &Tab, name: &str) {
    browser.screenshot(tab, 1360, 820, false, &Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
}

/// No exception, no dialogue, nothing that the page's own policy forbids.
fn assert_nothing_bad(browser: &Browser) {
    let bad = ["Page.javascriptDialogOpening", "Runtime.exceptionThrown"];
    let bad: Vec<_> = browser.events.iter().filter(|event| bad.iter().any(|bad| event["method"] == *bad)).collect();
    assert!(bad.is_empty(), "{bad:?}");
    let refused =
        |event: &&serde_json::Value| event["params"]["entry"]["text"].to_string().contains("Content Security");
    assert!(!browser.events.iter().any(|event| refused(&event)), "the page breaks its own policy");
}

/// An expression: the page is closed for good and explains it with these words.
fn told(words: &[&str]) -> String {
    format!(
        "document.getElementById('state')?.dataset.state === 'closed' && !document.getElementById('problem').hidden &&
         !document.getElementById('text').placeholder.includes('Waiting') &&
         {}.every((words) => document.getElementById('problem').textContent.includes(words))",
        json!(words)
    )
}

/// A place for a browser's profile.
fn profile(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chromium-{name}-{}", std::process::id()))
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
