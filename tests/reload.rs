//! The configuration of a real process: what it refuses to start with, and what a SIGHUP changes.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "support/banner.rs"]
mod banner;
#[path = "support/engine.rs"]
mod engine;
#[path = "support/until.rs"]
mod until;

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use banner::Lines;
use throng::control::NewKey;
use throng::runtime::clock::Clock;
use throng::wire::{Claims, sign_hs256};
use tungstenite::{ClientRequestBuilder, Message, WebSocket};
use until::{connect, until, until_some};

const OLD: &str = "the secret that the server was started with";
const NEW: &str = "the secret that a reload has brought to it";

#[test]
fn a_good_reload_changes_keys_grants_limits_and_log_level_and_disconnects_nobody() {
    let folder = Folder::new("good");
    folder.write("secret", OLD);
    folder.write("throng.toml", &file("warn", "[]", 1));
    let server = Server::start(&folder);
    let mut ann = server.knock(OLD).expect("the old key is good");
    assert!(asks_to_join(&mut ann).contains("forbidden"), "nothing is granted");
    assert!(server.knock(NEW).is_none());

    folder.write("secret", NEW);
    folder.write("throng.toml", &file("info,throng=debug", EVERYTHING, 2));
    server.hang_up();
    let said = server.says("holds from now on");
    assert!(said.iter().any(|line| line.contains("server.shards") && line.contains("restart")), "{said:?}");
    // A shard takes new rules in with its next turn, and which shard one comes to is the kernel's choice.
    until("the new key and only the new key is good", || server.knock(NEW).is_some() && server.knock(OLD).is_none());
    until("the new grants hold", || !asks_to_join(&mut ann).contains("forbidden"));
    server.says("session opened");

    // Fewer grants: her seat is taken, with word of it, and she stays.
    folder.write("throng.toml", &file("info", "[{ match = 'hall:*', can = ['join'] }]", 2));
    server.hang_up();
    server.says("holds from now on");
    assert_eq!(hear(&mut ann), r#"{"type":"removed","room":"hall","why":"grants"}"#);
    assert!(asks_to_join(&mut ann).contains("forbidden"));
    // A scrape may be a tick old.
    until("it is counted", || server.metric("throng_seats_taken_total") > 0);
    assert_eq!(server.metric("throng_seats_taken_total"), 1);
    assert_eq!(
        (server.metric("throng_config_reloads_total"), server.metric("throng_config_reloads_refused_total")),
        (2, 0)
    );
    server.ends();
}

#[test]
fn a_bad_reload_changes_nothing_and_is_told_and_counted() {
    let folder = Folder::new("bad");
    folder.write("secret", OLD);
    folder.write("throng.toml", &file("info", "[]", 1));
    let server = Server::start(&folder);
    let mut ann = server.knock(OLD).expect("the old key is good");

    // Each would change the key, too, if it were not refused.
    folder.write("secret", NEW);
    let bad = [
        (format!("{}\n[server]\n", file("info", EVERYTHING, 1)), "this is not TOML"),
        (file("info", EVERYTHING, 1).replace("depth_max", "depht_max"), "did you mean `depth_max`?"),
        (file("info", EVERYTHING, 1).replace("depth_max = 4", "depth_max = 0"), "must be between 1 and"),
        (file("info", EVERYTHING, 1).replace("depth_max = 4", "dead_after_ms = 1_000"), "contradict each other"),
        (file("throng=loud", EVERYTHING, 1), "`level` in [log]"),
        (file("info", EVERYTHING, 1).replace("'secret'", "'nowhere'"), "cannot be read"),
    ];
    for (text, expected) in &bad {
        folder.write("throng.toml", text);
        server.hang_up();
        let said = server.says("everything stays as it was");
        assert!(said.iter().any(|line| line.contains(expected)), "{said:?} does not tell of {expected}");
    }
    folder.write("throng.toml", &file("info", EVERYTHING, 1));
    folder.write("secret", "short");
    server.hang_up();
    assert!(server.says("everything stays as it was").iter().any(|line| line.contains("has 5 bytes")));

    assert!(server.knock(NEW).is_none() && server.knock(OLD).is_some());
    assert!(asks_to_join(&mut ann).contains("forbidden"));
    let refused = bad.len() as u64 + 1;
    assert_eq!(server.metric("throng_config_reloads_refused_total"), refused);
    assert_eq!(server.metric("throng_config_reloads_total"), 0);
    server.ends();
}

#[test]
fn a_reload_changes_keys_of_the_api_origins_and_the_keys_in_files() {
    let folder = Folder::new("doors");
    let (first, second) = (NewKey::draw().unwrap(), NewKey::draw().unwrap());
    let told = |key: &NewKey, page: &str| {
        let admin =
            format!("listen = '127.0.0.1:0'\nkeys = [{{ name = 'shop', sha256 = '{}' }}]\n[tokens]", key.sha256);
        let keys = "[tokens]\nkeys = [{ file = 'partner' }]";
        let text = file("info", "[]", 1).replace("listen = '127.0.0.1:0'\n[tokens]", &admin).replace("[tokens]", keys);
        format!("{text}[origins]\nallow = ['{page}']\n")
    };
    folder.write("secret", OLD);
    folder.write("partner", "the secret of a partner before the reload");
    folder.write("throng.toml", &told(&first, "https://old.example"));
    let server = Server::start(&folder);
    assert_eq!((server.calls_with(&first), server.calls_with(&second)), (200, 401));
    assert!(server.knock_from("https://old.example") && !server.knock_from("https://new.example"));
    assert!(server.may_read("https://old.example") && !server.may_read("https://new.example"));
    assert!(server.knock(NEW).is_none());

    folder.write("partner", NEW);
    folder.write("throng.toml", &told(&second, "https://new.example"));
    server.hang_up();
    server.says("holds from now on");
    until("the new key is good", || server.knock(NEW).is_some());
    assert!(server.knock(OLD).is_some(), "the other key is as good as before");
    assert_eq!((server.calls_with(&first), server.calls_with(&second)), (401, 200));
    assert!(!server.knock_from("https://old.example") && server.knock_from("https://new.example"));
    assert!(!server.may_read("https://old.example") && server.may_read("https://new.example"));

    let twice = told(&first, "https://old.example").replace("[tokens]", "keys_file = 'keys'\n[tokens]");
    folder.write("keys", &format!("shop={}\n", second.sha256));
    folder.write("partner", "short");
    for text in [twice, told(&first, "https://old.example"), told(&first, "null")] {
        folder.write("throng.toml", &text);
        server.hang_up();
        server.says("everything stays as it was");
        assert_eq!((server.calls_with(&first), server.calls_with(&second)), (401, 200));
        assert!(server.may_read("https://new.example") && server.knock(NEW).is_some());
    }
    server.ends();
}

#[test]
fn check_config_says_what_serve_would_do_and_refuses_what_serve_refuses() {
    let folder = Folder::new("check");
    folder.write("secret", OLD);
    folder.write("throng.toml", &file("info", "[{ match = 'chat:*', can = ['join'] }]", 3));
    let path = folder.path("throng.toml").display().to_string();
    let done = throng(&["check-config", &path, "--room", "chat:a", "--backlog", "7"], &[("THRONG_NODE", "n1")]);
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let has = |setting: &str, value: &str, whence: &str| {
        let line = said.lines().find(|line| line.trim_start().starts_with(&format!("{setting} "))).unwrap_or_default();
        assert!(line.contains(value) && line.trim_end().ends_with(whence), "{setting}: {line:?}");
    };
    has("shards", "3", &format!("{path}:4"));
    has("backlog", "7", "--backlog");
    has("node", "\"n1\"", "THRONG_NODE");
    has("tick_ms", "100", "default");
    assert!(said.contains("would listen at 127.0.0.1:0") && said.contains("may here: join\n"), "{said}");
    assert!(!said.contains(OLD));

    folder.write("throng.toml", "[server]\nlisen = '127.0.0.1:0'\n");
    for command in [&["check-config", &path][..], &["serve", "--config", &path]] {
        let done = throng(command, &[]);
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(2), "{said}");
        assert!(said.contains(":2: unknown key `lisen` in [server]: did you mean `listen`?"), "{said}");
    }
    let done = throng(&["serve", "--config", "/nowhere.toml"], &[]);
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("/nowhere.toml cannot be read"));
    let done = throng(&["serve", "--shards", "none", "--dev"], &[]);
    assert!(String::from_utf8_lossy(&done.stderr).contains("--shards: `server.shards` must be a whole number"));
}

