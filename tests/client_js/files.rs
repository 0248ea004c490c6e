//! `clients/js` as a site of its own: what a page of somebody else's would load.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

/// Serves the folder for as long as the process lives; gives the port. `/` is a page in which the tests find what node
/// would give them.
pub(crate) fn serve() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = listener.local_addr().expect("it has an address").port();
    std::thread::Builder::new()
        .spawn(move || {
            for socket in listener.incoming().flatten() {
                // A browser opens connections it may never use: each waits by itself.
                std::thread::Builder::new().spawn(move || answer(socket)).expect("a thread starts");
            }
        })
        .expect("a thread starts");
    port
}

/// Where the client lies.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/js")
}

fn answer(mut socket: TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match socket.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            Ok(_) | Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let (status, kind, body) = match path.as_str() {
        "/" => ("200 OK", "text/html; charset=utf-8", PAGE.as_bytes().to_vec()),
        script if script.ends_with(".js") && !script.contains("..") => {
            match std::fs::read(folder().join(script.trim_start_matches('/'))) {
                Ok(text) => ("200 OK", "text/javascript; charset=utf-8", text),
                Err(_) => ("404 Not Found", "text/plain", Vec::new()),
            }
        }
        _ => ("404 Not Found", "text/plain", Vec::new()),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    // A tab that is gone needs no answer.
    let _written = socket.write_all(&[head.as_bytes(), &body].concat());
}

const PAGE: &str = r#"<!doctype html>
<meta charset="utf-8"><title>clients/js</title>
<script type="importmap">
{"imports": {"node:test": "/tests/in-browser.js", "node:assert/strict": "/tests/in-browser.js"}}
</script>
<body><ol id="log"></ol></body>
"#;
