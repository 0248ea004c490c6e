//! Headless Chromium by its DevTools protocol: tabs and scripts. No driver, no node.
//!
//! Promises: waits for facts (a promise in the page, an event), never for a time; the deadline on the socket is only
//! there to end a test that has already failed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

/// A browser with a profile of its own; gone when dropped.
pub(crate) struct Browser {
    process: Child,
    profile: PathBuf,
    socket: WebSocket<TcpStream>,
    id: u64,
    /// Events of all tabs, as they came.
    pub(crate) events: Vec<Value>,
    _alone: MutexGuard<'static, ()>,
}

/// A tab, by its session.
pub(crate) struct Tab(String);

impl Browser {
    /// Starts Chromium: `$CHROMIUM`, else the usual names. Waits until no other test of this process has one.
    pub(crate) fn start(profile: PathBuf) -> Self {
        // Two at a time would only take the machine from each other. A test that failed has closed its own.
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut process = Command::new(program())
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            // The tab at the back must live at the same pace as the one in front.
            .args(["--disable-background-timer-throttling", "--disable-renderer-backgrounding"])
            .args(["--disable-backgrounding-occluded-windows", "--remote-debugging-port=0", "--window-size=1360,900"])
            // Hosts that are not this one to a page, and are to the network.
            .arg("--host-resolver-rules=MAP *.example 127.0.0.1")
            .arg(format!("--user-data-dir={}", profile.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Chromium starts");
        let lines = BufReader::new(process.stderr.take().expect("stderr is piped")).lines();
        let mut lines = lines.map(|line| line.expect("Chromium writes text"));
        let url = lines.find_map(|line| line.strip_prefix("DevTools listening on ").map(str::to_owned));
        let url = url.expect("Chromium says where its DevTools listen");
        // Whatever else it has to say must not fill the pipe.
        std::thread::Builder::new().spawn(move || lines.for_each(drop)).expect("a thread starts");

        let address = url.strip_prefix("ws://").and_then(|url| url.split('/').next()).expect("a ws address");
        let stream = TcpStream::connect(address).expect("DevTools answer");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline can be set");
        let (socket, _) = tungstenite::client(url.as_str(), stream).expect("DevTools speak WebSocket");
        Self { process, profile, socket, id: 0, events: Vec::new(), _alone: alone }
    }

    /// Opens `url` in a new tab and waits until it is loaded.
    pub(crate) fn open(&mut self, url: &str) -> Tab {
        let target = self.call(None, "Target.createTarget", json!({"url": "about:blank"}));
        let tab = self.attach(&target["targetId"]);
        self.load(&tab, "Page.navigate", json!({"url": url}));
        tab
    }

    pub(crate) fn attach(&mut self, target: &Value) -> Tab {
        let attach = json!({"targetId": target, "flatten": true});
        let session = self.call(None, "Target.attachToTarget", attach)["sessionId"].as_str().map(str::to_owned);
        let tab = Tab(session.expect("a session"));
        for domain in ["Page", "Runtime", "Log"] {
            self.call(Some(&tab), &format!("{domain}.enable"), json!({}));
        }
        tab
    }

    /// Does what loads a page, and waits until it is loaded.
    pub(crate) fn load(&mut self, tab: &Tab, method: &str, arguments: Value) {
        let loaded = |event: &&Value| event["method"] == "Page.loadEventFired" && event["sessionId"] == tab.0.as_str();
        let before = self.events.iter().filter(loaded).count();
        self.call(Some(tab), method, arguments);
        while self.events.iter().filter(loaded).count() == before {
            let event = self.read();
            self.events.push(event);
        }
    }

    /// Runs a script (an expression; a promise is awaited) and gives its value.
    pub(crate) fn run(&mut self, tab: &Tab, script: &str) -> Value {
        let arguments = json!({"expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true});
        let answer = self.call(Some(tab), "Runtime.evaluate", arguments);
        assert!(answer.get("exceptionDetails").is_none(), "{script}\n{}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Waits until `condition` (an expression) holds in the page, and looks again at each change of it.
    pub(crate) fn wait(&mut self, tab: &Tab, condition: &str) {
        let script = format!(
            "new Promise((resolve) => {{
               const holds = () => Boolean({condition});
               if (holds()) return resolve('');
               const watch = new MutationObserver(() => {{ if (holds()) {{ watch.disconnect(); resolve(''); }} }});
               watch.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
               setTimeout(() => resolve(document.body.innerText), {GIVE_UP_MS});
             }})"
        );
        let instead = self.run(tab, &script);
        assert_eq!(
            instead,
            "",
            "never came about: {condition}\nthe page instead:\n{}",
            instead.as_str().unwrap_or_default()
        );
    }

    /// One call of the protocol, to a tab or to the browser.
    pub(crate) fn call(&mut self, tab: Option<&Tab>, method: &str, arguments: Value) -> Value {
        self.id += 1;
        let mut call = json!({"id": self.id, "method": method, "params": arguments});
        if let Some(Tab(session)) = tab {
            call["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(call.to_string())).expect("DevTools listen");
        loop {
            let mut answer = self.read();
            if answer["id"] == self.id {
                assert!(answer.get("error").is_none(), "{method}: {}", answer["error"]);
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }

    fn read(&mut self) -> Value {
        loop {
            let message = self.socket.read().expect("what was waited for never came");
            if let Message::Text(text) = message {
                return serde_json::from_str(&text).expect("DevTools speak JSON");
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _killed = self.process.kill();
        let _reaped = self.process.wait();
        let _removed = fs::remove_dir_all(&self.profile);
    }
}

fn program() -> PathBuf {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name))).find(|p| p.is_file());
    let given = std::env::var_os("CHROMIUM").map(PathBuf::from);
    given.or(found).expect("Chromium is needed for this test: ./tuning/ready test installs it")
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A fact that has not come about by then has failed the test; no test passes by it.
const GIVE_UP_MS: u32 = 30_000;
const DEADLINE: Duration = Duration::from_secs(60);
