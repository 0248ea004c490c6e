//! `clients/js/throng.js`: its own tests in a real browser (and in node and under the type checker, where they are), and
//! the client against the real server over lost connections and a restart.

#[path = "browser/cdp.rs"]
mod cdp;
#[path = "client_js/files.rs"]
mod files;
#[path = "client_js/proxy.rs"]
mod proxy;
#[path = "browser/server.rs"]
mod server;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use cdp::{Browser, Tab};
use proxy::Proxy;
use serde_json::{Value, json};
use server::{FAR_FUTURE, SECRET, Server, free_port, token};
use throng::wire::CloseReason;

#[test]
fn its_own_tests_pass_in_a_browser() {
    let mut browser = Browser::start(profile("units"));
    let tab = browser.open(&format!("http://127.0.0.1:{}/", files::serve()));
    let mut scripts: Vec<String> = fs::read_dir(files::folder().join("tests"))
        .expect("the folder of tests")
        .map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".test.js"))
        .map(|name| format!("/tests/{name}"))
        .collect();
    scripts.sort();
    assert!(scripts.len() >= 5, "tests are missing: {scripts:?}");
    let results =
        browser.run(&tab, &format!("import('/tests/in-browser.js').then(({{run}}) => run({}))", json!(scripts)));
    let results = results.as_array().expect("a list of results");
    assert!(results.len() >= 70, "only {} tests ran", results.len());
    let failed: Vec<&Value> = results.iter().filter(|result| !result["error"].is_null()).collect();
    assert!(failed.is_empty(), "{} of {} failed: {failed:#?}", failed.len(), results.len());
}

/// What `docs/errors.md` says of each code is what the client does.
#[test]
fn it_comes_back_after_every_close_code_that_says_so_and_after_no_other() {
    let mut browser = Browser::start(profile("codes"));
    let tab = browser.open(&format!("http://127.0.0.1:{}/", files::serve()));
    let codes: Vec<u16> = CloseReason::ALL.iter().filter_map(|reason| reason.code()).collect();
    let script = format!(
        "import('/tests/fake.js').then(async ({{connected}}) => {{
           const states = [];
           for (const code of {}) {{
             const it = await connected();
             it.socket.end(code, 'why');
             states.push(it.throng.state);
           }}
           return states;
         }})",
        json!(codes)
    );
    let states = browser.run(&tab, &script);
    let states = states.as_array().expect("a list of states");
    let reasons = CloseReason::ALL.iter().filter(|reason| reason.code().is_some());
    for (reason, state) in reasons.zip(states) {
        // Below 4000 the range says nothing: another try may do no harm and may be all that is needed.
        let comes_back = reason.code() < Some(4_000) || reason.may_retry();
        assert_eq!(state, if comes_back { "waiting" } else { "closed" }, "{reason:?}");
    }
    assert_eq!(states.len(), codes.len());
}

#[test]
fn whoever_is_turned_away_is_told_why_by_code_and_sentence() {
    let port = free_port();
    let (_server, site) = (Server::start(port, &[]), files::serve());
    let mut browser = Browser::start(profile("turned-away"));
    let (here, elsewhere) = (format!("http://127.0.0.1:{site}/"), format!("http://app.example:{site}/"));
    let good = token("eve", SECRET, FAR_FUTURE);
    let forged = token("eve", "another secret of at least 32 bytes", FAR_FUTURE);
    let cases = [
        (&here, forged, "connect_error 4503 final", "signature"),
        (&here, token("eve", SECRET, 1_000_000_000), "connect_error 4003", "expired"),
        (&elsewhere, good.clone(), "connect_error 4504 final", "origin"),
    ];
    for (page, token, told, word) in cases {
        let tab = browser.open(page);
        browser.run(&tab, "import('/tests/live.js').then(() => {})");
        browser
            .run(&tab, &format!("arrive(...{})", json!(["eve", format!("ws://127.0.0.1:{port}/ws"), token, "json"])));
        browser.wait(&tab, &format!("eve.told.includes({})", json!(told)));
        let reason = browser.run(&tab, "eve.reasons[0]");
        assert!(reason.as_str().expect("a sentence").contains(word), "{told}: {reason}");
        let is_final = told.ends_with("final");
        assert_eq!(browser.run(&tab, "eve.throng.state === 'closed'"), is_final, "{told}");
        if is_final {
            assert_eq!(browser.run(&tab, "eve.told.length"), 1, "it knocks no more");
        }
    }
    let tab = browser.open(&here);
    browser.run(&tab, "import('/tests/live.js').then(() => {})");
    browser.run(&tab, &format!("arrive(...{})", json!(["eve", format!("ws://127.0.0.1:{port}/ws"), good, "json"])));
    browser.wait(&tab, "eve.room.seated");
}

