//! The server behind the proxies of `tuning/proxies`, as they come with Debian: the example files themselves run, with other
//! ports and paths.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use socket2::{Domain, Socket, Type};
use tungstenite::handshake::HandshakeError;
use tungstenite::{Error, Message, WebSocket};

use crate::process::{Server, free_address};
use crate::support::until::{PATIENCE, patient, until};
use crate::support::{FAR_FUTURE, hear, token};
use crate::{get, talk};

/// One place for each address, two in all, and addresses of this host are counted like others.
const FEW_PLACES: [&str; 8] = [
    "--shards",
    "1",
    "--max-connections",
    "2",
    "--trusted-proxies",
    "127.0.0.1/32",
    "THRONG_LIMITS_UNCOUNTED=192.0.2.0/24",
    "THRONG_LIMITS_CONNECTIONS_PER_ADDRESS_MAX=1",
];

/// A running proxy in a folder of its own; both go when dropped.
struct Proxy {
    process: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Proxy {
    /// Runs `program` with the example `file`, in which each first is replaced by its second, and waits until it listens.
    fn start(program: &str, file: &str, replaced: &[(&str, String)], arguments: &[&str], address: SocketAddr) -> Self {
        let folder = std::env::temp_dir().join(format!("throng-{program}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        // nginx's workers may be somebody else.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let folder_name = folder.display().to_string();
        let mut text = example(file);
        for (from, to) in replaced {
            assert!(text.contains(from), "{file} has no {from}");
            text = text.replace(from, &to.replace("FOLDER", &folder_name));
        }
        let config = folder.join(file);
        fs::write(&config, text).unwrap();
        let arguments = arguments.iter().map(|argument| argument.replace("FOLDER", &folder_name));
        let started = Command::new(find(program)).args(arguments).stdin(Stdio::null()).spawn();
        let mut proxy = Self { process: started.unwrap(), folder, address };
        until(&format!("{program} listens"), || {
            assert!(proxy.process.try_wait().unwrap().is_none(), "{program} ended; its reason stands above");
            TcpStream::connect(address).is_ok()
        });
        proxy
    }

    /// Opens a session from this address, through the proxy.
    fn open(&self, from: Ipv4Addr, user: &str) -> Result<WebSocket<TcpStream>, u16> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
        socket.connect(&self.address.into()).unwrap();
        let url = format!("ws://{}/ws?token={}", self.address, token(user, FAR_FUTURE, None));
        match tungstenite::client(url, patient(TcpStream::from(socket))) {
            Ok((mut socket, _)) => {
                assert!(hear(&mut socket).contains(r#""type":"welcome""#));
                Ok(socket)
            }
            Err(HandshakeError::Failure(Error::Http(answer))) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Asked, not killed: its workers are to end, too.
        crate::process::signal(self.process.id(), "TERM");
        let _reaped = self.process.wait();
        let _gone = fs::remove_dir_all(&self.folder);
    }
}

fn example(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/proxies").join(file)).unwrap()
}

/// Debian's proxies lie in /usr/sbin, which is not in everybody's path.
fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(program)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{program} is needed for this test: ./tuning/ready test installs it"))
}

const ANN_IS_AT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);
const BOB_IS_AT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 78);

/// People come in by their own addresses, talk, and are sent away; `when_full` is called when all places are taken.
fn prove(server: Server, proxy: &Proxy, when_full: impl FnOnce()) {
    let mut ann = proxy.open(ANN_IS_AT, "ann").unwrap();
    assert_eq!(proxy.open(ANN_IS_AT, "cid").err(), Some(429), "her address has had its place");
    let mut bob = proxy.open(BOB_IS_AT, "bob").expect("his address is another, though the proxy's is the same");
    talk(&mut ann, &mut bob);
    when_full();

    server.signal("TERM");
    for person in [&mut ann, &mut bob] {
        assert!(hear(person).starts_with(r#"{"type":"drain","reconnect_in_ms":"#));
    }
    for mut person in [ann, bob] {
        let goodbye = loop {
            if let Message::Close(goodbye) = person.read().unwrap() {
                break goodbye.unwrap();
            }
        };
        assert_eq!(u16::from(goodbye.code), 1012);
    }
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn through_nginx_people_are_who_they_are_and_everything_passes() {
    let server = Server::start(free_address(), &[FEW_PLACES.as_slice(), &["--drain-budget-ms", "1500"]].concat());
    let address = free_address();
    let replaced = [
        ("127.0.0.1:8080", server.address.to_string()),
        ("127.0.0.1:8081", server.admin.to_string()),
        ("listen 80;", format!("listen {address};")),
        ("/var/log/nginx/throng.log", "FOLDER/access.log".to_owned()),
        ("/var/log/nginx/throng-error.log", "FOLDER/error.log".to_owned()),
        ("worker_rlimit_nofile 200000;", String::new()),
        ("worker_connections 100000;", "worker_connections 100;".to_owned()),
        ("http {", format!("http {{ {}", TEMPORARY.map(|what| format!("{what}_temp_path FOLDER/{what};")).concat())),
    ];
    let own = "daemon off; error_log stderr warn; pid FOLDER/pid;";
    let arguments = ["-c", "FOLDER/nginx.conf", "-p", "FOLDER", "-e", "stderr", "-g", own];
    let proxy = Proxy::start("nginx", "nginx.conf", &replaced, &arguments, address);
    let (status, body) = get(proxy.address, "/readyz");
    assert!(status == "200" && body.contains(r#""ready":true"#), "{status} {body}");
    prove(server, &proxy, || {
        let (status, body) = get(proxy.address, "/readyz");
        assert!(status == "503" && body.contains("full"), "{status} {body}");
    });
    // The server has gone, and nginx has something to say about who asks now.
    assert_eq!(get(proxy.address, "/ws?token=SECRETMARK").0, "502");
    let log = |name: &str| fs::read_to_string(proxy.folder.join(name)).unwrap();
    // A request is logged when its answer is out.
    until("the last request is logged", || log("access.log").contains(" 502 "));
    let (access, error) = (log("access.log"), log("error.log"));
    assert!(access.contains("127.0.0.77") && access.contains(" 429 "), "{access}");
    assert!(!access.contains("token=") && !error.contains("token="), "{access}\n{error}");
}

/// What nginx wants a folder for.
const TEMPORARY: [&str; 5] = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

#[test]
fn through_haproxy_people_are_who_they_are_and_a_full_server_gets_nobody_more() {
    let more = ["--drain-budget-ms", "1500", "THRONG_PROXIES_PROTOCOL=true"];
    let server = Server::start(free_address(), &[FEW_PLACES.as_slice(), &more].concat());
    let address = free_address();
    let replaced = [
        ("127.0.0.1:8080", server.address.to_string()),
        ("check port 8081", format!("check port {}", server.admin.port())),
        ("bind :80\n", format!("bind {address}\n")),
        ("/run/haproxy/admin.sock", "FOLDER/stats".to_owned()),
        ("maxconn 100000", "maxconn 100".to_owned()),
        ("inter 2s", "inter 100ms".to_owned()),
    ];
    let proxy = Proxy::start("haproxy", "haproxy.cfg", &replaced, &["-f", "FOLDER/haproxy.cfg"], address);
    let stats = proxy.folder.join("stats");
    until_checked(&stats, "L7OK");
    prove(server, &proxy, || until_checked(&stats, "L7STS"));
}

/// Waits until the last health check ended like this.
fn until_checked(stats: &Path, result: &str) {
    until(&format!("a health check ends with {result}"), || {
        // The proxy makes this socket after it has begun to listen.
        let Ok(mut socket) = UnixStream::connect(stats) else { return false };
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(b"show stat\n").unwrap();
        let mut table = String::new();
        socket.read_to_string(&mut table).unwrap();
        let server = table.lines().find(|line| line.starts_with("throng,throng1,")).expect("the server is known");
        server.split(',').any(|cell| cell.trim_start_matches("* ") == result)
    });
}

#[test]
fn the_examples_let_a_connection_be_silent_for_a_day() {
    for line in ["proxy_read_timeout 86400s;", "proxy_send_timeout 86400s;", "proxy_buffering    off;"] {
        assert!(example("nginx.conf").contains(line), "{line}");
    }
    let haproxy = example("haproxy.cfg");
    assert!(haproxy.contains("timeout tunnel  86400s") && !haproxy.lines().any(|line| line.trim() == "option httplog"));
}