#[test]
fn default_config_prints_what_check_config_takes() {
    let folder = Folder::new("default");
    let printed = throng(&["default-config"], &[]).stdout;
    folder.write("throng.toml", &String::from_utf8(printed).unwrap());
    let path = folder.path("throng.toml").display().to_string();
    let done = throng(&["check-config", "--config", &path, "--dev"], &[]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_tool_whose_reader_is_gone_ends_without_a_word() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let tool = Command::new(env!("CARGO_BIN_EXE_throng"))
        .arg("default-config")
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(tool.status.signal(), Some(libc::SIGPIPE));
    assert_eq!(String::from_utf8_lossy(&tool.stderr), "");
}

const EVERYTHING: &str = "[{ match = '*', can = ['join', 'publish', 'presence', 'history'] }]";

fn file(level: &str, grants: &str, shards: u16) -> String {
    format!(
        "# A test's.\n[server]\nlisten = '127.0.0.1:0'\nshards = {shards}\n[admin]\nlisten = '127.0.0.1:0'\n[tokens]\nsecret_file = 'secret'\n\
         [grants]\ndefault = {grants}\n[log]\nlevel = '{level}'\n[limits]\ndepth_max = 4\n"
    )
}

/// Runs a command to its end, in an environment of its own.
fn throng(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_throng"));
    command.env_clear().envs(environment.iter().copied()).args(arguments).output().expect("the binary was built")
}

fn token_of_ann(secret: &str) -> String {
    let claims = Claims { sub: "ann", exp: Clock::start().now().unix_ms / 1_000 + 600, info: None, rooms: None };
    sign_hs256(secret.as_bytes(), &claims).unwrap()
}

fn asks_to_join(person: &mut WebSocket<TcpStream>) -> String {
    person.send(Message::text(r#"{"type":"join","id":1,"room":"hall"}"#)).unwrap();
    hear(person)
}

fn hear(person: &mut WebSocket<TcpStream>) -> String {
    person.read().unwrap().into_text().unwrap().to_string()
}

/// A place for the files of one test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("throng-reload-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the system's temporary folder harms nobody.
        let _left = fs::remove_dir_all(&self.0);
    }
}

/// A running `throng serve`; killed if the test ends early.
struct Server {
    process: Child,
    address: SocketAddr,
    /// Where the metrics are.
    metrics: String,
    log: Lines,
}

impl Server {
    fn start(folder: &Folder) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_throng"))
            .env_clear()
            .env("THRONG_ENGINE", engine::asked())
            .args([Path::new("serve"), Path::new("--config"), &folder.path("throng.toml")])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built");
        let (address, admin) = banner::serves_at(&mut process);
        let metrics = format!("http://{}/metrics", admin.expect("the file names a port for operators"));
        let log = Lines::of(process.stderr.take().unwrap());
        Self { process, address, metrics, log }
    }

    fn hang_up(&self) {
        self.signal("-HUP");
    }

    fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Reads the log up to a line with this in it.
    fn says(&self, what: &str) -> Vec<String> {
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.contains(what)) {
            said.push(self.log.next(what).unwrap_or_else(|| panic!("it ended without {what:?}: {said:?}")));
        }
        said
    }

    /// A session with a token of this key, if it is let in.
    fn knock(&self, secret: &str) -> Option<WebSocket<TcpStream>> {
        let token = token_of_ann(secret);
        let request = format!("ws://{}/ws?token={token}", self.address);
        let (mut socket, _) = tungstenite::client(request, connect(self.address)).ok()?;
        assert!(hear(&mut socket).contains(r#""type":"welcome""#));
        Some(socket)
    }

    /// Whether a page of this origin gets a session.
    fn knock_from(&self, origin: &str) -> bool {
        let uri = format!("ws://{}/ws", self.address).parse().unwrap();
        let bearer = format!("Bearer {}", token_of_ann(OLD));
        let request = ClientRequestBuilder::new(uri).with_header("Origin", origin).with_header("Authorization", bearer);
        tungstenite::client(request, connect(self.address)).is_ok()
    }

    /// Whether a page of this origin may read what the public routes answer.
    fn may_read(&self, origin: &str) -> bool {
        let answer = ureq::get(format!("http://{}/healthz", self.address)).header("origin", origin).call().unwrap();
        answer.headers().contains_key("access-control-allow-origin")
    }

    /// The status of a call of the API.
    fn calls_with(&self, key: &NewKey) -> u16 {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = self.metrics.replace("/metrics", "/api/v1/rooms");
        agent.get(url).header("authorization", format!("Bearer {}", key.text)).call().unwrap().status().as_u16()
    }

    fn metric(&self, name: &str) -> u64 {
        let text = ureq::get(&self.metrics).call().unwrap().body_mut().read_to_string().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect("a metric");
        line.parse().unwrap()
    }

    fn ends(mut self) {
        self.signal("-TERM");
        assert_eq!(until_some("it has left", || self.process.try_wait().unwrap()).code(), Some(0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already cannot be killed.
        let _ended = self.process.kill();
        let _gone = self.process.wait();
    }
}
