//! How a server is reached: its address taken apart, and the secret by which tokens are signed.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// The secret by which tokens are signed, given or in a file.
pub(crate) fn secret_of(given: Option<&str>, file: Option<&Path>) -> Result<Vec<u8>> {
    if let Some(secret) = given {
        return Ok(secret.as_bytes().to_vec());
    }
    let Some(path) = file else {
        bail!("the server's secret is needed to sign tokens: --secret-file FILE or THRONG_LOAD_SECRET");
    };
    let bytes = std::fs::read(path).with_context(|| format!("--secret-file {}", path.display()))?;
    // As the server reads it: the end of the line is not part of the secret, anything else is.
    let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    ensure!(!secret.is_empty(), "--secret-file {} is empty", path.display());
    Ok(secret.to_vec())
}

/// `host:port` and the request target of a `ws://` address.
pub(crate) fn split_url(url: &str) -> Result<(String, String)> {
    let rest = url.strip_prefix("ws://").with_context(|| format!("--url {url}: only ws:// is spoken"))?;
    let (host, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    ensure!(
        !host.is_empty() && !rest.contains(|c: char| c.is_whitespace() || c.is_control()),
        "--url {url}: no address"
    );
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let host = if has_port { host.to_owned() } else { format!("{host}:80") };
    Ok((host, if target.is_empty() { "/".to_owned() } else { target.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let parts = |url| split_url(url).ok();
        assert_eq!(parts("ws://127.0.0.1:8080/ws"), Some(("127.0.0.1:8080".to_owned(), "/ws".to_owned())));
        assert_eq!(parts("ws://localhost"), Some(("localhost:80".to_owned(), "/".to_owned())));
        assert_eq!(parts("ws://[::1]:9/x?y=1"), Some(("[::1]:9".to_owned(), "/x?y=1".to_owned())));
    }
}
