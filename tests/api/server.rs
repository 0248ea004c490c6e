//! A real server, operators who call its API, and people on its sockets.

#[path = "../support/banner.rs"]
pub(crate) mod banner;
#[path = "../support/engine.rs"]
pub(crate) mod engine;
#[path = "../support/until.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod until;

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use throng::control::NewKey;
use throng::runtime::clock::Clock;
use throng::wire::token::{Algorithm, sign_hmac};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};
use until::PATIENCE;
pub(crate) use until::{connect, until_some};
use ureq::Agent;

pub(crate) const SECRET: &str = "only for this test, 32 bytes long!";

/// The server under test; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) public: SocketAddr,
    /// `None`: it is off.
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) key: String,
    agent: Agent,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) retry_after: Option<u64>,
    pub(crate) replayed: bool,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of an answer that must be a 200.
    pub(crate) fn good(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }
}

impl Server {
    /// On free ports of this host, with one API key called `backend`.
    pub(crate) fn start() -> Self {
        Self::with(&["--admin-listen", "127.0.0.1:0"], true)
    }

    pub(crate) fn with(arguments: &[&str], with_key: bool) -> Self {
        let new = NewKey::draw().expect("the system gives randomness");
        let mut command = throng();
        command.args(["serve", "--listen", "127.0.0.1:0", "--shards", "2", "--default-grants", EVERYTHING]);
        if with_key {
            command.args(["--api-key-sha256", &format!("backend={}", new.sha256)]);
        }
        let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().expect("the server starts");
        let (public, admin) = banner::serves_at(&mut child);
        let agent = Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into();
        Self { child, public, admin, key: new.text, agent }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin.expect("there is an admin listener"))
    }

    /// A call of the API with the server's key.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.get_with(&self.url(&format!("/api/v1{path}")), Some(&self.key))
    }

    /// Any `GET`, with any key.
    pub(crate) fn get_with(&self, url: &str, key: Option<&str>) -> Answer {
        let mut request = self.agent.get(url);
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        read(request.call().expect("it answers"))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string(), &[])
    }

    pub(crate) fn post_text(&self, path: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.post(self.url(&format!("/api/v1{path}")));
        request = request.header("authorization", format!("Bearer {}", self.key));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.send(body).expect("it answers"))
    }

    /// Somebody comes and is welcomed.
    pub(crate) fn comes(&self, user: &str) -> WebSocket<TcpStream> {
        self.comes_by(user, None)
    }

    /// By a token of this name.
    pub(crate) fn comes_by(&self, user: &str, jti: Option<&str>) -> WebSocket<TcpStream> {
        let mut claims = json!({"sub": user, "exp": Clock::start().now().unix_ms / 1_000 + 3_600});
        claims.as_object_mut().expect("claims are an object").extend(jti.map(|jti| ("jti".to_owned(), json!(jti))));
        let token = sign_hmac(Algorithm::Hs256, None, SECRET.as_bytes(), &claims).expect("good claims");
        let stream = connect(self.public);
        let mut request = format!("ws://{}/ws", self.public).into_client_request().expect("a good address");
        let bearer = format!("Bearer {token}").parse().expect("a token is plain");
        request.headers_mut().insert("authorization", bearer);
        let (mut socket, _) = tungstenite::client(request, stream).expect("a good token is let in");
        assert!(hear(&mut socket).contains(r#""type":"welcome""#));
        socket
    }

    /// Somebody comes with a ticket; what is heard first.
    pub(crate) fn comes_with_ticket(&self, ticket: &str) -> Result<String, tungstenite::Error> {
        let stream = connect(self.public);
        let url = format!("ws://{}/ws?ticket={ticket}", self.public);
        let (mut socket, _) = tungstenite::client(url, stream).map_err(|error| match error {
            tungstenite::HandshakeError::Failure(error) => error,
            tungstenite::HandshakeError::Interrupted(_) => panic!("the socket waits for its peer"),
        })?;
        Ok(hear(&mut socket))
    }

    /// Somebody comes and sits down.
    pub(crate) fn sits(&self, user: &str, room: &str) -> WebSocket<TcpStream> {
        let mut socket = self.comes(user);
        let join = format!(r#"{{"type":"join","id":1,"room":"{room}"}}"#);
        socket.send(Message::text(join)).expect("an open socket");
        assert!(hear(&mut socket).contains(r#""type":"reply""#));
        socket
    }

    /// A verb of the command line, asked of this server by its key.
    pub(crate) fn verb(&self, arguments: &[&str]) -> Output {
        let mut command = throng();
        command.args(arguments).args(["--admin", &self.url("")]).env("THRONG_API_KEY", &self.key);
        command.output().expect("it runs")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The binary, in an environment of its own.
pub(crate) fn throng() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_throng"));
    command.env("THRONG_JWT_HS256_SECRET", SECRET);
    for variable in ["THRONG_JWT_SECRET_FILE", "THRONG_ADMIN_LISTEN", "THRONG_API_KEY", "THRONG_API_KEY_FILE"] {
        command.env_remove(variable);
    }
    command
}

/// The next message that is text; heartbeats are answered on the way.
pub(crate) fn hear(socket: &mut WebSocket<TcpStream>) -> String {
    until_some("a message comes", || {
        let message = socket.read().expect("a message");
        message.is_text().then(|| message.to_text().expect("it is text").to_owned())
    })
}

/// The close code that ends it.
pub(crate) fn closed(mut socket: WebSocket<TcpStream>) -> u16 {
    until_some("it is closed", || {
        let Message::Close(frame) = socket.read().expect("a close frame") else { return None };
        frame.map(|frame| frame.code.into())
    })
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Answer {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (content_type, retry_after) = (header("content-type"), header("retry-after"));
    let (status, replayed) = (response.status().as_u16(), header("idempotency-replayed").is_some());
    Answer {
        status,
        content_type: content_type.unwrap_or_default(),
        retry_after: retry_after.and_then(|text| text.parse().ok()),
        replayed,
        text: response.body_mut().read_to_string().expect("a body of text"),
    }
}

const EVERYTHING: &str = r#"[{"match":"*","can":["join","publish","presence","history"]}]"#;
