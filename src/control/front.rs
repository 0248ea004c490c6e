//! What the public routes know of the outside: whose request this is, and whose page may read the answer (CORS).
//!
//! Promises: a request's client is found anew for each request, since a proxy sends those of many over one connection; an
//! answer names an origin only if it is allowed, and never allows credentials. Must never decide who may do what.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::routes::{Peer, no};
use crate::wire::{Checked, Origins, Proxies};

/// The rules of the front door as they are now; asked for at each request.
pub type FrontDoor = Arc<dyn Fn() -> (Origins, Proxies) + Send + Sync>;

/// Who asks: `named` is the socket's peer, or whom a PROXY header named.
pub(super) fn client(front: &FrontDoor, named: IpAddr, headers: &HeaderMap) -> IpAddr {
    let (_, proxies) = front();
    proxies.client(named, headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes))
}

/// Puts the client of each request where the routes find it.
pub(super) async fn find_client(State(front): State<FrontDoor>, mut request: Request, next: Next) -> Response {
    if let Some(Peer(named)) = request.extensions().get::<Peer>().copied() {
        let client = client(&front, named, request.headers());
        request.extensions_mut().insert(Peer(client));
    }
    next.run(request).await
}

/// Lets pages of allowed origins read the answers of public routes, and tells others why not when they ask beforehand.
pub(super) async fn cors(State(front): State<FrontDoor>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let Some(origin) = headers.get(header::ORIGIN).cloned() else { return next.run(request).await };
    let (origins, _) = front();
    let text = |value: Option<&HeaderValue>| value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let one = headers.get_all(header::ORIGIN).iter().count() == 1;
    let checked = origins.check(text(Some(&origin)).as_deref(), text(headers.get(header::HOST)).as_deref());
    let allowed = one && matches!(checked, Checked::Allowed | Checked::Listed);
    let asks_before =
        request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match (asks_before, allowed) {
        (true, true) => preflight(),
        (true, false) => {
            no(StatusCode::FORBIDDEN, "origin", "this page's origin is not allowed here: the operator lists origins")
        }
        (false, _) => next.run(request).await,
    };
    let answer = response.headers_mut();
    answer.append(header::VARY, HeaderValue::from_static("Origin"));
    if allowed {
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

fn preflight() -> Response {
    let allows = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, allows).into_response()
}
