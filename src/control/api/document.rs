//! The API described for programs: OpenAPI, made from the code that answers.

use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use super::{Problem, people, publish, rooms, tokens};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "throng",
        description = "A backend speaks, an operator sees and stops. Stands on the admin listener (`--admin-listen`). \
                       `POST` calls take an `Idempotency-Key` header of 1 to 128 printable characters: made again \
                       within ten minutes with the same key and body, a call is answered as it was, with \
                       `Idempotency-Replayed: true`, and nothing is done twice."
    ),
    servers((url = "/api/v1")),
    paths(
        publish::publish,
        publish::publish_batch,
        publish::broadcast,
        publish::send,
        people::connections,
        people::disconnect_user,
        people::disconnect_connection,
        people::disconnect_room,
        rooms::rooms,
        rooms::presence,
        rooms::history,
        rooms::top,
        tokens::ticket,
        tokens::revoke,
    ),
    components(schemas(Problem)),
    modifiers(&Additions),
    security(("key" = []))
)]
struct Document;

/// What every call has and no call should have to say.
struct Additions;

impl Modify for Additions {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let key = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A key of `throng api-key new`; the server knows its SHA-256"))
            .build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(key));
        let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let no = ResponseBuilder::new()
            .description("It was not done: why, and what to do")
            .content("application/problem+json", problem)
            .build();
        for path in openapi.paths.paths.values_mut() {
            for operation in [&mut path.get, &mut path.post].into_iter().flatten() {
                operation.responses.responses.insert("default".to_owned(), RefOr::T(no.clone()));
            }
        }
    }
}

/// The document, as `docs/openapi.json` has it.
pub fn document() -> String {
    // It is made of strings and maps with string keys.
    let mut text = Document::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

pub(super) async fn serve() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document())
}