/// Ann has another token when hers ends, bob has none: he goes, and she stays where she is.
#[test]
fn a_token_is_refreshed_on_the_living_connection() {
    let port = free_port();
    let _server = Server::start(port, &["THRONG_LIMITS_TOKEN_LEEWAY_S=0"]);
    let mut browser = Browser::start(profile("refresh"));
    let tab = browser.open(&format!("http://127.0.0.1:{}/", files::serve()));
    browser.run(&tab, "import('/tests/live.js').then(() => {})");
    let now = browser.run(&tab, "Math.floor(Date.now() / 1000)").as_u64().expect("a time");
    let ends = now + 8;
    let url = format!("ws://127.0.0.1:{port}/ws");
    let fewer = json!([{"match": "elsewhere", "can": ["join"]}]);
    let hers = [token("ann", SECRET, ends), token("ann", SECRET, FAR_FUTURE)];
    let carls = [token("carl", SECRET, ends), server::token_for("carl", SECRET, FAR_FUTURE, Some(&fewer))];
    for person in [
        json!(["ann", url, hers, "json"]),
        json!(["bob", url, token("bob", SECRET, ends), "json"]),
        json!(["carl", url, carls, "msgpack"]),
    ] {
        browser.run(&tab, &format!("arrive(...{person})"));
    }
    browser.wait(&tab, "ann.told.includes('refresh') && carl.told.includes('refresh')");
    let session = browser.run(&tab, "ann.throng.welcome.session");
    // The one that ends as her first one would have.
    browser.wait(&tab, "bob.told.includes('disconnect 4003')");
    assert_eq!(browser.run(&tab, "ann.say('still here')"), "memory");
    assert_eq!(browser.run(&tab, "ann.told"), json!(["refresh"]), "no disconnect, no second connection");
    assert_eq!(browser.run(&tab, "ann.asked"), json!(["connect", "expiring"]));
    assert_eq!(browser.run(&tab, "ann.throng.welcome.session"), session);
    // Whose new token says less stays, too, and not in the room.
    assert_eq!(browser.run(&tab, "[carl.told, carl.room.seated]"), json!([["removed grants", "refresh"], false]));
}

#[test]
fn its_own_tests_pass_in_node_where_it_is() {
    // `--test` is there since 18.
    let why = match version("node", "v") {
        Some(18..) => None,
        Some(major) => Some(format!("node {major} is older than its own test runner")),
        None => Some("there is no node here".to_owned()),
    };
    if let Some(why) = why {
        return skip("its_own_tests_pass_in_node_where_it_is", &why);
    }
    run(Command::new("node").arg("--test").current_dir(files::folder()));
}

#[test]
fn its_types_hold_where_there_is_a_type_checker() {
    if version("tsc", "Version ").is_none() {
        return skip("its_types_hold_where_there_is_a_type_checker", "there is no tsc here");
    }
    run(Command::new("tsc").arg("--project").arg(files::folder()));
}

/// Ann is at the end of a cable, bob is not. What is said while hers is pulled she hears when she is back: all of it,
/// once, in order; and what she said meanwhile is said then. A restart of the server is told to both as a gap.
#[test]
fn nobody_misses_anything_in_silence() {
    for codec in ["json", "msgpack"] {
        let port = free_port();
        let server = Server::start(port, &[]);
        let cable = Proxy::start(port);
        let mut browser = Browser::start(profile(codec));
        let tab = browser.open(&format!("http://127.0.0.1:{}/", files::serve()));
        browser.run(&tab, "import('/tests/live.js').then(() => {})");
        arrive(&mut browser, &tab, codec, &[("ann", cable.port), ("bob", port)]);
        talk_over_a_pulled_cable(&mut browser, &tab, &cable);
        talk_over_a_restart(&mut browser, &tab, server, port);

        let thrown = |event: &&Value| event["method"] == "Runtime.exceptionThrown";
        let thrown: Vec<&Value> = browser.events.iter().filter(thrown).collect();
        assert!(thrown.is_empty(), "{thrown:?}");
    }
}

