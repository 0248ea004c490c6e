//! A question by HTTP and its whole answer. The crate that has this has `support`, too.

use std::io::{Read, Write};
use std::net::SocketAddr;

use crate::support::until::connect;

/// Status and body of an answer.
pub(crate) fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = connect(address);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}
