//! A client of the server's HTTP API, for the verbs of the command line.
//!
//! Promises: the key goes into one header and nowhere else; whatever the server says is told as it said it; no answer is
//! read without bound.

use std::fs;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::Agent;
use ureq::http::Response;

use super::Failure;
use super::args::ApiArgs;

/// One server and whose key it is asked with.
pub(crate) struct AdminClient {
    agent: Agent,
    base: String,
    key: Option<String>,
}

impl AdminClient {
    pub(crate) fn new(args: &ApiArgs) -> Result<Self, Failure> {
        let base = args.admin.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") {
            let sentence = format!("--admin {base} is not an http:// address, such as http://127.0.0.1:8081");
            return Err(Failure::Misused(sentence));
        }
        let key = match &args.key_file {
            Some(path) => {
                let text = fs::read_to_string(path).map_err(|error| {
                    Failure::Misused(format!("the key file {} cannot be read: {error}", path.display()))
                })?;
                Some(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            None => args.key.clone(),
        };
        let config = Agent::config_builder()
            .timeout_connect(Some(CONNECT_TIME_MAX))
            .timeout_global(Some(CALL_TIME_MAX))
            .http_status_as_error(false);
        Ok(Self { agent: config.build().into(), base, key })
    }

    /// A call of the API that changes nothing.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T, Failure> {
        let mut request = self.agent.get(format!("{}/api/v1{path}", self.base));
        for (name, value) in query {
            request = request.query(name, value);
        }
        if let Some(bearer) = self.bearer()? {
            request = request.header("authorization", bearer);
        }
        self.answer(request.call())
    }

    /// A call of the API that does something.
    pub(crate) fn post(
        &self,
        path: &str,
        body: &impl Serialize,
        idempotency_key: Option<&str>,
    ) -> Result<Value, Failure> {
        let body = serde_json::to_string(body).map_err(|error| Failure::Broken(error.to_string()))?;
        let mut request =
            self.agent.post(format!("{}/api/v1{path}", self.base)).header("content-type", "application/json");
        if let Some(bearer) = self.bearer()? {
            request = request.header("authorization", bearer);
        }
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        self.answer(request.send(body))
    }

    /// What `/metrics` says of some metrics without labels, in this order.
    pub(crate) fn metrics<const N: usize>(&self, names: [&str; N]) -> Result<[u64; N], Failure> {
        let answer = self.agent.get(format!("{}/metrics", self.base)).call();
        let text = self.text(answer)?.1;
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        Ok(names.map(|name| value(name).unwrap_or(0)))
    }

    fn bearer(&self) -> Result<Option<String>, Failure> {
        let Some(key) = &self.key else { return Ok(None) };
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::Misused("the API key is not one line of printable characters".to_owned()));
        }
        Ok(Some(format!("Bearer {key}")))
    }

    fn answer<T: DeserializeOwned>(&self, answer: Result<Response<ureq::Body>, ureq::Error>) -> Result<T, Failure> {
        let (good, text) = self.text(answer)?;
        let strange = |_| Failure::Broken(format!("{} does not answer as a throng server does", self.base));
        if good {
            return serde_json::from_str(&text).map_err(strange);
        }
        let value: Value = serde_json::from_str(&text).map_err(strange)?;
        let said = |name: &str| value[name].as_str().unwrap_or("?").to_owned();
        Err(Failure::Broken(format!("{} ({})", said("message"), said("code"))))
    }

    fn text(&self, answer: Result<Response<ureq::Body>, ureq::Error>) -> Result<(bool, String), Failure> {
        let broken = |error: ureq::Error| Failure::Broken(format!("{} does not answer: {error}", self.base));
        let mut response = answer.map_err(broken)?;
        let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(broken)?;
        Ok((response.status().is_success(), text))
    }
}

/// A piece of a path: what is not plain is percent-encoded.
pub(crate) fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'@');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Above what the server gives its shards, and the longest wait of `tail`.
const CALL_TIME_MAX: Duration = Duration::from_secs(70);
const ANSWER_BYTES_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_one_piece_of_a_path() {
        assert_eq!(segment("chat:lobby/en+x@y"), "chat:lobby%2Fen%2Bx@y");
        assert_eq!(segment("Zoë ?#"), "Zo%C3%AB%20%3F%23");
    }
}