fn arrive(browser: &mut Browser, tab: &Tab, codec: &str, people: &[(&str, u16)]) {
    for (user, port) in people {
        let person = json!([user, format!("ws://127.0.0.1:{port}/ws"), token(user, SECRET, FAR_FUTURE), codec]);
        browser.run(tab, &format!("arrive(...{person})"));
    }
    for (user, _) in people {
        browser.wait(tab, &format!("{user}.room.seated && {user}.room.members.count === 2"));
    }
    let stranger = json!(["eve", format!("ws://127.0.0.1:{}/ws", people[1].1), "a.b.c", codec]);
    browser.run(tab, &format!("arrive(...{stranger})"));
    browser.wait(tab, "eve.throng.state === 'closed'");
    assert_eq!(browser.run(tab, "eve.told"), json!(["connect_error 4503 final"]));
}

fn talk_over_a_pulled_cable(browser: &mut Browser, tab: &Tab, cable: &Proxy) {
    assert_eq!(browser.run(tab, "bob.say('b0')"), "memory");
    assert_eq!(browser.run(tab, "ann.say('a0')"), "memory");
    browser.wait(tab, "ann.heard.length === 1 && bob.heard.length === 1");

    cable.pull();
    browser.wait(tab, "ann.told.some((what) => what.startsWith('disconnect '))");
    browser.run(tab, "ann.later = Promise.all([ann.say('a1'), ann.say('a2')]), ''");
    for n in 1..=30 {
        assert_eq!(browser.run(tab, &format!("bob.say('b{n}')")), "memory");
    }
    // Twice, so that a position is good more than once.
    cable.plug_in();
    browser.wait(tab, "ann.heard.length === 31");
    assert_eq!(browser.run(tab, "ann.later"), json!(["memory", "memory"]));
    cable.pull();
    browser.wait(tab, "ann.throng.state !== 'open'");
    assert_eq!(browser.run(tab, "bob.say('b31')"), "memory");
    cable.plug_in();
    browser.wait(tab, "ann.heard.includes('b31') && bob.heard.includes('a2')");

    let said: Vec<String> = (0..=31).map(|n| format!("b{n}")).collect();
    assert_eq!(browser.run(tab, "ann.heard"), json!(said), "all of it, once, in order, and nothing of her own");
    assert_eq!(browser.run(tab, "bob.heard"), json!(["a0", "a1", "a2"]));
    assert_eq!(browser.run(tab, "[...ann.gaps, ...bob.gaps]"), json!([]));
}

fn talk_over_a_restart(browser: &mut Browser, tab: &Tab, server: Server, port: u16) {
    browser.run(tab, "for (const one of [ann, bob]) one.heard.length = 0");
    drop(server);
    browser.wait(tab, "ann.throng.state !== 'open' && bob.throng.state !== 'open'");
    browser.run(tab, "ann.later = ann.say('across'), ''");
    let _server = Server::start(port, &[]);
    for user in ["ann", "bob"] {
        browser.wait(tab, &format!("{user}.room.seated && {user}.room.members.count === 2"));
        // What a room held in memory went with the server, and nobody is left to guess it.
        browser.wait(tab, &format!("{user}.gaps.length > 0"));
        assert_eq!(browser.run(tab, &format!("{user}.gaps")), json!(["epoch"]));
    }
    assert_eq!(browser.run(tab, "ann.later"), "memory");
    assert_eq!(browser.run(tab, "bob.say('welcome back')"), "memory");
    browser.wait(tab, "ann.heard.includes('welcome back') && bob.heard.includes('across')");
    assert_eq!(browser.run(tab, "[ann.heard, bob.heard]"), json!([["welcome back"], ["across"]]));
    assert_eq!(browser.run(tab, "ann.told.filter((what) => what === 'reconnect').length"), 3);
}

/// Past the harness, which keeps to itself what a test prints that passes. `./tuning/ready test` does not begin without them.
fn skip(test: &str, why: &str) {
    writeln!(std::io::stderr(), "skipped: {test}: {why}").expect("somebody listens to stderr");
}

fn run(command: &mut Command) {
    let done = command.output().expect("it was there a moment ago");
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&said));
}

/// The major version of a program, if it is there.
fn version(program: &str, before: &str) -> Option<u32> {
    let said = Command::new(program).arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    said.strip_prefix(before)?.split('.').next()?.parse().ok()
}

/// A place for a browser's profile.
fn profile(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chromium-{name}-{}", std::process::id()))
}
