//! Who answers what over plain HTTP.
//!
//! Promises: errors are JSON `{"error", "message"}` with a sentence that helps; a token is minted for a loopback peer that
//! asked a loopback name and for nobody else. It must never say anything about a user or a room.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};

use super::api::ApiCounts;
use super::metrics::{self, Scrape};
use super::revoker::Revoker;
use super::{ControlConfig, Desk, Mint, front, page, ready};

/// Who asks: the socket's peer at first, then whom its proxies speak for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// What the public sees: rooms are elsewhere, so this is little.
pub(super) fn public(config: &ControlConfig, admin: &Router) -> Router {
    let look = || Arc::clone(&config.look);
    let public = Router::new().merge(ready::health_routes(look())).route("/ws", get(upgrade_required));
    let public = match &config.dev {
        Some(mint) => public.merge(page::routes()).route("/dev/token", get(dev_token).with_state(Arc::clone(mint))),
        None => public,
    };
    // What operators see is not for pages: no page of another origin may read it.
    let public = public
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(Arc::clone(&config.front), front::cors));
    let router = match config.admin_on_public {
        true => public.fallback_service(admin.clone()),
        false => public
            .fallback(async || no(StatusCode::NOT_FOUND, "not_found", "there is nothing here; rooms are at /ws"))
            .method_not_allowed_fallback(not_allowed),
    };
    router.layer(from_fn_with_state(Arc::clone(&config.front), front::find_client))
}

async fn not_allowed() -> Response {
    no(StatusCode::METHOD_NOT_ALLOWED, "method", "only GET is answered here")
}

/// What operators look at; mounted on the admin listener. `refused` counts sockets turned away before they came so far.
pub(super) fn operations(
    config: &ControlConfig,
    refused: Arc<AtomicU64>,
    api: Arc<ApiCounts>,
    desk: &Desk,
    revoker: &Revoker,
) -> Router {
    let (shards, desk, revoker) = (Arc::clone(&config.scrape), desk.clone(), revoker.clone());
    let scrape: Scrape = Arc::new(move || {
        let mut families = shards();
        families.extend(api.families(desk.late()));
        families.extend(revoker.families());
        families
    });
    let look = || Arc::clone(&config.look);
    let health = ready::health_routes(look()).merge(ready::ready_routes(look()));
    health.merge(metrics::routes(scrape, refused))
}

async fn upgrade_required() -> Response {
    let sentence = "this is a WebSocket address: connect with a WebSocket client and offer the subprotocol \
                    throng.v1.json or throng.v1.msgpack";
    let mut response = no(StatusCode::UPGRADE_REQUIRED, "upgrade_required", sentence);
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

#[derive(Deserialize)]
struct TokenQuery {
    user: Option<String>,
}

#[derive(Serialize)]
struct MintedToken {
    token: String,
}

async fn dev_token(
    State(mint): State<Mint>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    Query(query): Query<TokenQuery>,
) -> Response {
    // The name too, not only the address: a page of another site whose name was pointed at 127.0.0.1 shall not have one.
    // Nor whoever comes by a tunnel that ends here and was not named as a proxy.
    if !peer.to_canonical().is_loopback() || !names_this_host(&headers) || speaks_for_others(&headers) {
        let sentence = "tokens are given away to this host only, at localhost or 127.0.0.1; \
                        elsewhere make one with: throng token --user U";
        return no(StatusCode::FORBIDDEN, "forbidden", sentence);
    }
    let Some(user) = query.user else {
        return no(StatusCode::BAD_REQUEST, "bad_request", "say for whom: /dev/token?user=ann");
    };
    match mint(&user) {
        Ok(token) => ([(header::CACHE_CONTROL, "no-store")], Json(MintedToken { token })).into_response(),
        Err(sentence) => no(StatusCode::BAD_REQUEST, "bad_request", &sentence),
    }
}

/// Whether `Host` is a loopback name, whatever the port.
fn names_this_host(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether somebody on the way says that it speaks for another host.
fn speaks_for_others(headers: &HeaderMap) -> bool {
    let is_here = |hop: &str| hop.trim().parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    let hops = |value: &HeaderValue| value.to_str().is_ok_and(|hops| hops.split(',').all(is_here));
    headers.contains_key(header::FORWARDED) || !headers.get_all("x-forwarded-for").iter().all(hops)
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    message: &'a str,
}

pub(super) fn no(status: StatusCode, error: &str, message: &str) -> Response {
    (status, Json(ErrorBody { error, message })).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_name_this_host() {
        let named = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            names_this_host(&headers)
        };
        for good in ["localhost", "LocalHost:8080", "127.0.0.1:1", "127.1.2.3", "[::1]:8080", "[::1]"] {
            assert!(named(good), "{good}");
        }
        for bad in [
            "",
            ":80",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "10.0.0.1",
            "localhost:",
            "a@localhost",
        ] {
            assert!(!named(bad), "{bad}");
        }
        assert!(!names_this_host(&HeaderMap::new()));
    }

    #[test]
    fn whoever_is_forwarded_from_elsewhere_is_not_of_this_host() {
        let forwarded = |name: &'static str, hops: &'static str| {
            speaks_for_others(&HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(hops))]))
        };
        assert!(!speaks_for_others(&HeaderMap::new()));
        assert!(!forwarded("x-forwarded-for", "127.0.0.1, ::1"));
        for hops in ["203.0.113.9", "127.0.0.1, 203.0.113.9", "unknown", ""] {
            assert!(forwarded("x-forwarded-for", hops), "{hops}");
        }
        assert!(forwarded("forwarded", "for=127.0.0.1"));
    }
}
