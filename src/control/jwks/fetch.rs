//! One fetch: a GET with an end.
//!
//! Promises: bounded in time and bytes; redirects are not followed (an issuer's keys come from the address the operator
//! wrote, RFC 8725, 2.9); TLS is checked against the system's certificates, or those of the operator's file and no
//! others. Errors are sentences.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{ACCEPT, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::JwksRules;

/// Fetches from one address.
pub(super) struct Fetcher {
    client: Way,
    uri: Uri,
    timeout: Duration,
    body_bytes_max: usize,
}

enum Way {
    Plain(Client<HttpConnector, Empty<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>),
}

impl Fetcher {
    /// The rules must have passed [`JwksRules::check`].
    pub(super) fn new(rules: &JwksRules) -> Result<Self, String> {
        let uri: Uri = rules.url.parse().map_err(|error| format!("{} is not a URL: {error}", rules.shown()))?;
        let builder = Client::builder(TokioExecutor::new());
        let client = if uri.scheme_str() == Some("https") {
            let connector = HttpsConnectorBuilder::new();
            let tls = match &rules.ca_file {
                Some(path) => connector.with_tls_config(vouched_for_by(path)?),
                None => connector.with_native_roots().map_err(|error| {
                    let url = rules.shown();
                    format!("this host has no certificates to check {url} with (install ca-certificates): {error}")
                })?,
            };
            Way::Tls(builder.build(tls.https_only().enable_http1().build()))
        } else {
            Way::Plain(builder.build_http())
        };
        let timeout = Duration::from_millis(rules.timeout_ms);
        Ok(Self { client, uri, timeout, body_bytes_max: rules.body_bytes_max })
    }

    /// The body of a 200.
    pub(super) async fn fetch(&self) -> Result<Bytes, String> {
        match tokio::time::timeout(self.timeout, self.ask()).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no whole answer within {} ms", self.timeout.as_millis())),
        }
    }

    async fn ask(&self) -> Result<Bytes, String> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/jwk-set+json, application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("throng/", env!("CARGO_PKG_VERSION"))));
        let response = match &self.client {
            Way::Plain(client) => client.request(request).await,
            Way::Tls(client) => client.request(request).await,
        };
        let response = response.map_err(|error| with_causes(&error))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(format!("it answered {status}: redirects are not followed, give the address itself"));
        }
        if status != hyper::StatusCode::OK {
            return Err(format!("it answered {status}"));
        }
        let body = Limited::new(response.into_body(), self.body_bytes_max).collect().await;
        Ok(body.map_err(|error| format!("the answer broke off or is too long: {error}"))?.to_bytes())
    }
}

/// TLS for servers that these certificates vouch for, and no others.
pub(super) fn vouched_for_by(path: &Path) -> Result<ClientConfig, String> {
    let at = path.display();
    let unread = |error: &dyn std::fmt::Display| format!("the certificates in {at} cannot be read: {error}");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unread(&error))? {
        let certificate = certificate.map_err(|error| unread(&error))?;
        roots.add(certificate).map_err(|error| unread(&error))?;
    }
    if roots.is_empty() {
        return Err(format!("there is no certificate in {at}: PEM is expected, -----BEGIN CERTIFICATE-----"));
    }
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// An error and what lies below it, since the top says "client error" only.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        sentence.push_str(": ");
        sentence.push_str(&error.to_string());
        cause = error.source();
    }
    sentence
}
