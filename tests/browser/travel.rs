//! A tab that is loaded again, loses its network, is duplicated and is taken over: it misses nothing, and nobody sees its
//! person leave.

use std::path::Path;

use serde_json::json;

use super::proxy::Proxy;
use super::server::{Server, free_port};
use super::{OPEN, assert_nothing_bad, heard, here, profile, say, told};
use crate::cdp::{Browser, Tab};

#[test]
fn a_tab_is_loaded_again_flies_and_is_taken_over_and_nobody_sees_its_person_leave() {
    let port = free_port();
    // Whoever loses the connection is away for longer than this test takes.
    let _server = Server::start(port, &[r#"THRONG_ROOMS={"*":{"leave_delay_ms":600000}}"#]);
    let cable = Proxy::start(port);
    let mut browser = Browser::start(profile("travel"));
    let page = |port: u16, user: &str| format!("http://127.0.0.1:{port}/?user={user}&room=lobby");
    let ann = browser.open(&page(port, "ann"));
    browser.wait(&ann, OPEN);
    let bob = browser.open(&page(cable.port, "bob"));
    for tab in [&ann, &bob] {
        browser.wait(tab, &here(&["ann", "bob"]));
        // What crosses the wire would take half of the picture.
        browser.run(tab, "document.getElementById('frames-toggle').click()");
    }
    say(&mut browser, &ann, "are you coming?");
    browser.wait(&bob, &heard("ann", "are you coming?", 1));

    browser.reload(&bob);
    browser.run(&bob, "document.getElementById('frames-toggle').click()");
    browser.wait(&bob, &format!("{OPEN} && {RESUMED} && {}", heard("ann", "are you coming?", 1)));
    browser.wait(&bob, &here(&["ann", "bob"]));
    say(&mut browser, &bob, "I only loaded the page again");
    browser.wait(&ann, &heard("bob", "I only loaded the page again", 1));
    picture(&mut browser, &bob, "page-reloaded.png");

    flies(&mut browser, &ann, &bob, &cable);

    // A tab that is duplicated is somebody with two connections, each with a session of its own.
    let twin = browser.duplicate(&bob);
    browser.wait(&twin, &format!("{OPEN} && !{RESUMED}"));
    say(&mut browser, &ann, "in both of them?");
    for tab in [&bob, &twin] {
        browser.wait(tab, &heard("ann", "in both of them?", 1));
        assert_eq!(browser.run(tab, OPEN), true);
    }
    // Two tabs with one session are one too many: the newer one has it.
    let session = browser.run(&bob, SESSION);
    let script = format!("sessionStorage.setItem('throng.session', {session})");
    let newer = browser.open_after(&page(port, "bob"), &script);
    browser.wait(&newer, &format!("{OPEN} && {RESUMED}"));
    browser.wait(&bob, &told(&["Another connection took over", "4502", "load this page again"]));
    picture(&mut browser, &bob, "page-taken-over.png");
    say(&mut browser, &newer, "here I am");
    browser.wait(&ann, &heard("bob", "here I am", 1));
    browser.wait(&ann, &here(&["ann", "bob"]));
    assert_eq!(browser.run(&ann, NOTES), json!(["bob came in"]), "nobody saw more of all that");
    assert_nothing_bad(&browser);
}

/// Bob's network goes; ann sees him away and goes on talking; he is back, and has all of it.
fn flies(browser: &mut Browser, ann: &Tab, bob: &Tab, cable: &Proxy) {
    browser.airplane_mode(bob, true);
    cable.pull();
    browser.wait(bob, "['waiting', 'connecting'].includes(document.getElementById('state').dataset.state)");
    browser.wait(ann, &format!("{AWAY} === 'bob'"));
    for text in ["is this your tunnel?", "it must be a flight", "talk later"] {
        say(browser, ann, text);
        browser.wait(ann, &heard("ann", text, 1));
    }
    browser.run(bob, "document.getElementById('text').value = 'typed in the air'");
    picture(browser, bob, "page-flying.png");
    picture(browser, ann, "page-away.png");

    cable.plug_in();
    browser.airplane_mode(bob, false);
    browser.wait(bob, &format!("{OPEN} && {}", heard("ann", "talk later", 1)));
    for text in ["is this your tunnel?", "it must be a flight"] {
        assert_eq!(browser.run(bob, &heard("ann", text, 1)), true, "{text}");
    }
    assert_eq!(browser.run(bob, "document.querySelectorAll('#messages .gap').length"), 0, "nothing is missing");
    assert_eq!(browser.run(bob, "document.getElementById('text').value"), "typed in the air");
    browser.wait(ann, &format!("{AWAY} === undefined"));
    browser.run(bob, "document.getElementById('say').requestSubmit()");
    browser.wait(ann, &heard("bob", "typed in the air", 1));
    picture(browser, bob, "page-landed.png");
}

fn picture(browser: &mut Browser, tab: &Tab, name: &str) {
    browser.screenshot(tab, 960, 540, false, &Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
}

/// Who is listed as away.
const AWAY: &str = "document.querySelector('#members li.away .name')?.textContent";
/// What was told of people.
const NOTES: &str = "[...document.querySelectorAll('#messages .note')].map((note) => note.textContent)";
/// Whether the newest connection of this page went on with a session.
const RESUMED: &str =
    "[...document.querySelectorAll('#frame-list pre')].some((pre) => pre.textContent.includes('\"resumed\": true'))";
/// The handle of the newest connection's session.
const SESSION: &str = "JSON.parse([...document.querySelectorAll('#frame-list pre')].findLast((pre) => \
     pre.textContent.includes('\"type\": \"welcome\"')).textContent).session";

impl Browser {
    /// Loads the page of a tab again.
    fn reload(&mut self, tab: &Tab) {
        self.load(tab, "Page.reload", json!({}));
    }

    /// Opens a page before whose own scripts this one runs.
    fn open_after(&mut self, url: &str, script: &str) -> Tab {
        let tab = self.open("about:blank");
        self.call(Some(&tab), "Page.addScriptToEvaluateOnNewDocument", json!({"source": script}));
        self.load(&tab, "Page.navigate", json!({"url": url}));
        tab
    }

    /// The same page in another tab, with a copy of what the first one stored for itself.
    fn duplicate(&mut self, tab: &Tab) -> Tab {
        self.run(tab, "open(location.href) !== null");
        let opened = loop {
            let targets = self.call(None, "Target.getTargets", json!({}));
            let targets = targets["targetInfos"].as_array().cloned().unwrap_or_default();
            if let Some(opened) = targets.into_iter().find(|target| target["openerId"].is_string()) {
                break opened;
            }
        };
        let tab = self.attach(&opened["targetId"]);
        // It begins as an empty page with the same window, where an observer would watch a document that is gone soon.
        let loaded = "location.href !== 'about:blank' && document.readyState === 'complete'";
        while self.run(&tab, loaded) != true {}
        tab
    }

    /// As the browser's own tools switch a tab's network off and on again.
    fn airplane_mode(&mut self, tab: &Tab, on: bool) {
        self.call(Some(tab), "Network.enable", json!({}));
        let conditions = json!({"offline": on, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1});
        self.call(Some(tab), "Network.emulateNetworkConditions", conditions);
    }
}
