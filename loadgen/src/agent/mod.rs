//! Generator machines that others lend: `throng-load worker --listen`, and how a coordinator reaches them.
//!
//! One TCP connection is one worker. It begins with a handshake, a JSON object a line each: the agent says who it is and a
//! nonce; the coordinator proves by a signature over it that it holds the key, and asks the same of the agent; then clocks are
//! compared. After `begin` the connection is a worker's standard input and output. Promises: nobody without the key is served
//! or trusted; the key and the server's secret never go over the line; both sides must be the same version.

mod reach;
mod serve;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

pub(crate) use reach::{Agent, Reached, reach};
pub(crate) use serve::{WorkerArgs, command};

/// The form of the handshake and of what follows it.
const VERSION: u32 = 3;
const PROGRAM: &str = concat!("throng-load ", env!("CARGO_PKG_VERSION"));
/// Bytes of the longest line of a handshake.
const LINE_BYTES_MAX: u64 = 16 << 10;
/// Bytes of the shortest key.
const KEY_BYTES_MIN: usize = 16;
/// How often clocks are compared; the quickest answer counts.
const CLOCK_READINGS: u32 = 16;

/// What is said in a handshake.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    /// The agent begins.
    Agent {
        version: u32,
        program: String,
        nonce: String,
    },
    /// The coordinator answers, and proves that it holds the key.
    Coordinator {
        version: u32,
        program: String,
        nonce: String,
        proof: String,
    },
    /// The agent proves the same.
    Welcome {
        proof: String,
        cores: usize,
    },
    Refused {
        sentence: String,
    },
    /// What time is it with you?
    Clock {
        number: u32,
    },
    /// By the agent's monotonic clock.
    Time {
        number: u32,
        now_ns: u64,
    },
    /// What follows are orders and reports.
    Begin,
}

/// Who proves something: an answer to one side must be of no use to the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Role {
    Agent,
    Coordinator,
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Claims {
    role: Role,
    nonce: String,
}

/// What both sides know and nobody else.
#[derive(Clone)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    /// Errors: too short to be one.
    pub(crate) fn new(bytes: Vec<u8>) -> Result<Self> {
        ensure!(
            bytes.len() >= KEY_BYTES_MIN,
            "a key of agents has at least {KEY_BYTES_MIN} bytes, this one {}",
            bytes.len()
        );
        Ok(Self(bytes))
    }

    /// For agents that only this host can reach.
    fn of_this_host() -> Self {
        Self(b"for agents that only this host can reach".to_vec())
    }

    fn prove(&self, role: Role, nonce: &str) -> Result<String> {
        let claims = Claims { role, nonce: nonce.to_owned() };
        Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(&self.0))?)
    }

    fn proves(&self, role: Role, nonce: &str, proof: &str) -> bool {
        let mut rules = Validation::new(Algorithm::HS256);
        // The nonce says when it was made; clocks of two hosts may differ.
        rules.validate_exp = false;
        rules.required_spec_claims.clear();
        let claims = jsonwebtoken::decode::<Claims>(proof, &DecodingKey::from_secret(&self.0), &rules);
        claims.is_ok_and(|read| read.claims == Claims { role, nonce: nonce.to_owned() })
    }
}

/// 128 random bits as hex.
fn nonce() -> Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes)).context("/dev/urandom")?;
    Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
}

fn say(mut stream: &TcpStream, word: &Word) -> Result<()> {
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    Ok(stream.write_all(&line)?)
}

/// The next word; errors: the other side has gone, says too much, or something else.
fn hear(reader: &mut BufReader<TcpStream>) -> Result<Word> {
    let mut line = String::new();
    reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut line).context("reading the handshake")?;
    ensure!(!line.is_empty(), "the other side closed the connection");
    ensure!(line.ends_with('\n'), "the other side speaks no handshake of throng-load");
    serde_json::from_str(&line).context("the other side speaks no handshake of throng-load")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_for_one_role_one_nonce_and_one_key() {
        let key = Key::new(b"0123456789abcdef".to_vec()).expect("long enough");
        let (first, second) = (nonce().expect("random"), nonce().expect("random"));
        assert_ne!(first, second);
        let proof = key.prove(Role::Coordinator, &first).expect("signs");
        assert!(key.proves(Role::Coordinator, &first, &proof));
        assert!(!key.proves(Role::Agent, &first, &proof) && !key.proves(Role::Coordinator, &second, &proof));
        let other = Key::new(b"another key of 16".to_vec()).expect("long enough");
        assert!(!other.proves(Role::Coordinator, &first, &proof));
        assert!(!key.proves(Role::Coordinator, &first, "eyJhbGciOiJub25lIn0.e30."), "unsigned");
        assert!(Key::new(b"short".to_vec()).is_err());
    }
}
