//! `docs/errors.md` is written from `CloseReason` and `Refusal`, and nobody else.
//!
//! After a wanted change: `THRONG_BLESS=1 cargo test --test errors`, then read the difference: people act on that page.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fmt::Write;
use std::fs;
use std::path::Path;

use throng::wire::{CloseReason, Refusal};

#[test]
fn the_page_of_errors_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
    // Compiled in by the one who blesses: nothing here reads the environment when it runs.
    if option_env!("THRONG_BLESS").is_some() {
        fs::write(&path, page()).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), page(), "THRONG_BLESS=1 cargo test --test errors writes it anew");
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str(CLOSES);
    for reason in CloseReason::ALL {
        if let Some(code) = reason.code() {
            let status = reason.http_status().map_or_else(String::new, |status| status.to_string());
            let (name, message, advice) = (reason.name(), reason.message(), reason.advice());
            let back = back(reason);
            writeln!(page, "| {code} | `{name}` | {status} | {message} | {advice} | {back} |").unwrap();
        }
    }
    page.push_str(ANSWERS);
    for reason in CloseReason::ALL.into_iter().filter(|reason| reason.code().is_none()) {
        if let Some(status) = reason.http_status() {
            let wait = reason.retry_after_s().map_or_else(String::new, |wait_s| format!("{wait_s} s"));
            let (name, message, advice) = (reason.name(), reason.message(), reason.advice());
            let back = back(reason);
            writeln!(page, "| {status} | `{name}` | {wait} | {message} | {advice} | {back} |").unwrap();
        }
    }
    page.push_str(SILENT);
    for reason in CloseReason::ALL {
        if reason.code().is_none() && reason.http_status().is_none() {
            writeln!(page, "| `{}` | {} | {} |", reason.name(), reason.message(), reason.advice()).unwrap();
        }
    }
    page.push_str(REFUSALS);
    for refusal in Refusal::ALL {
        let wait = refusal.retry_after_ms().map_or_else(|| "no".to_owned(), |wait_ms| format!("after {wait_ms} ms"));
        writeln!(page, "| `{}` | {} | {} | {wait} |", refusal.code(), refusal.message(), refusal.advice()).unwrap();
    }
    page
}

fn back(reason: CloseReason) -> &'static str {
    if reason.may_retry() { "yes" } else { "no" }
}

const HEAD: &str = "# Errors

Written by `tests/errors.rs` from the code; changes are made there. The texts are for people: a client decides by code \
and range. Every one of them is a label of a counter: ends in `throng_closes_total{reason}`, refusals in \
`throng_refusals_total{code}`.
";

const CLOSES: &str = "
## The connection ends: close codes

4000–4499: come back, with backoff. 4500–4999: do not. A client that offered no `throng.v1.*` gets the HTTP status \
instead, with `{\"error\": name, \"message\": text}`, where the refusal comes before the upgrade.

| code | name | HTTP | meaning | what to do | come back |
|---|---|---|---|---|---|
";

const ANSWERS: &str = "
## The connection never begins: HTTP answers

To everybody, before any token is looked at.

| status | name | `Retry-After` | meaning | what to do | come back |
|---|---|---|---|---|---|
";

const SILENT: &str = "
## Ends without a word

Only logs and counters know them.

| name | meaning | what to do |
|---|---|---|
";

const REFUSALS: &str = "
## A command is refused: `error`

The connection lives.

| code | meaning | what to do | again |
|---|---|---|---|
";
