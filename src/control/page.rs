//! The page of `--dev`: two people talk in two tabs. Its files are part of the binary.
//!
//! Promises: nothing is loaded from elsewhere and nothing inline is run (a strict Content-Security-Policy says so), so
//! that what people write can never become code.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

/// The page and what it is made of.
pub(super) fn routes() -> Router {
    FILES.iter().fold(Router::new(), |router, file| router.route(file.path, get(async || file.answer())))
}

struct File {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

impl File {
    fn answer(&self) -> impl IntoResponse + use<> {
        let headers = [
            (header::CONTENT_TYPE, self.content_type),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-store"),
        ];
        (headers, self.text)
    }
}

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// The client that everybody gets: the page has no other.
const CLIENT: &str = include_str!("../../clients/js/throng.js");

static FILES: [File; 5] = [
    File { path: "/", content_type: "text/html; charset=utf-8", text: include_str!("page/index.html") },
    File { path: "/page.css", content_type: "text/css; charset=utf-8", text: include_str!("page/page.css") },
    File { path: "/page.js", content_type: "text/javascript; charset=utf-8", text: include_str!("page/page.js") },
    File { path: "/throng.js", content_type: "text/javascript; charset=utf-8", text: CLIENT },
    File { path: "/throng.svg", content_type: "image/svg+xml", text: include_str!("page/throng.svg") },
];
