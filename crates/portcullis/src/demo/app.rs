//! The small application that stands behind the gate in `portcullis demo`, and nowhere else.
//!
//! It has no security code at all, on purpose: a board of notes, kept in memory. Who is calling
//! it learns from the gate's assertion.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Html;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use serde::{Deserialize, Serialize};

const MOST_NOTES: usize = 200;

#[derive(Clone, Default)]
struct Board(Arc<Mutex<Vec<Note>>>);

#[derive(Clone, Serialize)]
struct Note {
    by: String,
    text: String,
}

#[derive(Deserialize)]
struct NewNote {
    text: String,
}

/// The application's routes.
pub(super) fn router() -> Router {
    let keys = nobodys_key();
    Router::new()
        .route("/", get(home))
        .route("/board", get(board))
        .route("/api/notes", get(list).post(add))
        .route("/api/notes/clear", post(clear))
        .route(
            "/api/internal/debug",
            get(async || "nobody should ever see this"),
        )
        .route("/api/profiles/{user}", get(async || "a profile"))
        .route(
            "/orgs/{org}/notes",
            get(async || "notes of an organization"),
        )
        .route("/api/news", get(async || "no news is good news"))
        .route("/api/export", get(list))
        .route("/api/files", post(async || "taken"))
        .route("/widget/{tenant}", get(widget))
        .route(
            "/api/visits/{visitor}",
            get(async || "what this visitor wrote"),
        )
        // What the gate tells the product, and where it reports errors to.
        .route("/webhooks/payments", post(async || StatusCode::NO_CONTENT))
        .route("/alerts", post(async || StatusCode::OK))
        .route("/api/1/envelope/", post(async || StatusCode::OK))
        .route(
            "/.well-known/jwks.json",
            get(async move || Json(keys.clone())),
        )
        .with_state(Board::default())
}

/// The other issuer's keys: one whose modulus is a number of the machine's random bits and no product that
/// anybody made, so that nobody signs under it and none of its tokens counts.
fn nobodys_key() -> serde_json::Value {
    let mut modulus: Vec<u8> = (0..16)
        .flat_map(|_| uuid::Uuid::new_v4().into_bytes())
        .collect();
    for end in [0, modulus.len().saturating_sub(1)] {
        // As long as it says, and odd.
        if let Some(byte) = modulus.get_mut(end) {
            *byte |= 0x81;
        }
    }
    let modulus = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(modulus);
    serde_json::json!({ "keys": [{ "kty": "RSA", "alg": "RS256", "use": "sig", "kid": "nobody", "e": "AQAB", "n": modulus }] })
}

async fn home() -> Html<String> {
    page(
        "Portcullis demo",
        &maud::html! {
            p { "This page is public. Everything else here is behind the gate." }
            ul {
                li { a href="/board" { "The board" } " needs a session." }
                li { a href="/api/notes" { "The notes as JSON" } " need one as well." }
                li { a href="/api/internal/debug" { "The debug page" } " is closed to everybody." }
            }
        },
    )
}

async fn widget() -> Html<String> {
    page(
        "A widget",
        &maud::html! { p { "This page opens in frames of the tenant's own sites." } },
    )
}

async fn board(State(board): State<Board>, headers: HeaderMap) -> Html<String> {
    let notes = board
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    page(
        "The board",
        &maud::html! {
            p { "Signed in as " code { (caller(&headers)) } ", says the gate's assertion." }
            ul id="notes" { @for note in &notes { li { (note.text) " " small { "by " (note.by) } } } }
            form id="add" { label { "A note " input name="text" required maxlength="200"; } button { "Add" } }
            form method="post" action="/.portcullis/auth/sign-out" { button { "Sign out" } }
            script nonce=(super::NONCE) { (maud::PreEscaped(ADD_NOTE)) }
        },
    )
}

/// Sends the note with the CSRF token that the gate gave to this session.
const ADD_NOTE: &str = r#"
document.getElementById("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = document.cookie.split("; ").find((pair) => pair.startsWith("csrf_token="))?.split("=")[1] ?? "";
  const answer = await fetch("/api/notes", {
    method: "POST",
    headers: { "content-type": "application/json", "x-csrf-token": token },
    body: JSON.stringify({ text: event.target.text.value }),
  });
  if (answer.ok) location.reload(); else alert((await answer.json()).title);
});
"#;

async fn list(State(board): State<Board>) -> Json<Vec<Note>> {
    Json(
        board
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone(),
    )
}

async fn add(
    State(board): State<Board>,
    headers: HeaderMap,
    Json(new): Json<NewNote>,
) -> (StatusCode, Json<Note>) {
    let note = Note {
        by: caller(&headers),
        text: new.text.chars().take(200).collect(),
    };
    let mut notes = board.0.lock().unwrap_or_else(PoisonError::into_inner);
    if notes.len() >= MOST_NOTES {
        notes.remove(0);
    }
    notes.push(note.clone());
    (StatusCode::CREATED, Json(note))
}

async fn clear(State(board): State<Board>) -> StatusCode {
    board
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clear();
    StatusCode::NO_CONTENT
}

/// The subject of the assertion. A product checks the signature first (see `examples/`); the demo
/// listens on loopback for the gate alone, and only shows the name.
fn caller(headers: &HeaderMap) -> String {
    #[derive(Deserialize)]
    struct Claims {
        sub: String,
    }
    let claims = headers
        .get("x-portcullis-assertion")
        .and_then(|value| value.to_str().ok())
        .and_then(|token| token.split('.').nth(1))
        .and_then(|payload| {
            base64::engine::general_purpose::URL_SAFE_NO_PAD
                .decode(payload)
                .ok()
        })
        .and_then(|json| serde_json::from_slice::<Claims>(&json).ok());
    claims.map_or_else(|| "nobody".to_owned(), |claims| claims.sub)
}

fn page(title: &str, body: &maud::Markup) -> Html<String> {
    let page = maud::html! {
        (maud::DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style nonce=(super::NONCE) { ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}input,button{font:inherit;padding:.5rem .8rem}form{margin:1rem 0}code,small{overflow-wrap:anywhere}" }
            }
            body { main { h1 { (title) } (body) } }
        }
    };
    Html(page.into_string())
}
